//! Dialling: from a server's address and key to a connection.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use offset_proto::{NetworkAddress, ServerAddress, session::Wire};
use offset_secure_channel::{self as channel, Channel, ChannelIdentity};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use crate::{Connection, Error, NetConfig};

/// Connects to a server: resolves its name now, tries its addresses one after the other until one
/// proves the key, and opens the session, all within [`NetConfig::dial_timeout`] and
/// [`NetConfig::hello_timeout`].
///
/// # Errors
/// [`Error::Resolve`], [`Error::Connect`], [`Error::TimedOut`], [`Error::WrongKey`],
/// [`Error::Refused`], [`Error::Bye`], [`Error::Protocol`], [`Error::CutOff`]; of several addresses
/// the one that speaks of the key where there is one, else the last.
pub async fn dial<Out: Wire, In: Wire>(
    identity: &Arc<ChannelIdentity>,
    server: &ServerAddress,
    config: &NetConfig,
) -> Result<Connection<Out, In>, Error> {
    let deadline = Instant::now() + config.dial_timeout;
    let found = timeout_at(deadline, resolve(&server.address)).await;
    let addresses = found.map_err(|_| Error::TimedOut("the name was not resolved"))??;

    let mut failure = None;
    for (index, address) in addresses.iter().enumerate() {
        let untried = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / untried;
        let attempt = Box::pin(connect::<Out>(identity, server, *address));
        let result = timeout(share, attempt).await;
        match result.unwrap_or(Err(Error::TimedOut("no answer from the address"))) {
            Ok(channel) => return Connection::open(channel, config, Some(*address), None).await,
            Err(error) => {
                log::debug!("{address} for {:?}: {error}", server.public_key);
                if !matches!(failure, Some(Error::WrongKey { .. })) {
                    failure = Some(error);
                }
            }
        }
    }
    Err(failure.unwrap_or_else(|| unresolved(&server.address, "it has no addresses")))
}

async fn resolve(address: &NetworkAddress) -> Result<Vec<SocketAddr>, Error> {
    let (host, port) = address.host_and_port();
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    // A lookup occupies one of the runtime's threads for blocking work until the system gives up,
    // long after whoever dials has. A friend who names relays that cannot be resolved must not take
    // all of those threads, so the permit stays with the lookup and not with who waits for it.
    let permit = LOOKUPS.acquire().await;
    let host = host.to_owned();
    let lookup = tokio::spawn(async move {
        let found = lookup_host((host.as_str(), port)).await.map(Iterator::collect::<Vec<_>>);
        drop(permit);
        found
    });
    let found = lookup.await.map_err(|error| unresolved(address, &error.to_string()))?;
    let mut addresses = found.map_err(|error| unresolved(address, &error.to_string()))?;
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses)
}

async fn connect<Out: Wire>(
    identity: &ChannelIdentity,
    server: &ServerAddress,
    address: SocketAddr,
) -> Result<Channel, Error> {
    let connected = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    };
    let stream = connected.await.map_err(|error| Error::Connect {
        address: server.address.clone(),
        reason: error.to_string(),
    })?;
    Ok(channel::connect(stream, identity, server.public_key, Out::PURPOSE).await?)
}

fn unresolved(address: &NetworkAddress, reason: &str) -> Error {
    Error::Resolve { address: address.clone(), reason: reason.to_owned() }
}

/// Lookups of names at a time, half as many as there are threads for blocking work.
static LOOKUPS: Semaphore = Semaphore::const_new(MAX_LOOKUPS);

const MAX_LOOKUPS: usize = 256;

/// More addresses of one name than this are not tried.
const MAX_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lookups_are_bounded_and_addresses_need_none() {
        let all = LOOKUPS.acquire_many(256).await.unwrap();
        for (address, expected) in [("127.0.0.1:5", "127.0.0.1:5"), ("[::1]:5", "[::1]:5")] {
            let found = resolve(&address.parse().unwrap()).await.unwrap();
            assert_eq!(found, [expected.parse().unwrap()]);
        }
        let name: NetworkAddress = "localhost:5".parse().unwrap();
        assert!(timeout(Duration::from_secs(60), resolve(&name)).await.is_err(), "waits its turn");
        drop(all);
        assert!(!resolve(&name).await.unwrap().is_empty());
        assert_eq!(LOOKUPS.available_permits(), MAX_LOOKUPS);
    }
}
