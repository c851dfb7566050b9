//! One command's connection to its node: made when the command first needs it, and used by all that
//! it asks.

use std::path::PathBuf;

use anyhow::anyhow;
use offset_app::{AppClient, ConnectOptions};
use offset_proto::{
    Currency, Name,
    app::ConfigRequest,
    file::NodeTicket,
    report::{FriendReport, NodeReport},
};
use tokio::sync::Mutex;

use crate::manners::{amount::decimals_of, inputs, names};

/// Who connects to which node. The files are read when the connection is made, after the other
/// files of a command, so that the cheapest mistakes are found first.
#[derive(Debug)]
pub struct Session {
    idfile: PathBuf,
    ticket: PathBuf,
    client: Mutex<Option<AppClient>>,
}

impl Session {
    /// With the application's identity file and the node's ticket.
    #[must_use]
    pub fn new(idfile: PathBuf, ticket: PathBuf) -> Self {
        Self { idfile, ticket, client: Mutex::default() }
    }

    /// The connection; where there is none yet, or it was lost, connects, trying again for a moment
    /// while nobody listens.
    ///
    /// # Errors
    /// When a file is wrong or the node does not let the application in.
    pub async fn connect(&self) -> anyhow::Result<AppClient> {
        let mut client = self.client.lock().await;
        if let Some(open) = client.as_ref().filter(|client| client.is_open()) {
            return Ok(open.clone());
        }
        let identity = inputs::identity(&self.idfile)?;
        let ticket: NodeTicket = inputs::read(&self.ticket)?;
        let options = ConnectOptions::retrying();
        let fresh = AppClient::connect(&identity, &ticket.0, &options).await?;
        Ok(client.insert(fresh).clone())
    }

    /// Says goodbye to the node, if there is a connection. What is asked afterwards makes another one.
    pub async fn close(&self) {
        let client = self.client.lock().await.take();
        if let Some(client) = client {
            client.close().await;
        }
    }

    /// The node's report.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub async fn report(&self) -> anyhow::Result<NodeReport> {
        Ok(self.connect().await?.report().await?)
    }

    /// How many digits behind the point people see of a currency; of the default one, if none is
    /// named.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub async fn decimals(&self, currency: Option<&Currency>) -> anyhow::Result<u8> {
        let report = self.connect().await?.report_without_friends().await?;
        let currency = currency.unwrap_or(&report.default_currency);
        Ok(decimals_of(&report.decimals, currency))
    }

    /// How a friend stands.
    ///
    /// # Errors
    /// As [`Session::connect`], and when there is no such friend.
    pub async fn friend(&self, name: &Name) -> anyhow::Result<FriendReport> {
        find_friend(&self.report().await?, name).cloned()
    }

    /// Changes the node's configuration.
    ///
    /// # Errors
    /// As [`Session::connect`], and when the node refuses.
    pub async fn configure(&self, change: ConfigRequest) -> anyhow::Result<()> {
        Ok(self.connect().await?.config(change).await?)
    }
}

/// The friend of this name.
///
/// # Errors
/// When there is none, with the near names.
pub(super) fn find_friend<'a>(
    report: &'a NodeReport,
    name: &Name,
) -> anyhow::Result<&'a FriendReport> {
    report.friends.iter().find(|friend| friend.name == *name).ok_or_else(|| {
        let known = report.friends.iter().map(|friend| friend.name.as_str());
        let suggestion = names::suggestion(name.as_str(), known, "stctrl info friends");
        anyhow!("there is no friend named {name}; {suggestion}")
    })
}
