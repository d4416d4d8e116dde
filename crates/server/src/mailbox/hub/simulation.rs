//! Simulates the complete mailbox protocol in an unreliable network: two wormholes as the SDK runs them, and the
//! server's real protocol rules and stores, with virtual time. With SQLite, it uses no socket, disk or thread. With
//! PostgreSQL, several nodes share a real database.
//!
//! The property: both sides get the same key, and each message arrives once and in order; or at least one side gets an
//! error that explains why not. A failing seed is printed. For a seed that finds a bug, add a test at the bottom.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU8;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use wormhole_kit::UnixTime;
use wormhole_magic::code::Code;
use wormhole_magic::key::Verifier;
use wormhole_magic::mailbox::message::HashcashDemand;
use wormhole_magic::mailbox::server::{Client, Output};
use wormhole_magic::mailbox::{MailboxUrl, Welcome};
use wormhole_magic::wormhole::{
    Closed, Command, Config, Event as WormholeEvent, Wormhole, WormholeError,
};
use wormhole_sim::{Application, End, NetworkConditions, Reply, Server, Simulation, World};
use wormhole_testbed::{Durability, Postgres, installed_or_skip};

use super::super::inbox::Event;
use super::super::store::{Counts, PostgresStore, SqliteStore, Store, StoreLimits};
use super::super::wake::Changed;
use super::listeners::Listeners;
use super::*;
use crate::database::notifications::NodeId;
use crate::database::postgres::DatabaseUrl;
use crate::memory::{MemoryBudget, Share};

/// The databases of the simulated nodes.
enum Stores {
    /// One node; a new database for each seed.
    Sqlite,
    /// Up to three nodes with one database, which is emptied for each seed.
    Postgres { postgres: Postgres, connections: Vec<Box<dyn Store>> },
}

impl Stores {
    /// Several nodes with PostgreSQL; `None` if it is not installed.
    fn of_postgres() -> Option<Self> {
        let postgres = installed_or_skip(Postgres::start(Durability::Process, None))?;
        let url = DatabaseUrl::from(postgres.create_database("mailbox"));
        let connect = || {
            let limits = StoreLimits::default();
            let store = PostgresStore::open(&url, limits, NodeId::random(), true).unwrap();
            let store: Box<dyn Store> = Box::new(store);
            store
        };
        let connections = (0..3).map(|_| connect()).collect();
        Some(Self::Postgres { postgres, connections })
    }

    /// The empty stores of one to three nodes; with SQLite, of one node.
    fn take(&mut self, seed: u64) -> Vec<Box<dyn Store>> {
        match self {
            Self::Sqlite => {
                let limits = StoreLimits::default();
                vec![Box::new(SqliteStore::open(":memory:".as_ref(), limits).unwrap())]
            }
            Self::Postgres { postgres, connections } => {
                let tables = ["nameplates", "mailboxes", "messages"];
                let delete = tables.map(|table| format!("DELETE FROM wormhole_{table}"));
                postgres.execute("mailbox", &delete.join(";"));
                let nodes = usize::try_from(seed % 3).unwrap() + 1;
                connections.drain(..nodes).collect()
            }
        }
    }

    /// Takes the stores back for the next seed.
    fn put(&mut self, stores: impl Iterator<Item = Box<dyn Store>>) {
        if let Self::Postgres { connections, .. } = self {
            connections.extend(stores);
        }
    }
}

/// The server: the protocol rules for each link, and the store's worker of each node, without the threads between them.
struct MailboxServer {
    nodes: Vec<StoreWorker>,
    welcome: Welcome,
    links: BTreeMap<u64, (Client, Arc<Inbox>)>,
    /// Decides when the server repeats or reorders messages, as the protocol permits.
    faults: ChaCha8Rng,
    replies: VecDeque<Reply>,
}

impl MailboxServer {
    fn new(seed: u64, bits: u32, stores: Vec<Box<dyn Store>>) -> Self {
        let mut welcome = Welcome::default();
        if bits > 0 {
            let demand = HashcashDemand::new(bits, "simulation".into());
            welcome.permission_required =
                serde_json::from_value(serde_json::json!({ "hashcash": demand })).unwrap();
        }
        let parts = |store| Parts {
            store,
            usage: None,
            publisher: None,
            counters: Arc::default(),
            prune_period: Duration::from_secs(300),
            expiry: Duration::from_secs(660),
        };
        Self {
            nodes: stores.into_iter().map(|store| StoreWorker::new(parts(store))).collect(),
            welcome,
            links: BTreeMap::new(),
            faults: ChaCha8Rng::seed_from_u64(seed ^ 1),
            replies: VecDeque::new(),
        }
    }

