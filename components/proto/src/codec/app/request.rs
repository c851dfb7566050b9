//! What applications ask.

use super::{
    default_currency,
    invoice::{create_of, invoices, set_create, set_invoices},
};
use crate::{
    Name, ServerAddress,
    app::{
        AppRequest, AppRequestId, AppToNode, ClearRequest, ConfigRequest, PayRequest, PaymentTarget,
    },
    codec::{
        Decoded, balance, count, credits, edge_of, fixed, history, key, limit, list, parse,
        payment::{commit, invoice, set_commit, set_invoice},
        rate_of,
        report::decimals,
        server, session, set_balance, set_credits, set_edge, set_list, set_rate, set_server,
    },
    friend::MAX_RELAYS,
    index::MAX_EXCLUDED_EDGES,
    schema::app_capnp::{
        app_request, app_to_node, clear_request, config_request, named_server, pay_request,
    },
    session::{Control, Packet},
};

pub(super) fn words(message: &AppToNode) -> usize {
    match &message.request {
        AppRequest::Routes { exclude, .. } => 20 + 12 * exclude.len(),
        AppRequest::Config(
            ConfigRequest::AddFriend { relays, .. } | ConfigRequest::SetFriendRelays { relays, .. },
        ) => 40 + 40 * relays.len(),
        AppRequest::Report { .. }
        | AppRequest::Subscribe
        | AppRequest::Events { .. }
        | AppRequest::Config(_)
        | AppRequest::Pay(_)
        | AppRequest::Clear(_)
        | AppRequest::PayByCommit(_)
        | AppRequest::PaymentCommit { .. }
        | AppRequest::CancelPayment { .. }
        | AppRequest::PaymentStatus { .. }
        | AppRequest::CreateInvoice(_)
        | AppRequest::CancelInvoice { .. }
        | AppRequest::InvoiceStatus { .. }
        | AppRequest::Quote(_)
        | AppRequest::Capacity { .. }
        | AppRequest::LastToken { .. }
        | AppRequest::CommitInvoice(_)
        | AppRequest::CollectInvoice { .. }
        | AppRequest::Invoices { .. }
        | AppRequest::History(_)
        | AppRequest::Pending(_) => 120,
    }
}

pub(super) fn set_root(message: &AppToNode, root: app_to_node::Builder<'_>) {
    let mut group = root.init_request();
    group.set_request_id(message.request_id.0);
    set_request(&message.request, group.init_request());
}

pub(super) fn root(root: app_to_node::Reader<'_>) -> Decoded<Packet<AppToNode>> {
    use app_to_node::Which;
    match root.which()? {
        Which::Hello(hello) => session::hello(hello?),
        Which::Ping(()) => Ok(Packet::Control(Control::Ping)),
        Which::Bye(bye) => session::bye(bye?),
        Which::Request(group) => Ok(Packet::Message(AppToNode {
            request_id: AppRequestId(group.get_request_id()),
            request: request(group.get_request()?)?,
        })),
    }
}

