@0xd57262ce8311173a;
# Messages between a node and a relay. One connection carries any number of circuits; each is a
# stream of bytes in both directions between two nodes. The relay sees only what the secure channel
# between the nodes makes of them.
#
#     node A                    relay                     node B
#       |                         | <-------- listen ------- |
#       |                         | ------- listening -----> |
#       | -- connect (B) -------> | ------ incoming (A) ---> |
#       | <------ connected ----- | <------- accept -------- |
#       | <====== data =========> | <======= data =========> |
#
# Circuits are numbered by whoever opens them, for each connection apart: odd numbers by the node
# (connect), even ones by the relay (incoming). Each direction of a circuit begins with a window of
# 256 KiB: so many bytes of data may be sent before the other end sends `window`.

using Session = import "session.capnp";

struct ClientToRelay {
  union {
    hello @0 :Session.Hello;
    ping @1 :Void;
    bye @2 :Session.Bye;
    listen @3 :Void;          # from now on others may connect to this key
    stopListening @4 :Void;   # ends `listen`; open circuits stay
    connect :group {
      circuit @5 :UInt32;       # odd, not in use
      destination @6 :Data;     # the key to reach
    }
    accept @7 :UInt32;        # takes the incoming circuit of this number
    reject @8 :UInt32;        # refuses it
    data :group {
      circuit @9 :UInt32;
      bytes @10 :Data;          # at most 65,536 bytes, and no more than the window allows
    }
    window :group {
      circuit @11 :UInt32;
      bytes @12 :UInt32;        # how many more bytes the other end may send
    }
    close :group {
      circuit @13 :UInt32;
      reason @14 :CloseReason;
    }
  }
}

struct RelayToClient {
  union {
    hello @0 :Session.Hello;
    ping @1 :Void;
    bye @2 :Session.Bye;
    listening @3 :Void;       # `listen` is in force
    incoming :group {
      # Somebody wants a circuit; closed when it is not accepted within 10 s.
      circuit @4 :UInt32;       # even
      source @5 :Data;          # who asks, as proven to the relay
    }
    connected @6 :UInt32;     # the circuit of `connect` stands
    data :group {
      circuit @7 :UInt32;
      bytes @8 :Data;           # at most 65,536 bytes
    }
    window :group {
      circuit @9 :UInt32;
      bytes @10 :UInt32;
    }
    close :group {
      circuit @11 :UInt32;
      reason @12 :CloseReason;
    }
  }
}

enum CloseReason {
  closed @0;         # the other end closed it
  notListening @1;   # the destination is not listening at this relay
  timeout @2;        # the destination did not accept within 10 s
  rejected @3;       # the destination rejected it
  gone @4;           # the other end's connection to the relay is gone
  limit @5;          # a limit of the relay was reached
  protocol @6;       # a rule was broken (window, unknown circuit, number in use)
}
