//! Nested values of rows as JSON text: every struct an object with its fields' names, every enum an
//! object with its `kind`, amounts and ids as text.

use std::{io::Write as _, sync::Arc};

use offset_crypto::{
    HashResult, HashedLock, InvoiceId, PaymentId, PlainLock, PublicKey, RequestId, Signature,
};
use offset_funder::{
    Side, Sided,
    credit::Numbers,
    state::{
        Agreement, Attempt, Decision, Inconsistent, LineRow, Link, Part, PartState, Pending, Stage,
    },
};
use offset_proto::{
    Balance, Credits, Currency, NetworkAddress, Rate, ServerAddress, Text, Timestamp,
    app::{NoLine, PaymentFailure},
    friend::{
        Cancel, CancelReason, Collect, Commit, FriendOp, Proposal, Release, Request, Response,
    },
    index::Edge,
    payment::Receipt,
    reset::{AcceptReset, ResetBalance, ResetTerms, ResetTermsBody},
};
use serde_json::Value;

/// A value with a JSON form.
pub(crate) trait Json: Sized {
    /// Appends the form.
    fn write_json(&self, out: &mut Vec<u8>);

    /// The value of this form, or a sentence about what it is not.
    fn from_json(value: &Value) -> Result<Self, String>;
}

/// Writes an object field by field.
struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out }
    }

    /// One of several kinds.
    fn of_kind(out: &'a mut Vec<u8>, kind: &str) -> Self {
        let mut object = Self::new(out);
        object.name("kind");
        write_plain(object.out, kind);
        object
    }

    fn field(mut self, name: &str, value: &impl Json) -> Self {
        self.name(name);
        value.write_json(self.out);
        self
    }

    fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        write_plain(self.out, name);
        self.out.push(b':');
    }
}

/// A text without anything that JSON escapes.
fn write_plain(out: &mut Vec<u8>, text: impl std::fmt::Display) {
    out.push(b'"');
    let start = out.len();
    write!(out, "{text}").expect("memory takes all bytes");
    debug_assert!(
        out[start..].iter().all(|byte| (b' '..0x7f).contains(byte) && !b"\"\\".contains(byte)),
        "{text} would have to be escaped"
    );
    out.push(b'"');
}

/// Types whose text is of letters, digits and punctuation that JSON does not escape.
macro_rules! plain_text {
    ($($type:ty)*) => {$(
        impl Json for $type {
            fn write_json(&self, out: &mut Vec<u8>) {
                write_plain(out, self);
            }

            fn from_json(value: &Value) -> Result<Self, String> {
                let text = value.as_str().ok_or("expected a text")?;
                text.parse().map_err(|error| format!("{error}"))
            }
        }
    )*};
}

plain_text! {
    HashResult HashedLock InvoiceId PaymentId PlainLock PublicKey RequestId Signature
    Balance Credits Currency NetworkAddress
}

/// Structs, by their fields. A struct that gains a field does not compile until it is named here.
macro_rules! object {
    ($($type:ident { $($field:ident)* })*) => {$(
        impl Json for $type {
            fn write_json(&self, out: &mut Vec<u8>) {
                Object::new(out)$(.field(stringify!($field), &self.$field))*.end();
            }

            fn from_json(value: &Value) -> Result<Self, String> {
                Ok(Self { $($field: field(value, stringify!($field))?,)* })
            }
        }
    )*};
}

object! {
    ServerAddress { public_key address }
    Proposal { opening_balance max_debt requests_open }
    Request {
        request_id src_hashed_lock route dest_payment total_dest_payment invoice_id left_fees
        spontaneous hold_seconds
    }
    Response { request_id dest_hashed_lock is_complete response_hash signature }
    Commit { request_id src_plain_lock }
    Collect { request_id src_plain_lock dest_plain_lock }
    Cancel { request_id reason reporter }
    Release { request_id }
    Receipt {
        response_hash invoice_id currency src_plain_lock dest_plain_lock is_complete dest_payment
        total_dest_payment signature
    }
    Edge { from to }
    LineRow { wanted rate local_proposal remote_proposal numbers }
    Rate { ppm add }
    Numbers { balance pending_debt max_debt requests_open }
    Pending { request stage released response src_plain_lock link closing passed_on since }
    Attempt { src_plain_lock decision parts }
    Part { route request_id amount fee since response state }
    ResetBalance { currency balance }
    ResetTermsBody { epoch balances pending last previous }
    ResetTerms { body signature }
    AcceptReset { reset_token signature }
    Inconsistent { reason local remote accepted }
    Agreement { proposer terms acceptance }
}

