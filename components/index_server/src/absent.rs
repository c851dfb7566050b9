//! Nodes that name this server as their home and are not connected: from before it started again.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use offset_crypto::PublicKey;
use tokio::time::Instant;

/// Those who may still come back. Each has a while for it; then it is said that they left.
#[derive(Debug, Default)]
pub(crate) struct Absent {
    /// In the order in which they are due.
    due: VecDeque<(Instant, PublicKey)>,
    nodes: BTreeSet<PublicKey>,
}

impl Absent {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn extend(&mut self, nodes: impl IntoIterator<Item = PublicKey>) {
        let at = Instant::now() + RETURN_TIME;
        let new = nodes.into_iter().filter(|node| self.nodes.insert(*node));
        self.due.extend(new.map(|node| (at, node)));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.front().map(|(at, _)| *at)
    }

    /// Takes out some of those whose time is over: a signature is to be made for each, so never for
    /// all at once.
    pub(crate) fn due(&mut self) -> Vec<PublicKey> {
        let now = Instant::now();
        let over = self.due.iter().take(AT_ONCE).take_while(|(at, _)| *at <= now).count();
        let due: Vec<PublicKey> = self.due.drain(..over).map(|(_, node)| node).collect();
        for node in &due {
            self.nodes.remove(node);
        }
        due
    }
}

/// So many are taken out at a time.
const AT_ONCE: usize = 256;
/// How long nodes that were at home here before a restart have to come back.
const RETURN_TIME: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::key;

    #[tokio::test(start_paused = true)]
    async fn each_is_due_once_after_a_while() {
        let mut absent = Absent::default();
        assert_eq!((absent.next(), absent.due()), (None, vec![]));
        absent.extend([key(1), key(2)]);
        tokio::time::advance(RETURN_TIME / 2).await;
        absent.extend([key(2), key(3)]);
        assert_eq!(absent.due(), []);
        tokio::time::advance(RETURN_TIME / 2).await;
        assert_eq!(absent.due(), [key(1), key(2)]);
        assert!(absent.next().is_some_and(|at| Instant::now() < at));
        absent.extend([key(1)]);
        tokio::time::advance(RETURN_TIME).await;
        assert_eq!(absent.due(), [key(3), key(1)]);
        assert_eq!(absent.next(), None);
    }
}
