//! What befalls owners: a node that comes back from an older copy of its disk, a token that was
//! spoilt, friends who part and meet again; and what owners then do about it.

use offset_crypto::PublicKey;
use offset_funder::api::Command;
use offset_proto::{
    Balance, Currency,
    app::{AppReply, ConfigRequest},
    report::FriendRecovery,
};

use crate::{chaos::name, sum::Sum, world::World};

impl World {
    /// A copy of the disk of one node is made, or the node comes back from one.
    pub(crate) fn copy_or_restore(&mut self) {
        let Some(node) = self.options.restored.filter(|node| self.is_honest(*node)) else { return };
        let copy = self.nodes[node].disk.clone();
        let copies = &mut self.copies;
        if copies.is_empty() || self.draw.index(3) != 0 {
            copies.push(copy);
            return;
        }
        let at = self.draw.index(copies.len());
        // What was copied later is gone with the disk.
        copies.truncate(at + 1);
        let old = copies[at].clone();
        self.crash_node(node);
        self.restored.insert(node);
        self.restores += 1;
        let it = &mut self.nodes[node];
        it.disk = old;
        // Its owner's app cannot know what became of what was under way.
        it.app.forget_open();
        it.to_recover = self.draw.coin();
        // A token that nobody received may have been signed once more.
        self.sent.retain(|(from, ..), _| *from != node);
        self.start_node(node);
    }

    /// A friend of the restored node proves; its owner takes it over.
    pub(crate) fn take_proofs(&mut self, node: usize) {
        let Some(id) = self.command(node, Command::Report) else { return };
        self.pass(50);
        let Some(Ok(AppReply::Report(report))) = self.nodes[node].app.replies.remove(&id) else {
            return;
        };
        for friend in report.friends {
            if let FriendRecovery::Proven { token, .. } = friend.recovery {
                let request =
                    ConfigRequest::RecoverFriend { friend: friend.name, token, public_key: None };
                self.command(node, Command::Config(request));
            }
        }
    }

    /// The next token between two friends arrives as nobody signed it.
    pub(crate) fn spoil(&mut self, node: usize) {
        let Some(other) = self.some_friend(node) else { return };
        if self.is_honest(node) && self.is_honest(self.by_key[&other]) {
            self.spoilt = Some((node, other));
        }
    }

    /// Any friend of a running node.
    pub(crate) fn some_friend(&mut self, node: usize) -> Option<PublicKey> {
        let process = self.nodes[node].process.as_ref()?;
        let friends: Vec<_> = process.funder.state().friends.keys().copied().collect();
        (!friends.is_empty()).then(|| *self.draw.of(&friends))
    }

    /// The owner accepts what the other side of an inconsistent channel proposes.
    pub(crate) fn accept_terms(&mut self, node: usize, key: PublicKey) {
        let local = self.key(node);
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        let Some(friend) = process.funder.state().friends.get(&key) else { return };
        let row = friend.channel.inconsistent.as_ref();
        let Some(remote) = row.and_then(|row| row.remote.as_ref()) else { return };
        if !self.is_honest(self.by_key[&key]) {
            return;
        }
        let reset_token = remote.token(&key, &local);
        let friend = name("n", self.by_key[&key]);
        // May be refused when the terms are of an epoch that was.
        self.command(node, Command::Config(ConfigRequest::ResetFriend { friend, reset_token }));
    }

    /// Somebody adds those again from whom it parted.
    pub(crate) fn meet_again(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        let gone: Vec<_> = process.funder.state().archive.keys().copied().collect();
        for public_key in gone {
            let other = self.by_key[&public_key];
            if !self.is_honest(other) || !self.is_honest(node) {
                continue;
            }
            self.met_again += 1;
            let relays = (0..self.relays.len()).map(|relay| self.relay_address(relay)).collect();
            let friend = name("n", other);
            for request in [
                ConfigRequest::AddFriend {
                    name: friend.clone(),
                    public_key,
                    relays,
                    currency: None,
                    opening_balance: Balance::ZERO,
                },
                ConfigRequest::SetFriendEnabled { friend, enabled: true },
            ] {
                self.command(node, Command::Config(request));
            }
        }
    }

    /// Everything that owners can do until every channel works: proofs are taken over, terms
    /// accepted by the one side or the other, and the recovery is ended.
    pub(crate) fn mend(&mut self) {
        if self.is_ordinary() {
            return;
        }
        for round in 0..60 {
            for node in 0..self.nodes.len() {
                if self.options.meets {
                    self.meet_again(node);
                }
                if self.restored.contains(&node) {
                    self.take_proofs(node);
                }
                let friends: Vec<_> = self.nodes[node].disk.state.friends.keys().copied().collect();
                for key in friends {
                    // Of each pair one side gives in, now the one and now the other.
                    if (node < self.by_key[&key]) == (round % 2 == 0) {
                        self.accept_terms(node, key);
                    }
                }
            }
            self.pass(1_000);
            if 4 < round && self.is_mended() {
                break;
            }
        }
        for node in self.restored.clone() {
            self.config(node, ConfigRequest::EndRecovery { cancel_unknown: true });
        }
    }

    fn is_mended(&self) -> bool {
        let honest = self.nodes.iter().enumerate().filter(|(node, _)| self.is_honest(*node));
        honest.into_iter().all(|(_, node)| {
            let archived = node.disk.state.archive.keys();
            let met = archived.into_iter().all(|key| !self.is_honest(self.by_key[key]));
            let friends = node.disk.state.friends.values();
            let whole = friends.into_iter().all(|friend| {
                friend.channel.inconsistent.is_none()
                    && friend.recovery.is_none()
                    && !friend.channel.removed_by_friend
            });
            whole && (met || !self.options.meets)
        })
    }

    /// Whether nothing happened but what loses nobody anything.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.parted.is_empty()
            && self.restored.is_empty()
            && self.betrayer.is_none()
            && self.spoils == 0
    }

    /// The sums that a node gave up by parting and by the terms with which it began again.
    pub(crate) fn given_up(&self, node: usize, currency: &Currency) -> Sum {
        self.given_up.get(&(node, currency.clone())).copied().unwrap_or_default()
    }
}
