//! What a node answers and tells.

use offset_crypto::{HashResult, PaymentId, PlainLock, Signature};
use offset_proto::{
    Credits, Rate, Timestamp,
    app::{
        AppError, AppEvent, AppReply, AppRequestId, ErrorCode, EventPage, InvoiceCursor,
        InvoicePage, InvoiceReport, InvoiceStatus, JournalEntry, JournalEvent, NoLine, NodeToApp,
        PaymentFailure, PaymentReport, PaymentStatus, QuoteReport,
    },
    friend::{CancelReason, Proposal},
    payment::Receipt,
    report::{
        CurrencyReport, CurrencyStatus, FriendReport, FriendStanding, InconsistentReport,
        LineReport, NodeReport, ProvenReport, RecoverableReport, ReportMutation, ServerReport,
        TermsReport,
    },
    reset::ResetBalance,
    token::TokenPage,
};

use super::{app, balance, currency, history, index, key, large, one_of_each, server, text};

/// Every answer, event and what is in them, each under a name of its own.
pub(crate) fn messages() -> Vec<(String, NodeToApp)> {
    let mut all = Vec::new();
    let response = |result| NodeToApp::Response { request_id: AppRequestId(7), result };
    for (name, reply) in replies() {
        all.push((format!("response/{name}"), response(Ok(reply))));
    }
    for (name, code) in codes() {
        let message = text("a sentence for people");
        all.push((format!("response/error/{name}"), response(Err(AppError { code, message }))));
    }
    for (name, event) in events() {
        all.push((format!("event/{name}"), NodeToApp::Event(event)));
    }
    for (name, status) in statuses() {
        let entry = JournalEntry::Payment(Box::new(payment(status)));
        let event = AppEvent::Journal(JournalEvent { number: 42, entry });
        all.push((format!("event/journal/payment/{name}"), NodeToApp::Event(event)));
    }
    for (name, failure) in failures() {
        let entry = JournalEntry::Payment(Box::new(payment(PaymentStatus::Failed(failure))));
        let event = AppEvent::Journal(JournalEvent { number: 43, entry });
        all.push((format!("event/journal/payment/failed/{name}"), NodeToApp::Event(event)));
    }
    for (name, why) in no_lines() {
        let failed = PaymentStatus::Failed(PaymentFailure::NoLine(why));
        let entry = JournalEntry::Payment(Box::new(payment(failed)));
        let event = AppEvent::Journal(JournalEvent { number: 43, entry });
        all.push((format!("event/journal/payment/failed/noLine/{name}"), NodeToApp::Event(event)));
    }
    for (name, status) in invoice_statuses() {
        let report = InvoiceReport { invoice: app::invoice(), status, held: false };
        let entry = JournalEntry::Invoice(Box::new(report));
        let event = AppEvent::Journal(JournalEvent { number: 44, entry });
        all.push((format!("event/journal/invoice/{name}"), NodeToApp::Event(event)));
    }
    for (name, mutation) in mutations() {
        let event = AppEvent::Mutation { sequence: 8, mutation: Box::new(mutation) };
        all.push((format!("event/mutation/{name}"), NodeToApp::Event(event)));
    }
    for (name, standing) in standings() {
        let friend = FriendReport { standing, ..friend() };
        let event = AppEvent::Friends { friends: vec![friend], more: false };
        all.push((format!("event/friends/{name}"), NodeToApp::Event(event)));
    }
    all
}

fn replies() -> Vec<(&'static str, AppReply)> {
    let page = EventPage { events: journal().to_vec(), up_to: 42, last: 50 };
    let next =
        InvoiceCursor { created_at: Timestamp(1_700_000_000_000), invoice_id: app::invoice().id() };
    let invoices = InvoicePage { invoices: vec![invoice()], next: Some(next) };
    let ways = Ok(index::multi_route());
    let quote = QuoteReport { destination: key(2), currency: currency(), amount: large(), ways };
    one_of_each!(AppReply {
        "done": AppReply::Done => AppReply::Done,
        "report": AppReply::Report(_) => AppReply::Report(Box::new(report())),
        "routes": AppReply::Routes(_) => AppReply::Routes(vec![index::multi_route()]),
        "payment": AppReply::Payment(_) => AppReply::Payment(Box::new(payment(PaymentStatus::Routing))),
        "invoice": AppReply::Invoice(_) => AppReply::Invoice(Box::new(invoice())),
        "events": AppReply::Events(_) => AppReply::Events(page),
        "invoices": AppReply::Invoices(_) => AppReply::Invoices(invoices),
        "quote": AppReply::Quote(_) => AppReply::Quote(Box::new(quote)),
        "capacity": AppReply::Capacity(_) => AppReply::Capacity(large()),
        "commit": AppReply::Commit(_) => AppReply::Commit(Box::new(app::commit())),
        "history": AppReply::History(_) => AppReply::History(history::page()),
        "pending": AppReply::Pending(_) => AppReply::Pending(history::pending_page()),
        "lastToken": AppReply::LastToken(_) => AppReply::LastToken(TokenPage {
            token_id: HashResult::from_bytes([0x24; 32]),
            total_bytes: 131_075,
            bytes: vec![1, 2, 3],
        }),
    })
}

