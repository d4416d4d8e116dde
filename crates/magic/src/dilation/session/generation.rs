//! The generations: what the two sides tell each other through the mailbox when a connection is needed or lost.
//!
//! Not the connections themselves: `paths` makes them. (dilation-protocol.md "L1")

use super::*;

impl<R: RngCore + CryptoRng> Dilation<R> {
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        message: DilationMessage,
    ) -> Result<(), DilationError> {
        match message {
            DilationMessage::Please(please) => {
                if self.peer.is_none() {
                    let role = DilationRole::of(&self.config.side, &please.side);
                    self.on_role(now, role.ok_or(DilationError::Reflected)?, &please)?;
                }
            }
            DilationMessage::Hints(hints) => {
                // Before `reconnecting` they belong to an earlier generation.
                if matches!(self.stage, Stage::Connecting(_) | Stage::Connected { .. }) {
                    self.dialler.add(hints);
                    self.dial(now);
                }
            }
            DilationMessage::Reconnect => self.on_reconnect(now),
            DilationMessage::Reconnecting => self.on_reconnecting(now),
            DilationMessage::Lost => {
                if self.leads()
                    && let Some(link) = self.current()
                {
                    self.drop_link(link);
                    self.on_lost(now, false);
                }
            }
            DilationMessage::Leaving => return Err(DilationError::PeerLeft),
            DilationMessage::Unknown => {}
        }
        Ok(())
    }

    fn on_role(
        &mut self,
        now: Instant,
        role: DilationRole,
        please: &Please,
    ) -> Result<(), DilationError> {
        let aes = please.aes && self.config.aes && aes_is_available();
        let cipher = if aes { NoiseCipher::AesGcm } else { NoiseCipher::ChaChaPoly };
        let context = LinkContext::new(self.config.key.clone(), role, &self.config.side, cipher);
        let has_credit = [self.config.version, please.version] == [DilationVersion::GedCredit; 2];
        let expected = self.config.expected_subprotocols.clone();
        let subchannels = Subchannels::new(role, expected, has_credit);
        self.peer = Some(PeerState { context, extended: please.extended, subchannels });
        self.start_generation(now);
        for command in std::mem::take(&mut self.early) {
            self.on_data_command(now, command)?;
        }
        Ok(())
    }

    pub(super) fn leads(&self) -> bool {
        self.role() == Some(DilationRole::Leader)
    }

    fn on_reconnect(&mut self, now: Instant) {
        if self.role() != Some(DilationRole::Follower) {
            return;
        }
        if self.current().is_some() {
            self.emit(DilationEvent::Disconnected);
            self.alone_since = now;
        }
        self.say(&DilationMessage::Reconnecting);
        self.start_generation(now);
    }

    /// The follower has started. While we are connected, this answers a `reconnect` that we repeated: if the follower
    /// has really closed our connection, we notice that by itself.
    fn on_reconnecting(&mut self, now: Instant) {
        let expected = matches!(self.stage, Stage::ExpectReconnecting(_) | Stage::Connecting(_));
        if expected && self.leads() {
            self.start_generation(now);
        }
    }

    /// Starts to connect, with new hints in both directions.
    fn start_generation(&mut self, now: Instant) {
        self.close_links(None);
        // The leader repeats itself less and less often.
        let asked = if let Stage::ExpectReconnecting(it) = self.stage { Some(it) } else { None };
        let pause = asked.map_or(FIRST_REPEAT, |repeat| repeat.pause);
        self.stage = Stage::Connecting(Repeat { at: now + pause, pause });
        self.dialler.start(now);
        if !self.our_relays().is_empty() {
            let relays = self.our_relays().iter().cloned().map(Hint::Relay).collect();
            self.say(&DilationMessage::Hints(relays));
        }
        self.emit(DilationEvent::HintsWanted);
        self.dial(now);
    }

    fn our_relays(&self) -> &[RelayHint] {
        match self.config.policy {
            crate::transit::RelayPolicy::Never => &[],
            crate::transit::RelayPolicy::Auto | crate::transit::RelayPolicy::Only => {
                &self.config.relays
            }
        }
    }

    /// Whether the peer was sending much when it was last heard, so that it may have more than its system accepts.
    pub(super) fn was_sending(&self) -> bool {
        self.inflow.was_much(self.keepalive.heard())
    }

    /// The current connection is lost. If it is only silent, and the peer has much to write to it, the reference would wait
    /// for ever after `reconnect`: so it gets time to notice the loss itself, when the path is back.
    pub(super) fn on_lost(&mut self, now: Instant, may_be_stuck: bool) {
        self.alone_since = now;
        self.emit(DilationEvent::Disconnected);
        self.dialler.stop();
        let extended = self.peer.as_ref().is_some_and(|peer| peer.extended);
        if !self.leads() {
            self.stage = Stage::ExpectReconnect;
            if extended {
                self.say(&DilationMessage::Lost);
            }
        } else if may_be_stuck && !extended {
            let repeat = Repeat { at: now + STUCK_GRACE, pause: FIRST_REPEAT };
            self.stage = Stage::ExpectReconnecting(repeat);
        } else {
            self.ask_to_reconnect(now, FIRST_REPEAT);
        }
    }

    fn ask_to_reconnect(&mut self, now: Instant, pause: Duration) {
        self.stage = Stage::ExpectReconnecting(Repeat { at: now + pause, pause });
        self.say(&DilationMessage::Reconnect);
    }

    /// Repeats what the peer may have missed. The reference repeats nothing: if a generation of its leader fails, it
    /// waits indefinitely unless the follower offers a connection again.
    pub(super) fn repeat_message(&mut self, now: Instant) {
        let (Stage::Connecting(repeat) | Stage::ExpectReconnecting(repeat)) = self.stage else {
            return;
        };
        if now < repeat.at {
            return;
        }
        let pause = (repeat.pause * 3 / 2).min(MAX_REPEAT);
        if self.leads() {
            // A connection that is nearly there should not be interrupted.
            if !self.links.values().any(PeerLink::is_authenticated) {
                self.close_links(None);
                self.dialler.stop();
                return self.ask_to_reconnect(now, pause);
            }
        } else {
            let relays = self.our_relays().iter().cloned().map(Hint::Relay);
            let hints = self.our_hints.iter().cloned().chain(relays).collect();
            self.say(&DilationMessage::Hints(hints));
        }
        self.stage = Stage::Connecting(Repeat { at: now + pause, pause });
    }
}

/// Time after which a mailbox message is repeated. Later pauses are longer by half.
const FIRST_REPEAT: Duration = Duration::from_secs(5);

/// How long a peer of another project that was sending may notice a silent connection itself.
const STUCK_GRACE: Duration = Duration::from_secs(6);

/// Maximum time between two such messages. The mailbox server stores all of them.
const MAX_REPEAT: Duration = Duration::from_secs(60);
