//! Follows a running transfer for a command: returns its events in order, and meanwhile handles signals, asks
//! questions, and shows a notice if something takes long.
//!
//! It makes no decisions: `send.rs`, `receive.rs` and `ssh.rs` make them.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep_until};
use wormhole::code::Nameplate;
use wormhole::transfer::{Event, Transfer};

use crate::ask::{self, Ask};
use crate::console::{Console, Question, SLOW, interrupted_by};
use crate::signals::Signal;
use crate::{explain, json, progress};

/// A transfer that a command follows.
#[derive(Debug)]
pub(crate) struct ActiveTransfer<'d> {
    /// Shows the events.
    pub(crate) console: &'d mut Console,
    transfer: Option<Transfer>,
    server: String,
    /// Events that came while a question was open.
    waiting: VecDeque<Event>,
    /// Messages to show at these times unless an event comes first; the earliest is first.
    notices: VecDeque<(Instant, String)>,
    /// Whether the transfer of data has begun.
    has_begun: bool,
}

impl<'d> ActiveTransfer<'d> {
    /// Follows a new transfer through the mailbox server `server`.
    pub(crate) fn new(console: &'d mut Console, transfer: Transfer, server: String) -> Self {
        let connecting = format!("Connecting to the mailbox server {server}..");
        let (waiting, notices) = (VecDeque::new(), VecDeque::new());
        let (transfer, has_begun) = (Some(transfer), false);
        let mut active = Self { console, transfer, server, waiting, notices, has_begun };
        active.notice_if_slow(connecting);
        active
    }

    /// Stores the address at which the mailbox server has answered.
    pub(crate) fn set_server(&mut self, server: String) {
        self.cancel_notices();
        self.server = server;
    }

    /// The address of the mailbox server.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Waits for the next event. `None` at the end of the transfer.
    ///
    /// # Errors
    /// The transfer failed, or a signal ended it. The other side has been notified.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>> {
        match self.waiting.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.wait().await,
        }
    }

    async fn wait(&mut self) -> Result<Option<Event>> {
        loop {
            let Some(transfer) = &mut self.transfer else { return Ok(None) };
            tokio::select! {
                biased;
                signal = self.console.next_signal() => {
                    self.console.screen.end_line();
                    return Err(self.stop(signal).await);
                }
                event = transfer.next() => return self.arrived(event),
                () = due(self.notices.front()) => {
                    if let Some((_, notice)) = self.notices.pop_front() {
                        self.console.screen.show(&notice);
                    }
                }
            }
        }
    }

    /// Waits for `other` while the transfer goes on.
    ///
    /// # Errors
    /// The transfer failed, or a signal ended it.
    pub(crate) async fn while_waiting_for<T>(
        &mut self,
        other: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::pin!(other);
        loop {
            let Some(transfer) = &mut self.transfer else { return Ok(other.await) };
            tokio::select! {
                biased;
                signal = self.console.next_signal() => {
                    self.console.screen.end_prompt();
                    return Err(self.stop(signal).await);
                }
                done = &mut other => return Ok(done),
                event = transfer.next() => {
                    if matches!(event, Some(Err(_))) {
                        self.console.screen.end_prompt();
                    }
                    match self.arrived(event)? {
                        Some(event) => self.waiting.push_back(event),
                        None => self.transfer = None,
                    }
                }
            }
        }
    }

    /// Records an event when it arrives, even if it is handled later.
    fn arrived(
        &mut self,
        event: Option<Result<Event, wormhole::transfer::Error>>,
    ) -> Result<Option<Event>> {
        let Some(event) = event else { return Ok(None) };
        let event = event.map_err(|error| {
            self.console.screen.end_progress();
            explain::error(&error, &self.server, self.has_begun)
        })?;
        self.has_begun |= matches!(event, Event::Connected(_));
        self.console.record(&event)?;
        Ok(Some(event))
    }

    /// Notifies the other side after a signal. Returns the error to end with. A second signal ends the waiting.
    pub(crate) async fn stop(&mut self, signal: Signal) -> anyhow::Error {
        self.console.screen.end_progress();
        if let Some(transfer) = self.transfer.take() {
            tokio::select! {
                kept = transfer.cancel() => self.show_kept(kept),
                _ = self.console.next_signal() => {}
            }
        }
        interrupted_by(signal).into()
    }

    fn show_kept(&self, kept: Option<std::path::PathBuf>) {
        if let Some(path) = kept {
            self.console.screen.show(&progress::kept(&path));
        }
    }

    /// Returns `outcome`. If it is an error, notifies the other side first.
    ///
    /// # Errors
    /// The error of `outcome`.
    pub(crate) async fn end<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err()
            && let Some(transfer) = self.transfer.take()
        {
            self.console.screen.end_progress();
            tokio::select! {
                kept = transfer.cancel() => self.show_kept(kept),
                _ = self.console.next_signal() => {}
            }
        }
        outcome
    }

    /// Waits for the end of the transfer and ignores its result.
    pub(crate) async fn drain(&mut self) {
        while let Ok(Some(_)) = self.wait().await {}
    }

    /// Shows `notice` after [`SLOW`], unless it is cancelled or replaced before.
    pub(crate) fn notice_if_slow(&mut self, notice: impl Into<String>) {
        self.notices = VecDeque::from([(Instant::now() + SLOW, notice.into())]);
    }

    /// Does the same, and warns later that the other side may be gone. The mailbox server cannot distinguish a
    /// computer without power from a person who thinks.
    pub(crate) fn notice_if_peer_is_silent(&mut self, notice: impl Into<String>) {
        self.notice_if_slow(notice);
        self.notices.push_back((Instant::now() + PEER_SILENT, MAY_BE_GONE.to_owned()));
    }

    /// Does the same, and shows a warning later if no other client uses this nameplate. Whether another person has
    /// claimed it is unknown: not every server lists the nameplates in use. The warning ends with `advice`.
    pub(crate) fn notice_if_unanswered(
        &mut self,
        notice: &str,
        nameplate: &Nameplate,
        advice: &str,
    ) {
        self.notice_if_slow(notice);
        let unanswered = explain::nobody_is_waiting(nameplate, advice);
        self.notices.push_back((Instant::now() + UNANSWERED, unanswered));
    }

    /// Cancels all notices.
    pub(crate) fn cancel_notices(&mut self) {
        self.notices.clear();
    }

    /// The transfer, unless it has ended.
    pub(crate) fn transfer(&mut self) -> Option<&mut Transfer> {
        self.transfer.as_mut()
    }
}

/// Questions while the transfer continues. [`ActiveTransfer::next`] returns the events that arrive meanwhile.
impl Ask for ActiveTransfer<'_> {
    async fn ask(&mut self, question: &Question<'_>) -> Result<Option<String>> {
        self.console.report(&json::question(question.about, question.answers))?;
        self.while_waiting_for(ask::line(self.console.prompt(question)))
            .await?
            .context("cannot read standard input")
    }

    fn show(&mut self, text: &str) {
        self.console.screen.show(text);
    }
}

async fn due(notice: Option<&(Instant, String)>) {
    match notice {
        Some((at, _)) => sleep_until(*at).await,
        None => std::future::pending().await,
    }
}

/// Time without an answer of the other side before the warning.
const PEER_SILENT: Duration = Duration::from_secs(30);

/// The warning.
const MAY_BE_GONE: &str = "Still no answer: the other side may be gone. The code is used up now; if the \
                           other side was restarted, press Ctrl-C and start again with a new code.";

/// Time after which the other side has probably not started, or uses another code: it would answer at once.
pub(crate) const UNANSWERED: Duration = Duration::from_secs(5);
