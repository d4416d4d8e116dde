//! The whole mailbox protocol in a bad network: two wormholes, as the SDK runs them, and the real
//! rules and stores of the server, on virtual time. Without a socket, a disk or a thread for SQLite; with a real
//! database for several nodes that share PostgreSQL.
//!
//! The property: both sides get the same key, and each message arrives once and in order; or
//! somebody is told a clear reason why not. A failing seed is printed; seeds that found a bug are
//! tests of their own at the bottom.

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
use wormhole_magic::wormhole::{Closed, Command, Config, Event as Told, Wormhole, WormholeError};
use wormhole_sim::{Application, End, Reply, Server, Simulation, Weather, World};
use wormhole_testbed::{Durability, Postgres, installed_or_skip};

use super::super::inbox::Event;
use super::super::memory::MemoryBudget;
use super::super::memory::Share;
use super::super::store::{Counts, DatabaseUrl, PostgresStore, SqliteStore, Store, StoreLimits};
use super::super::wake::{Changed, NodeId};
use super::listeners::Listeners;
use super::*;

/// The databases of the simulated nodes.
enum Stores {
    /// Of one node: a new one for each seed.
    Sqlite,
    /// Of up to three nodes with one database, which is emptied for each seed.
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

    /// The empty stores of one to three nodes, or of one if there is only SQLite.
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

    /// Takes the stores back.
    fn put(&mut self, stores: impl Iterator<Item = Box<dyn Store>>) {
        if let Self::Postgres { connections, .. } = self {
            connections.extend(stores);
        }
    }
}

/// The server: the rules per link, and the store's worker of each node, without the threads between them.
struct MailboxServer {
    nodes: Vec<StoreWorker>,
    welcome: Welcome,
    links: BTreeMap<u64, (Client, Arc<Inbox>)>,
    /// Decides when the server repeats and reorders messages, as the protocol lets it.
    mischief: ChaCha8Rng,
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
            mischief: ChaCha8Rng::seed_from_u64(seed ^ 1),
            replies: VecDeque::new(),
        }
    }

    /// Lets requests and answers go back and forth until all links are quiet.
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
                            let who = Arc::clone(client.identity().unwrap());
                            let (inbox, share) = (Arc::clone(inbox), inbox.share(0));
                            let request = ClientRequest { inbox, who, id, request, share };
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
            // What notifications make the nodes do.
            if self.nodes.len() > 1 && !quiet {
                for node in &mut self.nodes {
                    node.catch_up(&Changed::Everything, |deliveries| {
                        deliveries.into_iter().for_each(Delivery::deliver);
                    });
                }
            }
        }
        self.make_mischief();
    }

    /// Repeats some messages and swaps some neighbours: clients must not depend on either.
    fn make_mischief(&mut self) {
        let mut replies: Vec<_> = std::mem::take(&mut self.replies).into();
        for at in 1..replies.len() {
            let (one, other) = (&replies[at - 1], &replies[at]);
            if is_message(one) && is_message(other) && self.mischief.next_u32().is_multiple_of(4) {
                replies.swap(at - 1, at);
            }
        }
        for reply in replies {
            if is_message(&reply) && self.mischief.next_u32().is_multiple_of(8) {
                self.replies.push_back(reply.clone());
            }
            self.replies.push_back(reply);
        }
    }
}

/// The node that a link leads to.
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

/// What one side saw.
#[derive(Debug, Default)]
struct Seen {
    code: Option<Code>,
    verifier: Option<Verifier>,
    messages: Vec<Vec<u8>>,
    end: Option<Result<Closed, WormholeError>>,
}

/// Two applications that each say three things at once and three more once they know their peer,
/// and the application of a stranger, if there is one.
#[derive(Debug, Default)]
struct Talk(Vec<Seen>);

impl Application<Wormhole<ChaCha8Rng>> for Talk {
    fn on_event(&mut self, client: usize, event: Told) -> Vec<(usize, Command)> {
        let seen = &mut self.0[client];
        assert!(seen.end.is_none(), "nothing is told after the end: {event:?}");
        match event {
            Told::Code(code) => {
                seen.code = Some(code.clone());
                // Whoever has the code tells the other.
                let other = 1 - client.min(1);
                if client < 2 && self.0[other].code.is_none() {
                    return vec![(other, Command::SetCode(code))];
                }
            }
            Told::Verifier(verifier) => {
                assert_eq!(seen.verifier.replace(verifier), None, "there is one verifier");
            }
            Told::Version(_) => {
                assert!(seen.messages.is_empty(), "versions come before messages");
                return (3..6).map(|n| (client, Command::Send(vec![n]))).collect();
            }
            Told::Message(message) => seen.messages.push(message),
            Told::Closed(closed) => seen.end = Some(Ok(closed)),
            Told::Welcome(_)
            | Told::ServerLost
            | Told::ServerFound
            | Told::ServerRetry { .. }
            | Told::Nameplates(_)
            | Told::NameplateClaimed
            | Told::CodeConsumed
            | Told::Server(_)
            | Told::Key(_) => {}
            Told::Dilation { .. } => panic!("unexpected event"),
            _ => panic!("unknown event"),
        }
        Vec::new()
    }

    fn on_error(&mut self, client: usize, error: WormholeError) {
        self.0[client].end = Some(Err(error));
    }
}

type TalkWorld = World<Wormhole<ChaCha8Rng>, MailboxServer, Talk>;

