//! The connections of a generation, and the choice of one.
//!
//! Everybody may connect to us, so a connection counts only after its handshake. The leader prefers a direct
//! connection: a relayed one has to wait for a moment. (dilation-protocol.md "L2")

use super::*;

impl<R: RngCore + CryptoRng> Dilation<R> {
    /// Connects to the targets that are due and that are not being tried.
    pub(super) fn dial(&mut self, now: Instant) {
        while let Some(wave) = self.dialler.next_wave(now) {
            for (target, route) in wave {
                let same = self.links.iter().filter(|(_, link)| link.route == route);
                let (dialing, connected): (Vec<_>, Vec<_>) =
                    same.partition(|(_, link)| link.is_dialing());
                if !connected.is_empty() || !self.dialler.spend(now, &target.address) {
                    continue;
                }
                // The oldest attempt may only be slow, so it is kept.
                let replaced = dialing.get(1).filter(|_| dialing.len() >= MAX_ATTEMPTS);
                if let Some(id) = replaced.map(|(id, _)| **id) {
                    self.drop_link(id);
                }
                let link = self.ids.allocate();
                self.links.insert(link, PeerLink::new(route, now + DIAL_TIMEOUT));
                self.outputs.push_back(Output::Connect(link, target));
            }
        }
    }

    /// Tries all targets again at once where a connection is wanted, and tells the peer our new addresses.
    pub(super) fn on_addresses_changed(&mut self, now: Instant, hints: Vec<Hint>) {
        self.our_hints = hints;
        // The connection was lost because of that, so it shows nothing about the peer.
        self.was_closed = false;
        let wanted =
            matches!(self.stage, Stage::Connecting(_) | Stage::Connected { upgrade: true, .. });
        if !wanted {
            return;
        }
        if !self.our_hints.is_empty() {
            self.say(&DilationMessage::Hints(self.our_hints.clone()));
        }
        self.dialler.try_again(now);
        self.dial(now);
    }

    pub(super) fn on_opened(&mut self, now: Instant, id: LinkId) {
        // Over a direct connection, no other one is needed.
        let wanted =
            matches!(self.stage, Stage::Connecting(_) | Stage::Connected { upgrade: true, .. });
        if !wanted {
            self.links.remove(&id);
            return self.outputs.push_back(Output::Close(id));
        }
        if !self.links.contains_key(&id) {
            self.make_room();
            self.links.insert(id, PeerLink::new(Route::Accepted, now));
        }
        let (Some(link), Some(peer)) = (self.links.get_mut(&id), &self.peer) else { return };
        let timeout = if link.is_relayed() { RELAY_TIMEOUT } else { HANDSHAKE_TIMEOUT };
        link.give_up = now + timeout;
        let hello = link.on_opened(&peer.context);
        self.outputs.push_back(Output::Send(id, hello));
    }

    /// Anyone may connect. If there are too many unauthenticated connections, the oldest one is closed.
    fn make_room(&mut self) {
        let strangers = self
            .links
            .iter()
            .filter(|(_, link)| link.route == Route::Accepted && !link.is_authenticated());
        let strangers: Vec<_> = strangers.map(|(id, link)| (link.give_up, *id)).collect();
        if strangers.len() >= MAX_UNAUTHENTICATED
            && let Some((_, id)) = strangers.into_iter().min()
        {
            self.drop_link(id);
        }
    }

    pub(super) fn on_bytes(
        &mut self,
        now: Instant,
        id: LinkId,
        bytes: &[u8],
    ) -> Result<(), DilationError> {
        let is_current = self.current() == Some(id);
        let (Some(link), Some(peer)) = (self.links.get_mut(&id), &self.peer) else { return Ok(()) };
        if is_current {
            self.keepalive.on_bytes(now);
        }
        let waited_at_relay = link.waits_at_relay();
        let hold = (link.is_relayed() && !self.dialler.hurries_relays()).then(|| now + RELAY_GRACE);
        let mut say = Vec::new();
        let progress = link.on_bytes(&peer.context, bytes, hold, &mut self.rng, &mut say);
        if waited_at_relay && !link.waits_at_relay() {
            // The other half at the relay may be a connection that the peer has given up.
            link.give_up = now + HANDSHAKE_TIMEOUT;
        }
        if !say.is_empty() {
            self.outputs.push_back(Output::Send(id, say));
        }
        match progress {
            Err(fault) => self.on_fault(now, id, fault),
            Ok(Progress::Waiting) => Ok(()),
            Ok(Progress::Candidate) => {
                let grace = match link.is_relayed() && !self.dialler.hurries_relays() {
                    true => RELAY_GRACE,
                    false => Duration::ZERO,
                };
                link.give_up = link.give_up.min(now + grace);
                self.choose_if_due(now);
                Ok(())
            }
            Ok(Progress::Open) => {
                if !is_current {
                    self.on_chosen(now, id);
                }
                self.receive_records(now, id)
            }
        }
    }

