//! The race for a connection: all possible targets are tried, and the sender chooses the first that works (transit.rst
//! "Discovery").
//!
//! The caller opens the connections of [`Output::Connect`], adds incoming ones, and takes over the winning one after
//! [`Event::Connected`].

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use wormhole_kit::{Input, Instant, LinkId, LinkIds, Output, Session};

use super::handshake::{GO, Handshake, Lines, NEVER_MIND};
use super::hint::{Ability, Endpoint, RelayHint, TransitInfo};
use super::keys::{RelaySide, Role, TransitKey};
use super::plan::{Plan, Wave};

/// Whether to use relays. A relay sees both addresses and the amount of data, but no contents.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum RelayPolicy {
    /// A direct connection if one succeeds within two seconds, else a relay.
    #[default]
    Auto,
    /// Only a direct connection.
    Never,
    /// Only a relay, so that the peer does not learn our address. Without Tor it must be one of our own relays, because
    /// the peer could observe the relay that it names.
    Only,
}

/// Settings of a race.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the caller that starts a race sets all of it")]
pub struct RaceSettings {
    /// Our role.
    pub role: Role,
    /// Identifies us to relays; random.
    pub side: RelaySide,
    /// Our own relays.
    pub relays: Vec<RelayHint>,
    /// Whether to use relays.
    pub policy: RelayPolicy,
    /// Whether incoming connections are possible: then the race continues even if everything else has failed.
    pub listens: bool,
    /// Whether all connections use Tor. Then private and IPv6 addresses are useless, but onion addresses
    /// work.
    pub tor: bool,
}

/// The address of a connection.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// TCP.
    Tcp(Endpoint),
    /// A WebSocket whose binary messages contain the bytes.
    WebSocket(String),
}

/// The allowed addresses, depending on the side that named the host. The caller checks every address to which a name
/// resolves, before it connects.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Permit {
    /// All: our user configured it, or the peer only offers this computer.
    #[default]
    Anywhere,
    /// All except this computer: the peer listens there.
    NotThisComputer,
    /// Public addresses and networks of this computer: a relay named by the
    /// peer.
    PublicOrOwnNetwork,
}

/// A connection to open.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "drivers must handle all of it")]
pub struct Target {
    /// Its address.
    pub address: Address,
    /// The check before connecting.
    pub permit: Permit,
}

/// How a connection was established.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// The peer connected to us.
    Accepted,
    /// We connected to the peer.
    Direct(Endpoint),
    /// Both sides connected to this relay.
    Relay(Address),
}

impl Route {
    /// The address of the connection, if we opened it.
    fn address(&self) -> Option<Address> {
        match self {
            Self::Accepted => None,
            Self::Direct(endpoint) => Some(Address::Tcp(endpoint.clone())),
            Self::Relay(address) => Some(address.clone()),
        }
    }
}

/// Commands for a race.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// The peer's abilities and hints arrived: the race begins. Incoming connections may precede it.
    Start(TransitInfo),
}

/// Events of a race.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// This connection was chosen. Flush what was sent on it, then use it for records. All others have been
    /// closed.
    Connected {
        /// The connection.
        link: LinkId,
        /// How it was established.
        route: Route,
        /// The first bytes of the records, if they arrived with the end of the handshake.
        received: Vec<u8>,
    },
}

/// Why no connection was established.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RaceError {
    /// All targets failed, and no incoming connection is possible.
    #[error("{}", describe_failures(*.0))]
    AllFailed(usize),
    /// The options of both sides have nothing in common.
    #[error("the options of both sides allow no connection")]
    NoCommonMethod,
    /// No connection was established within this time.
    #[error("no connection after {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// Describes that all connection attempts failed.
fn describe_failures(attempts: usize) -> String {
    match attempts {
        1 => "the only connection attempt failed".to_owned(),
        _ => format!("all {attempts} connection attempts failed"),
    }
}

/// Finds a connection to the peer.
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
/// A sender may also complete in Waiting, because the peer has received our hints before we received its hints.
pub struct Race {
    lines: Lines,
    settings: RaceSettings,
    state: RaceState,
    links: BTreeMap<LinkId, Racer>,
    ids: LinkIds,
    tried: usize,
    lost_relay: Option<Address>,
    last_lost: Option<Address>,
    outputs: VecDeque<Output<Target, Event>>,
}