    /// Passes requests and answers between links and stores until there are no more.
    fn settle(&mut self) {
        let time = UnixTime::from_secs(1);
        let mut quiet = false;
        while !std::mem::replace(&mut quiet, true) {
            let mut requests: Vec<Vec<ClientRequest>> =
                self.nodes.iter().map(|_| Vec::new()).collect();
            for (number, (client, inbox)) in &mut self.links {
                while let Poll::Ready(Ok(events)) =
                    inbox.poll(&Context::from_waker(Waker::noop()), true)
                {
                    for event in events {
                        match event {
                            Event::Answer(id, answer) => client.handle_answer(time, id, &answer),
                            Event::Message(message) => client.handle_message(time, message),
                            Event::Disconnect => panic!("no mailbox was removed"),
                        }
                    }
                }
                while let Some(output) = client.poll() {
                    match output {
                        Output::Frame(frame) => {
                            self.replies.push_back(Reply::Send(*number, frame.into_bytes()));
                        }
                        Output::Request(id, request) => {
                            let client = Arc::clone(client.identity().unwrap());
                            let (inbox, share) = (Arc::clone(inbox), inbox.share(0));
                            let request = ClientRequest { inbox, client, id, request, share };
                            requests[node_of(*number, self.nodes.len())].push(request);
                        }
                    }
                }
                if client.should_close() {
                    self.replies.push_back(Reply::Close(*number));
                }
            }
            for (node, mut requests) in requests.into_iter().enumerate() {
                while !requests.is_empty() {
                    let (deliveries, _) = self.nodes[node].serve(&mut requests);
                    deliveries.into_iter().for_each(Delivery::deliver);
                    quiet = false;
                }
            }
            // With notifications, the nodes would do this, too.
            if self.nodes.len() > 1 && !quiet {
                for node in &mut self.nodes {
                    node.catch_up(&Changed::Everything, |deliveries| {
                        deliveries.into_iter().for_each(Delivery::deliver);
                    });
                }
            }
        }
        self.repeat_and_reorder();
    }

    /// Repeats some messages and swaps some adjacent ones: clients must accept both.
    fn repeat_and_reorder(&mut self) {
        let mut replies: Vec<_> = std::mem::take(&mut self.replies).into();
        for at in 1..replies.len() {
            let (one, other) = (&replies[at - 1], &replies[at]);
            if is_message(one) && is_message(other) && self.faults.next_u32().is_multiple_of(4) {
                replies.swap(at - 1, at);
            }
        }
        for reply in replies {
            if is_message(&reply) && self.faults.next_u32().is_multiple_of(8) {
                self.replies.push_back(reply.clone());
            }
            self.replies.push_back(reply);
        }
    }
}

/// The node to which a link is connected.
fn node_of(link: u64, nodes: usize) -> usize {
    usize::try_from(link).unwrap() % nodes
}

fn is_message(reply: &Reply) -> bool {
    matches!(reply, Reply::Send(_, frame) if frame.windows(16).any(|w| w == b"\"type\":\"message\""))
}

impl Server for MailboxServer {
    fn opened(&mut self, _: Instant, link: u64) {
        let client = Client::new(&self.welcome, UnixTime::from_secs(1));
        let share = Share::new(Arc::new(MemoryBudget::new(usize::MAX, usize::MAX)), Arc::default());
        self.links.insert(link, (client, Arc::new(Inbox::new(link, usize::MAX, share))));
        self.settle();
    }

    fn received(&mut self, _: Instant, link: u64, message: &[u8]) {
        if let Some((client, _)) = self.links.get_mut(&link) {
            client.handle_frame(UnixTime::from_secs(1), message);
        }
        self.settle();
    }

    fn closed(&mut self, _: Instant, link: u64) {
        self.links.remove(&link);
        let node = node_of(link, self.nodes.len());
        self.nodes[node].listeners.remove(link);
    }

    fn restarted(&mut self, _: Instant) {
        for node in &mut self.nodes {
            node.listeners = Listeners::new(node.parts.store.is_shared());
        }
    }

    fn poll(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }
}

/// The events that one side has received.
#[derive(Debug, Default)]
struct Observed {
    code: Option<Code>,
    verifier: Option<Verifier>,
    messages: Vec<Vec<u8>>,
    end: Option<Result<Closed, WormholeError>>,
}

