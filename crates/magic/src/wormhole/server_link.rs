//! The connection to the mailbox server: opens it, waits for the welcome, provides proof of work if required, and
//! reopens it with exponential backoff when it is lost.
//!
//! It does not interpret later messages.

use std::time::Duration;

use rand_core::CryptoRngCore;
use wormhole_kit::{Instant, LinkId, LinkIds, UnixTime};

use super::error::{ServerMisbehaved, ServerText, WormholeError};
use crate::mailbox::hashcash::Mint;
use crate::mailbox::{ClientMessage, MailboxUrl, Welcome};

/// The connection. At most one is open or being opened.
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | Waiting | time | connect | Dialing |
/// | Dialing | opened | | `ExpectWelcome` |
/// | Dialing, `ExpectWelcome` | closed or too late, never welcomed, another address left | connect | Dialing |
/// | Dialing, `ExpectWelcome` | closed or too late, never welcomed, no address left | unreachable | Ended |
/// | Dialing, `ExpectWelcome` | closed or too late, welcomed before | | Waiting |
/// | `ExpectWelcome` | welcome | | Ready |
/// | `ExpectWelcome` | welcome that requires work | | Working |
/// | Working | time | [stamp] | Working, or Ready |
/// | Working, Ready | closed | lost | Waiting |
/// | Ready | retry | close, lost | Waiting |
///
/// Pauses grow until a connection was useful, that is, lasted for a while with at least one answer. A server that
/// accepts everyone and then disconnects must not be contacted every second for ever.
#[derive(Debug)]
pub(super) struct ServerLink {
    urls: Vec<MailboxUrl>,
    /// The URL in use.
    url: usize,
    state: LinkState,
    ids: LinkIds,
    /// Whether any connection ever received a welcome.
    welcomed: bool,
    /// Number of failed connections in a row.
    failures: u32,
}

#[derive(Debug)]
enum LinkState {
    Waiting { until: Instant },
    Dialing { link: LinkId, give_up: Instant },
    ExpectWelcome { link: LinkId, give_up: Instant },
    Working { link: LinkId, mint: Box<Mint>, since: Instant },
    Ready { link: LinkId, since: Instant, answered: bool },
    Ended,
}

/// Actions for the wormhole.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Close this connection, if any, and open the other one.
    Connect { close: Option<LinkId>, link: LinkId, url: MailboxUrl },
    /// The connection is ready: send this message, if any, and continue.
    Ready(Option<ClientMessage>),
    /// The connection is lost, and will be reopened.
    Retry(Retry),
}

/// A lost connection.
#[derive(Debug, PartialEq)]
pub(super) struct Retry {
    /// Close this connection; the other end does not know yet.
    pub(super) close: Option<LinkId>,
    /// Number of failed connections in a row before this one.
    pub(super) failures: u32,
    /// Time until the next attempt.
    pub(super) pause: Duration,
    /// Whether messages could be sent on it.
    pub(super) was_ready: bool,
}

impl ServerLink {
    /// Opens the first connection as soon as time passes.
    pub(super) const fn new(urls: Vec<MailboxUrl>, now: Instant) -> Self {
        let state = LinkState::Waiting { until: now };
        Self { urls, url: 0, state, ids: LinkIds::outgoing(), welcomed: false, failures: 0 }
    }

    /// The current connection, open or not.
    pub(super) const fn current(&self) -> Option<LinkId> {
        match self.state {
            LinkState::Dialing { link, .. }
            | LinkState::ExpectWelcome { link, .. }
            | LinkState::Working { link, .. }
            | LinkState::Ready { link, .. } => Some(link),
            LinkState::Waiting { .. } | LinkState::Ended => None,
        }
    }

    /// The current connection if it is ready for messages.
    pub(super) const fn ready(&self) -> Option<LinkId> {
        if let LinkState::Ready { link, .. } = self.state { Some(link) } else { None }
    }

    /// Whether any connection ever received a welcome.
    pub(super) const fn was_welcomed(&self) -> bool {
        self.welcomed
    }

    /// The URL in use, after the first welcome.
    pub(super) fn server(&self) -> Option<&MailboxUrl> {
        self.urls.get(self.url).filter(|_| self.welcomed)
    }

    pub(super) fn on_opened(&mut self, link: LinkId, now: Instant) {
        if matches!(self.state, LinkState::Dialing { link: dialing, .. } if dialing == link) {
            self.state = LinkState::ExpectWelcome { link, give_up: now + WELCOME_TIMEOUT };
        }
    }

    /// The server answered a message.
    pub(super) const fn on_answer(&mut self) {
        if let LinkState::Ready { answered, .. } = &mut self.state {
            *answered = true;
        }
    }

    /// Whether the welcome is still expected.
    pub(super) const fn expects_welcome(&self) -> bool {
        matches!(self.state, LinkState::ExpectWelcome { .. })
    }

