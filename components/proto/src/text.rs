//! Short texts with a form: currencies, names, network addresses, descriptions.

use std::{fmt, str::FromStr};

/// A value that does not have the form it must have; the sentence says which form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    /// See [`crate::Credits`].
    #[error("not an amount: expected a whole number of credits, 0 or more")]
    Amount,
    /// See [`crate::Balance`].
    #[error("not a balance: expected a whole number of credits, which may be negative")]
    Balance,
    /// See [`Currency`].
    #[error("not a currency: expected 1 to 16 of A-Z a-z 0-9 - _ . and no - in front")]
    Currency,
    /// See [`Name`].
    #[error("not a name: expected 1 to 64 printable characters")]
    Name,
    /// See [`NetworkAddress`].
    #[error("not an address: expected host:port, at most 256 bytes, IPv6 in brackets")]
    Address,
    /// See [`Text`].
    #[error("not a text: expected at most 256 bytes without control characters")]
    Text,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $error:ident, $valid:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                if $valid(text) { Ok(Self(text.into())) } else { Err(InvalidValue::$error) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

checked_text!(
    /// The name of a currency: 1 to 16 of `A-Z a-z 0-9 - _ .`, not beginning with `-`; compared byte
    /// for byte.
    Currency, Currency, is_currency
);
checked_text!(
    /// What a user calls a friend, relay or index server: 1 to 64 printable Unicode characters.
    Name, Name, is_name
);
checked_text!(
    /// `host:port`, at most 256 bytes, IPv6 in brackets. Checked for form, never resolved here.
    NetworkAddress, Address, is_address
);
checked_text!(
    /// A line for people, for example the description of an invoice: at most 256 bytes, no control
    /// characters; may be empty.
    Text, Text, is_text
);

impl Currency {
    /// The currency that is used where none is given and none is configured: `credit`.
    #[must_use]
    pub fn fallback() -> Self {
        Self("credit".into())
    }
}

impl Text {
    /// As much of `text` as is allowed, control characters shown as `?`.
    #[must_use]
    pub fn cut(text: &str) -> Self {
        let mut cut = String::new();
        for c in text.chars().map(|c| if is_unprintable(c) { '?' } else { c }) {
            if MAX_TEXT_BYTES < cut.len() + c.len_utf8() {
                break;
            }
            cut.push(c);
        }
        Self(cut.into())
    }
}

impl NetworkAddress {
    /// The host, without brackets, and the port.
    #[must_use]
    pub fn host_and_port(&self) -> (&str, u16) {
        split_address(&self.0).expect("checked when it was made")
    }
}

fn is_currency(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.chars().any(is_unprintable)
}

fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && !text.chars().any(is_unprintable)
}

fn is_address(text: &str) -> bool {
    text.len() <= 256 && split_address(text).is_some()
}

/// Control characters, and the invisible ones that reorder or hide what a terminal shows.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let port = port.parse().ok()?;
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<std::net::Ipv6Addr>().ok().map(|_| (inner, port));
    }
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (!host.is_empty() && host.bytes().all(valid)).then_some((host, port))
}

/// The longest [`Text`], in bytes.
const MAX_TEXT_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies() {
        for good in ["credit", "USD", "a", "0123456789abcdef", "x-y_z.1"] {
            assert!(good.parse::<Currency>().is_ok(), "{good}");
        }
        for bad in ["", "-usd", "0123456789abcdefg", "a b", "ä"] {
            assert_eq!(bad.parse::<Currency>(), Err(InvalidValue::Currency), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert!("Änne & Söhne".parse::<Name>().is_ok());
        assert!("x".repeat(64).parse::<Name>().is_ok());
        for bad in
            ["", "a\nb", "\u{1b}[31m", "a\u{202e}b", "a\u{61c}b", "a\u{e0041}", &"x".repeat(65)]
        {
            assert_eq!(bad.parse::<Name>(), Err(InvalidValue::Name), "{bad:?}");
        }
    }

    #[test]
    fn addresses() {
        for (good, host, port) in [
            ("127.0.0.1:8000", "127.0.0.1", 8000),
            ("www.example.com:1", "www.example.com", 1),
            ("[::1]:65535", "::1", 65535),
            ("localhost:0", "localhost", 0),
        ] {
            let address: NetworkAddress = good.parse().expect(good);
            assert_eq!(address.host_and_port(), (host, port));
        }
        for bad in ["", ":80", "host", "host:", "host:65536", "host:+1", "::1:80", "[x]:1", "a b:1"]
        {
            assert_eq!(bad.parse::<NetworkAddress>(), Err(InvalidValue::Address), "{bad}");
        }
        assert!(format!("{}:80", "h".repeat(254)).parse::<NetworkAddress>().is_err());
    }

    #[test]
    fn text_is_cut_at_a_character() {
        let cut = Text::cut(&format!("\u{1b}{}", "ä".repeat(300)));
        assert_eq!(cut.as_str().len(), 255);
        assert!(cut.as_str().starts_with('?'));
    }
}