fn set_request(value: &AppRequest, mut request: app_request::Builder<'_>) {
    match value {
        AppRequest::Report { friends_after, friends_at_most } => {
            let mut report = request.init_report();
            if let Some(friend) = friends_after {
                report.set_friends_after(friend.as_bytes());
            }
            report.set_friends_at_most(*friends_at_most);
        }
        AppRequest::Subscribe => request.set_subscribe(()),
        AppRequest::Events { after } => request.set_events(*after),
        AppRequest::Config(config) => set_config(config, request.init_config()),
        AppRequest::Routes { currency, amount, destination, exclude } => {
            let mut routes = request.init_routes();
            if let Some(currency) = currency {
                routes.set_currency(currency.as_str());
            }
            set_credits(*amount, routes.reborrow().init_amount());
            routes.set_destination(destination.as_bytes());
            set_list(routes.init_exclude(count(exclude.len())), exclude, set_edge);
        }
        AppRequest::Pay(pay) => set_pay(pay, request.init_pay()),
        AppRequest::PayByCommit(pay) => set_pay(pay, request.init_pay_by_commit()),
        AppRequest::PaymentCommit { payment_id } => {
            request.set_payment_commit(payment_id.as_bytes());
        }
        AppRequest::CancelPayment { payment_id } => {
            request.set_cancel_payment(payment_id.as_bytes());
        }
        AppRequest::PaymentStatus { payment_id } => {
            request.set_payment_status(payment_id.as_bytes());
        }
        AppRequest::CreateInvoice(create) => set_create(create, request.init_create_invoice()),
        AppRequest::CancelInvoice { invoice_id } => {
            request.set_cancel_invoice(invoice_id.as_bytes());
        }
        AppRequest::InvoiceStatus { invoice_id } => {
            request.set_invoice_status(invoice_id.as_bytes());
        }
        AppRequest::History(query) => history::set_query(query, request.init_history()),
        AppRequest::Pending(after) => {
            history::set_pending_after(after.as_ref(), request.init_pending());
        }
        AppRequest::CommitInvoice(commit) => set_commit(commit, request.init_commit_invoice()),
        AppRequest::CollectInvoice { invoice_id } => {
            request.set_collect_invoice(invoice_id.as_bytes());
        }
        AppRequest::Invoices { status, after } => {
            set_invoices(*status, *after, request.init_invoices());
        }
        AppRequest::Clear(clear) => set_clear(clear, request.init_clear()),
        AppRequest::Quote(pay) => set_pay(pay, request.init_quote()),
        AppRequest::Capacity { currency, peer, receive } => {
            let mut capacity = request.init_capacity();
            if let Some(currency) = currency {
                capacity.set_currency(currency.as_str());
            }
            capacity.set_peer(peer.as_bytes());
            capacity.set_receive(*receive);
        }
        AppRequest::LastToken { friend, page } => {
            let mut last = request.init_last_token();
            last.set_friend(friend.as_str());
            last.set_page(*page);
        }
    }
}

fn request(request: app_request::Reader<'_>) -> Decoded<AppRequest> {
    use app_request::Which;
    Ok(match request.which()? {
        Which::Report(report) => AppRequest::Report {
            friends_after: if report.has_friends_after() {
                Some(key("friendsAfter", report.get_friends_after())?)
            } else {
                None
            },
            friends_at_most: report.get_friends_at_most(),
        },
        Which::Subscribe(()) => AppRequest::Subscribe,
        Which::Events(after) => AppRequest::Events { after },
        Which::Config(config) => AppRequest::Config(config_of(config?)?),
        Which::Routes(routes) => AppRequest::Routes {
            currency: default_currency(routes.has_currency(), routes.get_currency())?,
            amount: credits(routes.get_amount()?),
            destination: key("destination", routes.get_destination())?,
            exclude: list("exclude", routes.get_exclude()?, MAX_EXCLUDED_EDGES, edge_of)?,
        },
        Which::Pay(pay) => AppRequest::Pay(pay_of(pay?)?),
        Which::PayByCommit(pay) => AppRequest::PayByCommit(pay_of(pay?)?),
        Which::PaymentCommit(id) => {
            AppRequest::PaymentCommit { payment_id: fixed("paymentCommit", id)? }
        }
        Which::CancelPayment(id) => {
            AppRequest::CancelPayment { payment_id: fixed("cancelPayment", id)? }
        }
        Which::PaymentStatus(id) => {
            AppRequest::PaymentStatus { payment_id: fixed("paymentStatus", id)? }
        }
        Which::CreateInvoice(create) => AppRequest::CreateInvoice(create_of(create?)?),
        Which::CancelInvoice(id) => {
            AppRequest::CancelInvoice { invoice_id: fixed("cancelInvoice", id)? }
        }
        Which::InvoiceStatus(id) => {
            AppRequest::InvoiceStatus { invoice_id: fixed("invoiceStatus", id)? }
        }
        Which::History(query) => AppRequest::History(history::query(query?)?),
        Which::Pending(after) => AppRequest::Pending(history::pending_after(after?)?),
        Which::CommitInvoice(value) => AppRequest::CommitInvoice(Box::new(commit(value?)?)),
        Which::CollectInvoice(id) => {
            AppRequest::CollectInvoice { invoice_id: fixed("collectInvoice", id)? }
        }
        Which::Invoices(group) => {
            let (status, after) = invoices(group)?;
            AppRequest::Invoices { status, after }
        }
        Which::Clear(clear) => AppRequest::Clear(clear_of(clear?)?),
        Which::Quote(pay) => AppRequest::Quote(pay_of(pay?)?),
        Which::Capacity(capacity) => AppRequest::Capacity {
            currency: default_currency(capacity.has_currency(), capacity.get_currency())?,
            peer: key("peer", capacity.get_peer())?,
            receive: capacity.get_receive(),
        },
        Which::LastToken(last) => AppRequest::LastToken {
            friend: parse("friend", last.get_friend())?,
            page: last.get_page(),
        },
    })
}

