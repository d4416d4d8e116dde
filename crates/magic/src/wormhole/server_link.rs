//! The connection to the mailbox server: opens it, waits for the welcome, provides proof of work if required, and
//! reopens it with exponential backoff when it is lost.
//!
//! It does not interpret later messages.

use std::time::Duration;

use rand_core::CryptoRngCore;
use wormhole_kit::{Instant, LinkId, LinkIds, UnixTime};

use super::error::{ServerMisbehaved, ServerText, WormholeError};
use super::urgency::{Urgency, usual_pause};
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
/// | Ready | check | | Ready |
/// | Ready | no answer after a check | close, lost | Waiting, without a pause |
///
/// Pauses grow until a connection was useful, that is, lasted for a while with at least one answer. A server that
/// accepts everyone and then disconnects must not be contacted every second indefinitely. While a dilated connection waits for
/// the server, they are short (`urgency`).
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
    urgency: Urgency,
}

#[derive(Debug)]
enum LinkState {
    Waiting {
        until: Instant,
    },
    Dialing {
        link: LinkId,
        give_up: Instant,
    },
    ExpectWelcome {
        link: LinkId,
        give_up: Instant,
    },
    Working {
        link: LinkId,
        mint: Box<Mint>,
        since: Instant,
    },
    Ready {
        link: LinkId,
        since: Instant,
        answered: bool,
        /// When a check has failed, unless the server answers before that.
        check: Option<Instant>,
    },
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
        let (ids, urgency) = (LinkIds::outgoing(), Urgency::new());
        Self { urls, url: 0, state, ids, welcomed: false, failures: 0, urgency }
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
            let timeout = self.urgency.timeout(now).unwrap_or(WELCOME_TIMEOUT);
            self.state = LinkState::ExpectWelcome { link, give_up: now + timeout };
        }
    }

    /// The server answered a message.
    pub(super) const fn on_answer(&mut self) {
        if let LinkState::Ready { answered, check, .. } = &mut self.state {
            *answered = true;
            *check = None;
            self.urgency.end();
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
            self.state = LinkState::ready(link, now);
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

    /// Something waits for the server, and the network may have changed: an open connection has to prove that it works,
    /// and another one is opened soon. Returns whether to ask the server for an answer.
    pub(super) fn check(&mut self, now: Instant) -> bool {
        if !self.welcomed {
            return false;
        }
        self.urgency.begin(now);
        match &mut self.state {
            LinkState::Waiting { until } => *until = now,
            LinkState::Dialing { give_up, .. } | LinkState::ExpectWelcome { give_up, .. } => {
                *give_up = (*give_up).min(now + CHECK_TIMEOUT);
            }
            LinkState::Ready { check, .. } if check.is_none() => {
                *check = Some(now + CHECK_TIMEOUT);
                return true;
            }
            LinkState::Ready { .. } | LinkState::Working { .. } | LinkState::Ended => {}
        }
        false
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
            LinkState::Ready { check, .. } => *check,
            LinkState::Ended => None,
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
                self.state = LinkState::ready(*link, now);
                let method = "hashcash".to_owned();
                let permission = ClientMessage::SubmitPermissions { method, stamp: Some(stamp) };
                Ok(Some(Action::Ready(Some(permission))))
            }
            LinkState::Ready { link, .. } => {
                let link = *link;
                self.on_failure(Some(link), now, rng)
            }
            LinkState::Ended => Ok(None),
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
        let was_checked = matches!(self.state, LinkState::Ready { check: Some(_), .. });
        if matches!(self.state, LinkState::Ready { since, answered: true, .. } if now >= since + USEFUL)
        {
            self.failures = 0;
        }
        let failures = self.failures;
        let pause = match self.urgency.pause(now, rng) {
            // It worked until the network changed.
            Some(_) if was_checked => Duration::ZERO,
            Some(pause) => pause,
            None => {
                self.failures = failures.saturating_add(1);
                usual_pause(failures, rng)
            }
        };
        self.state = LinkState::Waiting { until: now + pause };
        Ok(Some(Action::Retry(Retry { close, failures, pause, was_ready })))
    }

    fn connect(&mut self, close: Option<LinkId>, now: Instant) -> Option<Action> {
        let url = self.urls.get(self.url)?.clone();
        // Use a short timeout if another URL is left to try.
        let last = self.welcomed || self.url + 1 >= self.urls.len();
        let timeout = match self.urgency.timeout(now) {
            Some(timeout) => timeout,
            None if last => DIAL_TIMEOUT,
            None => FIRST_DIAL_TIMEOUT,
        };
        let link = self.ids.allocate();
        self.state = LinkState::Dialing { link, give_up: now + timeout };
        Some(Action::Connect { close, link, url })
    }
}

impl LinkState {
    const fn ready(link: LinkId, now: Instant) -> Self {
        Self::Ready { link, since: now, answered: false, check: None }
    }
}

/// Time limit to connect to a URL while others are left to try.
const FIRST_DIAL_TIMEOUT: Duration = Duration::from_secs(8);

/// Time limit to connect to the last URL: DNS, TCP, TLS, upgrade and Tor may each be slow.
const DIAL_TIMEOUT: Duration = Duration::from_secs(120);

/// Time limit for the welcome after the connection is open.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);

/// Time limit for the answer to a check, and for what is left of an attempt to connect that started before it.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1500);

/// Minimum duration of a useful connection.
const USEFUL: Duration = Duration::from_secs(10);

/// Number of hashes in one step of work: some milliseconds.
const WORK_PER_STEP: u32 = 1 << 14;