impl Json for Text {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(Value::from(self.as_str()).to_string().as_bytes());
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or("expected a text")?;
        text.parse().map_err(|error| format!("{error}"))
    }
}

impl Json for Side {
    fn write_json(&self, out: &mut Vec<u8>) {
        write_plain(out, if *self == Self::Local { "local" } else { "remote" });
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("local") => Ok(Self::Local),
            Some("remote") => Ok(Self::Remote),
            Some(_) | None => Err("expected \"local\" or \"remote\"".to_owned()),
        }
    }
}

impl Json for bool {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "expected true or false".to_owned())
    }
}

impl Json for u64 {
    fn write_json(&self, out: &mut Vec<u8>) {
        write!(out, "{self}").expect("memory takes all bytes");
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_u64().ok_or_else(|| "expected a whole number".to_owned())
    }
}

impl Json for u32 {
    fn write_json(&self, out: &mut Vec<u8>) {
        u64::from(*self).write_json(out);
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        let number = u64::from_json(value)?;
        Self::try_from(number).map_err(|_| format!("{number} is out of range"))
    }
}

impl Json for Timestamp {
    fn write_json(&self, out: &mut Vec<u8>) {
        self.0.write_json(out);
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        u64::from_json(value).map(Self)
    }
}

impl Json for Stage {
    fn write_json(&self, out: &mut Vec<u8>) {
        u64::from(self.number()).write_json(out);
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        let number = u8::try_from(u64::from_json(value)?).ok();
        number.and_then(Self::from_number).ok_or_else(|| "expected a stage".to_owned())
    }
}

impl<T: Json> Json for Sided<T> {
    fn write_json(&self, out: &mut Vec<u8>) {
        Object::new(out).field("local", &self.local).field("remote", &self.remote).end();
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        Ok(Self { local: field(value, "local")?, remote: field(value, "remote")? })
    }
}

impl<T: Json> Json for Option<T> {
    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write_json(out),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        if value.is_null() { Ok(None) } else { T::from_json(value).map(Some) }
    }
}

impl<T: Json> Json for Vec<T> {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (at, item) in self.iter().enumerate() {
            if 0 < at {
                out.push(b',');
            }
            item.write_json(out);
        }
        out.push(b']');
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_array().ok_or("expected a list")?.iter().map(T::from_json).collect()
    }
}

impl<T: Json> Json for Box<T> {
    fn write_json(&self, out: &mut Vec<u8>) {
        self.as_ref().write_json(out);
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        T::from_json(value).map(Self::new)
    }
}

impl<T: Json> Json for Arc<T> {
    fn write_json(&self, out: &mut Vec<u8>) {
        self.as_ref().write_json(out);
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        T::from_json(value).map(Self::new)
    }
}

impl<A: Json, B: Json> Json for (A, B) {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        self.0.write_json(out);
        out.push(b',');
        self.1.write_json(out);
        out.push(b']');
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        match value.as_array().map(Vec::as_slice) {
            Some([a, b]) => Ok((A::from_json(a)?, B::from_json(b)?)),
            Some(_) | None => Err("expected a pair".to_owned()),
        }
    }
}

impl Json for FriendOp {
    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Request(op) => Object::of_kind(out, "request").field("op", op).end(),
            Self::Response(op) => Object::of_kind(out, "response").field("op", op).end(),
            Self::Commit(op) => Object::of_kind(out, "commit").field("op", op).end(),
            Self::Collect(op) => Object::of_kind(out, "collect").field("op", op).end(),
            Self::Cancel(op) => Object::of_kind(out, "cancel").field("op", op).end(),
            Self::Release(op) => Object::of_kind(out, "release").field("op", op).end(),
        }
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        match kind(value)? {
            "request" => field(value, "op").map(Self::Request),
            "response" => field(value, "op").map(Self::Response),
            "commit" => field(value, "op").map(Self::Commit),
            "collect" => field(value, "op").map(Self::Collect),
            "cancel" => field(value, "op").map(Self::Cancel),
            "release" => field(value, "op").map(Self::Release),
            other => Err(format!("there is no operation \"{other}\"")),
        }
    }
}

