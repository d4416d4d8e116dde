//! The session of a dilated connection: generations of connections, of which one at a time transports the records of all
//! subchannels.
//!
//! It owns the machines of this module and connects them. The leader decides which connection is used, and starts the next
//! generation when it is lost. Where the reference waits indefinitely, this side tries again. (dilation-protocol.md;
//! docs/dilation.md)

mod data;
mod generation;
mod paths;

pub use data::MAX_DATA;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use rand_core::{CryptoRng, RngCore};
use wormhole_kit::{Input, Instant, LinkId, LinkIds, Output, Session};

use super::config::DilationConfig;
use super::dialler::Dialler;
use super::error::{DilationError, DilationViolation};
use super::event::{DilationCommand, DilationEvent, SubchannelId};
use super::inbound::Inbound;
use super::inflow::Inflow;
use super::keepalive::{Keepalive, Silence};
use super::keys::DilationRole;
use super::link::{LinkContext, LinkFault, PeerLink, Progress};
use super::message::{DilationMessage, Please};
use super::noise::{NoiseCipher, aes_is_available};
use super::outbound::Outbound;
use super::subchannels::Subchannels;
use super::version::DilationVersion;
use crate::transit::{Hint, RelayHint, Route, Target};

/// A dilated connection to a peer that can dilate, see [`DilationVersion::choose`]. Its links transport
/// bytes; those that are closed before the session ends should be reset, because nobody reads what is still on the way.
///
/// | stage | input | output | next |
/// |---|---|---|---|
/// | `ExpectPlease` | `please` | hints | `Connecting` |
/// | `Connecting` | hints | connections | same |
/// | `Connecting` | a link is chosen | `Connected`, all unacknowledged records | `Connected` |
/// | `Connected` | link lost, we lead | `reconnect`, perhaps later | `ExpectReconnecting` |
/// | `Connected` | link lost, we follow | `connection-lost` | `ExpectReconnect` |
/// | `ExpectReconnecting` | `reconnecting` | hints | `Connecting` |
/// | `ExpectReconnecting`, `Connecting` | time, we lead | `reconnect` again | `ExpectReconnecting` |
/// | `Connecting` | time, we follow | hints again | same |
/// | any | `reconnect`, we follow | `reconnecting`, hints | `Connecting` |
/// | any | `Leave` | `leaving` | `Ended` |
pub struct Dilation<R> {
    config: DilationConfig,
    rng: R,
    stage: Stage,
    links: BTreeMap<LinkId, PeerLink>,
    ids: LinkIds,
    dialler: Dialler,
    keepalive: Keepalive,
    outbound: Outbound,
    inbound: Inbound,
    /// `None` until the roles are known.
    peer: Option<PeerState>,
    /// Commands before the roles are known.
    early: Vec<DilationCommand>,
    /// The addresses of this computer, as hints.
    our_hints: Vec<Hint>,
    /// `Ping`s to send and answers to give.
    ping_wanted: bool,
    pongs: VecDeque<[u8; 4]>,
    /// Whether the current link accepts no more data for now.
    congested: bool,
    violations: u32,
    inflow: Inflow,
    /// Since when there has been no connection.
    alone_since: Instant,
    /// Whether the peer closed the last connection, and was not heard since.
    was_closed: bool,
    /// Since when the mailbox can be reached, so that the peer is heard; `None` while it cannot.
    mailbox_since: Option<Instant>,
    outputs: VecDeque<Output<Target, DilationEvent>>,
}

/// The data that are known when both sides have announced themselves.
struct PeerState {
    context: LinkContext,
    /// Whether it understands messages that only this project has.
    extended: bool,
    subchannels: Subchannels,
}

/// The time to repeat a mailbox message, and the pause after that.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    at: Instant,
    pause: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    ExpectPlease,
    Connecting(Repeat),
    Connected { link: LinkId, upgrade: bool },
    ExpectReconnecting(Repeat),
    ExpectReconnect,
    Ended,
}

impl<R: RngCore + CryptoRng> Dilation<R> {
    /// Starts: announces us to the peer.
    pub fn new(config: DilationConfig, now: Instant, rng: R) -> Self {
        Self::starting_at(config, now, rng, 0)
    }

