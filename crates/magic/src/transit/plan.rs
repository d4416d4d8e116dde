//! What a race tries, and when: direct links at once, then one class of relays after the other.
//!
//! Decided once, from both sides' hints; [`super::race`] carries it out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::hint::{Ability, Hint, Priority, RelayAddress, TcpHint, TransitInfo};
use super::race::{Address, RaceSettings, RelayPolicy, Route};

/// What is tried at the same time.
pub(super) type Wave = Vec<(Address, Route)>;

/// The waves that have not been started, soonest first.
pub(super) struct Plan {
    waves: VecDeque<(Instant, Wave)>,
}

impl Plan {
    pub(super) fn new(now: Instant, settings: &RaceSettings, peer: &TransitInfo) -> Self {
        let direct = direct_wave(settings, &peer.hints);
        let mut at = if direct.is_empty() { now } else { now + RELAY_DELAY };
        let mut waves = VecDeque::new();
        if !direct.is_empty() {
            waves.push_back((now, direct));
        }
        for class in relay_classes(settings, peer) {
            waves.push_back((at, class));
            at += RELAY_DELAY;
        }
        Self { waves }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waves.is_empty()
    }

    /// Takes the next wave if its time has come, or if there is nothing to wait for.
    pub(super) fn next_wave(&mut self, now: Instant, idle: bool) -> Option<Wave> {
        let (at, _) = self.waves.front()?;
        if now >= *at || idle { self.waves.pop_front().map(|(_, wave)| wave) } else { None }
    }

    /// When the next wave starts.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waves.front().map(|(at, _)| *at)
    }
}

/// Every distinct endpoint of the peer that we can and may dial.
fn direct_wave(settings: &RaceSettings, hints: &[Hint]) -> Wave {
    if settings.policy == RelayPolicy::Only {
        return Wave::new();
    }
    let usable = |hint: &TcpHint| !settings.tor || reachable_through_tor(&hint.endpoint.host);
    let endpoints: BTreeSet<_> = hints
        .iter()
        .filter_map(|hint| match hint {
            Hint::Direct(hint) if usable(hint) => Some(hint.endpoint.clone()),
            Hint::Tor(hint) if settings.tor => Some(hint.endpoint.clone()),
            Hint::Direct(_) | Hint::Tor(_) | Hint::Relay(_) => None,
        })
        .collect();
    let wave = endpoints.into_iter();
    wave.map(|endpoint| (Address::Tcp(endpoint.clone()), Route::Direct(endpoint))).collect()
}

/// The relays of both sides (of ours alone under [`RelayPolicy::Only`]) in classes of equal preference, best first. Of equal priority TCP goes
/// before WebSocket, which carries the same bytes in frames.
fn relay_classes(settings: &RaceSettings, peer: &TransitInfo) -> Vec<Wave> {
    if settings.policy == RelayPolicy::Never || !peer.is_able(Ability::Relay) {
        return Vec::new();
    }
    let theirs = peer.hints.iter().filter_map(|hint| match hint {
        Hint::Relay(relay) => Some(relay),
        Hint::Direct(_) | Hint::Tor(_) => None,
    });
    // Whoever runs the peer may run its relay, too, and would see there what `Only` is to hide. Tor
    // hides it better.
    let trusts_peer = settings.policy != RelayPolicy::Only || settings.tor;
    let theirs = theirs.filter(|_| trusts_peer);
    let mut known = BTreeSet::new();
    let mut classes: BTreeMap<(Reverse<Priority>, bool), Wave> = BTreeMap::new();
    for address in settings.relays.iter().chain(theirs).flat_map(|relay| &relay.addresses) {
        let (target, websocket) = match address {
            RelayAddress::Tcp(hint) => (Address::Tcp(hint.endpoint.clone()), false),
            RelayAddress::WebSocket { url, .. } => (Address::WebSocket(url.clone()), true),
        };
        if known.len() < MAX_RELAYS && known.insert(target.clone()) {
            let class = classes.entry((Reverse(address.priority()), websocket)).or_default();
            class.push((target.clone(), Route::Relay(target)));
        }
    }
    classes.into_values().collect()
}

/// Tor's exits do not reach private networks, and many of them no IPv6.
fn reachable_through_tor(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            !(address.is_private() || address.is_loopback() || address.is_link_local())
        }
        Ok(IpAddr::V6(_)) => false,
        Err(_) => true,
    }
}

/// Head start of direct links over relays, and of each class of relays over the next, as in the
/// reference.
const RELAY_DELAY: Duration = Duration::from_secs(2);

/// Relay addresses tried, ours first: the peer must not make us connect to half the world.
const MAX_RELAYS: usize = 16;
