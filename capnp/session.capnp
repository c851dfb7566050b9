@0xcbae4d64e28e0f24;
# What every connection speaks besides its own messages. The root struct of each direction of each
# purpose is a union that begins with
#
#     hello @0 :Session.Hello;   # first each way
#     ping @1 :Void;             # after 10 s without sending
#     bye @2 :Session.Bye;       # last of a side that closes for a reason
#
# and goes on with the messages of that purpose.

struct Hello {
  protocolVersion @0 :UInt32;   # 1
  purpose @1 :UInt8;
  # Must equal the purpose of the secure channel:
  # 1 app, 2 friend, 3 relay, 4 index client, 5 index server.
  features @2 :List(Text);
  # Optional features that the sender knows: at most 64, sorted by bytes, none twice.
}

struct Bye {
  reason @0 :Text;   # a sentence for the other side's log
}
