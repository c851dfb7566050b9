//! Copies of a node's database: made while the node pays, whole, private, and put back only where
//! nothing is.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use rusqlite::types::ValueRef;
use serde_json::Value;
use support::Sandbox;

/// An empty database and a backup of it.
fn files() -> Sandbox {
    let sandbox = Sandbox::new();
    for line in [
        "stmgr gen-ident -o a.ident",
        "stmgr init-node-db -i a.ident -o node.db",
        "stmgr backup -d node.db -o a.backup",
    ] {
        sandbox.run(line).success();
    }
    sandbox
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_node_is_backed_up_while_it_pays() {
    let mut sandbox = Sandbox::new();
    let _network = sandbox.network("line:2");
    sandbox.set("OFFSET_IDFILE", "net/node0/app.ident");
    sandbox.set("OFFSET_TICKET", "net/node0/node.ticket");
    let friend = sandbox.public_key("net/node1/node.ident");
    let pay = format!(
        "for i in 1 2 3 4 5 6; do stctrl funds send-funds -a 7 -d {friend} >/dev/null || exit 1; done"
    );
    let backups = "for i in 1 2 3 4; do stmgr backup -d net/node0/node.db -o $i.backup >/dev/null \
                   || exit 1; done";
    // Both at once: neither holds the other up.
    let line = format!("({pay}) & payer=$!; ({backups}); code=$?; wait $payer && exit $code");
    sandbox.run(&line).success();
    sandbox.run("stmgr backup -d net/node0/node.db -o last.backup").success();

    let mut balances = Vec::new();
    for name in ["1", "2", "3", "4", "last"] {
        let shown =
            json(&sandbox.run(&format!("stmgr verify-backup {name}.backup --json")).success());
        assert_eq!(shown["valid"], true);
        assert_eq!(shown["public_key"], *sandbox.public_key("net/node0/node.ident"));
        assert_eq!(shown["friends"][0]["name"], "node1");
        let line = &shown["friends"][0]["lines"][0];
        assert_eq!(line["currency"], "credit");
        balances.push(line["balance"].as_str().unwrap().parse::<i64>().unwrap());
    }
    assert!(balances.is_sorted_by(|a, b| a >= b), "each is a later moment: {balances:?}");
    assert_eq!(balances.last(), Some(&-42));
    let text = sandbox.run("stmgr verify-backup last.backup").success();
    assert!(text.starts_with("Backup is valid!\n\nnode: "), "{text}");
    assert!(text.contains("  node1: credit -42\n"), "{text}");

    // Private, one file each, and nothing left beside them or the node's own.
    let listed =
        sandbox.run("ls -l *.backup* | cut -c 1-10 | sort -u; ls -A *.backup* .off* | wc -l");
    assert_eq!(listed.stdout, "-rw-------\n5\n");

    let restored = sandbox.run("stmgr restore -b last.backup -d back.db").success();
    assert!(restored.contains("credit -42") && restored.contains("ATTENTION"), "{restored}");
    assert!(restored.contains("stnode --recover"), "{restored}");
    sandbox.run("stmgr verify-backup back.db").success();
    sandbox.run("stctrl info balance").success();
}

#[test]
fn a_restored_backup_starts_as_with_recover_wherever_it_is_put() {
    let sandbox = files();
    std::fs::create_dir(sandbox.file("trusted")).unwrap();
    let start = |database: &str| {
        let line = format!("stnode -i a.ident -l 127.0.0.1:0 -t trusted -d {database}");
        let daemon = sandbox.daemon(&line, 1);
        let said = daemon.stderr();
        assert!(daemon.terminate().success());
        said.contains("starts as with --recover")
    };
    assert!(!start("node.db"), "its own database");
    sandbox.run("stmgr backup -d node.db -o b.backup").success();
    assert!(!start("node.db"), "a backup changes nothing of the database");
    sandbox.run("stmgr backup -d node.db -o c.backup").success();

    // What counts the starts of the database that is gone is in the way.
    std::fs::remove_file(sandbox.file("node.db")).unwrap();
    sandbox
        .run("stmgr restore -b b.backup -d node.db")
        .failure(1, &["node.db.starts", "earlier database", "move it away"]);
    // It does not help to put the file there by hand, nor to keep the count beside it.
    sandbox.run("cp b.backup node.db").success();
    assert!(start("node.db"));
    assert!(!start("node.db"), "from then on it is the newest");
    sandbox.run("cp c.backup node.db").success();
    assert!(start("node.db"));
    sandbox.run("stmgr restore -b b.backup -d other.db").success();
    assert!(start("other.db"));
}

#[test]
fn backups_and_databases_are_not_replaced() {
    let sandbox = files();
    let refused = ["a.backup exists already", "--force"];
    sandbox.run("stmgr backup -d node.db -o a.backup").failure(1, &refused);
    sandbox.run("stmgr backup -d node.db -o a.backup --force").success();
    let before = std::fs::read(sandbox.file("node.db")).unwrap();
    sandbox
        .run("stmgr restore -b a.backup -d node.db")
        .failure(1, &["node.db exists already", "never overwritten", "choose another"]);
    assert_eq!(std::fs::read(sandbox.file("node.db")).unwrap(), before);
    // There is no --force for a database.
    sandbox.run("stmgr restore -b a.backup -d node.db --force").failure(2, &["--force"]);
    sandbox.write("other.db-wal", "left");
    sandbox
        .run("stmgr restore -b a.backup -d other.db")
        .failure(1, &["other.db-wal", "earlier database", "move it away"]);
    assert!(!sandbox.file("other.db").exists());
    sandbox.run("stmgr restore -b a.backup -d no/node.db").failure(1, &["no"]);
}

#[test]
fn a_backup_never_replaces_a_database() {
    let sandbox = Sandbox::new();
    let _network = sandbox.network("line:2");
    let refused = ["is the database of a node", "never overwritten", "choose another path"];
    for output in ["net/node0/node.db", "net/node0/../node0/node.db", "net/node1/node.db"] {
        let line = format!("stmgr backup -d net/node0/node.db -o {output} --force");
        sandbox.run(&line).failure(1, &refused);
    }
    sandbox.run("stmgr backup -d net/node0/node.db -o a.backup").success();

    // Nor when its node is stopped: what counts its starts is still beside it.
    let sandbox = files();
    sandbox.run("cp node.db other.db").success();
    sandbox.write("other.db.starts", "7");
    sandbox.run("stmgr backup -d node.db -o other.db --force").failure(1, &refused);
    // Nor by its own copy before a node has run on it.
    sandbox.run("stmgr backup -d node.db -o ./node.db --force").failure(1, &refused);
}

#[cfg(unix)]
#[test]
fn a_database_with_two_names_is_not_opened() {
    let sandbox = files();
    std::fs::create_dir(sandbox.file("trusted")).unwrap();
    std::fs::hard_link(sandbox.file("node.db"), sandbox.file("other.db")).unwrap();
    let run = "stnode -i a.ident -l 127.0.0.1:0 -t trusted -d";
    for name in ["node.db", "other.db"] {
        let parts = ["more than one name", "-samefile"];
        sandbox.run(&format!("{run} {name}")).failure(1, &parts);
        sandbox.run(&format!("stmgr backup -d {name} -o x.backup")).failure(1, &parts);
    }
    // A copy that nobody writes may have as many as it likes.
    std::fs::hard_link(sandbox.file("a.backup"), sandbox.file("b.backup")).unwrap();
    sandbox.run("stmgr verify-backup b.backup").success();
    sandbox.run("stmgr restore -b b.backup -d new.db").success();
}

#[test]
fn damage_to_backups_is_named() {
    let sandbox = files();
    let whole = std::fs::read(sandbox.file("a.backup")).unwrap();
    let cut = whole[..whole.len() / 2].to_vec();
    let mut pages = whole.clone();
    pages[4096..].fill(0x55);
    let mut newer = whole.clone();
    // The schema version is in the header of an SQLite file, at byte 60.
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    let key: offset_crypto::PublicKey = sandbox.public_key("a.ident").parse().unwrap();
    let at = whole.windows(32).position(|part| part == key.as_bytes()).unwrap();
    let mut row = whole.clone();
    row[at] ^= 1;
    for (bytes, parts) in [
        (cut, ["damaged", "take another backup"]),
        (pages, ["damaged", "take another backup"]),
        (row, ["damaged: table node", "checksum"]),
        (newer, ["schema version 99", "use the newer release"]),
        (b"something else".to_vec(), ["not a database", "check the path"]),
    ] {
        std::fs::write(sandbox.file("bad.backup"), bytes).unwrap();
        sandbox.run("stmgr verify-backup bad.backup").failure(1, &parts);
        sandbox.run("stmgr restore -b bad.backup -d new.db").failure(1, &parts);
        assert!(!sandbox.file("new.db").exists());
    }
    sandbox.run("stmgr verify-backup nothing").failure(1, &["cannot open nothing"]);
    sandbox.run("stmgr verify-backup a.ident").failure(1, &["not a database", "check the path"]);
    sandbox.run("stmgr backup -d a.ident -o x").failure(1, &["not a database", "check the path"]);
    assert!(!sandbox.file("x").exists());
}

/// Rows with a right checksum are still compared with what was signed.
#[test]
fn a_backup_with_a_limit_that_nobody_signed_is_refused() {
    let sandbox = Sandbox::new();
    {
        let mut network = Sandbox::new();
        let _network = network.network("line:2");
        network.set("OFFSET_IDFILE", "net/node0/app.ident");
        network.set("OFFSET_TICKET", "net/node0/node.ticket");
        let friend = network.public_key("net/node1/node.ident");
        network.run(&format!("stctrl funds send-funds -a 7 -d {friend}")).success();
        network.run("stmgr backup -d net/node0/node.db -o a.backup").success();
        std::fs::copy(network.file("a.backup"), sandbox.file("a.backup")).unwrap();
    }
    sandbox.run("stmgr verify-backup a.backup").success();
    let db = rusqlite::Connection::open(sandbox.file("a.backup")).unwrap();
    assert_eq!(db.execute("UPDATE lines SET local_max_debt = '123456789'", []).unwrap(), 1);
    let parts = ["damaged: table lines", "checksum"];
    sandbox.run("stmgr verify-backup a.backup").failure(1, &parts);
    recheck(&db, "lines");
    drop(db);
    let parts = ["limits", "are not those that were signed last", "take another backup"];
    sandbox.run("stmgr verify-backup a.backup").failure(1, &parts);
    sandbox.run("stmgr restore -b a.backup -d new.db").failure(1, &parts);
    assert!(!sandbox.file("new.db").exists());
}

/// Gives the one row of a table the checksum of what it says now.
fn recheck(db: &rusqlite::Connection, table: &str) {
    let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = statement.column_count() - 1;
    let check = statement.query_row([], |row| {
        let mut kinds = table.as_bytes().to_vec();
        let mut bytes = Vec::new();
        for at in 0..columns {
            let (kind, number) = match row.get_ref(at)? {
                ValueRef::Null => (0, [0; 8]),
                ValueRef::Integer(number) => (1, number.to_be_bytes()),
                ValueRef::Real(number) => (2, number.to_be_bytes()),
                ValueRef::Text(text) => {
                    bytes.extend_from_slice(text);
                    (3, (text.len() as u64).to_be_bytes())
                }
                ValueRef::Blob(blob) => {
                    bytes.extend_from_slice(blob);
                    (4, (blob.len() as u64).to_be_bytes())
                }
            };
            kinds.push(kind);
            kinds.extend_from_slice(&number);
        }
        Ok(offset_crypto::checksum(&[&kinds, &bytes]).cast_signed())
    });
    let sql = format!("UPDATE {table} SET row_check = ?1");
    assert_eq!(db.execute(&sql, [check.unwrap()]).unwrap(), 1);
}