fn set_named(name: &Name, server: &ServerAddress, mut builder: named_server::Builder<'_>) {
    builder.set_name(name.as_str());
    set_server(server, builder.init_server());
}

fn named(value: named_server::Reader<'_>) -> Decoded<(Name, ServerAddress)> {
    Ok((parse("name", value.get_name())?, server(value.get_server()?)?))
}

fn set_config(value: &ConfigRequest, mut config: config_request::Builder<'_>) {
    match value {
        ConfigRequest::AddRelay { name, relay } => set_named(name, relay, config.init_add_relay()),
        ConfigRequest::RemoveRelay { name } => config.set_remove_relay(name.as_str()),
        ConfigRequest::AddIndexServer { name, server } => {
            set_named(name, server, config.init_add_index_server());
        }
        ConfigRequest::RemoveIndexServer { name } => {
            config.set_remove_index_server(name.as_str());
        }
        ConfigRequest::SetDefaultCurrency { currency } => {
            config.set_set_default_currency(currency.as_str());
        }
        ConfigRequest::SetDecimals { currency, decimals } => {
            let mut set = config.init_set_decimals();
            if let Some(currency) = currency {
                set.set_currency(currency.as_str());
            }
            set.set_decimals(*decimals);
        }
        ConfigRequest::SetSpontaneous { accept } => config.set_set_spontaneous(*accept),
        ConfigRequest::SetRetention { days } => config.set_set_retention(days.unwrap_or(0)),
        ConfigRequest::RecoverFriend { friend, token, public_key } => {
            let mut recover = config.init_recover_friend();
            recover.set_friend(friend.as_str());
            recover.set_token(token.as_bytes());
            if let Some(key) = public_key {
                recover.set_public_key(key.as_bytes());
            }
        }
        ConfigRequest::EndRecovery { cancel_unknown } => config.set_end_recovery(*cancel_unknown),
        ConfigRequest::AddFriend { name, public_key, relays, currency, opening_balance } => {
            let mut add = config.init_add_friend();
            add.set_name(name.as_str());
            add.set_public_key(public_key.as_bytes());
            set_list(add.reborrow().init_relays(count(relays.len())), relays, set_server);
            if let Some(currency) = currency {
                add.set_currency(currency.as_str());
            }
            set_balance(*opening_balance, add.init_opening_balance());
        }
        ConfigRequest::SetFriendRelays { friend, public_key, relays } => {
            let mut set = config.init_set_friend_relays();
            set.set_friend(friend.as_str());
            set.set_public_key(public_key.as_bytes());
            set_list(set.init_relays(count(relays.len())), relays, set_server);
        }
        ConfigRequest::SetFriendName { friend, new_name } => {
            let mut set = config.init_set_friend_name();
            set.set_friend(friend.as_str());
            set.set_new_name(new_name.as_str());
        }
        ConfigRequest::SetFriendEnabled { friend, enabled } => {
            let mut set = config.init_set_friend_enabled();
            set.set_friend(friend.as_str());
            set.set_enabled(*enabled);
        }
        ConfigRequest::AddCurrency { friend, currency, opening_balance } => {
            let mut add = config.init_add_currency();
            add.set_friend(friend.as_str());
            add.set_currency(currency.as_str());
            set_balance(*opening_balance, add.init_opening_balance());
        }
        ConfigRequest::RemoveCurrency { friend, currency } => {
            let mut remove = config.init_remove_currency();
            remove.set_friend(friend.as_str());
            remove.set_currency(currency.as_str());
        }
        ConfigRequest::SetRequestsOpen { friend, currency, open } => {
            let mut set = config.init_set_requests_open();
            set.set_friend(friend.as_str());
            if let Some(currency) = currency {
                set.set_currency(currency.as_str());
            }
            set.set_open(*open);
        }
        ConfigRequest::SetMaxDebt { friend, currency, max_debt } => {
            let mut set = config.init_set_max_debt();
            set.set_friend(friend.as_str());
            if let Some(currency) = currency {
                set.set_currency(currency.as_str());
            }
            set_credits(*max_debt, set.init_max_debt());
        }
        ConfigRequest::SetRate { friend, currency, rate } => {
            let mut set = config.init_set_rate();
            set.set_friend(friend.as_str());
            if let Some(currency) = currency {
                set.set_currency(currency.as_str());
            }
            set_rate(*rate, set.init_rate());
        }
        ConfigRequest::ResetFriend { friend, reset_token } => {
            let mut reset = config.init_reset_friend();
            reset.set_friend(friend.as_str());
            reset.set_reset_token(reset_token.as_bytes());
        }
        ConfigRequest::RemoveFriend { friend, forfeit } => {
            let mut remove = config.init_remove_friend();
            remove.set_friend(friend.as_str());
            remove.set_forfeit(*forfeit);
        }
    }
}

