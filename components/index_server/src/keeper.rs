//! Keeps what the server knows in a file (`--state`), so that it knows it again after a restart.
//!
//! The file is written anew every few minutes and once more at the end, a little at a time: the
//! owner packs some nodes between two of its inputs, and a thread of its own hashes and writes them.
//! The file takes its name only when it is whole and on the disk. One that cannot be read is said so
//! in the log and left aside: the server then starts with nothing, as it would without it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use offset_crypto::{Identity, PublicKey};
use offset_proto::Timestamp;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    directory::Directory,
    graph::Graph,
    limits::DirectoryLimits,
    saved::{Encoder, PIECE, Saved, Seal, Secret},
};

/// Writes the file, again and again.
#[derive(Debug)]
pub(crate) struct Keeper {
    directory: PathBuf,
    secret: Secret,
    job: Option<Job>,
    next_at: Instant,
}

/// A file that is being written.
#[derive(Debug)]
struct Job {
    /// What is still to be packed; nothing when all is.
    packing: Option<Packing>,
    written: oneshot::Receiver<io::Result<()>>,
}

#[derive(Debug)]
struct Packing {
    encoder: Encoder,
    after: Option<PublicKey>,
    parts: mpsc::Sender<Part>,
}

/// A part of the file.
#[derive(Debug)]
enum Part {
    Some(Vec<u8>),
    /// Without this one the file is not whole, and does not get its name.
    Last(Vec<u8>),
}

impl Keeper {
    /// Keeps the file in this directory.
    pub(crate) fn new(directory: PathBuf, identity: &Identity) -> Self {
        let next_at = Instant::now() + EVERY;
        Self { directory, secret: Secret::of(identity), job: None, next_at }
    }

    /// What the file says, if there is one that can be read; what is wrong with it is logged.
    pub(crate) fn load(
        &self,
        limits: &DirectoryLimits,
        now: Timestamp,
    ) -> Option<(Directory, Graph)> {
        let (path, began) = (self.directory.join(NAME), Instant::now());
        let shown = path.display();
        let most = most_bytes(limits);
        let bytes = match read(&path, most) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                log::warn!("{shown} cannot be read, so this server begins with nothing: {error}");
                return None;
            }
        };
        let loaded = Saved::read(bytes, &self.secret)
            .and_then(|saved| Directory::load(limits.clone(), now, &Arc::new(saved)));
        match loaded {
            Ok((directory, graph)) => {
                log::info!(
                    "{} nodes and {} directed edges are known from {shown}, read in {:.2?}",
                    directory.node_count(),
                    graph.edge_count(),
                    began.elapsed()
                );
                Some((directory, graph))
            }
            Err(error) => {
                log::warn!("{shown} is not used, so this server begins with nothing: {error}");
                None
            }
        }
    }

    /// When [`Keeper::step`] is to be called next.
    pub(crate) const fn wake_at(&self) -> Instant {
        self.next_at
    }

    /// Does a little of what is due.
    pub(crate) fn step(&mut self, directory: &Directory) {
        if Instant::now() < self.next_at {
            return;
        }
        let job = self.job.get_or_insert_with(|| Job::start(&self.directory, &self.secret));
        if let Some(result) = job.step(directory) {
            self.job = None;
            self.next_at = Instant::now() + EVERY;
            self.report(result);
        } else {
            self.next_at = Instant::now() + PAUSE;
        }
    }

    /// Writes the whole file, and waits for it.
    pub(crate) async fn finish(&mut self, directory: &Directory) {
        // What was begun is older than what is known now.
        if let Some(Job { packing, written }) = self.job.take() {
            drop(packing);
            let _discarded = written.await;
        }
        let mut job = Job::start(&self.directory, &self.secret);
        while let Some(packing) = &job.packing {
            // Waits for room. That there will be none, since writing failed, `step` notices too.
            let parts = packing.parts.clone();
            let _room = parts.reserve().await;
            if let Some(result) = job.step(directory) {
                return self.report(result);
            }
        }
        let result = job.written.await;
        self.report(result.unwrap_or_else(|_| Err(io::Error::other("writing it ended early"))));
    }

    fn report(&self, result: io::Result<()>) {
        let path = self.directory.join(NAME);
        match result {
            Ok(()) => log::debug!("{} is written", path.display()),
            Err(error) => {
                log::warn!("{} cannot be written, an older one stays: {error}", path.display());
            }
        }
    }
}

impl Job {
    fn start(directory: &Path, secret: &Secret) -> Self {
        let (parts, given) = mpsc::channel(WAITING_PARTS);
        let (done, written) = oneshot::channel();
        let (directory, secret) = (directory.to_owned(), secret.clone());
        tokio::task::spawn_blocking(move || {
            // Nobody waits for a file that is given up.
            let _given_up = done.send(write(&directory, &secret, given));
        });
        Self { packing: Some(Packing { encoder: Encoder::default(), after: None, parts }), written }
    }

    /// Packs a little, where there is room for it; gives what came of the file at its end.
    fn step(&mut self, directory: &Directory) -> Option<io::Result<()>> {
        match self.written.try_recv() {
            Ok(result) => return Some(result),
            Err(oneshot::error::TryRecvError::Empty) => {}
            Err(oneshot::error::TryRecvError::Closed) => {
                return Some(Err(io::Error::other("writing it ended early")));
            }
        }
        let packing = self.packing.as_mut()?;
        if packing.parts.capacity() == 0 {
            return None;
        }
        packing.after = directory.save_some(&mut packing.encoder, packing.after, SLICE);
        let part = if packing.after.is_some() {
            Part::Some(packing.encoder.take())
        } else {
            let mut encoder = std::mem::take(&mut packing.encoder);
            directory.save_gone(&mut encoder);
            Part::Last(encoder.finish())
        };
        let was_last = matches!(part, Part::Last(_));
        // Where writing failed, its result is there at the next step.
        let _failed = packing.parts.try_send(part);
        if was_last {
            self.packing = None;
        }
        None
    }
}

