@0xaa26bdcd3c3e32fc;
# Messages between an application and its node. Every request gets exactly one response; events go
# to applications that subscribed.

using Common = import "common.capnp";
using Session = import "session.capnp";
using Friend = import "friend.capnp";
using Index = import "index.capnp";
using Payment = import "payment.capnp";
using History = import "history.capnp";
using Report = import "report.capnp";

struct AppToNode {
  union {
    hello @0 :Session.Hello;
    ping @1 :Void;
    bye @2 :Session.Bye;
    request :group {
      requestId @3 :UInt64;    # chosen by the app; not that of a request that still waits
      request @4 :AppRequest;
    }
  }
}

struct NodeToApp {
  union {
    hello @0 :Session.Hello;
    ping @1 :Void;
    bye @2 :Session.Bye;
    response :group {
      requestId @3 :UInt64;
      result :union {
        reply @4 :AppReply;
        error @5 :AppError;
      }
    }
    event @6 :AppEvent;
  }
}

struct AppRequest {
  # In brackets the permission that a request needs besides reading.
  union {
    report :group {
      # The report, once, with a page of the friends in the order of their keys. All but the first
      # page come without relays and index servers.
      friendsAfter @0 :Data;             # absent: from the first; a page ends with its last friend
      friendsAtMost @18 :UInt32;          # no more than so many friends, and what fits
    }
    subscribe @1 :Void;        # the report as events, then events until the connection ends
    config @2 :ConfigRequest;  # [config]
    routes :group {            # [routes]
      currency @3 :Text;                 # absent: the node's default
      amount @4 :Common.UInt128;
      destination @5 :Data;
      exclude @6 :List(Common.Edge);     # at most 64
    }
    pay @7 :PayRequest;              # [buyer] answered when the payment has ended, or is held
    paymentStatus @8 :Data;          # [buyer] by payment id, answered at once
    createInvoice @9 :CreateInvoice; # [seller]
    cancelInvoice @10 :Data;         # [seller] by invoice id; once committed only while it is held
    invoiceStatus @11 :Data;         # [seller] by invoice id
    commitInvoice @12 :Payment.Commit;  # [seller] answered with the invoice once it is accepted
    collectInvoice @13 :Data;        # [seller] by invoice id: ends the hold of a committed one
    invoices :group {                # [seller] in the order in which they were made
      status :union {
        any @14 :Void;
        only @15 :InvoiceStatus;
      }
      after :union {                 # where the last page ended
        begin @16 :Void;
        cursor @17 :InvoiceCursor;
      }
    }
    events @19 :UInt64;               # what the journal says after this number, a page of it
    payByCommit @20 :PayRequest;     # [buyer] the commit is not sent; answered once it can be handed out
    paymentCommit @21 :Data;         # [buyer] by payment id: the commit to hand to the seller
    cancelPayment @22 :Data;         # [buyer] by payment id; not after it was committed
    history @23 :History.HistoryQuery;   # a page of the books
    pending @24 :History.PendingKey;     # what is frozen, after this one; without a friend: all
    clear @25 :ClearRequest;         # [buyer] answered as pay, when the payment to oneself has ended
    quote @26 :PayRequest;           # [routes] what such a payment would take now; nothing is paid,
                                     # and the id, the deadline and the note mean nothing
    capacity :group {                # [routes] how much the ways between us and a node carry now
      currency @27 :Text;            # absent: the node's default
      peer @28 :Data;
      receive @29 :Bool;             # from the node to us, not from us to the node
    }
    lastToken :group {               # a page of what a friend signed last, from 0 on
      friend @30 :Text;
      page @31 :UInt32;
    }
  }
}

