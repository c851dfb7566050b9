//! What somebody signed last, as a file.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    FileError, Kind, OffsetFile, PublicFile,
    fields::{Fields, Writer},
};
use crate::token::LastToken;

/// What one side of a channel signed last. [`LastToken::verify`] says whether it proves anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile(pub LastToken);

impl OffsetFile for TokenFile {
    const KIND: Kind = Kind::Token;

    fn write(&self, out: &mut Writer) {
        out.text("signed", Encoded(&self.0));
    }

    fn read(fields: &mut Fields) -> Result<Self, FileError> {
        fields.parsed::<Decoded>("signed").map(|decoded| Self(decoded.0))
    }
}

impl PublicFile for TokenFile {}

struct Encoded<'a>(&'a LastToken);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0.encode()))
    }
}

struct Decoded(LastToken);

impl FromStr for Decoded {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "not base64url")?;
        let token = LastToken::decode(&bytes).map_err(|_| "not what a node signs")?;
        // There is one form of each, so that not even a byte that means nothing can be another.
        if token.encode() == bytes { Ok(Self(token)) } else { Err("not as a node writes it") }
    }
}
