//! Short texts with a form: currencies, names, network addresses, descriptions.

use std::{borrow::Cow, fmt, ops::RangeInclusive, str::FromStr};

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
    #[error("not a name: expected 1 to 64 printable characters, no blank at either end")]
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
    /// What a user calls a friend, relay or index server: 1 to 64 printable Unicode characters, of
    /// blanks the space alone, and none at either end: names that look alike in a table would be
    /// taken for one another.
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

    /// What of it goes into a log line, a cell of a table or an error: its first 128 bytes, and `...`
    /// if there is more.
    #[must_use]
    pub fn brief(&self) -> Cow<'_, str> {
        if self.0.len() <= BRIEF_BYTES {
            return Cow::Borrowed(&self.0);
        }
        Cow::Owned(format!("{}...", &self.0[..self.0.floor_char_boundary(BRIEF_BYTES)]))
    }
}

/// `text` in which control characters and invisible ones are shown by their numbers, as `\u{1b}`: a
/// terminal does not act on it, and it is one line.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unprintable(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
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
    let blank = |c: char| c.is_whitespace() && c != ' ';
    (1..=64).contains(&text.chars().count())
        && !text.chars().any(|c| is_unprintable(c) || blank(c))
        && text.trim() == text
}

fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT_BYTES && !text.chars().any(is_unprintable)
}

fn is_address(text: &str) -> bool {
    text.len() <= 256 && split_address(text).is_some()
}

/// Control characters, and whatever else of Unicode reorders, joins or hides what a terminal shows:
/// format characters, fillers that look like nothing, and those of no meaning.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || INVISIBLE.iter().any(|range| range.contains(&c))
        // The last two of each plane are no characters.
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Characters of the category Cf (format) and those that Unicode calls ignorable by default, in
/// order. Left out are the variation selectors of the first plane: symbols in common use have them.
const INVISIBLE: [RangeInclusive<char>; 26] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{2800}'..='\u{2800}',
    '\u{3164}'..='\u{3164}',
    '\u{fdd0}'..='\u{fdef}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];

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
/// How much of a peer's text is shown beside other things, in bytes.
const BRIEF_BYTES: usize = 128;

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
    fn nothing_that_a_terminal_acts_on_or_does_not_show_is_a_name_or_a_text() {
        for nasty in [
            "\u{1b}[2J",
            "\u{9b}31m",
            "a\rb",
            "a\nb",
            "a\tb",
            "\u{7}",
            "\u{7f}",
            "a\u{0}",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200b}b",
            "a\u{200d}b",
            "a\u{2028}b",
            "a\u{feff}",
            "a\u{ad}b",
            "\u{3164}",
            "\u{2800}",
            "\u{ffa0}",
            "a\u{34f}",
            "a\u{e0041}",
            "a\u{e01ef}",
            "a\u{fffe}",
            "a\u{10ffff}",
            "a\u{fdd0}",
            "a\u{1d173}",
        ] {
            assert_eq!(nasty.parse::<Name>(), Err(InvalidValue::Name), "{nasty:?}");
            assert_eq!(nasty.parse::<Text>(), Err(InvalidValue::Text), "{nasty:?}");
            let shown = printable(nasty);
            assert!(shown.contains("\\u{"), "{shown}");
            assert!(shown.parse::<Text>().is_ok(), "{shown}");
            assert!(Text::cut(nasty).as_str().contains('?'));
        }
        for blank in [" ", "a ", " a", "a\u{a0}b", "a\u{3000}b", "a\u{2009}b"] {
            assert_eq!(blank.parse::<Name>(), Err(InvalidValue::Name), "{blank:?}");
            assert!(blank.parse::<Text>().is_ok(), "{blank:?}");
        }
        for good in ["Änne Böll", "Ελένη", "李小龍", "محمد", "O'Neil", "❤\u{fe0f}", "𝄞", "한국"]
        {
            assert!(good.parse::<Name>().is_ok(), "{good}");
            assert_eq!(printable(good), good);
        }
        let sorted = INVISIBLE.windows(2).all(|pair| pair[0].end() < pair[1].start());
        assert!(sorted);
    }

    #[test]
    fn long_texts_are_shown_in_part() {
        let text = |text: &str| text.parse::<Text>().expect("a text");
        assert_eq!(text("short").brief(), "short");
        assert_eq!(text(&"x".repeat(128)).brief(), "x".repeat(128));
        assert_eq!(text(&"x".repeat(129)).brief(), format!("{}...", "x".repeat(128)));
        assert_eq!(text(&"ä€".repeat(50)).brief(), format!("{}ä...", "ä€".repeat(25)));
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
