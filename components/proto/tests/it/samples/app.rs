//! What applications ask.

use offset_crypto::{HashResult, InvoiceId, Nonce, PaymentId, PlainLock, Signature};
use offset_proto::{
    Credits, Rate, Timestamp,
    app::{
        AppRequest, ClearRequest, ConfigRequest, CreateInvoice, Hold, InvoiceCursor, InvoiceStatus,
        PayRequest, PaymentTarget,
    },
    index::Edge,
    payment::{Commit, Invoice},
};

use super::{balance, currency, history, key, large, one_of_each, server, text};

/// Every request, configuration aside, which is one sample here and many in [`configs`].
pub(crate) fn requests() -> Vec<(&'static str, AppRequest)> {
    let payment_id = PaymentId::from_bytes([0x21; 16]);
    let invoice_id = InvoiceId::from_bytes([0x22; 32]);
    one_of_each!(AppRequest {
        "report": AppRequest::Report { .. } => AppRequest::Report { friends_after: Some(key(2)), friends_at_most: 50 },
        "subscribe": AppRequest::Subscribe => AppRequest::Subscribe,
        "events": AppRequest::Events { .. } => AppRequest::Events { after: 41 },
        "config": AppRequest::Config(_) => AppRequest::Config(ConfigRequest::SetSpontaneous { accept: true }),
        "routes": AppRequest::Routes { .. } => AppRequest::Routes {
            currency: Some(currency()),
            amount: large(),
            destination: key(2),
            exclude: vec![Edge { from: key(3), to: key(4) }],
        },
        "pay": AppRequest::Pay(_) => AppRequest::Pay(pay()),
        "payByCommit": AppRequest::PayByCommit(_) => AppRequest::PayByCommit(pay()),
        "paymentCommit": AppRequest::PaymentCommit { .. } => AppRequest::PaymentCommit { payment_id },
        "cancelPayment": AppRequest::CancelPayment { .. } => AppRequest::CancelPayment { payment_id },
        "paymentStatus": AppRequest::PaymentStatus { .. } => AppRequest::PaymentStatus { payment_id },
        "createInvoice": AppRequest::CreateInvoice(_) => AppRequest::CreateInvoice(CreateInvoice {
            nonce: Nonce::from_bytes([0x23; 16]),
            currency: None,
            amount: Credits(150),
            description: text("two kilos of bananas"),
            expires_in_ms: Some(600_000),
            hold: Hold::ForMs(86_400_000),
        }),
        "cancelInvoice": AppRequest::CancelInvoice { .. } => AppRequest::CancelInvoice { invoice_id },
        "invoiceStatus": AppRequest::InvoiceStatus { .. } => AppRequest::InvoiceStatus { invoice_id },
        "commitInvoice": AppRequest::CommitInvoice(_) => AppRequest::CommitInvoice(Box::new(commit())),
        "collectInvoice": AppRequest::CollectInvoice { .. } => AppRequest::CollectInvoice { invoice_id },
        "invoices": AppRequest::Invoices { .. } => AppRequest::Invoices {
            status: Some(InvoiceStatus::Committed),
            after: Some(InvoiceCursor { created_at: Timestamp(1_700_000_000_000), invoice_id }),
        },
        "clear": AppRequest::Clear(_) => AppRequest::Clear(ClearRequest {
            payment_id,
            currency: Some(currency()),
            friend: Some("bob".parse().unwrap()),
            max_fee: Some(large()),
            max_fee_ppm: ClearRequest::MAX_FEE_PPM,
        }),
        "history": AppRequest::History(_) => AppRequest::History(history::query()),
        "pending": AppRequest::Pending(_) => AppRequest::Pending(Some(history::pending_key())),
        "quote": AppRequest::Quote(_) => AppRequest::Quote(pay()),
        "capacity": AppRequest::Capacity { .. } => AppRequest::Capacity {
            currency: Some(currency()),
            peer: key(2),
            receive: true,
        },
        "lastToken": AppRequest::LastToken { .. } => AppRequest::LastToken {
            friend: "bob".parse().unwrap(),
            page: 1,
        },
    })
}

