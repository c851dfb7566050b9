//! One-line texts and QR codes: what has no secret goes through a chat or a camera, into every
//! command that takes such a file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Cursor;

use support::Sandbox;

/// What a reader sees in a square picture, `is_dark` by column and row.
fn scan(side: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| {
        if is_dark(x, y) { 0 } else { 255 }
    });
    let grids = picture.detect_grids();
    assert_eq!(grids.len(), 1, "one code is seen");
    grids[0].decode().unwrap().1
}

/// What is seen on a dark terminal, each character four columns wide and eight rows high.
fn scan_terminal(text: &str) -> String {
    let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let dark = |x: usize, y: usize| {
        let upper = y % 8 < 4;
        match lines[y / 8][x / 4] {
            '█' => false,
            '▀' => !upper,
            '▄' => upper,
            ' ' => true,
            other => panic!("{other:?} is no half block"),
        }
    };
    scan(lines[0].len() * 4, dark)
}

fn scan_png(bytes: Vec<u8>) -> String {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().unwrap();
    let mut data = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut data).unwrap();
    let dark = |x: usize, y: usize| data[y * info.line_size + x / 8] << (x % 8) & 0x80 == 0;
    scan(usize::try_from(info.width).unwrap(), dark)
}

fn text(sandbox: &Sandbox, file: &str) -> String {
    let text = sandbox.run(&format!("stmgr show {file} --text")).success();
    assert!(text.starts_with("offset:"), "{text}");
    text.trim_end().to_owned()
}

#[test]
fn every_command_takes_the_text_in_place_of_the_file() {
    let mut sandbox = Sandbox::new();
    let _network = sandbox.network("line:2");
    sandbox.set("OFFSET_IDFILE", "net/node0/app.ident");
    sandbox.set("OFFSET_TICKET", &text(&sandbox, "net/node0/node.ticket"));
    for line in [
        "stmgr gen-ident -o a.ident",
        "stmgr relay-ticket -i a.ident -a 127.0.0.1:1 -o relay.ticket",
        "stmgr index-ticket -i a.ident -a 127.0.0.1:1 -o index.ticket",
        "stctrl info export-ticket -o node0.friend",
    ] {
        sandbox.run(line).success();
    }
    let seller = sandbox.public_key("net/node1/node.ident");
    sandbox.run(&format!("stregister gen-invoice -a 7 -p {seller} -o a.invoice")).success();
    sandbox.write("other.friend", &format!("public_key = \"{}\"\n", sandbox.public_key("a.ident")));

    let (relay, index) = (text(&sandbox, "relay.ticket"), text(&sandbox, "index.ticket"));
    let (friend, invoice) = (text(&sandbox, "other.friend"), text(&sandbox, "a.invoice"));
    for line in [
        format!("stctrl config add-relay -n other -r {relay}"),
        format!("stctrl config add-index -n other -i {index}"),
        format!("stctrl config add-friend -n other -f ' {friend} '"),
        format!("echo {friend} | stctrl config set-friend-relays -n other -f -"),
        format!("stctrl funds pay-invoice -i {invoice} -r a.receipt"),
        format!("stmgr show a.receipt --text | stregister verify-receipt -i {invoice} -r -"),
        format!("stctrl -T {} info friends", text(&sandbox, "net/node0/node.ticket")),
        "stmgr show - < a.invoice".to_owned(),
        format!("echo {invoice} | stmgr show -"),
        "stmgr show a.invoice --text > line.invoice; stmgr show line.invoice".to_owned(),
    ] {
        sandbox.run(&line).success();
    }
}

#[test]
fn what_is_drawn_is_read() {
    let mut sandbox = Sandbox::new();
    let _network = sandbox.network("line:2");
    sandbox.set("OFFSET_IDFILE", "net/node0/app.ident");
    sandbox.set("OFFSET_TICKET", "net/node0/node.ticket");
    let drawn = sandbox.run("stctrl info export-ticket --qr -o me.friend").success();
    let friend = text(&sandbox, "me.friend");
    assert_eq!(scan_terminal(&drawn), friend);
    assert_eq!(sandbox.run("stctrl info export-ticket --qr").success(), drawn);
    assert_eq!(sandbox.run("stmgr show me.friend --qr").success(), drawn);

    let silent = sandbox.run("stmgr show me.friend --png me.png --svg me.svg").success();
    assert_eq!(silent, "");
    assert_eq!(scan_png(std::fs::read(sandbox.file("me.png")).unwrap()), friend);
    assert!(sandbox.read("me.svg").starts_with("<svg "));
    sandbox.run("stmgr show me.friend --png me.png").failure(1, &["me.png exists", "--force"]);
    sandbox.run("stmgr show me.friend --png me.png --force").success();
}

#[test]
fn texts_that_cannot_be_used_are_refused() {
    let sandbox = Sandbox::new();
    sandbox.run("stmgr gen-ident -o a.ident").success();
    sandbox.run("stmgr relay-ticket -i a.ident -a 127.0.0.1:1 -o relay.ticket").success();
    for flag in ["--text", "--qr", "--png x.png", "--svg x.svg"] {
        sandbox
            .run(&format!("stmgr show a.ident {flag}"))
            .failure(1, &["an identity", "holds a secret", "copy the file itself"]);
    }
    sandbox.run("stmgr show - < /dev/null").failure(1, &["nothing on the standard input"]);
    sandbox.run("head -c 3000000 /dev/zero | stmgr show -").failure(1, &["too long", "piped in"]);
    sandbox.run("stmgr show relay.ticket --qr --text").failure(2, &["--text"]);

    let line = text(&sandbox, "relay.ticket");
    let add = "stctrl -I a -T b config add-index -n r -i";
    sandbox
        .run(&format!("{add} {line}"))
        .failure(1, &["the text: this is a relay-ticket, expected an index-ticket"]);
    let cut = &line[..line.len() - 9];
    sandbox
        .run(&format!("stctrl -I a -T b config add-relay -n r -r {cut}"))
        .failure(1, &["the text"]);
    sandbox
        .run(&format!("echo {cut}= | stctrl -I a -T b config add-relay -n r -r -"))
        .failure(1, &["the standard input: not a complete line", "copy it whole"]);
    sandbox.run("stmgr show offset:identity:AAAA").failure(1, &["holds a secret"]);
    sandbox.run("stmgr app-ticket -i offset:identity:AA -o x").failure(1, &["name the identity"]);

    // More relays than a QR code holds.
    let key = sandbox.public_key("a.ident");
    let host = "relay.".repeat(40);
    let mut friend = format!("public_key = \"{key}\"\n");
    for port in 1..=12 {
        let relay = format!("[[relays]]\npublic_key = \"{key}\"\naddress = \"{host}org:{port}\"\n");
        friend.push_str(&relay);
    }
    sandbox.write("long.friend", &friend);
    sandbox.run("stmgr show long.friend --text").success();
    sandbox
        .run("stmgr show long.friend --qr")
        .failure(1, &["characters", "a QR code holds at most 2953", "another way"]);
}
