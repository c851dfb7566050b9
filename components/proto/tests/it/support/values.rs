//! Keys, ids, names and amounts.

use super::*;

pub(crate) fn key() -> impl Strategy<Value = PublicKey> + Clone {
    any::<[u8; 32]>().prop_filter_map("weak key", |bytes| PublicKey::from_bytes(bytes).ok())
}

pub(super) fn keys(
    count: std::ops::RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<PublicKey>> {
    // Shuffled, as a set alone would be sorted.
    btree_set(key(), count).prop_map(|keys| keys.into_iter().collect::<Vec<_>>()).prop_shuffle()
}

pub(super) fn edge() -> impl Strategy<Value = Edge> {
    (key(), key()).prop_map(|(from, to)| Edge { from, to })
}

pub(crate) fn server() -> impl Strategy<Value = ServerAddress> {
    (key(), address()).prop_map(|(public_key, address)| ServerAddress { public_key, address })
}

pub(crate) fn address() -> impl Strategy<Value = NetworkAddress> {
    let host = prop_oneof![
        "[a-z0-9][a-z0-9.-]{0,40}",
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]")),
    ];
    (host, any::<u16>()).prop_map(|(host, port)| format!("{host}:{port}").parse().unwrap())
}

pub(crate) fn currency() -> impl Strategy<Value = Currency> + Clone {
    "[A-Za-z0-9_.][A-Za-z0-9_.-]{0,15}".prop_map(|text| text.parse().unwrap())
}

pub(super) fn clear() -> impl Strategy<Value = ClearRequest> {
    let options = (option::of(currency()), option::of(name()), option::of(credits()));
    (payment_id(), options, any::<u32>()).prop_map(
        |(payment_id, (currency, friend, max_fee), max_fee_ppm)| ClearRequest {
            payment_id,
            currency,
            friend,
            max_fee,
            max_fee_ppm,
        },
    )
}

pub(super) fn name() -> impl Strategy<Value = Name> {
    "[a-zA-Zäöüß]([a-zA-Zäöüß ]{0,62}[a-zA-Zäöüß])?".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn text() -> impl Strategy<Value = Text> {
    "\\PC{0,80}".prop_map(|text| Text::cut(&text))
}

pub(super) fn hash() -> impl Strategy<Value = HashResult> {
    any::<[u8; 32]>().prop_map(HashResult::from_bytes)
}

pub(super) fn lock() -> impl Strategy<Value = PlainLock> {
    any::<[u8; 32]>().prop_map(PlainLock::from_bytes)
}

pub(super) fn invoice_id() -> impl Strategy<Value = InvoiceId> {
    any::<[u8; 32]>().prop_map(InvoiceId::from_bytes)
}

pub(super) fn request_id() -> impl Strategy<Value = RequestId> {
    any::<[u8; 16]>().prop_map(RequestId::from_bytes)
}

pub(super) fn payment_id() -> impl Strategy<Value = PaymentId> {
    any::<[u8; 16]>().prop_map(PaymentId::from_bytes)
}

pub(super) fn signature() -> impl Strategy<Value = Signature> {
    any::<[u8; 64]>().prop_map(Signature::from_bytes)
}

pub(super) fn credits() -> impl Strategy<Value = Credits> {
    prop_oneof![any::<u64>().prop_map(u128::from), any::<u128>()].prop_map(Credits)
}

pub(super) fn limit() -> impl Strategy<Value = Credits> {
    (0..=Credits::LIMIT.0).prop_map(Credits)
}

pub(super) fn balance() -> impl Strategy<Value = Balance> {
    any::<i128>().prop_map(|value| Balance::new(value).unwrap_or_default())
}

pub(super) fn rate() -> impl Strategy<Value = Rate> {
    (any::<u32>(), any::<u64>()).prop_map(|(ppm, add)| Rate { ppm, add })
}