/// Every change of configuration. They name a friend `bob` and servers `home` that a node need not
/// have.
pub(crate) fn configs() -> Vec<(&'static str, ConfigRequest)> {
    use ConfigRequest as C;
    let name = || "home".parse().unwrap();
    let friend = || "bob".parse().unwrap();
    one_of_each!(ConfigRequest {
        "addRelay": C::AddRelay { .. } => C::AddRelay { name: name(), relay: server(5) },
        "removeRelay": C::RemoveRelay { .. } => C::RemoveRelay { name: name() },
        "addIndexServer": C::AddIndexServer { .. } => C::AddIndexServer { name: name(), server: server(6) },
        "removeIndexServer": C::RemoveIndexServer { .. } => C::RemoveIndexServer { name: name() },
        "addFriend": C::AddFriend { .. } => C::AddFriend {
            name: friend(),
            public_key: key(2),
            relays: vec![server(5)],
            currency: Some(currency()),
            opening_balance: balance(-100),
        },
        "setFriendRelays": C::SetFriendRelays { .. } => C::SetFriendRelays {
            friend: friend(),
            public_key: key(2),
            relays: vec![server(5), server(7)],
        },
        "setFriendName": C::SetFriendName { .. } => C::SetFriendName {
            friend: friend(),
            new_name: "robert".parse().unwrap(),
        },
        "setFriendEnabled": C::SetFriendEnabled { .. } => C::SetFriendEnabled {
            friend: friend(),
            enabled: true,
        },
        "addCurrency": C::AddCurrency { .. } => C::AddCurrency {
            friend: friend(),
            currency: currency(),
            opening_balance: balance(i128::MAX),
        },
        "removeCurrency": C::RemoveCurrency { .. } => C::RemoveCurrency {
            friend: friend(),
            currency: currency(),
        },
        "setRequestsOpen": C::SetRequestsOpen { .. } => C::SetRequestsOpen {
            friend: friend(),
            currency: None,
            open: true,
        },
        "setMaxDebt": C::SetMaxDebt { .. } => C::SetMaxDebt {
            friend: friend(),
            currency: Some(currency()),
            max_debt: Credits::LIMIT,
        },
        "setRate": C::SetRate { .. } => C::SetRate {
            friend: friend(),
            currency: None,
            rate: Rate { ppm: 5_000, add: 1 },
        },
        "setDefaultCurrency": C::SetDefaultCurrency { .. } => C::SetDefaultCurrency { currency: currency() },
        "setRetention": C::SetRetention { .. } => C::SetRetention { days: Some(365) },
        "resetFriend": C::ResetFriend { .. } => C::ResetFriend {
            friend: friend(),
            reset_token: HashResult::from_bytes([0x24; 32]),
        },
        "removeFriend": C::RemoveFriend { .. } => C::RemoveFriend {
            friend: friend(),
            forfeit: true,
        },
        "setDecimals": C::SetDecimals { .. } => C::SetDecimals { currency: Some(currency()), decimals: 2 },
        "setSpontaneous": C::SetSpontaneous { .. } => C::SetSpontaneous { accept: false },
        "recoverFriend": C::RecoverFriend { .. } => C::RecoverFriend {
            friend: friend(),
            token: [0x24; 32].into(),
            public_key: Some(key(3)),
        },
        "endRecovery": C::EndRecovery { .. } => C::EndRecovery { cancel_unknown: true },
    })
}

pub(crate) fn pay() -> PayRequest {
    PayRequest {
        payment_id: PaymentId::from_bytes([0x21; 16]),
        target: PaymentTarget::Invoice(Box::new(invoice())),
        max_fee: Some(Credits(3)),
        deadline_ms: None,
        note: text("breakfast"),
        max_parts: None,
    }
}

pub(crate) fn commit() -> Commit {
    Commit {
        response_hash: HashResult::from_bytes([0x24; 32]),
        src_plain_lock: PlainLock::from_bytes([0x25; 32]),
        dest_hashed_lock: PlainLock::from_bytes([0x26; 32]).hashed(),
        dest_payment: Credits(40),
        total_dest_payment: large(),
        invoice_id: invoice().id(),
        currency: currency(),
        signature: Signature::from_bytes([0x27; 64]),
    }
}

pub(crate) fn invoice() -> Invoice {
    Invoice {
        registered: true,
        currency: currency(),
        dest_public_key: key(2),
        dest_payment: large(),
        description: text("two kilos of bananas"),
        created_at: Timestamp(1_700_000_000_000),
        expires_at: Timestamp(1_700_003_600_000),
        hold_until: None,
        nonce: Nonce::from_bytes([0x23; 16]),
    }
}
