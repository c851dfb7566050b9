@0xb4b026c804488a5b;
# Messages between two friends: the token channel, and the operations of mutual credit.
#
# Signatures and hashes are over canonical bytes, not over Cap'n Proto bytes: the fields of a struct
# in the order in which they stand here, integers big-endian, texts and lists with a 4-byte count in
# front, fixed-size bytes as they are, an option with one byte 0 or 1 in front, a union with the tag
# as numbered here in front, an enum as one byte.

using Common = import "common.capnp";
using Session = import "session.capnp";

struct FriendMessage {
  union {
    hello @0 :Session.Hello;
    ping @1 :Void;
    bye @2 :Session.Bye;
    resume @3 :Resume;          # first on every session, each way
    moveToken @4 :MoveToken;
    tokenWanted @5 :UInt64;
    # Asks the holder for the token; the counter of the channel's last token (of either side) as the
    # asker knows it.
    inconsistency @6 :Inconsistency;
    acceptReset @7 :AcceptReset;
    removed @8 :UInt64;
    # The receiver is no friend of the sender, once a session. The highest epoch that the sender was
    # in with it; 0 where it never was a friend.
    requestStateProof @9 :UInt32;
    # Asks for a page, from 0 on, of the proof of what the asker has signed; only when the friend's
    # resume says that the asker may have lost state.
    stateProof @10 :StateProofPage;
    endings @11 :Endings;
    # Asks how requests of the asker ended; one question at a time.
    endingsAnswer @12 :EndingsAnswer;
  }
}

struct Endings {
  currency @0 :Text;
  requestIds @1 :List(Data);   # as the asker sent them; at most 256
}

struct EndingsAnswer {
  # Each id of the question is in one of the lists.
  currency @0 :Text;           # of the question
  collected @1 :List(Collected);
  # Those that the sender has collected, with what proves it.
  unknown @2 :List(Data);      # the others: cancelled, never received, or forgotten
}

struct StateProofPage {
  # One page of a StateProof (proof.capnp), as it was asked for.
  page @0 :UInt32;
  totalBytes @1 :UInt32;   # of the whole proof, the same on every page; 0: nothing is left to show
  bytes @2 :Data;          # 256 KiB, on the last page what is left
}

struct Resume {
  # The last move token of either side that is durable at the sender.
  epoch @0 :UInt64;
  counter @1 :UInt64;      # 0 after genesis
  tokenId @2 :Data;        # its id, or the genesis id
  wantsToken @3 :Bool;     # whether the sender has something to send
}

struct MoveToken {
  # Declarations and operations, and the right to send the next ones. At most 4,096 operations and
  # 512 KiB of canonical bytes.
  epoch @0 :UInt64;
  counter @1 :UInt64;      # rises by one; odd ones are signed by the side with the lower key
  prevToken @2 :Data;      # the id of the other side's last token, or of the genesis
  currencyTerms @3 :List(CurrencyTerms);   # sorted by currency, each at most once, at most 64
  currencyOps @4 :List(CurrencyOps);       # likewise
  relays @5 :List(Common.ServerAddress);
  # The sender's relays, at most 16. Absent: they are what they were.
  stateHash @6 :Data;      # of the channel's state after this token
  signature @7 :Data;      # over the canonical bytes of all fields above
}

struct CurrencyTerms {
  # What the sender declares about a currency; applied before the operations of the same token.
  currency @0 :Text;
  enabled @1 :Bool;                     # false withdraws a proposal or disables the currency
  openingBalance @2 :Common.Int128;     # as the sender sees it; 0 for an active currency
  maxDebt @3 :Common.UInt128;           # the most that the receiver may owe; at most 2^127-1
  requestsOpen @4 :Bool;                # whether the receiver may send requests
}

struct CurrencyOps {
  currency @0 :Text;
  ops @1 :List(FriendOp);   # at least one, in the order in which they apply
}

