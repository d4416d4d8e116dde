//! One connection to the peer, from its first byte: the relay's line, the prologue, the Noise handshake, the key
//! confirmation, and then records (dilation-protocol.md "L2").
//!
//! [`super::session`] chooses the connection that is used.

use rand_core::{CryptoRng, RngCore};
use wormhole_kit::Instant;

use super::error::DilationViolation;
use super::frame::{BadFrame, FrameBuffer, MAX_FRAME};
use super::keys::{DilationKey, DilationRole, DilationSide};
use super::noise::{
    self, BadNoise, FrameOpener, FrameSealer, HANDSHAKE, Initiator, NoiseCipher, TAG,
};
use super::record::DilationRecord;
use crate::transit::Route;

/// The common data of the connections of a generation.
#[derive(Debug)]
pub(super) struct LinkContext {
    pub(super) key: DilationKey,
    pub(super) role: DilationRole,
    pub(super) relay_line: Vec<u8>,
    pub(super) cipher: NoiseCipher,
}

impl LinkContext {
    pub(super) fn new(
        key: DilationKey,
        role: DilationRole,
        side: &DilationSide,
        cipher: NoiseCipher,
    ) -> Self {
        let relay_line = key.relay_line(side);
        Self { key, role, relay_line, cipher }
    }
}

/// Why a connection was closed. Other connections may still succeed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LinkFault {
    /// The other end is no peer, or something changed its bytes.
    Unusable,
    /// The peer, which has the key, broke a rule.
    Violation(DilationViolation),
}

impl From<BadNoise> for LinkFault {
    fn from(_: BadNoise) -> Self {
        Self::Unusable
    }
}

impl From<BadFrame> for LinkFault {
    fn from(_: BadFrame) -> Self {
        Self::Unusable
    }
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// It is not usable yet.
    Waiting,
    /// We lead, and may choose it.
    Candidate,
    /// It transports records.
    Open,
}

/// A connection.
///
/// | state | input | says | next |
/// |---|---|---|---|
/// | `Dialing` | opened | prologue, or the relay's line | `ExpectPrologue`, `ExpectRelayOk` |
/// | `ExpectRelayOk` | `ok` | prologue | `ExpectPrologue` |
/// | `ExpectPrologue` | prologue | (leader) first message | `ExpectAnswer`, `ExpectFirst` |
/// | `ExpectAnswer` | second message | | `ExpectKcm` |
/// | `ExpectFirst` | first message | second message, KCM unless held back | `ExpectKcm` |
/// | `ExpectKcm` | KCM, we lead | | `Candidate` |
/// | `ExpectKcm` | KCM, we follow | | `Open` |
/// | `Candidate` | chosen | KCM | `Open` |
/// | any | anything else | | `Ended` |
pub(super) struct PeerLink {
    pub(super) route: Route,
    /// When to close it unless it is further then.
    pub(super) give_up: Instant,
    /// A follower's KCM that is held back, and the time to send it.
    held_kcm: Option<(Instant, Vec<u8>)>,
    state: LinkState,
    buffer: FrameBuffer,
}

enum LinkState {
    Dialing,
    ExpectRelayOk,
    ExpectPrologue,
    ExpectAnswer(Initiator),
    ExpectFirst,
    ExpectKcm(FrameSealer, FrameOpener),
    Candidate(FrameSealer, FrameOpener),
    Open(FrameSealer, FrameOpener),
    Ended,
}

impl PeerLink {
    /// A connection that is being opened, or was accepted.
    pub(super) fn new(route: Route, give_up: Instant) -> Self {
        let (state, buffer) = (LinkState::Dialing, FrameBuffer::default());
        Self { route, give_up, held_kcm: None, state, buffer }
    }

    pub(super) const fn is_relayed(&self) -> bool {
        matches!(self.route, Route::Relay(_))
    }

    /// Whether it is not open yet.
    pub(super) const fn is_dialing(&self) -> bool {
        matches!(self.state, LinkState::Dialing)
    }

    /// Whether it waits at the relay for the peer.
    pub(super) const fn waits_at_relay(&self) -> bool {
        matches!(self.state, LinkState::ExpectRelayOk)
    }

