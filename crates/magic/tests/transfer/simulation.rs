//! A sender and a receiver in the simulated world: with every set of abilities everything arrives, and
//! on a bad network nothing is ever taken for complete that is not.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wormhole_kit::Instant;
use wormhole_magic::transfer::{Abilities, Offer, PeerName, TransferAbility, TransferError};
use wormhole_sim::{Application, End, NetworkConditions, Reply, Server, Simulation, World};

use crate::node::{Done, IS_CARRIER, IS_MAILBOX, Node};

/// Joins the two mailbox links and the two carriers.
#[derive(Default)]
struct Switch {
    links: BTreeMap<u64, SimulatedLink>,
    replies: Vec<Reply>,
}

#[derive(Default)]
struct SimulatedLink {
    kind: Vec<u8>,
    partner: Option<u64>,
    /// Messages that wait for the partner.
    waiting: Vec<Vec<u8>>,
    is_closed: bool,
}

impl Switch {
    fn name(&mut self, link: u64, kind: &[u8]) {
        let mut others = self.links.iter().filter(|(number, _)| **number != link);
        let partner = others.find(|(_, other)| other.kind == kind && other.partner.is_none());
        let partner = partner.map(|(number, _)| *number);
        let this = self.links.entry(link).or_default();
        (this.kind, this.partner) = (kind.to_vec(), partner);
        if let Some(other) = partner.and_then(|partner| self.links.get_mut(&partner)) {
            other.partner = Some(link);
            let waiting = std::mem::take(&mut other.waiting);
            self.replies.extend(waiting.into_iter().map(|message| Reply::Send(link, message)));
            self.replies.extend(other.is_closed.then_some(Reply::Close(link)));
        }
    }
}

impl Server for Switch {
    fn opened(&mut self, _: Instant, link: u64) {
        self.links.insert(link, SimulatedLink::default());
    }

    fn received(&mut self, _: Instant, link: u64, message: &[u8]) {
        let Some(this) = self.links.get_mut(&link) else { return };
        match this.partner {
            _ if this.kind.is_empty() => {
                assert!(message == IS_MAILBOX || message == IS_CARRIER);
                self.name(link, message);
            }
            Some(partner) => self.replies.push(Reply::Send(partner, message.to_vec())),
            None => this.waiting.push(message.to_vec()),
        }
    }

    fn closed(&mut self, _: Instant, link: u64) {
        let Some(this) = self.links.get_mut(&link) else { return };
        this.is_closed = true;
        self.replies.extend(this.partner.map(Reply::Close));
    }

    fn restarted(&mut self, _: Instant) {}

    fn poll(&mut self) -> Option<Reply> {
        (!self.replies.is_empty()).then(|| self.replies.remove(0))
    }
}

/// How each side ended; the first word counts.
#[derive(Default)]
struct Ends([Option<Result<Done, TransferError>>; 2]);

impl Application<Node> for Ends {
    fn on_event(&mut self, client: usize, event: Done) -> Vec<(usize, ())> {
        self.0[client].get_or_insert(Ok(event));
        vec![]
    }

    fn on_error(&mut self, client: usize, error: TransferError) {
        self.0[client].get_or_insert(Err(error));
    }
}

fn offers(size: usize) -> [(Offer, Vec<u8>); 4] {
    let name = || PeerName::new("a");
    let content: Vec<u8> = (0..size).map(|n| n.to_le_bytes()[0]).collect();
    let length = u64::try_from(size).unwrap();
    let text = "x".repeat(size);
    [
        (Offer::File { name: name(), size: length, attributes: None }, content.clone()),
        (Offer::Stream { name: name() }, content.clone()),
        (
            Offer::Directory {
                name: name(),
                zip_size: length,
                bytes: 3,
                files: 1,
                attributes: None,
            },
            content,
        ),
        (Offer::Text(text.clone()), text.into_bytes()),
    ]
}

/// Runs a transfer; returns how the sender and the receiver ended.
fn run(
    seed: u64,
    network: NetworkConditions,
    (offer, source): (Offer, Vec<u8>),
    [sender, receiver]: [Abilities; 2],
) -> [Option<Result<Done, TransferError>>; 2] {
    let (server, application) = (Switch::default(), Ends::default());
    let mut world = World::new(Simulation { seed, network, server, application });
    world.join(Node::sender(offer, source, receiver));
    // A program without an ability does not look for it in others.
    let known = TransferAbility::ALL.into_iter().filter(|it| sender.has(*it) && receiver.has(*it));
    world.join(Node::receiver(known.collect()));
    assert_eq!(world.run(Duration::from_secs(600)), End::Quiet, "seed {seed}");
    world.application().0.clone()
}

/// Every subset of the abilities.
fn every_set() -> impl Iterator<Item = Abilities> {
    let abilities = TransferAbility::ALL;
    (0..1_u32 << abilities.len()).map(move |set| {
        let chosen = abilities.iter().enumerate().filter(|(bit, _)| set & (1 << bit) != 0);
        chosen.map(|(_, ability)| *ability).collect()
    })
}

#[test]
fn with_every_set_of_abilities_everything_arrives() {
    for (number, receiver) in (0..).zip(every_set()) {
        for sender in [Abilities::all(), Abilities::default(), receiver] {
            for size in [0, 1, 1234] {
                for (offer, source) in offers(size) {
                    let case = format!("{offer:?} from {sender:?} to {receiver:?}");
                    let parts = (offer, source.clone());
                    let ends =
                        run(number, NetworkConditions::latency_only(), parts, [sender, receiver]);
                    let expected = [Some(Ok(Done::Sent)), Some(Ok(Done::Received(source)))];
                    assert_eq!(ends, expected, "{case}");
                }
            }
        }
    }
}

#[test]
fn on_a_bad_network_no_sender_believes_in_more_than_arrived() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..400 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let network = NetworkConditions::random(&mut rng);
        for (offer, source) in offers(777).into_iter().take(3) {
            let all = [Abilities::all(); 2];
            let [sent, received] = run(seed, network.clone(), (offer, source.clone()), all);
            if let Some(Ok(Done::Received(content))) = &received {
                assert_eq!(*content, source, "seed {seed}");
            }
            if let Some(Ok(done)) = sent {
                assert_eq!(done, Done::Sent);
                assert_eq!(received, Some(Ok(Done::Received(source))), "seed {seed}");
                good += 1;
            } else {
                bad += 1;
            }
        }
    }
    assert!(good > 100 && bad > 100, "{good} good, {bad} bad");
}
