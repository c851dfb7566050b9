//! What people store and exchange: identities, tickets, friends, invoices, commits and receipts
//! as TOML texts, and those without a secret as one line for chats and QR codes.
//!
//! ```text
//!   kind = "relay-ticket"                     offset:relay-ticket:a2luZCA9ICJyZWxheS10aWNrZXQi...
//!   public_key = "Brvo3Fo0...wJZc7ll0"         (the base64url of the text on the left)
//!   address = "127.0.0.1:8000"
//! ```
//!
//! Every text begins with its kind, except that of a friend. Keys and hashes are base64url without
//! padding, amounts decimal strings, times milliseconds since 1970 UTC. Unknown keys are errors, as
//! an older program must not take a newer file for what it is not. This module reads no files: it
//! turns texts into values and back.

mod fields;
mod payment;
mod ticket;
mod token;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

pub use self::payment::{CommitFile, InvoiceFile, PaymentFile, ReceiptFile};
pub use self::ticket::{
    AppTicket, FriendFile, IdentityFile, IndexTicket, NodeEntry, NodeTicket, RelayTicket,
};
pub use self::token::TokenFile;

use self::fields::{Fields, Writer};
use crate::{Text, payment::InvalidInvoice};

/// The longest text of a file, in bytes. Longer ones are refused unread.
pub const MAX_FILE_BYTES: usize = 64 * 1024;
/// The longest text of a file that begins with `kind = "token"`: a token may hold thousands of
/// operations.
pub const MAX_TOKEN_FILE_BYTES: usize = 1536 * 1024;

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The secret key of a node, server or app.
    Identity,
    /// Where an app reaches a node.
    NodeTicket,
    /// Where a node reaches a relay.
    RelayTicket,
    /// Where a node or an index server reaches an index server.
    IndexTicket,
    /// What a node lets an app do.
    AppTicket,
    /// A node ticket together with an app's secret key.
    NodeEntry,
    /// A node's key and relays, for its friends.
    Friend,
    /// What a seller asks.
    Invoice,
    /// The buyer's irrevocable word for its seller.
    Commit,
    /// That an invoice was paid.
    Receipt,
    /// Which of a node's payments pays what.
    Payment,
    /// What a friend signed last.
    Token,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Identity,
        Self::NodeTicket,
        Self::RelayTicket,
        Self::IndexTicket,
        Self::AppTicket,
        Self::NodeEntry,
        Self::Friend,
        Self::Invoice,
        Self::Commit,
        Self::Receipt,
        Self::Payment,
        Self::Token,
    ];

    /// The word for it in files and lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::NodeTicket => "node-ticket",
            Self::RelayTicket => "relay-ticket",
            Self::IndexTicket => "index-ticket",
            Self::AppTicket => "app-ticket",
            Self::NodeEntry => "node-entry",
            Self::Friend => "friend",
            Self::Invoice => "invoice",
            Self::Commit => "commit",
            Self::Receipt => "receipt",
            Self::Payment => "payment",
            Self::Token => "token",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether such a file must be kept from others for good: it has no form of one line. (A commit
    /// is for its buyer and seller alone, but it exists to be handed over.)
    #[must_use]
    pub const fn is_secret(self) -> bool {
        match self {
            Self::Identity | Self::NodeEntry => true,
            Self::NodeTicket
            | Self::RelayTicket
            | Self::IndexTicket
            | Self::AppTicket
            | Self::Friend
            | Self::Invoice
            | Self::Commit
            | Self::Receipt
            | Self::Payment
            | Self::Token => false,
        }
    }

    /// What it is, within a sentence.
    #[must_use]
    pub const fn with_article(self) -> &'static str {
        match self {
            Self::Identity => "an identity",
            Self::NodeTicket => "a node-ticket",
            Self::RelayTicket => "a relay-ticket",
            Self::IndexTicket => "an index-ticket",
            Self::AppTicket => "an app-ticket",
            Self::NodeEntry => "a node-entry",
            Self::Friend => "a friend file",
            Self::Invoice => "an invoice",
            Self::Commit => "a commit",
            Self::Receipt => "a receipt",
            Self::Payment => "a payment",
            Self::Token => "a token",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is not the file that was expected. Never shows a value of the file, as it may be a
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Not even looked at.
    #[error("too large for an Offset file: {bytes} bytes, at most {most} are allowed")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        most: usize,
    },
    /// Not TOML.
    #[error("line {line} is not valid TOML: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        message: Text,
    },
    /// Another file than the one that is needed.
    #[error("this is {}, expected {}", .found.with_article(), .expected.with_article())]
    WrongKind {
        /// What it is.
        found: Kind,
        /// What is needed.
        expected: Kind,
    },
    /// A kind of file that this version does not know.
    #[error("`{0}` is not a kind of file that this version knows")]
    UnknownKind(Text),
    /// Something must be said that is not.
    #[error("the key `{0}` is missing")]
    MissingKey(String),
    /// Something is said that means nothing here.
    #[error("the key `{key}` does not belong in {}", .kind.with_article())]
    UnknownKey {
        /// With the table in front.
        key: Text,
        /// Of which file.
        kind: Kind,
    },
    /// The value of a key does not have the form it must have.
    #[error("the value of `{key}` is {reason}")]
    InvalidValue {
        /// With the table in front.
        key: String,
        /// What it is not.
        reason: String,
    },
    /// The terms of an invoice contradict each other.
    #[error("not a valid invoice: {0}")]
    InvalidInvoice(#[from] InvalidInvoice),
    /// The terms of an invoice were changed.
    #[error("the terms of this invoice were changed: its id is that of other terms")]
    InvoiceChanged,
    /// Begins like a line of text but does not go on so.
    #[error("not a complete line of the form offset:KIND:TEXT: copy it whole, without spaces")]
    InvalidLine,
    /// Secrets have no one-line form.
    #[error("{} holds a secret and is only read from a file", .0.with_article())]
    SecretLine(Kind),
}

