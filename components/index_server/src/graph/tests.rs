//! Tests of the graph.

use super::*;
use offset_crypto::{Identity, Seed, SeededRng};
use std::sync::LazyLock;

/// The public key of a small number.
pub(crate) fn key(n: u8) -> PublicKey {
    static KEYS: LazyLock<Vec<PublicKey>> = LazyLock::new(|| {
        let seeds = (0..=u8::MAX).map(|n| Seed::from_bytes([n; 32]));
        seeds.map(|seed| Identity::from_seed(seed).public_key()).collect()
    });
    KEYS[usize::from(n)]
}

pub(crate) fn line(send: u128, recv: u128, add: u64) -> IndexLine {
    IndexLine {
        send_capacity: Credits(send),
        recv_capacity: Credits(recv),
        rate: Rate { ppm: 0, add },
    }
}

fn edge(graph: &Graph, from: u8, to: u8) -> Option<(u128, u64)> {
    let graph = graph.currency(&Currency::fallback())?;
    let (from, to) = graph.number(&key(from)).zip(graph.number(&key(to)))?;
    let edge = graph.edge(from, to)?;
    Some((edge.capacity.0, edge.rate.add))
}

#[test]
fn an_edge_needs_both_ends() {
    let credit = Currency::fallback();
    let mut graph = Graph::default();
    graph.set_line(key(1), key(2), &credit, line(10, 20, 1));
    assert_eq!((edge(&graph, 1, 2), edge(&graph, 2, 1)), (None, None));
    graph.set_line(key(2), key(1), &credit, line(15, 7, 2));
    assert_eq!((edge(&graph, 1, 2), edge(&graph, 2, 1)), (Some((7, 2)), Some((15, 1))));
    graph.set_line(key(1), key(2), &credit, line(3, 4, 5));
    assert_eq!((edge(&graph, 1, 2), edge(&graph, 2, 1)), (Some((3, 2)), Some((4, 5))));
    let other: Currency = "other".parse().unwrap();
    graph.remove_line(key(2), key(1), &other);
    assert_eq!(graph.edge_count(), 2);
    graph.remove_line(key(2), key(1), &credit);
    assert_eq!((edge(&graph, 1, 2), edge(&graph, 2, 1)), (None, None));
    graph.remove_line(key(1), key(2), &credit);
    assert!(graph.currency(&credit).is_none());
}

#[test]
fn a_line_with_oneself_is_nothing() {
    let mut graph = Graph::default();
    graph.set_line(key(1), key(1), &Currency::fallback(), line(10, 20, 1));
    graph.check_invariants();
    assert!(graph.currency(&Currency::fallback()).is_none());
}

#[test]
fn what_does_not_fit_into_64_bits_is_exact_too() {
    const MAX: u128 = u64::MAX as u128;
    for (send, receive) in [(MAX - 1, MAX), (MAX, MAX), (MAX + 5, MAX), (MAX + 5, u128::MAX)] {
        let (mut graph, credit) = (Graph::default(), Currency::fallback());
        graph.set_line(key(1), key(2), &credit, line(send, 7, u64::MAX));
        graph.set_line(key(2), key(1), &credit, line(u128::MAX, receive, 0));
        assert_eq!(edge(&graph, 1, 2), Some((send.min(receive), 0)));
        assert_eq!(edge(&graph, 2, 1), Some((7, u64::MAX)));
        graph.set_line(key(1), key(2), &credit, line(9, u128::MAX, 0));
        assert_eq!(edge(&graph, 1, 2), Some((9, 0)));
        assert_eq!(edge(&graph, 2, 1), Some((u128::MAX, 0)));
        for (node, friend) in [(1, 2), (2, 1)] {
            graph.remove_line(key(node), key(friend), &credit);
            graph.check_invariants();
        }
        assert!(graph.currency(&credit).is_none());
    }
}

