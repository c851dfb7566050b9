//! One command's connection to its node.

use std::path::PathBuf;

use anyhow::anyhow;
use offset_app::{AppClient, ConnectOptions};
use offset_proto::{
    Currency, Name,
    app::ConfigRequest,
    file::NodeTicket,
    report::{FriendReport, NodeReport},
};

use crate::manners::{amount::decimals_of, inputs, names};

/// Who connects to which node. The files are read when the connection is made, after the other
/// files of a command, so that the cheapest mistakes are found first.
#[derive(Debug)]
pub struct Session {
    idfile: PathBuf,
    ticket: PathBuf,
}

impl Session {
    /// With the application's identity file and the node's ticket.
    #[must_use]
    pub const fn new(idfile: PathBuf, ticket: PathBuf) -> Self {
        Self { idfile, ticket }
    }

    /// Connects, trying again for a moment while nobody listens.
    ///
    /// # Errors
    /// When a file is wrong or the node does not let the application in.
    pub async fn connect(&self) -> anyhow::Result<AppClient> {
        let identity = inputs::identity(&self.idfile)?;
        let ticket: NodeTicket = inputs::read(&self.ticket)?;
        Ok(AppClient::connect(&identity, &ticket.0, &ConnectOptions::retrying()).await?)
    }

    /// The node's report.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub async fn report(&self) -> anyhow::Result<NodeReport> {
        let client = self.connect().await?;
        let report = client.report().await?;
        client.close().await;
        Ok(report)
    }

    /// How many digits behind the point people see of a currency; of the default one, if none is
    /// named.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub async fn decimals(&self, currency: Option<&Currency>) -> anyhow::Result<u8> {
        let client = self.connect().await?;
        let report = client.report_without_friends().await?;
        client.close().await;
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
        let client = self.connect().await?;
        let result = client.config(change).await;
        client.close().await;
        Ok(result?)
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
