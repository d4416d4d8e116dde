//! Two sides in a network with a direct path and a relay, either of which can be silent: nothing arrives, and nobody is told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wormhole_kit::{Input, Instant, LinkId, LinkIds, Output, Session};
use wormhole_magic::relay::{Relay, Timeouts};
use wormhole_magic::transit::{Address, Target};

use crate::node::{Node, NodeCommand, NodeEvent, Paths};

/// The network with both sides.
struct Network {
    now: Instant,
    nodes: [Node; 2],
    relay: Relay,
    /// The other end of each link of a side.
    ends: BTreeMap<(usize, LinkId), End>,
    /// The side at the other end of each link of the relay.
    at_relay: BTreeMap<LinkId, (usize, LinkId)>,
    accepted: LinkIds,
    agenda: BTreeMap<(Instant, u64), Arrival>,
    next: u64,
    direct: Path,
    relayed: Path,
    done: [bool; 2],
}

/// A path, and what it will deliver when it is back.
#[derive(Default)]
struct Path {
    is_silent: bool,
    held: VecDeque<Arrival>,
}

#[derive(Clone, Copy)]
enum End {
    Side(usize, LinkId),
    Relay(LinkId),
}

/// What arrives at a side, after some time.
enum Arrival {
    Mailbox(usize, NodeCommand),
    Dial(usize, LinkId, Target),
    ToSide(usize, LinkId, Option<Vec<u8>>),
    ToRelay(LinkId, Option<Vec<u8>>),
}

const LATENCY: Duration = Duration::from_millis(10);

impl Network {
    fn new(paths: Paths, goods: (u32, usize)) -> Self {
        let now = Instant::now();
        let nodes = [0, 1].map(|side| Node::new(side, paths, 1, goods, now));
        let mut network = Self {
            now,
            nodes,
            relay: Relay::new(Timeouts::default()),
            ends: BTreeMap::new(),
            at_relay: BTreeMap::new(),
            accepted: LinkIds::incoming(),
            agenda: BTreeMap::new(),
            next: 0,
            direct: Path::default(),
            relayed: Path::default(),
            done: [false; 2],
        };
        network.collect();
        network
    }

    fn plan(&mut self, arrival: Arrival) {
        self.next += 1;
        self.agenda.insert((self.now + LATENCY, self.next), arrival);
    }

    /// Handles the outputs of both sides and of the relay.
    fn collect(&mut self) {
        for side in 0..2 {
            while let Some(output) = self.nodes[side].poll() {
                match output {
                    Output::Connect(id, target) => self.plan(Arrival::Dial(side, id, target)),
                    Output::Send(id, bytes) => self.send(side, id, Some(bytes)),
                    Output::Close(id) => {
                        self.send(side, id, None);
                        self.ends.remove(&(side, id));
                    }
                    Output::Event(NodeEvent::Mailbox(number, message)) => {
                        let command = NodeCommand::Mailbox(number, message);
                        self.plan(Arrival::Mailbox(1 - side, command));
                    }
                    Output::Event(NodeEvent::Done) => self.done[side] = true,
                    Output::Commit(never) => match never {},
                }
            }
        }
        while let Some(output) = self.relay.poll() {
            let (link, content) = match output {
                Output::Send(link, bytes) => (link, Some(bytes)),
                Output::Close(link) => (link, None),
                Output::Event(_) => continue,
                Output::Connect(_, never) | Output::Commit(never) => match never {},
            };
            if let Some((side, id)) = self.at_relay.get(&link).copied() {
                self.plan(Arrival::ToSide(side, id, content));
            }
        }
    }

    fn send(&mut self, side: usize, id: LinkId, content: Option<Vec<u8>>) {
        match self.ends.get(&(side, id)).copied() {
            Some(End::Side(other, far)) => self.plan(Arrival::ToSide(other, far, content)),
            Some(End::Relay(far)) => self.plan(Arrival::ToRelay(far, content)),
            None => {}
        }
    }

    /// The path that something takes; `None` for the mailbox.
    fn path(&mut self, arrival: &Arrival) -> Option<&mut Path> {
        let is_relayed = match arrival {
            Arrival::Mailbox(..) => return None,
            Arrival::Dial(_, _, target) => is_relay(target),
            Arrival::ToRelay(..) => true,
            Arrival::ToSide(side, id, _) => {
                matches!(self.ends.get(&(*side, *id)), Some(End::Relay(_)))
            }
        };
        Some(if is_relayed { &mut self.relayed } else { &mut self.direct })
    }

