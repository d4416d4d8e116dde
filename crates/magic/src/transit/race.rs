//! The race for one link: everything that may work is tried, the sender picks the first that does
//! (transit.rst "Discovery").
//!
//! Not the sockets: the driver opens what [`Output::Connect`] names, adds the links that come in,
//! and takes the winning link out when [`Event::Connected`] tells it to.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use wormhole_kit::{Input, Instant, LinkId, LinkIds, Output, Session};

use super::handshake::{GO, Handshake, Lines, NEVER_MIND};
use super::hint::{Ability, Endpoint, RelayHint, TransitInfo};
use super::keys::{RelaySide, Role, TransitKey};
use super::plan::{Plan, Wave};

/// Whether a relay may be used. One that is can see both addresses and the amount, no contents.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum RelayPolicy {
    /// A direct connection if there is one in two seconds, else a relay.
    #[default]
    Auto,
    /// A direct connection or none.
    Never,
    /// A relay and nothing else, so that the peer does not learn our address. Without Tor it must
    /// be one of our own: the peer could watch the one it names.
    Only,
}

/// What a race is run with.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "whoever starts a race decides all of it")]
pub struct RaceSettings {
    /// Which end we are.
    pub role: Role,
    /// Names us towards relays; random.
    pub side: RelaySide,
    /// Our own relays.
    pub relays: Vec<RelayHint>,
    /// Whether a relay may be used.
    pub policy: RelayPolicy,
    /// Whether links may come in: as long as they may, the race goes on when all else has failed.
    pub listens: bool,
    /// Whether everything goes through Tor. Then private and IPv6 addresses are of no use, and
    /// onion addresses are.
    pub tor: bool,
}

/// Where a link leads.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// TCP.
    Tcp(Endpoint),
    /// A WebSocket that carries the bytes in binary messages.
    WebSocket(String),
}

/// Where a link may lead, which depends on who named its address. The driver checks it against every
/// address that a name resolves to, before it connects.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Permit {
    /// Anywhere: our user configured it, or the peer offers nothing but this computer.
    #[default]
    Anywhere,
    /// Anywhere but to this computer: the peer says that it listens there.
    NotThisComputer,
    /// To a public address, or into a network that this computer is part of: the peer says that a
    /// relay is there.
    PublicOrOwnNetwork,
}

/// A link that a race wants to be opened.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "drivers must handle all of it")]
pub struct Target {
    /// Where it leads.
    pub address: Address,
    /// What has to be checked before.
    pub permit: Permit,
}

/// How a link came about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// The peer connected to us.
    Accepted,
    /// We connected to the peer.
    Direct(Endpoint),
    /// Both connected to this relay.
    Relay(Address),
}

impl Route {
    /// Where the link leads, if we opened it.
    fn address(&self) -> Option<Address> {
        match self {
            Self::Accepted => None,
            Self::Direct(endpoint) => Some(Address::Tcp(endpoint.clone())),
            Self::Relay(address) => Some(address.clone()),
        }
    }
}

/// What the driver tells a race.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// What the peer can do, and its hints, have come: the race begins. Links may come in before.
    Start(TransitInfo),
}

/// What a race tells the driver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// This link is the one. Write out what was sent on it before, then it carries records. Every
    /// other link has been closed.
    Connected {
        /// The link.
        link: LinkId,
        /// How it came about.
        route: Route,
        /// The first bytes of the records, when they came with the end of the handshake.
        received: Vec<u8>,
    },
}

/// Why no link came about.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RaceError {
    /// Everything was tried, and nobody can come in.
    #[error("none of {0} ways worked")]
    AllFailed(usize),
    /// There is no way that both sides know and allow.
    #[error("there is no way that both sides know and allow")]
    NoWay,
    /// Nothing worked for this long.
    #[error("nothing worked in {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// Finds one link to the peer.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | Waiting | Opened (came in) | our hello | same |
