//! Files: their exact texts, round trips of both forms, and a sentence for everything wrong.

use std::fmt::Debug;

use offset_crypto::{SealedSeed, SealingCost, Seed, SeededRng};
use offset_proto::{
    Credits, ServerAddress, Timestamp,
    app::{AppLimits, Permissions},
    file::*,
    payment::{Invoice, MAX_EXPIRY_MS, MAX_HOLD_MS},
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::Index,
};

use crate::support;

const KEY: &str = "TiTqXCEMBDoAyseEiw8t6r3L7do_k0iXOU1_rk4ERqw";
const RELAY_KEY: &str = "Brvo3Fo0O2svzU1rFdcBL6FtLVNL6b8xJNAWgZc7ll0";
const SECRET: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

fn server(key: &str, address: &str) -> ServerAddress {
    ServerAddress { public_key: key.parse().unwrap(), address: address.parse().unwrap() }
}

fn invoice() -> Invoice {
    Invoice {
        registered: true,
        currency: "credit".parse().unwrap(),
        dest_public_key: KEY.parse().unwrap(),
        dest_payment: Credits(150),
        description: r#"A "nice" bicycle \o/"#.parse().unwrap(),
        created_at: Timestamp(1_700_000_000_000),
        expires_at: Timestamp(1_700_003_600_000),
        hold_until: None,
        nonce: [7; 16].into(),
    }
}

#[test]
fn a_friend_file_is_exactly_this() {
    let friend = FriendFile {
        public_key: KEY.parse().unwrap(),
        relays: vec![server(RELAY_KEY, "127.0.0.1:8000")],
    };
    let text = "\
public_key = \"TiTqXCEMBDoAyseEiw8t6r3L7do_k0iXOU1_rk4ERqw\"

[[relays]]
public_key = \"Brvo3Fo0O2svzU1rFdcBL6FtLVNL6b8xJNAWgZc7ll0\"
address = \"127.0.0.1:8000\"
";
    assert_eq!(friend.to_toml().as_str(), text);
    assert_eq!(FriendFile::from_toml(text), Ok(friend));
}

#[test]
fn texts_are_exactly_these() {
    let relay = RelayTicket(server(RELAY_KEY, "[::1]:8000"));
    let text = format!(
        "kind = \"relay-ticket\"\npublic_key = \"{RELAY_KEY}\"\naddress = \"[::1]:8000\"\n"
    );
    assert_eq!(relay.to_toml().as_str(), text);

    let permissions = Permissions { routes: true, buyer: false, seller: true, config: false };
    let app = AppTicket::new(KEY.parse().unwrap(), permissions);
    let text = format!(
        "kind = \"app-ticket\"\npublic_key = \"{KEY}\"\n\n[permissions]\nroutes = true\n\
         buyer = false\nseller = true\nconfig = false\n"
    );
    assert_eq!(app.to_toml().as_str(), text);
    let amounts = |list: &[(&str, u128)]| {
        list.iter().map(|(name, n)| (name.parse().unwrap(), Credits(*n))).collect()
    };
    let limits = AppLimits {
        max_payment: amounts(&[("credit", 100)]),
        budget: amounts(&[("a.b", u128::MAX), ("credit", 1_000)]),
        commands_per_second: Some(5),
    };
    let app = AppTicket { limits, ..app };
    let text = format!(
        "{text}\n[limits]\ncommands_per_second = 5\n\n[limits.max_payment]\n\"credit\" = \"100\"\n\n\
         [limits.budget]\n\"a.b\" = \"{}\"\n\"credit\" = \"1000\"\n",
        u128::MAX
    );
    assert_eq!(app.to_toml().as_str(), text);

    let entry = NodeEntry { node: server(KEY, "node:1"), app: Seed::from_bytes([1; 32]) };
    let text = format!(
        "kind = \"node-entry\"\npublic_key = \"{KEY}\"\naddress = \"node:1\"\n\
         secret_key = \"{SECRET}\"\n"
    );
    assert_eq!(entry.to_toml().as_str(), text);

    let text = format!(
        "kind = \"invoice\"\nversion = 1\ninvoice_id = \"{}\"\nregistered = true\n\
         currency = \"credit\"\ndest_public_key = \"{KEY}\"\ndest_payment = \"150\"\n\
         description = \"A \\\"nice\\\" bicycle \\\\o/\"\ncreated_at = 1700000000000\n\
         expires_at = 1700003600000\nnonce = \"BwcHBwcHBwcHBwcHBwcHBw\"\n",
        invoice().id()
    );
    assert_eq!(InvoiceFile(invoice()).to_toml().as_str(), text);

    let payment = PaymentFile {
        payment_id: [7; 16].into(),
        invoice_id: invoice().id(),
        dest_public_key: KEY.parse().unwrap(),
        currency: "credit".parse().unwrap(),
        dest_payment: Credits(150),
    };
    let text = format!(
        "kind = \"payment\"\npayment_id = \"BwcHBwcHBwcHBwcHBwcHBw\"\ninvoice_id = \"{}\"\n\
         dest_public_key = \"{KEY}\"\ncurrency = \"credit\"\ndest_payment = \"150\"\n",
        invoice().id()
    );
    assert_eq!(payment.to_toml().as_str(), text);
}

