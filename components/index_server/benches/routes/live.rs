//! Changes that stream in, alone and beside searches, and searches on several cores.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use offset_crypto::{Identity, PublicKey, Seed};
use offset_index_server::{
    directory::{LineChange, VerifiedUpdate},
    graph::Graph,
    search::{Scratch, cheapest_route},
    view::{GraphFeed, GraphView},
};
use offset_proto::{
    Credits, Currency, Timestamp,
    index::{IndexLine, UpdateBody, UpdateKind, UpdateMutation},
};

use crate::{
    Question, WORK, cpu,
    net::{Dice, Net},
};

/// So many changes a second stream in beside searches.
const PACE: usize = 5_000;

pub(crate) fn measure(net: &Net, questions: &[Question], graph: Graph) {
    let currency = Currency::fallback();
    let mut reports = Vec::with_capacity(net.edges.len());
    net.report(|node, friend, line| reports.push((node, friend, line)));
    let mut dice = Dice(3);
    let mut change = || {
        let (node, friend, line) = reports[dice.below(reports.len())];
        let capacity = Credits((line.send_capacity.0 / 2) + u128::from(dice.next() % 1_000));
        let line = Some(IndexLine { send_capacity: capacity, ..line });
        LineChange { node, friend, currency: currency.clone(), line }
    };
    let changes: Vec<LineChange> = (0..500_000).map(|_| change()).collect();
    let mut graph = graph;
    let began = cpu();
    changes.iter().for_each(|change| graph.apply(change));
    println!("  {:.0} changes of a line a second", per_second(changes.len(), cpu() - began));

    let mut feed = GraphFeed::default();
    feed.begin_with(graph);
    let view = feed.view();
    beside_searches(net, questions, &mut feed, &changes);
    let alone = rate(net, questions, &view);
    let two = thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| rate(net, questions, &view)));
        both.map(|one| one.join().unwrap())
    });
    println!(
        "  two threads that search: {:.0} and {:.0} a second, one alone {alone:.0}",
        two[0], two[1]
    );
}

/// How many questions a second of its processor time a thread answers.
fn rate(net: &Net, questions: &[Question], view: &GraphView) -> f64 {
    let mut scratch = Scratch::default();
    let (mut count, began) = (0, Instant::now());
    let mut spent = Duration::ZERO;
    while began.elapsed() < Duration::from_millis(1_500) {
        for question in questions.iter().take(500) {
            let query = question.query(net, 1);
            let before = cpu();
            let graph = view.graph();
            let graph = graph.currency(&query.currency).unwrap();
            std::hint::black_box(cheapest_route(&mut scratch, graph, &query, WORK.single));
            spent += cpu() - before;
            count += 1;
        }
    }
    per_second(count, spent)
}

/// Searches while changes stream in at a pace, or as fast as they are taken.
fn beside_searches(
    net: &Net,
    questions: &[Question],
    feed: &mut GraphFeed,
    changes: &[LineChange],
) {
    let view = feed.view();
    let (mut alone, mut beside) = (0.0, 0.0);
    // In turns, as the machine may be slower at one time than at another.
    for _ in 0..3 {
        alone += rate(net, questions, &view) / 3.0;
        let mut next = changes.iter().cycle();
        let stop = AtomicBool::new(false);
        beside += thread::scope(|scope| {
            let feeding = scope.spawn(|| {
                let (began, mut fed) = (Instant::now(), 0);
                while !stop.load(Ordering::Relaxed) {
                    let due = usize::try_from(began.elapsed().as_millis()).unwrap() * PACE / 1_000;
                    feed.apply(next.by_ref().take(due - fed).cloned());
                    fed = due;
                    thread::sleep(Duration::from_millis(5));
                }
            });
            let rate = rate(net, questions, &view);
            stop.store(true, Ordering::Relaxed);
            feeding.join().unwrap();
            rate
        }) / 3.0;
    }
    println!(
        "  beside {PACE} changes a second a search takes {:+.1} % of processor time",
        (alone / beside - 1.0) * 100.0
    );
    let stop = AtomicBool::new(false);
    let fed = AtomicU64::new(0);
    let (spent, searched) = thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            let began = cpu();
            for batch in changes.chunks(1_000).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                feed.apply(batch.iter().cloned());
                fed.fetch_add(batch.len() as u64, Ordering::Relaxed);
                // As the owner, which looks again soon when a search is in the way.
                while feed.is_behind() && !stop.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_micros(200));
                    feed.publish();
                }
            }
            cpu() - began
        });
        let searched = rate(net, questions, &view);
        stop.store(true, Ordering::Relaxed);
        (feeding.join().unwrap(), searched)
    });
    println!(
        "  beside searches {:.0} changes a second of processor time are taken into both copies; \
         {searched:.0} searches a second beside them",
        per_second(usize::try_from(fed.load(Ordering::Relaxed)).unwrap(), spent)
    );
}

fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.max(Duration::from_nanos(1)).as_secs_f64()
}

/// How many updates a second one core finds to be signed by their nodes.
pub(crate) fn signatures() {
    let identities: Vec<Identity> =
        (0..100).map(|n| Identity::from_seed(Seed::from_bytes([n; 32]))).collect();
    let line = IndexLine { send_capacity: Credits(5), ..IndexLine::default() };
    let friend = identities[0].public_key();
    let set = UpdateMutation::Set { friend, currency: Currency::fallback(), line };
    let update = |node: PublicKey, counter, mutations| UpdateBody {
        node,
        home_server: node,
        epoch: 1,
        counter,
        time: Timestamp(1),
        kind: UpdateKind::Delta(vec![set.clone(); mutations]),
    };
    for mutations in [1, 10] {
        let updates: Vec<_> = (0..10_000)
            .map(|n| {
                let identity = &identities[n % identities.len()];
                update(identity.public_key(), n as u64, mutations).sign(identity)
            })
            .collect();
        let count = updates.len();
        let began = cpu();
        for update in updates {
            assert!(VerifiedUpdate::check(update).is_some());
        }
        println!(
            "{:.0} updates a second of {mutations} lines are checked by a core",
            per_second(count, cpu() - began)
        );
    }
}
