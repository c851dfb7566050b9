//! What a node answers and tells.

use super::invoice::{
    INVOICE_REPORT_WORDS, invoice_page, invoice_report, set_invoice_page, set_invoice_report,
};
use crate::{
    Timestamp,
    app::{
        AppError, AppEvent, AppReply, AppRequestId, ErrorCode, EventPage, JournalEntry,
        JournalEvent, MAX_EVENTS, NoLine, NodeToApp, PaymentFailure, PaymentReport, PaymentStatus,
        QuoteReport,
    },
    codec::{
        Decoded, count, credits, fixed,
        friend::{cancel_reason, schema_reason},
        history,
        index::{multi_route_of, multi_route_words, multi_routes, set_multi_route},
        key, last_token, list, mirror, parse,
        payment::{commit, receipt, set_commit, set_receipt},
        report::{
            friend_of, friends_words, mutation, mutation_words, report, report_words, set_friend,
            set_mutation, set_report,
        },
        session, set_credits, set_list,
    },
    report::MAX_FRIENDS,
    schema::app_capnp::{
        self, app_event, app_reply, journal_event, node_to_app, payment_failure, payment_report,
        quote_report,
    },
    session::{Control, Packet},
};

mirror!(
    ErrorCode, app_capnp::ErrorCode, schema_code, error_code,
    PermissionDenied NotFound AlreadyExists Invalid Refused Busy NoConnection Stopping
    LimitReached NotYet NothingToClear
);

pub(super) fn words(message: &NodeToApp) -> usize {
    match message {
        NodeToApp::Response { result: Ok(reply), .. } => match reply {
            AppReply::Done => 0,
            AppReply::Report(report) => report_words(report),
            AppReply::Routes(routes) => 4 + routes.iter().map(multi_route_words).sum::<usize>(),
            AppReply::Payment(_)
            | AppReply::Invoice(_)
            | AppReply::Capacity(_)
            | AppReply::Commit(_) => 120,
            AppReply::History(page) => 4 + history::ENTRY_WORDS * page.entries.len(),
            AppReply::Pending(page) => 4 + history::ENTRY_WORDS * page.entries.len(),
            AppReply::Events(page) => 8 + 120 * page.events.len(),
            AppReply::Quote(quote) => 60 + quote.ways.as_ref().map_or(0, multi_route_words),
            AppReply::LastToken(page) => last_token::page_words(page),
            AppReply::Invoices(page) => 8 + INVOICE_REPORT_WORDS * page.invoices.len(),
        },
        NodeToApp::Event(event) => match event {
            AppEvent::Report { report, .. } => report_words(report),
            AppEvent::Mutation { mutation, .. } => mutation_words(mutation),
            AppEvent::Friends { friends, .. } => friends_words(friends),
            AppEvent::Journal(_) => 120,
        },
        NodeToApp::Response { result: Err(_), .. } => 40,
    }
}

pub(super) fn set_root(message: &NodeToApp, root: node_to_app::Builder<'_>) {
    match message {
        NodeToApp::Response { request_id, result } => {
            let mut response = root.init_response();
            response.set_request_id(request_id.0);
            match result {
                Ok(reply) => set_reply(reply, response.init_result().init_reply()),
                Err(AppError { code, message }) => {
                    let mut error = response.init_result().init_error();
                    error.set_code(schema_code(*code));
                    error.set_message(message.as_str());
                }
            }
        }
        NodeToApp::Event(event) => set_event(event, root.init_event()),
    }
}