/// A value that people keep as a text.
pub trait OffsetFile: Sized {
    /// What it is.
    const KIND: Kind;

    /// The TOML text, whole and with a line end; wiped when dropped, as it may hold a secret.
    fn to_toml(&self) -> Zeroizing<String> {
        let mut out = Writer::new(Self::KIND);
        self.write(&mut out);
        out.finish()
    }

    /// Reads a TOML text.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    fn from_toml(text: &str) -> Result<Self, FileError> {
        let (found, mut fields) = open(text)?;
        if found != Self::KIND {
            return Err(FileError::WrongKind { found, expected: Self::KIND });
        }
        let value = Self::read(&mut fields)?;
        fields.finish()?;
        Ok(value)
    }

    /// Reads either form: a TOML text, or the one line of a kind without a secret.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    fn parse(text: &str) -> Result<Self, FileError> {
        let Some(line) = line_in(text) else { return Self::from_toml(text) };
        let (found, toml) = unfold(line)?;
        if found != Self::KIND {
            return Err(FileError::WrongKind { found, expected: Self::KIND });
        }
        Self::from_toml(&toml)
    }

    /// Writes everything but the kind.
    #[doc(hidden)]
    fn write(&self, out: &mut Writer);

    /// Takes everything but the kind.
    #[doc(hidden)]
    fn read(fields: &mut Fields) -> Result<Self, FileError>;
}

/// A file without a secret: it can be one line in a chat or a QR code.
pub trait PublicFile: OffsetFile {
    /// `offset:KIND:BASE64URL`, without a line end.
    fn to_line(&self) -> String {
        format!("{LINE_START}{}:{}", Self::KIND, URL_SAFE_NO_PAD.encode(self.to_toml().as_bytes()))
    }
}

/// Any file, for programs that show what they are given.
#[derive(Debug)]
pub enum AnyFile {
    /// See [`Kind::Identity`].
    Identity(IdentityFile),
    /// See [`Kind::NodeTicket`].
    NodeTicket(NodeTicket),
    /// See [`Kind::RelayTicket`].
    RelayTicket(RelayTicket),
    /// See [`Kind::IndexTicket`].
    IndexTicket(IndexTicket),
    /// See [`Kind::AppTicket`].
    AppTicket(AppTicket),
    /// See [`Kind::NodeEntry`].
    NodeEntry(NodeEntry),
    /// See [`Kind::Friend`].
    Friend(FriendFile),
    /// See [`Kind::Invoice`].
    Invoice(Box<InvoiceFile>),
    /// See [`Kind::Commit`].
    Commit(Box<CommitFile>),
    /// See [`Kind::Receipt`].
    Receipt(Box<ReceiptFile>),
    /// See [`Kind::Payment`].
    Payment(Box<PaymentFile>),
    /// See [`Kind::Token`].
    Token(Box<TokenFile>),
}