    /// Whether the other end has proved that it has the key.
    pub(super) const fn is_authenticated(&self) -> bool {
        matches!(
            self.state,
            LinkState::ExpectKcm(..) | LinkState::Candidate(..) | LinkState::Open(..)
        )
    }

    pub(super) const fn is_candidate(&self) -> bool {
        matches!(self.state, LinkState::Candidate(..))
    }

    /// The connection is open: what to say first.
    pub(super) fn on_opened(&mut self, context: &LinkContext) -> Vec<u8> {
        if self.is_relayed() {
            self.state = LinkState::ExpectRelayOk;
            context.relay_line.clone()
        } else {
            self.state = LinkState::ExpectPrologue;
            context.role.prologue().to_vec()
        }
    }

    /// Handles received bytes and appends the bytes to send to `say`. If `hold_kcm_until` is set, a follower's
    /// confirmation is kept until [`Self::release_kcm`].
    pub(super) fn on_bytes(
        &mut self,
        context: &LinkContext,
        bytes: &[u8],
        hold_kcm_until: Option<Instant>,
        rng: &mut (impl RngCore + CryptoRng),
        say: &mut Vec<u8>,
    ) -> Result<Progress, LinkFault> {
        self.buffer.push(bytes);
        loop {
            let state = std::mem::replace(&mut self.state, LinkState::Ended);
            let (next, moved) = match state {
                LinkState::ExpectRelayOk => {
                    let found = self.expect(RELAY_OK)?;
                    if found {
                        say.extend_from_slice(context.role.prologue());
                    }
                    let next = LinkState::ExpectPrologue;
                    if found { (next, true) } else { (LinkState::ExpectRelayOk, false) }
                }
                LinkState::ExpectPrologue => self.on_prologue(context, rng, say)?,
                LinkState::ExpectAnswer(initiator) => self.on_answer(initiator)?,
                LinkState::ExpectFirst => self.on_first(context, hold_kcm_until, rng, say)?,
                LinkState::ExpectKcm(sealer, opener) => {
                    self.on_kcm(context.role, sealer, opener)?
                }
                LinkState::Candidate(..) | LinkState::Open(..) => (state, false),
                LinkState::Dialing | LinkState::Ended => return Err(LinkFault::Unusable),
            };
            self.state = next;
            if !moved {
                return Ok(self.progress());
            }
        }
    }

    const fn progress(&self) -> Progress {
        match self.state {
            LinkState::Candidate(..) => Progress::Candidate,
            LinkState::Open(..) => Progress::Open,
            LinkState::Dialing
            | LinkState::ExpectRelayOk
            | LinkState::ExpectPrologue
            | LinkState::ExpectAnswer(_)
            | LinkState::ExpectFirst
            | LinkState::ExpectKcm(..)
            | LinkState::Ended => Progress::Waiting,
        }
    }

    /// Whether the received bytes start with exactly these, which are then removed; an error if they cannot.
    fn expect(&mut self, wanted: &[u8]) -> Result<bool, LinkFault> {
        let got = self.buffer.pending();
        let common = got.len().min(wanted.len());
        if got.get(..common) != wanted.get(..common) {
            return Err(LinkFault::Unusable);
        }
        Ok(self.buffer.take(wanted.len()).is_some())
    }

    fn on_prologue(
        &mut self,
        context: &LinkContext,
        rng: &mut (impl RngCore + CryptoRng),
        say: &mut Vec<u8>,
    ) -> Result<(LinkState, bool), LinkFault> {
        if !self.expect(context.role.peer().prologue())? {
            return Ok((LinkState::ExpectPrologue, false));
        }
        Ok(match context.role {
            DilationRole::Follower => (LinkState::ExpectFirst, true),
            DilationRole::Leader => {
                let (initiator, first) = Initiator::start(context.cipher, context.key.psk(), rng);
                say.extend_from_slice(&HANDSHAKE_PREFIX);
                say.extend_from_slice(&first);
                (LinkState::ExpectAnswer(initiator), true)
            }
        })
    }

    fn next_handshake(&mut self) -> Result<Option<[u8; HANDSHAKE]>, LinkFault> {
        let frame = self.buffer.next_frame(HANDSHAKE, HANDSHAKE)?;
        Ok(frame.and_then(|frame| frame.try_into().ok()))
    }

