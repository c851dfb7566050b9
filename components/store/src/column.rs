//! One value in one column, and the row as a list of them.

use offset_crypto::{
    HashResult, HashedLock, InvoiceId, Nonce, PaymentId, PlainLock, PublicKey, RequestId,
};
use offset_funder::{
    Side,
    state::{Agreement, Attempt, Inconsistent, InvoicePhase, LineRow, Link, Pending, Stage},
};
use offset_proto::{
    Balance, Credits, Currency, Name, NetworkAddress, ServerAddress, Text, Timestamp,
    app::PaymentFailure,
    friend::{FriendMessage, FriendOp, MoveToken, Proposal, Response},
    index::Edge,
    payment::Receipt,
    proof::StateProof,
    reset::ResetBalance,
    session::{Packet, Wire},
};
use rusqlite::{
    Row,
    types::{ToSqlOutput, ValueRef},
};
use std::{io::Write as _, sync::Arc};

use crate::json::Json;

/// A value that fits one column.
pub(crate) trait Column: Sized {
    /// Appends it as it is stored.
    fn write(&self, out: &mut Values);

    /// As it was stored, or a sentence about what it is not.
    fn from_column(value: ValueRef<'_>) -> Result<Self, String>;
}

/// The values of a row, in the order of its table's columns.
pub(crate) struct Values {
    /// The texts and blobs of all columns, one behind the other.
    bytes: Vec<u8>,
    cells: Vec<Cell>,
}

/// A column; texts and blobs by where their bytes end.
enum Cell {
    Null,
    Integer(i64),
    Text(usize),
    Blob(usize),
}

impl Default for Values {
    fn default() -> Self {
        // As much as a usual row takes.
        Self { bytes: Vec::with_capacity(1024), cells: Vec::with_capacity(20) }
    }
}

impl Values {
    /// Appends the next column.
    pub(crate) fn put(mut self, value: &impl Column) -> Self {
        value.write(&mut self);
        self
    }

    /// Appends the next column, null when there is nothing.
    pub(crate) fn put_option<T: Column>(mut self, value: Option<&T>) -> Self {
        match value {
            Some(value) => value.write(&mut self),
            None => self.cells.push(Cell::Null),
        }
        self
    }

    /// Appends bytes as the next column.
    pub(crate) fn put_blob(mut self, bytes: &[u8]) -> Self {
        self.blob(bytes);
        self
    }

    /// Appends a value that was read before.
    pub(crate) fn put_ref(mut self, value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null | ValueRef::Real(_) => self.cells.push(Cell::Null),
            ValueRef::Integer(number) => self.cells.push(Cell::Integer(number)),
            ValueRef::Text(text) => self.text(|out| out.extend_from_slice(text)),
            ValueRef::Blob(bytes) => self.blob(bytes),
        }
        self
    }

    /// Appends a word as the next column.
    pub(crate) fn put_word(mut self, word: &str) -> Self {
        self.text(|out| out.extend_from_slice(word.as_bytes()));
        self
    }

    /// Appends the checksum of what there is so far as the last column.
    pub(crate) fn put_check(mut self, table: &str) -> Self {
        let check = row_check(table, self.iter());
        self.cells.push(Cell::Integer(check));
        self
    }

    /// How many columns there are.
    pub(crate) const fn len(&self) -> usize {
        self.cells.len()
    }

    /// The columns.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ValueRef<'_>> {
        let mut start = 0;
        self.cells.iter().map(move |cell| {
            let mut upto = |end: usize| &self.bytes[std::mem::replace(&mut start, end)..end];
            match cell {
                Cell::Null => ValueRef::Null,
                Cell::Integer(number) => ValueRef::Integer(*number),
                Cell::Text(end) => ValueRef::Text(upto(*end)),
                Cell::Blob(end) => ValueRef::Blob(upto(*end)),
            }
        })
    }

    /// The columns as a statement takes them.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = ToSqlOutput<'_>> {
        self.iter().map(ToSqlOutput::Borrowed)
    }

    fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.cells.push(Cell::Text(self.bytes.len()));
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.cells.push(Cell::Blob(self.bytes.len()));
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

    /// The bytes of the next column.
    pub(crate) fn take_blob(&mut self) -> Result<&'a [u8], String> {
        let value = self.row.get_ref(self.next).map_err(|error| error.to_string())?;
        self.next += 1;
        value.as_blob().map_err(|_| "expected a blob".to_owned())
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

/// The checksum of a row: 64 bits of a hash of its table, the kinds, numbers and lengths of its
/// values, and then their bytes.
pub(crate) fn row_check<'a>(table: &str, values: impl Iterator<Item = ValueRef<'a>>) -> i64 {
    let mut kinds = Vec::with_capacity(256);
    kinds.extend_from_slice(table.as_bytes());
    let mut parts: Vec<&[u8]> = Vec::with_capacity(24);
    let mut add = |kind: u8, number: [u8; 8]| {
        kinds.push(kind);
        kinds.extend_from_slice(&number);
    };
    for value in values {
        match value {
            ValueRef::Null => add(0, [0; 8]),
            ValueRef::Integer(number) => add(1, number.to_be_bytes()),
            ValueRef::Real(number) => add(2, number.to_be_bytes()),
            ValueRef::Text(bytes) => {
                add(3, (bytes.len() as u64).to_be_bytes());
                parts.push(bytes);
            }
            ValueRef::Blob(bytes) => {
                add(4, (bytes.len() as u64).to_be_bytes());
                parts.push(bytes);
            }
        }
    }
    parts.insert(0, &kinds);
    offset_crypto::checksum(&parts).cast_signed()
}

