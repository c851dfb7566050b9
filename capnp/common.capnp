@0x807e19e79b04175e;
# Values that several schemas use, and the rules that hold in all of them.
#
# Every frame of a connection holds exactly one Cap'n Proto message, not packed, with its segment
# table in front and nothing after it. A receiver closes the connection when a message
# - does not decode, needs more than twice its own words to traverse, or nests deeper than 16;
# - has a union tag or an enum value that this schema does not name;
# - breaks a rule that is written at a field.
#
# Forms, by the names of fields:
# - public keys are Ed25519 keys, 32 bytes, of no small order; signatures 64 bytes;
# - hashes (SHA-512/256), locks and invoice ids are 32 bytes;
# - request ids, payment ids and nonces are 16 bytes;
# - a currency is 1 to 16 of `A-Z a-z 0-9 - _ .` and does not begin with `-`;
# - an address is `host:port`, at most 256 bytes, IPv6 in brackets;
# - a name is 1 to 64 printable characters; any other text at most 256 bytes without control
#   characters;
# - times are milliseconds since 1970 UTC.
# A pointer field that may be absent says so; absent is a null pointer.

struct UInt128 {
  # An amount of credits, in the smallest unit of its currency: high * 2^64 + low.
  high @0 :UInt64;
  low @1 :UInt64;
}

struct Int128 {
  # A balance, two's complement: the bits of high, then those of low. -2^127 is refused, so that the
  # view of the other side (the negation) always exists.
  high @0 :UInt64;
  low @1 :UInt64;
}

struct Rate {
  # The fee for forwarding: amount * ppm / 1,000,000, rounded up, plus add.
  ppm @0 :UInt32;
  add @1 :UInt64;
}

struct ServerAddress {
  # A relay or an index server.
  publicKey @0 :Data;
  address @1 :Text;
}

struct Edge {
  # One direction of one line: `from` would push credits to `to`.
  from @0 :Data;
  to @1 :Data;
}