    /// Starts like [`new`](Self::new), but with these numbers of the first records, in both directions. For tests.
    #[doc(hidden)]
    pub fn starting_at(config: DilationConfig, now: Instant, rng: R, number: u64) -> Self {
        let please = DilationMessage::Please(Please {
            side: config.side.clone(),
            version: config.version,
            extended: true,
            aes: config.aes && aes_is_available(),
        });
        let mut session = Self {
            dialler: Dialler::new(&config, now),
            keepalive: Keepalive::new(config.keepalive, now),
            config,
            rng,
            stage: Stage::ExpectPlease,
            links: BTreeMap::new(),
            ids: LinkIds::outgoing(),
            outbound: Outbound::starting_at(number),
            inbound: Inbound::starting_at(number),
            peer: None,
            early: Vec::new(),
            our_hints: Vec::new(),
            ping_wanted: false,
            pongs: VecDeque::new(),
            congested: false,
            violations: 0,
            inflow: Inflow::new(now),
            alone_since: now,
            was_closed: false,
            mailbox_since: Some(now),
            outputs: VecDeque::new(),
        };
        session.say(&please);
        session
    }

    /// Our role, once the peer has announced itself.
    pub fn role(&self) -> Option<DilationRole> {
        self.peer.as_ref().map(|peer| peer.context.role)
    }

    /// The link that transports data.
    pub const fn current(&self) -> Option<LinkId> {
        match self.stage {
            Stage::Connected { link, .. } => Some(link),
            Stage::ExpectPlease
            | Stage::Connecting(_)
            | Stage::ExpectReconnecting(_)
            | Stage::ExpectReconnect
            | Stage::Ended => None,
        }
    }

    /// Whether the current link accepts no more data for now. Until that changes, `poll` returns no further records, so
    /// that they wait here instead of in a buffer.
    pub const fn set_congested(&mut self, congested: bool) {
        self.congested = congested;
    }

    /// Whether to read from the current link. If not, the application has to process data first.
    ///
    /// While writers wait for acknowledgements, more is read than usual: an application that echoes processes data only
    /// when it can write, and the acknowledgements are behind the data of the peer.
    pub fn wants_bytes(&self) -> bool {
        let Some(peer) = &self.peer else { return true };
        if self.outbound.is_full() {
            peer.subchannels.has_reserve()
        } else {
            peer.subchannels.has_room()
        }
    }

    /// Whether the peer has everything that was written.
    pub fn is_delivered(&self) -> bool {
        let are_waiting = self.peer.as_ref().is_some_and(|peer| peer.subchannels.are_waiting());
        self.outbound.is_empty() && self.early.is_empty() && !are_waiting
    }

    /// Whether the peer accepts data on this subchannel now. If not, what is written waits in this session, so writers
    /// should wait for [`DilationEvent::Writable`]. Always true in version `ged`.
    pub fn accepts_data(&self, id: SubchannelId) -> bool {
        self.peer.as_ref().is_none_or(|peer| peer.subchannels.has_credit(id))
    }

    fn on_input(
        &mut self,
        now: Instant,
        input: Input<'_, DilationCommand>,
    ) -> Result<(), DilationError> {
        match input {
            Input::Opened(link) => self.on_opened(now, link),
            Input::Bytes(link, bytes) => self.on_bytes(now, link, bytes)?,
            Input::Closed(link) => {
                if self.current() == Some(link) {
                    self.links.remove(&link);
                    self.on_lost(now, false);
                    self.was_closed = true;
                } else if let Some(lost) = self.links.remove(&link)
                    && lost.is_relayed()
                {
                    self.dialler.hurry(now);
                }
            }
            Input::Command(command) => self.on_command(now, command)?,
            Input::Committed => {}
        }
        Ok(())
    }

    fn on_command(&mut self, now: Instant, command: DilationCommand) -> Result<(), DilationError> {
        match command {
            DilationCommand::Mailbox(message) => {
                let message = DilationMessage::decode(&message)?;
                self.was_closed = false;
                self.on_message(now, message)
            }
            DilationCommand::Hints(hints) => {
                self.our_hints = hints;
                if matches!(self.stage, Stage::Connecting(_)) && !self.our_hints.is_empty() {
                    self.say(&DilationMessage::Hints(self.our_hints.clone()));
                }
                Ok(())
            }
            DilationCommand::AddressesChanged(hints) => {
                self.on_addresses_changed(now, hints);
                Ok(())
            }
            DilationCommand::MailboxReachable(reachable) => {
                self.mailbox_since = reachable.then_some(now);
                Ok(())
            }
            DilationCommand::Leave => {
                if self.peer.as_ref().is_some_and(|peer| peer.extended) {
                    self.say(&DilationMessage::Leaving);
                }
                self.end();
                Ok(())
            }
            DilationCommand::Open { .. }
            | DilationCommand::Write(..)
            | DilationCommand::Finish(_)
            | DilationCommand::Consumed(..)
            | DilationCommand::StopReading(_) => self.on_data_command(now, command),
        }
    }

