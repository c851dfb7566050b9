//! What applications see: the funder's report, with what only the shell knows filled in.
//!
//! The funder knows neither connections nor their errors; the shell does. While somebody observes,
//! the report is kept here, so that a change of a connection can be told as a mutation.

use std::collections::BTreeMap;

use offset_crypto::PublicKey;
use offset_proto::{
    ServerAddress, Text,
    report::{FriendReport, NodeReport, ReportMutation, ServerReport},
};

/// How a relay or index server is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerStatus {
    /// Whether it can be used now.
    pub(crate) connected: bool,
    /// What went wrong last, empty when nothing did since it was connected.
    pub(crate) last_error: Text,
}

/// How all servers of a kind are doing.
pub(crate) type ServerStatuses = BTreeMap<ServerAddress, ServerStatus>;

/// Connections, and the report as its observers know it.
#[derive(Debug, Default)]
pub(crate) struct View {
    relays: ServerStatuses,
    index_servers: ServerStatuses,
    /// What went wrong last with reaching a friend.
    friends: BTreeMap<PublicKey, Text>,
    observed: Option<NodeReport>,
}

impl View {
    /// Fills in a report of the funder.
    pub(crate) fn complete(&self, report: &mut NodeReport) {
        fill(&mut report.relays, &self.relays);
        fill(&mut report.index_servers, &self.index_servers);
        for friend in &mut report.friends {
            self.fill_friend(friend);
        }
    }

    /// Somebody observes from this report on, which is complete.
    pub(crate) fn observe(&mut self, report: NodeReport) {
        self.observed = Some(report);
    }

    /// Nobody observes any more.
    pub(crate) fn forget(&mut self) {
        self.observed = None;
    }

    /// Fills in a mutation of the funder for the observers.
    pub(crate) fn follow(&mut self, mut mutation: ReportMutation) -> ReportMutation {
        match &mut mutation {
            ReportMutation::SetRelays(servers) => fill(servers, &self.relays),
            ReportMutation::SetIndexServers(servers) => fill(servers, &self.index_servers),
            ReportMutation::SetFriend(friend) => self.fill_friend(friend),
            ReportMutation::RemoveFriend(_)
            | ReportMutation::SetDefaultCurrency(_)
            | ReportMutation::SetAcceptsSpontaneous(_)
            | ReportMutation::SetDecimals(..)
            | ReportMutation::SetRecovering(_)
            | ReportMutation::SetRecoverable(_) => {}
        }
        if let Some(report) = &mut self.observed {
            report.apply(mutation.clone());
        }
        mutation
    }

    /// What the observers are to know of relays that are now so.
    pub(crate) fn set_relays(&mut self, statuses: ServerStatuses) -> Option<ReportMutation> {
        self.relays = statuses;
        let report = self.observed.as_mut()?;
        let mut servers = report.relays.clone();
        fill(&mut servers, &self.relays);
        changed(&mut report.relays, servers).map(ReportMutation::SetRelays)
    }

    /// What the observers are to know of index servers that are now so.
    pub(crate) fn set_index_servers(&mut self, statuses: ServerStatuses) -> Option<ReportMutation> {
        self.index_servers = statuses;
        let report = self.observed.as_mut()?;
        let mut servers = report.index_servers.clone();
        fill(&mut servers, &self.index_servers);
        changed(&mut report.index_servers, servers).map(ReportMutation::SetIndexServers)
    }

    /// What the observers are to know when reaching a friend failed (or, with an empty text, did
    /// not).
    pub(crate) fn set_friend(&mut self, key: PublicKey, error: Text) -> Option<ReportMutation> {
        if error.as_str().is_empty() {
            self.friends.remove(&key);
        } else {
            self.friends.insert(key, error.clone());
        }
        let friends = &mut self.observed.as_mut()?.friends;
        let friend = friends.iter_mut().find(|friend| friend.public_key == key)?;
        if friend.last_error == error {
            return None;
        }
        friend.last_error = error;
        Some(ReportMutation::SetFriend(friend.clone()))
    }

