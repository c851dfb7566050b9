@0x861c7d8cb02a0f23;
# What a node shows its applications: one snapshot, then mutations, each of which replaces or
# removes one entry whole.

using Common = import "common.capnp";

struct NodeReport {
  publicKey @0 :Data;
  defaultCurrency @1 :Text;
  acceptsSpontaneous @2 :Bool;             # payments without a registered invoice are taken
  relays @3 :List(ServerReport);           # at most 256
  indexServers @4 :List(ServerReport);     # at most 256, in the order in which they are tried
  friends @5 :List(FriendReport);          # at most 4,096, see moreFriends
  moreFriends @6 :Bool;                    # there are friends that are not in this page
  decimals @7 :List(CurrencyDecimals);     # at most 256, sorted by currency; the others have 0
  lastEvent @8 :UInt64;                    # the newest number of the journal, 0 when it is empty
  recovering @9 :Bool;
  # The node's database was older than what its friends know; until the owner ends the recovery.
  recoverable @10 :List(Recoverable);      # at most 64, by key; only while it recovers
}

struct Recoverable {
  # A node that is no friend, and shows what this node signed for it: a friend that this node forgot.
  publicKey @0 :Data;
  state @1 :ProvenState;
}

struct CurrencyDecimals {
  # How people write amounts of a currency: with so many digits behind the point. Everything else
  # counts in the smallest unit.
  currency @0 :Text;
  decimals @1 :UInt8;                      # at most 18
}

struct ServerReport {
  name @0 :Text;
  server @1 :Common.ServerAddress;
  connected @2 :Bool;                      # for a relay: the node listens there
  lastError @3 :Text;
  # What went wrong last, empty when nothing did since it was connected.
}

struct FriendReport {
  name @0 :Text;
  publicKey @1 :Data;
  relays @2 :List(Common.ServerAddress);   # where the friend listens, at most 16
  enabled @3 :Bool;                        # whether we communicate with the friend
  online @4 :Bool;                         # a session stands and both sides agree where they are
  lastError @5 :Text;
  currencies @6 :List(CurrencyReport);     # at most 64
  standing :union {
    consistent @7 :Void;
    inconsistent @8 :InconsistentReport;   # nothing moves until the channel begins again
    removing @9 :Void;                     # gone once nothing is pending and nobody owes anything
    removedByFriend @10 :Void;             # nothing new passes; what is pending stays
  }
  recovery :union {
    none @11 :Void;
    waiting @12 :Void;                      # nothing was agreed since the node recovers
    proven @13 :ProvenState;
    # The friend proves, with this node's own signature, that this node has lost state. Nothing moves
    # until that state is accepted.
  }
}

struct InconsistentReport {
  # A channel on which something came that cannot be explained.
  reason @0 :Text;
  local @1 :TermsReport;                   # ours
  remote @2 :TermsReport;                  # the friend's; absent until it has told
  accepted @3 :Bool;                       # we accepted the friend's; it is still to answer
  proven @4 :List(ProvenReport);           # sorted by currency, at most 64
}

struct TermsReport {
  # On which terms one side would begin the channel again.
  resetToken @0 :Data;                     # names these terms, for resetFriend
  epoch @1 :UInt64;
  pending @2 :Bool;                        # something is pending at the side whose terms these are
  balances @3 :List(TermsBalance);         # at most 64
}

struct TermsBalance {
  currency @0 :Text;
  balance @1 :Common.Int128;               # as we see it, in both sides' terms
}

struct ProvenReport {
  # Collected requests in one currency that one side has proven to the other.
  currency @0 :Text;
  local @1 :Common.UInt128;                # we proved; the friend owes this
  remote @2 :Common.UInt128;               # the friend proved; we owe this
}

struct ProvenState {
  token @0 :Data;                          # the id of this node's own last token
  currencies @1 :List(CurrencyReport);     # at most 64; rates are those of now
}

struct CurrencyReport {
  currency @0 :Text;
  rate @1 :Common.Rate;                    # the fee that we ask of this friend
  status :union {
    active @2 :LineReport;
    proposed :group {
      # Waiting for opposite opening balances. Either proposal may be absent.
      local @3 :Proposal;
      remote @4 :Proposal;
    }
  }
}

struct Proposal {
  openingBalance @0 :Common.Int128;        # as its proposer sees it
  maxDebt @1 :Common.UInt128;              # the most that the receiver may owe; at most 2^127-1
  requestsOpen @2 :Bool;                   # whether the receiver may send requests
}

struct LineReport {
  # As we see it.
  balance @0 :Common.Int128;               # positive: the friend owes us
  localRequestsOpen @1 :Bool;              # the friend may send us requests
  remoteRequestsOpen @2 :Bool;             # we may send the friend requests
  localMaxDebt @3 :Common.UInt128;         # the most we may owe; at most 2^127-1
  remoteMaxDebt @4 :Common.UInt128;        # the most the friend may owe; at most 2^127-1
  localPendingDebt @5 :Common.UInt128;     # frozen by our requests
  remotePendingDebt @6 :Common.UInt128;    # frozen by the friend's requests
  exposure @7 :Common.UInt128;
  # The part of localPendingDebt that nobody will pay us: its incoming side ended with a friendship.
}

struct ReportMutation {
  union {
    setDefaultCurrency @0 :Text;
    setAcceptsSpontaneous @1 :Bool;
    setRelays @2 :List(ServerReport);
    setIndexServers @3 :List(ServerReport);
    setFriend @4 :FriendReport;            # adds or replaces the friend with this key
    removeFriend @5 :Data;                 # removes the friend with this key
    setDecimals @6 :CurrencyDecimals;      # 0: like currencies that are not named
    setRecovering @7 :Bool;
    setRecoverable @8 :List(Recoverable);  # at most 64, whole
  }
}
