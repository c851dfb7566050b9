//! What is frozen just now, with whose turn it is.

use std::collections::BTreeSet;

use offset_crypto::{PublicKey, RequestId};
use offset_proto::{
    Currency, Timestamp,
    history::{Direction, MAX_PAGE, PendingEntry, PendingKey, PendingPage, PendingStage, Turn},
};

use crate::{
    funder::Funder,
    side::Side,
    state::{Link, Pending, Phase, Stage},
};

/// What decides whose turn it is.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// Who sent the request.
    sender: Side,
    link: Link,
    stage: Stage,
    released: bool,
    closing: bool,
    /// Whether an operation of ours about the request waits, on its line or on the other one that
    /// it passes.
    queued: bool,
    /// For a request of our own payment: whether its lock is handed out.
    decided: bool,
}

/// Who has to act for a request to go on, and through which friend: `None` is the friend of the
/// line itself.
fn whose_turn(facts: Facts) -> (Turn, Option<PublicKey>) {
    let Facts { sender, link, stage, released, closing, queued, decided } = facts;
    if queued || closing {
        return (Turn::Us, None);
    }
    let answered = stage != Stage::Requested;
    match (sender, link) {
        (Side::Local, _) if !answered => (Turn::Friend, None),
        (Side::Local, Link::Payment(_)) if stage == Stage::Responded && !released && !decided => {
            (Turn::Us, None)
        }
        (Side::Local, Link::Upstream(from, _)) if stage == Stage::Responded && !released => {
            (Turn::Buyer, Some(from))
        }
        (Side::Local, _) => (Turn::Seller, None),
        (Side::Remote, Link::Downstream(to, _)) if !answered => (Turn::Friend, Some(to)),
        (Side::Remote, Link::Downstream(to, _)) if stage == Stage::Committed || released => {
            (Turn::Seller, Some(to))
        }
        (Side::Remote, Link::Downstream(..)) => (Turn::Buyer, None),
        (Side::Remote, Link::Destination) if stage == Stage::Responded => (Turn::Buyer, None),
        // A commit that is not collected yet is the seller's: ours. All else is only to be ended.
        (Side::Remote, _) => (Turn::Us, None),
    }
}

impl Funder {
    /// The frozen amounts after this one, at most a page.
    pub(crate) fn pending_page(&self, now: Timestamp, after: Option<&PendingKey>) -> PendingPage {
        let queued = self.queued_ids();
        let first = after.map(|key| key.friend);
        let friends = self.state.friends.iter();
        let rows = friends
            .skip_while(|(key, _)| first.is_some_and(|first| **key < first))
            .flat_map(|(key, friend)| {
                friend.lines.iter().filter_map(move |(currency, line)| {
                    line.credit.as_ref().map(|credit| (key, friend, currency, credit))
                })
            })
            .flat_map(|(key, friend, currency, credit)| {
                // In the order of keys: `sent_by_us` is false first.
                [Side::Remote, Side::Local].into_iter().flat_map(move |sender| {
                    credit.pending(sender).iter().map(move |(id, row)| {
                        let key = PendingKey {
                            friend: *key,
                            currency: currency.clone(),
                            sent_by_us: sender == Side::Local,
                            request_id: *id,
                        };
                        (key, friend, sender, row)
                    })
                })
            })
            .skip_while(|(key, ..)| after.is_some_and(|after| key <= after));
        let mut page = PendingPage { now, ..PendingPage::default() };
        for (key, friend, sender, row) in rows {
            if page.entries.len() == MAX_PAGE {
                page.more = true;
                break;
            }
            let facts = self.facts(&key, sender, row, &queued);
            let (turn, through) = whose_turn(facts);
            let through = match (turn, through) {
                (Turn::Us, _) => None,
                (Turn::Friend | Turn::Buyer | Turn::Seller, Some(other)) => {
                    self.friend(&other).map(|friend| friend.info.name.clone())
                }
                (Turn::Friend | Turn::Buyer | Turn::Seller, None) => Some(friend.info.name.clone()),
            };
            page.entries.push(PendingEntry {
                key,
                friend_name: friend.info.name.clone(),
                direction: direction(sender, row.link),
                amount: row.request.frozen().unwrap_or_default(),
                since: row.since,
                stage: stage(row.stage),
                released: row.released,
                turn,
                through,
            });
        }
        page
    }

