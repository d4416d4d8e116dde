//! Where to connect, and when: the hints of the peer and our relays, tried again until a connection is chosen.
//!
//! The plan of a single attempt, and what a peer may name, are those of transit. (dilation-protocol.md "Connection
//! Layer"; docs/transit.md)

use std::collections::BTreeSet;
use std::time::Duration;

use wormhole_kit::Instant;

use super::config::DilationConfig;
use crate::transit::hint::{Ability, Hint, RelayAddress, TransitInfo};
use crate::transit::keys::{RelaySide, Role};
use crate::transit::plan::{Plan, Wave, addresses};
use crate::transit::{Address, RaceSettings, RelayPolicy, Route};

/// Plans the connections of one generation after another.
#[derive(Debug)]
pub(super) struct Dialler {
    settings: RaceSettings,
    hints: Vec<Hint>,
    plan: Option<Plan>,
    /// When the generation started: relays are tried some time later.
    started: Instant,
    /// When to try everything again, and the pause after that.
    again: Option<(Instant, Duration)>,
    /// Whether only direct connections are useful, because a relay is in use.
    direct_only: bool,
    /// Whether the last connection was relayed, so that relays need no delay.
    hurry_relays: bool,
    /// The start of a period, and the connections that were opened in it.
    spent: (Instant, usize),
    /// The start of a minute, and the new addresses of the peer that were tried in it.
    tried: (Instant, usize),
    /// Addresses of the peer that are not new.
    known: BTreeSet<Address>,
}

impl Dialler {
    pub(super) fn new(config: &DilationConfig, now: Instant) -> Self {
        let settings = RaceSettings {
            // Without meaning for a plan.
            role: Role::Sender,
            side: RelaySide([0; 8]),
            relays: config.relays.clone(),
            policy: config.policy,
            listens: true,
            tor: config.tor,
        };
        Self {
            settings,
            hints: Vec::new(),
            plan: None,
            started: now,
            again: None,
            direct_only: false,
            hurry_relays: false,
            spent: (now, 0),
            tried: (now, 0),
            known: BTreeSet::new(),
        }
    }

    /// Whether one more connection may be opened now. A peer that names other hints in each of many generations, or names whose
    /// addresses change, must not make us scan a network.
    pub(super) fn spend(&mut self, now: Instant, address: &Address) -> bool {
        let (start, count) = self.spent;
        self.spent = if now >= start + PERIOD { (now, 1) } else { (start, count + 1) };
        self.spent.1 <= MAX_DIALS && self.spend_addresses(now, address)
    }

    /// Counts the addresses that were never tried before, as far as known: those of a name can change at any time.
    fn spend_addresses(&mut self, now: Instant, address: &Address) -> bool {
        if self.known.contains(address) || self.is_ours(address) {
            return true;
        }
        let new = addresses(address);
        let (start, count) = self.tried;
        let (start, count) = if now >= start + MINUTE { (now, 0) } else { (start, count) };
        let may_try = count + new <= MAX_NEW_ADDRESSES;
        self.tried = (start, if may_try { count + new } else { count });
        if may_try && new == 1 {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            self.known.insert(address.clone());
        }
        may_try
    }

    /// Whether our user has configured this address.
    fn is_ours(&self, address: &Address) -> bool {
        let relays = self.settings.relays.iter().flat_map(|relay| &relay.addresses);
        relays.into_iter().any(|relay| match (relay, address) {
            (RelayAddress::Tcp(hint), Address::Tcp(endpoint)) => hint.endpoint == *endpoint,
            (RelayAddress::WebSocket { url: ours, .. }, Address::WebSocket(url)) => ours == url,
            (RelayAddress::Tcp(_), Address::WebSocket(_))
            | (RelayAddress::WebSocket { .. }, Address::Tcp(_)) => false,
        })
    }

    /// Starts a generation, without hints of the peer.
    pub(super) fn start(&mut self, now: Instant) {
        self.hints.clear();
        self.direct_only = false;
        self.started = now;
        self.plan = Some(self.new_plan());
        self.again = Some((now + FIRST_PAUSE, FIRST_PAUSE));
    }

