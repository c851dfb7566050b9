//! Counting starts, in the database and in a file beside it: a database whose count is not the file's
//! is an older copy, or one that was moved without the file (reliability, D6).
//!
//! ```text
//!   file: "7"   database: 7        a start: line "8 begins 7", database 8, line "8"
//! ```
//!
//! The last whole line of the file counts. A start appends two lines, which takes one sync: a line that
//! was not written whole is none, and the file that it lies in was there before. Only a file that is
//! missing, cannot be read or has become long is replaced by a new one.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Read, Write as _},
    path::{Path, PathBuf},
};

use crate::Error;

/// What the file beside a database says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The count of the last start.
    starts: u64,
    /// The start was not finished: the database may have this count, or the one that is given here,
    /// which the one that was started last had.
    begins: Option<u64>,
}

impl Mark {
    /// The mark of a database; `None` where there is none that can be read.
    pub(crate) fn read(database: &Path) -> Result<Option<Self>, Error> {
        let path = path(database);
        match std::fs::read(&path) {
            Ok(text) => Ok(Self::last_of(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Path { path, error }),
        }
    }

    /// What the last whole line says, if that can be read.
    fn last_of(text: &[u8]) -> Option<Self> {
        let whole = text.iter().rposition(|byte| *byte == b'\n')?;
        let line = text[..whole].rsplit(|byte| *byte == b'\n').next()?;
        let line = str::from_utf8(line).ok()?;
        let Some((number, before)) = line.split_once(BEGINS) else {
            return Some(Self { starts: line.parse().ok()?, begins: None });
        };
        Some(Self { starts: number.parse().ok()?, begins: Some(before.parse().ok()?) })
    }

    /// The line of the file that says it.
    fn line(self) -> String {
        match self.begins {
            None => format!("{}\n", self.starts),
            Some(before) => format!("{}{BEGINS}{before}\n", self.starts),
        }
    }

    /// The mark of the next start, while it is not durable in the database, which has a count. Of an
    /// older copy the count is not taken into the mark: should the start fail, it is an older copy still.
    pub(crate) fn next(mark: Option<Self>, database: u64) -> Self {
        let last = mark.map_or(0, |mark| mark.starts);
        let starts = last.max(database).saturating_add(1);
        let before = match mark {
            _ if !Self::is_older(mark, database) => database,
            Some(_) => last,
            None => starts,
        };
        Self { starts, begins: Some(before) }
    }

    /// Which start it is.
    pub(crate) const fn starts(self) -> u64 {
        self.starts
    }

    /// Adds this mark of a start that begins; it is durable when this returns. Gives the file, in which
    /// [`Mark::write_done`] says that the start is done.
    pub(crate) fn write_begins(self, database: &Path) -> Result<File, Error> {
        let path = path(database);
        self.append_or_replace(&path).map_err(|error| Error::Path { path, error })
    }

    fn append_or_replace(self, path: &Path) -> io::Result<File> {
        let opened = OpenOptions::new().read(true).append(true).open(path);
        let mut file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return self.replace(path),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        Read::by_ref(&mut file).take(LONGEST).read_to_end(&mut text)?;
        let is_long = LONGEST <= u64::try_from(text.len()).unwrap_or(LONGEST);
        if is_long || !text.ends_with(b"\n") || Self::last_of(&text).is_none() {
            return self.replace(path);
        }
        file.write_all(self.line().as_bytes())?;
        file.sync_data()?;
        Ok(file)
    }

    /// Puts a file with this mark alone in the place of the one that is there.
    fn replace(self, path: &Path) -> io::Result<File> {
        let mut new = OsString::from(path);
        new.push(".new");
        let new = PathBuf::from(new);
        let mut file = File::create(&new)?;
        file.write_all(self.line().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        Ok(file)
    }

    /// Says that the start is durable in the database. That is in the file when this returns, and durable
    /// after a sync of it: until then its last line may be that of [`Mark::write_begins`].
    pub(crate) fn write_done(self, file: &mut File, database: &Path) -> Result<(), Error> {
        let mark = Self { begins: None, ..self };
        let written = file.write_all(mark.line().as_bytes());
        written.map_err(|error| Error::Path { path: path(database), error })
    }

    /// Whether a database with this count is not the one that was started last.
    pub(crate) fn is_older(mark: Option<Self>, database: u64) -> bool {
        match mark {
            None => 0 < database,
            Some(Self { starts, begins: None }) => starts != database,
            Some(Self { starts, begins: Some(before) }) => ![starts, before].contains(&database),
        }
    }
}

/// Between the number of a start that was not finished and the count before it.
const BEGINS: &str = " begins ";
/// How long the file becomes, in bytes, before a new one takes its place.
const LONGEST: u64 = 4_096;

fn path(database: &Path) -> PathBuf {
    let mut path = OsString::from(database);
    path.push(".starts");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn begins(starts: u64, before: u64) -> Mark {
        Mark { starts, begins: Some(before) }
    }

    const fn done(starts: u64) -> Mark {
        Mark { starts, begins: None }
    }

    #[test]
    fn only_the_database_that_was_started_last_is_no_older_copy() {
        let cases = [
            (None, 0, false),
            (None, 3, true),
            (Some(done(3)), 3, false),
            (Some(done(3)), 2, true),
            (Some(done(3)), 4, true),
            (Some(done(1)), 0, true),
            // A crash in the middle of a start, before and after the database was written.
            (Some(begins(3, 2)), 2, false),
            (Some(begins(3, 2)), 3, false),
            (Some(begins(3, 2)), 1, true),
            (Some(begins(3, 2)), 4, true),
            // The start before it was not finished either.
            (Some(begins(5, 2)), 2, false),
            (Some(begins(5, 2)), 5, false),
            (Some(begins(5, 2)), 3, true),
            (Some(begins(5, 2)), 4, true),
        ];
        for (mark, database, older) in cases {
            assert_eq!(Mark::is_older(mark, database), older, "{mark:?} {database}");
            let next = Mark::next(mark, database);
            assert!(database < next.starts && mark.is_none_or(|mark| mark.starts < next.starts));
            // Should it fail now, nothing has changed; once it is in the database, that is the newest.
            assert_eq!(Mark::is_older(Some(next), database), older, "{mark:?} {database}");
            assert!(!Mark::is_older(Some(next), next.starts));
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("node.db");
        assert_eq!(Mark::read(&database).unwrap(), None);
        let mut longest = 0;
        for starts in (1..1_000).chain([u64::MAX]) {
            let mut file = begins(starts, starts - 1).write_begins(&database).unwrap();
            assert_eq!(Mark::read(&database).unwrap(), Some(begins(starts, starts - 1)));
            begins(starts, starts - 1).write_done(&mut file, &database).unwrap();
            assert_eq!(Mark::read(&database).unwrap(), Some(done(starts)));
            longest = longest.max(std::fs::metadata(path(&database)).unwrap().len());
        }
        assert!(2_048 < longest && longest < 2 * LONGEST, "{longest}");
    }

    #[test]
    fn a_line_that_was_not_written_whole_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("node.db");
        for (text, read) in [
            ("7\n8 begins 7\n", Some(begins(8, 7))),
            ("8 begins 7\n9 begins 7\n", Some(begins(9, 7))),
            ("7\n8 begi", Some(done(7))),
            ("7\n8 begins ", Some(done(7))),
            ("7\n8 begins 7\n8", Some(begins(8, 7))),
            ("7\n8 begins 7\n\0\0", Some(begins(8, 7))),
            // What is whole and makes no sense is no mark, whatever stands before it.
            ("7\nnonsense\n", None),
            ("7\n8 begins\n", None),
            ("7\n8 begins \n", None),
            ("7\n\0\n", None),
            ("7\n\n", None),
            ("7", None),
            ("nonsense", None),
            ("", None),
        ] {
            std::fs::write(path(&database), text).unwrap();
            assert_eq!(Mark::read(&database).unwrap(), read, "{text:?}");
            drop(begins(9, 7).write_begins(&database).unwrap());
            assert_eq!(Mark::read(&database).unwrap(), Some(begins(9, 7)), "after {text:?}");
        }
        std::fs::write(path(&database), [0xff, b'\n']).unwrap();
        assert_eq!(Mark::read(&database).unwrap(), None);
    }
}
