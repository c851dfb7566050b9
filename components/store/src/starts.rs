//! Counting starts, in the database and in a file beside it: a database whose count is not the file's
//! is an older copy, or one that was moved without the file (reliability, D6).
//!
//! ```text
//!   file: "7"   database: 7        a start: file "8 begins", database 8, file "8"
//! ```

use std::{
    ffi::OsString,
    fs::File,
    io::{ErrorKind, Write as _},
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
    /// A start that begins.
    pub(crate) const fn begins(starts: u64) -> Self {
        Self { starts, begins: true }
    }

    /// A start that is durable in the database.
    pub(crate) const fn done(starts: u64) -> Self {
        Self { starts, begins: false }
    }

    /// The mark of a database; `None` where there is none that can be read.
    pub(crate) fn read(database: &Path) -> Result<Option<Self>, Error> {
        let path = path(database);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => return Ok(None),
            Err(error) => return Err(Error::Path { path, error }),
        };
        let (number, begins) = match text.trim_end().strip_suffix(" begins") {
            Some(number) => (number, true),
            None => (text.trim_end(), false),
        };
        Ok(number.parse().ok().map(|starts| Self { starts, begins }))
    }

    /// Replaces the mark of a database. One that begins is durable when this returns; one of a start
    /// that is done may give way to it.
    pub(crate) fn write(self, database: &Path) -> Result<(), Error> {
        let target = path(database);
        let mut new = OsString::from(&target);
        new.push(".new");
        let new = PathBuf::from(new);
        let suffix = if self.begins { " begins" } else { "" };
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(format!("{}{suffix}\n", self.starts).as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &target)?;
            if !self.begins {
                // Should its name be lost, the mark before it says that this start began.
                return Ok(());
            }
            File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()
        });
        written.map_err(|error| Error::Path { path: target, error })
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

fn path(database: &Path) -> PathBuf {
    let mut path = OsString::from(database);
    path.push(".starts");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_that_was_started_last_is_no_older_copy() {
        let cases = [
            (None, 0, false),
            (None, 3, true),
            (Some(Mark::done(3)), 3, false),
            (Some(Mark::done(3)), 2, true),
            (Some(Mark::done(3)), 4, true),
            (Some(Mark::done(1)), 0, true),
            // A crash in the middle of a start, before and after the database was written.
            (Some(Mark::begins(3)), 2, false),
            (Some(Mark::begins(3)), 3, false),
            (Some(Mark::begins(3)), 1, true),
            (Some(Mark::begins(3)), 4, true),
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
        for mark in [Mark::begins(1), Mark::done(1), Mark::done(u64::MAX)] {
            mark.write(&database).unwrap();
            assert_eq!(Mark::read(&database).unwrap(), Some(mark));
        }
        std::fs::write(path(&database), "nonsense").unwrap();
        assert_eq!(Mark::read(&database).unwrap(), None);
    }
}
