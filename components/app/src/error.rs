//! What can go wrong for an application.

use std::time::Duration;

use offset_crypto::PublicKey;
use offset_net as net;
use offset_proto::{NetworkAddress, ServerAddress, app::AppError};

/// Why a request has no reply, or there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the node's address.
    #[error("cannot reach the node: {0}; is it running, and is the address in its ticket right?")]
    Unreachable(#[source] net::Error),
    /// Somebody else answers at the node's address.
    #[error(
        "the program at {address} is not the node {expected}; check the node's ticket, another \
         node may have taken over the address"
    )]
    WrongKey {
        /// Where.
        address: NetworkAddress,
        /// Who was expected there.
        expected: PublicKey,
    },
    /// The node closed the connection before the session began.
    #[error(
        "the node {node} at {address} does not let this application in; put the application's \
         ticket into the node's directory of trusted applications, and check that the node's \
         ticket has the node's key"
    )]
    NotTrusted {
        /// Where.
        address: NetworkAddress,
        /// The node.
        node: PublicKey,
    },
    /// The node carried out the request and said no.
    #[error(transparent)]
    Refused(#[from] AppError),
    /// No reply came in time. The node may still carry out the request.
    #[error(
        "the node did not answer within {} s; whether the request was carried out is not known",
        .0.as_secs()
    )]
    NoAnswer(Duration),
    /// The connection ended. A request that was sent may still be carried out.
    #[error("the connection to the node ended: {0}; connect again")]
    Lost(String),
    /// The request does not fit into one message.
    #[error("the request is too long for one message")]
    TooLong,
    /// More events came than were taken.
    #[error("events came faster than this application took them; subscribe again")]
    TooSlow,
    /// The node answered something else than was asked, or skipped an event.
    #[error("the node broke the protocol: {0}; are node and application of the same version?")]
    Protocol(String),
}

impl Error {
    /// What failed while connecting to `node`.
    pub(crate) fn connecting(error: net::Error, node: &ServerAddress) -> Self {
        let ServerAddress { address, public_key } = node.clone();
        match error {
            net::Error::WrongKey { expected } => Self::WrongKey { address, expected },
            net::Error::Refused | net::Error::Closed | net::Error::CutOff(_) => {
                Self::NotTrusted { address, node: public_key }
            }
            net::Error::Bye(reason) => Self::Lost(reason.to_string()),
            net::Error::Protocol(reason) => Self::Protocol(reason),
            error @ (net::Error::Resolve { .. }
            | net::Error::Connect { .. }
            | net::Error::TimedOut(_)
            | net::Error::Listen { .. }) => Self::Unreachable(error),
        }
    }
}