fn config_of(config: config_request::Reader<'_>) -> Decoded<ConfigRequest> {
    use config_request::Which;
    Ok(match config.which()? {
        Which::AddRelay(server) => {
            let (name, relay) = named(server?)?;
            ConfigRequest::AddRelay { name, relay }
        }
        Which::RemoveRelay(name) => ConfigRequest::RemoveRelay { name: parse("name", name)? },
        Which::AddIndexServer(server) => {
            let (name, server) = named(server?)?;
            ConfigRequest::AddIndexServer { name, server }
        }
        Which::RemoveIndexServer(name) => {
            ConfigRequest::RemoveIndexServer { name: parse("name", name)? }
        }
        Which::SetDefaultCurrency(currency) => {
            ConfigRequest::SetDefaultCurrency { currency: parse("currency", currency)? }
        }
        Which::SetDecimals(set) => ConfigRequest::SetDecimals {
            currency: default_currency(set.has_currency(), set.get_currency())?,
            decimals: decimals(set.get_decimals())?,
        },
        Which::SetSpontaneous(accept) => ConfigRequest::SetSpontaneous { accept },
        Which::SetRetention(days) => {
            ConfigRequest::SetRetention { days: Some(days).filter(|days| *days != 0) }
        }
        Which::ResetFriend(reset) => ConfigRequest::ResetFriend {
            friend: parse("friend", reset.get_friend())?,
            reset_token: fixed("resetToken", reset.get_reset_token())?,
        },
        Which::RemoveFriend(remove) => ConfigRequest::RemoveFriend {
            friend: parse("friend", remove.get_friend())?,
            forfeit: remove.get_forfeit(),
        },
        Which::RecoverFriend(recover) => ConfigRequest::RecoverFriend {
            friend: parse("friend", recover.get_friend())?,
            token: fixed("token", recover.get_token())?,
            public_key: if recover.has_public_key() {
                Some(key("publicKey", recover.get_public_key())?)
            } else {
                None
            },
        },
        Which::EndRecovery(cancel_unknown) => ConfigRequest::EndRecovery { cancel_unknown },
        Which::AddFriend(add) => ConfigRequest::AddFriend {
            name: parse("name", add.get_name())?,
            public_key: key("publicKey", add.get_public_key())?,
            relays: list("relays", add.get_relays()?, MAX_RELAYS, server)?,
            currency: default_currency(add.has_currency(), add.get_currency())?,
            opening_balance: balance("openingBalance", add.get_opening_balance()?)?,
        },
        Which::SetFriendRelays(set) => ConfigRequest::SetFriendRelays {
            friend: parse("friend", set.get_friend())?,
            public_key: key("publicKey", set.get_public_key())?,
            relays: list("relays", set.get_relays()?, MAX_RELAYS, server)?,
        },
        Which::SetFriendName(set) => ConfigRequest::SetFriendName {
            friend: parse("friend", set.get_friend())?,
            new_name: parse("newName", set.get_new_name())?,
        },
        Which::SetFriendEnabled(set) => ConfigRequest::SetFriendEnabled {
            friend: parse("friend", set.get_friend())?,
            enabled: set.get_enabled(),
        },
        Which::AddCurrency(add) => ConfigRequest::AddCurrency {
            friend: parse("friend", add.get_friend())?,
            currency: parse("currency", add.get_currency())?,
            opening_balance: balance("openingBalance", add.get_opening_balance()?)?,
        },
        Which::RemoveCurrency(remove) => ConfigRequest::RemoveCurrency {
            friend: parse("friend", remove.get_friend())?,
            currency: parse("currency", remove.get_currency())?,
        },
        Which::SetRequestsOpen(set) => ConfigRequest::SetRequestsOpen {
            friend: parse("friend", set.get_friend())?,
            currency: default_currency(set.has_currency(), set.get_currency())?,
            open: set.get_open(),
        },
        Which::SetMaxDebt(set) => ConfigRequest::SetMaxDebt {
            friend: parse("friend", set.get_friend())?,
            currency: default_currency(set.has_currency(), set.get_currency())?,
            max_debt: limit("maxDebt", set.get_max_debt()?)?,
        },
        Which::SetRate(set) => ConfigRequest::SetRate {
            friend: parse("friend", set.get_friend())?,
            currency: default_currency(set.has_currency(), set.get_currency())?,
            rate: rate_of(set.get_rate()?),
        },
    })
}

