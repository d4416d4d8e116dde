//! Pairs of clients exchange messages while nodes, or servers on which nodes depend, are killed at random moments, or
//! stopped for a while.
//!
//! Each message has a unique id. The messages that any connection has received must be the beginning of the same list:
//! then no message was lost, duplicated or reordered at any time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use rustix::process::Signal;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep;

use super::peer::Peer;
use super::{Cluster, Wake};

/// The process that is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Node,
    /// A node is not killed but stopped, until PostgreSQL has ended its transaction.
    StoppedNode,
    Postgres,
    Nats,
}

/// The state that all clients of a test share.
#[derive(Clone)]
struct World {
    seed: u64,
    /// The addresses of the nodes.
    urls: watch::Receiver<Vec<String>>,
    /// Messages that were echoed.
    echoed: Arc<AtomicUsize>,
    /// Whether clients end when their mailbox is complete.
    is_ending: Arc<AtomicBool>,
}

/// One side of a mailbox.
struct Side {
    name: String,
    nameplate: String,
    world: World,
    rng: ChaCha8Rng,
    mailbox: Option<String>,
    /// Numbers its attempts to add a message.
    attempts: usize,
    /// Its own messages that were echoed, in order.
    echoed: Vec<String>,
    /// The messages that each of its connections has received, in order.
    views: Vec<Vec<String>>,
}

impl Side {
    fn new(world: &World, pair: u64, round: usize, number: u64) -> Self {
        Self {
            name: format!("{pair}-{round}-{number}"),
            nameplate: pair.to_string(),
            world: world.clone(),
            rng: ChaCha8Rng::seed_from_u64(world.seed ^ (pair << 8 | number)),
            mailbox: None,
            attempts: 0,
            echoed: Vec::new(),
            views: Vec::new(),
        }
    }

    /// Adds [`MESSAGES`], waits until the other side has done the same, and closes the mailbox. Opens a new connection
    /// whenever one is lost.
    async fn exchange_all(mut self) -> Self {
        while self.exchange().await.is_none() {
            // The node was killed. Another node, or its replacement, will answer.
            sleep(RETRY).await;
        }
        while self.close().await.is_none() {
            sleep(RETRY).await;
        }
        self
    }

    /// Adds the missing messages on one connection, and reads until both sides have added all.
    async fn exchange(&mut self) -> Option<()> {
        let mut peer = self.connect().await?;
        let mailbox = peer.enter(&self.nameplate).await?;
        assert_eq!(*self.mailbox.get_or_insert_with(|| mailbox.clone()), mailbox, "{}", self.name);
        self.views.push(Vec::new());
        while self.echoed.len() < MESSAGES {
            self.attempts += 1;
            let id = format!("{}-{}", self.name, self.attempts);
            peer.add(&id).await?;
            while self.receive(&mut peer).await? != id {}
            self.echoed.push(id);
            self.world.echoed.fetch_add(1, Ordering::Relaxed);
        }
        peer.add(&format!("{}-{DONE}", self.name)).await?;
        while !self.both_are_done() {
            self.receive(&mut peer).await?;
        }
        Some(())
    }

    /// Whether this connection has received the last message of both sides.
    fn both_are_done(&self) -> bool {
        let own = format!("{}-{DONE}", self.name);
        let done = || self.views.last().into_iter().flatten().filter(|id| id.ends_with(DONE));
        done().any(|id| *id == own) && done().any(|id| *id != own)
    }

    async fn receive(&mut self, peer: &mut Peer) -> Option<String> {
        let id = peer.message().await?;
        self.views.last_mut()?.push(id.clone());
        Some(id)
    }

    async fn close(&mut self) -> Option<()> {
        let mut peer = self.connect().await?;
        let close = json!({"type": "close", "mailbox": self.mailbox, "mood": "happy"});
        peer.ask(&close, "closed").await.map(drop)
    }

    /// Connects to any node.
    async fn connect(&mut self) -> Option<Peer> {
        let urls = self.world.urls.borrow().clone();
        let number = usize::try_from(self.rng.next_u32()).ok()? % urls.len();
        Peer::bound(urls.get(number)?, &self.name).await
    }
}