#[test]
fn secrets_round_trip_and_do_not_show() {
    let identity = IdentityFile::Plain(Seed::from_bytes([1; 32]));
    let text = identity.to_toml();
    assert_eq!(text.as_str(), format!("kind = \"identity\"\nsecret_key = \"{SECRET}\"\n"));
    assert_eq!(IdentityFile::parse(&text).unwrap().into_seed().unwrap().expose(), &[1; 32]);
    let entry = NodeEntry { node: server(KEY, "node:1"), app: Seed::from_bytes([1; 32]) };
    let again = NodeEntry::parse(&entry.to_toml()).unwrap();
    assert_eq!((again.node, again.app.expose()), (entry.node, &[1; 32]));
    assert!(!format!("{identity:?}").contains("AQEB"));
    let broken = text.replace("AQEB", "AQ!B");
    assert!(!IdentityFile::parse(&broken).unwrap_err().to_string().contains("AQ!B"));
    let unquoted = text.replace('"', "");
    assert!(!IdentityFile::parse(&unquoted).unwrap_err().to_string().contains("AQEB"));
}

#[test]
fn sealed_secrets_round_trip_and_are_checked() {
    let cost = SealingCost::new(8, 1).unwrap();
    let seed = Seed::from_bytes([1; 32]);
    let sealed = SealedSeed::seal(&seed, b"open", cost, &mut SeededRng::new(1)).unwrap();
    let text = IdentityFile::Sealed(Box::new(sealed.clone())).to_toml();
    let IdentityFile::Sealed(again) = IdentityFile::parse(&text).unwrap() else {
        panic!("a sealed identity stays sealed");
    };
    assert_eq!(*again, sealed);
    let wrong = |from: &str, to: &str| error::<IdentityFile>(&text.replace(from, to));
    assert!(wrong("memory_kib = 8", "memory_kib = 4294967304").contains("out of range"));
    assert!(wrong("passes = 1", "passes = 1000").contains("out of range"));
    assert!(wrong("argon2id", "rot13").contains("all that this version knows"));
    assert!(wrong("salt = \"", "salt = \"A").contains("not 32 bytes of base64url"));
    assert!(wrong("passes = 1\n", "").contains("`passes` is missing"));
    assert!(wrong("passes = 1", "passes = 1\nsecret_key = \"x\"").contains("does not belong"));
}

fn error<F: OffsetFile + Debug>(text: &str) -> String {
    F::parse(text).unwrap_err().to_string()
}