fn set_clear(value: &ClearRequest, mut clear: clear_request::Builder<'_>) {
    clear.set_payment_id(value.payment_id.as_bytes());
    if let Some(currency) = &value.currency {
        clear.set_currency(currency.as_str());
    }
    if let Some(friend) = &value.friend {
        clear.set_friend(friend.as_str());
    }
    clear.set_max_fee_ppm(value.max_fee_ppm);
    if let Some(max_fee) = value.max_fee {
        set_credits(max_fee, clear.init_max_fee());
    }
}

fn clear_of(clear: clear_request::Reader<'_>) -> Decoded<ClearRequest> {
    let friend = clear.has_friend().then(|| parse("friend", clear.get_friend()));
    let max_fee = clear.has_max_fee().then(|| clear.get_max_fee().map(credits));
    Ok(ClearRequest {
        payment_id: fixed("paymentId", clear.get_payment_id())?,
        currency: default_currency(clear.has_currency(), clear.get_currency())?,
        friend: friend.transpose()?,
        max_fee: max_fee.transpose()?,
        max_fee_ppm: clear.get_max_fee_ppm(),
    })
}

fn set_pay(value: &PayRequest, mut pay: pay_request::Builder<'_>) {
    pay.set_payment_id(value.payment_id.as_bytes());
    let target = pay.reborrow().init_target();
    match &value.target {
        PaymentTarget::Invoice(invoice) => set_invoice(invoice, target.init_invoice()),
        PaymentTarget::Spontaneous { destination, amount, currency } => {
            let mut spontaneous = target.init_spontaneous();
            spontaneous.set_destination(destination.as_bytes());
            set_credits(*amount, spontaneous.reborrow().init_amount());
            if let Some(currency) = currency {
                spontaneous.set_currency(currency.as_str());
            }
        }
    }
    if let Some(max_fee) = value.max_fee {
        set_credits(max_fee, pay.reborrow().init_max_fee());
    }
    let mut deadline = pay.reborrow().init_deadline();
    match value.deadline_ms {
        None => deadline.set_standard(()),
        Some(ms) => deadline.set_after_ms(ms),
    }
    pay.set_note(value.note.as_str());
    pay.set_max_parts(value.max_parts.unwrap_or(0));
}

fn pay_of(pay: pay_request::Reader<'_>) -> Decoded<PayRequest> {
    use pay_request::{deadline, target};
    let target = match pay.get_target().which()? {
        target::Which::Invoice(value) => PaymentTarget::Invoice(Box::new(invoice(value?)?)),
        target::Which::Spontaneous(spontaneous) => PaymentTarget::Spontaneous {
            destination: key("destination", spontaneous.get_destination())?,
            amount: credits(spontaneous.get_amount()?),
            currency: default_currency(spontaneous.has_currency(), spontaneous.get_currency())?,
        },
    };
    Ok(PayRequest {
        payment_id: fixed("paymentId", pay.get_payment_id())?,
        target,
        max_fee: if pay.has_max_fee() { Some(credits(pay.get_max_fee()?)) } else { None },
        deadline_ms: match pay.get_deadline().which()? {
            deadline::Which::Standard(()) => None,
            deadline::Which::AfterMs(ms) => Some(ms),
        },
        note: parse("note", pay.get_note())?,
        max_parts: Some(pay.get_max_parts()).filter(|parts| *parts != 0),
    })
}
