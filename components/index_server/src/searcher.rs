//! Route searches beside the owner of the graph.
//!
//! One search may look at 200,000 edges, some tens of milliseconds in which an owner that searched
//! by itself would take no update. So searches run on the threads for blocking work and read the
//! graph under a lock that the owner takes for writing. The owner then waits at most for the
//! searches in hand, and those are few and bounded. The waiting ones are bounded too, and what has
//! waited too long is refused, so that a flood of requests costs the newest ones and nothing else.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};

use offset_crypto::PublicKey;
use offset_proto::index::{RouteQuery, RouteRequestId};
use tokio::task::JoinSet;

use crate::{
    directory::LineChange,
    graph::Graph,
    limits::SearchLimits,
    search::{Found, cheapest_route},
};

/// The graph behind its lock.
#[derive(Debug, Default, Clone)]
pub(crate) struct SharedGraph(Arc<RwLock<Graph>>);

impl SharedGraph {
    /// Applies what the directory says.
    pub(crate) fn apply(&self, changes: Vec<LineChange>) {
        if changes.is_empty() {
            return;
        }
        let mut graph = self.write();
        for LineChange { node, friend, currency, line } in changes {
            match line {
                Some(line) => graph.set_line(node, friend, &currency, line),
                None => graph.remove_line(node, friend, &currency),
            }
        }
    }

    // A search that panicked changed nothing, so a poisoned lock is as good as any.
    fn write(&self) -> RwLockWriteGuard<'_, Graph> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Graph> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asked, and how the answer is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) key: PublicKey,
    pub(crate) session: u64,
    pub(crate) request_id: RouteRequestId,
}

/// A search that has ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) asker: Asker,
    /// `None` when it waited too long to be worth doing.
    pub(crate) found: Option<Found>,
}

/// Runs searches, a few at a time.
#[derive(Debug)]
pub(crate) struct Searcher {
    limits: SearchLimits,
    graph: SharedGraph,
    waiting: VecDeque<(Asker, RouteQuery, Instant)>,
    running: JoinSet<Answer>,
}

impl Searcher {
    pub(crate) fn new(limits: SearchLimits, graph: SharedGraph) -> Self {
        Self { limits, graph, waiting: VecDeque::new(), running: JoinSet::new() }
    }

    /// Takes a search on; `false` when too many wait.
    #[must_use]
    pub(crate) fn ask(&mut self, asker: Asker, query: RouteQuery) -> bool {
        if self.limits.waiting <= self.waiting.len() {
            return false;
        }
        self.waiting.push_back((asker, query, Instant::now()));
        self.start();
        true
    }

    /// The next answer; never when nothing was asked. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Answer {
        loop {
            match self.running.join_next().await {
                Some(Ok(answer)) => {
                    self.start();
                    return answer;
                }
                // The runtime is shutting down, or a search panicked, which is logged there.
                Some(Err(_)) => self.start(),
                None => std::future::pending().await,
            }
        }
    }

    fn start(&mut self) {
        while self.running.len() < self.limits.at_once {
            let Some((asker, query, asked_at)) = self.waiting.pop_front() else { return };
            let (graph, max_edges) = (self.graph.clone(), self.limits.max_edges);
            let stale = self.limits.patience <= asked_at.elapsed();
            self.running.spawn_blocking(move || {
                let search = || {
                    let graph = graph.read();
                    let currency = graph.currency(&query.currency);
                    currency.map(|currency| cheapest_route(currency, &query, max_edges))
                };
                let found = (!stale).then(|| search().unwrap_or_default());
                Answer { asker, found }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::{key, line};
    use offset_proto::{Credits, Currency};
    use std::time::Duration;

    fn query() -> RouteQuery {
        RouteQuery {
            currency: Currency::fallback(),
            amount: Credits(5),
            source: key(1),
            destination: key(2),
            exclude: vec![],
            max_parts: 1,
        }
    }

    fn asker(n: u64) -> Asker {
        Asker { key: key(1), session: 1, request_id: RouteRequestId(n) }
    }

    #[tokio::test]
    async fn every_search_that_was_taken_on_is_answered() {
        let graph = SharedGraph::default();
        let change = |node, friend| LineChange {
            node: key(node),
            friend: key(friend),
            currency: Currency::fallback(),
            line: Some(line(10, 10, 0)),
        };
        graph.apply(vec![change(1, 2), change(2, 1)]);
        let limits = SearchLimits { waiting: 5, at_once: 2, ..SearchLimits::default() };
        let mut searcher = Searcher::new(limits, graph);
        let taken: Vec<u64> = (0..20).filter(|n| searcher.ask(asker(*n), query())).collect();
        assert!((5..20).contains(&taken.len()), "{taken:?}");
        let mut answered = Vec::new();
        for _ in &taken {
            let answer = searcher.next().await;
            assert_eq!(answer.found.unwrap().route.unwrap().keys, [key(1), key(2)]);
            answered.push(answer.asker.request_id.0);
        }
        answered.sort_unstable();
        assert_eq!(answered, taken);
    }

    #[tokio::test]
    async fn what_waited_too_long_is_not_searched() {
        let limits = SearchLimits { patience: Duration::ZERO, ..SearchLimits::default() };
        let mut searcher = Searcher::new(limits, SharedGraph::default());
        assert!(searcher.ask(asker(1), query()));
        assert!(searcher.next().await.found.is_none());
    }
}