struct FriendOp {
  union {
    request @0 :Request;     # forward: freezes credits
    response @1 :Response;   # backward: the destination promises to take the payment
    commit @2 :Commit;       # forward: the buyer pays
    collect @3 :Collect;     # backward: moves the credits
    cancel @4 :Cancel;       # backward: unfreezes the credits
    release @5 :Release;     # forward: the buyer will never pay
  }
}

struct Request {
  # Freezes destPayment + leftFees and asks for passage to the destination.
  requestId @0 :Data;
  srcHashedLock @1 :Data;     # the buyer's lock of this attempt
  route @2 :List(Data);
  # The public keys that remain after the receiver, the destination last; empty at the destination.
  # At most 31, none twice.
  destPayment @3 :Common.UInt128;        # what this part pays to the destination
  totalDestPayment @4 :Common.UInt128;   # what all parts together pay
  invoiceId @5 :Data;
  leftFees @6 :Common.UInt128;           # what is left for the mediators from the receiver on
  spontaneous @7 :Bool;                  # the destination's node need not know the invoice
  holdSeconds @8 :UInt64;                # how long at most the seller may keep the request
}

struct Response {
  requestId @0 :Data;
  destHashedLock @1 :Data;    # the destination's lock, the same for all parts of a set
  isComplete @2 :Bool;        # whether this part completes the total
  responseHash @3 :Data;
  signature @4 :Data;         # the destination's
}

struct Commit {
  requestId @0 :Data;
  srcPlainLock @1 :Data;      # opens srcHashedLock of the request
}

struct Collect {
  requestId @0 :Data;
  srcPlainLock @1 :Data;
  destPlainLock @2 :Data;     # opens destHashedLock of the response
}

struct Cancel {
  requestId @0 :Data;
  reason @1 :CancelReason;    # a hint for retrying, never trusted for money
  reporter @2 :Data;          # the node that could not go on; a hint too; may be absent
}

enum CancelReason {
  noRoute @0;          # the next key of the route is no friend with this currency
  noRoom @1;           # the next line has no room, or its requests are closed
  feeTooLow @2;        # the fees left do not cover what this node asks
  offline @3;          # the next friend is not online
  unknownInvoice @4;   # the destination does not know the invoice, or not with these terms
  expired @5;          # the invoice or the set ran out of time
  alreadyPaid @6;      # another set paid the invoice
  busy @7;             # a queue or guard is full
  declined @8;         # against the policy of a node on the way
  released @9;         # the buyer released the request
}

struct Release {
  requestId @0 :Data;
}

struct Inconsistency {
  # Something came that cannot be explained, and nothing moves any more: the terms on which the
  # sender would begin again. They stay the same as long as the epoch does; signed over the public
  # keys of sender and receiver and the canonical bytes of all fields but collected.
  epoch @0 :UInt64;
  # 1 + the highest epoch that either side has been in, as far as the sender knows.
  balances @1 :List(ResetBalance);   # sorted by currency, each at most once, at most 64
  pending @2 :Bool;                  # whether anything is pending at the sender
  last @3 :Data;                     # the id of the sender's last token; absent: it signed none
  previous @4 :Data;                 # the id of the sender's token before that; may be absent
  signature @5 :Data;
  collected @6 :List(Collected);
  # What the sender has collected, or will, of the receiver's requests: at most 1,024, more follow in
  # further messages. Each entry proves itself, whatever becomes of the terms.
}

struct ResetBalance {
  currency @0 :Text;
  balance @1 :Common.Int128;         # positive: the receiver owes the sender
}

struct Collected {
  currency @0 :Text;
  requestId @1 :Data;                # as the receiver sent it
  destHashedLock @2 :Data;           # the response, as in Response
  isComplete @3 :Bool;
  responseHash @4 :Data;
  signature @5 :Data;
  srcPlainLock @6 :Data;             # the locks, as in Collect
  destPlainLock @7 :Data;
}

struct AcceptReset {
  # The sender accepts the receiver's terms.
  resetToken @0 :Data;
  # The hash of the public keys of the terms' sender and receiver and of the canonical bytes of the
  # terms, their signature included.
  signature @1 :Data;                # of the sender, over resetToken
}
