//! What this machine can do of what payments are made of, measured in the same run.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use offset_crypto::{Identity, SystemRng};

use crate::percentile;

/// Of one core, or of the disk, one after the other.
pub(crate) struct Limits {
    /// One signature.
    pub(crate) sign: Duration,
    /// One verification.
    pub(crate) verify: Duration,
    /// One sync of 4 KiB that were appended to a file; the median.
    pub(crate) sync: Duration,
    /// One byte to another thread over TCP on loopback and back.
    pub(crate) round_trip: Duration,
}

impl Limits {
    pub(crate) fn measure(directory: &Path) -> anyhow::Result<Self> {
        let identity = Identity::random(&mut SystemRng);
        let (key, message) = (identity.public_key(), [7; 300]);
        let signature = identity.sign(&message);
        let sign = each(|| {
            std::hint::black_box(identity.sign(&message));
        });
        let verify = each(|| assert!(key.verify(&message, &signature)));
        Ok(Self { sign, verify, sync: sync_time(directory)?, round_trip: round_trip()? })
    }

    pub(crate) fn print(&self) {
        println!("this machine, one after the other on one core:");
        for (what, time) in [
            ("signatures", self.sign),
            ("verifications", self.verify),
            ("syncs of 4 KiB", self.sync),
            ("round trips on loopback", self.round_trip),
        ] {
            let micros = time.as_secs_f64() * 1e6;
            println!("  {what:<24} {:>9.0} a second, {micros:.1} us each", 1e6 / micros);
        }
    }
}

/// The mean of many, as fast as it went once.
fn each(mut act: impl FnMut()) -> Duration {
    let runs = (0..5).map(|_| {
        let began = Instant::now();
        (0..OFTEN).for_each(|_| act());
        began.elapsed() / OFTEN
    });
    runs.min().unwrap_or_default()
}

fn sync_time(directory: &Path) -> anyhow::Result<Duration> {
    let path = directory.join("sync-probe");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    fs::remove_file(path)?;
    times.sort();
    Ok(percentile(&times, 50))
}

fn round_trip() -> anyhow::Result<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut byte = [0];
        while stream.read(&mut byte)? == 1 {
            stream.write_all(&byte)?;
        }
        Ok(())
    });
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let began = Instant::now();
    for _ in 0..ROUND_TRIPS {
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
    }
    let took = began.elapsed() / ROUND_TRIPS;
    drop(stream);
    echo.join().expect("it only echoes")?;
    Ok(took)
}

const OFTEN: u32 = 2_000;
const SYNCS: usize = 300;
const ROUND_TRIPS: u32 = 5_000;
