//! A network: its directory, its daemons, and the friendships between its nodes.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use futures::future::{join_all, try_join_all};
use offset_app::{AppClient, ConnectOptions};
use offset_crypto::{Identity, Seed, SystemRng};
use offset_proto::{
    Name, NetworkAddress, ServerAddress,
    app::{ConfigRequest, Permissions},
    file::{AppTicket, IdentityFile, IndexTicket, NodeTicket, OffsetFile, PublicFile, RelayTicket},
    report::{CurrencyStatus, NodeReport},
};
use tokio::time::{Instant, sleep};

use super::{
    process::{Daemon, Program},
    topology::{Line, Topology},
};
use crate::manners::{Access, files, inputs};

/// A network that runs. Its daemons stop when this is dropped, at the latest.
#[derive(Debug)]
pub struct Network {
    /// All daemons, servers first.
    pub daemons: Vec<Daemon>,
    /// The nodes, in the order of the topology.
    pub nodes: Vec<Node>,
}

/// One node, and a connection to it.
#[derive(Debug)]
pub struct Node {
    /// Its name, which is also that of its directory.
    pub name: Name,
    /// The identity file of its application.
    pub app: PathBuf,
    /// Its ticket.
    pub ticket: PathBuf,
    /// For setting it up.
    pub client: AppClient,
}

impl Network {
    /// Starts everything in a directory that is there, and waits until all friends are online and
    /// all lines active. What is in the directory already is used again.
    ///
    /// # Errors
    /// What did not start, and what it said.
    pub async fn start(directory: &Path, topology: &Topology) -> anyhow::Result<Self> {
        let place = Place(directory.to_owned());
        place.make("log")?;
        let (relay, relay_ticket) = place.start_relay().await?;
        let (index0, ticket0, public0) = place.start_index("index0").await?;
        let (index1, ticket1, public1) = place.start_index("index1").await?;
        // Each trusts the other: that is what makes them a federation.
        place.write("index0/trusted/index1.ticket", &IndexTicket(public1))?;
        place.write("index1/trusted/index0.ticket", &IndexTicket(public0))?;

        let started = topology.nodes.iter().map(|name| place.start_node(name));
        let mut daemons = vec![relay, index0, index1];
        let mut nodes = Vec::new();
        for started in join_all(started).await {
            let (daemon, node) = started?;
            daemons.push(daemon);
            nodes.push(node);
        }
        let network = Self { daemons, nodes };
        network.set_up(&relay_ticket, &[ticket0, ticket1], topology).await?;
        network.wait_until_ready(topology).await?;
        Ok(network)
    }

    /// Stops everything, nodes first.
    pub async fn stop(self) {
        for node in self.nodes {
            node.client.close().await;
        }
        let (nodes, servers): (Vec<_>, Vec<_>) =
            self.daemons.into_iter().partition(|daemon| daemon.program == Program::Node);
        join_all(nodes.into_iter().map(Daemon::stop)).await;
        join_all(servers.into_iter().map(Daemon::stop)).await;
    }