    /// Handles the welcome.
    pub(super) fn on_welcome(
        &mut self,
        welcome: &Welcome,
        now: Instant,
        today: UnixTime,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Option<Action>, WormholeError> {
        let LinkState::ExpectWelcome { link, .. } = self.state else { return Ok(None) };
        if let Some(error) = &welcome.error {
            return Err(WormholeError::Unwelcome(ServerText::new(error)));
        }
        self.welcomed = true;
        let demands = welcome.permission_required.as_ref();
        let Some(demands) = demands.filter(|demands| demands.none.is_none()) else {
            self.state = LinkState::Ready { link, since: now, answered: false };
            return Ok(Some(Action::Ready(None)));
        };
        let hashcash = demands.hashcash.as_ref().ok_or(ServerMisbehaved::UnknownPermissions)?;
        let mint = Mint::start(hashcash, today, rng).map_err(ServerMisbehaved::from)?;
        self.state = LinkState::Working { link, mint: Box::new(mint), since: now };
        Ok(None)
    }

    /// The connection was closed.
    pub(super) fn on_closed(
        &mut self,
        link: LinkId,
        now: Instant,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Option<Action>, WormholeError> {
        if self.current() != Some(link) {
            return Ok(None);
        }
        self.on_failure(None, now, rng)
    }

    /// Closes the ready connection and reconnects later, because the server is too busy.
    pub(super) fn retry(
        &mut self,
        now: Instant,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Option<Action>, WormholeError> {
        let Some(link) = self.ready() else { return Ok(None) };
        self.on_failure(Some(link), now, rng)
    }

    /// Reconnects without further pause.
    pub(super) const fn hurry(&mut self, now: Instant) {
        if let LinkState::Waiting { until } = &mut self.state {
            *until = now;
        }
    }

    /// Ends; returns the connection to close.
    pub(super) fn end(&mut self) -> Option<LinkId> {
        let link = self.current();
        self.state = LinkState::Ended;
        link
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        match &self.state {
            LinkState::Waiting { until: at }
            | LinkState::Dialing { give_up: at, .. }
            | LinkState::ExpectWelcome { give_up: at, .. }
            | LinkState::Working { since: at, .. } => Some(*at),
            LinkState::Ready { .. } | LinkState::Ended => None,
        }
    }

    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Option<Action>, WormholeError> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(None);
        }
        match &mut self.state {
            LinkState::Waiting { .. } => {
                self.connect(None, now).map(Some).ok_or(WormholeError::ServerUnreachable)
            }
            LinkState::Dialing { link, .. } | LinkState::ExpectWelcome { link, .. } => {
                let link = *link;
                self.on_failure(Some(link), now, rng)
            }
            LinkState::Working { link, mint, .. } => {
                let Some(stamp) = mint.step(WORK_PER_STEP) else { return Ok(None) };
                self.state = LinkState::Ready { link: *link, since: now, answered: false };
                let method = "hashcash".to_owned();
                let permission = ClientMessage::SubmitPermissions { method, stamp: Some(stamp) };
                Ok(Some(Action::Ready(Some(permission))))
            }
            LinkState::Ready { .. } | LinkState::Ended => Ok(None),
        }
    }

    /// A connection failed; `close` is set if the other end does not know yet.
    fn on_failure(
        &mut self,
        close: Option<LinkId>,
        now: Instant,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Option<Action>, WormholeError> {
        if !self.welcomed {
            self.url += 1;
            let next = self.connect(close, now);
            return if next.is_some() { Ok(next) } else { Err(WormholeError::ServerUnreachable) };
        }
        let was_ready = self.ready().is_some();
        if matches!(self.state, LinkState::Ready { since, answered: true, .. } if now >= since + USEFUL)
        {
            self.failures = 0;
        }
        let (failures, pause) = (self.failures, pause(self.failures, rng));
        self.state = LinkState::Waiting { until: now + pause };
        self.failures = self.failures.saturating_add(1);
        Ok(Some(Action::Retry(Retry { close, failures, pause, was_ready })))
    }

    fn connect(&mut self, close: Option<LinkId>, now: Instant) -> Option<Action> {
        let url = self.urls.get(self.url)?.clone();
        // Use a short timeout if another URL is left to try.
        let last = self.welcomed || self.url + 1 >= self.urls.len();
        let timeout = if last { DIAL_TIMEOUT } else { FIRST_DIAL_TIMEOUT };
        let link = self.ids.allocate();
        self.state = LinkState::Dialing { link, give_up: now + timeout };
        Some(Action::Connect { close, link, url })
    }
}

/// The pause before the next attempt: longer each time and random, so that not all clients return at the same
/// time to a restarted server.
fn pause(failures: u32, rng: &mut impl CryptoRngCore) -> Duration {
    let grown = FIRST_PAUSE.as_secs_f64() * 1.5_f64.powi(failures.min(32).cast_signed());
    let jitter = f64::from(rng.next_u32()) / f64::from(u32::MAX);
    Duration::from_secs_f64(grown.min(LONGEST_PAUSE.as_secs_f64()) * (0.5 + jitter))
}

/// Time limit to connect to a URL while others are left to try.
const FIRST_DIAL_TIMEOUT: Duration = Duration::from_secs(8);

/// Time limit to connect to the last URL: DNS, TCP, TLS, upgrade and Tor may each be slow.
const DIAL_TIMEOUT: Duration = Duration::from_secs(120);

/// Time limit for the welcome after the connection is open.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);

/// Minimum duration of a useful connection.
const USEFUL: Duration = Duration::from_secs(10);

/// Average pause before the first reconnection.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Maximum average pause between attempts, as in the Python client.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Number of hashes in one step of work: some milliseconds.
const WORK_PER_STEP: u32 = 1 << 14;