    /// When the leader chooses the best candidate: for candidates, that is their deadline.
    pub(super) fn choice_deadline(&self) -> Option<Instant> {
        let candidates = self.links.values().filter(|link| link.is_candidate());
        candidates.map(|link| link.give_up).min()
    }

    /// The leader chooses a candidate whose time has come, a direct one if possible.
    pub(super) fn choose_if_due(&mut self, now: Instant) {
        if self.choice_deadline().is_none_or(|due| now < due) {
            return;
        }
        let candidates = self.links.iter().filter(|(_, link)| link.is_candidate());
        let best = candidates.min_by_key(|(id, link)| (link.is_relayed(), **id));
        let Some(id) = best.map(|(id, _)| *id) else { return };
        let Some(Ok(kcm)) = self.links.get_mut(&id).map(PeerLink::choose) else { return };
        self.outputs.push_back(Output::Send(id, kcm));
        self.on_chosen(now, id);
    }

    /// This link is used from now on. Whatever the peer has not acknowledged is sent again.
    fn on_chosen(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        let (route, upgrade) = (link.route.clone(), link.is_relayed());
        self.dialler.on_connected(now, &route);
        self.close_links(Some(id));
        self.stage = Stage::Connected { link: id, upgrade };
        self.was_closed = false;
        self.keepalive.restart(now);
        self.outbound.restart();
        self.inbound.restart();
        self.pongs.clear();
        self.ping_wanted = false;
        self.congested = false;
        self.emit(DilationEvent::Connected(route));
    }

    /// A link is unusable. A violation by the peer itself counts, whatever the number of its connections.
    pub(super) fn on_fault(
        &mut self,
        now: Instant,
        id: LinkId,
        fault: LinkFault,
    ) -> Result<(), DilationError> {
        if let LinkFault::Violation(violation) = fault {
            self.on_violation(violation)?;
        }
        let was_current = self.current() == Some(id);
        let was_relayed = self.links.get(&id).is_some_and(PeerLink::is_relayed);
        self.drop_link(id);
        if was_current {
            self.on_lost(now, false);
        } else if was_relayed {
            self.dialler.hurry(now);
        }
        Ok(())
    }

    const fn on_violation(&mut self, violation: DilationViolation) -> Result<(), DilationError> {
        self.violations += 1;
        if self.violations > MAX_VIOLATIONS {
            return Err(DilationError::PeerMisbehaved(violation));
        }
        Ok(())
    }

    pub(super) fn drop_link(&mut self, id: LinkId) {
        if self.links.remove(&id).is_some() {
            self.outputs.push_back(Output::Close(id));
        }
    }

    /// Sends held confirmations, and closes links whose time is over.
    pub(super) fn expire_links(&mut self, now: Instant) {
        let current = self.current();
        let (mut late, mut say) = (Vec::new(), Vec::new());
        for (id, link) in &mut self.links {
            if let Some(kcm) = link.release_kcm(now) {
                say.push(Output::Send(*id, kcm));
            }
            if now >= link.give_up && !link.is_candidate() && current != Some(*id) {
                late.push((*id, link.is_relayed()));
            }
        }
        self.outputs.extend(say);
        for (id, is_relayed) in late {
            self.drop_link(id);
            if is_relayed {
                self.dialler.hurry(now);
            }
        }
    }
}

/// Maximum number of attempts to open a connection to one address at the same time. The system repeats an attempt after
/// 1, 3 and 7 seconds; a new one notices sooner that the path is back.
const MAX_ATTEMPTS: usize = 4;

/// Time limit for opening a connection.
const DIAL_TIMEOUT: Duration = Duration::from_secs(20);

/// Time limit from an open connection to the confirmation of the key.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);

/// Time limit for waiting at a relay.
const RELAY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a relayed connection waits for a direct one.
const RELAY_GRACE: Duration = Duration::from_millis(400);

/// Maximum number of connections from outside whose other end has not proved that it has the key.
const MAX_UNAUTHENTICATED: usize = 32;

/// How many violations end only a connection. The reference has bugs that a new connection repairs.
const MAX_VIOLATIONS: u32 = 3;