    /// The peer named more hints.
    pub(super) fn add(&mut self, hints: Vec<Hint>) {
        let known = self.hints.len();
        for hint in hints {
            if !self.hints.contains(&hint) && self.hints.len() < MAX_HINTS {
                self.hints.push(hint);
            }
        }
        if self.again.is_some() && self.hints.len() > known {
            self.plan = Some(self.new_plan());
        }
    }

    /// A connection was chosen. Over a relay, we go on with direct attempts, less and less often.
    pub(super) fn on_connected(&mut self, now: Instant, route: &Route) {
        self.plan = None;
        self.hurry_relays = matches!(route, Route::Relay(_));
        self.direct_only = self.hurry_relays;
        self.again = self.hurry_relays.then(|| (now + FIRST_UPGRADE_PAUSE, FIRST_UPGRADE_PAUSE));
    }

    /// Stops until the next generation.
    pub(super) fn stop(&mut self) {
        self.plan = None;
        self.again = None;
    }

    /// Whether relays should not wait for direct connections.
    pub(super) fn hurries_relays(&self) -> bool {
        self.hurry_relays || self.settings.policy == RelayPolicy::Only
    }

    /// Tries a relay again at once, because a connection through it failed.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some((again, _)) = &mut self.again {
            *again = (*again).min(now + FAILURE_PAUSE);
        }
    }

    /// Tries everything again at once, because the network has changed.
    pub(super) fn try_again(&mut self, now: Instant) {
        if self.again.is_some() {
            let pause = if self.direct_only { FIRST_UPGRADE_PAUSE } else { FIRST_PAUSE };
            self.again = Some((now, pause));
        }
    }

    fn new_plan(&self) -> Plan {
        let peer = TransitInfo { abilities: Vec::<Ability>::new(), hints: self.hints.clone() };
        let mut settings = self.settings.clone();
        if self.direct_only {
            settings.policy = RelayPolicy::Never;
        }
        Plan::new(self.started, &settings, &peer)
    }

    /// The targets to connect to now.
    pub(super) fn next_wave(&mut self, now: Instant) -> Option<Wave> {
        if let Some((at, pause)) = self.again
            && now >= at
        {
            let longest = if self.direct_only { MAX_UPGRADE_PAUSE } else { MAX_PAUSE };
            let is_recent = now < self.started + OFTEN && !self.direct_only;
            let pause = if is_recent { pause } else { (pause * 3 / 2).min(longest) };
            self.again = Some((now + pause, pause));
            self.plan = Some(self.new_plan());
        }
        let hurry = self.hurries_relays() && !self.direct_only;
        self.plan.as_mut()?.next_wave(now, hurry)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let wave = self.plan.as_ref().and_then(Plan::deadline);
        wave.into_iter().chain(self.again.map(|(at, _)| at)).min()
    }
}

/// Time after which a generation tries everything again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How long the pauses remain that short. Later ones are longer by half each time.
const OFTEN: Duration = Duration::from_secs(10);

/// Maximum time between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Time between a lost relay connection and the next one.
const FAILURE_PAUSE: Duration = Duration::from_millis(200);

/// Time after which a direct connection is tried while a relay is in use. Later pauses are longer by half.
const FIRST_UPGRADE_PAUSE: Duration = Duration::from_secs(2);

/// Maximum time between two such attempts.
const MAX_UPGRADE_PAUSE: Duration = Duration::from_secs(60);

/// The time to which [`MAX_DIALS`] applies.
const PERIOD: Duration = Duration::from_secs(10);

/// Maximum number of connections that are opened in 10 seconds, more than the repeated attempts of one generation need.
pub const MAX_DIALS: usize = 2000;

/// The time to which [`MAX_NEW_ADDRESSES`] applies.
const MINUTE: Duration = Duration::from_secs(60);

/// Maximum number of new addresses of the peer to which we connect in a minute. A name counts as 8 with each attempt.
pub const MAX_NEW_ADDRESSES: usize = 1000;

/// Maximum number of addresses that are remembered.
const MAX_KNOWN: usize = 4096;

/// Maximum number of hints of a generation.
const MAX_HINTS: usize = 64;