/// Writes the parts, and gives the file its name when the last one has come.
fn write(directory: &Path, secret: &Secret, mut parts: mpsc::Receiver<Part>) -> io::Result<()> {
    let unfinished = directory.join(UNFINISHED);
    let mut file = create(&unfinished)?;
    let (mut seal, mut waiting, mut is_whole) = (Seal::default(), Vec::new(), false);
    while let Some(part) = parts.blocking_recv() {
        let (Part::Some(bytes) | Part::Last(bytes)) = &part;
        waiting.extend_from_slice(bytes);
        is_whole = matches!(part, Part::Last(_));
        let full = if is_whole { waiting.len() } else { waiting.len() / PIECE * PIECE };
        for piece in waiting[..full].chunks(PIECE) {
            seal.piece(piece);
            file.write_all(piece)?;
        }
        waiting.drain(..full);
    }
    if !is_whole {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "it was given up"));
    }
    file.write_all(seal.finish(secret).as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, directory.join(NAME))?;
    sync_directory(directory)
}

/// A new file that only this user can read; what lay there of an earlier attempt is gone.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the new name of a file durable.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

/// The whole file, unless it is no file or longer than any that this server would write.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if most < metadata.len() {
        return Err(io::Error::other("it is larger than the limits allow"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// More than a file within these limits takes: statements take less there than in memory.
fn most_bytes(limits: &DirectoryLimits) -> u64 {
    let statements = limits.max_stored_bytes as u64;
    statements.saturating_add((limits.max_nodes as u64).saturating_mul(512)).saturating_add(1 << 20)
}

const NAME: &str = "known";
/// While it is written.
const UNFINISHED: &str = ".known.unfinished";
/// How often the file is written while the server runs.
const EVERY: Duration = Duration::from_mins(5);
/// Between two slices.
const PAUSE: Duration = Duration::from_millis(10);
/// So many bytes are packed at once: about a millisecond's work.
const SLICE: usize = 256 << 10;
/// Slices that wait to be written.
const WAITING_PARTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        directory::{
            VerifiedUpdate,
            tests::{NOW, identity},
        },
        graph::tests::{key, line},
    };
    use offset_proto::{
        Currency,
        index::{UpdateBody, UpdateKind, UpdateMutation},
    };

    fn directory(nodes: u8) -> Directory {
        let mut directory = Directory::new(DirectoryLimits::default());
        for node in 1..=nodes {
            let friend = if node == nodes { 1 } else { node + 1 };
            let set = |friend| UpdateMutation::Set {
                friend: key(friend),
                currency: Currency::fallback(),
                line: line(5, 5, 0),
            };
            let before = if node == 1 { nodes } else { node - 1 };
            let body = UpdateBody {
                node: key(node),
                home_server: key(100),
                epoch: NOW.0 / 1_000,
                counter: 1,
                time: NOW,
                kind: UpdateKind::Snapshot(vec![set(friend), set(before)]),
            };
            let update = VerifiedUpdate::check(body.sign(&identity(node))).unwrap();
            directory.handle_update(NOW, update, true);
        }
        directory
    }

    #[tokio::test]
    async fn what_was_kept_is_known_again_and_what_was_not_kept_whole_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(folder.path().to_owned(), &identity(100));
        let load = |keeper: &Keeper| {
            let loaded = keeper.load(&DirectoryLimits::default(), NOW);
            loaded.map(|(directory, graph)| (directory.node_count(), graph.edge_count()))
        };
        assert_eq!(load(&keeper), None, "there is no file yet");
        keeper.finish(&directory(5)).await;
        assert_eq!(load(&keeper), Some((5, 10)));
        let names = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
        };
        assert_eq!(names(), [NAME]);

        // One that is given up does not take the place of the other.
        drop(Job::start(folder.path(), &keeper.secret).packing);
        keeper.next_at = Instant::now();
        keeper.step(&directory(7));
        keeper.finish(&directory(6)).await;
        assert_eq!(load(&keeper), Some((6, 12)));

        // As the owner writes it: a step at a time.
        keeper.next_at = Instant::now();
        loop {
            keeper.step(&directory(9));
            if keeper.job.is_none() {
                break;
            }
            keeper.next_at = Instant::now();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(load(&keeper), Some((9, 18)));
        assert!(Instant::now() + EVERY / 2 < keeper.wake_at());

        let other = Keeper::new(folder.path().to_owned(), &identity(101));
        assert_eq!(load(&other), None, "another server's");
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(load(&keeper), None, "torn");
        let narrow = DirectoryLimits { max_stored_bytes: 1, max_nodes: 1, ..Default::default() };
        fs::write(&path, vec![0; 2 << 20]).unwrap();
        assert!(read(&path, most_bytes(&narrow)).is_err(), "too large");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(load(&keeper), None, "a directory");
        keeper.finish(&directory(3)).await;
        assert_eq!(load(&keeper), None, "nothing can be written, and nothing breaks");
    }
}
