//! What a route costs by the search is what the nodes on it charge: random networks of real funders
//! pay over the routes that are found in a graph of the lines they report.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../funder/tests/support/mod.rs"]
mod support;

use offset_crypto::SeededRng;
use offset_index_server::{
    graph::Graph,
    search::{Scratch, Work, multi_routes},
};
use offset_proto::{
    Credits,
    app::{PayRequest, PaymentStatus, PaymentTarget},
    index::{MultiRoute, RouteQuery},
};
use support::{Net, credit};

const WORK: Work = Work { single: 100_000, split: 100_000 };

/// The first answer of the search for the lines that all nodes report.
fn route(net: &Net, query: &RouteQuery) -> Vec<MultiRoute> {
    let mut graph = Graph::default();
    for node in &net.nodes {
        for ((friend, currency), line) in &node.lines {
            graph.set_line(node.identity.public_key(), *friend, currency, *line);
        }
    }
    let Some(graph) = graph.currency(&query.currency) else { return Vec::new() };
    let ways = multi_routes(&mut Scratch::default(), graph, query, WORK);
    assert!(!ways.cut_short);
    let first = ways.multi_routes.into_iter().next();
    let dated = first.map(|routes| {
        let total_fee = Credits(routes.iter().map(|route| route.fee.0).sum());
        MultiRoute { routes, total_fee, age_ms: 0 }
    });
    dated.into_iter().collect()
}

/// A network of a ring and some lines across it, with limits and rates of all kinds.
fn random_net(seed: u64, dice: &mut SeededRng) -> Net {
    let nodes = usize::try_from(4 + dice.below(4)).unwrap();
    let mut net = Net::new(nodes, seed);
    net.router = Some(route);
    for one in 0..nodes {
        for other in one + 1..nodes {
            let on_ring = other == one + 1 || (one, other) == (0, nodes - 1);
            if on_ring || dice.below(4) == 0 {
                net.befriend(one, other, u128::from(50 + dice.below(2_000)));
                for (node, friend) in [(one, other), (other, one)] {
                    if dice.below(3) != 0 {
                        let ppm =
                            [0, 1, 1_000, 40_000, 300_000][usize::try_from(dice.below(5)).unwrap()];
                        net.set_rate(node, friend, ppm, dice.below(4));
                    }
                }
            }
        }
    }
    net.settle();
    net
}

#[test]
fn a_route_costs_what_the_nodes_charge() {
    let (mut paid, mut with_fees, mut several, mut without_way) = (0, 0, 0, 0);
    for seed in 0..80 {
        let mut dice = SeededRng::new(seed);
        let mut net = random_net(seed, &mut dice);
        for _ in 0..8 {
            // What is reported of lines changes with some delay.
            net.pass(60_000);
            net.settle();
            let mut pick = |bound: usize| usize::try_from(dice.below(bound as u64)).unwrap();
            let buyer = pick(net.nodes.len());
            let seller = (buyer + 1 + pick(net.nodes.len() - 1)) % net.nodes.len();
            let amount = 1 + pick(900) as u128;
            // A node uses a line of its own to the seller first, whatever the index server says.
            if net.nodes[buyer].lines.contains_key(&(net.key(seller), credit())) {
                continue;
            }
            let query = RouteQuery {
                currency: credit(),
                amount: Credits(amount),
                source: net.key(buyer),
                destination: net.key(seller),
                exclude: vec![],
                max_parts: 16,
            };
            let found = route(&net, &query).into_iter().next();
            let totals: Vec<i128> = (0..net.nodes.len()).map(|node| net.total(node)).collect();
            let destination = net.key(seller);
            let target =
                PaymentTarget::Spontaneous { destination, amount: Credits(amount), currency: None };
            let request = net.pay_request(target);
            let id = net.pay(
                buyer,
                PayRequest { max_fee: Some(Credits(10_000)), max_parts: Some(16), ..request },
            );
            let status = net.outcome(buyer, id);
            net.settle();
            let gained: Vec<i128> =
                (0..net.nodes.len()).map(|node| net.total(node) - totals[node]).collect();
            let Some(found) = found else {
                assert!(!matches!(status, PaymentStatus::Succeeded { .. }), "seed {seed}");
                assert!(gained.iter().all(|gained| *gained == 0), "seed {seed}");
                without_way += 1;
                continue;
            };
            assert!(matches!(status, PaymentStatus::Succeeded { .. }), "seed {seed}: {status:?}");
            let mut expected = vec![0; net.nodes.len()];
            for route in &found.routes {
                expected[buyer] -= i128::try_from(route.amount.0 + route.fee.0).unwrap();
                expected[seller] += i128::try_from(route.amount.0).unwrap();
                for keys in route.keys.windows(2).take(route.keys.len() - 2) {
                    let [from, mediator] = [keys[0], keys[1]].map(|key| net.index_of(key));
                    let rate = net.nodes[mediator].lines[&(net.key(from), credit())].rate;
                    let fee = rate.fee(route.amount).unwrap();
                    expected[mediator] += i128::try_from(fee.0).unwrap();
                }
            }
            assert_eq!(gained, expected, "seed {seed}: {found:?}");
            paid += 1;
            with_fees += usize::from(found.total_fee != Credits::ZERO);
            several += usize::from(1 < found.routes.len());
        }
    }
    println!(
        "{paid} paid, {with_fees} with fees, {several} over several, {without_way} without way"
    );
    assert!(100 < paid && 40 < with_fees && 5 < several && 5 < without_way);
}
