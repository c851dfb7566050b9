//! What the daemons share: listening, being ready, stopping.

use std::{
    future::Future,
    io::{self, Read as _},
    net::SocketAddr,
    task::Poll,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use offset_net::keep_memory;
use offset_proto::NetworkAddress;
use tokio::{
    net::{TcpListener, TcpSocket, lookup_host},
    sync::oneshot,
};

use crate::manners::{Answer, answer::print_line};

/// When a daemon stops, besides Ctrl-C and SIGTERM.
#[derive(Debug, Clone, Copy, Args)]
pub struct Stopping {
    /// Stop when standard input ends, for a program that starts daemons and must not leave them
    /// behind.
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

/// Runs a daemon until it ends.
///
/// # Errors
/// What the daemon says.
pub fn run<F>(daemon: F) -> anyhow::Result<Answer>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    run_when(async { Ok(daemon) })
}

/// As [`run`], for a daemon that `begin` gives. That is done on the first thread of the process: what
/// loads much does it there, as the C library takes memory for other threads from the system in pieces
/// of one page.
///
/// # Errors
/// What `begin` or the daemon says.
pub fn run_when<F>(begin: impl Future<Output = anyhow::Result<F>>) -> anyhow::Result<Answer>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    keep_memory();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    {
        let _of_signals = runtime.enter();
        fail_instead_of_dying().context("cannot handle signals")?;
    }
    // As a task the owner of the daemon's state runs on the threads that read and write, so a
    // message is handled where it arrived, without waking another thread.
    let ended = runtime.block_on(async {
        let daemon = begin.await?;
        runtime.spawn(daemon).await.context("the daemon ended with a panic")?
    });
    // A name that is still being looked up must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended?;
    Ok(Answer::silent())
}

/// Listens at an address, whose host may be a name and whose port may be 0.
///
/// # Errors
/// When the name does not resolve or the address cannot be had.
pub async fn listen(address: &NetworkAddress) -> anyhow::Result<TcpListener> {
    bind(address).await.map_err(|error| {
        let advice = if error.kind() == io::ErrorKind::AddrInUse {
            "another program listens there; stop it or choose another port"
        } else {
            "choose an address of this machine and a port of 1024 or above"
        };
        anyhow!("cannot listen on {address}: {error}; {advice}")
    })
}

/// Binds the first address of the host that can be had.
async fn bind(address: &NetworkAddress) -> io::Result<TcpListener> {
    let mut failure = None;
    for address in lookup_host(address.host_and_port()).await? {
        match bind_one(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::Error::other("the name has no addresses")))
}

/// As `TcpListener::bind`, but with a longer queue.
fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Elsewhere it would let two programs listen at one address.
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    socket.listen(WAITING_CONNECTIONS)
}

/// Says where the daemon listens. `what` tells several ports of one daemon apart.
///
/// # Errors
/// When stdout cannot be written.
pub fn announce(address: SocketAddr, what: &str) -> anyhow::Result<()> {
    let note = if what.is_empty() { String::new() } else { format!(" ({what})") };
    Ok(print_line(&format!("listening on {address}{note}"))?)
}

/// Runs a daemon's `run` to its end, and says that it is there once it has begun: what keeps it
/// from starting (a database in use) is said before anything else, as it is found before `run`
/// waits for the first time. What `announce` gives is kept until then.
///
/// # Errors
/// What `run` says, or when stdout cannot be written.
pub async fn serve<E, T>(
    run: impl Future<Output = Result<(), E>>,
    announce: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<()>
where
    anyhow::Error: From<E>,
{
    let mut run = std::pin::pin!(run);
    if let Poll::Ready(ended) = futures::poll!(run.as_mut()) {
        return Ok(ended?);
    }
    let _as_long_as_it_runs = announce()?;
    tell_systemd(sd_notify::NotifyState::Ready);
    Ok(run.await?)
}

impl Stopping {
    /// Done when the daemon is to stop. The signals count from this call on.
    ///
    /// # Errors
    /// When the system does not let signals be handled.
    pub fn wait(self) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
        let signals = signals().context("cannot handle signals")?;
        let input = if self.until_stdin_ends { Some(end_of_input()) } else { None };
        Ok(async move {
            match input {
                Some(input) => tokio::select! {
                    () = signals => {}
                    _ = input => {}
                },
                None => signals.await,
            }
            tell_systemd(sd_notify::NotifyState::Stopping);
        })
    }
}

/// A write beyond a limit of the size of files (`ulimit -f`) is an error from now on, like one to a
/// full disk, which is told before the daemon ends. By itself the system would kill the daemon.
#[cfg(unix)]
fn fail_instead_of_dying() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // What handles the signal stays when this is dropped.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Nothing to do.
#[cfg(not(unix))]
fn fail_instead_of_dying() -> io::Result<()> {
    Ok(())
}

/// Done at Ctrl-C or SIGTERM.
///
/// # Errors
/// When the system does not let signals be handled.
#[cfg(unix)]
pub fn signals() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Done at Ctrl-C.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn signals() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Done when standard input ends. A thread of its own, because a blocked read could not be
/// cancelled at the end of the runtime.
fn end_of_input() -> oneshot::Receiver<()> {
    let (ended, wait) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while io::stdin().read(&mut bytes).is_ok_and(|read| 0 < read) {}
        drop(ended);
    });
    wait
}

fn tell_systemd(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("cannot tell systemd of our state: {error}");
    }
}

/// Connections that the system takes before they are accepted, as far as it lets us. One that finds
/// no place tries again a second later; 128, the usual number, are few when a server is back and all
/// come at once, or when strangers do.
const WAITING_CONNECTIONS: u32 = 4096;

// Other systems may take no more than 128.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;
    use tokio::{net::TcpStream, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_burst_of_connections_waits_for_its_turn() {
        let listener = listen(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody accepts: the system alone takes them.
        let burst = join_all((0..400).map(|_| TcpStream::connect(address)));
        let connected = timeout(Duration::from_secs(60), burst).await.expect("all are taken");
        assert!(connected.iter().all(Result::is_ok));
    }
}