    fn on_answer(&mut self, initiator: Initiator) -> Result<(LinkState, bool), LinkFault> {
        let Some(answer) = self.next_handshake()? else {
            return Ok((LinkState::ExpectAnswer(initiator), false));
        };
        let (sealer, opener) = initiator.finish(&answer)?;
        Ok((LinkState::ExpectKcm(sealer, opener), true))
    }

    fn on_first(
        &mut self,
        context: &LinkContext,
        hold_kcm_until: Option<Instant>,
        rng: &mut (impl RngCore + CryptoRng),
        say: &mut Vec<u8>,
    ) -> Result<(LinkState, bool), LinkFault> {
        let Some(first) = self.next_handshake()? else {
            return Ok((LinkState::ExpectFirst, false));
        };
        let (answer, mut sealer, opener) =
            noise::respond(context.cipher, context.key.psk(), &first, rng)?;
        say.extend_from_slice(&HANDSHAKE_PREFIX);
        say.extend_from_slice(&answer);
        let kcm = sealer.seal(&DilationRecord::Kcm.encode(), &[])?;
        match hold_kcm_until {
            Some(until) => self.held_kcm = Some((until, kcm)),
            None => say.extend_from_slice(&kcm),
        }
        Ok((LinkState::ExpectKcm(sealer, opener), true))
    }

    fn on_kcm(
        &mut self,
        role: DilationRole,
        sealer: FrameSealer,
        mut opener: FrameOpener,
    ) -> Result<(LinkState, bool), LinkFault> {
        let Some(frame) = self.buffer.next_frame_in_place(TAG + 1, TAG + 1)? else {
            return Ok((LinkState::ExpectKcm(sealer, opener), false));
        };
        if DilationRecord::decode(opener.open_in_place(frame)?) != Ok(DilationRecord::Kcm) {
            return Err(LinkFault::Unusable);
        }
        Ok(match role {
            DilationRole::Follower => (LinkState::Open(sealer, opener), false),
            DilationRole::Leader => (LinkState::Candidate(sealer, opener), false),
        })
    }

    /// When a held confirmation must be sent.
    pub(super) fn kcm_deadline(&self) -> Option<Instant> {
        self.held_kcm.as_ref().map(|(until, _)| *until)
    }

    /// The held confirmation, if it is due.
    pub(super) fn release_kcm(&mut self, now: Instant) -> Option<Vec<u8>> {
        let due = self.kcm_deadline().is_some_and(|until| now >= until);
        if due { self.held_kcm.take().map(|(_, kcm)| kcm) } else { None }
    }

    /// The leader chooses this connection: what to say.
    pub(super) fn choose(&mut self) -> Result<Vec<u8>, LinkFault> {
        let state = std::mem::replace(&mut self.state, LinkState::Ended);
        let LinkState::Candidate(mut sealer, opener) = state else {
            return Err(LinkFault::Unusable);
        };
        let kcm = sealer.seal(&DilationRecord::Kcm.encode(), &[])?;
        self.state = LinkState::Open(sealer, opener);
        Ok(kcm)
    }

    /// The next received record of an open connection.
    pub(super) fn next_record(&mut self) -> Result<Option<DilationRecord>, LinkFault> {
        let LinkState::Open(_, opener) = &mut self.state else { return Ok(None) };
        let frame = self.buffer.next_frame_in_place(TAG + 1, MAX_FRAME)?;
        let Some(frame) = frame else { return Ok(None) };
        let record = DilationRecord::decode(opener.open_in_place(frame)?);
        record.map(Some).map_err(|bad| LinkFault::Violation(bad.into()))
    }

    /// Encrypts a record for an open connection.
    pub(super) fn seal(&mut self, head: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        let LinkState::Open(sealer, _) = &mut self.state else { return None };
        sealer.seal(head, body).ok()
    }
}

/// The relay's answer when both sides are connected.
const RELAY_OK: &[u8] = b"ok\n";

/// The length before each handshake message.
const HANDSHAKE_PREFIX: [u8; 4] = [0, 0, 0, 48];
