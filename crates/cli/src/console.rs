//! The resources of every command: the terminal, JSON output, the timing file, the trace and signals.
//!
//! `active_transfer.rs` uses it for a transfer.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::time::timeout;
use wormhole::transfer::Event;

use crate::active_transfer::UNANSWERED;
use crate::ask::{self, Ask};
use crate::failure::Failure;
use crate::request::DisplayOptions;
use crate::screen::Screen;
use crate::signals::{Signal, Signals};
use crate::timing::Timing;
use crate::trace::{self, Trace};
use crate::{json, printable, screen};

/// The resources with which a command communicates with the user, programs and the system.
#[derive(Debug)]
pub(crate) struct Console {
    /// The terminal.
    pub(crate) screen: Screen,
    is_json: bool,
    timing: Timing,
    trace: Trace,
    signals: Signals,
}

impl Console {
    /// Handles signals from now on.
    ///
    /// # Errors
    /// The system does not allow to handle signals.
    pub(crate) fn new(is_json: bool, timing: Timing, display: &DisplayOptions) -> Result<Self> {
        Ok(Self {
            screen: Screen::new(is_json, display.hide_progress),
            is_json,
            timing,
            trace: Trace::new(display.debug.clone()),
            signals: Signals::watch().context("cannot watch signals")?,
        })
    }

    /// Whether standard output carries JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// Prints one line of JSON, with `--json`.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn report(&self, value: &Value) -> Result<()> {
        if self.is_json { print_json(value) } else { Ok(()) }
    }

    /// Prints a result on standard output, without `--json`.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        if self.is_json {
            return Ok(());
        }
        screen::print(text.as_bytes()).context("cannot write to standard output")
    }

    /// Waits for `work`. A signal ends the waiting.
    ///
    /// # Errors
    /// A signal came.
    pub(crate) async fn unless_interrupted<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::select! {
            biased;
            signal = self.signals.next() => {
                self.screen.end_line();
                Err(interrupted_by(signal).into())
            }
            done = work => Ok(done),
        }
    }

    /// Waits for the next signal.
    pub(crate) async fn next_signal(&mut self) -> Signal {
        self.signals.next().await
    }

    /// Records an event of a transfer: in the trace, in the timing file and as JSON.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(crate) fn record(&mut self, event: &Event) -> Result<()> {
        self.trace.show(event, &self.screen);
        if !matches!(event, Event::Progress { .. }) {
            self.timing.add(trace::describe(event).1, json!({}));
        }
        match json::event(event) {
            Some(value) => self.report(&value),
            None => Ok(()),
        }
    }

    /// Waits for `work`, and shows `notice` if that takes more than a second. A signal ends the waiting.
    ///
    /// # Errors
    /// A signal came.
    pub(crate) async fn notice_if_slow<T>(
        &mut self,
        notice: &str,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::pin!(work);
        if let Ok(done) = self.unless_interrupted(timeout(SLOW, &mut work)).await? {
            return Ok(done);
        }
        self.screen.show(notice);
        self.unless_interrupted(work).await
    }

    /// Waits for the other side of a code, and shows `notice` if that takes more than a second, and `unanswered` after some
    /// seconds more. A signal ends the waiting.
    ///
    /// # Errors
    /// A signal came.
    pub(crate) async fn notice_if_unanswered<T>(
        &mut self,
        notice: &str,
        unanswered: &str,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::pin!(work);
        for (pause, text) in [(SLOW, notice), (UNANSWERED.saturating_sub(SLOW), unanswered)] {
            if let Ok(done) = self.unless_interrupted(timeout(pause, &mut work)).await? {
                return Ok(done);
            }
            self.screen.show(text);
        }
        self.unless_interrupted(work).await
    }

    /// The text of a prompt: empty if standard output carries JSON.
    pub(crate) fn prompt(&self, question: &Question<'_>) -> String {
        if self.is_json { String::new() } else { question.prompt.clone() }
    }

    /// Writes the timing file, with `--dump-timing`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn finish(&self) -> Result<()> {
        if let Some(path) = self.timing.write()? {
            self.screen.show(&format!("Timing data written to {}", path.display()));
        }
        Ok(())
    }
}

/// Questions before there is a transfer. A signal ends the waiting.
impl Ask for Console {
    async fn ask(&mut self, question: &Question<'_>) -> Result<Option<String>> {
        self.report(&json::question(question.about, question.answers))?;
        let prompt = self.prompt(question);
        self.unless_interrupted(ask::line(prompt)).await?.context("cannot read standard input")
    }

    fn show(&mut self, text: &str) {
        self.screen.show(text);
    }
}

/// A question to the user, or to the program that reads our JSON.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// The text of the prompt, with a space at its end.
    pub(crate) prompt: String,
    /// The subject, for programs.
    pub(crate) about: &'a str,
    /// The possible answers, for programs. Empty if any text is an answer.
    pub(crate) answers: &'a [&'a str],
}

/// The failure after a signal.
pub(crate) fn interrupted_by(signal: Signal) -> Failure {
    Failure::signal(signal.sentence(), signal.number())
}

/// Prints one line of JSON on standard output.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn print_json(value: &Value) -> Result<()> {
    // A terminal must not execute control sequences from the other side.
    let line = printable::json(&value.to_string());
    screen::print(format!("{line}\n").as_bytes()).context("cannot write to standard output")
}

/// Time after which a notice explains what takes long, as in the Python command line.
pub(crate) const SLOW: Duration = Duration::from_secs(1);
