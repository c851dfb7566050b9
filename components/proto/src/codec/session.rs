//! `session.capnp`: the messages of every connection.

use super::{Decoded, check_count, check_sorted, count, invalid, parse};
use crate::{
    Text,
    schema::session_capnp::{bye, hello},
    session::{Bye, Control, Hello, MAX_FEATURES, Packet, Purpose},
};

pub(super) fn hello<M>(hello: hello::Reader<'_>) -> Decoded<Packet<M>> {
    let number = hello.get_purpose();
    let purpose = Purpose::from_number(number)
        .ok_or_else(|| invalid("purpose", format_args!("{number} is not known")))?;
    let names = hello.get_features()?;
    check_count("features", names.len(), MAX_FEATURES)?;
    let features: Vec<Text> =
        names.iter().map(|name| parse("features", name)).collect::<Decoded<_>>()?;
    check_sorted("features", features.iter())?;
    let protocol_version = hello.get_protocol_version();
    Ok(Packet::Control(Control::Hello(Hello { protocol_version, purpose, features })))
}

pub(super) fn set_hello(value: &Hello, mut hello: hello::Builder<'_>) {
    hello.set_protocol_version(value.protocol_version);
    hello.set_purpose(value.purpose.number());
    let mut names = hello.init_features(count(value.features.len()));
    for (index, name) in (0..).zip(&value.features) {
        names.set(index, name.as_str());
    }
}

pub(super) fn bye<M>(bye: bye::Reader<'_>) -> Decoded<Packet<M>> {
    Ok(Packet::Control(Control::Bye(Bye { reason: parse("reason", bye.get_reason())? })))
}

pub(super) fn set_bye(value: &Bye, mut bye: bye::Builder<'_>) {
    bye.set_reason(value.reason.as_str());
}