/// Both sides of a pair exchange messages in one mailbox after another, until the test ends.
async fn converse(world: World, pair: u64) {
    for round in 0.. {
        let side = |number| Side::new(&world, pair, round, number);
        let (one, other) = tokio::join!(side(1).exchange_all(), side(2).exchange_all());
        check(&world, [&one, &other]);
        if world.is_ending.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Compares the messages that both sides have received.
fn check(world: &World, sides: [&Side; 2]) {
    let seed = world.seed;
    let views: Vec<&Vec<String>> = sides.iter().flat_map(|side| &side.views).collect();
    let all = views.iter().max_by_key(|view| view.len()).unwrap();
    for view in &views {
        assert!(all.starts_with(view), "seed {seed}: {view:?} is not how this begins: {all:?}");
    }
    for side in sides {
        let own: Vec<&String> = all.iter().filter(|id| side.echoed.contains(id)).collect();
        let echoed: Vec<&String> = side.echoed.iter().collect();
        assert_eq!(own, echoed, "seed {seed}: messages of {}", side.name);
    }
}

/// Lets clients exchange messages, and kills a victim `kills` times.
async fn run(mut cluster: Cluster, seed: u64, victim: Victim, kills: usize) {
    let (urls, receiver) = watch::channel(cluster.urls());
    let world = World { seed, urls: receiver, echoed: Arc::default(), is_ending: Arc::default() };
    let mut pairs = JoinSet::new();
    for pair in 0..PAIRS {
        pairs.spawn(converse(world.clone(), pair));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..kills {
        // A random moment while clients exchange messages.
        let more = 1 + usize::try_from(rng.next_u32()).unwrap() % MOST_BETWEEN_KILLS;
        wait_for_echoes(&world, more).await;
        let number = usize::try_from(rng.next_u32()).unwrap() % cluster.nodes.len();
        block_in_place(|| match victim {
            Victim::Node => cluster.replace_node(number),
            Victim::StoppedNode => stop_in_transaction(&cluster, number),
            Victim::Postgres => {
                let postgres = cluster.postgres.as_mut().unwrap();
                postgres.crash();
                postgres.start_again();
            }
            Victim::Nats => {
                let nats = cluster.nats.as_mut().unwrap();
                nats.stop();
                nats.start_again();
            }
        });
        urls.send(cluster.urls()).unwrap();
    }
    world.is_ending.store(true, Ordering::Relaxed);
    while let Some(pair) = pairs.join_next().await {
        pair.unwrap();
    }
}

/// Stops a node while it has the lock of the database. Continues it when PostgreSQL has ended its transaction, so that
/// the other nodes have continued before.
fn stop_in_transaction(cluster: &Cluster, number: usize) {
    let (node, postgres) = (&cluster.nodes[number], cluster.postgres.as_ref().unwrap());
    let deadline = Instant::now() + PATIENCE;
    let stopped = loop {
        node.signal(Signal::STOP);
        // Only a stopped node stays in this state for more than a moment.
        let open = || postgres.execute("mailbox", IDLE_IN_TRANSACTION);
        let first = open();
        let is_stopped = |pid: &&str| open().lines().any(|other| other == *pid);
        let found = first.lines().find(|pid| (0..LOOKS).all(|_| is_stopped(pid)));
        if let Some(pid) = found {
            break pid.to_owned();
        }
        node.signal(Signal::CONT);
        assert!(Instant::now() < deadline, "the node was never stopped in a transaction");
    };
    while postgres.execute("mailbox", IDLE_IN_TRANSACTION).lines().any(|pid| pid == stopped) {
        assert!(Instant::now() < deadline, "PostgreSQL does not end the transaction");
        std::thread::sleep(Duration::from_millis(100));
    }
    node.signal(Signal::CONT);
}

/// Waits until this many more messages of the clients have been stored.
async fn wait_for_echoes(world: &World, more: usize) {
    let enough = world.echoed.load(Ordering::Relaxed) + more;
    let deadline = Instant::now() + PATIENCE;
    while world.echoed.load(Ordering::Relaxed) < enough {
        assert!(Instant::now() < deadline, "seed {}: no progress", world.seed);
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_sqlite_is_killed_at_any_moment() {
    run(Cluster::of_sqlite("kill"), 1, Victim::Node, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_of_three_nodes_with_one_postgresql_is_killed_at_any_moment() {
    let Some(cluster) = Cluster::of_postgres(3, Wake::Postgres) else { return };
    run(cluster, 2, Victim::Node, 70).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_stopped_in_a_transaction_until_postgresql_has_ended_it() {
    let Some(cluster) = Cluster::of_postgres(2, Wake::Postgres) else { return };
    run(cluster, 6, Victim::StoppedNode, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_of_two_nodes_that_use_nats_is_killed_at_any_moment() {
    let Some(cluster) = Cluster::of_postgres(2, Wake::Nats) else { return };
    run(cluster, 3, Victim::Node, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_killed_and_comes_back() {
    let Some(cluster) = Cluster::of_postgres(2, Wake::Postgres) else { return };
    run(cluster, 4, Victim::Postgres, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_killed_and_comes_back() {
    let Some(cluster) = Cluster::of_postgres(2, Wake::Nats) else { return };
    run(cluster, 5, Victim::Nats, 10).await;
}

/// The nodes' connections to PostgreSQL that have begun a transaction and send nothing.
const IDLE_IN_TRANSACTION: &str = "SELECT pid FROM pg_stat_activity
    WHERE application_name = 'wormhole-server' AND state = 'idle in transaction'";

/// How often a connection must be found idle, one time after the other, to belong to a stopped node.
const LOOKS: usize = 3;

/// Messages that each side adds to a mailbox.
const MESSAGES: usize = 15;

/// The end of the id of each side's last message.
const DONE: &str = "done";

/// Pairs of clients.
const PAIRS: u64 = 4;

/// Maximum number of messages that are stored between two kills.
const MOST_BETWEEN_KILLS: usize = 60;

/// Pause before a client connects again.
const RETRY: Duration = Duration::from_millis(5);

/// Maximum time in which no client makes progress.
const PATIENCE: Duration = Duration::from_secs(60);
