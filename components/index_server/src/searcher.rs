//! Route searches beside the owner of the graph.
//!
//! The searches for one answer may look at a million edges, some tens of milliseconds in which an
//! owner that searched by itself would take no update. So searches run on the threads for blocking
//! work, as many at a time as there are cores, each on the newest graph ([`crate::view`]) and with
//! memory that was used before. The waiting ones are bounded, and what has waited too long is
//! refused. Those who ask take turns, and when too many requests wait, the newest
//! of whoever has most is refused: a flood costs the one it comes from.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use offset_crypto::PublicKey;
use offset_proto::index::{CycleQuery, RouteQuery, RouteRequestId};
use tokio::task::JoinSet;

use crate::{
    graph::Graph,
    limits::SearchLimits,
    search::{Cycles, Scratch, Ways, Work, cycles, multi_routes},
    view::GraphView,
};

/// Who asked, and how the answer is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) key: PublicKey,
    pub(crate) session: u64,
    pub(crate) request_id: RouteRequestId,
}

/// Those among whom the searches are shared: keys cost nothing, so wherever there is an address it is
/// that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Address(IpAddr),
    Key(PublicKey),
}

/// What a node asks.
#[derive(Debug)]
pub(crate) enum Question {
    Routes(RouteQuery),
    Cycles(CycleQuery),
}

/// What was found for a question.
#[derive(Debug)]
pub(crate) enum Found {
    Routes(Ways),
    Cycles(Cycles),
}

impl Question {
    fn search(&self, scratch: &mut Scratch, graph: &Graph, limits: &SearchLimits) -> Found {
        match self {
            Self::Routes(query) => {
                let work = Work { single: limits.max_edges, split: limits.max_split_edges };
                let graph = graph.currency(&query.currency);
                let ways = graph.map(|graph| multi_routes(scratch, graph, query, work));
                Found::Routes(ways.unwrap_or_default())
            }
            Self::Cycles(query) => {
                let graph = graph.currency(&query.currency);
                let found =
                    graph.map(|graph| cycles(scratch, graph, query, limits.max_split_edges));
                Found::Cycles(found.unwrap_or_default())
            }
        }
    }
}

/// A search that has ended.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) asker: Asker,
    /// `None` when it waited too long to be worth doing.
    pub(crate) found: Option<Found>,
    /// When it was asked.
    pub(crate) asked_at: Instant,
    /// How long the search itself took.
    pub(crate) searched_for: Duration,
    /// How many edges it looked at.
    pub(crate) edges: usize,
}

/// Runs searches, a few at a time.
#[derive(Debug)]
pub(crate) struct Searcher {
    limits: SearchLimits,
    graph: GraphView,
    /// One for each search at a time, when it is not in use.
    scratches: Arc<Mutex<Vec<Scratch>>>,
    /// Never holds an empty queue.
    waiting: BTreeMap<Party, VecDeque<Waiting>>,
    /// How many wait in all.
    count: usize,
    /// Those who wait, each once, in the order of their turns.
    turns: VecDeque<Party>,
    running: JoinSet<Answer>,
}

#[derive(Debug)]
struct Waiting {
    asker: Asker,
    question: Question,
    asked_at: Instant,
}

impl Searcher {
    pub(crate) fn new(limits: SearchLimits, graph: GraphView) -> Self {
        Self {
            limits,
            graph,
            scratches: Arc::default(),
            waiting: BTreeMap::new(),
            count: 0,
            turns: VecDeque::new(),
            running: JoinSet::new(),
        }
    }

    /// Takes a search on. Gives the one that is to be refused for it when too many wait, which may
    /// be the same.
    #[must_use]
    pub(crate) fn ask(&mut self, party: Party, asker: Asker, question: Question) -> Option<Asker> {
        let queue = self.waiting.entry(party).or_default();
        if queue.is_empty() {
            self.turns.push_back(party);
        }
        queue.push_back(Waiting { asker, question, asked_at: Instant::now() });
        self.count += 1;
        self.start();
        if self.limits.waiting < self.count { self.refuse_one() } else { None }
    }

