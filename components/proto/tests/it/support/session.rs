//! What every connection carries beside its messages.

use super::*;

pub(crate) fn packet<M: std::fmt::Debug + Clone + 'static>(
    message: impl Strategy<Value = M> + 'static,
) -> BoxedStrategy<Packet<M>> {
    prop_oneof![
        1 => control().prop_map(Packet::Control),
        9 => message.prop_map(Packet::Message),
    ]
    .boxed()
}

pub(super) fn control() -> BoxedStrategy<Control> {
    let hello = (any::<u32>(), select(&Purpose::ALL[..]), btree_set(text(), 0..5)).prop_map(
        |(protocol_version, purpose, features)| {
            let features = features.into_iter().collect();
            Control::Hello(Hello { protocol_version, purpose, features })
        },
    );
    let bye = text().prop_map(|reason| Control::Bye(Bye { reason }));
    prop_oneof![hello, Just(Control::Ping), bye].boxed()
}
