//! `send --to N`: one offer to several receivers, each with a code of its own and independent of the others.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use anyhow::Result;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use wormhole::code;
use wormhole::transfer::{self, Error, Event, Outgoing, Report, Settings, Transfer};

use super::{Invitation, show_outgoing};
use crate::console::{Console, SLOW, interrupted_by};
use crate::failure::Failure;
use crate::{explain, json, printable, progress, units};

/// An event of the transfer to one receiver.
type ReceiverEvent = (u8, Result<Event, Error>);

/// Offers the same to so many receivers, and waits until each has it or has failed.
///
/// # Errors
/// Something cannot be sent, not every receiver has it, or a signal came.
pub(super) async fn run(
    what: &Outgoing,
    receivers: NonZeroU8,
    settings: &Settings,
    invitation: &Invitation,
    console: &mut Console,
) -> Result<()> {
    let server = progress::server(settings);
    let (sender, events) = mpsc::channel(EVENTS);
    let (cancel, cancelled) = watch::channel(());
    let mut transfers = Vec::new();
    for number in 1..=receivers.get() {
        // A port that the configuration file sets is free for one of them.
        let mut settings = settings.clone();
        settings.listen_port = settings.listen_port.filter(|_| number == 1);
        let transfer = transfer::send(copy(what)?, settings);
        let transfer = transfer.map_err(|error| explain::failure(&error, &server))?;
        if number == 1 {
            show_outgoing(&transfer, console)?;
        }
        transfers.push((number, transfer));
    }
    console.report(&json::connecting(&server))?;
    for (number, transfer) in transfers {
        tokio::spawn(pass_on(number, transfer, sender.clone(), cancelled.clone()));
    }
    drop((sender, cancelled));
    let mut receiving = Receivers { receivers: receivers.get(), server, ..Receivers::default() };
    let outcome = receiving.follow(events, invitation, console).await;
    if outcome.is_err() {
        drop(receiving);
        tokio::select! {
            () = cancel_all(cancel) => {}
            _ = console.next_signal() => {}
        }
    }
    outcome
}

/// The same again. A stream can be read only once.
fn copy(what: &Outgoing) -> Result<Outgoing> {
    match what {
        Outgoing::Paths(paths) => Ok(Outgoing::Paths(paths.clone())),
        Outgoing::Text(text) => Ok(Outgoing::Text(text.clone())),
        // Also later kinds of the SDK.
        Outgoing::Stream { .. } | _ => {
            Err(Failure::usage("--to cannot send standard input, which can be read only once")
                .hint("save it to a file first")
                .into())
        }
    }
}

/// Passes on the events of one transfer until its end, and cancels it when the others are cancelled.
async fn pass_on(
    number: u8,
    mut transfer: Transfer,
    events: mpsc::Sender<ReceiverEvent>,
    mut cancelled: watch::Receiver<()>,
) {
    loop {
        tokio::select! {
            event = transfer.next() => match event {
                Some(event) => if events.send((number, event)).await.is_err() {
                    break;
                },
                None => return,
            },
            // The command has cancelled all transfers, or has ended.
            _ = cancelled.changed() => break,
        }
    }
    transfer.cancel().await;
}

/// Cancels all transfers, and waits until the other sides are notified.
async fn cancel_all(cancel: watch::Sender<()>) {
    cancel.send_replace(());
    cancel.closed().await;
}

/// The state of all transfers.
#[derive(Debug, Default)]
struct Receivers {
    receivers: u8,
    server: String,
    /// Bytes that each receiver has, and how many they are.
    progress: BTreeMap<u8, (u64, Option<u64>)>,
    received: Vec<u8>,
    /// Whether the mailbox server has answered, and whether the connection to it is lost.
    server_has_answered: bool,
    server_is_lost: bool,
    /// The greatest number of failed attempts to reach the server that was shown.
    shown_failures: u32,
    failed: BTreeMap<u8, String>,
}

impl Receivers {
    async fn follow(
        &mut self,
        mut events: mpsc::Receiver<ReceiverEvent>,
        invitation: &Invitation,
        console: &mut Console,
    ) -> Result<()> {
        let slow = sleep(SLOW);
        tokio::pin!(slow);
        let mut is_slow = false;
        loop {
            let next = tokio::select! {
                biased;
                signal = console.next_signal() => {
                    console.screen.end_line();
                    self.summary(console);
                    return Err(interrupted_by(signal).into());
                }
                next = events.recv() => next,
                () = &mut slow, if !is_slow && !self.server_has_answered => {
                    is_slow = true;
                    let notice = format!("Connecting to the mailbox server {}..", self.server);
                    console.screen.show(&notice);
                    continue;
                }
            };
            match next {
                Some((number, Ok(event))) => self.on_event(number, &event, invitation, console)?,
                Some((number, Err(error))) => self.on_failure(number, &error, console)?,
                None => break,
            }
        }
        console.screen.end_progress();
        self.summary(console);
        if self.received.len() == usize::from(self.receivers) {
            return Ok(());
        }
        let failed = self.failed.iter().map(|(number, why)| format!("receiver {number}: {why}"));
        Err(Failure::new(failed.collect::<Vec<_>>().join("; ")).into())
    }

