//! Listeners under too many connections.

use std::time::Duration;

use offset_net::{Limits, NetConfig, Rate, ServeConfig, dial};
use offset_proto::session::Purpose;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::sleep};

use crate::support::{Note, Server, identity, pair, server, soon};

#[tokio::test]
async fn the_oldest_half_open_connections_go_first_and_honest_ones_come_in() {
    let limits = Limits { half_open: 5, ..fast() };
    let mut server = limited(limits).await;
    let (_ours, theirs) = pair(&mut server, &NetConfig::default()).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.address.address.as_str()).await.unwrap());
    }
    // All but the last five are closed, long before the knock's deadline would close them.
    for stream in &mut silent[..45] {
        assert_eq!(soon(stream.read(&mut [0; 10])).await.unwrap(), 0);
    }
    let (_ours, second) = pair(&mut server, &NetConfig::default()).await;
    assert!(theirs.sender().is_open() && second.sender().is_open());
}

#[tokio::test]
async fn connections_per_address_are_limited_and_counted_down() {
    let limits = Limits { per_address: 2, limit_loopback: true, ..fast() };
    let mut server = limited(limits).await;
    let first = pair(&mut server, &NetConfig::default()).await;
    let _second = pair(&mut server, &NetConfig::default()).await;
    let third =
        soon(dial::<Note, Note>(&identity(2), &server.address, &NetConfig::default())).await;
    assert!(third.is_err());
    drop(first);
    // The place is free once the listener's side has ended, which takes a moment.
    let dialled = async {
        loop {
            match dial::<Note, Note>(&identity(2), &server.address, &NetConfig::default()).await {
                Ok(connection) => return connection,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    };
    soon(dialled).await;
}

#[tokio::test]
async fn the_rate_of_new_connections_is_limited() {
    let rate = Rate { per_second: 1, burst: 3 };
    let mut server = limited(Limits { rate, ..fast() }).await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        connections.push(pair(&mut server, &NetConfig::default()).await);
    }
    let (mut refused, me, config) = (0, identity(2), NetConfig::default());
    for _ in 0..20 {
        let dialled = dial::<Note, Note>(&me, &server.address, &config);
        refused += u32::from(soon(dialled).await.is_err());
    }
    assert!(0 < refused);
}

fn fast() -> Limits {
    let rate = Rate { per_second: 100_000, burst: 100_000 };
    Limits { rate, rate_per_address: rate, ..Limits::default() }
}

async fn limited(limits: Limits) -> Server {
    server(ServeConfig { limits, ..ServeConfig::new([Purpose::Relay]) }).await
}