    fn facts(
        &self,
        key: &PendingKey,
        sender: Side,
        row: &Pending,
        queued: &BTreeSet<(PublicKey, Currency, RequestId)>,
    ) -> Facts {
        let waits = |friend, id| queued.contains(&(friend, key.currency.clone(), id));
        let partner = match row.link {
            Link::Downstream(friend, id) | Link::Upstream(friend, id) => waits(friend, id),
            Link::None | Link::Destination | Link::Payment(_) => false,
        };
        let decided = match row.link {
            Link::Payment(id) => {
                let payment = self.state.payments.get(&id);
                payment.is_none_or(|payment| match payment.phase {
                    Phase::Routing | Phase::Requesting | Phase::Complete => false,
                    Phase::Committed
                    | Phase::Succeeded { .. }
                    | Phase::Failed(_)
                    | Phase::Cancelled
                    | Phase::Unknown => true,
                })
            }
            Link::None | Link::Destination | Link::Downstream(..) | Link::Upstream(..) => false,
        };
        Facts {
            sender,
            link: row.link,
            stage: row.stage,
            released: row.released,
            closing: row.closing,
            queued: partner || waits(key.friend, key.request_id),
            decided,
        }
    }

    /// What operations of ours that wait for a token are about.
    fn queued_ids(&self) -> BTreeSet<(PublicKey, Currency, RequestId)> {
        let friends = self.state.friends.iter();
        let rows = friends.flat_map(|(key, friend)| {
            friend.queue.values().map(|row| (*key, row.currency.clone(), row.op.request_id()))
        });
        rows.collect()
    }
}

const fn direction(sender: Side, link: Link) -> Direction {
    match (sender, link) {
        (_, Link::Payment(_)) => Direction::Ours,
        (_, Link::Destination) | (Side::Remote, Link::None) => Direction::Theirs,
        (_, Link::Downstream(..) | Link::Upstream(..)) | (Side::Local, Link::None) => {
            Direction::Passing
        }
    }
}

const fn stage(stage: Stage) -> PendingStage {
    match stage {
        Stage::Requested => PendingStage::Requested,
        Stage::Responded => PendingStage::Responded,
        Stage::Committed => PendingStage::Committed,
    }
}

#[cfg(test)]
mod tests {
    use offset_crypto::{Identity, PaymentId, SeededRng};

    use super::*;

    #[test]
    fn whose_turn_it_is() {
        let other = Identity::random(&mut SeededRng::new(1)).public_key();
        let id = RequestId::from_bytes([1; 16]);
        let own = Link::Payment(PaymentId::from_bytes([2; 16]));
        let (up, down) = (Link::Upstream(other, id), Link::Downstream(other, id));
        let (ours, theirs) = (Side::Local, Side::Remote);
        use Stage::{Committed, Requested, Responded};
        let facts = |sender, link, stage, released| Facts {
            sender,
            link,
            stage,
            released,
            closing: false,
            queued: false,
            decided: false,
        };
        let through = Some(other);
        let table = [
            // What we sent for a payment of our own.
            (facts(ours, own, Requested, false), (Turn::Friend, None)),
            (facts(ours, own, Requested, true), (Turn::Friend, None)),
            (facts(ours, own, Responded, false), (Turn::Us, None)),
            (facts(ours, own, Responded, true), (Turn::Seller, None)),
            (facts(ours, own, Committed, false), (Turn::Seller, None)),
            (Facts { decided: true, ..facts(ours, own, Responded, false) }, (Turn::Seller, None)),
            // What we passed on.
            (facts(ours, up, Requested, false), (Turn::Friend, None)),
            (facts(ours, up, Requested, true), (Turn::Friend, None)),
            (facts(ours, up, Responded, false), (Turn::Buyer, through)),
            (facts(ours, up, Responded, true), (Turn::Seller, None)),
            (facts(ours, up, Committed, false), (Turn::Seller, None)),
            (facts(ours, Link::None, Responded, false), (Turn::Seller, None)),
            // The same, where it came in.
            (facts(theirs, down, Requested, false), (Turn::Friend, through)),
            (facts(theirs, down, Requested, true), (Turn::Friend, through)),
            (facts(theirs, down, Responded, false), (Turn::Buyer, None)),
            (facts(theirs, down, Responded, true), (Turn::Seller, through)),
            (facts(theirs, down, Committed, false), (Turn::Seller, through)),
            // What is for us.
            (facts(theirs, Link::Destination, Requested, false), (Turn::Us, None)),
            (facts(theirs, Link::Destination, Responded, false), (Turn::Buyer, None)),
            (facts(theirs, Link::Destination, Committed, false), (Turn::Us, None)),
            (facts(theirs, Link::None, Requested, false), (Turn::Us, None)),
        ];
        for (facts, expected) in table {
            assert_eq!(whose_turn(facts), expected, "{facts:?}");
            // What waits with us is our turn, whatever it is.
            for ours in [Facts { queued: true, ..facts }, Facts { closing: true, ..facts }] {
                assert_eq!(whose_turn(ours), (Turn::Us, None), "{ours:?}");
            }
        }
    }
}
