//! The plan of a race: direct connections first, then groups of relays one after the other.
//!
//! Computed once from both sides' hints; [`super::race`] executes it, and dilation does so repeatedly.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use wormhole_kit::{Instant, Scope, scope};

use super::hint::{Ability, Hint, Priority, RelayAddress, TransitInfo};
use super::race::{Address, Permit, RaceSettings, RelayPolicy, Route, Target};

/// Targets to try at the same time.
pub(crate) type Wave = Vec<(Target, Route)>;

/// The waves that have not been started, earliest first.
#[derive(Debug)]
pub(crate) struct Plan {
    waves: VecDeque<(Instant, Wave)>,
}

impl Plan {
    pub(crate) fn new(now: Instant, settings: &RaceSettings, peer: &TransitInfo) -> Self {
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

    /// Takes the next wave if it is due, or if nothing else is being tried.
    pub(crate) fn next_wave(&mut self, now: Instant, idle: bool) -> Option<Wave> {
        let (at, _) = self.waves.front()?;
        if now >= *at || idle { self.waves.pop_front().map(|(_, wave)| wave) } else { None }
    }

    /// When the next wave starts.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waves.front().map(|(at, _)| *at)
    }
}

/// All distinct endpoints of the peer that we can and may connect to.
///
/// They include private addresses, because two offices may be connected by a router. Addresses of this computer are
/// used only if the peer offers no others.
fn direct_wave(settings: &RaceSettings, hints: &[Hint]) -> Wave {
    if settings.policy == RelayPolicy::Only {
        return Wave::new();
    }
    let usable = |host: &str| {
        if settings.tor { is_reachable_through_tor(host) } else { !is_unusable(host) }
    };
    let mut room = MAX_DIRECT_ADDRESSES;
    let endpoints: BTreeSet<_> = hints
        .iter()
        .filter_map(|hint| match hint {
            Hint::Direct(hint) => Some(&hint.endpoint),
            Hint::Tor(hint) if settings.tor => Some(&hint.endpoint),
            Hint::Tor(_) | Hint::Relay(_) => None,
        })
        .filter(|endpoint| usable(&endpoint.host))
        .collect();
    let endpoints: BTreeSet<_> = endpoints
        .into_iter()
        .filter(|endpoint| {
            let rest = room.checked_sub(host_addresses(&endpoint.host));
            room = rest.unwrap_or(room);
            rest.is_some()
        })
        .collect();
    let all_here = endpoints.iter().all(|endpoint| is_this_computer(&endpoint.host));
    let wave = endpoints.into_iter().filter(|it| all_here || !is_this_computer(&it.host));
    let permit = if all_here { Permit::Anywhere } else { Permit::NotThisComputer };
    wave.map(|endpoint| {
        let address = Address::Tcp(endpoint.clone());
        (Target { address, permit }, Route::Direct(endpoint.clone()))
    })
    .collect()
}

/// The relays of both sides (with [`RelayPolicy::Only`], only ours) in groups of equal priority, best first. For
/// equal priority, TCP precedes WebSocket, which adds framing.
fn relay_classes(settings: &RaceSettings, peer: &TransitInfo) -> Vec<Wave> {
    if settings.policy == RelayPolicy::Never || !peer.is_able(Ability::Relay) {
        return Vec::new();
    }
    let theirs = peer.hints.iter().filter_map(|hint| match hint {
        Hint::Relay(relay) => Some(relay),
        Hint::Direct(_) | Hint::Tor(_) => None,
    });
    // The peer may also run its relay, and see there what `Only` should hide. Tor hides it
    // better.
    let trusts_peer = settings.policy != RelayPolicy::Only || settings.tor;
    let theirs = theirs.filter(|_| trusts_peer);
    let ours = settings.relays.iter().map(|relay| (relay, Permit::Anywhere));
    let theirs = theirs.map(|relay| (relay, Permit::PublicOrOwnNetwork));
    let mut known = BTreeSet::new();
    let mut classes: BTreeMap<(Reverse<Priority>, bool), Wave> = BTreeMap::new();
    // Ours first: a relay that both sides name counts as configured.
    for (relay, permit) in ours.chain(theirs) {
        for named in &relay.addresses {
            let (address, websocket) = match named {
                RelayAddress::Tcp(hint) => (Address::Tcp(hint.endpoint.clone()), false),
                RelayAddress::WebSocket { url, .. } => (Address::WebSocket(url.clone()), true),
            };
            let allowed = permit == Permit::Anywhere
                || !settings.tor
                || host(&address).is_some_and(is_public_as_written);
            if allowed && known.len() < MAX_RELAYS && known.insert(address.clone()) {
                let class = classes.entry((Reverse(named.priority()), websocket)).or_default();
                class.push((Target { address: address.clone(), permit }, Route::Relay(address)));
            }
        }
    }
    classes.into_values().collect()
}

/// Maximum number of computers to which an attempt to reach this address can lead: a name has several addresses, and may have
/// others the next time.
pub(crate) fn addresses(address: &Address) -> usize {
    host(address).map_or(NAME_ADDRESSES, host_addresses)
}

fn host_addresses(host: &str) -> usize {
    if host.parse::<IpAddr>().is_ok() { 1 } else { NAME_ADDRESSES }
}

/// The host of an address, without brackets; `None` for an invalid URL.
fn host(address: &Address) -> Option<&str> {
    let url = match address {
        Address::Tcp(endpoint) => return Some(&endpoint.host),
        Address::WebSocket(url) => url,
    };
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map(|(host, _)| host),
        None => authority.split(':').next(),
    }
}

/// Whether a host is this computer, as far as known without resolving names.
fn is_this_computer(host: &str) -> bool {
    host.parse().map_or_else(|_| is_localhost(host), |address| scope(address) == Scope::Loopback)
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn is_unusable(host: &str) -> bool {
    host.parse().is_ok_and(|address| scope(address) == Scope::Unusable)
}

/// Whether a host is a public address, or a name that may have one. Tor resolves names itself, so nothing else can
/// be checked.
fn is_public_as_written(host: &str) -> bool {
    host.parse().map_or_else(|_| !is_localhost(host), |address| scope(address) == Scope::Global)
}

/// Tor's exits do not connect to private networks, and often not to IPv6.
fn is_reachable_through_tor(host: &str) -> bool {
    is_public_as_written(host) && !host.contains(':')
}

/// Delay of relays after direct connections, and of each group of relays after the previous one, as in the Python
/// client.
const RELAY_DELAY: Duration = Duration::from_secs(2);

/// Maximum number of addresses of a name that a peer chose. Drivers must not try more.
pub const NAME_ADDRESSES: usize = 8;

/// Maximum number of addresses of the peer to which we connect directly.
const MAX_DIRECT_ADDRESSES: usize = 128;

/// Maximum number of relay addresses to try, ours first: the peer must not make us connect to many hosts.
const MAX_RELAYS: usize = 16;