impl Json for PaymentFailure {
    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::NoRoom { available } => {
                Object::of_kind(out, "no_room").field("available", available).end();
            }
            Self::NoLine(why) => Object::of_kind(out, "no_line").field("why", why).end(),
            Self::NoIndexServer => Object::of_kind(out, "no_index_server").end(),
            Self::NoRoute => Object::of_kind(out, "no_route").end(),
            Self::FeeTooHigh { fee } => {
                Object::of_kind(out, "fee_too_high").field("fee", fee).end()
            }
            Self::Refused { reason, reporter } => {
                Object::of_kind(out, "refused")
                    .field("reason", reason)
                    .field("reporter", reporter)
                    .end();
            }
            Self::Deadline => Object::of_kind(out, "deadline").end(),
            Self::Expired => Object::of_kind(out, "expired").end(),
            Self::NoCapacity { available } => {
                Object::of_kind(out, "no_capacity").field("available", available).end();
            }
            Self::TakenBack => Object::of_kind(out, "taken_back").end(),
            Self::NoAnswer { friend } => {
                Object::of_kind(out, "no_answer").field("friend", friend).end();
            }
        }
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        Ok(match kind(value)? {
            "no_room" => Self::NoRoom { available: field(value, "available")? },
            "no_line" => Self::NoLine(field(value, "why")?),
            "no_index_server" => Self::NoIndexServer,
            "no_route" => Self::NoRoute,
            "fee_too_high" => Self::FeeTooHigh { fee: field(value, "fee")? },
            "refused" => Self::Refused {
                reason: field(value, "reason")?,
                reporter: field(value, "reporter")?,
            },
            "deadline" => Self::Deadline,
            "expired" => Self::Expired,
            "no_capacity" => Self::NoCapacity { available: field(value, "available")? },
            "taken_back" => Self::TakenBack,
            "no_answer" => Self::NoAnswer { friend: field(value, "friend")? },
            other => return Err(format!("there is no failure \"{other}\"")),
        })
    }
}

impl Json for Link {
    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => Object::of_kind(out, "none").end(),
            Self::Downstream(friend, id) => {
                Object::of_kind(out, "downstream")
                    .field("friend", friend)
                    .field("request_id", id)
                    .end();
            }
            Self::Destination => Object::of_kind(out, "destination").end(),
            Self::Upstream(friend, id) => {
                Object::of_kind(out, "upstream")
                    .field("friend", friend)
                    .field("request_id", id)
                    .end();
            }
            Self::Payment(id) => Object::of_kind(out, "payment").field("payment_id", id).end(),
        }
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        Ok(match kind(value)? {
            "none" => Self::None,
            "downstream" => Self::Downstream(field(value, "friend")?, field(value, "request_id")?),
            "destination" => Self::Destination,
            "upstream" => Self::Upstream(field(value, "friend")?, field(value, "request_id")?),
            "payment" => Self::Payment(field(value, "payment_id")?),
            other => return Err(format!("there is no link \"{other}\"")),
        })
    }
}

/// Enums without fields, as words.
macro_rules! words {
    ($($type:ident { $($variant:ident = $word:literal)* })*) => {$(
        impl Json for $type {
            fn write_json(&self, out: &mut Vec<u8>) {
                let word = match self {
                    $(Self::$variant => $word,)*
                };
                write_plain(out, word);
            }

            fn from_json(value: &Value) -> Result<Self, String> {
                match value.as_str().ok_or("expected a text")? {
                    $($word => Ok(Self::$variant),)*
                    other => Err(format!("it cannot be \"{other}\"")),
                }
            }
        }
    )*};
}

words! {
    CancelReason {
        NoRoute = "no_route" NoRoom = "no_room" FeeTooLow = "fee_too_low" Offline = "offline"
        UnknownInvoice = "unknown_invoice" Expired = "expired" AlreadyPaid = "already_paid"
        Busy = "busy" Declined = "declined" Released = "released"
    }
    NoLine {
        Unknown = "unknown" Proposed = "proposed" RemovedByFriend = "removed_by_friend"
        Removing = "removing" Inconsistent = "inconsistent" Quarantined = "quarantined"
        Disabled = "disabled" Offline = "offline" Closed = "closed"
    }
    Decision { Open = "open" Committed = "committed" Released = "released" }
    PartState {
        Requested = "requested" Responded = "responded" Cancelled = "cancelled"
        Collected = "collected" Lost = "lost"
    }
}

fn kind(value: &Value) -> Result<&str, String> {
    value.get("kind").and_then(Value::as_str).ok_or_else(|| "expected a \"kind\"".to_owned())
}

fn field<T: Json>(value: &Value, name: &str) -> Result<T, String> {
    let value = value.get(name).ok_or_else(|| format!("\"{name}\" is missing"))?;
    T::from_json(value).map_err(|why| format!("\"{name}\": {why}"))
}
