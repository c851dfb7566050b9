//! Five nodes in a ring with a chord, two relays and two federated index servers, each behind a
//! proxy: real daemons.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::future::{join_all, try_join_all};
use offset_app::Error;
use offset_crypto::SeededRng;
use offset_proto::{
    Balance, Credits, ServerAddress,
    app::ConfigRequest,
    file::{IndexTicket, OffsetFile as _},
    report::{LineReport, NodeReport},
};
use tokio::time::sleep;

use crate::{
    history::{self, Entry, Outcome},
    measure::Processes,
    proxy::{self, Faults},
    support::{
        DEADLINE, Sandbox,
        payments::FEE,
        trio::{Node, Server, lines, named},
    },
};

/// The network.
#[derive(Debug)]
pub(crate) struct Five {
    /// Ends with its daemons, so they are named before it.
    relays: [Server; 2],
    index_servers: [Server; 2],
    pub(crate) nodes: [Node; Self::NODES],
    /// What happens at the proxies.
    pub(crate) faults: Arc<Faults>,
    /// What was done to daemons.
    pub(crate) done: Done,
    sandbox: Sandbox,
}

/// What was done to daemons.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) kills: AtomicU64,
    pub(crate) pauses: AtomicU64,
    pub(crate) full_disks: AtomicU64,
}

