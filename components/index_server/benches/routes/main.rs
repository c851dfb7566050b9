//! What searching costs, beside simpler and exact methods on the same questions.
//!
//! `OFFSET_GRAPHS=folder cargo bench -p offset-index-server --bench routes -- [name ...] [only=PART]`
//!
//! Reads every graph of the folder (`from,to,capacity,base_fee,ppm` a line) and generates others;
//! with names, only those whose name begins with one of them (`signatures` measures how fast these
//! are checked). Times are processor time of the one thread that works, unless another is named.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]
#![allow(clippy::cast_precision_loss, reason = "figures are printed with two digits")]

mod live;
mod net;
mod rivals;
mod state;

use std::time::Duration;

use offset_index_server::{
    graph::CurrencyGraph,
    search::{Scratch, Work, cheapest_route, multi_routes},
};
use offset_proto::{Credits, Currency, index::RouteQuery};
use petgraph::Direction;
use rustix::time::{ClockId, clock_gettime};

use net::{Dice, Net};
use rivals::{Flows, Maps, Petgraph};

/// On larger graphs the flow of least cost is not computed: it takes minutes.
const MOST_FOR_LEAST_COST: usize = 500_000;
/// Of so many edges together the least costs are computed.
const COMPARED_EDGES: usize = 6_000_000;
/// As many parts as a payment can have.
const PARTS_AT_MOST: u64 = 16;
/// As the server's defaults.
const WORK: Work = Work { single: 200_000, split: 800_000 };

/// What is measured of every graph.
const PARTS: [&str; 4] = ["one", "several", "live", "state"];

fn main() {
    let arguments = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let (only, wanted): (Vec<String>, Vec<String>) =
        arguments.partition(|arg| arg.starts_with("only="));
    let parts = only.iter().filter_map(|arg| arg.strip_prefix("only=")).collect::<Vec<_>>();
    let parts = if parts.is_empty() { PARTS.to_vec() } else { parts };
    let is_wanted = |name: &str| {
        wanted.is_empty() || wanted.iter().any(|wanted| name.starts_with(wanted.as_str()))
    };
    if is_wanted("signatures") {
        live::signatures();
    }
    for path in Net::files() {
        if is_wanted(&path.file_stem().unwrap().to_string_lossy()) {
            measure(&Net::read(&path), &parts);
        }
    }
    for nodes in [10_000, 100_000, 1_000_000] {
        if is_wanted(&format!("generated-{}k", nodes / 1_000)) {
            measure(&Net::generated(nodes), &parts);
        }
    }
}

fn measure(net: &Net, parts: &[&str]) {
    println!("{}: {} nodes, {} directed edges", net.name, net.nodes, net.edges.len());
    if parts.contains(&"state") {
        // First, while no memory was used and given back.
        state::measure(net);
    }
    if parts == ["state"] {
        return;
    }
    let began = cpu();
    let graph = net.graph();
    let built = cpu() - began;
    let one = graph.currency(&Currency::fallback()).unwrap();
    let (memory, edges) = (one.memory(), one.edge_count());
    println!(
        "  built line by line in {built:.2?}; {:.1} bytes a directed edge, {:.1} a node",
        memory.lines as f64 / edges as f64,
        memory.nodes as f64 / one.node_count() as f64,
    );
    let petgraph = Petgraph::new(net);
    let questions = questions(net, &petgraph, 2_000, 7);
    if parts.contains(&"one") {
        one_route(net, one, petgraph, &questions);
    } else {
        drop(petgraph);
    }
    if parts.contains(&"several") {
        several_routes(net, one);
    }
    if parts.contains(&"live") {
        live::measure(net, &questions, graph);
    }
}

struct Question {
    source: u32,
    destination: u32,
    amount: u64,
}

impl Question {
    fn query(&self, net: &Net, max_parts: u8) -> RouteQuery {
        RouteQuery {
            currency: Currency::fallback(),
            amount: Credits(self.amount.into()),
            source: net.keys[self.source as usize],
            destination: net.keys[self.destination as usize],
            exclude: vec![],
            max_parts,
        }
    }
}

/// Pairs of nodes of which one can send and the other receive.
fn questions(net: &Net, connected: &Petgraph, count: usize, seed: u64) -> Vec<Question> {
    let mut dice = Dice(seed);
    let most = net.median_capacity();
    let mut questions = Vec::new();
    while questions.len() < count {
        let [source, destination] = [(); 2].map(|()| u32::try_from(dice.below(net.nodes)).unwrap());
        let amount = dice.amount(most);
        if source != destination
            && connected.is_connected(source, Direction::Outgoing)
            && connected.is_connected(destination, Direction::Incoming)
        {
            questions.push(Question { source, destination, amount });
        }
    }
    questions
}