/// Two applications, each of which sends three messages at once and three more after the peer's version message. There
/// may be a third application, which uses another code with the same nameplate.
#[derive(Debug, Default)]
struct Conversation(Vec<Observed>);

impl Application<Wormhole<ChaCha8Rng>> for Conversation {
    fn on_event(&mut self, client: usize, event: WormholeEvent) -> Vec<(usize, Command)> {
        let observed = &mut self.0[client];
        assert!(observed.end.is_none(), "event after the end: {event:?}");
        match event {
            WormholeEvent::Code(code) => {
                observed.code = Some(code.clone());
                // The side that has the code gives it to the other one.
                let other = 1 - client.min(1);
                if client < 2 && self.0[other].code.is_none() {
                    return vec![(other, Command::SetCode(code))];
                }
            }
            WormholeEvent::Verifier(verifier) => {
                assert_eq!(observed.verifier.replace(verifier), None, "there is one verifier");
            }
            WormholeEvent::Version(_) => {
                assert!(observed.messages.is_empty(), "versions come before messages");
                return (3..6).map(|n| (client, Command::Send(vec![n]))).collect();
            }
            WormholeEvent::Message(message) => observed.messages.push(message),
            WormholeEvent::Closed(closed) => observed.end = Some(Ok(closed)),
            WormholeEvent::Welcome(_)
            | WormholeEvent::ServerLost
            | WormholeEvent::ServerFound
            | WormholeEvent::ServerRetry { .. }
            | WormholeEvent::Nameplates(_)
            | WormholeEvent::NameplateClaimed
            | WormholeEvent::CodeConsumed
            | WormholeEvent::Server(_)
            | WormholeEvent::Key(_) => {}
            WormholeEvent::Dilation { .. } => panic!("unexpected event"),
            _ => panic!("unknown event"),
        }
        Vec::new()
    }

    fn on_error(&mut self, client: usize, error: WormholeError) {
        self.0[client].end = Some(Err(error));
    }
}

type ConversationWorld = World<Wormhole<ChaCha8Rng>, MailboxServer, Conversation>;

fn join(world: &mut ConversationWorld, rng: &mut ChaCha8Rng) -> usize {
    let url: MailboxUrl = "ws://server/v1".parse().unwrap();
    // The wormhole fails if its first attempts to connect fail. With six attempts, more conversations are complete.
    let config = Config { servers: vec![url; 6], ..Config::default() };
    let session = Wormhole::new(config, world.now(), ChaCha8Rng::seed_from_u64(rng.next_u64()));
    world.join(session)
}

fn random_delay(rng: &mut ChaCha8Rng, most_ms: u64) -> Duration {
    Duration::from_millis(rng.next_u64() % most_ms)
}

/// The differences between conversations, in addition to the network conditions.
#[derive(Default)]
struct Scenario {
    /// Both sides know the code in advance, so that the server does not allocate a nameplate.
    agreed: bool,
    /// Both sides close while the network is still unreliable, instead of afterwards.
    closes_early: bool,
    /// A third side tries another code with the same nameplate.
    third_side: bool,
    /// The proof of work that the server demands, in bits.
    bits: u32,
}

fn run(seed: u64, scenario: &Scenario, stores: &mut Stores) -> ConversationWorld {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let network = NetworkConditions::random(rng);
    let server = MailboxServer::new(seed, scenario.bits, stores.take(seed));
    let application = Conversation((0..3).map(|_| Observed::default()).collect());
    let mut world = World::new(Simulation { seed, network, server, application });
    for client in [join(&mut world, rng), join(&mut world, rng)] {
        for number in 0..3 {
            world.command(client, Duration::ZERO, Command::Send(vec![number]));
        }
        let close = if scenario.closes_early {
            random_delay(rng, 40_000)
        } else {
            Duration::from_secs(600)
        };
        world.command(client, close, Command::Close(None));
    }
    if scenario.agreed {
        world.command(0, random_delay(rng, 5_000), Command::SetCode("4-right".parse().unwrap()));
    } else {
        world.command(0, random_delay(rng, 5_000), Command::AllocateCode { words: NonZeroU8::MIN });
    }
    if scenario.third_side {
        let third_side = join(&mut world, rng);
        let wrong = Command::SetCode("4-wrong".parse().unwrap());
        world.command(third_side, random_delay(rng, 20_000), wrong);
        world.command(third_side, random_delay(rng, 60_000), Command::Close(None));
    }
    assert_eq!(world.run(Duration::from_secs(24 * 3600)), End::Quiet, "seed {seed} hangs");
    world
}