impl Five {
    /// How many nodes there are.
    pub(crate) const NODES: usize = 5;
    /// The most that anybody may owe to a friend.
    pub(crate) const MAX_DEBT: Credits = Credits(10_000);
    /// Who are friends: a ring and a chord, so that there are several ways between any two.
    const LINES: [(usize, usize); 6] = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (1, 3)];

    /// Starts everything; done when all lines are open and all friends online.
    pub(crate) async fn start(seed: u64) -> Self {
        let mut sandbox = Sandbox::new();
        // Otherwise nobody but root may count the files that a daemon has open.
        for daemon in ["STNODE", "STRELAY", "STINDEX"] {
            sandbox.set(&format!("{daemon}_ALLOW_CORE_DUMPS"), "true");
        }
        let faults = Faults::new();
        let relays = ["relay0", "relay1"].map(|name| {
            Server::new(&sandbox, name, 1, "strelay --idfile {name}/ident --laddr {0}")
        });
        let index_servers = ["index0", "index1"].map(|name| {
            let line = "stindex --idfile {name}/ident --lclient {0} --lserver {1} \
                        --trusted {name}/trusted";
            Server::new(&sandbox, name, 2, line)
        });
        for (i, server) in index_servers.iter().enumerate() {
            let peer = &index_servers[1 - i];
            let front = proxy::before(&peer.peers(), &faults, seed ^ id(10 + i)).await;
            let file = format!("{}/trusted/{}", server.name, peer.name);
            sandbox.write(&file, &IndexTicket(front).to_toml());
        }
        let nodes = ["ann", "ben", "cid", "dee", "eve"].map(|name| Node::new(&sandbox, name));
        let done = Done::default();
        let five = Self { relays, index_servers, nodes, faults, done, sandbox };
        five.servers().for_each(|server| server.start(&five.sandbox));
        five.set_up(seed).await;
        five.until_online("the first start").await;
        five
    }

    /// All daemons.
    fn servers(&self) -> impl Iterator<Item = &Server> {
        let nodes = self.nodes.iter().map(|node| &node.server);
        self.relays.iter().chain(&self.index_servers).chain(nodes)
    }

    async fn set_up(&self, seed: u64) {
        let mut fronts = Vec::new();
        for (i, server) in self.relays.iter().chain(&self.index_servers).enumerate() {
            fronts.push(proxy::before(&server.address, &self.faults, seed ^ id(i)).await);
        }
        let (relays, index_servers) = fronts.split_at(2);
        try_join_all((0..Self::NODES).map(|i| self.configure(i, relays, index_servers)))
            .await
            .unwrap();
    }

    async fn configure(
        &self,
        i: usize,
        relays: &[ServerAddress],
        index_servers: &[ServerAddress],
    ) -> Result<(), Error> {
        let node = &self.nodes[i];
        for (server, relay) in self.relays.iter().zip(relays) {
            let (name, relay) = (named(server.name), relay.clone());
            node.config(ConfigRequest::AddRelay { name, relay }).await?;
        }
        // Some try the one first, some the other.
        for j in [i % 2, (i + 1) % 2] {
            let (name, server) = (named(self.index_servers[j].name), index_servers[j].clone());
            node.config(ConfigRequest::AddIndexServer { name, server }).await?;
        }
        for friend in Self::friends(i) {
            let friend = &self.nodes[friend].server;
            let name = || named(friend.name);
            for request in [
                ConfigRequest::AddFriend {
                    name: name(),
                    public_key: friend.address.public_key,
                    relays: relays.to_vec(),
                    currency: None,
                    opening_balance: Balance::ZERO,
                },
                ConfigRequest::SetMaxDebt {
                    friend: name(),
                    currency: None,
                    max_debt: Self::MAX_DEBT,
                },
                ConfigRequest::SetRate { friend: name(), currency: None, rate: FEE },
                ConfigRequest::SetRequestsOpen { friend: name(), currency: None, open: true },
                ConfigRequest::SetFriendEnabled { friend: name(), enabled: true },
            ] {
                node.config(request).await?;
            }
        }
        Ok(())
    }

    fn friends(i: usize) -> impl Iterator<Item = usize> {
        Self::LINES.into_iter().filter_map(move |(a, b)| match i {
            _ if i == a => Some(b),
            _ if i == b => Some(a),
            _ => None,
        })
    }

    /// Waits until every friend of everyone is online; gives how long that took.
    pub(crate) async fn until_online(&self, after: &str) -> Duration {
        let begin = Instant::now();
        let online = self.nodes.iter().enumerate().map(|(i, node)| {
            node.until(after, move |report| {
                if let Some(friend) = report.friends.iter().find(|friend| !friend.online) {
                    return Err(format!("{} is offline: {}", friend.name, friend.last_error));
                }
                let open = lines(report).filter(|(_, line)| line.remote_requests_open).count();
                if open == Self::friends(i).count() { Ok(()) } else { Err("not open".to_owned()) }
            })
        });
        join_all(online).await;
        begin.elapsed()
    }

    /// Does something to a daemon or two, and starts again what has ended.
    pub(crate) async fn disturb(&self, rng: &mut SeededRng) {
        let servers: Vec<&Server> = self.servers().collect();
        let mut any = || servers[usize::try_from(rng.below(id(servers.len()))).unwrap()];
        let (first, second) = (any(), any());
        let pause = Duration::from_millis(rng.below(400));
        match rng.below(16) {
            0 => {
                let node = usize::try_from(rng.below(id(Self::NODES))).unwrap();
                self.fill_disk(node, rng.below(3) * 16 * 1024).await;
            }
            1..5 => {
                signal(first, "STOP");
                sleep(pause * 5).await;
                signal(first, "CONT");
                self.done.pauses.fetch_add(1, Relaxed);
            }
            5..8 if first.name != second.name => {
                [first, second].iter().for_each(|server| self.kill(server));
                sleep(pause).await;
                [second, first].iter().for_each(|server| server.start(&self.sandbox));
            }
            _ => {
                self.kill(first);
                sleep(pause).await;
                first.start(&self.sandbox);
            }
        }
    }

    fn kill(&self, server: &Server) {
        server.kill();
        self.done.kills.fetch_add(1, Relaxed);
    }

    /// Lets no file of a node grow beyond this, and starts it again once it has stopped itself for
    /// that. Somebody must give it work meanwhile.
    pub(crate) async fn fill_disk(&self, node: usize, bytes: u64) {
        let server = &self.nodes[node].server;
        let begin = Instant::now();
        let mut daemon =
            server.daemon.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap();
        let (pid, limit) = (daemon.pid().to_string(), format!("--fsize={bytes}"));
        let set = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
        assert!(set.success(), "a process may take room from another of its own user");
        while daemon.is_running() {
            assert!(begin.elapsed() < DEADLINE, "{} writes without room", server.name);
            sleep(Duration::from_millis(10)).await;
        }
        let (code, said) = tokio::task::block_in_place(|| daemon.ended());
        assert_eq!(code, Some(1), "{}: {said}", server.name);
        let last = said.trim_end().lines().last().unwrap();
        let tells = last.starts_with("error: ") && last.contains("/db") && last.contains("disk");
        assert!(tells, "{}: {said}", server.name);
        server.start(&self.sandbox);
        self.done.full_disks.fetch_add(1, Relaxed);
    }

    /// Checks, when everything is calm, that payments did what their applications were told, and
    /// nothing else.
    pub(crate) async fn check(&self, entries: &mut [Entry]) {
        self.until_online("the storm").await;
        for entry in entries.iter_mut() {
            entry.ends(self).await;
        }
        let books = self.quiet().await;
        for (a, b) in Self::LINES {
            let balance = |of: usize, with: usize| books[of][self.nodes[with].server.name];
            assert_eq!(balance(a, b), -balance(b, a), "the line of {a} and {b}: {books:?}");
        }
        let (sums, fees) = history::sums(entries);
        let mut earned = 0;
        for (node, (book, sum)) in books.iter().zip(sums).enumerate() {
            let own = book.values().sum::<i128>() - sum;
            assert!(0 <= own, "node {node} lost {own} by passing on: {books:?}");
            earned += own;
        }
        assert_eq!(earned, fees, "all fees that were paid were earned: {books:?}");
    }

    /// Waits until nothing is pending anywhere; gives the balances of each node.
    async fn quiet(&self) -> Vec<BTreeMap<String, i128>> {
        let begin = Instant::now();
        loop {
            let looks = self.nodes.iter().map(|node| node.until("a report", |it| Ok(it.clone())));
            let reports: Vec<NodeReport> = join_all(looks).await;
            let pending = reports.iter().flat_map(lines).find(|(_, line)| !is_quiet(line));
            let Some(pending) = pending else {
                let book = |report: &NodeReport| {
                    lines(report).map(|(friend, line)| (friend, line.balance.get())).collect()
                };
                return reports.iter().map(book).collect();
            };
            assert!(begin.elapsed() < DEADLINE, "it stays pending: {pending:?}");
            sleep(LOOK_EVERY).await;
        }
    }

    /// Pays over each line in both directions as much as fits; lines are in the middle afterwards.
    pub(crate) async fn pay_full_sizes(&self, entries: &mut Vec<Entry>) {
        for (a, b) in Self::LINES {
            for (from, to) in [(a, b), (b, a)] {
                let room = |line: &LineReport| {
                    u128::try_from(line.balance.get() + i128::try_from(Self::MAX_DEBT.0).unwrap())
                };
                self.until_paid(from, to, room, entries).await;
                let line = self.line(from, to).await;
                let least = -i128::try_from(Self::MAX_DEBT.0).unwrap();
                assert_eq!(line.balance.get(), least, "{from} to {to}, all that fits");
            }
            self.until_paid(a, b, |line| u128::try_from(line.balance.get()), entries).await;
        }
    }

    /// Pays over the line of two friends, again until it arrives.
    async fn until_paid<E: std::fmt::Debug>(
        &self,
        from: usize,
        to: usize,
        amount: impl Fn(&LineReport) -> Result<u128, E>,
        entries: &mut Vec<Entry>,
    ) {
        let begin = Instant::now();
        loop {
            let amount = Credits(amount(&self.line(from, to).await).unwrap());
            if amount == Credits::ZERO {
                return;
            }
            let mut entry = Entry::direct(from, to, amount, self);
            let pay = async |client: offset_app::AppClient| client.pay(entry.request.clone()).await;
            let report = self.nodes[from].ask("a payment over one line", pay).await;
            let outcome = entry.ends(self).await;
            entries.push(entry);
            if outcome == Outcome::Paid(Credits::ZERO) {
                return;
            }
            assert_eq!(outcome, Outcome::Not, "a neighbour is paid without fees");
            assert!(begin.elapsed() < DEADLINE, "{from} cannot pay {to} {amount}: {report:?}");
            sleep(LOOK_EVERY * 5).await;
        }
    }

    /// The line of two friends as the first sees it, once nothing is pending.
    async fn line(&self, of: usize, with: usize) -> LineReport {
        let name = self.nodes[with].server.name;
        self.nodes[of]
            .until("a line", |report| {
                let line = lines(report).find(|(friend, line)| friend == name && is_quiet(line));
                line.map(|(_, line)| *line).ok_or_else(|| format!("{report:?}"))
            })
            .await
    }

    /// The processes of all daemons.
    pub(crate) fn processes(&self) -> Processes {
        let pid = |server: &Server| {
            let daemon = server.daemon.lock().unwrap_or_else(PoisonError::into_inner);
            (server.name.to_owned(), u64::from(daemon.as_ref().unwrap().pid()))
        };
        Processes::named(self.servers().map(pid))
    }
}

fn is_quiet(line: &LineReport) -> bool {
    line.local_pending_debt == Credits::ZERO && line.remote_pending_debt == Credits::ZERO
}

fn signal(server: &Server, signal: &str) {
    let daemon = server.daemon.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = daemon.as_ref().unwrap().pid().to_string();
    assert!(Command::new("kill").args([&format!("-{signal}"), &pid]).status().unwrap().success());
}

fn id(number: usize) -> u64 {
    u64::try_from(number).unwrap()
}

const LOOK_EVERY: Duration = Duration::from_millis(20);
