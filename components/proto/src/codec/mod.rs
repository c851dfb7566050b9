//! From typed messages to frames and back, one file a schema.
//!
//! A frame is read as one flat slice: nothing is allocated because a number in it claims so. Every
//! list is counted before it is walked, and grows only with elements that were read, so what a
//! decoder allocates is bounded by what the frame's words can hold.

mod app;
mod endings;
mod friend;
mod history;
mod index;
mod last_token;
mod payment;
mod proof;
mod relay;
mod report;
mod reset;
mod session;

use std::str::FromStr;

use capnp::{
    data_list,
    message::{Builder, HeapAllocator, ReaderOptions},
    serialize, struct_list, text,
    traits::{Owned, OwnedStruct},
};
use offset_crypto::PublicKey;

use crate::{
    Balance, Credits, InvalidValue, Rate, ServerAddress,
    index::Edge,
    schema::common_capnp::{edge, int128, rate, server_address, u_int128},
    session::DecodeError,
};

type Decoded<T> = Result<T, DecodeError>;

impl From<capnp::Error> for DecodeError {
    fn from(error: capnp::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<capnp::NotInSchema> for DecodeError {
    fn from(error: capnp::NotInSchema) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Reads the one message of a frame.
fn read<T: Owned, M>(frame: &[u8], decode: impl FnOnce(T::Reader<'_>) -> Decoded<M>) -> Decoded<M> {
    let mut options = ReaderOptions::new();
    let words = frame.len().div_ceil(BYTES_PER_WORD);
    options.traversal_limit_in_words(Some(words.saturating_mul(2))).nesting_limit(NESTING_LIMIT);
    let mut rest = frame;
    let message = serialize::read_message_from_flat_slice(&mut rest, options)?;
    if !rest.is_empty() {
        return Err(DecodeError::Malformed(format!("{} bytes after its end", rest.len())));
    }
    decode(message.get_root::<T::Reader<'_>>()?)
}

/// Builds a message of one segment. `words` is how many it needs, at a guess: a guess that is too
/// low costs building it twice.
fn build<T: Owned>(words: usize, fill: impl Fn(T::Builder<'_>)) -> Vec<u8> {
    let first = build_segments::<T>(words, &fill);
    if first.get_segments_for_output().len() == 1 {
        return serialize::write_message_to_words(&first);
    }
    // In one segment the same message needs fewer words, as no pointer leads to another segment.
    let second = build_segments::<T>(first.size_in_words(), &fill);
    debug_assert_eq!(second.get_segments_for_output().len(), 1);
    serialize::write_message_to_words(&second)
}

fn build_segments<T: Owned>(
    words: usize,
    fill: &impl Fn(T::Builder<'_>),
) -> Builder<HeapAllocator> {
    let allocator = HeapAllocator::new().first_segment_words(count(words));
    let mut message = Builder::new(allocator);
    fill(message.init_root::<T::Builder<'_>>());
    message
}

/// A length as Cap'n Proto counts.
fn count(length: usize) -> u32 {
    u32::try_from(length).expect("messages are far below 4 GiB")
}

/// How many words bytes of this length need.
const fn words_of(bytes: usize) -> usize {
    bytes.div_ceil(BYTES_PER_WORD)
}

fn invalid(field: &'static str, reason: impl ToString) -> DecodeError {
    DecodeError::Invalid { field, reason: reason.to_string() }
}

fn check_count(field: &'static str, length: u32, most: usize) -> Decoded<()> {
    if usize::try_from(length).is_ok_and(|length| length <= most) {
        Ok(())
    } else {
        Err(invalid(field, format_args!("{length} elements, at most {most} are allowed")))
    }
}

/// Whether `keys` rise strictly.
fn check_sorted<K: Ord>(field: &'static str, keys: impl Iterator<Item = K>) -> Decoded<()> {
    if keys.is_sorted_by(|a, b| a < b) {
        Ok(())
    } else {
        Err(invalid(field, "not sorted, or an element comes twice"))
    }
}

fn check_distinct(field: &'static str, keys: &[PublicKey]) -> Decoded<()> {
    let twice = keys.iter().enumerate().any(|(index, key)| keys[..index].contains(key));
    if twice { Err(invalid(field, "a key comes twice")) } else { Ok(()) }
}

fn list<T: OwnedStruct, M>(
    field: &'static str,
    list: struct_list::Reader<'_, T>,
    most: usize,
    decode: impl Fn(T::Reader<'_>) -> Decoded<M>,
) -> Decoded<Vec<M>> {
    check_count(field, list.len(), most)?;
    list.iter().map(decode).collect()
}

fn set_list<T: OwnedStruct, M>(
    mut list: struct_list::Builder<'_, T>,
    items: &[M],
    encode: impl Fn(&M, T::Builder<'_>),
) {
    for (index, item) in (0..).zip(items) {
        encode(item, list.reborrow().get(index));
    }
}

fn keys(field: &'static str, list: data_list::Reader<'_>, most: usize) -> Decoded<Vec<PublicKey>> {
    check_count(field, list.len(), most)?;
    let keys = list.iter().map(|data| key(field, data)).collect::<Decoded<Vec<_>>>()?;
    check_distinct(field, &keys)?;
    Ok(keys)
}

fn set_keys(mut list: data_list::Builder<'_>, keys: &[PublicKey]) {
    for (index, key) in (0..).zip(keys) {
        list.set(index, key.as_bytes());
    }
}

fn bytes<const N: usize>(field: &'static str, data: capnp::Result<&[u8]>) -> Decoded<[u8; N]> {
    let data = data?;
    data.try_into().map_err(|_| invalid(field, format_args!("{} bytes, not {N}", data.len())))
}

fn fixed<T: From<[u8; N]>, const N: usize>(
    field: &'static str,
    data: capnp::Result<&[u8]>,
) -> Decoded<T> {
    bytes(field, data).map(T::from)
}

fn key(field: &'static str, data: capnp::Result<&[u8]>) -> Decoded<PublicKey> {
    PublicKey::from_bytes(bytes(field, data)?).map_err(|error| invalid(field, error))
}

fn parse<T: FromStr<Err = InvalidValue>>(
    field: &'static str,
    text: capnp::Result<text::Reader<'_>>,
) -> Decoded<T> {
    let text = text?.to_str().map_err(|error| invalid(field, error))?;
    text.parse().map_err(|error| invalid(field, error))
}

fn join(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// The high and the low half.
fn split(value: u128) -> (u64, u64) {
    let half = |value: u128| u64::try_from(value).expect("half of 128 bits");
    (half(value >> 64), half(value & u128::from(u64::MAX)))
}

fn credits(value: u_int128::Reader<'_>) -> Credits {
    Credits(join(value.get_high(), value.get_low()))
}

/// An amount that may not exceed [`Credits::LIMIT`].
fn limit(field: &'static str, value: u_int128::Reader<'_>) -> Decoded<Credits> {
    let credits = credits(value);
    if credits <= Credits::LIMIT { Ok(credits) } else { Err(invalid(field, "above 2^127-1")) }
}

fn set_credits(value: Credits, mut builder: u_int128::Builder<'_>) {
    let (high, low) = split(value.0);
    builder.set_high(high);
    builder.set_low(low);
}

fn balance(field: &'static str, value: int128::Reader<'_>) -> Decoded<Balance> {
    let bits = join(value.get_high(), value.get_low());
    Balance::new(bits.cast_signed()).ok_or_else(|| invalid(field, "below -(2^127-1)"))
}

fn set_balance(value: Balance, mut builder: int128::Builder<'_>) {
    let (high, low) = split(value.get().cast_unsigned());
    builder.set_high(high);
    builder.set_low(low);
}

fn rate_of(value: rate::Reader<'_>) -> Rate {
    Rate { ppm: value.get_ppm(), add: value.get_add() }
}

fn set_rate(value: Rate, mut builder: rate::Builder<'_>) {
    builder.set_ppm(value.ppm);
    builder.set_add(value.add);
}

fn server(value: server_address::Reader<'_>) -> Decoded<ServerAddress> {
    Ok(ServerAddress {
        public_key: key("publicKey", value.get_public_key())?,
        address: parse("address", value.get_address())?,
    })
}

fn set_server(value: &ServerAddress, mut builder: server_address::Builder<'_>) {
    builder.set_public_key(value.public_key.as_bytes());
    builder.set_address(value.address.as_str());
}

fn edge_of(value: edge::Reader<'_>) -> Decoded<Edge> {
    Ok(Edge { from: key("from", value.get_from())?, to: key("to", value.get_to())? })
}

fn set_edge(value: &Edge, mut builder: edge::Builder<'_>) {
    builder.set_from(value.from.as_bytes());
    builder.set_to(value.to.as_bytes());
}

/// Implements [`Wire`](crate::session::Wire) by the functions of a codec: how many words a message
/// takes, how it fills its root, and what a root says.
macro_rules! wire {
    ($message:ty, $purpose:ident, $root:ident, $words:path, $encode:path, $decode:path) => {
        impl crate::session::Wire for $message {
            const PURPOSE: crate::session::Purpose = crate::session::Purpose::$purpose;

            fn encode(packet: &crate::session::Packet<Self>) -> Vec<u8> {
                use crate::session::{Control, Packet};
                let words = match packet {
                    Packet::Control(_) => crate::codec::CONTROL_WORDS,
                    Packet::Message(message) => crate::codec::CONTROL_WORDS + $words(message),
                };
                crate::codec::build::<$root::Owned>(words, |mut root| match packet {
                    Packet::Control(Control::Hello(hello)) => {
                        crate::codec::session::set_hello(hello, root.init_hello());
                    }
                    Packet::Control(Control::Ping) => root.set_ping(()),
                    Packet::Control(Control::Bye(bye)) => {
                        crate::codec::session::set_bye(bye, root.init_bye());
                    }
                    Packet::Message(message) => $encode(message, root),
                })
            }

            fn decode(
                bytes: &[u8],
            ) -> Result<crate::session::Packet<Self>, crate::session::DecodeError> {
                crate::codec::read::<$root::Owned, _>(bytes, $decode)
            }

            fn text(bytes: &[u8]) -> Result<String, crate::session::DecodeError> {
                crate::codec::read::<$root::Owned, _>(bytes, |root| Ok(format!("{root:?}")))
            }
        }
    };
}
use wire;

/// Maps an enum of a schema to ours and back.
macro_rules! mirror {
    ($ours:ty, $schema:ty, $encode:ident, $decode:ident, $($variant:ident)*) => {
        pub(super) const fn $encode(value: $ours) -> $schema {
            match value {
                $(<$ours>::$variant => <$schema>::$variant,)*
            }
        }

        pub(super) fn $decode(value: Result<$schema, capnp::NotInSchema>) -> crate::codec::Decoded<$ours> {
            Ok(match value? {
                $(<$schema>::$variant => <$ours>::$variant,)*
            })
        }
    };
}
use mirror;

pub(crate) use last_token::{decode as decode_last_token, encode as encode_last_token};
pub(crate) use proof::{decode as decode_proof, encode as encode_proof};

const BYTES_PER_WORD: usize = 8;
/// Deeper than any message of these schemas.
const NESTING_LIMIT: i32 = 16;
/// Enough for a root, `Ping`, `Bye` and an ordinary `Hello`.
const CONTROL_WORDS: usize = 64;
