//! The transit relay: pairs connections, answers them, and reports usage.
//!
//! No sockets and no bulk data: the server passes received bytes to this session until two connections are
//! paired. Then the server forwards the data itself, and reports the number of bytes with
//! [`Command::Carried`]. Spec: transit.rst "Relay"; behaviour of magic-wormhole-transit-relay 0.5.0.
//!
//! ```
//! use wormhole_kit::{Input, Instant, LinkId, Output, Session};
//! use wormhole_magic::relay::{Event, Timeouts, Relay};
//!
//! let (now, one, two) = (Instant::now(), LinkId(1), LinkId(3));
//! let mut relay = Relay::new(Timeouts::default());
//! for (link, side) in [(one, "0123456789abcdef"), (two, "fedcba9876543210")] {
//!     let line = format!("please relay {} for side {side}\n", "0".repeat(64));
//!     relay.handle(now, Input::Opened(link));
//!     relay.handle(now, Input::Bytes(link, line.as_bytes()));
//! }
//! assert_eq!(relay.poll(), Some(Output::Send(one, b"ok\n".to_vec())));
//! assert_eq!(relay.poll(), Some(Output::Send(two, b"ok\n".to_vec())));
//! assert_eq!(relay.poll(), Some(Output::Event(Event::Paired { first: one, second: two })));
//! ```

mod handshake;
mod usage;
mod waiting;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

pub use handshake::{BadHandshake, Handshake, MAX_LINE, Side, Token};
pub use usage::{Mood, Record, Usage};
use waiting::{MatchResult, WaitingList};
use wormhole_kit::{Input, Instant, LinkId, Output, Session};

/// Time limits for unpaired connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// From the opening of a connection to the end of its handshake line.
    pub handshake: Duration,
    /// From the handshake to the partner; `None` means unlimited, as in the Python relay.
    pub waiting: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { handshake: HANDSHAKE_TIME, waiting: Some(WAITING_TIME) }
    }
}

/// Commands of the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// The server forwarded this many bytes from this paired connection to its partner.
    Carried(LinkId, u64),
    /// Shut down: unpaired and new connections are closed; pairs continue.
    Drain,
}

/// Events for the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// Data of each of them is for the other. The relay forwards bytes that it receives, but the server should
    /// forward them itself.
    Paired {
        /// The connection that waited.
        first: LinkId,
        /// The connection that came later.
        second: LinkId,
    },
    /// A pair, or an unpaired connection, has ended. For the usage records.
    Ended(Usage),
}

/// Pairs all connections of a relay.
///
/// | connection | input | sent to it | next | recorded mood |
/// |---|---|---|---|---|
/// | expects its handshake | valid line, no match | | waits | |
/// | expects its handshake | valid line, match | `ok` to both | paired | redundant: other waiting ones |
/// | expects its handshake | invalid or too long line | `bad handshake` | closed | errory |
/// | expects its handshake | closed, too slow, drain | | closed | empty |
/// | waits | any byte | `impatient` | closed | impatient |
/// | waits | closed, too long, drain | | closed | lonely |
/// | paired | bytes | (to its partner) | paired | |
/// | paired | closed | | both closed | happy |
///
/// Two connections match if their tokens are equal and their sides differ or one has no side. Bytes after the
/// line that completes a pair are data for the partner, as in the Python relay.
#[derive(Debug)]
pub struct Relay {
    timeouts: Timeouts,
    links: BTreeMap<LinkId, RelayLink>,
    waiting: WaitingList,
    deadlines: BTreeSet<(Instant, LinkId)>,
    draining: bool,
    outputs: VecDeque<Output<Infallible, Event>>,
}

/// An open connection.
#[derive(Debug)]
struct RelayLink {
    opened: Instant,
    deadline: Option<Instant>,
    state: LinkState,
}

/// The state of a connection.
#[derive(Debug)]
enum LinkState {
    /// The received part of the line.
    ExpectHandshake { line: Vec<u8> },
    /// The partner is not connected yet.
    ExpectPartner { handshake: Handshake },
    /// Paired; `sent` bytes have been received from it.
    Paired { partner: LinkId, sent: u64 },
}