fn codes() -> Vec<(&'static str, ErrorCode)> {
    use ErrorCode as C;
    one_of_each!(ErrorCode {
        "permissionDenied": C::PermissionDenied => C::PermissionDenied,
        "notFound": C::NotFound => C::NotFound,
        "alreadyExists": C::AlreadyExists => C::AlreadyExists,
        "invalid": C::Invalid => C::Invalid,
        "refused": C::Refused => C::Refused,
        "busy": C::Busy => C::Busy,
        "noConnection": C::NoConnection => C::NoConnection,
        "stopping": C::Stopping => C::Stopping,
        "limitReached": C::LimitReached => C::LimitReached,
        "notYet": C::NotYet => C::NotYet,
        "nothingToClear": C::NothingToClear => C::NothingToClear,
    })
}

fn events() -> Vec<(&'static str, AppEvent)> {
    let [payment, _] = journal();
    let mutation = Box::new(ReportMutation::RemoveFriend(key(2)));
    one_of_each!(AppEvent {
        "report": AppEvent::Report { .. } => AppEvent::Report { sequence: 7, report: Box::new(report()) },
        "friends": AppEvent::Friends { .. } => AppEvent::Friends { friends: vec![friend()], more: true },
        "mutation": AppEvent::Mutation { .. } => AppEvent::Mutation { sequence: 8, mutation },
        "journal": AppEvent::Journal(_) => AppEvent::Journal(payment),
    })
}

fn journal() -> [JournalEvent; 2] {
    let entries: Vec<_> = one_of_each!(JournalEntry {
        "payment": JournalEntry::Payment(_) => JournalEntry::Payment(Box::new(payment(PaymentStatus::Committed))),
        "invoice": JournalEntry::Invoice(_) => JournalEntry::Invoice(Box::new(invoice())),
    });
    let entries: [_; 2] = entries.try_into().unwrap();
    let mut number = 40;
    entries.map(|(_, entry)| {
        number += 1;
        JournalEvent { number, entry }
    })
}

fn statuses() -> Vec<(&'static str, PaymentStatus)> {
    use PaymentStatus as S;
    one_of_each!(PaymentStatus {
        "routing": S::Routing => S::Routing,
        "requesting": S::Requesting => S::Requesting,
        "complete": S::Complete => S::Complete,
        "committed": S::Committed => S::Committed,
        "succeeded": S::Succeeded { .. } => S::Succeeded { receipt: Box::new(receipt()), fee: Credits(3) },
        "failed": S::Failed(_) => S::Failed(PaymentFailure::Deadline),
        "cancelled": S::Cancelled => S::Cancelled,
        "unknown": S::Unknown => S::Unknown,
    })
}

fn failures() -> Vec<(&'static str, PaymentFailure)> {
    use PaymentFailure as F;
    let refused = F::Refused { reason: CancelReason::NoRoom, reporter: Some(key(3)) };
    one_of_each!(PaymentFailure {
        "noRoom": F::NoRoom { .. } => F::NoRoom { available: Credits(12) },
        "noCapacity": F::NoCapacity { .. } => F::NoCapacity { available: Credits(12) },
        "noLine": F::NoLine(_) => F::NoLine(NoLine::Closed),
        "noIndexServer": F::NoIndexServer => F::NoIndexServer,
        "noRoute": F::NoRoute => F::NoRoute,
        "feeTooHigh": F::FeeTooHigh { .. } => F::FeeTooHigh { fee: Credits(5) },
        "refused": F::Refused { .. } => refused,
        "noAnswer": F::NoAnswer { .. } => F::NoAnswer { friend: key(3) },
        "takenBack": F::TakenBack => F::TakenBack,
        "deadline": F::Deadline => F::Deadline,
        "expired": F::Expired => F::Expired,
    })
}

fn no_lines() -> Vec<(&'static str, NoLine)> {
    use NoLine as N;
    one_of_each!(NoLine {
        "unknown": N::Unknown => N::Unknown,
        "proposed": N::Proposed => N::Proposed,
        "removedByFriend": N::RemovedByFriend => N::RemovedByFriend,
        "removing": N::Removing => N::Removing,
        "inconsistent": N::Inconsistent => N::Inconsistent,
        "quarantined": N::Quarantined => N::Quarantined,
        "disabled": N::Disabled => N::Disabled,
        "offline": N::Offline => N::Offline,
        "closed": N::Closed => N::Closed,
    })
}

fn invoice_statuses() -> Vec<(&'static str, InvoiceStatus)> {
    use InvoiceStatus as S;
    one_of_each!(InvoiceStatus {
        "open": S::Open => S::Open,
        "requested": S::Requested => S::Requested,
        "complete": S::Complete => S::Complete,
        "committed": S::Committed => S::Committed,
        "collected": S::Collected => S::Collected,
        "cancelled": S::Cancelled => S::Cancelled,
        "expired": S::Expired => S::Expired,
    })
}

