//! Nested values of rows as JSON text: every struct an object with its fields' names, every enum an
//! object with its `kind`, amounts and ids as text.

use std::sync::Arc;

use offset_crypto::{
    HashResult, HashedLock, InvoiceId, PaymentId, PlainLock, PublicKey, RequestId, Signature,
};
use offset_funder::state::{Attempt, Link, Part, PartState};
use offset_proto::{
    Balance, Credits, Currency, NetworkAddress, ServerAddress,
    app::PaymentFailure,
    friend::{
        Cancel, CancelReason, Collect, Commit, CurrencyOps, CurrencyTerms, FriendOp, MoveToken,
        MoveTokenBody, Proposal, Release, Request, Response,
    },
    index::Edge,
    payment::Receipt,
};
use serde_json::{Map, Value, json};

/// A value with a JSON form.
pub(crate) trait Json: Sized {
    /// The form.
    fn to_json(&self) -> Value;

    /// The value of this form, or a sentence about what it is not.
    fn from_json(value: &Value) -> Result<Self, String>;
}

macro_rules! text {
    ($($type:ty)*) => {$(
        impl Json for $type {
            fn to_json(&self) -> Value {
                Value::String(self.to_string())
            }

            fn from_json(value: &Value) -> Result<Self, String> {
                let text = value.as_str().ok_or("expected a text")?;
                text.parse().map_err(|error| format!("{error}"))
            }
        }
    )*};
}

text! {
    HashResult HashedLock InvoiceId PaymentId PlainLock PublicKey RequestId Signature
    Balance Credits Currency NetworkAddress
}

