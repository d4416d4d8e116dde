//! Whole conversations in the simulated world: two wormholes, the server's rules for clients, and a store
//! in memory. No socket, file or thread, so this also runs in a browser's kind of WebAssembly.
//!
//! `wormhole-server` plays more of them against its real store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use wormhole_kit::{Instant, UnixTime};
use wormhole_magic::key::Verifier;
use wormhole_magic::mailbox::server::{Answer, Client, Output, Request, StoredMessage};
use wormhole_magic::mailbox::{MailboxUrl, Welcome};
use wormhole_magic::wormhole::{Command, Config, Event, Wormhole, WormholeError};
use wormhole_sim::{Application, End, NetworkConditions, Reply, Server, Simulation, World};

/// A server of one application, whose store keeps everything across restarts.
#[derive(Default)]
struct MailboxServer {
    clients: BTreeMap<u64, Client>,
    /// The sides that have claimed each nameplate. A nameplate and its mailbox have the same name.
    nameplates: BTreeMap<String, BTreeSet<String>>,
    mailboxes: BTreeMap<String, Mailbox>,
    replies: VecDeque<Reply>,
}

#[derive(Default)]
struct Mailbox {
    sides: BTreeSet<String>,
    messages: Vec<Arc<StoredMessage>>,
    listeners: BTreeSet<u64>,
}

impl MailboxServer {
    /// Answers requests and sends frames until all clients are quiet.
    fn settle(&mut self) {
        let mut requests = true;
        while std::mem::take(&mut requests) {
            for link in self.clients.keys().copied().collect::<Vec<_>>() {
                while let Some(output) = self.clients.get_mut(&link).and_then(Client::poll) {
                    match output {
                        Output::Frame(frame) => {
                            self.replies.push_back(Reply::Send(link, frame.into_bytes()));
                        }
                        Output::Request(id, request) => {
                            let side = self.clients[&link].identity().unwrap().side.clone();
                            let answer = self.answer(link, side, request);
                            self.client(link).handle_answer(NOW, id, &answer);
                            requests = true;
                        }
                    }
                }
            }
        }
    }

    fn answer(&mut self, link: u64, side: String, request: Request) -> Answer {
        match request {
            Request::Bind(..) => Answer::Bound,
            Request::List => Answer::Nameplates(self.nameplates.keys().cloned().collect()),
            Request::Allocate => {
                let mut free = (1..).map(|number: u32| number.to_string());
                let name = free.find(|name| !self.nameplates.contains_key(name)).unwrap();
                self.claim(&name, side);
                Answer::Allocated(name)
            }
            Request::Claim(name) => {
                self.claim(&name, side);
                Answer::Claimed(name)
            }
            Request::Release(name) => {
                if let Some(sides) = self.nameplates.get_mut(&name) {
                    sides.remove(&side);
                }
                self.nameplates.retain(|_, sides| !sides.is_empty());
                Answer::Released
            }
            Request::Open(name) => {
                let mailbox = self.mailboxes.entry(name).or_default();
                mailbox.sides.insert(side);
                mailbox.listeners.insert(link);
                Answer::Opened(mailbox.messages.clone())
            }
            Request::Add { mailbox, message } => {
                let mailbox = self.mailboxes.entry(mailbox).or_default();
                let message = Arc::new(StoredMessage::new(side, message, NOW));
                mailbox.messages.push(Arc::clone(&message));
                for listener in mailbox.listeners.iter().filter(|other| **other != link) {
                    let listener = self.clients.get_mut(listener).unwrap();
                    listener.handle_message(NOW, Arc::clone(&message));
                }
                Answer::Added(message)
            }
            Request::Close { mailbox: name, .. } => {
                let mailbox = self.mailboxes.entry(name).or_default();
                mailbox.listeners.remove(&link);
                mailbox.sides.remove(&side);
                self.mailboxes.retain(|_, mailbox| !mailbox.sides.is_empty());
                Answer::Closed
            }
        }
    }

    fn claim(&mut self, name: &str, side: String) {
        self.nameplates.entry(name.to_owned()).or_default().insert(side.clone());
        self.mailboxes.entry(name.to_owned()).or_default().sides.insert(side);
    }

    fn client(&mut self, link: u64) -> &mut Client {
        self.clients.get_mut(&link).unwrap()
    }
}

