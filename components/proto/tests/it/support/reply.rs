//! Answers and events for applications.

use super::*;

pub(crate) fn node_to_app() -> BoxedStrategy<NodeToApp> {
    let reply = prop_oneof![
        Just(AppReply::Done),
        report().prop_map(|report| AppReply::Report(Box::new(report))),
        multi_routes().prop_map(AppReply::Routes),
        payment_report().prop_map(|payment| AppReply::Payment(Box::new(payment))),
        invoice_report().prop_map(|invoice| AppReply::Invoice(Box::new(invoice))),
        (vec(history_entry(), 0..4), any::<u64>())
            .prop_map(|(entries, next)| AppReply::History(HistoryPage { entries, next })),
        (any::<u64>(), vec(pending_entry(), 0..4), any::<bool>()).prop_map(
            |(now, entries, more)| {
                AppReply::Pending(PendingPage { now: Timestamp(now), entries, more })
            }
        ),
        (vec(journal_event(), 0..4), any::<u64>(), any::<u64>())
            .prop_map(|(events, up_to, last)| AppReply::Events(EventPage { events, up_to, last })),
        invoice_page().prop_map(AppReply::Invoices),
        quote().prop_map(|quote| AppReply::Quote(Box::new(quote))),
        credits().prop_map(AppReply::Capacity),
        commit().prop_map(|commit| AppReply::Commit(Box::new(commit))),
        (hash(), 0..=1_u32 << 20, vec(any::<u8>(), 0..2_000)).prop_map(
            |(token_id, total_bytes, bytes)| {
                AppReply::LastToken(TokenPage { token_id, total_bytes, bytes })
            }
        ),
    ];
    let error = (error_code(), text()).prop_map(|(code, message)| AppError { code, message });
    let result = prop_oneof![3 => reply.prop_map(Ok), 1 => error.prop_map(Err)];
    let event = prop_oneof![
        (any::<u64>(), report())
            .prop_map(|(sequence, report)| AppEvent::Report { sequence, report: Box::new(report) }),
        (any::<u64>(), mutation()).prop_map(|(sequence, mutation)| AppEvent::Mutation {
            sequence,
            mutation: Box::new(mutation)
        }),
        (vec(friend_report(), 0..4), any::<bool>())
            .prop_map(|(friends, more)| AppEvent::Friends { friends, more }),
        journal_event().prop_map(AppEvent::Journal),
    ];
    prop_oneof![
        (any::<u64>(), result)
            .prop_map(|(id, result)| NodeToApp::Response { request_id: AppRequestId(id), result }),
        event.prop_map(NodeToApp::Event),
    ]
    .boxed()
}

pub(super) fn journal_event() -> impl Strategy<Value = JournalEvent> {
    let entry = prop_oneof![
        payment_report().prop_map(|payment| JournalEntry::Payment(Box::new(payment))),
        invoice_report().prop_map(|invoice| JournalEntry::Invoice(Box::new(invoice))),
    ];
    (any::<u64>(), entry).prop_map(|(number, entry)| JournalEvent { number, entry })
}

pub(super) fn error_code() -> impl Strategy<Value = ErrorCode> {
    use ErrorCode as C;
    select(vec![
        C::PermissionDenied,
        C::NotFound,
        C::AlreadyExists,
        C::Invalid,
        C::Refused,
        C::Busy,
        C::NoConnection,
        C::Stopping,
        C::LimitReached,
        C::NotYet,
        C::NothingToClear,
    ])
}