macro_rules! text_columns {
    ($($type:ty)*) => {$(
        impl Column for $type {
            fn write(&self, out: &mut Values) {
                out.text(|out| write!(out, "{self}").expect("memory takes all bytes"));
            }

            fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
                text(value)?.parse().map_err(|error| format!("{error}"))
            }
        }
    )*};
}

text_columns! {
    Balance Credits Currency Name NetworkAddress Text
}

macro_rules! byte_columns {
    ($($type:ty)*) => {$(
        impl Column for $type {
            fn write(&self, out: &mut Values) {
                out.blob(self.as_bytes());
            }

            fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
                let bytes = value.as_blob().map_err(|_| "expected a blob")?;
                Self::try_from(bytes).map_err(|error| error.to_string())
            }
        }
    )*};
}

byte_columns! { HashResult HashedLock InvoiceId Nonce PaymentId PlainLock PublicKey RequestId }

/// The keys of a route, one behind the other.
impl Column for Vec<PublicKey> {
    fn write(&self, out: &mut Values) {
        for key in self {
            out.bytes.extend_from_slice(key.as_bytes());
        }
        out.blob(&[]);
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        let bytes = value.as_blob().map_err(|_| "expected a blob")?;
        let keys = bytes.chunks(PublicKey::LEN).map(PublicKey::try_from);
        keys.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }
}

macro_rules! json_columns {
    ($($type:ty)*) => {$(
        impl Column for $type {
            fn write(&self, out: &mut Values) {
                out.text(|out| self.write_json(out));
            }

            fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
                let value = serde_json::from_str(text(value)?).map_err(|error| error.to_string())?;
                Self::from_json(&value)
            }
        }
    )*};
}

json_columns! {
    Vec<ServerAddress> Vec<(PublicKey, RequestId)> Vec<Edge> Vec<(Currency, u64)>
    Vec<(Currency, Option<LineRow>)> Vec<(Currency, Pending)>
    Vec<Attempt> Box<Receipt> FriendOp Link Arc<Response> PaymentFailure Proposal
    Box<Inconsistent> Box<Agreement> Vec<ResetBalance>
}

/// A move token is large, rewritten often and looked at by nobody: it is stored as it is sent.
impl Column for Arc<MoveToken> {
    fn write(&self, out: &mut Values) {
        let message = FriendMessage::MoveToken(Box::new(self.as_ref().clone()));
        out.blob(&Wire::encode(&Packet::Message(message)));
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        let bytes = value.as_blob().map_err(|_| "expected a blob")?;
        match FriendMessage::decode(bytes).map_err(|error| error.to_string())? {
            Packet::Message(FriendMessage::MoveToken(token)) => Ok(Self::from(token)),
            Packet::Message(_) | Packet::Control(_) => Err("expected a move token".to_owned()),
        }
    }
}

/// A state that a friend proves, as it came.
impl Column for Arc<StateProof> {
    fn write(&self, out: &mut Values) {
        out.blob(&self.encode());
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        let bytes = value.as_blob().map_err(|_| "expected a blob")?;
        StateProof::decode(bytes).map(Self::new).map_err(|error| error.to_string())
    }
}

/// Enums as words.
macro_rules! word_columns {
    ($($type:ident { $($variant:ident = $word:literal)* })*) => {$(
        impl Column for $type {
            fn write(&self, out: &mut Values) {
                let word = match self {
                    $(Self::$variant => $word,)*
                };
                out.text(|out| out.extend_from_slice(word.as_bytes()));
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
    InvoicePhase {
        Open = "open" Committed = "committed" Collected = "collected" Cancelled = "cancelled"
        Expired = "expired"
    }
}

impl Column for String {
    fn write(&self, out: &mut Values) {
        out.text(|out| out.extend_from_slice(self.as_bytes()));
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        text(value).map(Self::from)
    }
}

/// Numbers of 2^63 and more, which no clock or counter reaches, are stored as negative ones.
impl Column for u64 {
    fn write(&self, out: &mut Values) {
        out.cells.push(Cell::Integer(self.cast_signed()));
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        value.as_i64().map(i64::cast_unsigned).map_err(|_| "expected a number".to_owned())
    }
}

impl Column for u32 {
    fn write(&self, out: &mut Values) {
        out.cells.push(Cell::Integer(i64::from(*self)));
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        let number = value.as_i64().map_err(|_| "expected a number")?;
        Self::try_from(number).map_err(|_| format!("{number} is out of range"))
    }
}

impl Column for u8 {
    fn write(&self, out: &mut Values) {
        u32::from(*self).write(out);
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        let number = u32::from_column(value)?;
        Self::try_from(number).map_err(|_| format!("{number} is out of range"))
    }
}

impl Column for bool {
    fn write(&self, out: &mut Values) {
        out.cells.push(Cell::Integer(i64::from(*self)));
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
    fn write(&self, out: &mut Values) {
        self.0.write(out);
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        u64::from_column(value).map(Self)
    }
}

impl<T: Column> Column for Option<T> {
    fn write(&self, out: &mut Values) {
        match self {
            Some(value) => value.write(out),
            None => out.cells.push(Cell::Null),
        }
    }

    fn from_column(value: ValueRef<'_>) -> Result<Self, String> {
        if value == ValueRef::Null { Ok(None) } else { T::from_column(value).map(Some) }
    }
}

fn text(value: ValueRef<'_>) -> Result<&str, String> {
    value.as_str().map_err(|_| "expected a text".to_owned())
}