/// Structs, by their fields. A struct that gains a field does not compile until it is named here.
macro_rules! object {
    ($($type:ident { $($field:ident)* })*) => {$(
        impl Json for $type {
            fn to_json(&self) -> Value {
                let mut map = Map::new();
                $(map.insert(stringify!($field).to_owned(), self.$field.to_json());)*
                Value::Object(map)
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
    CurrencyTerms { currency enabled proposal }
    CurrencyOps { currency ops }
    MoveTokenBody { epoch counter prev_token currency_terms currency_ops relays state_hash }
    MoveToken { body signature }
    Receipt {
        response_hash invoice_id currency src_plain_lock dest_plain_lock is_complete dest_payment
        total_dest_payment signature
    }
    Edge { from to }
    Attempt { src_plain_lock parts }
    Part { route request_id amount fee state }
}

impl Json for bool {
    fn to_json(&self) -> Value {
        Value::Bool(*self)
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "expected true or false".to_owned())
    }
}

impl Json for u64 {
    fn to_json(&self) -> Value {
        Value::from(*self)
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_u64().ok_or_else(|| "expected a whole number".to_owned())
    }
}

impl<T: Json> Json for Option<T> {
    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, Json::to_json)
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        if value.is_null() { Ok(None) } else { T::from_json(value).map(Some) }
    }
}

impl<T: Json> Json for Vec<T> {
    fn to_json(&self) -> Value {
        Value::Array(self.iter().map(Json::to_json).collect())
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_array().ok_or("expected a list")?.iter().map(T::from_json).collect()
    }
}

impl<T: Json> Json for Box<T> {
    fn to_json(&self) -> Value {
        self.as_ref().to_json()
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        T::from_json(value).map(Self::new)
    }
}

impl<T: Json> Json for Arc<T> {
    fn to_json(&self) -> Value {
        self.as_ref().to_json()
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        T::from_json(value).map(Self::new)
    }
}

impl<A: Json, B: Json> Json for (A, B) {
    fn to_json(&self) -> Value {
        Value::Array(vec![self.0.to_json(), self.1.to_json()])
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        match value.as_array().map(Vec::as_slice) {
            Some([a, b]) => Ok((A::from_json(a)?, B::from_json(b)?)),
            Some(_) | None => Err("expected a pair".to_owned()),
        }
    }
}

impl Json for FriendOp {
    fn to_json(&self) -> Value {
        match self {
            Self::Request(op) => json!({"kind": "request", "op": op.to_json()}),
            Self::Response(op) => json!({"kind": "response", "op": op.to_json()}),
            Self::Commit(op) => json!({"kind": "commit", "op": op.to_json()}),
            Self::Collect(op) => json!({"kind": "collect", "op": op.to_json()}),
            Self::Cancel(op) => json!({"kind": "cancel", "op": op.to_json()}),
            Self::Release(op) => json!({"kind": "release", "op": op.to_json()}),
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

impl Json for CancelReason {
    fn to_json(&self) -> Value {
        let name = match self {
            Self::NoRoute => "no_route",
            Self::NoRoom => "no_room",
            Self::FeeTooLow => "fee_too_low",
            Self::Offline => "offline",
            Self::UnknownInvoice => "unknown_invoice",
            Self::Expired => "expired",
            Self::AlreadyPaid => "already_paid",
            Self::Busy => "busy",
            Self::Declined => "declined",
            Self::Released => "released",
        };
        Value::from(name)
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        Ok(match value.as_str().ok_or("expected a text")? {
            "no_route" => Self::NoRoute,
            "no_room" => Self::NoRoom,
            "fee_too_low" => Self::FeeTooLow,
            "offline" => Self::Offline,
            "unknown_invoice" => Self::UnknownInvoice,
            "expired" => Self::Expired,
            "already_paid" => Self::AlreadyPaid,
            "busy" => Self::Busy,
            "declined" => Self::Declined,
            "released" => Self::Released,
            other => return Err(format!("there is no reason \"{other}\"")),
        })
    }
}

impl Json for PaymentFailure {
    fn to_json(&self) -> Value {
        match self {
            Self::NoRoom { available } => {
                json!({"kind": "no_room", "available": available.to_json()})
            }
            Self::FriendsOffline => json!({"kind": "friends_offline"}),
            Self::NoIndexServer => json!({"kind": "no_index_server"}),
            Self::NoRoute => json!({"kind": "no_route"}),
            Self::FeeTooHigh { fee } => json!({"kind": "fee_too_high", "fee": fee.to_json()}),
            Self::Refused { reason, reporter } => json!({
                "kind": "refused", "reason": reason.to_json(), "reporter": reporter.to_json(),
            }),
            Self::Deadline => json!({"kind": "deadline"}),
            Self::Expired => json!({"kind": "expired"}),
        }
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        Ok(match kind(value)? {
            "no_room" => Self::NoRoom { available: field(value, "available")? },
            "friends_offline" => Self::FriendsOffline,
            "no_index_server" => Self::NoIndexServer,
            "no_route" => Self::NoRoute,
            "fee_too_high" => Self::FeeTooHigh { fee: field(value, "fee")? },
            "refused" => Self::Refused {
                reason: field(value, "reason")?,
                reporter: field(value, "reporter")?,
            },
            "deadline" => Self::Deadline,
            "expired" => Self::Expired,
            other => return Err(format!("there is no failure \"{other}\"")),
        })
    }
}

impl Json for Link {
    fn to_json(&self) -> Value {
        match self {
            Self::None => json!({"kind": "none"}),
            Self::Downstream(friend, id) => {
                json!({"kind": "downstream", "friend": friend.to_json(), "request_id": id.to_json()})
            }
            Self::Destination => json!({"kind": "destination"}),
            Self::Upstream(friend, id) => {
                json!({"kind": "upstream", "friend": friend.to_json(), "request_id": id.to_json()})
            }
            Self::Payment(id) => json!({"kind": "payment", "payment_id": id.to_json()}),
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

impl Json for PartState {
    fn to_json(&self) -> Value {
        match self {
            Self::Requested => json!({"kind": "requested"}),
            Self::Responded(response) => {
                json!({"kind": "responded", "response": response.to_json()})
            }
            Self::Cancelled => json!({"kind": "cancelled"}),
            Self::Collected => json!({"kind": "collected"}),
        }
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        Ok(match kind(value)? {
            "requested" => Self::Requested,
            "responded" => Self::Responded(field(value, "response")?),
            "cancelled" => Self::Cancelled,
            "collected" => Self::Collected,
            other => return Err(format!("a part cannot be \"{other}\"")),
        })
    }
}

fn kind(value: &Value) -> Result<&str, String> {
    value.get("kind").and_then(Value::as_str).ok_or_else(|| "expected a \"kind\"".to_owned())
}

fn field<T: Json>(value: &Value, name: &str) -> Result<T, String> {
    let value = value.get(name).ok_or_else(|| format!("\"{name}\" is missing"))?;
    T::from_json(value).map_err(|why| format!("\"{name}\": {why}"))
}