pub(super) fn root(root: node_to_app::Reader<'_>) -> Decoded<Packet<NodeToApp>> {
    use node_to_app::{Which, response::result};
    Ok(Packet::Message(match root.which()? {
        Which::Hello(hello) => return session::hello(hello?),
        Which::Ping(()) => return Ok(Packet::Control(Control::Ping)),
        Which::Bye(bye) => return session::bye(bye?),
        Which::Response(response) => NodeToApp::Response {
            request_id: AppRequestId(response.get_request_id()),
            result: match response.get_result().which()? {
                result::Which::Reply(value) => Ok(reply(value?)?),
                result::Which::Error(error) => {
                    let error = error?;
                    Err(AppError {
                        code: error_code(error.get_code())?,
                        message: parse("message", error.get_message())?,
                    })
                }
            },
        },
        Which::Event(value) => NodeToApp::Event(event(value?)?),
    }))
}

fn set_reply(value: &AppReply, mut reply: app_reply::Builder<'_>) {
    match value {
        AppReply::Done => reply.set_done(()),
        AppReply::Report(report) => set_report(report, reply.init_report()),
        AppReply::Routes(routes) => {
            set_list(reply.init_routes(count(routes.len())), routes, set_multi_route);
        }
        AppReply::Payment(payment) => set_payment(payment, reply.init_payment()),
        AppReply::Invoice(invoice) => set_invoice_report(invoice, reply.init_invoice()),
        AppReply::History(page) => history::set_page(page, reply.init_history()),
        AppReply::Pending(page) => history::set_pending_page(page, reply.init_pending()),
        AppReply::Events(page) => {
            let mut events = reply.init_events();
            let list = events.reborrow().init_events(count(page.events.len()));
            set_list(list, &page.events, set_journal_event);
            events.set_up_to(page.up_to);
            events.set_last(page.last);
        }
        AppReply::Invoices(page) => set_invoice_page(page, reply.init_invoices()),
        AppReply::Quote(quote) => set_quote(quote, reply.init_quote()),
        AppReply::Capacity(capacity) => set_credits(*capacity, reply.init_capacity()),
        AppReply::Commit(commit) => set_commit(commit, reply.init_commit()),
        AppReply::LastToken(page) => last_token::set_page(page, reply.init_last_token()),
    }
}

fn reply(reply: app_reply::Reader<'_>) -> Decoded<AppReply> {
    use app_reply::Which;
    Ok(match reply.which()? {
        Which::Done(()) => AppReply::Done,
        Which::Report(value) => AppReply::Report(Box::new(report(value?)?)),
        Which::Routes(routes) => AppReply::Routes(multi_routes(routes?)?),
        Which::Payment(payment) => AppReply::Payment(Box::new(payment_of(payment?)?)),
        Which::Invoice(invoice) => AppReply::Invoice(Box::new(invoice_report(invoice?)?)),
        Which::History(page) => AppReply::History(history::page(page?)?),
        Which::Pending(page) => AppReply::Pending(history::pending_page(page?)?),
        Which::Events(events) => AppReply::Events(EventPage {
            events: list("events", events.get_events()?, MAX_EVENTS, journal_event)?,
            up_to: events.get_up_to(),
            last: events.get_last(),
        }),
        Which::Invoices(page) => AppReply::Invoices(invoice_page(page?)?),
        Which::Quote(quote) => AppReply::Quote(Box::new(quote_of(quote?)?)),
        Which::Capacity(capacity) => AppReply::Capacity(credits(capacity?)),
        Which::Commit(value) => AppReply::Commit(Box::new(commit(value?)?)),
        Which::LastToken(page) => AppReply::LastToken(last_token::page_of(page?)?),
    })
}

fn set_event(value: &AppEvent, event: app_event::Builder<'_>) {
    match value {
        AppEvent::Report { sequence, report } => {
            let mut group = event.init_report();
            group.set_sequence(*sequence);
            set_report(report, group.init_report());
        }
        AppEvent::Mutation { sequence, mutation } => {
            let mut group = event.init_mutation();
            group.set_sequence(*sequence);
            set_mutation(mutation, group.init_mutation());
        }
        AppEvent::Friends { friends, more } => {
            let mut group = event.init_friends();
            let list = group.reborrow().init_friends(count(friends.len()));
            set_list(list, friends, set_friend);
            group.set_more(*more);
        }
        AppEvent::Journal(entry) => set_journal_event(entry, event.init_journal()),
    }
}

