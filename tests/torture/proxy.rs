//! A TCP proxy that does to connections what bad networks do.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use offset_crypto::SeededRng;
use offset_proto::{NetworkAddress, ServerAddress};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::{sleep, timeout},
};

/// The faults of all proxies of a network: whether they happen now, and how many did.
#[derive(Debug)]
pub(crate) struct Faults {
    storm: watch::Sender<bool>,
    counts: [AtomicU64; Fault::ALL.len()],
}

/// What can happen to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is closed before a byte passed.
    Refuse,
    /// Both ends are closed at once.
    Drop,
    /// What comes waits, in both directions.
    Delay,
    /// One direction ends, the other goes on.
    HalfClose,
    /// Nothing passes any more, in both directions, and nobody is told.
    Blackhole,
    /// The same in one direction.
    OneWay,
}

impl Fault {
    const ALL: [Self; 6] =
        [Self::Refuse, Self::Drop, Self::Delay, Self::HalfClose, Self::Blackhole, Self::OneWay];
}

impl Faults {
    /// None yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { storm: watch::Sender::new(false), counts: Default::default() })
    }

    /// They begin or end. Black holes close at the end if not before.
    pub(crate) fn storm(&self, now: bool) {
        self.storm.send_replace(now);
    }

    /// How many of each happened.
    pub(crate) fn tally(&self) -> String {
        let counts = Fault::ALL.iter().zip(&self.counts);
        let shown = counts.map(|(fault, count)| format!("{fault:?} {}", count.load(Relaxed)));
        shown.collect::<Vec<_>>().join(", ")
    }

    /// How many happened.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    fn count(&self, fault: Fault) {
        let place = Fault::ALL.iter().position(|other| *other == fault).unwrap();
        self.counts[place].fetch_add(1, Relaxed);
    }
}

/// Puts a proxy before a server; gives where to reach the server through it.
pub(crate) async fn before(
    server: &ServerAddress,
    faults: &Arc<Faults>,
    seed: u64,
) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here: NetworkAddress = listener.local_addr().unwrap().to_string().parse().unwrap();
    let there: SocketAddr = server.address.to_string().parse().unwrap();
    let faults = Arc::clone(faults);
    tokio::spawn(async move {
        let mut rng = SeededRng::new(seed);
        while let Ok((client, _)) = listener.accept().await {
            let rng = SeededRng::new(rng.below(u64::MAX));
            let faults = Arc::clone(&faults);
            tokio::spawn(async move {
                // It ended, as connections do.
                let _ended = carry(client, there, &faults, rng).await;
            });
        }
    });
    ServerAddress { public_key: server.public_key, address: here }
}

/// What a direction does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    Waits,
    Ended,
}

/// Carries one connection until it ends.
async fn carry(
    client: TcpStream,
    server: SocketAddr,
    faults: &Faults,
    mut rng: SeededRng,
) -> io::Result<()> {
    let mut storm = faults.storm.subscribe();
    if *storm.borrow() && rng.below(12) == 0 {
        faults.count(Fault::Refuse);
        return Ok(());
    }
    let server = TcpStream::connect(server).await?;
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let ways = [watch::Sender::new(Way::Open), watch::Sender::new(Way::Open)];
    let there = pump(from_client, to_server, ways[0].subscribe());
    let back = pump(from_server, to_client, ways[1].subscribe());
    let harm = async {
        loop {
            // The sender is part of what this borrows.
            let _ = storm.wait_for(|now| *now).await;
            sleep(Duration::from_millis(100 + rng.below(8_000))).await;
            if !*storm.borrow() {
                continue;
            }
            let fault = match rng.below(10) {
                0..2 => Fault::Drop,
                2..6 => Fault::Delay,
                6 => Fault::HalfClose,
                7 => Fault::OneWay,
                _ => Fault::Blackhole,
            };
            faults.count(fault);
            let either = usize::try_from(rng.below(2)).unwrap();
            let one = &ways[either..=either];
            let set = |ways: &[watch::Sender<Way>], now: Way| {
                for way in ways {
                    way.send_replace(now);
                }
            };
            match fault {
                Fault::Refuse | Fault::Drop => return,
                Fault::Delay => {
                    set(&ways, Way::Waits);
                    sleep(Duration::from_millis(20 + rng.below(800))).await;
                    set(&ways, Way::Open);
                }
                Fault::HalfClose => set(one, Way::Ended),
                Fault::Blackhole | Fault::OneWay => {
                    let which: &[_] = if fault == Fault::OneWay { one } else { &ways };
                    set(which, Way::Waits);
                    // Longer than it takes to notice, or not.
                    let most = 1 << (10 + rng.below(6));
                    let lasts = Duration::from_millis(200 + rng.below(most));
                    let _ = timeout(lasts, storm.wait_for(|now| !*now)).await;
                    return;
                }
            }
        }
    };
    tokio::select! {
        // Closed when both directions have ended, so that a half-closed connection goes on.
        ended = async { tokio::try_join!(there, back) } => ended.map(drop),
        () = harm => Ok(()),
    }
}

/// Carries one direction until it ends.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read?,
            _ = way.wait_for(|way| *way == Way::Ended) => 0,
        };
        // Whoever waits holds what came, and all that follows.
        let way = way.wait_for(|way| *way != Way::Waits).await.map(|way| *way);
        if read == 0 || way.is_ok_and(|way| way == Way::Ended) {
            return to.shutdown().await;
        }
        to.write_all(&bytes[..read]).await?;
    }
}