fn join(world: &mut TalkWorld, rng: &mut ChaCha8Rng) -> usize {
    let url: MailboxUrl = "ws://server/v1".parse().unwrap();
    // The first link must come about or it is an error; some patience leaves more to test.
    let config = Config { servers: vec![url; 6], ..Config::default() };
    let session = Wormhole::new(config, world.now(), ChaCha8Rng::seed_from_u64(rng.next_u64()));
    world.join(session)
}

fn some(rng: &mut ChaCha8Rng, most_ms: u64) -> Duration {
    Duration::from_millis(rng.next_u64() % most_ms)
}

/// How a conversation is varied besides the weather.
#[derive(Default)]
struct Plot {
    /// The code is agreed upon, and the server need not allocate a nameplate.
    agreed: bool,
    /// Both close in the middle of bad weather instead of after it.
    impatient: bool,
    /// A stranger tries another code on the same nameplate.
    stranger: bool,
    /// Zero bits of work that the server demands.
    bits: u32,
}

fn run(seed: u64, plot: &Plot, stores: &mut Stores) -> TalkWorld {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let weather = Weather::any(rng);
    let server = MailboxServer::new(seed, plot.bits, stores.take(seed));
    let application = Talk((0..3).map(|_| Seen::default()).collect());
    let mut world = World::new(Simulation { seed, weather, server, application });
    for client in [join(&mut world, rng), join(&mut world, rng)] {
        for number in 0..3 {
            world.command(client, Duration::ZERO, Command::Send(vec![number]));
        }
        let close = if plot.impatient { some(rng, 40_000) } else { Duration::from_secs(600) };
        world.command(client, close, Command::Close(None));
    }
    if plot.agreed {
        world.command(0, some(rng, 5_000), Command::SetCode("4-right".parse().unwrap()));
    } else {
        world.command(0, some(rng, 5_000), Command::AllocateCode { words: NonZeroU8::MIN });
    }
    if plot.stranger {
        let stranger = join(&mut world, rng);
        let wrong = Command::SetCode("4-wrong".parse().unwrap());
        world.command(stranger, some(rng, 20_000), wrong);
        world.command(stranger, some(rng, 60_000), Command::Close(None));
    }
    assert_eq!(world.run(Duration::from_secs(24 * 3600)), End::Quiet, "seed {seed} hangs");
    world
}

/// Messages are numbered as they are said.
fn check_messages(seed: u64, messages: &[Vec<u8>]) {
    let expected: Vec<_> = (0..6).map(|number| vec![number]).take(messages.len()).collect();
    assert_eq!(messages, expected, "seed {seed}");
}

/// Both sides agree on a key and get each message once and in order, or somebody is told why not.
fn check_conversations(seeds: std::ops::Range<u64>, stores: &mut Stores) {
    let (mut complete, count) = (0, seeds.end - seeds.start);
    for seed in seeds {
        let impatient = seed % 3 == 0;
        let bits = if seed % 10 == 0 { 4 } else { 0 };
        let mut world = run(seed, &Plot { impatient, bits, ..Plot::default() }, stores);
        let sides = &world.application().0[..2];
        for side in sides {
            check_messages(seed, &side.messages);
            match side.end.as_ref().unwrap_or_else(|| panic!("seed {seed}: no end")) {
                Ok(closed) => assert!(impatient || closed.confirmed, "seed {seed}"),
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
        assert!(all || failed || impatient, "seed {seed}: messages are missing: {sides:?}");
        complete += u64::from(all);
        put_back(&mut world, stores);
    }
    assert!(10 * complete > 6 * count, "the weather is too bad to learn anything: {complete}");
}

/// Nothing is left in the database once both sides have closed.
fn check_leftovers(seeds: std::ops::Range<u64>, stores: &mut Stores) {
    for seed in seeds {
        // An allocation whose answer is lost is made again; the first one is left to be pruned.
        let mut world = run(seed, &Plot { agreed: true, ..Plot::default() }, stores);
        let failed = world.application().0[..2].iter().any(|side| !matches!(side.end, Some(Ok(_))));
        let count = world.server_mut().nodes[0].parts.store.count().unwrap();
        assert!(failed || count == Counts { nameplates: 0, mailboxes: 0 }, "seed {seed}");
        put_back(&mut world, stores);
    }
}

/// A stranger with another code costs one attempt at most, and never receives a message.
fn check_strangers(seeds: std::ops::Range<u64>, stores: &mut Stores) {
    for seed in seeds {
        let plot = Plot { agreed: true, stranger: true, ..Plot::default() };
        let mut world = run(seed, &plot, stores);
        let [one, other, stranger] = &world.application().0[..] else { panic!() };
        assert!(stranger.messages.is_empty() && stranger.verifier.is_none(), "seed {seed}");
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

fn put_back(world: &mut TalkWorld, stores: &mut Stores) {
    stores.put(world.server_mut().nodes.drain(..).map(|node| node.parts.store));
}

#[test]
fn two_sides_agree_and_every_message_arrives_once_or_somebody_is_told_why() {
    check_conversations(0..1000, &mut Stores::Sqlite);
}

#[test]
fn nothing_is_left_at_the_server_once_both_sides_have_closed() {
    check_leftovers(1000..1100, &mut Stores::Sqlite);
}

#[test]
fn a_stranger_with_another_code_costs_one_attempt_at_most_and_never_hears_a_message() {
    check_strangers(2000..2200, &mut Stores::Sqlite);
}

#[test]
fn several_nodes_with_postgresql_behave_like_one_with_sqlite() {
    let Some(mut stores) = Stores::of_postgres() else { return };
    check_conversations(3000..3024, &mut stores);
    check_leftovers(4000..4006, &mut stores);
    check_strangers(5000..5008, &mut stores);
}
