@0xb12c18ca3fba874f;
# What buyer and seller hand each other.

using Common = import "common.capnp";

struct Invoice {
  # A seller's offer. Its id is the hash of the canonical bytes of all fields (as friend.capnp
  # forms them), so a receipt proves payment of exactly these terms.
  version @0 :UInt32;        # 1
  registered @1 :Bool;       # the seller's node knows it
  currency @2 :Text;
  destPublicKey @3 :Data;
  destPayment @4 :Common.UInt128;
  description @5 :Text;
  createdAt @6 :UInt64;
  expiresAt @7 :UInt64;      # until when it may be committed
  holdUntil :union {
    # When a held payment is collected or cancelled. In canonical bytes an option.
    none @8 :Void;
    at @9 :UInt64;
  }
  nonce @10 :Data;
}

struct Commit {
  # The buyer's irrevocable word, handed to the seller. Made of the complete response.
  responseHash @0 :Data;
  srcPlainLock @1 :Data;
  destHashedLock @2 :Data;
  destPayment @3 :Common.UInt128;
  totalDestPayment @4 :Common.UInt128;
  invoiceId @5 :Data;
  currency @6 :Text;
  signature @7 :Data;        # the destination's, of the complete response
}

struct Receipt {
  # Proof that an invoice was paid; it does not say by whom.
  responseHash @0 :Data;
  invoiceId @1 :Data;
  currency @2 :Text;
  srcPlainLock @3 :Data;
  destPlainLock @4 :Data;
  isComplete @5 :Bool;
  destPayment @6 :Common.UInt128;
  totalDestPayment @7 :Common.UInt128;
  signature @8 :Data;        # the destination's, of the complete response
}
