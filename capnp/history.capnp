@0xd5c1f0a9b7e34862;
# A node's books, and what is frozen just now, as applications read them. Signs are the node's view
# of a line: a positive balance is owed to the node, a positive change moves credits to it.

using Common = import "common.capnp";

struct HistoryQuery {
  # Which entries; those of a page are in the order of their sequence numbers, or the other way.
  since @0 :UInt64;          # not before this moment
  until @1 :UInt64;          # before this moment
  friend @2 :Text;           # with the friend of this name, now or then; absent: with everybody
  currency @3 :Text;         # absent: in any
  onlyFees @4 :Bool;         # only those that earned a fee
  newestFirst @5 :Bool;
  after @6 :UInt64;          # after the entry of this number, in the order asked; 0: from the first
}

struct HistoryPage {
  entries @0 :List(HistoryEntry);   # at most 200; may be empty and not the last page
  next @1 :UInt64;                  # what to give as `after` for the next page; 0: there is none
}

struct HistoryEntry {
  sequence @0 :UInt64;       # rises from 1 with every entry; never used again
  time @1 :UInt64;
  friend @2 :Data;
  friendName @3 :Text;       # what the user called the friend then
  currency @4 :Text;
  delta @5 :Common.Int128;
  balance @6 :Common.Int128; # afterwards
  event :union {
    opened @7 :Void;         # the currency became active; delta is its opening balance
    paid :group {            # a part of an own payment was collected
      paymentId @8 :Data;
      invoiceId @9 :Data;
      destination @10 :Data;
      amount @11 :Common.UInt128;
      fee @12 :Common.UInt128;
      note @13 :Text;
    }
    received :group {        # a part of a payment to the node was collected
      invoiceId @14 :Data;
      description @15 :Text; # of the registered invoice, else empty
    }
    forwardedOut :group {    # what was passed on was collected of the node
      from @16 :Data;        # for whom; absent when that friendship ended
      forwardId @17 :Data;   # 16 bytes, also in the entry of the incoming side
    }
    forwardedIn :group {     # what was passed on was collected by the node
      to @18 :Data;          # to whom; absent when that friendship ended
      forwardId @19 :Data;
      fee @20 :Common.UInt128;   # what it earned
    }
    cleared :group {         # a payment to the node itself, along a cycle
      paymentId @21 :Data;   # in the entries of both lines
      fee @22 :Common.UInt128;   # in the entry of the line on which it left, else 0
    }
    adjusted @23 :Adjustment;    # set without a payment
    closed @24 :Void;            # the currency was disabled, at balance 0
    carriedForward @25 :Void;    # stands for older entries of the line, which were dropped
  }
}

enum Adjustment {
  writtenOff @0;   # the friend was removed, and what stood was given up
  reset @1;        # an inconsistent channel began anew
  recovered @2;    # a state that the friend proved took the place of an older one
}

struct PendingKey {
  # Names a pending request.
  friend @0 :Data;
  currency @1 :Text;
  sentByUs @2 :Bool;
  requestId @3 :Data;
}

struct PendingPage {
  now @0 :UInt64;                   # the node's clock
  entries @1 :List(PendingEntry);   # at most 200
  more @2 :Bool;                    # whether to ask again, after the last of these
}

struct PendingEntry {
  key @0 :PendingKey;
  friendName @1 :Text;
  direction @2 :Direction;
  amount @3 :Common.UInt128;        # what it freezes
  since @4 :UInt64;
  stage @5 :PendingStage;
  released @6 :Bool;                # the buyer gave it up
  turn @7 :Turn;
  through @8 :Text;                 # the friend from whom word must come; absent: turn is us
}

enum Direction {
  ours @0;      # for a payment of the node's own
  theirs @1;    # for a payment to the node
  passing @2;   # for a payment of others
}

enum PendingStage {
  requested @0;   # asked
  responded @1;   # answered by the destination
  committed @2;   # the buyer's lock is open
}

enum Turn {
  us @0;       # the node, or its user
  friend @1;   # the friend at the next node, or somebody behind it
  buyer @2;    # to commit, or to give up
  seller @3;   # to collect, or to cancel
}