fn set_journal_event(value: &JournalEvent, mut event: journal_event::Builder<'_>) {
    event.set_number(value.number);
    match &value.entry {
        JournalEntry::Payment(payment) => set_payment(payment, event.init_payment()),
        JournalEntry::Invoice(invoice) => set_invoice_report(invoice, event.init_invoice()),
    }
}

fn journal_event(event: journal_event::Reader<'_>) -> Decoded<JournalEvent> {
    use journal_event::Which;
    let entry = match event.which()? {
        Which::Payment(payment) => JournalEntry::Payment(Box::new(payment_of(payment?)?)),
        Which::Invoice(invoice) => JournalEntry::Invoice(Box::new(invoice_report(invoice?)?)),
    };
    Ok(JournalEvent { number: event.get_number(), entry })
}

fn event(event: app_event::Reader<'_>) -> Decoded<AppEvent> {
    use app_event::Which;
    Ok(match event.which()? {
        Which::Report(group) => AppEvent::Report {
            sequence: group.get_sequence(),
            report: Box::new(report(group.get_report()?)?),
        },
        Which::Mutation(group) => AppEvent::Mutation {
            sequence: group.get_sequence(),
            mutation: Box::new(mutation(group.get_mutation()?)?),
        },
        Which::Friends(group) => AppEvent::Friends {
            friends: list("friends", group.get_friends()?, MAX_FRIENDS, friend_of)?,
            more: group.get_more(),
        },
        Which::Journal(event) => AppEvent::Journal(journal_event(event?)?),
    })
}

fn set_payment(value: &PaymentReport, mut report: payment_report::Builder<'_>) {
    report.set_payment_id(value.payment_id.as_bytes());
    report.set_invoice_id(value.invoice_id.as_bytes());
    report.set_destination(value.destination.as_bytes());
    report.set_currency(value.currency.as_str());
    set_credits(value.amount, report.reborrow().init_amount());
    report.set_created_at(value.created_at.0);
    report.set_parts(value.parts);
    let mut status = report.init_status();
    match &value.status {
        PaymentStatus::Routing => status.set_routing(()),
        PaymentStatus::Requesting => status.set_requesting(()),
        PaymentStatus::Committed => status.set_committed(()),
        PaymentStatus::Succeeded { receipt, fee } => {
            let mut succeeded = status.init_succeeded();
            set_receipt(receipt, succeeded.reborrow().init_receipt());
            set_credits(*fee, succeeded.init_fee());
        }
        PaymentStatus::Failed(failure) => set_failure(failure, status.init_failed()),
        PaymentStatus::Cancelled => status.set_cancelled(()),
        PaymentStatus::Unknown => status.set_unknown(()),
        PaymentStatus::Complete => status.set_complete(()),
    }
}

fn payment_of(report: payment_report::Reader<'_>) -> Decoded<PaymentReport> {
    use payment_report::status::Which;
    let status = match report.get_status().which()? {
        Which::Routing(()) => PaymentStatus::Routing,
        Which::Requesting(()) => PaymentStatus::Requesting,
        Which::Committed(()) => PaymentStatus::Committed,
        Which::Succeeded(succeeded) => PaymentStatus::Succeeded {
            receipt: Box::new(receipt(succeeded.get_receipt()?)?),
            fee: credits(succeeded.get_fee()?),
        },
        Which::Failed(value) => PaymentStatus::Failed(failure(value?)?),
        Which::Cancelled(()) => PaymentStatus::Cancelled,
        Which::Unknown(()) => PaymentStatus::Unknown,
        Which::Complete(()) => PaymentStatus::Complete,
    };
    Ok(PaymentReport {
        payment_id: fixed("paymentId", report.get_payment_id())?,
        invoice_id: fixed("invoiceId", report.get_invoice_id())?,
        destination: key("destination", report.get_destination())?,
        currency: parse("currency", report.get_currency())?,
        amount: credits(report.get_amount()?),
        created_at: Timestamp(report.get_created_at()),
        status,
        parts: report.get_parts(),
    })
}