/// What a graph must be like, as maps.
pub(crate) type Model = BTreeMap<(Currency, PublicKey, PublicKey), IndexLine>;

pub(crate) fn check_against(graph: &Graph, model: &Model) {
    graph.check_invariants();
    let mut edges = 0;
    for ((currency, from, to), line) in model {
        let graph = graph.currency(currency).unwrap();
        let (from_number, to_number) = graph.number(from).zip(graph.number(to)).unwrap();
        let edge = graph.edge(from_number, to_number);
        let expected = model.get(&(currency.clone(), *to, *from)).map(|other| Edge {
            capacity: line.send_capacity.min(other.recv_capacity),
            rate: other.rate,
        });
        assert_eq!(edge, expected);
        let by = |links: &[Link], peer| links.iter().find(|link| link.peer == peer).copied();
        let (out, into) = (graph.outward(from_number), graph.inward(to_number));
        let found = by(out, to_number).zip(by(into, from_number));
        assert_eq!(found.is_some(), expected.is_some());
        if let Some((out, into)) = found {
            let expected = edge.unwrap();
            assert_eq!((out.capacity, out.rate), (into.capacity, into.rate));
            assert_eq!(graph.capacity(from_number, to_number, out.capacity), expected.capacity);
            assert_eq!(graph.rate(out.rate), expected.rate);
            edges += 1;
        }
    }
    assert_eq!(graph.edge_count(), edges);
}

#[test]
fn random_updates_keep_the_arrays_right() {
    let keys: Vec<PublicKey> = (1..9).map(key).collect();
    let currencies: Vec<Currency> = ["a", "b"].map(|text| text.parse().unwrap()).into();
    for seed in 0..30 {
        let mut rng = SeededRng::new(seed);
        let mut pick = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap();
        let (mut graph, mut model) = (Graph::default(), Model::new());
        for step in 0..400 {
            let (node, friend) = (keys[pick(keys.len())], keys[pick(keys.len())]);
            let currency = currencies[pick(2)].clone();
            if pick(3) == 0 {
                graph.remove_line(node, friend, &currency);
                model.remove(&(currency, node, friend));
            } else if node != friend {
                let huge = if pick(8) == 0 { u128::from(u64::MAX) - 50 } else { 0 };
                let (send, recv) = (pick(100) as u128 + huge, pick(100) as u128 + huge);
                let line = line(send, recv, pick(3) as u64);
                graph.set_line(node, friend, &currency, line);
                model.insert((currency, node, friend), line);
            }
            if step % 7 == 0 {
                check_against(&graph, &model);
            }
        }
        check_against(&graph, &model);
        for (currency, node, friend) in model.keys() {
            graph.remove_line(*node, *friend, currency);
        }
        assert!(graph.currencies.is_empty(), "nothing is left behind, seed {seed}");
    }
}

#[test]
fn what_left_is_given_back() {
    let mut rng = SeededRng::new(1);
    let keys: Vec<PublicKey> =
        (0..2_000).map(|_| Identity::random(&mut rng).public_key()).collect();
    let (mut graph, credit) = (Graph::default(), Currency::fallback());
    let pairs: Vec<(PublicKey, PublicKey)> = (0..20_000)
        .map(|_| [(); 2].map(|()| keys[usize::try_from(rng.below(2_000)).unwrap()]))
        .map(|[one, other]| (one, other))
        .collect();
    for (one, other) in &pairs {
        graph.set_line(*one, *other, &credit, line(5, 5, 0));
        graph.set_line(*other, *one, &credit, line(5, 5, 0));
    }
    graph.check_invariants();
    let full = graph.currency(&credit).unwrap().memory().lines;
    for (one, other) in &pairs[500..] {
        graph.remove_line(*one, *other, &credit);
        graph.remove_line(*other, *one, &credit);
    }
    graph.check_invariants();
    let left = graph.currency(&credit).unwrap().memory().lines;
    assert!(left < full / 2, "{left} of {full} bytes");
}