    /// How many wait for their turn.
    pub(crate) const fn waiting(&self) -> usize {
        self.count
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

    /// Takes out the newest request of the party that has most.
    fn refuse_one(&mut self) -> Option<Asker> {
        let (party, queue) = self.waiting.iter_mut().max_by_key(|(_, queue)| queue.len())?;
        let (party, refused) = (*party, queue.pop_back()?);
        self.count -= 1;
        if queue.is_empty() {
            self.waiting.remove(&party);
            self.turns.retain(|turn| *turn != party);
        }
        Some(refused.asker)
    }

    /// The oldest request of the party whose turn it is.
    fn take_turn(&mut self) -> Option<Waiting> {
        let party = self.turns.pop_front()?;
        let queue = self.waiting.get_mut(&party)?;
        let next = queue.pop_front()?;
        self.count -= 1;
        if queue.is_empty() {
            self.waiting.remove(&party);
        } else {
            self.turns.push_back(party);
        }
        Some(next)
    }

    fn start(&mut self) {
        while self.running.len() < self.limits.at_once {
            let Some(Waiting { asker, question, asked_at }) = self.take_turn() else { return };
            let (graph, limits) = (self.graph.clone(), self.limits.clone());
            let stale = limits.patience <= asked_at.elapsed();
            let scratches = Arc::clone(&self.scratches);
            self.running.spawn_blocking(move || {
                let (begin, mut edges) = (Instant::now(), 0);
                let found = (!stale).then(|| {
                    // No search runs under this lock, so it is as good after a panic.
                    let lock = || scratches.lock().unwrap_or_else(PoisonError::into_inner);
                    let mut scratch = lock().pop().unwrap_or_default();
                    let found = question.search(&mut scratch, &graph.graph(), &limits);
                    edges = scratch.take_looked_at();
                    lock().push(scratch);
                    found
                });
                Answer { asker, found, asked_at, searched_for: begin.elapsed(), edges }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        directory::LineChange,
        graph::tests::{key, line},
        view::GraphFeed,
    };
    use offset_proto::{Credits, Currency};

    fn question() -> Question {
        Question::Routes(RouteQuery {
            currency: Currency::fallback(),
            amount: Credits(5),
            source: key(1),
            destination: key(2),
            exclude: vec![],
            max_parts: 1,
        })
    }

    fn asker(n: u64) -> Asker {
        Asker { key: key(1), session: 1, request_id: RouteRequestId(n) }
    }

    const CROWD: Party = Party::Address(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn numbers(refused: impl IntoIterator<Item = Asker>) -> Vec<u64> {
        refused.into_iter().map(|asker| asker.request_id.0).collect()
    }

    #[tokio::test]
    async fn a_flood_costs_the_one_it_comes_from() {
        let limits = SearchLimits { waiting: 4, at_once: 1, ..SearchLimits::default() };
        let mut searcher = Searcher::new(limits, GraphView::default());
        let flood = (0..10).filter_map(|n| searcher.ask(CROWD, asker(n), question()));
        assert_eq!(numbers(flood), [5, 6, 7, 8, 9]);
        // Two others come in at the cost of the crowd, and are served before what is left of it.
        let other = |n| Party::Key(key(n));
        assert_eq!(numbers(searcher.ask(other(2), asker(20), question())), [4]);
        assert_eq!(numbers(searcher.ask(other(3), asker(30), question())), [3]);
        let mut answered = Vec::new();
        for _ in 0..5 {
            answered.push(searcher.next().await.asker.request_id.0);
        }
        assert_eq!(answered, [0, 1, 20, 30, 2]);
        assert!(searcher.turns.is_empty() && searcher.waiting.is_empty() && searcher.count == 0);
    }

    #[tokio::test]
    async fn every_search_that_was_taken_on_is_answered() {
        let mut feed = GraphFeed::default();
        let change = |node, friend| LineChange {
            node: key(node),
            friend: key(friend),
            currency: Currency::fallback(),
            line: Some(line(10, 10, 0)),
        };
        feed.apply([change(1, 2), change(2, 1)]);
        let limits = SearchLimits { waiting: 5, at_once: 2, ..SearchLimits::default() };
        let mut searcher = Searcher::new(limits, feed.view());
        let taken: Vec<u64> =
            (0..20).filter(|n| searcher.ask(CROWD, asker(*n), question()).is_none()).collect();
        assert!((5..20).contains(&taken.len()), "{taken:?}");
        let mut answered = Vec::new();
        for _ in &taken {
            let answer = searcher.next().await;
            let Some(Found::Routes(ways)) = answer.found else { panic!("{answer:?}") };
            assert_eq!(ways.multi_routes[0][0].keys, [key(1), key(2)]);
            answered.push(answer.asker.request_id.0);
        }
        answered.sort_unstable();
        assert_eq!(answered, taken);
    }

    #[tokio::test]
    async fn what_waited_too_long_is_not_searched() {
        let limits = SearchLimits { patience: Duration::ZERO, ..SearchLimits::default() };
        let mut searcher = Searcher::new(limits, GraphView::default());
        assert_eq!(searcher.ask(CROWD, asker(1), question()), None);
        assert!(searcher.next().await.found.is_none());
    }
}
