//! Requests of applications.

use super::*;

pub(crate) fn app_to_node() -> BoxedStrategy<AppToNode> {
    let routes = (option::of(currency()), credits(), key(), vec(edge(), 0..4)).prop_map(
        |(currency, amount, destination, exclude)| AppRequest::Routes {
            currency,
            amount,
            destination,
            exclude,
        },
    );
    let hold =
        prop_oneof![Just(Hold::None), Just(Hold::Standard), any::<u64>().prop_map(Hold::ForMs)];
    let terms = (option::of(currency()), credits(), text(), option::of(any::<u64>()));
    let create = (any::<[u8; 16]>(), terms, hold).prop_map(
        |(nonce, (currency, amount, description, expires_in_ms), hold)| {
            let nonce = Nonce::from_bytes(nonce);
            AppRequest::CreateInvoice(CreateInvoice {
                nonce,
                currency,
                amount,
                description,
                expires_in_ms,
                hold,
            })
        },
    );
    let invoices = (option::of(invoice_status()), option::of(invoice_cursor()))
        .prop_map(|(status, after)| AppRequest::Invoices { status, after });
    let request = prop_oneof![
        1 => (option::of(key()), any::<u32>()).prop_map(|(friends_after, friends_at_most)| {
            AppRequest::Report { friends_after, friends_at_most }
        }),
        1 => any::<u64>().prop_map(|after| AppRequest::Events { after }),
        1 => Just(AppRequest::Subscribe),
        9 => config().prop_map(AppRequest::Config),
        1 => routes,
        2 => pay().prop_map(AppRequest::Pay),
        1 => clear().prop_map(AppRequest::Clear),
        1 => pay().prop_map(AppRequest::PayByCommit),
        1 => payment_id().prop_map(|payment_id| AppRequest::PaymentCommit { payment_id }),
        1 => payment_id().prop_map(|payment_id| AppRequest::CancelPayment { payment_id }),
        1 => payment_id().prop_map(|payment_id| AppRequest::PaymentStatus { payment_id }),
        1 => create,
        1 => invoice_id().prop_map(|invoice_id| AppRequest::CancelInvoice { invoice_id }),
        1 => invoice_id().prop_map(|invoice_id| AppRequest::InvoiceStatus { invoice_id }),
        1 => history_query().prop_map(AppRequest::History),
        1 => option::of(pending_key()).prop_map(AppRequest::Pending),
        1 => commit().prop_map(|commit| AppRequest::CommitInvoice(Box::new(commit))),
        1 => invoice_id().prop_map(|invoice_id| AppRequest::CollectInvoice { invoice_id }),
        1 => invoices,
        1 => pay().prop_map(AppRequest::Quote),
        1 => (option::of(currency()), key(), any::<bool>()).prop_map(
            |(currency, peer, receive)| AppRequest::Capacity { currency, peer, receive }
        ),
        1 => (name(), any::<u32>())
            .prop_map(|(friend, page)| AppRequest::LastToken { friend, page }),
    ];
    (any::<u64>(), request)
        .prop_map(|(id, request)| AppToNode { request_id: AppRequestId(id), request })
        .boxed()
}

pub(super) fn pay() -> impl Strategy<Value = PayRequest> {
    let spontaneous =
        (key(), credits(), option::of(currency())).prop_map(|(destination, amount, currency)| {
            PaymentTarget::Spontaneous { destination, amount, currency }
        });
    let invoice = invoice().prop_map(|invoice| PaymentTarget::Invoice(Box::new(invoice)));
    let target = prop_oneof![invoice, spontaneous];
    let parts = option::of(1_u8..=16);
    (payment_id(), target, option::of(credits()), option::of(any::<u64>()), text(), parts).prop_map(
        |(payment_id, target, max_fee, deadline_ms, note, max_parts)| PayRequest {
            payment_id,
            target,
            max_fee,
            deadline_ms,
            note,
            max_parts,
        },
    )
}

pub(super) fn config() -> BoxedStrategy<ConfigRequest> {
    use ConfigRequest as C;
    let default = || option::of(currency());
    let relays = || vec(server(), 0..4);
    prop_oneof![
        (name(), server()).prop_map(|(name, relay)| C::AddRelay { name, relay }),
        name().prop_map(|name| C::RemoveRelay { name }),
        (name(), server()).prop_map(|(name, server)| C::AddIndexServer { name, server }),
        name().prop_map(|name| C::RemoveIndexServer { name }),
        (name(), key(), relays(), default(), balance()).prop_map(
            |(name, public_key, relays, currency, opening_balance)| C::AddFriend {
                name,
                public_key,
                relays,
                currency,
                opening_balance
            }
        ),
        (name(), key(), relays()).prop_map(|(friend, public_key, relays)| C::SetFriendRelays {
            friend,
            public_key,
            relays
        }),
        (name(), name()).prop_map(|(friend, new_name)| C::SetFriendName { friend, new_name }),
        (name(), any::<bool>())
            .prop_map(|(friend, enabled)| C::SetFriendEnabled { friend, enabled }),
        (name(), currency(), balance()).prop_map(|(friend, currency, opening_balance)| {
            C::AddCurrency { friend, currency, opening_balance }
        }),
        (name(), currency()).prop_map(|(friend, currency)| C::RemoveCurrency { friend, currency }),
        (name(), default(), any::<bool>())
            .prop_map(|(friend, currency, open)| { C::SetRequestsOpen { friend, currency, open } }),
        (name(), default(), limit()).prop_map(|(friend, currency, max_debt)| C::SetMaxDebt {
            friend,
            currency,
            max_debt
        }),
        (name(), default(), rate()).prop_map(|(friend, currency, rate)| C::SetRate {
            friend,
            currency,
            rate
        }),
        currency().prop_map(|currency| C::SetDefaultCurrency { currency }),
        any::<bool>().prop_map(|accept| C::SetSpontaneous { accept }),
        option::of(1..=u32::MAX).prop_map(|days| C::SetRetention { days }),
        (default(), 0..=MAX_DECIMALS)
            .prop_map(|(currency, decimals)| C::SetDecimals { currency, decimals }),
        (name(), hash()).prop_map(|(friend, reset_token)| C::ResetFriend { friend, reset_token }),
        (name(), any::<bool>()).prop_map(|(friend, forfeit)| C::RemoveFriend { friend, forfeit }),
        (name(), hash(), option::of(key())).prop_map(|(friend, token, public_key)| {
            C::RecoverFriend { friend, token, public_key }
        }),
        any::<bool>().prop_map(|cancel_unknown| C::EndRecovery { cancel_unknown }),
    ]
    .boxed()
}