#[test]
fn errors_say_what_is_wrong() {
    let relay = RelayTicket(server(RELAY_KEY, "localhost:8000"));
    let text = relay.to_toml();
    assert_eq!(error::<IndexTicket>(&text), "this is a relay-ticket, expected an index-ticket");
    let line = relay.to_line();
    assert_eq!(error::<AppTicket>(&line), "this is a relay-ticket, expected an app-ticket");
    let friend = FriendFile { public_key: KEY.parse().unwrap(), relays: Vec::new() }.to_toml();
    assert_eq!(error::<RelayTicket>(&friend), "this is a friend file, expected a relay-ticket");
    assert_eq!(error::<FriendFile>(&text), "this is a relay-ticket, expected a friend file");

    let with = |line: &str| format!("{}{line}\n", text.as_str());
    let without = |key: &str| {
        let keep = |line: &&str| !line.starts_with(key);
        text.lines().filter(keep).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(
        error::<RelayTicket>(&with("port = 1")),
        "the key `port` does not belong in a relay-ticket"
    );
    assert_eq!(error::<RelayTicket>(&without("address")), "the key `address` is missing");
    assert_eq!(error::<RelayTicket>(&without("kind")), "the key `kind` is missing");
    assert_eq!(error::<RelayTicket>(""), "the key `kind` is missing");
    assert_eq!(
        error::<RelayTicket>(&text.replace("localhost:8000", "localhost")),
        "the value of `address` is not an address: expected host:port, at most 256 bytes, IPv6 in \
         brackets"
    );
    assert_eq!(
        error::<RelayTicket>(&text.replace(RELAY_KEY, "AAAA")),
        "the value of `public_key` is not a public key: expected 43 characters of base64url"
    );
    assert_eq!(
        error::<RelayTicket>("kind = \"sandwich\""),
        "`sandwich` is not a kind of file that this version knows"
    );
    assert_eq!(error::<RelayTicket>("kind = 1"), "the value of `kind` is not a text in quotes");
    let syntax = RelayTicket::parse(&with("what is this")).unwrap_err();
    assert!(matches!(syntax, FileError::Syntax { line: 4, .. }), "{syntax}");
    let twice = RelayTicket::parse(&with("address = \"a:1\"")).unwrap_err();
    assert!(matches!(twice, FileError::Syntax { line: 4, .. }), "{twice}");
}

#[test]
fn nested_keys_are_named_with_their_table() {
    let head = format!("kind = \"app-ticket\"\npublic_key = \"{KEY}\"\n");
    let table = "[permissions]\nroutes = true\nbuyer = true\nseller = true\n";
    let ticket = |tail: &str| error::<AppTicket>(&format!("{head}{table}{tail}"));
    assert_eq!(ticket(""), "the key `permissions.config` is missing");
    assert_eq!(
        ticket("config = \"yes\""),
        "the value of `permissions.config` is neither true nor false"
    );
    assert_eq!(
        ticket("config = true\nfunds = true"),
        "the key `permissions.funds` does not belong in an app-ticket"
    );
    assert_eq!(error::<AppTicket>(&head), "the key `permissions` is missing");
    assert_eq!(
        error::<AppTicket>(&format!("{head}permissions = 1")),
        "the value of `permissions` is not a table"
    );

    let friend = |relays: &str| error::<FriendFile>(&format!("public_key = \"{KEY}\"\n{relays}"));
    let relay = format!("[[relays]]\npublic_key = \"{RELAY_KEY}\"\naddress = \"a:1\"\n");
    assert_eq!(
        friend(&relay.repeat(17)),
        "the value of `relays` is a list of 17, at most 16 are allowed"
    );
    assert_eq!(
        friend(&format!("{relay}name = \"x\"")),
        "the key `relays.name` does not belong in a friend file"
    );
    for wrong in ["relays = 1", "relays = [1]"] {
        assert_eq!(friend(wrong), "the value of `relays` is not a list of tables");
    }
}

#[test]
fn invoices_are_checked_when_read() {
    let text = InvoiceFile(invoice()).to_toml();
    assert_eq!(InvoiceFile::parse(&text), Ok(InvoiceFile(invoice())));
    for (from, to) in [("\"150\"", "\"151\""), ("bicycle", "tricycle"), ("= true", "= false")] {
        let changed = text.replace(from, to);
        assert_eq!(InvoiceFile::parse(&changed), Err(FileError::InvoiceChanged), "{to}");
    }
    assert_eq!(
        error::<InvoiceFile>(&text.replace("\"150\"", "\"0\"")),
        "not a valid invoice: an invoice asks for at least 1 and at most 2^127-1 credits"
    );
    assert_eq!(
        error::<InvoiceFile>(&text.replace("version = 1", "version = 2")),
        "the value of `version` is not known to this program: is it too old?"
    );
    assert_eq!(
        error::<InvoiceFile>(&text.replace("= 1700000000000", "= -1")),
        "the value of `created_at` is not a whole number of 0 or more"
    );
}

#[test]
fn lines_are_read_like_files() {
    let relay = RelayTicket(server(RELAY_KEY, "localhost:8000"));
    let line = relay.to_line();
    assert!(line.starts_with("offset:relay-ticket:a2luZCA9"), "{line}");
    assert_eq!(RelayTicket::parse(&format!("  {line}\n")), Ok(relay));
    assert_eq!(identify(&line), Ok(Kind::RelayTicket));
    for bad in ["offset:", "offset:relay-ticket", "offset:relay-ticket:!", "offset:relay-ticket:_w"]
    {
        assert_eq!(RelayTicket::parse(bad), Err(FileError::InvalidLine), "{bad}");
    }
    let unknown = RelayTicket::parse("offset:sandwich:AAAA").unwrap_err();
    assert!(matches!(unknown, FileError::UnknownKind(_)), "{unknown}");
    // The text inside must be what the line says.
    let inside = line.replace("offset:relay-ticket", "offset:index-ticket");
    assert_eq!(error::<IndexTicket>(&inside), "this is a relay-ticket, expected an index-ticket");
    assert_eq!(
        error::<IdentityFile>("offset:identity:AAAA"),
        "an identity holds a secret and is only read from a file"
    );
}

#[test]
fn large_texts_are_not_looked_at() {
    let comment = "#".repeat(MAX_FILE_BYTES);
    assert_eq!(identify(&comment), Err(FileError::MissingKey("kind".to_owned())));
    let larger = format!("{comment}#");
    let too_large = FileError::TooLarge { bytes: MAX_FILE_BYTES + 1, most: MAX_FILE_BYTES };
    assert_eq!(identify(&larger), Err(too_large));
    let line = format!("offset:invoice:{}", "A".repeat(2 * MAX_FILE_BYTES));
    assert!(matches!(InvoiceFile::parse(&line), Err(FileError::TooLarge { .. })));
    // Neither depth nor width of a text takes more than its size.
    for deep in ["[".repeat(20_000), format!("a = {}", "[".repeat(20_000)), "a.".repeat(20_000)] {
        assert!(identify(&deep).is_err());
    }
}

/// An invoice whose terms agree.
fn valid_invoice() -> impl Strategy<Value = InvoiceFile> {
    let times = (0..1_u64 << 60, 0..=MAX_EXPIRY_MS, option::of(0..=MAX_HOLD_MS));
    (support::invoice(), 1..=Credits::LIMIT.0, times).prop_map(|(mut invoice, amount, times)| {
        invoice.dest_payment = Credits(amount);
        invoice.created_at = Timestamp(times.0);
        invoice.expires_at = Timestamp(times.0 + times.1);
        invoice.hold_until = times.2.map(|hold| invoice.expires_at.plus_ms(hold));
        InvoiceFile(invoice)
    })
}

fn app_ticket() -> impl Strategy<Value = AppTicket> {
    let amounts = || btree_map(support::currency(), any::<u128>().prop_map(Credits), 0..4);
    let limits = (amounts(), amounts(), option::of(1..=u32::MAX)).prop_map(
        |(max_payment, budget, commands_per_second)| AppLimits {
            max_payment,
            budget,
            commands_per_second,
        },
    );
    (support::key(), any::<[bool; 4]>(), limits).prop_map(
        |(public_key, [routes, buyer, seller, config], limits)| AppTicket {
            public_key,
            permissions: Permissions { routes, buyer, seller, config },
            limits,
        },
    )
}

#[test]
fn limits_that_mean_nothing_are_refused_by_name() {
    let ticket = |limits: &str| {
        let permissions =
            "[permissions]\nroutes = true\nbuyer = true\nseller = true\nconfig = true";
        AppTicket::from_toml(&format!(
            "kind = \"app-ticket\"\npublic_key = \"{KEY}\"\n{permissions}\n{limits}"
        ))
    };
    assert_eq!(ticket("[limits]").unwrap().limits, AppLimits::default());
    for (limits, named) in [
        ("[limits]\ncommands_per_second = 0", "limits.commands_per_second"),
        ("[limits]\ncommands_per_second = -1", "limits.commands_per_second"),
        ("[limits]\nmax = 1", "limits.max"),
        ("[limits.budget]\n\"no currency\" = \"1\"", "limits.budget.no currency"),
        ("[limits.budget]\ncredit = 1", "limits.budget.credit"),
        ("[limits.max_payment]\ncredit = \"-1\"", "limits.max_payment.credit"),
        ("limits = 1", "limits"),
    ] {
        let error = ticket(limits).unwrap_err().to_string();
        assert!(error.contains(named), "{limits}: {error}");
    }
    let many: String = (0..65).map(|n| format!("c{n} = \"1\"\n")).collect();
    assert!(ticket(&format!("[limits.budget]\n{many}")).is_err());
}

fn friend_file() -> impl Strategy<Value = FriendFile> {
    (support::key(), vec(support::server(), 0..=16))
        .prop_map(|(public_key, relays)| FriendFile { public_key, relays })
}

fn assert_both_forms<F: PublicFile + PartialEq + Debug>(file: &F) {
    let (toml, line) = (file.to_toml(), file.to_line());
    assert_eq!(F::from_toml(&toml).as_ref(), Ok(file));
    assert_eq!(F::parse(&toml).as_ref(), Ok(file));
    assert_eq!(F::parse(&line).as_ref(), Ok(file));
    for text in [toml.as_str(), &line] {
        assert_eq!(identify(text), Ok(F::KIND));
        assert_eq!(AnyFile::parse(text).unwrap().kind(), F::KIND);
    }
}

/// Some text of some kind.
fn some_text() -> impl Strategy<Value = String> {
    prop_oneof![
        valid_invoice().prop_map(|file| file.to_toml().to_string()),
        support::receipt().prop_map(|receipt| ReceiptFile(receipt).to_toml().to_string()),
        support::commit().prop_map(|commit| CommitFile(commit).to_toml().to_string()),
        app_ticket().prop_map(|file| file.to_toml().to_string()),
        friend_file().prop_map(|file| file.to_toml().to_string()),
        support::server().prop_map(|server| RelayTicket(server).to_line()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    })]

    #[test]
    fn both_forms_round_trip(
        server in support::server(),
        app in app_ticket(),
        friend in friend_file(),
        invoice in valid_invoice(),
        receipt in support::receipt(),
        commit in support::commit(),
    ) {
        assert_both_forms(&NodeTicket(server.clone()));
        assert_both_forms(&RelayTicket(server.clone()));
        assert_both_forms(&IndexTicket(server));
        assert_both_forms(&app);
        assert_both_forms(&friend);
        assert_both_forms(&invoice);
        assert_both_forms(&PaymentFile {
            payment_id: [7; 16].into(),
            invoice_id: receipt.invoice_id,
            dest_public_key: friend.public_key,
            currency: receipt.currency.clone(),
            dest_payment: receipt.dest_payment,
        });
        assert_both_forms(&ReceiptFile(receipt));
        assert_both_forms(&CommitFile(commit));
    }

    #[test]
    fn tampered_texts_never_panic(
        text in some_text(),
        changes in vec((any::<Index>(), any::<char>()), 1..6),
        cut in any::<Index>(),
    ) {
        let mut chars: Vec<char> = text.chars().collect();
        for (index, c) in changes {
            let index = index.index(chars.len());
            chars[index] = c;
            let _ = AnyFile::parse(&chars.iter().collect::<String>());
        }
        let cut: String = text.chars().take(cut.index(text.chars().count())).collect();
        let _ = AnyFile::parse(&cut);
    }

    #[test]
    fn a_changed_invoice_is_refused(file in valid_invoice(), at in any::<Index>(), c in "[0-9a-z]") {
        let text = file.to_toml();
        let mut changed = text.to_string();
        let at = at.index(changed.len());
        prop_assume!(changed.is_char_boundary(at) && changed.is_char_boundary(at + 1));
        changed.replace_range(at..=at, &c);
        if let Ok(read) = InvoiceFile::parse(&changed) {
            assert_eq!(read, file);
        }
    }
}