/// | Waiting | Start | Connect to the first wave | Racing |
/// | Racing | deadline | Connect to the next wave | same |
/// | Racing | Opened | our hello, or the relay's line | same |
/// | Racing | Closed, wrong bytes | Close | same, or error when nothing is left |
/// | Racing | handshake complete | (sender) `go`; Close all others; Connected | Ended |
/// | Racing | 60 s | Close all | Ended, error `TimedOut` |
///
/// A sender may complete in Waiting, too: the peer got our hints before we got its.
pub struct Race {
    lines: Lines,
    settings: RaceSettings,
    state: State,
    links: BTreeMap<LinkId, Racer>,
    ids: LinkIds,
    tried: usize,
    lost_relay: Option<Address>,
    last_lost: Option<Address>,
    outputs: VecDeque<Output<Target, Event>>,
}

enum State {
    Waiting,
    Racing { plan: Plan, ends: Instant },
    Ended,
}

/// One link of the race.
struct Racer {
    route: Route,
    /// `None` until the link is open.
    handshake: Option<Handshake>,
    give_up: Instant,
}

impl Race {
    /// Prepares a race.
    pub fn new(key: &TransitKey, settings: RaceSettings) -> Self {
        Self {
            lines: Lines::new(key, settings.role, settings.side),
            settings,
            state: State::Waiting,
            links: BTreeMap::new(),
            ids: LinkIds::outgoing(),
            tried: 0,
            lost_relay: None,
            last_lost: None,
            outputs: VecDeque::new(),
        }
    }

    /// The relay that was lost last: it could not be reached, or brought no peer.
    pub const fn lost_relay(&self) -> Option<&Address> {
        self.lost_relay.as_ref()
    }

    /// Where the link led that was lost last, or could not be opened.
    pub const fn last_lost(&self) -> Option<&Address> {
        self.last_lost.as_ref()
    }

    fn start(&mut self, now: Instant, peer: &TransitInfo) -> Result<(), RaceError> {
        if !matches!(self.state, State::Waiting) {
            return Ok(());
        }
        // Whoever hides its address does not dial ours.
        self.settings.listens &= peer.is_able(Ability::DirectTcp);
        let plan = Plan::new(now, &self.settings, peer);
        if plan.is_empty() && self.links.is_empty() && !self.settings.listens {
            self.state = State::Ended;
            return Err(RaceError::NoWay);
        }
        self.state = State::Racing { plan, ends: now + RACE_TIMEOUT };
        self.advance(now)
    }

    /// Starts the waves whose time has come; notices when nothing is left to hope for.
    fn advance(&mut self, now: Instant) -> Result<(), RaceError> {
        loop {
            let State::Racing { plan, ends } = &mut self.state else { return Ok(()) };
            if now >= *ends {
                self.end();
                return Err(RaceError::TimedOut(RACE_TIMEOUT));
            }
            // With nobody able to come in, waiting for the next wave would be for nothing.
            let idle = self.links.is_empty() && !self.settings.listens;
            match plan.next_wave(now, idle) {
                Some(wave) => self.launch(now, wave),
                None if idle => {
                    self.end();
                    return Err(RaceError::AllFailed(self.tried));
                }
                None => return Ok(()),
            }
        }
    }

    fn launch(&mut self, now: Instant, wave: Wave) {
        for (target, route) in wave {
            let link = self.ids.allocate();
            self.tried += 1;
            let racer = Racer { route, handshake: None, give_up: now + LINK_TIMEOUT };
            self.links.insert(link, racer);
            self.outputs.push_back(Output::Connect(link, target));
        }
    }

    fn on_opened(&mut self, now: Instant, link: LinkId) {
        if !self.links.contains_key(&link) {
            self.make_room();
            let give_up = now + LINK_TIMEOUT;
            self.links.insert(link, Racer { route: Route::Accepted, handshake: None, give_up });
        }
        let Some(racer) = self.links.get_mut(&link) else { return };
        let (handshake, say) = match racer.route {
            Route::Accepted | Route::Direct(_) => Handshake::direct(&self.lines),
            Route::Relay(_) => Handshake::relayed(&self.lines),
        };
        racer.handshake = Some(handshake);
        self.outputs.push_back(Output::Send(link, say));
    }