fn one_route(net: &Net, graph: &CurrencyGraph, petgraph: Petgraph, questions: &[Question]) {
    let mut scratch = Scratch::default();
    let mut ask = |question: &Question| {
        let query = question.query(net, 1);
        timed(|| cheapest_route(&mut scratch, graph, &query, WORK.single))
    };
    questions.iter().take(200).for_each(|question| drop(ask(question)));
    let (mut times, mut fees, mut cut) = (Vec::new(), Vec::new(), 0);
    for question in questions {
        let (found, time) = ask(question);
        times.push(time);
        cut += usize::from(found.cut_short);
        fees.push(found.route.map(|route| route.fee.0));
    }
    let found = fees.iter().flatten().count();
    let rate = questions.len() as f64 / times.iter().sum::<Duration>().as_secs_f64();
    println!("  one route: {rate:.0} a second, {}", spread(&times));
    println!("    {found} of {} found, {cut} cut short", questions.len());
    let few = (4_000_000 / net.edges.len()).clamp(10, 500);
    let ours: Duration = times[..few].iter().sum();
    let flows = Flows::new(net);
    let mut different = 0;
    for (question, fee) in questions.iter().zip(&fees).take(4 * few) {
        let Question { source, destination, amount } = *question;
        let exact = flows.cheapest(source, destination, amount, &net.edges);
        different += usize::from(exact.map(u128::from) != *fee);
    }
    println!("    against an exact search: {different} of {} differ", (4 * few).min(2_000));
    let against = |name: &str, times: &[Duration]| {
        let theirs: Duration = times.iter().sum();
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        println!("    {name}: {}, {ratio:.1} times ours", spread(times));
    };
    let some = &questions[..few];
    let times: Vec<Duration> = some
        .iter()
        .map(|q| timed(|| petgraph.cheapest(q.source, q.destination, q.amount)).1)
        .collect();
    against("Dijkstra of petgraph", &times);
    drop(petgraph);
    let maps = Maps::new(net);
    let key = |node: u32| net.keys[node as usize];
    let times: Vec<Duration> = some
        .iter()
        .map(|q| timed(|| maps.shortest(key(q.source), key(q.destination), q.amount)).1)
        .collect();
    against("breadth first over maps of keys", &times);
}

/// Amounts that no single route carries.
fn several_routes(net: &Net, graph: &CurrencyGraph) {
    let petgraph = Petgraph::new(net);
    let count = (40_000_000 / net.edges.len()).clamp(10, 600);
    let pairs = questions(net, &petgraph, count, 11);
    drop(petgraph);
    let flows = Flows::new(net);
    let widths: Vec<u64> = pairs.iter().map(|q| flows.widest(q.source, q.destination)).collect();
    let mut scratch = Scratch::default();
    for percent in [120, 200, 400] {
        let (mut times, mut possible, mut found, mut parts, mut cut) = (Vec::new(), 0, 0, 0, 0);
        let (mut fees, mut least, mut flow, mut compared, mut beyond) = (0, 0, 0, 0, 0);
        let mut ratios = Vec::new();
        let (mut flow_times, mut cost_times) = (Vec::new(), Vec::new());
        for (pair, width) in pairs.iter().zip(&widths) {
            let amount = width.saturating_mul(percent) / 100;
            let question = Question { amount, ..*pair };
            let (most, time) = timed(|| flows.most(question.source, question.destination, amount));
            if amount == 0 || most < amount {
                continue;
            }
            flow_times.push(time);
            possible += 1;
            let query = question.query(net, 16);
            let (ways, time) = timed(|| multi_routes(&mut scratch, graph, &query, WORK));
            times.push(time);
            cut += usize::from(ways.cut_short);
            let Some(way) = ways.multi_routes.first() else {
                let most =
                    flows.most_by_parts(question.source, question.destination, PARTS_AT_MOST);
                beyond += usize::from(most < amount);
                continue;
            };
            found += 1;
            parts += way.len();
            let comparisons = (COMPARED_EDGES / net.edges.len()).min(100);
            if compared < comparisons && net.edges.len() < MOST_FOR_LEAST_COST {
                compared += 1;
                let fee = way.iter().map(|route| route.fee.0).sum::<u128>();
                fees += fee;
                let ends = (question.source, question.destination);
                let (cost, time) =
                    timed(|| flows.least_cost_by_parts(ends, amount, *width, PARTS_AT_MOST));
                cost_times.push(time);
                let (cost_of_flow, bound) = cost.unwrap();
                (least, flow) = (least + bound, flow + cost_of_flow);
                ratios.push(fee as f64 / (bound as f64 / 1e9).max(1.0));
            }
        }
        if times.is_empty() {
            continue;
        }
        println!("  {percent} % of the widest route: {}", spread(&times));
        println!(
            "    {found} of {possible} that a maximum flow serves ({beyond} of the others need more \
             routes), {:.1} routes each, {cut} cut short",
            parts as f64 / f64::from(found.max(1)),
        );
        let [least, flow] = [least, flow].map(|cost: u128| cost as f64 / 1e9);
        if flow != 0.0 {
            ratios.sort_unstable_by(f64::total_cmp);
            println!(
                "    fees {:.4} times a bound of what {PARTS_AT_MOST} parts cost at least, the middle one \
                 {:.4} times; {:.4} times a flow of least cost over any number of paths",
                fees as f64 / least,
                ratios[ratios.len() / 2],
                fees as f64 / flow,
            );
        }
        println!(
            "    maximum flow: {}; five flows of least cost for the bound: {}",
            spread(&flow_times),
            spread(&cost_times)
        );
    }
}

/// The processor time that this thread has used.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = cpu();
    let result = std::hint::black_box(work());
    (result, cpu() - began)
}

fn spread(times: &[Duration]) -> String {
    if times.is_empty() {
        return "none".to_owned();
    }
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("median {:.1?}, p99 {:.1?}", at(50), at(99))
}