/// Checks that no message is missing before the last one that was received. Messages contain their numbers.
fn check_messages(seed: u64, messages: &[Vec<u8>]) {
    let expected: Vec<_> = (0..6).map(|number| vec![number]).take(messages.len()).collect();
    assert_eq!(messages, expected, "seed {seed}");
}

/// Checks that both sides have the same key and received each message once and in order, or that a side got an error.
fn check_conversations(seeds: std::ops::Range<u64>, stores: &mut Stores) {
    let (mut complete, count) = (0, seeds.end - seeds.start);
    for seed in seeds {
        let closes_early = seed % 3 == 0;
        let bits = if seed % 10 == 0 { 4 } else { 0 };
        let mut world = run(seed, &Scenario { closes_early, bits, ..Scenario::default() }, stores);
        let sides = &world.application().0[..2];
        for side in sides {
            check_messages(seed, &side.messages);
            match side.end.as_ref().unwrap_or_else(|| panic!("seed {seed}: no end")) {
                Ok(closed) => assert!(closes_early || closed.confirmed, "seed {seed}"),
                Err(error) => {
                    assert_eq!(*error, WormholeError::ServerUnreachable, "seed {seed}");
                }
            }
        }
        let verifiers = (sides[0].verifier, sides[1].verifier);
        if let (Some(one), Some(other)) = verifiers {
            assert_eq!(one, other, "seed {seed}: two keys");
        }
        let all = sides.iter().all(|side| side.messages.len() == 6);
        let failed = sides.iter().any(|side| side.end.as_ref().is_some_and(Result::is_err));
        assert!(all || failed || closes_early, "seed {seed}: messages are missing: {sides:?}");
        complete += u64::from(all);
        put_back(&mut world, stores);
    }
    assert!(10 * complete > 6 * count, "the network is too unreliable for this test: {complete}");
}

/// Checks that the database is empty once both sides have closed.
fn check_empty_database(seeds: std::ops::Range<u64>, stores: &mut Stores) {
    for seed in seeds {
        // With an allocated code, a nameplate could remain: if the answer to `allocate` is lost, the client repeats it.
        let mut world = run(seed, &Scenario { agreed: true, ..Scenario::default() }, stores);
        let failed = world.application().0[..2].iter().any(|side| !matches!(side.end, Some(Ok(_))));
        let count = world.server_mut().nodes[0].parts.store.count().unwrap();
        assert!(failed || count == Counts { nameplates: 0, mailboxes: 0 }, "seed {seed}");
        put_back(&mut world, stores);
    }
}

/// Checks that a third side with another code never receives a message, and that the others then fail only with the
/// expected errors.
fn check_third_side(seeds: std::ops::Range<u64>, stores: &mut Stores) {
    for seed in seeds {
        let scenario = Scenario { agreed: true, third_side: true, ..Scenario::default() };
        let mut world = run(seed, &scenario, stores);
        let [one, other, third_side] = &world.application().0[..] else { panic!() };
        assert!(third_side.messages.is_empty() && third_side.verifier.is_none(), "seed {seed}");
        for side in [one, other] {
            check_messages(seed, &side.messages);
            let end = side.end.as_ref().unwrap_or_else(|| panic!("seed {seed}: no end"));
            let expected = match end {
                Ok(_)
                | Err(
                    WormholeError::ServerUnreachable
                    | WormholeError::WrongCode
                    | WormholeError::ServerRefused(_),
                ) => true,
                Err(_) => false,
            };
            assert!(expected, "seed {seed}: {end:?}");
        }
        put_back(&mut world, stores);
    }
}

fn put_back(world: &mut ConversationWorld, stores: &mut Stores) {
    stores.put(world.server_mut().nodes.drain(..).map(|node| node.parts.store));
}

#[test]
fn both_sides_agree_and_every_message_arrives_once_or_a_side_gets_an_error() {
    check_conversations(0..1000, &mut Stores::Sqlite);
}

#[test]
fn the_database_is_empty_once_both_sides_have_closed() {
    check_empty_database(1000..1100, &mut Stores::Sqlite);
}

#[test]
fn a_third_side_with_another_code_never_receives_a_message() {
    check_third_side(2000..2200, &mut Stores::Sqlite);
}

#[test]
fn several_nodes_with_postgresql_behave_like_one_node_with_sqlite() {
    let Some(mut stores) = Stores::of_postgres() else { return };
    check_conversations(3000..3024, &mut stores);
    check_empty_database(4000..4006, &mut stores);
    check_third_side(5000..5008, &mut stores);
}