impl AnyFile {
    /// Reads a text of any kind, in either form.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        Ok(match identify(text)? {
            Kind::Identity => Self::Identity(OffsetFile::parse(text)?),
            Kind::NodeTicket => Self::NodeTicket(OffsetFile::parse(text)?),
            Kind::RelayTicket => Self::RelayTicket(OffsetFile::parse(text)?),
            Kind::IndexTicket => Self::IndexTicket(OffsetFile::parse(text)?),
            Kind::AppTicket => Self::AppTicket(OffsetFile::parse(text)?),
            Kind::NodeEntry => Self::NodeEntry(OffsetFile::parse(text)?),
            Kind::Friend => Self::Friend(OffsetFile::parse(text)?),
            Kind::Invoice => Self::Invoice(Box::new(OffsetFile::parse(text)?)),
            Kind::Commit => Self::Commit(Box::new(OffsetFile::parse(text)?)),
            Kind::Receipt => Self::Receipt(Box::new(OffsetFile::parse(text)?)),
            Kind::Payment => Self::Payment(Box::new(OffsetFile::parse(text)?)),
            Kind::Token => Self::Token(Box::new(OffsetFile::parse(text)?)),
        })
    }

    /// The one-line text of a file without a secret, as [`PublicFile::to_line`].
    #[must_use]
    pub fn to_line(&self) -> Option<String> {
        match self {
            Self::Identity(_) | Self::NodeEntry(_) => None,
            Self::NodeTicket(file) => Some(file.to_line()),
            Self::RelayTicket(file) => Some(file.to_line()),
            Self::IndexTicket(file) => Some(file.to_line()),
            Self::AppTicket(file) => Some(file.to_line()),
            Self::Friend(file) => Some(file.to_line()),
            Self::Invoice(file) => Some(file.to_line()),
            Self::Commit(file) => Some(file.to_line()),
            Self::Receipt(file) => Some(file.to_line()),
            Self::Payment(file) => Some(file.to_line()),
            Self::Token(file) => Some(file.to_line()),
        }
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Identity(_) => Kind::Identity,
            Self::NodeTicket(_) => Kind::NodeTicket,
            Self::RelayTicket(_) => Kind::RelayTicket,
            Self::IndexTicket(_) => Kind::IndexTicket,
            Self::AppTicket(_) => Kind::AppTicket,
            Self::NodeEntry(_) => Kind::NodeEntry,
            Self::Friend(_) => Kind::Friend,
            Self::Invoice(_) => Kind::Invoice,
            Self::Commit(_) => Kind::Commit,
            Self::Receipt(_) => Kind::Receipt,
            Self::Payment(_) => Kind::Payment,
            Self::Token(_) => Kind::Token,
        }
    }
}

/// What a text says that it is, in either form. The rest of it may still be wrong.
///
/// # Errors
/// A text that says nothing, or something unknown.
pub fn identify(text: &str) -> Result<Kind, FileError> {
    match line_in(text) {
        Some(line) => Ok(unfold(line)?.0),
        None => Ok(open(text)?.0),
    }
}

fn open(text: &str) -> Result<(Kind, Fields), FileError> {
    let is_token = text.starts_with(TOKEN_TEXT_START);
    check_size(text, if is_token { MAX_TOKEN_FILE_BYTES } else { MAX_FILE_BYTES })?;
    Fields::parse(text)
}

/// The text without surrounding space, when it is of the one-line form.
fn line_in(text: &str) -> Option<&str> {
    let line = text.trim();
    line.starts_with(LINE_START).then_some(line)
}

/// The kind and the TOML text in a line.
fn unfold(line: &str) -> Result<(Kind, String), FileError> {
    let is_token = line.starts_with(TOKEN_LINE_START);
    check_size(line, line_bytes(if is_token { MAX_TOKEN_FILE_BYTES } else { MAX_FILE_BYTES }))?;
    let rest = line.strip_prefix(LINE_START).ok_or(FileError::InvalidLine)?;
    let (name, encoded) = rest.split_once(':').ok_or(FileError::InvalidLine)?;
    let kind = Kind::from_name(name).ok_or_else(|| FileError::UnknownKind(Text::cut(name)))?;
    if kind.is_secret() {
        return Err(FileError::SecretLine(kind));
    }
    let toml = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| FileError::InvalidLine)?;
    let toml = String::from_utf8(toml).map_err(|_| FileError::InvalidLine)?;
    Ok((kind, toml))
}

fn check_size(text: &str, most: usize) -> Result<(), FileError> {
    let bytes = text.len();
    if bytes <= most { Ok(()) } else { Err(FileError::TooLarge { bytes, most }) }
}

/// The longest line of a text of at most so many bytes.
#[must_use]
pub const fn line_bytes(text: usize) -> usize {
    text / 3 * 4 + 64
}

const LINE_START: &str = "offset:";
/// How the text and the line of a token begin: it may be longer than anything else.
const TOKEN_TEXT_START: &str = "kind = \"token\"\n";
const TOKEN_LINE_START: &str = "offset:token:";
