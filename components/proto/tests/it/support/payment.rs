//! Payments, invoices, commits and receipts.

use super::*;

pub(super) fn quote() -> impl Strategy<Value = QuoteReport> {
    let ways = multi_routes().prop_map(|routes| routes.into_iter().next());
    (key(), currency(), credits(), ways, failure()).prop_map(
        |(destination, currency, amount, ways, failure)| {
            let ways = ways.ok_or(failure);
            QuoteReport { destination, currency, amount, ways }
        },
    )
}

pub(super) fn failure() -> impl Strategy<Value = PaymentFailure> {
    use PaymentFailure as F;
    prop_oneof![
        credits().prop_map(|available| F::NoRoom { available }),
        prop_oneof![
            Just(NoLine::Unknown),
            Just(NoLine::Proposed),
            Just(NoLine::RemovedByFriend),
            Just(NoLine::Removing),
            Just(NoLine::Inconsistent),
            Just(NoLine::Quarantined),
            Just(NoLine::Disabled),
            Just(NoLine::Offline),
            Just(NoLine::Closed),
        ]
        .prop_map(F::NoLine),
        Just(F::NoIndexServer),
        Just(F::NoRoute),
        credits().prop_map(|fee| F::FeeTooHigh { fee }),
        (cancel_reason(), option::of(key()))
            .prop_map(|(reason, reporter)| F::Refused { reason, reporter }),
        Just(F::Deadline),
        Just(F::Expired),
        credits().prop_map(|available| F::NoCapacity { available }),
        Just(F::TakenBack),
        key().prop_map(|friend| F::NoAnswer { friend }),
    ]
}

pub(super) fn payment_report() -> impl Strategy<Value = PaymentReport> {
    let status = prop_oneof![
        Just(PaymentStatus::Routing),
        Just(PaymentStatus::Requesting),
        Just(PaymentStatus::Committed),
        (receipt(), credits()).prop_map(|(receipt, fee)| PaymentStatus::Succeeded {
            receipt: Box::new(receipt),
            fee
        }),
        failure().prop_map(PaymentStatus::Failed),
        Just(PaymentStatus::Cancelled),
        Just(PaymentStatus::Unknown),
        Just(PaymentStatus::Complete),
    ];
    let parts = any::<u8>();
    (payment_id(), invoice_id(), key(), currency(), credits(), any::<u64>(), status, parts)
        .prop_map(
            |(payment_id, invoice_id, destination, currency, amount, created_at, status, parts)| {
                PaymentReport {
                    payment_id,
                    invoice_id,
                    destination,
                    currency,
                    amount,
                    created_at: Timestamp(created_at),
                    status,
                    parts,
                }
            },
        )
}

pub(super) fn invoice_report() -> impl Strategy<Value = InvoiceReport> {
    (invoice(), invoice_status(), any::<bool>()).prop_map(|(invoice, status, held)| InvoiceReport {
        invoice,
        status,
        held,
    })
}

pub(super) fn invoice_status() -> impl Strategy<Value = InvoiceStatus> {
    use InvoiceStatus as S;
    select(vec![
        S::Open,
        S::Requested,
        S::Complete,
        S::Committed,
        S::Collected,
        S::Cancelled,
        S::Expired,
    ])
}

pub(super) fn invoice_cursor() -> impl Strategy<Value = InvoiceCursor> {
    (any::<u64>(), invoice_id()).prop_map(|(created_at, invoice_id)| InvoiceCursor {
        created_at: Timestamp(created_at),
        invoice_id,
    })
}

pub(super) fn invoice_page() -> impl Strategy<Value = InvoicePage> {
    (vec(invoice_report(), 0..4), option::of(invoice_cursor()))
        .prop_map(|(invoices, next)| InvoicePage { invoices, next })
}

/// Any invoice, whether or not its terms agree.
pub(crate) fn invoice() -> impl Strategy<Value = Invoice> {
    let times = (any::<u64>(), any::<u64>(), option::of(any::<u64>()));
    (any::<bool>(), currency(), key(), credits(), text(), times, any::<[u8; 16]>()).prop_map(
        |(registered, currency, dest_public_key, dest_payment, description, times, nonce)| {
            Invoice {
                registered,
                currency,
                dest_public_key,
                dest_payment,
                description,
                created_at: Timestamp(times.0),
                expires_at: Timestamp(times.1),
                hold_until: times.2.map(Timestamp),
                nonce: Nonce::from_bytes(nonce),
            }
        },
    )
}

pub(crate) fn commit() -> impl Strategy<Value = offset_proto::payment::Commit> {
    let amounts = (credits(), credits());
    (hash(), lock(), lock(), amounts, invoice_id(), currency(), signature()).prop_map(
        |(response_hash, src_plain_lock, dest, amounts, invoice_id, currency, signature)| {
            offset_proto::payment::Commit {
                response_hash,
                src_plain_lock,
                dest_hashed_lock: dest.hashed(),
                dest_payment: amounts.0,
                total_dest_payment: amounts.1,
                invoice_id,
                currency,
                signature,
            }
        },
    )
}

pub(crate) fn receipt() -> impl Strategy<Value = Receipt> {
    let locks = (lock(), lock());
    let amounts = (credits(), credits());
    (hash(), invoice_id(), currency(), locks, any::<bool>(), amounts, signature()).prop_map(
        |(response_hash, invoice_id, currency, locks, is_complete, amounts, signature)| Receipt {
            response_hash,
            invoice_id,
            currency,
            src_plain_lock: locks.0,
            dest_plain_lock: locks.1,
            is_complete,
            dest_payment: amounts.0,
            total_dest_payment: amounts.1,
            signature,
        },
    )
}