    fn arrive(&mut self, arrival: Arrival) {
        if let Some(path) = self.path(&arrival).filter(|path| path.is_silent) {
            // Attempts to connect are lost: in reality the system repeats them rarely.
            if !matches!(arrival, Arrival::Dial(..)) {
                path.held.push_back(arrival);
            }
            return;
        }
        let now = self.now;
        match arrival {
            Arrival::Mailbox(side, command) => {
                self.nodes[side].handle(now, Input::Command(command)).unwrap();
            }
            Arrival::Dial(side, id, target) => self.on_dial(side, id, &target),
            Arrival::ToSide(side, id, content) if self.ends.contains_key(&(side, id)) => {
                let input = match &content {
                    Some(bytes) => Input::Bytes(id, bytes),
                    None => Input::Closed(id),
                };
                self.nodes[side].handle(now, input).unwrap();
            }
            Arrival::ToSide(..) => {}
            Arrival::ToRelay(link, content) => {
                let input = match &content {
                    Some(bytes) => Input::Bytes(link, bytes),
                    None => Input::Closed(link),
                };
                self.relay.handle(now, input).unwrap();
            }
        }
    }

    fn on_dial(&mut self, side: usize, id: LinkId, target: &Target) {
        let far = self.accepted.allocate();
        if is_relay(target) {
            self.ends.insert((side, id), End::Relay(far));
            self.at_relay.insert(far, (side, id));
            self.relay.handle(self.now, Input::Opened(far)).unwrap();
        } else {
            self.ends.insert((side, id), End::Side(1 - side, far));
            self.ends.insert((1 - side, far), End::Side(side, id));
            self.nodes[1 - side].handle(self.now, Input::Opened(far)).unwrap();
        }
        self.nodes[side].handle(self.now, Input::Opened(id)).unwrap();
    }

    /// Lets time pass until the condition holds, or for this long. Returns how long it took.
    fn run(&mut self, longest: Duration, until: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while !until(self) {
            let planned = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let due = [0, 1].map(|side| self.nodes[side].session.deadline());
            let next = due.into_iter().flatten().chain(planned).min();
            match next.filter(|next| *next <= start + longest) {
                None => {
                    self.now = start + longest;
                    return None;
                }
                Some(next) => self.now = self.now.max(next),
            }
            if planned.is_some_and(|at| at <= self.now) {
                let (_, arrival) = self.agenda.pop_first().unwrap();
                self.arrive(arrival);
            } else {
                let now = self.now;
                self.nodes.iter_mut().for_each(|node| node.advance(now).unwrap());
            }
            self.collect();
        }
        Some(self.now - start)
    }

    fn set_silent(&mut self, direct: bool, relayed: bool) {
        for (path, silent) in [(0, direct), (1, relayed)] {
            let path = if path == 0 { &mut self.direct } else { &mut self.relayed };
            path.is_silent = silent;
            let held = if silent { VecDeque::new() } else { std::mem::take(&mut path.held) };
            held.into_iter().for_each(|arrival| self.plan(arrival));
        }
    }

    fn are_connected(&self) -> bool {
        self.nodes.iter().all(|node| node.session.current().is_some())
    }
}

fn is_relay(target: &Target) -> bool {
    matches!(&target.address, Address::Tcp(endpoint) if endpoint.host == "relay.example")
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_direct_path_is_preferred_even_if_the_relay_is_as_fast() {
    let mut network = Network::new(Paths::Both, (1, 100));
    assert!(network.run(LONG, |it| it.done == [true; 2]).is_some());
    assert!(network.nodes.iter().all(|node| !node.relayed));
}

#[test]
fn a_direct_path_found_late_replaces_the_relay_unnoticed() {
    let mut network = Network::new(Paths::Both, (1, 100));
    network.set_silent(true, false);
    assert!(network.run(LONG, |it| it.done == [true; 2]).is_some());
    assert!(network.nodes.iter().all(|node| node.relayed));
    let generations = network.nodes[0].generations;
    network.set_silent(false, false);
    let direct = network.run(LONG, |it| it.nodes.iter().all(|node| !node.relayed));
    assert!(direct.is_some_and(|time| time < Duration::from_secs(10)), "{direct:?}");
    assert_eq!(network.nodes[0].generations, generations);
}

#[test]
fn data_flows_again_within_a_second_after_five_seconds_of_silence() {
    for paths in [Paths::Direct, Paths::Relay, Paths::Both] {
        let mut network = Network::new(paths, (3, 100_000));
        assert!(network.run(LONG, Network::are_connected).is_some());
        network.set_silent(true, true);
        assert_eq!(network.run(Duration::from_secs(5), |it| it.done == [true; 2]), None);
        network.set_silent(false, false);
        let time = network.run(LONG, |it| it.done == [true; 2]);
        assert!(time.is_some_and(|time| time <= Duration::from_secs(1)), "{paths:?}: {time:?}");
    }
}

#[test]
fn a_path_that_is_silent_for_a_minute_is_found_again() {
    for paths in [Paths::Direct, Paths::Relay] {
        let mut network = Network::new(paths, (3, 100_000));
        assert!(network.run(LONG, Network::are_connected).is_some());
        network.set_silent(true, true);
        assert_eq!(network.run(LONG, |it| it.done == [true; 2]), None);
        network.set_silent(false, false);
        let time = network.run(LONG, |it| it.done == [true; 2]);
        assert!(time.is_some_and(|time| time <= Duration::from_secs(10)), "{paths:?}: {time:?}");
    }
}
