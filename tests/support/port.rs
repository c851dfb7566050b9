//! Ports of four digits, so that tables in transcripts keep their widths.

use std::{
    fs::{self, File},
    net::TcpListener,
};

/// A port that no other test of this machine takes while this lives, and on which nothing listened
/// when it was taken.
#[derive(Debug)]
pub struct Port {
    /// From 1024 to 9999.
    pub number: u16,
    _lock: File,
}

impl Port {
    /// Takes a free port.
    pub fn free() -> Self {
        let directory = std::env::temp_dir().join("offset-test-ports");
        fs::create_dir_all(&directory).unwrap();
        // Different processes begin at different places.
        let begin = u16::try_from(std::process::id() % 8000).unwrap();
        for i in 0..8000 {
            let number = 1500 + (begin + i) % 8000;
            let options = File::options().create(true).truncate(false).write(true).clone();
            let Ok(lock) = options.open(directory.join(number.to_string())) else { continue };
            let is_free = || TcpListener::bind(("127.0.0.1", number)).is_ok();
            if lock.try_lock().is_ok() && is_free() {
                return Self { number, _lock: lock };
            }
        }
        panic!("no port of four digits is free");
    }
}
