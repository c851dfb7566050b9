//! Texts from files, users and chats.

use std::{fmt::Display, str::FromStr};

use offset_crypto::{InvoiceId, PaymentId, PublicKey};
use offset_proto::{
    Balance, Credits, Currency, Name, NetworkAddress, Text,
    file::{AnyFile, OffsetFile as _, identify},
    report::MAX_DECIMALS,
};

use super::amount::{Amount, SignedAmount, show};

/// A file of any kind, or its one-line form. What parses is written and parses to the same text.
pub fn files(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(file) = AnyFile::parse(text) else { return };
    assert_eq!(identify(text).ok(), Some(file.kind()), "a file is of one kind");
    let written = write(&file);
    let again = AnyFile::parse(&written).expect("what was written parses");
    assert_eq!(*write(&again), *written);
}

fn write(file: &AnyFile) -> zeroize::Zeroizing<String> {
    match file {
        AnyFile::Identity(file) => file.to_toml(),
        AnyFile::NodeTicket(file) => file.to_toml(),
        AnyFile::RelayTicket(file) => file.to_toml(),
        AnyFile::IndexTicket(file) => file.to_toml(),
        AnyFile::AppTicket(file) => file.to_toml(),
        AnyFile::NodeEntry(file) => file.to_toml(),
        AnyFile::Friend(file) => file.to_toml(),
        AnyFile::Invoice(file) => file.to_toml(),
        AnyFile::Receipt(file) => file.to_toml(),
        AnyFile::Commit(file) => file.to_toml(),
        AnyFile::Payment(file) => file.to_toml(),
        AnyFile::Token(file) => file.to_toml(),
    }
}

/// Values of the command line. What parses prints as what parses to the same.
pub fn values(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    value::<Credits>(text);
    value::<Balance>(text);
    value::<Currency>(text);
    value::<Name>(text);
    value::<Text>(text);
    value::<NetworkAddress>(text);
    value::<PublicKey>(text);
    value::<InvoiceId>(text);
    value::<PaymentId>(text);
}

fn value<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        assert!(printed.parse().is_ok_and(|again: T| again == value), "{printed:?}");
    }
}

/// An amount as a person types it, after a byte that says how many digits the currency has behind the
/// point. What is taken is shown as what is taken as the same.
pub fn amounts(bytes: &[u8]) {
    let [decimals, text @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let decimals = decimals % (MAX_DECIMALS + 1);
    if let Ok(amount) = text.parse::<Amount>()
        && let Ok(credits) = amount.credits(decimals)
    {
        let shown = show(credits, decimals);
        let again = shown.parse::<Amount>().expect("what is shown can be typed");
        assert_eq!(again.credits(decimals).expect("and is taken"), credits, "{text} is {shown}");
        let digits = |text: &str| text.replace('.', "").trim_start_matches('0').to_owned();
        assert!(digits(&shown).starts_with(&digits(text)), "{text} is {shown}");
    }
    if let Ok(amount) = text.parse::<SignedAmount>()
        && let Ok(balance) = amount.balance(decimals)
    {
        let shown = show(balance, decimals);
        let again = shown.parse::<SignedAmount>().expect("what is shown can be typed");
        assert_eq!(again.balance(decimals).expect("and is taken"), balance, "{text} is {shown}");
    }
}
