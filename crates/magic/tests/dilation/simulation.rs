//! Two sides over a bad relay: links that cannot be opened, are slow, break unnoticed, or lose their end; and a relay that
//! restarts. Thousands of seeds.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wormhole_kit::{Input, Instant, LinkId, Output, Session};
use wormhole_magic::dilation::DilationError;
use wormhole_magic::relay::{Relay, Timeouts};
use wormhole_sim::{Application, NetworkConditions, Reply, Server, Simulation, World};

use crate::node::{LONGEST, Node, NodeCommand, NodeEvent, Paths};

/// The real rules of a relay as the server of the world.
struct RelayServer(Relay);

impl Server for RelayServer {
    fn opened(&mut self, now: Instant, link: u64) {
        self.0.handle(now, Input::Opened(LinkId(link))).unwrap();
    }

    fn received(&mut self, now: Instant, link: u64, message: &[u8]) {
        self.0.handle(now, Input::Bytes(LinkId(link), message)).unwrap();
    }

    fn closed(&mut self, now: Instant, link: u64) {
        self.0.handle(now, Input::Closed(LinkId(link))).unwrap();
    }

    fn restarted(&mut self, _: Instant) {
        self.0 = Relay::new(Timeouts::default());
    }

    fn poll(&mut self) -> Option<Reply> {
        loop {
            match self.0.poll()? {
                Output::Send(link, bytes) => return Some(Reply::Send(link.0, bytes)),
                Output::Close(link) => return Some(Reply::Close(link.0)),
                Output::Event(_) => {}
                Output::Connect(_, never) | Output::Commit(never) => match never {},
            }
        }
    }
}

/// The mailbox between the two sides, and what has happened.
#[derive(Default)]
struct Sides {
    done: [bool; 2],
    errors: Vec<DilationError>,
}

impl Application<Node> for Sides {
    fn on_event(&mut self, client: usize, event: NodeEvent) -> Vec<(usize, NodeCommand)> {
        match event {
            NodeEvent::Mailbox(number, message) => {
                vec![(1 - client, NodeCommand::Mailbox(number, message))]
            }
            NodeEvent::Done => {
                self.done[client] = true;
                vec![]
            }
        }
    }

    fn on_error(&mut self, _: usize, error: DilationError) {
        self.errors.push(error);
    }
}

fn run(seed: u64, network: NetworkConditions, goods: (u32, usize)) {
    let server = RelayServer(Relay::new(Timeouts::default()));
    let mut world = World::new(Simulation { seed, network, server, application: Sides::default() });
    for side in 0..2 {
        let node = Node::new(side, Paths::Relay, seed, goods, world.now());
        world.join(node);
    }
    let end = world.run(LONGEST);
    let sides = world.application();
    assert_eq!(sides.errors, [], "seed {seed}");
    assert_eq!(sides.done, [true, true], "seed {seed}: {end:?}");
}

#[test]
fn over_a_good_network_all_streams_arrive_in_both_directions() {
    for seed in 0..20 {
        run(seed, NetworkConditions::latency_only(), (5, 5_000));
    }
    run(0, NetworkConditions::latency_only(), (1, 300_000));
    run(0, NetworkConditions::latency_only(), (100, 0));
}

#[test]
fn over_bad_networks_nothing_is_lost_duplicated_or_reordered() {
    for seed in 0..2_000 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let network = NetworkConditions::random(&mut rng);
        run(seed, network, (4, 2_000));
    }
}

#[test]
fn a_link_that_breaks_again_and_again_only_delays_the_data() {
    for seed in 0..100 {
        let network = NetworkConditions {
            latency: Duration::from_millis(20),
            refused: 100,
            link_life: Some(Duration::from_millis(400)),
            detection_time: Duration::from_secs(20),
            server_uptime: None,
            reliable_after: Duration::from_secs(60),
        };
        run(seed, network, (3, 50_000));
    }
}
