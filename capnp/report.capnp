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
  consistent @5 :Bool;                     # nothing moves over an inconsistent channel
  lastError @6 :Text;
  currencies @7 :List(CurrencyReport);     # at most 64
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
  }
}
