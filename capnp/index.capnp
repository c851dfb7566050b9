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
    requestCycles :group {
      requestId @6 :UInt64;    # names the answer; one row of numbers with requestRoutes
      query @7 :CycleQuery;
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
    cycles :group {
      requestId @11 :UInt64;
      cycles @12 :List(Cycle);   # at most 8, feasible together; empty: there is none
      cutShort @13 :Bool;        # the search stopped at its bound of work
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

struct CycleQuery {
  # Asks for ways back to the node itself, by which debts on both sides of it shrink. The node says
  # which of its lines are to shrink and how much; the index is not asked about these.
  currency @0 :Text;
  node @1 :Data;              # where cycles begin and end
  first @2 :List(CycleEnd);   # friends that owe the node: cycles begin with one of them; at most 128
  last @3 :List(CycleEnd);    # friends whom the node owes: cycles end with one; at most 128
  maxFeePpm @4 :UInt32;       # the most that mediators may take, of each million that moves
  exclude @5 :List(Common.Edge);   # edges not to use, at most 64

  struct CycleEnd {
    # No friend is named twice, neither in one list nor in both.
    friend @0 :Data;
    most @1 :Common.UInt128;   # what may move over this line, fees included
  }
}

struct Cycle {
  route @0 :Route;     # begins and ends with the node, no other key twice: 4 to 32 keys
  ageMs @1 :UInt64;    # the age of the oldest statement used
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