    /// Sends a message through the mailbox.
    fn say(&mut self, message: &DilationMessage) {
        self.emit(DilationEvent::Mailbox(message.encode()));
    }

    fn emit(&mut self, event: DilationEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    fn end(&mut self) {
        self.stage = Stage::Ended;
        self.close_links(None);
    }

    /// Closes all links except this one.
    fn close_links(&mut self, except: Option<LinkId>) {
        let kept = except.and_then(|link| Some((link, self.links.remove(&link)?)));
        for link in std::mem::take(&mut self.links).into_keys() {
            self.outputs.push_back(Output::Close(link));
        }
        self.links.extend(kept);
    }

    fn settle(&mut self, result: Result<(), DilationError>) -> Result<(), DilationError> {
        if result.is_err() {
            self.end();
        }
        result
    }

    /// When to stop trying to connect, and after how long; `None` for never. That the peer is silent counts only while it can be
    /// heard.
    fn end_of_patience(&self) -> Option<(Instant, Duration)> {
        if self.current().is_some() {
            return None;
        }
        let closed = self.config.closed_patience.filter(|_| self.was_closed);
        let closed = closed.zip(self.mailbox_since);
        let closed = closed.map(|(patience, since)| (self.alone_since.max(since), patience));
        let longest = self.config.patience.map(|patience| (self.alone_since, patience));
        let all = closed.into_iter().chain(longest);
        all.map(|(since, patience)| (since + patience, patience)).min()
    }

    fn on_timeout(&mut self, now: Instant) -> Result<(), DilationError> {
        if let Some((end, patience)) = self.end_of_patience()
            && now >= end
        {
            return Err(DilationError::PeerGone(patience));
        }
        if let Some(link) = self.current() {
            match self.keepalive.on_timeout(now) {
                Some(Silence::Ask) => self.ping_wanted = true,
                Some(Silence::Lost) => {
                    self.drop_link(link);
                    self.on_lost(now, self.was_sending());
                }
                None => {}
            }
        }
        self.repeat_message(now);
        self.expire_links(now);
        self.choose_if_due(now);
        self.dial(now);
        Ok(())
    }
}

impl<R> Dilation<R> {
    fn stage_deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Connecting(repeat) | Stage::ExpectReconnecting(repeat) => Some(repeat.at),
            Stage::Connected { .. } => self.keepalive.deadline(),
            Stage::ExpectPlease | Stage::ExpectReconnect | Stage::Ended => None,
        }
    }
}

/// Prints no data.
impl<R> fmt::Debug for Dilation<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Dilation");
        shown.field("stage", &self.stage).field("links", &self.links.len());
        shown.finish_non_exhaustive()
    }
}

impl<R: RngCore + CryptoRng> Session for Dilation<R> {
    type Address = Target;
    type Command = DilationCommand;
    type Event = DilationEvent;
    type Changes = Infallible;
    type Error = DilationError;

    fn handle(
        &mut self,
        now: Instant,
        input: Input<'_, DilationCommand>,
    ) -> Result<(), DilationError> {
        if matches!(self.stage, Stage::Ended) {
            if let Input::Opened(link) = input {
                self.outputs.push_back(Output::Close(link));
            }
            return Ok(());
        }
        let result = self.on_input(now, input);
        let paused = !self.wants_bytes();
        self.keepalive.set_paused(now, paused);
        self.settle(result)
    }

    /// The next output. Records for the current link are created here, in the order of their encryption.
    fn poll(&mut self) -> Option<Output<Target, DilationEvent>> {
        self.outputs.pop_front().or_else(|| self.next_sealed())
    }

    fn deadline(&self) -> Option<Instant> {
        if matches!(self.stage, Stage::Ended) {
            return None;
        }
        let patience = self.end_of_patience().map(|(end, _)| end);
        let links = self.links.iter().filter(|(link, _)| self.current() != Some(**link));
        let links = links.flat_map(|(_, link)| [Some(link.give_up), link.kcm_deadline()]);
        let all = links.chain([self.dialler.deadline(), self.stage_deadline(), patience]);
        all.chain([self.choice_deadline()]).flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DilationError> {
        if matches!(self.stage, Stage::Ended) {
            return Ok(());
        }
        let result = self.on_timeout(now);
        self.settle(result)
    }

    /// False while the peer has not acknowledged much data, or is not known yet.
    fn wants_input(&self) -> bool {
        self.peer.is_some() && !self.outbound.is_full()
    }
}