impl Server for MailboxServer {
    fn opened(&mut self, _: Instant, link: u64) {
        self.clients.insert(link, Client::new(&Welcome::default(), NOW));
        self.settle();
    }

    fn received(&mut self, _: Instant, link: u64, message: &[u8]) {
        self.client(link).handle_frame(NOW, message);
        self.settle();
    }

    fn closed(&mut self, _: Instant, link: u64) {
        self.clients.remove(&link);
        self.mailboxes.values_mut().for_each(|mailbox| {
            mailbox.listeners.remove(&link);
        });
    }

    fn restarted(&mut self, _: Instant) {}

    fn poll(&mut self) -> Option<Reply> {
        self.replies.pop_front()
    }
}

/// What each side was told.
#[derive(Default)]
struct Told {
    verifier: Option<Verifier>,
    messages: Vec<Vec<u8>>,
    end: Option<Result<(), WormholeError>>,
}

/// Two applications: the first passes its code to the second, and each answers the other's version
/// with a message.
#[derive(Default)]
struct Conversation([Told; 2]);

impl Application<Wormhole<ChaCha8Rng>> for Conversation {
    fn on_event(&mut self, client: usize, event: Event) -> Vec<(usize, Command)> {
        let told = &mut self.0[client];
        assert_eq!(told.end, None, "{event:?} after the end");
        match event {
            Event::Code(code) if client == 0 => return vec![(1, Command::SetCode(code))],
            Event::Verifier(verifier) => told.verifier = Some(verifier),
            Event::Version(_) => return vec![(client, Command::Send(b"second".to_vec()))],
            Event::Message(message) => told.messages.push(message),
            Event::Closed(_) => told.end = Some(Ok(())),
            _ => {}
        }
        vec![]
    }

    fn on_error(&mut self, client: usize, error: WormholeError) {
        self.0[client].end = Some(Err(error));
    }
}

fn run(
    seed: u64,
    network: NetworkConditions,
) -> World<Wormhole<ChaCha8Rng>, MailboxServer, Conversation> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (server, application) = (MailboxServer::default(), Conversation::default());
    let mut world = World::new(Simulation { seed, network, server, application });
    for _ in 0..2 {
        let url: MailboxUrl = "ws://server/v1".parse().unwrap();
        // The first link must open, or it is an error: on a bad network that takes several attempts.
        let config = Config { servers: vec![url; 6], ..Config::default() };
        let rng = ChaCha8Rng::seed_from_u64(rng.next_u64());
        let client = world.join(Wormhole::new(config, world.now(), rng));
        world.command(client, Duration::ZERO, Command::Send(b"first".to_vec()));
        world.command(client, Duration::from_secs(600), Command::Close(None));
    }
    world.command(0, Duration::ZERO, Command::AllocateCode { words: NonZeroU8::MIN });
    assert_eq!(world.run(Duration::from_secs(3600)), End::Quiet, "seed {seed}");
    world
}

#[test]
fn two_wormholes_exchange_messages_and_leave_nothing_at_the_server() {
    let world = run(1, NetworkConditions::latency_only());
    let [one, other] = &world.application().0;
    assert!(one.verifier.is_some() && one.verifier == other.verifier);
    for side in [one, other] {
        assert_eq!(side.messages, [b"first".to_vec(), b"second".to_vec()]);
        assert_eq!(side.end, Some(Ok(())));
    }
    assert!(world.server().nameplates.is_empty() && world.server().mailboxes.is_empty());
}

#[test]
fn on_a_bad_network_every_message_arrives_once_and_in_order_or_a_side_fails() {
    let mut complete = 0;
    for seed in 0..100 {
        let network = NetworkConditions::random(&mut ChaCha8Rng::seed_from_u64(seed));
        let world = run(seed, network);
        let sides = &world.application().0;
        let unreachable = Some(Err(WormholeError::ServerUnreachable));
        let has_failed = sides.iter().any(|side| side.end == unreachable);
        for side in sides {
            let is_complete = side.messages == [b"first".to_vec(), b"second".to_vec()];
            assert!(is_complete || has_failed, "seed {seed}: {:?}", side.end);
            complete += u32::from(is_complete);
        }
    }
    assert!(complete > 150, "{complete} sides received everything");
}

/// Nothing here depends on the date.
const NOW: UnixTime = UnixTime::from_secs(1);