struct ConfigRequest {
  # A change of the node's configuration, answered when it is durable. Friends, relays and index
  # servers go by the user's names. Asking for what is already so succeeds and changes nothing.
  union {
    addRelay @0 :NamedServer;
    removeRelay @1 :Text;
    addIndexServer @2 :NamedServer;
    removeIndexServer @3 :Text;
    addFriend :group {
      name @4 :Text;
      publicKey @5 :Data;
      relays @6 :List(Common.ServerAddress);   # at most 16
      currency @7 :Text;                       # absent: the node's default
      openingBalance @8 :Common.Int128;        # positive: the friend owes us
    }
    setFriendRelays :group {
      friend @9 :Text;
      publicKey @10 :Data;                     # must be the friend's own key
      relays @11 :List(Common.ServerAddress);
    }
    setFriendName :group {
      friend @12 :Text;
      newName @13 :Text;
    }
    setFriendEnabled :group {
      friend @14 :Text;
      enabled @15 :Bool;
    }
    addCurrency :group {
      friend @16 :Text;
      currency @17 :Text;
      openingBalance @18 :Common.Int128;
    }
    removeCurrency :group {
      friend @19 :Text;
      currency @20 :Text;
    }
    setRequestsOpen :group {
      friend @21 :Text;
      currency @22 :Text;                      # absent: the node's default
      open @23 :Bool;
    }
    setMaxDebt :group {
      friend @24 :Text;
      currency @25 :Text;                      # absent: the node's default
      maxDebt @26 :Common.UInt128;             # the most the friend may owe; at most 2^127-1
    }
    setRate :group {
      friend @27 :Text;
      currency @28 :Text;                      # absent: the node's default
      rate @29 :Common.Rate;
    }
    setDefaultCurrency @30 :Text;
    setSpontaneous @31 :Bool;                  # take payments without a registered invoice
    setDecimals :group {
      currency @32 :Text;                      # absent: the node's default
      decimals @33 :UInt8;                     # how many digits people see behind the point, 0 to 18
    }
    resetFriend :group {
      # Accepts the friend's terms to begin an inconsistent channel again.
      friend @34 :Text;
      resetToken @35 :Data;                    # of the terms that the user was shown
    }
    removeFriend :group {
      # Ends a friendship: refused while anybody owes, waits while anything is pending.
      friend @36 :Text;
      forfeit @37 :Bool;                       # at once, whatever is owed or pending
    }
    recoverFriend :group {
      # Installs the state that the friend proves (see FriendReport.recovery).
      friend @38 :Text;
      token @39 :Data;                        # the token of the state that the owner looked at
      publicKey @42 :Data;
      # Of a node that is no friend yet (see NodeReport.recoverable): it becomes one of that name.
      # Absent for a friend.
    }
    endRecovery @40 :Bool;
    # The node waits for nobody any more. Requests that may have been paid while nobody can say so
    # are cancelled if this is true; if there are such and it is false, it is refused.
    setRetention @41 :UInt32;                  # for how many days the books keep entries; 0: for ever
  }
}

struct NamedServer {
  name @0 :Text;                      # new on this node
  server @1 :Common.ServerAddress;
}

struct PayRequest {
  # The id makes it idempotent: the same id with the same contents is the same payment, for ever;
  # with other contents it is refused.
  paymentId @0 :Data;                 # chosen at random by the app
  target :union {
    invoice @1 :Payment.Invoice;
    spontaneous :group {
      destination @2 :Data;
      amount @3 :Common.UInt128;
      currency @4 :Text;              # absent: the node's default
    }
  }
  maxFee @5 :Common.UInt128;          # the most that mediators may take; absent: 5%, see docs
  deadline :union {
    # When to give up, as long as nothing is committed.
    standard @6 :Void;                # after 30 s
    afterMs @7 :UInt64;
  }
  note @8 :Text;                      # for the user's own books
  maxParts @9 :UInt8;                 # over how many routes at once, at most 16; 0: the usual 8
}

struct ClearRequest {
  # One payment to oneself along a cycle: it goes out to a friend that owes us and comes back from
  # one whom we owe, so that both debts shrink. Answered with its PaymentReport, whose destination is
  # the node itself, or with the error nothingToClear. Idempotent as PayRequest.
  paymentId @0 :Data;             # random, chosen by the app
  currency @1 :Text;              # absent: the node's default
  friend @2 :Text;                # only cycles over this friend; absent: any
  maxFee @3 :Common.UInt128;      # the most that mediators may take; absent: no limit but the next
  maxFeePpm @4 :UInt32 = 10000;   # the most that they may take of each million that moves
}

struct CreateInvoice {
  # The nonce makes it idempotent: the same nonce with the same contents gives the same invoice, for
  # ever; with other contents it is refused.
  nonce @0 :Data;                     # chosen at random by the app
  currency @1 :Text;                  # absent: the node's default
  amount @2 :Common.UInt128;
  description @3 :Text;
  expiry :union {
    standard @4 :Void;                # an hour after creation
    afterMs @5 :UInt64;
  }
  hold :union {
    # Whether a committed payment waits for `collectInvoice`, and how long after the expiry at most.
    none @6 :Void;
    standard @7 :Void;                # a day
    forMs @8 :UInt64;
  }
}

struct InvoiceCursor {
  createdAt @0 :UInt64;
  invoiceId @1 :Data;
}

struct AppReply {
  union {
    done @0 :Void;
    report @1 :Report.NodeReport;
    routes @2 :List(Index.MultiRoute);   # at most 8
    payment @3 :PaymentReport;
    invoice @4 :InvoiceReport;
    events :group {
      events @5 :List(JournalEvent);     # at most 64, in the order of their numbers
      upTo @6 :UInt64;                   # the page tells everything up to this number
      last @7 :UInt64;                   # the newest number; more follows while it is above upTo
    }
    invoices @8 :InvoicePage;
    commit @9 :Payment.Commit;
    history @10 :History.HistoryPage;
    pending @11 :History.PendingPage;
    quote @12 :QuoteReport;
    capacity @13 :Common.UInt128;
    lastToken @14 :TokenPage;
  }
}

struct TokenPage {
  # A page of a LastToken (proof.capnp), as it was asked for. The channel goes on between two pages:
  # where the id changes, all of it is to be asked for again.
  tokenId @0 :Data;
  totalBytes @1 :UInt32;   # of all pages, at most 1 MiB
  bytes @2 :Data;          # 128 KiB, on the last page what is left
}

