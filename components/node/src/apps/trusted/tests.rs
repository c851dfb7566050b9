use std::sync::{
    Arc,
    atomic::{AtomicI32, Ordering},
};

use offset_crypto::{Identity, SeededRng};

use super::*;

/// A system that fails with the errors of these numbers; 0 is none.
#[derive(Default, Clone)]
struct Failing {
    list: Arc<AtomicI32>,
    metadata: Arc<AtomicI32>,
    open: Arc<AtomicI32>,
}

fn check(error: &AtomicI32) -> io::Result<()> {
    match error.load(Ordering::SeqCst) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

impl Files for Failing {
    fn list(&self, path: &Path) -> io::Result<ReadDir> {
        check(&self.list)?;
        System.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        check(&self.metadata)?;
        System.metadata(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        check(&self.open)?;
        System.open(path)
    }
}

/// EIO, ENOMEM, ENFILE, EMFILE.
#[cfg(unix)]
const OF_THE_MOMENT: [i32; 4] = [5, 12, 23, 24];
/// ENOENT, EACCES.
#[cfg(unix)]
const LASTING: [i32; 2] = [2, 13];

fn key(n: u64) -> PublicKey {
    Identity::random(&mut SeededRng::new(n)).public_key()
}

fn write(dir: &Path, name: &str, n: u64, permissions: Permissions) {
    let ticket = AppTicket::new(key(n), permissions);
    fs::write(dir.join(name), ticket.to_toml().as_bytes()).unwrap();
}

fn trusted<const N: usize>(apps: [(PublicKey, Permissions); N]) -> Trusted {
    let grant = |permissions| Grant { permissions, limits: Vec::new() };
    apps.into_iter().map(|(key, permissions)| (key, grant(permissions))).collect()
}

#[cfg(unix)]
#[test]
fn a_ticket_of_the_same_length_and_time_is_another_ticket() {
    let dir = tempfile::tempdir().unwrap();
    let mut directory = Directory::new(dir.path().to_owned());
    let buyer = Permissions { buyer: true, ..Permissions::default() };
    write(dir.path(), "a", 1, buyer);
    let path = dir.path().join("a");
    let before = fs::metadata(&path).unwrap();
    assert_eq!(directory.scan().unwrap(), trusted([(key(1), buyer)]));
    // As `cp -p`, rsync and tar write it.
    let dot = dir.path().join(".b");
    write(dir.path(), ".b", 2, buyer);
    File::options()
        .write(true)
        .open(&dot)
        .unwrap()
        .set_modified(before.modified().unwrap())
        .unwrap();
    fs::rename(&dot, &path).unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(before.len(), after.len());
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(directory.scan().unwrap(), trusted([(key(2), buyer)]));
}

#[cfg(unix)]
#[test]
fn a_ticket_that_anybody_can_write_counts_for_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let buyer = Permissions { buyer: true, ..Permissions::default() };
    let dir = tempfile::tempdir().unwrap();
    let mut directory = Directory::new(dir.path().to_owned());
    write(dir.path(), "a", 1, buyer);
    let mode = |mode| {
        let path = dir.path().join("a");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // Length and time stay as they were.
    for (bits, count) in [(0o644, 1), (0o666, 0), (0o664, 1), (0o602, 0), (0o600, 1)] {
        mode(bits);
        assert_eq!(directory.scan().unwrap().len(), count, "{bits:o}");
    }
}

#[test]
fn limits_of_all_tickets_hold() {
    let dir = tempfile::tempdir().unwrap();
    let mut directory = Directory::new(dir.path().to_owned());
    let buyer = Permissions { buyer: true, ..Permissions::default() };
    let limited = |commands_per_second| AppLimits {
        commands_per_second: Some(commands_per_second),
        ..AppLimits::default()
    };
    let put = |name: &str, limits| {
        let ticket = AppTicket { limits, ..AppTicket::new(key(1), buyer) };
        fs::write(dir.path().join(name), ticket.to_toml().as_bytes()).unwrap();
    };
    put("a", AppLimits::default());
    assert_eq!(directory.scan().unwrap()[&key(1)].pace(), limits::APP_COMMANDS_PER_SECOND);
    put("b", limited(500));
    assert_eq!(directory.scan().unwrap()[&key(1)].pace(), 500);
    put("c", limited(20));
    let grant = directory.scan().unwrap().remove(&key(1)).unwrap();
    assert_eq!((grant.pace(), grant.limits.len()), (20, 2));
    // A ticket that is changed counts at once.
    put("c", AppLimits::default());
    assert_eq!(directory.scan().unwrap()[&key(1)].pace(), 500);
}

#[test]
fn tickets_come_change_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let mut directory = Directory::new(dir.path().to_owned());
    assert_eq!(directory.scan().unwrap(), Trusted::new());

    let buyer = Permissions { buyer: true, ..Permissions::default() };
    let seller = Permissions { seller: true, ..Permissions::default() };
    write(dir.path(), "a", 1, buyer);
    write(dir.path(), "b", 2, seller);
    write(dir.path(), ".hidden", 3, buyer);
    fs::write(dir.path().join("bad"), "kind = \"nonsense\"").unwrap();
    fs::write(dir.path().join("long"), "#".repeat(100_000)).unwrap();
    fs::write(dir.path().join("binary"), [0xff; 10]).unwrap();
    fs::create_dir(dir.path().join("directory")).unwrap();
    let expected = trusted([(key(1), buyer), (key(2), seller)]);
    assert_eq!(directory.scan().unwrap(), expected);
    assert_eq!(directory.scan().unwrap(), expected);

    write(dir.path(), "c", 1, seller);
    let both = Permissions { buyer: true, seller: true, ..Permissions::default() };
    assert_eq!(directory.scan().unwrap()[&key(1)].permissions, both);

    fs::remove_file(dir.path().join("a")).unwrap();
    fs::remove_file(dir.path().join("b")).unwrap();
    assert_eq!(directory.scan().unwrap(), trusted([(key(1), seller)]));
    write(dir.path(), "bad", 4, both);
    assert_eq!(directory.scan().unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_for_a_moment_counts_for_what_it_was() {
    let buyer = Permissions { buyer: true, ..Permissions::default() };
    let dir = tempfile::tempdir().unwrap();
    let system = Failing::default();
    let mut directory = Directory::on(system.clone(), dir.path().to_owned());
    for code in OF_THE_MOMENT {
        for error in [&system.open, &system.metadata] {
            write(dir.path(), "a", 1, buyer);
            let before = directory.scan().unwrap();
            assert_eq!(before, trusted([(key(1), buyer)]));
            // Another file is put in its place, and one beside it, at the wrong moment.
            error.store(code, Ordering::SeqCst);
            write(dir.path(), "a", 2, Permissions { seller: true, ..buyer });
            write(dir.path(), "b", 3, buyer);
            assert_eq!(directory.scan().unwrap(), before, "{code}");
            assert_eq!(directory.scan().unwrap(), before, "{code}");
            error.store(0, Ordering::SeqCst);
            // Both are read, though they are as they were at that moment.
            let after = directory.scan().unwrap();
            assert_eq!(after.keys().copied().collect::<Vec<_>>(), sorted([key(2), key(3)]));
            fs::remove_file(dir.path().join("b")).unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_read_counts_for_nothing() {
    let buyer = Permissions { buyer: true, ..Permissions::default() };
    let dir = tempfile::tempdir().unwrap();
    let system = Failing::default();
    let mut directory = Directory::on(system.clone(), dir.path().to_owned());
    write(dir.path(), "a", 1, buyer);
    assert_eq!(directory.scan().unwrap().len(), 1);
    for code in LASTING {
        system.metadata.store(code, Ordering::SeqCst);
        assert_eq!(directory.scan().unwrap(), Trusted::new(), "{code}");
        system.metadata.store(0, Ordering::SeqCst);
        assert_eq!(directory.scan().unwrap().len(), 1, "{code}");
    }
}

#[cfg(unix)]
#[test]
fn only_a_directory_that_is_gone_trusts_nobody() {
    let buyer = Permissions { buyer: true, ..Permissions::default() };
    let dir = tempfile::tempdir().unwrap();
    let system = Failing::default();
    let mut directory = Directory::on(system.clone(), dir.path().to_owned());
    write(dir.path(), "a", 1, buyer);
    let trusted = trusted([(key(1), buyer)]);
    assert_eq!(directory.look(), Some(trusted.clone()));
    for code in OF_THE_MOMENT {
        system.list.store(code, Ordering::SeqCst);
        assert_eq!(directory.look(), None, "{code}");
        // What was read before is still known: the file need not be read again.
        system.list.store(0, Ordering::SeqCst);
        system.open.store(code, Ordering::SeqCst);
        assert_eq!(directory.look(), Some(trusted.clone()), "{code}");
        system.open.store(0, Ordering::SeqCst);
    }
    for code in LASTING {
        system.list.store(code, Ordering::SeqCst);
        assert_eq!(directory.look(), Some(Trusted::new()), "{code}");
        system.list.store(0, Ordering::SeqCst);
        assert_eq!(directory.look(), Some(trusted.clone()), "{code}");
    }
    fs::remove_dir_all(dir.path()).unwrap();
    assert_eq!(directory.look(), Some(Trusted::new()));
}

fn sorted<const N: usize>(mut keys: [PublicKey; N]) -> Vec<PublicKey> {
    keys.sort_unstable();
    keys.to_vec()
}

#[test]
fn a_missing_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Directory::new(dir.path().join("none")).scan().is_err());
}
