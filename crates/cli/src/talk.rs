//! One transfer as the command line follows it: its events in order, and between them signals,
//! questions and remarks about what takes long.
//!
//! It does not decide anything; `send.rs`, `receive.rs` and `ssh.rs` do.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use wormhole::code::Nameplate;
use wormhole::transfer::{Event, Transfer};

use crate::failure::Failure;
use crate::request::Shown;
use crate::screen::Screen;
use crate::signals::{Signal, Signals};
use crate::timing::Timing;
use crate::trace::{self, Trace};
use crate::{ask, explain, json, printable, screen};

/// What all commands share: where things are shown and noted.
#[derive(Debug)]
pub(crate) struct Desk {
    /// The terminal.
    pub(crate) screen: Screen,
    is_json: bool,
    timing: Timing,
    trace: Trace,
    signals: Signals,
}

impl Desk {
    /// Watches signals from now on.
    ///
    /// # Errors
    /// The system does not let us.
    pub(crate) fn new(is_json: bool, timing: Timing, shown: &Shown) -> Result<Self> {
        Ok(Self {
            screen: Screen::new(is_json, shown.hide_progress),
            is_json,
            timing,
            trace: Trace::new(shown.debug.clone()),
            signals: Signals::watch().context("cannot watch signals")?,
        })
    }

    /// Whether standard output carries JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Prints one JSON line, if those are wanted.
    ///
    /// # Errors
    /// Standard output does not take it.
    pub(crate) fn report(&self, value: &Value) -> Result<()> {
        if self.is_json { emit(value) } else { Ok(()) }
    }

    /// Prints what the user came for on standard output, unless that carries JSON.
    ///
    /// # Errors
    /// Standard output does not take it.
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        if self.is_json {
            return Ok(());
        }
        screen::print(text.as_bytes()).context("cannot write to standard output")
    }

    /// Waits for an answer that needs no transfer yet; a signal ends the waiting.
    ///
    /// # Errors
    /// A signal came, or standard input failed.
    pub(crate) async fn ask(&mut self, question: &Question<'_>) -> Result<Option<String>> {
        self.report(&json::question(question.about, question.answers))?;
        let prompt = self.prompt(question);
        self.unless_stopped(ask::line(prompt)).await?.context("cannot read standard input")
    }

    /// Waits for something that needs no transfer yet; a signal ends the waiting.
    ///
    /// # Errors
    /// A signal came.
    pub(crate) async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            signal = self.signals.next() => {
                self.screen.break_off();
                Err(stopped(signal).into())
            }
            done = work => Ok(done),
        }
    }

    fn prompt(&self, question: &Question<'_>) -> String {
        if self.is_json { String::new() } else { question.prompt.clone() }
    }

    /// Writes the timing file, if one is wanted.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn finish(&self) -> Result<()> {
        if let Some(path) = self.timing.write()? {
            self.screen.say(&format!("Timing data written to {}", path.display()));
        }
        Ok(())
    }
}

/// Something only a person, or a script in its place, can decide.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// What is shown, with a blank at its end.
    pub(crate) prompt: String,
    /// What it is about, for programs.
    pub(crate) about: &'a str,
    /// What may be answered, for programs.
    pub(crate) answers: &'a [&'a str],
}

/// A transfer and the desk it is followed from.
#[derive(Debug)]
pub(crate) struct Talk<'d> {
    /// Where it is shown.
    pub(crate) desk: &'d mut Desk,
    transfer: Option<Transfer>,
    server: String,
    waiting: VecDeque<Event>,
    /// What is said when, if nothing happens before; soonest first.
    remarks: VecDeque<(Instant, String)>,
}

impl<'d> Talk<'d> {
    /// Follows a transfer that has just begun, through the mailbox server called `server`.
    pub(crate) fn new(desk: &'d mut Desk, transfer: Transfer, server: String) -> Self {
        let connecting = format!("Connecting to the mailbox server {server}..");
        let (waiting, remarks) = (VecDeque::new(), VecDeque::new());
        let mut talk = Self { desk, transfer: Some(transfer), server, waiting, remarks };
        talk.remark_if_slow(connecting);
        talk
    }

    /// The mailbox server has answered at this address.
    pub(crate) fn name_server(&mut self, server: String) {
        self.forget_remark();
        self.server = server;
    }

