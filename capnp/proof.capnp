@0xabc4f2ef0e221cd1;
# What a friend that lost its latest state is shown: its own last signature, and the state it signed;
# and what one side signed last, to be shown to anybody.

using Common = import "common.capnp";
using Friend = import "friend.capnp";

struct StateProof {
  # Sent in pages of 256 KiB as one message, at most 64 MiB in all.
  union {
    signed :group {
      yourToken @0 :Friend.MoveToken;  # the asker's own last token
      state @1 :List(CurrencyState);
      # The state that yourToken commits to, sorted by currency, at most 64. "Low" is the side with
      # the lower public key.
    }
    reset @3 :BegunEpoch;              # of an epoch in which the asker has signed no token
  }
  myToken @2 :Friend.MoveToken;        # the friend's token after it; absent if there is none
}

struct BegunEpoch {
  # The terms with which an epoch began, and the other side's acceptance. One of the two is signed by
  # the asker.
  byAsker @0 :Bool;                    # the terms are the asker's, the acceptance the friend's
  terms @1 :Friend.Inconsistency;      # without collected
  acceptance @2 :Friend.AcceptReset;
}

struct CurrencyState {
  currency @0 :Text;
  union {
    proposed :group {
      # Either may be absent, not both.
      low @1 :Proposal;
      high @2 :Proposal;
    }
    active @3 :ActiveState;
  }
}

struct Proposal {
  openingBalance @0 :Common.Int128;
  maxDebt @1 :Common.UInt128;
  requestsOpen @2 :Bool;
}

struct ActiveState {
  balance @0 :Common.Int128;         # as the low side sees it
  lowMaxDebt @1 :Common.UInt128;     # the most that the low side may owe
  highMaxDebt @2 :Common.UInt128;
  lowRequestsOpen @3 :Bool;          # whether the low side lets the other send requests
  highRequestsOpen @4 :Bool;
  pending @5 :List(PendingState);    # at most 16,384; pending debts are their sums
}

struct PendingState {
  sentByHigh @0 :Bool;
  request @1 :Friend.Request;
  released @2 :Bool;
  response @3 :Friend.Response;      # absent at stage 0
  srcPlainLock @4 :Data;             # present at stage 2
}

struct LastToken {
  # What one side of a channel signed last, with everything that the signature covers. Kept in files
  # (kind "token") as one message of at most 1 MiB.
  signer @0 :Data;
  receiver @1 :Data;
  union {
    token :group {
      token @2 :Friend.MoveToken;
      state @3 :List(CurrencySummary);
      # The state that the token commits to, sorted by currency, at most 64. "Low" is the side with
      # the lower public key.
    }
    reset @4 :BegunEpoch;
    # No token in this epoch yet: its terms and their acceptance. The asker is the signer.
  }
}

struct CurrencySummary {
  # As CurrencyState, with sums in place of the pending requests.
  currency @0 :Text;
  union {
    proposed :group {
      # Either may be absent, not both.
      low @1 :Proposal;
      high @2 :Proposal;
    }
    active @3 :ActiveSummary;
  }
}

struct ActiveSummary {
  balance @0 :Common.Int128;         # as the low side sees it
  lowPendingDebt @1 :Common.UInt128; # what the low side's requests freeze
  highPendingDebt @2 :Common.UInt128;
  lowMaxDebt @3 :Common.UInt128;     # the most that the low side may owe
  highMaxDebt @4 :Common.UInt128;
  lowRequestsOpen @5 :Bool;          # whether the low side lets the other send requests
  highRequestsOpen @6 :Bool;
  pendingRoot @7 :Data;              # of the tree of pending requests
}
