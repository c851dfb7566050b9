//! Counting starts, in the database and in a file beside it: a database whose count is not the file's
//! is an older copy, or one that was moved without the file (reliability, D6).
//!
//! ```text
//!   file: "7"   database: 7        a start: line "8 begins", database 8, line "8"
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
    /// The start was not finished: the database may have this count, or one less.
    begins: bool,
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
        let (number, begins) = match line.strip_suffix(BEGINS) {
            Some(number) => (number, true),
            None => (line, false),
        };
        Some(Self { starts: number.parse().ok()?, begins })
    }

    /// The line of the file that says it.
    fn line(self) -> String {
        format!("{}{}\n", self.starts, if self.begins { BEGINS } else { "" })
    }

    /// Adds a mark that begins, which is durable when this returns. Gives the file, in which
    /// [`Mark::write_done`] says that it is done.
    pub(crate) fn write_begins(starts: u64, database: &Path) -> Result<File, Error> {
        let path = path(database);
        let mark = Self { starts, begins: true };
        mark.append_or_replace(&path).map_err(|error| Error::Path { path, error })
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

    /// Says that a start is durable in the database. That is in the file when this returns, and durable
    /// after a sync of it: until then its last line may be that of [`Mark::write_begins`].
    pub(crate) fn write_done(starts: u64, file: &mut File, database: &Path) -> Result<(), Error> {
        let mark = Self { starts, begins: false };
        let written = file.write_all(mark.line().as_bytes());
        written.map_err(|error| Error::Path { path: path(database), error })
    }

    /// The count of the next start, given the database's.
    pub(crate) fn next(mark: Option<Self>, database: u64) -> u64 {
        mark.map_or(0, |mark| mark.starts).max(database).saturating_add(1)
    }

    /// Whether a database with this count is not the one that was started last.
    pub(crate) fn is_older(mark: Option<Self>, database: u64) -> bool {
        match mark {
            None => 0 < database,
            Some(Self { starts, begins: false }) => starts != database,
            Some(Self { starts, begins: true }) => {
                starts != database && Some(starts) != database.checked_add(1)
            }
        }
    }
}

/// Behind the number of a start that was not finished.
const BEGINS: &str = " begins";
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

    const fn begins(starts: u64) -> Mark {
        Mark { starts, begins: true }
    }

    const fn done(starts: u64) -> Mark {
        Mark { starts, begins: false }
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
            (Some(begins(3)), 2, false),
            (Some(begins(3)), 3, false),
            (Some(begins(3)), 1, true),
            (Some(begins(3)), 4, true),
        ];
        for (mark, database, older) in cases {
            assert_eq!(Mark::is_older(mark, database), older, "{mark:?} {database}");
            assert!(database < Mark::next(mark, database));
        }
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("node.db");
        assert_eq!(Mark::read(&database).unwrap(), None);
        let mut longest = 0;
        for starts in (1..1_000).chain([u64::MAX]) {
            let mut file = Mark::write_begins(starts, &database).unwrap();
            assert_eq!(Mark::read(&database).unwrap(), Some(begins(starts)));
            Mark::write_done(starts, &mut file, &database).unwrap();
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
            ("7\n8 begins\n", Some(begins(8))),
            ("7\n8 begi", Some(done(7))),
            ("7\n8 begins\n8", Some(begins(8))),
            ("7\n8 begins\n\0\0", Some(begins(8))),
            // What is whole and makes no sense is no mark, whatever stands before it.
            ("7\nnonsense\n", None),
            ("7\n\0\n", None),
            ("7\n\n", None),
            ("7", None),
            ("nonsense", None),
            ("", None),
        ] {
            std::fs::write(path(&database), text).unwrap();
            assert_eq!(Mark::read(&database).unwrap(), read, "{text:?}");
            drop(Mark::write_begins(9, &database).unwrap());
            assert_eq!(Mark::read(&database).unwrap(), Some(begins(9)), "after {text:?}");
        }
        std::fs::write(path(&database), [0xff, b'\n']).unwrap();
        assert_eq!(Mark::read(&database).unwrap(), None);
    }
}