    async fn set_up(
        &self,
        relay: &ServerAddress,
        index_servers: &[ServerAddress; 2],
        topology: &Topology,
    ) -> anyhow::Result<()> {
        let servers = self.nodes.iter().enumerate().map(|(i, node)| async move {
            let relay = ConfigRequest::AddRelay { name: name("relay"), relay: relay.clone() };
            node.client.config(relay).await?;
            // Half of the nodes at each index server, so that the federation has something to do.
            for j in [i % 2, (i + 1) % 2] {
                let server = index_servers[j].clone();
                let name = name(&format!("index{j}"));
                node.client.config(ConfigRequest::AddIndexServer { name, server }).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(servers).await?;
        for line in &topology.lines {
            self.befriend(line, relay).await?;
        }
        Ok(())
    }

    async fn befriend(&self, line: &Line, relay: &ServerAddress) -> anyhow::Result<()> {
        let (a, b) = (&self.nodes[line.between.0], &self.nodes[line.between.1]);
        for (node, friend, opening_balance) in
            [(a, b, line.opening_balance), (b, a, line.opening_balance.mirrored())]
        {
            let (name, public_key) = (friend.name.clone(), friend.client.node());
            let wanted = [
                ConfigRequest::AddFriend {
                    name: name.clone(),
                    public_key,
                    relays: vec![relay.clone()],
                    currency: None,
                    opening_balance,
                },
                ConfigRequest::SetMaxDebt {
                    friend: name.clone(),
                    currency: None,
                    max_debt: line.max_debt,
                },
                ConfigRequest::SetRequestsOpen { friend: name.clone(), currency: None, open: true },
                ConfigRequest::SetFriendEnabled { friend: name, enabled: true },
            ];
            for request in wanted {
                node.client.config(request).await?;
            }
        }
        Ok(())
    }

    async fn wait_until_ready(&self, topology: &Topology) -> anyhow::Result<()> {
        let deadline = Instant::now() + LONGEST_SET_UP;
        for (i, node) in self.nodes.iter().enumerate() {
            let lines = topology.lines.iter();
            let friends = lines.filter(|line| line.between.0 == i || line.between.1 == i).count();
            loop {
                let Some(trouble) = trouble(&node.client.report().await?, friends) else { break };
                if deadline < Instant::now() {
                    bail!("{} is not ready: {trouble}; look into the directory log", node.name);
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

/// What a node still waits for.
fn trouble(report: &NodeReport, friends: usize) -> Option<String> {
    if !report.index_servers.iter().any(|server| server.connected) {
        return Some("no index server is connected".to_owned());
    }
    if report.friends.len() < friends {
        return Some("friends are missing".to_owned());
    }
    let waits = report.friends.iter().find(|friend| {
        let open = friend.currencies.iter().any(|currency| match &currency.status {
            CurrencyStatus::Active(line) => line.local_requests_open && line.remote_requests_open,
            CurrencyStatus::Proposed { .. } => false,
        });
        !friend.online || !open
    })?;
    let state = if waits.online { "not open" } else { "offline" };
    Some(format!("{} is {state} {}", waits.name, waits.last_error))
}

/// The directory of a network.
struct Place(PathBuf);

impl Place {
    async fn start_relay(&self) -> anyhow::Result<(Daemon, ServerAddress)> {
        self.make("relay")?;
        let identity = self.identity("relay/relay.ident")?;
        let listen = self.listen_address::<RelayTicket>("relay/relay.ticket", |ticket| ticket.0)?;
        let arguments = [("--idfile", self.path("relay/relay.ident")), ("--laddr", listen.into())];
        let daemon = Daemon::start("relay", Program::Relay, &arguments, &self.log("relay")).await?;
        let server = server(&identity, &daemon, 0)?;
        self.write("relay/relay.ticket", &RelayTicket(server.clone()))?;
        Ok((daemon, server))
    }

    /// Starts an index server; gives where nodes and where other index servers reach it.
    async fn start_index(
        &self,
        name: &str,
    ) -> anyhow::Result<(Daemon, ServerAddress, ServerAddress)> {
        self.make(&format!("{name}/trusted"))?;
        let file = |rest: &str| format!("{name}/{rest}");
        let identity = self.identity(&file("index.ident"))?;
        let client = self.listen_address::<IndexTicket>(&file("client.ticket"), |it| it.0)?;
        let peer = self.listen_address::<IndexTicket>(&file("server.ticket"), |it| it.0)?;
        let arguments = [
            ("--idfile", self.path(&file("index.ident"))),
            ("--lclient", client.into()),
            ("--lserver", peer.into()),
            ("--trusted", self.path(&file("trusted"))),
        ];
        let daemon = Daemon::start(name, Program::Index, &arguments, &self.log(name)).await?;
        let (client, peer) = (server(&identity, &daemon, 0)?, server(&identity, &daemon, 1)?);
        self.write(&file("client.ticket"), &IndexTicket(client.clone()))?;
        self.write(&file("server.ticket"), &IndexTicket(peer.clone()))?;
        Ok((daemon, client, peer))
    }

    async fn start_node(&self, name: &Name) -> anyhow::Result<(Daemon, Node)> {
        self.make(&format!("{name}/trusted"))?;
        let file = |rest: &str| format!("{name}/{rest}");
        let identity = self.identity(&file("node.ident"))?;
        let app = self.identity(&file("app.ident"))?;
        let all = Permissions { routes: true, buyer: true, seller: true, config: true };
        let app_ticket = AppTicket::new(app.public_key(), all);
        self.write(&file("trusted/app.ticket"), &app_ticket)?;
        let database = self.path(&file("node.db"));
        if !database.exists() {
            offset_store::init(&database, &identity.public_key())?;
        }
        let listen = self.listen_address::<NodeTicket>(&file("node.ticket"), |it| it.0)?;
        let arguments = [
            ("--idfile", self.path(&file("node.ident"))),
            ("--laddr", listen.into()),
            ("--database", database),
            ("--trusted", self.path(&file("trusted"))),
        ];
        let log = self.log(name.as_str());
        let daemon = Daemon::start(name.as_str(), Program::Node, &arguments, &log).await?;
        let address = server(&identity, &daemon, 0)?;
        self.write(&file("node.ticket"), &NodeTicket(address.clone()))?;
        let client = AppClient::connect(&app, &address, &ConnectOptions::retrying()).await?;
        let (app, ticket) = (self.path(&file("app.ident")), self.path(&file("node.ticket")));
        Ok((daemon, Node { name: name.clone(), app, ticket, client }))
    }

    /// The address that a ticket of an earlier start names, else any free port.
    fn listen_address<F: PublicFile>(
        &self,
        ticket: &str,
        server: fn(F) -> ServerAddress,
    ) -> anyhow::Result<String> {
        let path = self.path(ticket);
        if path.exists() {
            Ok(server(inputs::read(&path)?).address.to_string())
        } else {
            Ok("127.0.0.1:0".to_owned())
        }
    }

    /// The identity in a file, made if there is none.
    fn identity(&self, file: &str) -> anyhow::Result<Identity> {
        let path = self.path(file);
        if !path.exists() {
            let identity = IdentityFile::Plain(Seed::random(&mut SystemRng));
            files::write(&path, Access::Secret, false, &identity.to_toml())?;
        }
        inputs::identity(&path)
    }

    fn write<F: OffsetFile>(&self, file: &str, contents: &F) -> anyhow::Result<()> {
        files::write(&self.path(file), Access::Public, true, &contents.to_toml())
    }

    fn make(&self, directory: &str) -> anyhow::Result<()> {
        let path = self.path(directory);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path(&format!("log/{name}.log"))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }
}

fn server(identity: &Identity, daemon: &Daemon, port: usize) -> anyhow::Result<ServerAddress> {
    let address = daemon.addresses.get(port).context("the daemon listens on too few ports")?;
    let address: NetworkAddress = address.to_string().parse()?;
    Ok(ServerAddress { public_key: identity.public_key(), address })
}

fn name(text: &str) -> Name {
    text.parse().expect("a short printable name")
}

const LONGEST_SET_UP: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(25);
