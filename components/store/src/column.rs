//! One value in one column, and the row as a list of them.

use offset_crypto::{
    HashResult, HashedLock, InvoiceId, Nonce, PaymentId, PlainLock, PublicKey, RequestId,
};
use offset_funder::{
    Side,
    state::{Attempt, Link, Stage},
};
use offset_proto::{
    Balance, Credits, Currency, Name, NetworkAddress, ServerAddress, Text, Timestamp,
    app::{InvoiceStatus, PaymentFailure},
    friend::{FriendOp, MoveToken, Proposal, Response},
    index::Edge,
    payment::Receipt,
};
use rusqlite::{
    Row,
    types::{Value, ValueRef},
};
use std::sync::Arc;

use crate::json::Json;

/// A value that fits one column.
pub(crate) trait Column: Sized {
    /// As it is stored.
    fn to_column(&self) -> Value;

    /// As it was stored, or a sentence about what it is not.
    fn from_column(value: ValueRef<'_>) -> Result<Self, String>;
}

/// The values of a row, in the order of its table's columns.
#[derive(Default)]
pub(crate) struct Values(pub(crate) Vec<Value>);

impl Values {
    /// Appends the next column.
    pub(crate) fn put(mut self, value: &impl Column) -> Self {
        self.0.push(value.to_column());
        self
    }
}

/// A row that is read column by column, in the same order.
pub(crate) struct Reading<'a> {
    row: &'a Row<'a>,
    next: usize,
}

impl<'a> Reading<'a> {
    /// From the first column on.
    pub(crate) const fn new(row: &'a Row<'a>) -> Self {
        Self { row, next: 0 }
    }

    /// The next column.
    pub(crate) fn take<T: Column>(&mut self) -> Result<T, String> {
        let at = self.next;
        self.next += 1;
        let value = self.row.get_ref(at).map_err(|error| error.to_string())?;
        T::from_column(value).map_err(|why| {
            let name = self.row.as_ref().column_name(at).unwrap_or("?");
            format!("column {name}: {why}")
        })
    }
}

/// The checksum of a row: 96 bits of a hash of its table and values.
pub(crate) fn row_check<'a>(table: &str, values: impl Iterator<Item = ValueRef<'a>>) -> String {
    let mut bytes = table.as_bytes().to_vec();
    for value in values {
        match value {
            ValueRef::Null => bytes.push(0),
            ValueRef::Integer(number) => {
                bytes.push(1);
                bytes.extend(number.to_be_bytes());
            }
            ValueRef::Real(number) => {
                bytes.push(2);
                bytes.extend(number.to_be_bytes());
            }
            ValueRef::Text(text) | ValueRef::Blob(text) => {
                bytes.push(3);
                bytes.extend(text.len().to_be_bytes());
                bytes.extend(text);
            }
        }
    }
    let mut check = offset_crypto::hash(&bytes).to_string();
    check.truncate(16);
    check
}

macro_rules! text_columns {
    ($($type:ty)*) => {$(
        impl Column for $type {
            fn to_column(&self) -> Value {
                Value::Text(self.to_string())
            }

            fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
                text(value)?.parse().map_err(|error| format!("{error}"))
            }
        }
    )*};
}

text_columns! {
    HashResult HashedLock InvoiceId Nonce PaymentId PlainLock PublicKey RequestId
    Balance Credits Currency Name NetworkAddress Text
}

macro_rules! json_columns {
    ($($type:ty)*) => {$(
        impl Column for $type {
            fn to_column(&self) -> Value {
                Value::Text(self.to_json().to_string())
            }

            fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
                let value = serde_json::from_str(text(value)?).map_err(|error| error.to_string())?;
                Self::from_json(&value)
            }
        }
    )*};
}

json_columns! {
    Vec<ServerAddress> Vec<PublicKey> Vec<(PublicKey, RequestId)> Vec<Edge>
    Attempt Box<Receipt> FriendOp Link Arc<MoveToken> Arc<Response> PaymentFailure Proposal
}

/// Enums as words.
macro_rules! word_columns {
    ($($type:ident { $($variant:ident = $word:literal)* })*) => {$(
        impl Column for $type {
            fn to_column(&self) -> Value {
                let word = match self {
                    $(Self::$variant => $word,)*
                };
                Value::Text(word.to_owned())
            }

            fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
                match text(value)? {
                    $($word => Ok(Self::$variant),)*
                    other => Err(format!("it cannot be \"{other}\"")),
                }
            }
        }
    )*};
}

word_columns! {
    Side { Local = "local" Remote = "remote" }
    Stage { Requested = "requested" Responded = "responded" Committed = "committed" }
    InvoiceStatus {
        Open = "open" Committed = "committed" Collected = "collected" Cancelled = "cancelled"
        Expired = "expired"
    }
}

impl Column for String {
    fn to_column(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        text(value).map(Self::from)
    }
}

/// Numbers of 2^63 and more, which no clock or counter reaches, are stored as negative ones.
impl Column for u64 {
    fn to_column(&self) -> Value {
        Value::Integer(self.cast_signed())
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        value.as_i64().map(i64::cast_unsigned).map_err(|_| "expected a number".to_owned())
    }
}

impl Column for u32 {
    fn to_column(&self) -> Value {
        Value::Integer(i64::from(*self))
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        let number = value.as_i64().map_err(|_| "expected a number")?;
        Self::try_from(number).map_err(|_| format!("{number} is out of range"))
    }
}

impl Column for bool {
    fn to_column(&self) -> Value {
        Value::Integer(i64::from(*self))
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        match value.as_i64() {
            Ok(0) => Ok(false),
            Ok(1) => Ok(true),
            Ok(_) | Err(_) => Err("expected 0 or 1".to_owned()),
        }
    }
}

impl Column for Timestamp {
    fn to_column(&self) -> Value {
        self.0.to_column()
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        u64::from_column(value).map(Self)
    }
}

impl<T: Column> Column for Option<T> {
    fn to_column(&self) -> Value {
        self.as_ref().map_or(Value::Null, Column::to_column)
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        if value == ValueRef::Null { Ok(None) } else { T::from_column(value).map(Some) }
    }
}

fn text(value: ValueRef<'_>) -> Result<&str, String> {
    value.as_str().map_err(|_| "expected a text".to_owned())
}