fn mutations() -> Vec<(&'static str, ReportMutation)> {
    use ReportMutation as M;
    one_of_each!(ReportMutation {
        "setDefaultCurrency": M::SetDefaultCurrency(_) => M::SetDefaultCurrency(currency()),
        "setAcceptsSpontaneous": M::SetAcceptsSpontaneous(_) => M::SetAcceptsSpontaneous(true),
        "setDecimals": M::SetDecimals(..) => M::SetDecimals(currency(), 2),
        "setRelays": M::SetRelays(_) => M::SetRelays(vec![server_report(5)]),
        "setIndexServers": M::SetIndexServers(_) => M::SetIndexServers(vec![server_report(6)]),
        "setFriend": M::SetFriend(_) => M::SetFriend(friend()),
        "removeFriend": M::RemoveFriend(_) => M::RemoveFriend(key(2)),
        "setRecovering": M::SetRecovering(_) => M::SetRecovering(true),
        "setRecoverable": M::SetRecoverable(_) => M::SetRecoverable(vec![recoverable()]),
    })
}

fn standings() -> Vec<(&'static str, FriendStanding)> {
    use FriendStanding as S;
    let balances = vec![ResetBalance { currency: currency(), balance: balance(-70) }];
    let reset_token = HashResult::from_bytes([0x24; 32]);
    let terms = TermsReport { reset_token, epoch: 3, pending: true, balances };
    let inconsistent = InconsistentReport {
        reason: text("the friend's token does not follow ours"),
        local: terms.clone(),
        remote: Some(terms),
        accepted: false,
        proven: vec![ProvenReport { currency: currency(), local: Credits(5), remote: Credits(0) }],
    };
    one_of_each!(FriendStanding {
        "consistent": S::Consistent => S::Consistent,
        "inconsistent": S::Inconsistent(_) => S::Inconsistent(Box::new(inconsistent)),
        "removing": S::Removing => S::Removing,
        "removedByFriend": S::RemovedByFriend => S::RemovedByFriend,
    })
}

fn report() -> NodeReport {
    NodeReport {
        public_key: key(1),
        default_currency: currency(),
        accepts_spontaneous: true,
        relays: vec![server_report(5)],
        index_servers: vec![server_report(6)],
        friends: vec![friend()],
        more_friends: true,
        decimals: [(currency(), 2)].into(),
        last_event: 41,
        recovering: true,
        recoverable: vec![recoverable()],
    }
}

fn recoverable() -> RecoverableReport {
    RecoverableReport {
        public_key: key(3),
        token: HashResult::from_bytes([0x24; 32]),
        currencies: friend().currencies,
    }
}

fn server_report(n: u8) -> ServerReport {
    ServerReport {
        name: "home".parse().unwrap(),
        server: server(n),
        connected: true,
        last_error: text(""),
    }
}

fn friend() -> FriendReport {
    let proposal = |opening: i128| Proposal {
        opening_balance: balance(opening),
        max_debt: Credits(1_000),
        requests_open: true,
    };
    let line = LineReport {
        balance: balance(-110),
        local_requests_open: true,
        remote_requests_open: true,
        local_max_debt: Credits(150),
        remote_max_debt: Credits::LIMIT,
        local_pending_debt: Credits(1),
        remote_pending_debt: large(),
        exposure: Credits(4),
    };
    let report = |name: &str, status| CurrencyReport {
        currency: name.parse().unwrap(),
        rate: Rate { ppm: 5_000, add: 1 },
        status,
    };
    let proposed =
        CurrencyStatus::Proposed { local: Some(proposal(100)), remote: Some(proposal(-50)) };
    FriendReport {
        name: "bob".parse().unwrap(),
        public_key: key(2),
        relays: vec![server(5)],
        enabled: true,
        online: true,
        last_error: text(""),
        currencies: vec![report("EUR", CurrencyStatus::Active(line)), report("hours", proposed)],
        standing: FriendStanding::Consistent,
        recovery: Default::default(),
    }
}

fn payment(status: PaymentStatus) -> PaymentReport {
    PaymentReport {
        payment_id: PaymentId::from_bytes([0x21; 16]),
        invoice_id: app::invoice().id(),
        destination: key(2),
        currency: currency(),
        amount: large(),
        created_at: Timestamp(1_700_000_000_000),
        status,
        parts: 2,
    }
}

fn invoice() -> InvoiceReport {
    InvoiceReport { invoice: app::invoice(), status: InvoiceStatus::Open, held: true }
}

pub(crate) fn receipt() -> Receipt {
    Receipt {
        response_hash: HashResult::from_bytes([0x35; 32]),
        invoice_id: app::invoice().id(),
        currency: currency(),
        src_plain_lock: PlainLock::from_bytes([0x37; 32]),
        dest_plain_lock: PlainLock::from_bytes([0x38; 32]),
        is_complete: true,
        dest_payment: large(),
        total_dest_payment: large(),
        signature: Signature::from_bytes([0x36; 64]),
    }
}