    /// Strangers may connect, too. When many have, the one that has shown nothing for longest goes.
    fn make_room(&mut self) {
        let strangers = self.links.iter().filter(|(_, racer)| {
            racer.route == Route::Accepted
                && !racer.handshake.as_ref().is_some_and(Handshake::saw_hello)
        });
        let strangers: Vec<_> = strangers.map(|(link, racer)| (racer.give_up, *link)).collect();
        if strangers.len() >= MAX_STRANGERS
            && let Some((_, link)) = strangers.into_iter().min()
        {
            self.drop_link(link);
        }
    }

    fn on_bytes(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(handshake) = self.links.get_mut(&link).and_then(|racer| racer.handshake.as_mut())
        else {
            return;
        };
        let mut say = Vec::new();
        let outcome = handshake.handle(&self.lines, bytes, &mut say);
        if !say.is_empty() {
            self.outputs.push_back(Output::Send(link, say));
        }
        match outcome {
            Ok(Some(received)) => self.win(link, received),
            Ok(None) => {}
            Err(_) => self.drop_link(link),
        }
    }

    /// The handshake on this link is complete. For a sender that means it may choose, and it
    /// chooses the first.
    fn win(&mut self, link: LinkId, received: Vec<u8>) {
        let Some(racer) = self.links.remove(&link) else { return };
        if self.settings.role == Role::Sender {
            self.outputs.push_back(Output::Send(link, GO.to_vec()));
        }
        self.end();
        let route = racer.route;
        self.outputs.push_back(Output::Event(Event::Connected { link, route, received }));
    }

    /// Ends the race and closes what is left.
    fn end(&mut self) {
        self.state = State::Ended;
        for (link, racer) in std::mem::take(&mut self.links) {
            let greeted = racer.handshake.as_ref().is_some_and(Handshake::said_hello);
            if greeted && self.settings.role == Role::Sender {
                self.outputs.push_back(Output::Send(link, NEVER_MIND.to_vec()));
            }
            self.outputs.push_back(Output::Close(link));
        }
    }

    fn drop_link(&mut self, link: LinkId) {
        if self.forget(link) {
            self.outputs.push_back(Output::Close(link));
        }
    }

    /// Whether there was such a link.
    fn forget(&mut self, link: LinkId) -> bool {
        let Some(racer) = self.links.remove(&link) else { return false };
        if let Route::Relay(address) = racer.route {
            self.lost_relay = Some(address);
        }
        true
    }
}

impl Session for Race {
    type Address = Target;
    type Command = Command;
    type Event = Event;
    type Changes = Infallible;
    type Error = RaceError;

    fn handle(&mut self, now: Instant, input: Input<'_, Command>) -> Result<(), RaceError> {
        if matches!(self.state, State::Ended) {
            if let Input::Opened(link) = input {
                self.outputs.push_back(Output::Close(link));
            }
            return Ok(());
        }
        match input {
            Input::Opened(link) => self.on_opened(now, link),
            Input::Bytes(link, bytes) => self.on_bytes(link, bytes),
            Input::Closed(link) => {
                self.last_lost = self.links.get(&link).and_then(|racer| racer.route.address());
                self.forget(link);
            }
            Input::Command(Command::Start(peer)) => self.start(now, &peer)?,
            Input::Committed => {}
        }
        self.advance(now)
    }

    fn poll(&mut self) -> Option<Output<Target, Event>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        let race = match &self.state {
            State::Racing { plan, ends } => plan.deadline().into_iter().chain([*ends]).min(),
            State::Waiting | State::Ended => None,
        };
        self.links.values().map(|racer| racer.give_up).chain(race).min()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), RaceError> {
        let late = self.links.iter().filter(|(_, racer)| now >= racer.give_up);
        for link in late.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.drop_link(link);
        }
        self.advance(now)
    }
}

impl std::fmt::Debug for Race {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Race").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

/// Time for one link from the first attempt to the verdict, as in the reference.
const LINK_TIMEOUT: Duration = Duration::from_secs(60);

/// Time for all of it. The reference takes twice as long; a peer that is there needs no half of this,
/// and a person waits for one that is not.
const RACE_TIMEOUT: Duration = Duration::from_secs(60);

/// Links that came in and have shown nothing yet. The peer needs one per address we told it of.
const MAX_STRANGERS: usize = 64;

#[cfg(test)]
mod tests;