struct QuoteReport {
  destination @0 :Data;
  currency @1 :Text;
  amount @2 :Common.UInt128;
  union {
    ways @3 :Index.MultiRoute;       # how it could be paid now, and what mediators would take
    failure @4 :PaymentFailure;      # why it could not, as a payment would fail
  }
}

struct AppError {
  code @0 :ErrorCode;     # for programs
  message @1 :Text;       # for people
}

enum ErrorCode {
  permissionDenied @0;    # the app's ticket does not allow this
  notFound @1;            # there is no such friend, relay, server, payment or invoice
  alreadyExists @2;       # the name or id is in use with other contents
  invalid @3;             # the request contradicts a rule
  refused @4;             # the state of things does not allow it now
  busy @5;                # too many requests at once
  noConnection @6;        # no connection to an index server
  stopping @7;            # the node is stopping
  limitReached @8;        # the app's ticket limits what it may spend
  notYet @9;              # it waits for something that will come; ask again
  nothingToClear @10;      # no two debts can be set off now
}

struct PaymentReport {
  paymentId @0 :Data;
  invoiceId @1 :Data;
  destination @2 :Data;
  currency @3 :Text;
  amount @4 :Common.UInt128;
  createdAt @5 :UInt64;
  status :union {
    routing @6 :Void;         # looking for routes
    requesting @7 :Void;      # reserving along the routes
    committed @8 :Void;       # it cannot be taken back
    succeeded :group {
      receipt @9 :Payment.Receipt;
      fee @10 :Common.UInt128;
    }
    failed @11 :PaymentFailure;   # nothing is owed
    cancelled @12 :Void;      # committed, then all of it was cancelled back; nothing is owed
    unknown @13 :Void;        # parts were lost: it may have been paid
    complete @14 :Void;       # all of it is reserved and answered; not committed yet
  }
  parts @15 :UInt8;           # over how many routes it is reserved now
}

struct PaymentFailure {
  union {
    noRoom @0 :Common.UInt128;      # our own lines carry this much at most
    noLine @1 :NoLine;              # no line of ours can be used at all
    noIndexServer @2 :Void;         # no index server answered
    noRoute @3 :Void;               # there is no way with this capacity
    feeTooHigh @4 :Common.UInt128;  # the way costs this, more than allowed
    refused :group {
      # Somebody on the way said no.
      reason @5 :Friend.CancelReason;
      reporter @6 :Data;            # may be absent
    }
    deadline @7 :Void;              # not complete before the deadline; taken back
    expired @8 :Void;               # the invoice's time is over
    noCapacity @9 :Common.UInt128;  # all ways to the receiver together carry this much at most
    takenBack @11 :Void;            # the buyer took it back
    noAnswer @10 :Data;             # what went out over this friend was not answered in time
  }
}

enum NoLine {
  # Of several friends, what is nearest to a line that can be used.
  unknown @0;          # no friend shares the currency
  proposed @1;         # it is proposed, but not agreed with any friend
  removedByFriend @2;  # the friend ended the friendship
  removing @3;         # we are ending it
  inconsistent @4;     # the channel waits for a reset
  quarantined @5;      # the friend proves that we lost state
  disabled @6;         # we do not communicate with the friend
  offline @7;          # the friend is not connected
  closed @8;           # the friend takes no requests of ours
}

struct InvoiceReport {
  invoice @0 :Payment.Invoice;
  status @1 :InvoiceStatus;
  held @2 :Bool;   # committed, and waits for `collectInvoice` or the end of the hold
}

struct InvoicePage {
  invoices @0 :List(InvoiceReport);   # at most 64
  next :union {
    # Where the next page begins.
    end @1 :Void;
    cursor @2 :InvoiceCursor;
  }
}

enum InvoiceStatus {
  open @0;         # nobody has paid it yet
  requested @1;    # a part of the amount is reserved for it
  complete @2;     # all of the amount is reserved for it
  committed @3;    # a payment was accepted: it is certain
  collected @4;    # the credits have moved
  cancelled @5;    # ended by the seller
  expired @6;      # ran out of time
}

struct AppEvent {
  union {
    report :group {
      # First of all. Where friends are missing, `friends` events follow before anything else.
      sequence @0 :UInt64;    # that of the first mutation that follows, minus 1
      report @1 :Report.NodeReport;
    }
    friends :group {
      # More friends of the report that has just begun.
      friends @2 :List(Report.FriendReport);
      more @3 :Bool;          # whether more follow
    }
    mutation :group {
      sequence @4 :UInt64;    # rises by one with every mutation
      mutation @5 :Report.ReportMutation;
    }
    journal @6 :JournalEvent;
  }
}

struct JournalEvent {
  # A payment or invoice of the node moved on. The node keeps the last 65,536 of them: an app that
  # remembers the last number it has seen misses none, whatever happens to it or to the node.
  number @0 :UInt64;          # rises by one
  union {
    payment @1 :PaymentReport;   # as it stands when this is told
    invoice @2 :InvoiceReport;   # likewise
  }
}