    fn on_event(
        &mut self,
        number: u8,
        event: &Event,
        invitation: &Invitation,
        console: &mut Console,
    ) -> Result<()> {
        if let Some(mut value) = json::event(event) {
            json::set(&mut value, "receiver", number);
            console.report(&value)?;
        }
        let show = |line: &str| console.screen.show(&format!("Receiver {number}: {line}"));
        match event {
            Event::Wormhole(code::Event::Code(code)) => {
                let code = code.to_string();
                let command = invitation.servers.other_side(["receive", &code]);
                show(&format!("the code is {}", console.screen.bold(&printable::text(&code))));
                console.screen.show(&format!("    {command}"));
            }
            Event::Wormhole(event) => self.on_server_event(event, console),
            Event::PortTaken { .. } => {
                progress::trouble(event).iter().for_each(|line| console.screen.show(line));
            }
            Event::ServerRetry { failures, .. } if *failures > self.shown_failures => {
                self.shown_failures = *failures;
                progress::trouble(event).iter().for_each(|line| console.screen.show(line));
            }
            Event::Resuming { done, .. } => {
                show(&format!("continuing at {}", units::size(*done)));
            }
            Event::Accepted => show("accepted"),
            Event::Connected(path) => show(&format!("connected, {}", progress::route(path))),
            Event::ConnectionLost => show("lost the connection; reconnecting.."),
            Event::Done(report) => show(self.on_done(number, report)),
            Event::Progress { done, total } => self.on_progress(number, (*done, *total), console),
            Event::AwaitingConfirmation
            | Event::CodeWanted(_)
            | Event::Kept(_)
            | Event::Offer(_)
            | Event::ServerRetry { .. }
            | Event::Text(_) => {}
            // Later events need no line.
            _ => {}
        }
        Ok(())
    }

    /// Stores the result of a receiver, and describes it.
    fn on_done(&mut self, number: u8, report: &Report) -> &'static str {
        if report.changed.is_empty() {
            self.received.push(number);
            return "has everything";
        }
        self.failed.insert(number, INCOMPLETE.to_owned());
        INCOMPLETE
    }

    fn on_progress(
        &mut self,
        number: u8,
        (done, total): (u64, Option<u64>),
        console: &mut Console,
    ) {
        self.progress.insert(number, (done, total));
        let done = self.progress.values().map(|(done, _)| done).sum();
        let total = total.map(|total| total.saturating_mul(self.receivers.into()));
        console.screen.show_progress(done, total);
    }

    /// Shows once what happens to the connections of all transfers to the mailbox server.
    #[expect(clippy::wildcard_enum_match_arm, reason = "other events are about one receiver")]
    fn on_server_event(&mut self, event: &code::Event, console: &Console) {
        match event {
            code::Event::Server(_) => self.server_has_answered = true,
            code::Event::ServerLost if !self.server_is_lost => {
                self.server_is_lost = true;
                console.screen.show(progress::SERVER_LOST);
            }
            code::Event::ServerFound if self.server_is_lost => {
                (self.server_is_lost, self.shown_failures) = (false, 0);
                console.screen.show(progress::SERVER_FOUND);
            }
            _ => {}
        }
    }

    fn on_failure(&mut self, number: u8, error: &Error, console: &Console) -> Result<()> {
        let has_begun = self.progress.contains_key(&number);
        let failure = explain::interruption(error, &self.server, has_begun);
        let advice = failure.advice().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let why = format!("{failure}{advice}");
        console.report(&serde_json::json!({
            "event": "failed", "receiver": number, "reason": failure.to_string(), "path": null,
        }))?;
        console.screen.show(&format!("Receiver {number}: {why}"));
        self.failed.insert(number, why);
        Ok(())
    }

    /// Shows which receivers have everything.
    fn summary(&self, console: &Console) {
        let mut received = self.received.clone();
        received.sort_unstable();
        let numbers: Vec<_> = received.iter().map(ToString::to_string).collect();
        let list =
            if numbers.is_empty() { String::new() } else { format!(" ({})", numbers.join(", ")) };
        let (count, all) = (received.len(), self.receivers);
        console.screen.show(&format!("Received by {count} of {all}{list}."));
    }
}

/// The result of a receiver whose files are not all as they were offered.
const INCOMPLETE: &str = "some files changed while they were sent, or could not be read";

/// Maximum number of events that wait.
const EVENTS: usize = 64;
