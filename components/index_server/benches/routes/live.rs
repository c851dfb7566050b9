//! How fast changes are taken in.

use std::time::Duration;

use offset_index_server::graph::Graph;
use offset_proto::{Credits, Currency, index::IndexLine};

use crate::{
    cpu,
    net::{Dice, Net},
};

pub(crate) fn measure(net: &Net, graph: &mut Graph) {
    let mut reports = Vec::with_capacity(net.edges.len());
    net.report(|node, friend, line| reports.push((node, friend, line)));
    let (mut dice, currency) = (Dice(3), Currency::fallback());
    let changes: Vec<_> = (0..500_000)
        .map(|_| {
            let (node, friend, line) = reports[dice.below(reports.len())];
            let capacity = Credits((line.send_capacity.0 / 2) + u128::from(dice.next() % 1_000));
            (node, friend, IndexLine { send_capacity: capacity, ..line })
        })
        .collect();
    let began = cpu();
    for (node, friend, line) in &changes {
        graph.set_line(*node, *friend, &currency, *line);
    }
    let rate = changes.len() as f64 / (cpu() - began).max(Duration::from_nanos(1)).as_secs_f64();
    println!("  {rate:.0} changes of a line a second");
}
