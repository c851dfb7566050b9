//! One graph for many readers, while changes stream in and neither side waits for the other.
//!
//! There are two copies of the graph. Whoever searches takes the newest one and keeps it for as long
//! as the search lasts: nothing in it changes meanwhile. The one who feeds changes the other copy as
//! soon as no search has it any more, makes it the newest, and later brings the first one up to date
//! with the same changes ("left-right", Ramalhete and Correia, 2015). A copy that is no longer the
//! newest is left by its last search after at most the time of one search, and those are bounded.
//!
//! The price is memory for two graphs and every change made twice; both are small beside what the
//! directory keeps of the signed updates. A lock that readers share would make every search wait for
//! the longest one whenever there is a change.

use std::sync::{Arc, PoisonError, RwLock};

use crate::{directory::LineChange, graph::Graph};

/// The newest graph, for those who search. Clones see the same graph.
#[derive(Debug, Clone, Default)]
pub struct GraphView {
    /// Locked only to take or to exchange the pointer.
    newest: Arc<RwLock<Arc<Graph>>>,
}

impl GraphView {
    /// The graph as it is now; it stays as it is while it is kept. Not to be kept for longer than a
    /// search: changes wait for it.
    #[must_use]
    pub fn graph(&self) -> Arc<Graph> {
        // Nothing happens under this lock that could leave half of a pointer.
        Arc::clone(&self.newest.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn exchange(&self, graph: Arc<Graph>) -> Arc<Graph> {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut newest, graph)
    }
}

/// The side that brings changes in; there is one of a view.
#[derive(Debug, Default)]
pub struct GraphFeed {
    view: GraphView,
    other: Arc<Graph>,
    /// What the newest graph has and the other one lacks.
    lacking: Vec<LineChange>,
    /// What neither has yet.
    waiting: Vec<LineChange>,
}

impl GraphFeed {
    /// What those who search use.
    #[must_use]
    pub fn view(&self) -> GraphView {
        self.view.clone()
    }

    /// Begins with a graph that is there already, instead of the one so far. It is copied when the
    /// first change comes.
    pub fn begin_with(&mut self, graph: Graph) {
        self.other = Arc::new(graph);
        drop(self.view.exchange(Arc::clone(&self.other)));
        self.lacking.clear();
        self.waiting.clear();
    }

    /// Takes changes in, and shows them to new searches unless an old one is still busy.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = LineChange>) {
        self.waiting.extend(changes);
        self.publish();
    }

    /// Shows what waits to new searches, unless an old one is still busy.
    pub fn publish(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let newest = self.view.graph();
        if Arc::ptr_eq(&newest, &self.other) {
            self.other = Arc::new(Graph::clone(&newest));
        }
        drop(newest);
        let Some(other) = Arc::get_mut(&mut self.other) else { return };
        for change in self.lacking.iter().chain(&self.waiting) {
            other.apply(change);
        }
        self.lacking.clear();
        std::mem::swap(&mut self.lacking, &mut self.waiting);
        let other = std::mem::take(&mut self.other);
        self.other = self.view.exchange(other);
    }

    /// Whether changes wait for a search to end; [`GraphFeed::publish`] is to be called again soon.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::tests::{key, line};
    use offset_crypto::SeededRng;
    use offset_proto::Currency;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn change(node: u8, friend: u8, capacity: Option<u128>) -> LineChange {
        let line = capacity.map(|capacity| line(capacity, capacity, 0));
        LineChange { node: key(node), friend: key(friend), currency: Currency::fallback(), line }
    }

    #[test]
    fn a_graph_that_is_read_does_not_change() {
        let mut feed = GraphFeed::default();
        feed.apply([change(1, 2, Some(5)), change(2, 1, Some(5))]);
        let view = feed.view();
        let old = view.graph();
        feed.apply([change(3, 2, Some(5)), change(2, 3, Some(5))]);
        assert_eq!((old.edge_count(), view.graph().edge_count()), (2, 4));
        // The other copy is in use: changes wait, and nothing is lost.
        feed.apply([change(1, 2, None)]);
        feed.apply([change(1, 3, Some(5)), change(3, 1, Some(5))]);
        assert!(feed.is_behind());
        assert_eq!((old.edge_count(), view.graph().edge_count()), (2, 4));
        drop(old);
        feed.publish();
        assert!(!feed.is_behind());
        assert_eq!(view.graph().edge_count(), 4);
        view.graph().check_invariants();
    }

    fn edges(graph: &Graph) -> Vec<(u8, u8, u128)> {
        let Some(graph) = graph.currency(&Currency::fallback()) else { return vec![] };
        let pairs = (0..9).flat_map(|from| (0..9).map(move |to| (from, to)));
        let edge = |(from, to): (u8, u8)| {
            let (one, other) = graph.number(&key(from)).zip(graph.number(&key(to)))?;
            Some((from, to, graph.edge(one, other)?.capacity.0))
        };
        pairs.filter_map(edge).collect()
    }

    #[test]
    fn both_copies_become_what_was_said_last() {
        let mut rng = SeededRng::new(3);
        let (mut feed, mut alone) = (GraphFeed::default(), Graph::default());
        let view = feed.view();
        let mut readers = Vec::new();
        for _ in 0..2_000 {
            let mut pick = |bound| u8::try_from(rng.below(bound)).unwrap();
            let capacity = (pick(3) != 0).then(|| u128::from(pick(50)));
            let change = change(pick(9), pick(9), capacity);
            alone.apply(&change);
            feed.apply([change]);
            if pick(4) == 0 {
                readers.push(view.graph());
            }
            if pick(6) == 0 {
                readers.clear();
            }
        }
        readers.clear();
        feed.publish();
        for _ in 0..2 {
            let graph = view.graph();
            graph.check_invariants();
            assert_eq!(edges(&graph), edges(&alone));
            drop(graph);
            // The other copy is shown.
            feed.apply([change(1, 1, None)]);
        }
    }

    /// Every line is changed together with another one: no reader may see only one of both.
    #[test]
    fn readers_see_all_of_a_batch_or_nothing() {
        let mut feed = GraphFeed::default();
        let view = feed.view();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut seen = 0;
                    while !done.load(Ordering::Relaxed) {
                        let edges = view.graph().edge_count();
                        assert!(edges == 0 || edges == 4, "{edges}");
                        seen += edges;
                    }
                    seen
                })
            });
            for round in 0..2_000 {
                let capacity = (round % 2 == 0).then_some(7);
                let ends = [(1, 2), (2, 1), (3, 4), (4, 3)];
                feed.apply(ends.map(|(node, friend)| change(node, friend, capacity)));
                std::thread::yield_now();
            }
            done.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.join().unwrap();
            }
        });
        while feed.is_behind() {
            feed.publish();
        }
        assert_eq!(view.graph().edge_count(), 0);
    }
}