impl Relay {
    /// A relay without connections.
    pub const fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            links: BTreeMap::new(),
            waiting: WaitingList::new(),
            deadlines: BTreeSet::new(),
            draining: false,
            outputs: VecDeque::new(),
        }
    }

    /// Number of connections that wait for a partner.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn on_opened(&mut self, now: Instant, id: LinkId) {
        let state = LinkState::ExpectHandshake { line: Vec::new() };
        self.links.insert(id, RelayLink { opened: now, deadline: None, state });
        self.set_deadline(id, now.checked_add(self.timeouts.handshake));
        if self.draining {
            self.reject(now, id, b"", Mood::Empty);
        }
    }

    fn on_bytes(&mut self, now: Instant, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match &mut link.state {
            LinkState::ExpectHandshake { line } => match handshake::read_line(line, bytes) {
                handshake::Line::Partial => {}
                handshake::Line::Whole(handshake, rest) => {
                    self.on_handshake(now, id, handshake);
                    self.on_bytes(now, id, rest);
                }
                handshake::Line::Bad => self.reject(now, id, b"bad handshake\n", Mood::Errory),
            },
            LinkState::ExpectPartner { .. } if bytes.is_empty() => {}
            LinkState::ExpectPartner { .. } => {
                self.reject(now, id, b"impatient\n", Mood::Impatient);
            }
            LinkState::Paired { partner, sent } => {
                *sent = sent.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                if !bytes.is_empty() {
                    self.outputs.push_back(Output::Send(*partner, bytes.to_vec()));
                }
            }
        }
    }

    fn on_handshake(&mut self, now: Instant, id: LinkId, handshake: Handshake) {
        match self.waiting.add_or_match(id, &handshake) {
            MatchResult::Waiting { evicted } => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.state = LinkState::ExpectPartner { handshake };
                }
                let until = self.timeouts.waiting.and_then(|time| now.checked_add(time));
                self.set_deadline(id, until);
                if let Some(evicted) = evicted {
                    self.reject(now, evicted, b"", Mood::Redundant);
                }
            }
            MatchResult::Matched { partner, redundant } => {
                self.pair(partner, id);
                for other in redundant {
                    self.reject(now, other, b"", Mood::Redundant);
                }
            }
        }
    }

    fn pair(&mut self, first: LinkId, second: LinkId) {
        for (id, partner) in [(first, second), (second, first)] {
            self.set_deadline(id, None);
            if let Some(link) = self.links.get_mut(&id) {
                link.state = LinkState::Paired { partner, sent: 0 };
            }
            self.outputs.push_back(Output::Send(id, b"ok\n".to_vec()));
        }
        self.outputs.push_back(Output::Event(Event::Paired { first, second }));
    }

    /// Sends a last answer to an unpaired connection and closes it.
    fn reject(&mut self, now: Instant, id: LinkId, answer: &[u8], mood: Mood) {
        if !answer.is_empty() {
            self.outputs.push_back(Output::Send(id, answer.to_vec()));
        }
        self.outputs.push_back(Output::Close(id));
        self.end(now, id, mood);
    }

    /// Removes an unpaired connection and reports it.
    fn end(&mut self, now: Instant, id: LinkId, mood: Mood) {
        self.set_deadline(id, None);
        let Some(link) = self.links.remove(&id) else { return };
        if let LinkState::ExpectPartner { handshake } = &link.state {
            self.waiting.remove(id, handshake);
        }
        let total = now.saturating_duration_since(link.opened);
        self.outputs.push_back(Output::Event(Event::Ended(Usage {
            total,
            waiting: None,
            bytes: 0,
            mood,
        })));
    }

    fn on_closed(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        match &link.state {
            LinkState::ExpectHandshake { .. } => self.end(now, id, Mood::Empty),
            LinkState::ExpectPartner { .. } => self.end(now, id, Mood::Lonely),
            LinkState::Paired { partner, .. } => {
                let partner = *partner;
                self.on_pair_closed(now, id, partner);
            }
        }
    }

    fn on_pair_closed(&mut self, now: Instant, id: LinkId, partner: LinkId) {
        self.outputs.push_back(Output::Close(partner));
        let (Some(one), Some(two)) = (self.links.remove(&id), self.links.remove(&partner)) else {
            return;
        };
        let (earlier, later) = (one.opened.min(two.opened), one.opened.max(two.opened));
        self.outputs.push_back(Output::Event(Event::Ended(Usage {
            total: now.saturating_duration_since(earlier),
            waiting: Some(later.saturating_duration_since(earlier)),
            bytes: one.sent().saturating_add(two.sent()),
            mood: Mood::Happy,
        })));
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Carried(id, bytes) => {
                let link = self.links.get_mut(&id);
                if let Some(RelayLink { state: LinkState::Paired { sent, .. }, .. }) = link {
                    *sent = sent.saturating_add(bytes);
                }
            }
            Command::Drain => {
                self.draining = true;
                let unpaired = self.links.iter().filter(|(_, link)| !link.is_paired());
                for id in unpaired.map(|(id, _)| *id).collect::<Vec<_>>() {
                    self.outputs.push_back(Output::Close(id));
                    self.on_closed(now, id);
                }
            }
        }
    }

    fn set_deadline(&mut self, id: LinkId, deadline: Option<Instant>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut link.deadline, deadline) {
            self.deadlines.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, id));
        }
    }
}

impl RelayLink {
    const fn is_paired(&self) -> bool {
        matches!(self.state, LinkState::Paired { .. })
    }

    /// Bytes received from this connection for its partner.
    const fn sent(&self) -> u64 {
        match self.state {
            LinkState::Paired { sent, .. } => sent,
            LinkState::ExpectHandshake { .. } | LinkState::ExpectPartner { .. } => 0,
        }
    }
}

impl Session for Relay {
    /// The relay opens no connections.
    type Address = Infallible;
    type Command = Command;
    type Event = Event;
    type Changes = Infallible;
    /// No connection can end the relay.
    type Error = Infallible;

    fn handle(&mut self, now: Instant, input: Input<'_, Command>) -> Result<(), Infallible> {
        match input {
            Input::Opened(id) => self.on_opened(now, id),
            Input::Bytes(id, bytes) => self.on_bytes(now, id, bytes),
            Input::Closed(id) => self.on_closed(now, id),
            Input::Command(command) => self.on_command(now, command),
            Input::Committed => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Output<Infallible, Event>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Infallible> {
        while let Some(&(deadline, id)) = self.deadlines.first().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(deadline, id));
            self.outputs.push_back(Output::Close(id));
            self.on_closed(now, id);
        }
        Ok(())
    }
}

/// Time limit for the handshake line. Clients send it at once, so this only allows for slow networks.
const HANDSHAKE_TIME: Duration = Duration::from_secs(60);

/// Time limit for the partner. Longer than anyone needs to decide whether to accept a file.
const WAITING_TIME: Duration = Duration::from_secs(60 * 60);