    /// What the mailbox server is called.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The next event; `None` when the transfer is over.
    ///
    /// # Errors
    /// The transfer failed, or a signal ended it; the other side has been told.
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
                signal = self.desk.signals.next() => {
                    self.desk.screen.break_off();
                    return Err(self.stop(signal).await);
                }
                event = transfer.next() => return self.arrived(event),
                () = due(self.remarks.front()) => {
                    if let Some((_, remark)) = self.remarks.pop_front() {
                        self.desk.screen.say(&remark);
                    }
                }
            }
        }
    }

    /// Asks while the transfer goes on; what happens to it meanwhile is kept for [`Talk::next`].
    ///
    /// # Errors
    /// The transfer failed, a signal ended it, or standard input cannot be read.
    pub(crate) async fn ask(&mut self, question: &Question<'_>) -> Result<Option<String>> {
        self.desk.report(&json::question(question.about, question.answers))?;
        self.while_waiting_for(ask::line(self.desk.prompt(question)))
            .await?
            .context("cannot read standard input")
    }

    /// Waits for something else while the transfer goes on.
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
                signal = self.desk.signals.next() => {
                    self.desk.screen.end_prompt();
                    return Err(self.stop(signal).await);
                }
                done = &mut other => return Ok(done),
                event = transfer.next() => {
                    if matches!(event, Some(Err(_))) {
                        self.desk.screen.end_prompt();
                    }
                    match self.arrived(event)? {
                        Some(event) => self.waiting.push_back(event),
                        None => self.transfer = None,
                    }
                }
            }
        }
    }

    /// Notes an event the moment it comes, whenever it is handled.
    fn arrived(
        &mut self,
        event: Option<Result<Event, wormhole::transfer::Error>>,
    ) -> Result<Option<Event>> {
        let Some(event) = event else { return Ok(None) };
        let event = event.map_err(|error| {
            self.desk.screen.end_progress();
            explain::error(&error, &self.server)
        })?;
        self.desk.trace.show(&event, &self.desk.screen);
        if !matches!(event, Event::Progress { .. }) {
            self.desk.timing.note(trace::describe(&event).1, json!({}));
        }
        if let Some(value) = json::event(&event) {
            self.desk.report(&value)?;
        }
        Ok(Some(event))
    }

    /// Tells the other side and gives the error to end with. A second signal does not wait.
    pub(crate) async fn stop(&mut self, signal: Signal) -> anyhow::Error {
        self.desk.screen.end_progress();
        if let Some(transfer) = self.transfer.take() {
            tokio::select! {
                () = transfer.cancel() => {}
                _ = self.desk.signals.next() => {}
            }
        }
        stopped(signal).into()
    }

    /// Ends the transfer as `outcome` says: if something failed here, the other side is told before this
    /// program exits.
    ///
    /// # Errors
    /// That of the outcome.
    pub(crate) async fn end<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err()
            && let Some(transfer) = self.transfer.take()
        {
            self.desk.screen.end_progress();
            tokio::select! {
                () = transfer.cancel() => {}
                _ = self.desk.signals.next() => {}
            }
        }
        outcome
    }

    /// Waits until the transfer is over, whatever becomes of it.
    pub(crate) async fn drain(&mut self) {
        while let Ok(Some(_)) = self.wait().await {}
    }

    /// Says `remark` if no other remark is planned before [`SLOW`] has passed.
    pub(crate) fn remark_if_slow(&mut self, remark: impl Into<String>) {
        self.remarks = VecDeque::from([(Instant::now() + SLOW, remark.into())]);
    }

    /// Says `remark` as [`Talk::remark_if_slow`] does, and after a while that the other side may be
    /// gone. The mailbox does not tell: a computer that lost its power looks like a person who thinks.
    pub(crate) fn remark_while_peer_is_silent(&mut self, remark: impl Into<String>) {
        self.remark_if_slow(remark);
        self.remarks.push_back((Instant::now() + PEER_SILENT, MAY_BE_GONE.to_owned()));
    }

    /// Says `remark` as [`Talk::remark_if_slow`] does, and after a while that nothing comes under this
    /// nameplate. It cannot know whether somebody else has claimed it: not every server says which
    /// ones are in use.
    pub(crate) fn remark_if_unanswered(&mut self, remark: &str, nameplate: &Nameplate) {
        self.remark_if_slow(remark);
        let unanswered = format!(
            "Nobody has answered at nameplate {nameplate} yet. Is the number right? If it is, the \
             other side has not started yet, or this code has been used already: each code works once."
        );
        self.remarks.push_back((Instant::now() + UNANSWERED, unanswered));
    }

    /// What seemed slow has happened.
    pub(crate) fn forget_remark(&mut self) {
        self.remarks.clear();
    }

    /// The transfer, while it goes on.
    pub(crate) fn transfer(&mut self) -> Option<&mut Transfer> {
        self.transfer.as_mut()
    }
}

async fn due(remark: Option<&(Instant, String)>) {
    match remark {
        Some((at, _)) => sleep_until(*at).await,
        None => std::future::pending().await,
    }
}

/// The failure that a signal is.
pub(crate) fn stopped(signal: Signal) -> Failure {
    Failure::signal(signal.sentence(), signal.number())
}

/// Prints one JSON line.
///
/// # Errors
/// Standard output does not take it.
pub(crate) fn emit(value: &Value) -> Result<()> {
    // Somebody may look at it in a terminal.
    let line = printable::json(&value.to_string());
    screen::print(format!("{line}\n").as_bytes()).context("cannot write to standard output")
}

/// How long the other side may say nothing before that is worth a word.
const PEER_SILENT: Duration = Duration::from_secs(30);

/// What is said then.
const MAY_BE_GONE: &str = "Still no answer: the other side may be gone. The code is used up now; if the \
                           other side was restarted, press Ctrl-C and start again with a new code.";

/// Waiting longer than this deserves a word, as in the Python command line.
const SLOW: Duration = Duration::from_secs(1);

/// A side that has started answers at once. One that has not answered for so long has not started, or
/// uses another code.
const UNANSWERED: Duration = Duration::from_secs(5);
