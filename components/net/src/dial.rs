//! Dialling: from a server's address and key to a connection.

use std::{net::SocketAddr, sync::Arc};

use offset_proto::{NetworkAddress, ServerAddress, session::Wire};
use offset_secure_channel::{self as channel, Channel, ChannelIdentity};
use tokio::{
    net::{TcpStream, lookup_host},
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
    let found = lookup_host(address.host_and_port()).await;
    let mut addresses: Vec<_> =
        found.map_err(|error| unresolved(address, &error.to_string()))?.collect();
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

/// More addresses of one name than this are not tried.
const MAX_ADDRESSES: usize = 8;