    fn fill_friend(&self, friend: &mut FriendReport) {
        if let Some(error) = self.friends.get(&friend.public_key) {
            friend.last_error = error.clone();
        }
    }
}

fn fill(servers: &mut [ServerReport], statuses: &ServerStatuses) {
    for server in servers {
        let status = statuses.get(&server.server);
        server.connected = status.is_some_and(|status| status.connected);
        server.last_error =
            status.map_or_else(|| Text::cut(""), |status| status.last_error.clone());
    }
}

fn changed(old: &mut Vec<ServerReport>, new: Vec<ServerReport>) -> Option<Vec<ServerReport>> {
    if *old == new {
        return None;
    }
    old.clone_from(&new);
    Some(new)
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, SeededRng};
    use offset_proto::{Currency, report::FriendStanding};

    use super::*;

    fn key(n: u64) -> PublicKey {
        Identity::random(&mut SeededRng::new(n)).public_key()
    }

    fn server(n: u64) -> ServerReport {
        let server = ServerAddress { public_key: key(n), address: "a:1".parse().unwrap() };
        let name = format!("server{n}").parse().unwrap();
        ServerReport { name, server, connected: false, last_error: Text::cut("") }
    }

    fn friend(n: u64) -> FriendReport {
        FriendReport {
            name: format!("friend{n}").parse().unwrap(),
            public_key: key(n),
            relays: Vec::new(),
            enabled: true,
            online: false,
            standing: FriendStanding::Consistent,
            recovery: Default::default(),
            last_error: Text::cut(""),
            currencies: Vec::new(),
        }
    }

    fn report() -> NodeReport {
        NodeReport {
            public_key: key(1),
            default_currency: Currency::fallback(),
            accepts_spontaneous: true,
            recovering: false,
            recoverable: Vec::new(),
            relays: vec![server(2), server(3)],
            index_servers: vec![server(4)],
            friends: vec![friend(5)],
            more_friends: false,
            decimals: BTreeMap::new(),
            last_event: 0,
        }
    }

    fn up(n: u64) -> ServerStatuses {
        let status = ServerStatus { connected: true, last_error: Text::cut("") };
        ServerStatuses::from([(server(n).server, status)])
    }

    #[test]
    fn reports_and_mutations_are_filled_in_alike() {
        let mut view = View::default();
        assert_eq!(view.set_relays(up(3)), None, "nobody observes");
        assert_eq!(view.set_index_servers(up(4)), None);
        assert_eq!(view.set_friend(key(5), Text::cut("gone")), None);
        let mut complete = report();
        view.complete(&mut complete);
        assert!(!complete.relays[0].connected);
        assert!(complete.relays[1].connected && complete.index_servers[0].connected);
        assert_eq!(complete.friends[0].last_error, Text::cut("gone"));

        view.observe(complete.clone());
        let mut followed = complete.clone();
        for mutation in [
            ReportMutation::SetRelays(report().relays),
            ReportMutation::SetIndexServers(report().index_servers),
            ReportMutation::SetFriend(friend(5)),
        ] {
            followed.apply(view.follow(mutation));
        }
        assert_eq!(followed, complete);
    }

    #[test]
    fn observers_hear_of_changes_once() {
        let mut view = View::default();
        view.observe(report());
        assert!(view.set_relays(up(2)).is_some());
        assert_eq!(view.set_relays(up(2)), None);
        assert!(view.set_relays(ServerStatuses::new()).is_some(), "lost again");
        assert!(view.set_friend(key(5), Text::cut("away")).is_some());
        assert_eq!(view.set_friend(key(5), Text::cut("away")), None);
        assert!(view.set_friend(key(5), Text::cut("")).is_some());
        assert_eq!(view.set_friend(key(6), Text::cut("x")), None, "not a friend yet");
        view.forget();
        assert_eq!(view.set_relays(up(2)), None);
    }
}