enum RaceState {
    Waiting,
    Racing { plan: Plan, ends: Instant },
    Ended,
}

/// A connection of the race.
struct Racer {
    route: Route,
    /// `None` until the connection is open.
    handshake: Option<Handshake>,
    give_up: Instant,
}

impl Race {
    /// Creates a race.
    pub fn new(key: &TransitKey, settings: RaceSettings) -> Self {
        Self {
            lines: Lines::new(key, settings.role, settings.side),
            settings,
            state: RaceState::Waiting,
            links: BTreeMap::new(),
            ids: LinkIds::outgoing(),
            tried: 0,
            lost_relay: None,
            last_lost: None,
            outputs: VecDeque::new(),
        }
    }

    /// The relay that failed last: it was unreachable, or the peer did not connect to it.
    pub const fn lost_relay(&self) -> Option<&Address> {
        self.lost_relay.as_ref()
    }

    /// The address of the connection that was lost or failed last.
    pub const fn last_lost(&self) -> Option<&Address> {
        self.last_lost.as_ref()
    }

    fn start(&mut self, now: Instant, peer: &TransitInfo) -> Result<(), RaceError> {
        if !matches!(self.state, RaceState::Waiting) {
            return Ok(());
        }
        // A peer that hides its address does not connect to ours.
        self.settings.listens &= peer.is_able(Ability::DirectTcp);
        let plan = Plan::new(now, &self.settings, peer);
        if plan.is_empty() && self.links.is_empty() && !self.settings.listens {
            self.state = RaceState::Ended;
            return Err(RaceError::NoCommonMethod);
        }
        self.state = RaceState::Racing { plan, ends: now + RACE_TIMEOUT };
        self.advance(now)
    }

    /// Starts the waves that are due; ends the race if nothing is left to try.
    fn advance(&mut self, now: Instant) -> Result<(), RaceError> {
        loop {
            let RaceState::Racing { plan, ends } = &mut self.state else { return Ok(()) };
            if now >= *ends {
                self.end();
                return Err(RaceError::TimedOut(RACE_TIMEOUT));
            }
            // Without possible incoming connections, there is no reason to wait for the next wave.
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

    /// Anyone may connect. If there are too many unauthenticated connections, the oldest one is closed.
    fn make_room(&mut self) {
        let strangers = self.links.iter().filter(|(_, racer)| {
            racer.route == Route::Accepted
                && !racer.handshake.as_ref().is_some_and(Handshake::hello_received)
        });
        let strangers: Vec<_> = strangers.map(|(link, racer)| (racer.give_up, *link)).collect();
        if strangers.len() >= MAX_UNAUTHENTICATED
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
            Ok(Some(received)) => self.choose(link, received),
            Ok(None) => {}
            Err(_) => self.drop_link(link),
        }
    }

    /// The handshake of a connection is complete. A sender chooses the first such
    /// connection.
    fn choose(&mut self, link: LinkId, received: Vec<u8>) {
        let Some(racer) = self.links.remove(&link) else { return };
        if self.settings.role == Role::Sender {
            self.outputs.push_back(Output::Send(link, GO.to_vec()));
        }
        self.end();
        let route = racer.route;
        self.outputs.push_back(Output::Event(Event::Connected { link, route, received }));
    }

    /// Ends the race and closes all other connections.
    fn end(&mut self) {
        self.state = RaceState::Ended;
        for (link, racer) in std::mem::take(&mut self.links) {
            let greeted = racer.handshake.as_ref().is_some_and(Handshake::hello_sent);
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

    /// Removes a connection. Returns whether it existed.
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
        if matches!(self.state, RaceState::Ended) {
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
            RaceState::Racing { plan, ends } => plan.deadline().into_iter().chain([*ends]).min(),
            RaceState::Waiting | RaceState::Ended => None,
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

/// Time limit for a connection from the first attempt to the decision, as in the Python client.
const LINK_TIMEOUT: Duration = Duration::from_secs(60);

/// Time limit for the race: half of the Python client's. If the peer is there, half of this time is enough,
/// and the user is waiting.
const RACE_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of unauthenticated incoming connections. The peer needs one for each of our addresses.
const MAX_UNAUTHENTICATED: usize = 64;

#[cfg(test)]
mod tests;
