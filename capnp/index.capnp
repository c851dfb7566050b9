@0xcf51af4102b5c564;
# Messages of the index: a node's statements about its lines, route requests, and what federated
# index servers tell each other. Canonical bytes are formed as friend.capnp says.

using Common = import "common.capnp";
using Session = import "session.capnp";

struct ClientToIndex {
  union {
    hello @0 :Session.Hello;
    ping @1 :Void;
    bye @2 :Session.Bye;
    update @3 :SignedUpdate;
    requestRoutes :group {
      requestId @4 :UInt64;    # names the answer
      query @5 :RouteQuery;
    }
  }
}

struct IndexToClient {
  union {
    hello @0 :Session.Hello;
    ping @1 :Void;
    bye @2 :Session.Bye;
    behind :group {
      # The node's update was not newer than what is known: go on above this.
      epoch @3 :UInt64;
      counter @4 :UInt64;
    }
    snapshotWanted @5 :Void;   # an update was missed, or the table differs
    routes :group {
      requestId @6 :UInt64;
      multiRoutes @7 :List(MultiRoute);   # at most 8, cheapest first; empty: there is no way
      cutShort @8 :Bool;                  # the search stopped at its bound of work
    }
    refused :group {
      requestId @9 :UInt64;
      reason @10 :Text;
    }
  }
}

struct IndexPeerMessage {
  union {
    hello @0 :Session.Hello;
    ping @1 :Void;
    bye @2 :Session.Bye;
    digest :group {
      # A page of what the sender has; sent on connecting.
      entries @3 :List(DigestEntry);   # at most 2,048, sorted by node, none twice
      last @4 :Bool;                   # this page ends the digest
    }
    update @5 :SignedUpdate;   # passed on as signed
    wanted @6 :Data;           # asks for the last snapshot of this node and what followed it
    nodeDown @7 :NodeDown;
  }
}

struct SignedUpdate {
  # A node's statement about its own lines.
  node @0 :Data;
  homeServer @1 :Data;      # the index server that the node is connected to
  epoch @2 :UInt64;         # rises with every start of the node
  counter @3 :UInt64;       # rises by one with every update of an epoch
  time @4 :UInt64;
  kind :union {
    snapshot @5 :List(Mutation);   # forget what was known, then apply these; at most 1,000
    delta @6 :List(Mutation);      # apply these; at most 1,000
    alive @7 :Data;                # nothing changed; the hash of the node's table
  }
  signature @8 :Data;       # the node's, over the canonical bytes of all fields above

  struct Mutation {
    union {
      set :group {
        friend @0 :Data;
        currency @1 :Text;
        sendCapacity @2 :Common.UInt128;   # what the node could push to the friend now
        recvCapacity @3 :Common.UInt128;   # what the friend could push to the node now
        rate @4 :Common.Rate;              # the fee that the node asks of this friend
      }
      remove :group {
        friend @5 :Data;
        currency @6 :Text;
      }
    }
  }
}

struct NodeDown {
  node @0 :Data;
  epoch @1 :UInt64;        # of the newest update that the home server has
  counter @2 :UInt64;
  signature @3 :Data;      # the home server's, over the canonical bytes of all fields above
}

struct DigestEntry {
  node @0 :Data;
  epoch @1 :UInt64;        # of the newest update known
  counter @2 :UInt64;
}

struct RouteQuery {
  currency @0 :Text;
  amount @1 :Common.UInt128;             # how much must arrive
  source @2 :Data;
  destination @3 :Data;
  exclude @4 :List(Common.Edge);         # edges not to use, at most 64
  maxParts @5 :UInt8;                    # how many routes may share the payment, 1 to 16
}

struct Route {
  keys @0 :List(Data);     # source first, destination last: 2 to 32, none twice
  amount @1 :Common.UInt128;   # what this part pays to the destination
  fee @2 :Common.UInt128;      # what the mediators take
}

struct MultiRoute {
  # Routes that carry the whole amount together.
  routes @0 :List(Route);        # 1 to 16
  totalFee @1 :Common.UInt128;
  ageMs @2 :UInt64;              # the age of the oldest statement used
}
