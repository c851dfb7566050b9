//! How soon a server knows again what it knew, from its file.

use std::{
    fs,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use offset_crypto::{Identity, Seed, Signature};
use offset_index_server::{
    directory::Directory,
    limits::DirectoryLimits,
    saved::{Encoder, PIECE, Saved, Seal, Secret},
    view::GraphFeed,
};
use offset_proto::{
    Currency, Timestamp,
    index::{SignedUpdate, UpdateBody, UpdateKind, UpdateMutation},
};
use rustix::time::{ClockId, clock_gettime};

use crate::{cpu, net::Net};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub(crate) fn measure(net: &Net) {
    let secret = Secret::of(&Identity::from_seed(Seed::from_bytes([1; 32])));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("known");
    let took = write(net, &secret, &path);
    let length = fs::metadata(&path).unwrap().len() as f64 / 1e6;
    println!("  a file of {length:.0} MB is packed in {took:.2?} of one core");

    let limits = DirectoryLimits {
        max_nodes: net.nodes,
        max_stored_bytes: usize::MAX,
        ..DirectoryLimits::default()
    };
    let (began, spent) = (Instant::now(), all_threads());
    let bytes = fs::read(&path).unwrap();
    let read = began.elapsed();
    let saved = Arc::new(Saved::read(bytes, &secret).unwrap());
    let checked = began.elapsed();
    let (directory, graph) = Directory::load(limits, NOW, &saved).unwrap();
    drop(saved);
    let mut feed = GraphFeed::default();
    feed.begin_with(graph);
    let (done, spent) = (began.elapsed(), all_threads() - spent);
    println!(
        "  known again after {done:.2?} ({spent:.2?} of all cores): read {read:.2?}, checked \
         {:.2?}, laid out {:.2?}",
        checked - read,
        done - checked,
    );
    let graph = feed.view().graph();
    let one = graph.currency(&Currency::fallback()).unwrap();
    let (memory, edges) = (one.memory(), one.edge_count());
    println!(
        "  laid out: {:.1} bytes a directed edge, {:.1} a node: {:.0} MB for each of two copies, beside \
         the file with {} nodes",
        memory.lines as f64 / edges as f64,
        memory.nodes as f64 / one.node_count() as f64,
        (memory.lines + memory.nodes) as f64 / 1e6,
        directory.node_count(),
    );
}

/// Writes the file as a server would, and gives the processor time of packing and hashing it. What
/// it says is not signed, as nobody looks at signatures when it is read.
fn write(net: &Net, secret: &Secret, path: &std::path::Path) -> Duration {
    let home_server = net.keys[0];
    let mut order: Vec<usize> = (0..net.nodes).collect();
    order.sort_unstable_by_key(|node| net.keys[*node]);
    let mut said = vec![Vec::new(); net.nodes];
    net.report_by_number(|node, friend, line| said[node as usize].push((friend, line)));
    let (mut encoder, mut seal) = (Encoder::default(), Seal::default());
    let mut file = fs::File::create(path).unwrap();
    let (mut waiting, mut spent) = (Vec::new(), Duration::ZERO);
    for node in order {
        let (key, lines) = (net.keys[node], std::mem::take(&mut said[node]));
        let sets: Vec<UpdateMutation> = lines
            .into_iter()
            .map(|(friend, line)| {
                let friend = net.keys[friend as usize];
                UpdateMutation::Set { friend, currency: Currency::fallback(), line }
            })
            .collect();
        let body = UpdateBody {
            node: key,
            home_server,
            epoch: 1,
            counter: 1,
            time: NOW,
            kind: UpdateKind::Snapshot(sets),
        };
        let update = SignedUpdate { body, signature: Signature::from_bytes([0; 64]) };
        let began = cpu();
        encoder.node(&key, NOW, std::iter::once(&update));
        if PIECE <= encoder.waiting() {
            waiting.extend(encoder.take());
            for piece in waiting.chunks_exact(PIECE) {
                seal.piece(piece);
                file.write_all(piece).unwrap();
            }
            waiting.drain(..waiting.len() / PIECE * PIECE);
        }
        spent += cpu() - began;
    }
    let began = cpu();
    waiting.extend(encoder.finish());
    for piece in waiting.chunks(PIECE) {
        seal.piece(piece);
        file.write_all(piece).unwrap();
    }
    file.write_all(seal.finish(secret).as_bytes()).unwrap();
    spent + (cpu() - began)
}

/// The processor time of all threads so far.
fn all_threads() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
