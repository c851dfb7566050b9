//! Locks and response of every collected request, kept beyond its end (protocol, section 6.6): the
//! store has them all for a while, and in memory are only those of requests that were collected while
//! nothing here knew for whom they had been sent.

use offset_crypto::PublicKey;
use offset_proto::{
    Timestamp,
    friend::{Collect, Request},
    payment::ResponseTerms,
    reset::Collected,
};

use crate::{
    dirty::Key,
    funder::{Funder, Place},
    side::Side,
    state::{KEPT_MS, KeptCollect, Link, Pending},
};

impl Funder {
    /// A request was collected: `row` is as it was.
    pub(crate) fn keep_collected(
        &mut self,
        now: Timestamp,
        at: &Place,
        sender: Side,
        (row, collect): (&Pending, &Collect),
    ) {
        let Some(response) = &row.response else {
            return;
        };
        let kept = KeptCollect {
            friend: at.friend,
            sender,
            at: now,
            amount: row.request.frozen().unwrap_or_default(),
            collected: Collected::of(at.currency.clone(), response, collect),
        };
        if sender == Side::Local && row.link == Link::None && !row.closing {
            self.forget_old_alone(now);
            let key = (at.friend, at.currency.clone(), at.id);
            self.state.alone.insert(key.clone(), kept.clone());
            self.dirty.mark(Key::Alone(key));
        }
        self.kept.push(kept);
    }

    fn forget_old_alone(&mut self, now: Timestamp) {
        let old: Vec<_> = self
            .state
            .alone
            .iter()
            .filter(|(_, kept)| KEPT_MS < now.ms_since(kept.at))
            .map(|(key, _)| key.clone())
            .collect();
        for key in old {
            self.state.alone.remove(&key);
            self.dirty.mark(Key::Alone(key));
        }
    }

    /// The request that is due for an incoming one at the next friend, if it was collected while it
    /// had no partner.
    pub(crate) fn take_alone(&mut self, at: &Place, next: PublicKey) -> Option<KeptCollect> {
        if self.state.alone.is_empty() {
            return None;
        }
        let key = (next, at.currency.clone(), self.hop_id(at));
        let kept = self.state.alone.get(&key)?;
        let request = &self.pending(at, Side::Remote)?.request;
        if !opens(request, self.local, &kept.collected) {
            return None;
        }
        let kept = self.state.alone.remove(&key);
        self.dirty.mark(Key::Alone(key));
        kept
    }
}

/// Whether the locks and the response of `proof` are those of a request that `receiver` received,
/// in the currency of the proof.
pub(crate) fn opens(request: &Request, receiver: PublicKey, proof: &Collected) -> bool {
    let response = proof.response();
    proof.src_plain_lock.opens(&request.src_hashed_lock)
        && proof.dest_plain_lock.opens(&proof.dest_hashed_lock)
        && ResponseTerms::of(request, &response, &proof.currency)
            .verify(&request.destination(receiver), &response.signature)
}

/// Whether a pending request was collected with these locks. One that was answered can only be
/// collected as it was answered.
pub(crate) fn proves(row: &Pending, receiver: PublicKey, proof: &Collected) -> bool {
    let answered = row.response.as_ref();
    answered.is_none_or(|response| response.dest_hashed_lock == proof.dest_hashed_lock)
        && opens(&row.request, receiver, proof)
}