fn set_quote(value: &QuoteReport, mut quote: quote_report::Builder<'_>) {
    quote.set_destination(value.destination.as_bytes());
    quote.set_currency(value.currency.as_str());
    set_credits(value.amount, quote.reborrow().init_amount());
    match &value.ways {
        Ok(ways) => set_multi_route(ways, quote.init_ways()),
        Err(failure) => set_failure(failure, quote.init_failure()),
    }
}

fn quote_of(quote: quote_report::Reader<'_>) -> Decoded<QuoteReport> {
    use quote_report::Which;
    Ok(QuoteReport {
        destination: key("destination", quote.get_destination())?,
        currency: parse("currency", quote.get_currency())?,
        amount: credits(quote.get_amount()?),
        ways: match quote.which()? {
            Which::Ways(ways) => Ok(multi_route_of(ways?)?),
            Which::Failure(value) => Err(failure(value?)?),
        },
    })
}

mirror!(
    NoLine, app_capnp::NoLine, schema_no_line, no_line,
    Unknown Proposed RemovedByFriend Removing Inconsistent Quarantined Disabled Offline Closed
);

fn set_failure(value: &PaymentFailure, mut failure: payment_failure::Builder<'_>) {
    match value {
        PaymentFailure::NoRoom { available } => set_credits(*available, failure.init_no_room()),
        PaymentFailure::NoLine(why) => failure.set_no_line(schema_no_line(*why)),
        PaymentFailure::NoIndexServer => failure.set_no_index_server(()),
        PaymentFailure::NoRoute => failure.set_no_route(()),
        PaymentFailure::FeeTooHigh { fee } => set_credits(*fee, failure.init_fee_too_high()),
        PaymentFailure::Refused { reason, reporter } => {
            let mut refused = failure.init_refused();
            refused.set_reason(schema_reason(*reason));
            if let Some(reporter) = reporter {
                refused.set_reporter(reporter.as_bytes());
            }
        }
        PaymentFailure::Deadline => failure.set_deadline(()),
        PaymentFailure::Expired => failure.set_expired(()),
        PaymentFailure::NoCapacity { available } => {
            set_credits(*available, failure.init_no_capacity());
        }
        PaymentFailure::TakenBack => failure.set_taken_back(()),
        PaymentFailure::NoAnswer { friend } => failure.set_no_answer(friend.as_bytes()),
    }
}

fn failure(failure: payment_failure::Reader<'_>) -> Decoded<PaymentFailure> {
    use payment_failure::Which;
    Ok(match failure.which()? {
        Which::NoRoom(available) => PaymentFailure::NoRoom { available: credits(available?) },
        Which::NoLine(why) => PaymentFailure::NoLine(no_line(why)?),
        Which::NoIndexServer(()) => PaymentFailure::NoIndexServer,
        Which::NoRoute(()) => PaymentFailure::NoRoute,
        Which::FeeTooHigh(fee) => PaymentFailure::FeeTooHigh { fee: credits(fee?) },
        Which::Refused(refused) => {
            let reporter = refused.has_reporter().then(|| key("reporter", refused.get_reporter()));
            PaymentFailure::Refused {
                reason: cancel_reason(refused.get_reason())?,
                reporter: reporter.transpose()?,
            }
        }
        Which::Deadline(()) => PaymentFailure::Deadline,
        Which::Expired(()) => PaymentFailure::Expired,
        Which::NoCapacity(available) => {
            PaymentFailure::NoCapacity { available: credits(available?) }
        }
        Which::TakenBack(()) => PaymentFailure::TakenBack,
        Which::NoAnswer(friend) => PaymentFailure::NoAnswer { friend: key("noAnswer", friend)? },
    })
}
