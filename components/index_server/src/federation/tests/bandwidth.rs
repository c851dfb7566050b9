//! What goes over a link, counted in messages and in bytes as they are encoded.

use super::*;
use offset_crypto::Identity;

/// Messages and bytes by link and direction.
type Traffic = BTreeMap<(usize, usize), (usize, usize)>;

/// Hands every message over at once, until nobody has any; counts them.
fn pump(world: &mut World) -> Traffic {
    let mut traffic = Traffic::new();
    loop {
        let mut silent = true;
        for (from, to) in world.links.keys().copied().collect::<Vec<_>>() {
            let (source, peer) = (world.servers[from].key, world.servers[to].key);
            let Server { directory, federation, .. } = &mut world.servers[from];
            let Some(message) = federation.next_message(directory, &peer) else { continue };
            silent = false;
            let bytes = IndexPeerMessage::encode(&Packet::Message(message.clone())).len();
            let sums = traffic.entry((from, to)).or_default();
            *sums = (sums.0 + 1, sums.1 + bytes);
            let input = PeerInput::check(message).unwrap();
            let Server { directory, federation, .. } = &mut world.servers[to];
            federation.handle_message(world.now, directory, &source, input).unwrap();
        }
        if silent {
            return traffic;
        }
    }
}

fn say(world: &mut World, node: &Identity, counter: u64, kind: UpdateKind) {
    let body = UpdateBody {
        node: node.public_key(),
        home_server: world.servers[0].key,
        epoch: 1,
        counter,
        time: world.now,
        kind,
    };
    let update = VerifiedUpdate::check(body.sign(node)).unwrap();
    let Server { directory, federation, .. } = &mut world.servers[0];
    let verdict = directory.handle_update(world.now, update, true);
    assert!(matches!(verdict, Verdict::Applied { .. }), "{verdict:?}");
    federation.updated(&node.public_key(), (1, counter), None);
}

fn set(friend: u8, amount: u128) -> UpdateMutation {
    UpdateMutation::Set {
        friend: key(friend),
        currency: Currency::fallback(),
        line: line(amount, amount, 1),
    }
}

/// Nodes of the first server, with ten lines each.
fn populate(world: &mut World, count: usize) -> Vec<Identity> {
    let mut rng = SeededRng::new(8);
    let nodes: Vec<Identity> = (0..count).map(|_| Identity::random(&mut rng)).collect();
    for node in &nodes {
        say(world, node, 1, UpdateKind::Snapshot((1..=10).map(|friend| set(friend, 7)).collect()));
    }
    nodes
}

fn world_of(servers: u8, ring: bool) -> World {
    let mut world = World::new(1, servers, ring);
    for server in &mut world.servers {
        server.directory = Directory::new(DirectoryLimits::default());
    }
    world.edges.clone().into_iter().for_each(|edge| world.connect(edge));
    world
}

#[test]
fn an_update_costs_the_same_however_large_the_graph_is() {
    let mut costs = BTreeSet::new();
    for count in [1, 10, 100, 1_000] {
        let mut world = world_of(3, false);
        let nodes = populate(&mut world, count);
        pump(&mut world);
        say(&mut world, &nodes[0], 2, UpdateKind::Delta(vec![set(3, 9)]));
        let traffic = pump(&mut world);
        // Once over each link, and nothing comes back.
        let [(0, 1), (1, 2)] = traffic.keys().copied().collect::<Vec<_>>()[..] else {
            panic!("{traffic:?}")
        };
        for (messages, bytes) in traffic.into_values() {
            assert_eq!(messages, 1);
            costs.insert(bytes);
        }
    }
    println!("one changed line: {costs:?} bytes a link");
    assert_eq!(costs.len(), 1, "{costs:?}");
    assert!(costs.first().is_some_and(|bytes| *bytes <= 512), "{costs:?}");
}

#[test]
fn in_a_ring_an_update_meets_itself_on_one_link_at_most() {
    for servers in 3..8 {
        let mut world = world_of(servers, true);
        let nodes = populate(&mut world, 1);
        pump(&mut world);
        say(&mut world, &nodes[0], 2, UpdateKind::Delta(vec![set(3, 9)]));
        let messages: usize = pump(&mut world).values().map(|sums| sums.0).sum();
        assert!(messages <= usize::from(servers) + 1, "{messages} messages in {servers} servers");
    }
}

#[test]
fn joining_transfers_what_each_node_said_once() {
    let mut per_node = BTreeSet::new();
    for count in [100, 1_000, 2 * MAX_DIGEST_ENTRIES] {
        let mut world = World::new(1, 2, false);
        let limits = DirectoryLimits { max_nodes: 10_000, ..DirectoryLimits::default() };
        world.servers.iter_mut().for_each(|server| {
            server.directory = Directory::new(limits.clone());
        });
        populate(&mut world, count);
        world.connect((0, 1));
        let traffic = pump(&mut world);
        let pages = count.div_ceil(MAX_DIGEST_ENTRIES);
        let (messages, bytes) = traffic[&(0, 1)];
        assert_eq!(messages, count + pages, "each node's snapshot, and pages of the digest");
        assert_eq!(traffic[&(1, 0)].0, 1, "an empty digest");
        assert_eq!(world.servers[1].directory.digest(None).count(), count);
        println!("joining {count} nodes of 10 lines: {} bytes a node", bytes / count);
        per_node.insert(bytes / count / 16);
        // Coming back after a short cut, only digests are exchanged.
        world.cut((0, 1));
        world.connect((0, 1));
        let again = pump(&mut world);
        assert_eq!((again[&(0, 1)].0, again[&(1, 0)].0), (pages, pages));
        println!("coming back: {} bytes a node and direction", again[&(0, 1)].1 / count);
    }
    assert_eq!(per_node.len(), 1, "the same for each node, up to 16 bytes: {per_node:?}");
}

#[test]
fn a_server_with_two_neighbours_is_told_at_most_once_by_each() {
    let mut world = world_of(3, true);
    world.cut((1, 2));
    world.cut((2, 0));
    populate(&mut world, 50);
    pump(&mut world);
    world.connect((1, 2));
    world.connect((2, 0));
    let traffic = pump(&mut world);
    let digests = 1;
    for from in [0, 1] {
        let (messages, _) = traffic[&(from, 2)];
        assert!(messages <= 50 + digests, "{messages} from {from}");
    }
    // What one of them told is told to the other only while that one has not said that it knows.
    let back = traffic[&(2, 0)].0 + traffic[&(2, 1)].0;
    assert!(back <= 50 + 2 * digests, "{back} back");
}

#[test]
fn a_peer_that_reads_slowly_costs_one_entry_a_node() {
    let mut world = world_of(2, false);
    let nodes = populate(&mut world, 3);
    pump(&mut world);
    for counter in 2..100 {
        for node in &nodes {
            say(&mut world, node, counter, UpdateKind::Delta(vec![set(3, counter.into())]));
        }
        assert_eq!(world.servers[0].federation.lacking(), nodes.len());
    }
    // What a snapshot makes needless is not sent at all.
    for node in &nodes {
        say(&mut world, node, 100, UpdateKind::Snapshot(vec![set(3, 5)]));
    }
    assert_eq!(pump(&mut world)[&(0, 1)].0, nodes.len());
    for node in &nodes {
        let [one, other] = [0, 1].map(|n| world.servers[n].directory.table(&node.public_key()));
        assert_eq!(one, other);
    }
}
