//! Shows what happens in a session: lines for people, or JSON (docs/json.md).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wormhole::transfer::share::{Event, TransferId};
use wormhole::transfer::{Error, Event as TransferEvent, Offer, Report as TransferReport};

use crate::console::Console;
use crate::{explain, json as events, printable, progress, units};

/// A line that the line editor shows.
pub(super) struct EditorLine {
    /// With the end of the line.
    pub(super) text: String,
    /// Whether it is the progress, which the next one replaces.
    pub(super) is_state: bool,
}

/// The output so far.
#[derive(Default)]
pub(super) struct Report {
    /// The line editor. `None` if lines go to standard error.
    pub(super) editor: Option<mpsc::Sender<EditorLine>>,
    pub(super) server: String,
    names: BTreeMap<TransferId, String>,
    /// Our offers that the other side has accepted.
    accepted: BTreeSet<TransferId>,
    moving: BTreeMap<TransferId, (u64, Option<u64>)>,
    /// The progress that was shown last.
    progress: String,
    is_connected: bool,
    sent: u64,
    received: u64,
    refused: u64,
    /// How many transfers failed for another reason than a refusal.
    pub(super) failed: u64,
    /// How many transfers are over, but without some files.
    pub(super) incomplete: u64,
}

impl Report {
    /// Nothing was shown yet. `server` is the mailbox server, for errors.
    pub(super) fn new(server: String) -> Self {
        Self { server, ..Self::default() }
    }

    /// Remembers an offer, and describes it.
    pub(super) fn remember(&mut self, id: TransferId, offer: &Offer) -> String {
        let name = offer.name().map(|name| format!("'{name}'")).unwrap_or_default();
        self.names.insert(id, name.clone());
        // The name is last, because it may look like the rest of the sentence.
        match offer {
            Offer::Directory { bytes, files, .. } => {
                format!(
                    "a directory ({}, {}): {name}",
                    units::size(*bytes),
                    progress::files(*files)
                )
            }
            Offer::File { size, .. } => format!("a file ({}): {name}", units::size(*size)),
            // Neither they nor later kinds are offered here.
            Offer::Stream { .. } | Offer::Text(_) | _ => format!("a file of unknown size: {name}"),
        }
    }

    /// Shows a line.
    pub(super) async fn line(&self, text: &str, console: &Console) {
        match &self.editor {
            // Its end is noticed where lines are read.
            Some(editor) => {
                let text = format!("{text}\n");
                let _gone = editor.send(EditorLine { text, is_state: false }).await;
            }
            None => console.screen.show(text),
        }
    }

    /// Shows an event.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) async fn show(&mut self, event: &Event, console: &Console) -> Result<()> {
        if let Some(line) = self.sentence(event) {
            self.line(&line, console).await;
        }
        match json_of(event) {
            Some(value) => console.report(&value),
            None => Ok(()),
        }
    }

    fn sentence(&mut self, event: &Event) -> Option<String> {
        Some(match event {
            Event::Connected(path) => {
                let again =
                    if std::mem::replace(&mut self.is_connected, true) { " again" } else { "" };
                format!("Connected{again}, {}.", progress::route(path))
            }
            Event::ConnectionLost => {
                "Lost the connection to the other side; reconnecting..".to_owned()
            }
            Event::Offered { id, offer } => {
                format!("The other side offers {}", self.remember(*id, offer))
            }
            Event::Accepted(id) => {
                self.accepted.insert(*id);
                format!("The other side accepts {}.", self.name(*id))
            }
            Event::Resuming { id, done, total } => {
                let of = total.map(|total| format!(" of {}", units::size(total)));
                let (name, at) = (self.name(*id), units::size(*done));
                format!("Continuing {name} at {at}{}.", of.unwrap_or_default())
            }
            Event::Progress { id, done, total } => {
                self.moving.insert(*id, (*done, *total));
                return None;
            }
            Event::Done { id, report } => self.done(*id, report),
            Event::Failed { id, error, kept } => {
                let failed = self.failed(*id, error);
                match kept {
                    Some(path) => format!("{failed}\n{}", progress::kept(path)),
                    None => failed,
                }
            }
            Event::PeerFinished => "The other side offers nothing more.".to_owned(),
            // A later event of the SDK.
            _ => return None,
        })
    }

    fn done(&mut self, id: TransferId, report: &TransferReport) -> String {
        self.accepted.remove(&id);
        let (name, size) = (self.forget(id), units::size(report.bytes));
        let missing = missing(report);
        if !missing.is_empty() {
            self.incomplete += 1;
        }
        if id.is_outgoing() {
            self.sent += 1;
            return format!("Sent {name} ({size}).{missing}");
        }
        self.received += 1;
        let path = report.written.as_deref().map(printable::path).unwrap_or_default();
        format!("Received {name} ({size}) as '{path}'.{missing}")
    }

    /// Forgets a transfer that is over. Returns its name.
    fn forget(&mut self, id: TransferId) -> String {
        self.moving.remove(&id);
        self.names.remove(&id).unwrap_or_default()
    }

    fn failed(&mut self, id: TransferId, error: &Error) -> String {
        let has_begun = self.moving.contains_key(&id);
        let (name, was_accepted) = (self.forget(id), self.accepted.remove(&id));
        if *error == Error::Rejected {
            self.refused += 1;
            return format!("Refused {name}.");
        }
        // After it was accepted, or from a sender, the same words are a failure.
        let can_be_refused = id.is_outgoing() && !was_accepted;
        if can_be_refused && error.is_refusal() {
            self.refused += 1;
            return format!("The other side refused {name}.");
        }
        self.failed += 1;
        let failure = explain::interruption(error, &self.server, has_begun);
        let hint = failure.advice().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{name} was not transferred: {failure}{hint}")
    }

    /// The name of a transfer that is not over, in quotes.
    pub(super) fn name(&self, id: TransferId) -> String {
        self.names.get(&id).cloned().unwrap_or_default()
    }

    /// Shows the progress of all transfers, if it has changed.
    pub(super) async fn show_progress(&mut self, console: &mut Console) {
        if self.editor.is_some() && !console.screen.shows_progress() {
            return;
        }
        let parts: Vec<_> = self
            .moving
            .iter()
            .map(|(id, (done, total))| {
                let direction = if id.is_outgoing() { "sending" } else { "receiving" };
                let part = match total {
                    Some(total) if *total > 0 => format!("{}%", percent(*done, *total)),
                    _ => units::size(*done),
                };
                format!("{direction} {} {part}", self.name(*id))
            })
            .collect();
        let line = parts.join(", ");
        if line == self.progress {
            return;
        }
        self.progress.clone_from(&line);
        match &self.editor {
            Some(editor) if !line.is_empty() => {
                let _gone =
                    editor.send(EditorLine { text: format!("{line}\n"), is_state: true }).await;
            }
            None if line.is_empty() => console.screen.end_status(),
            None => console.screen.show_status(&line),
            Some(_) => {}
        }
    }

    /// Shows the totals at the end.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn end(&self, console: &Console) -> Result<()> {
        let Self { sent, received, refused, failed, .. } = self;
        let mut text = format!("{sent} sent, {received} received");
        for (count, what) in [(*refused, "refused"), (*failed, "failed")] {
            if count > 0 {
                text = format!("{text}, {count} {what}");
            }
        }
        console.screen.show(&text);
        console.report(&json!({
            "event": "session-done", "sent": sent, "received": received,
            "refused": refused, "failed": failed,
        }))
    }
}

/// A line for each file that is missing or has changed; at most so many of each kind.
fn missing(report: &TransferReport) -> String {
    let changed = report.changed.iter().take(MAX_LISTED);
    let changed =
        changed.map(|it| format!("not as offered: '{}': {}", printable::path(&it.path), it.why));
    let omitted = report.omitted.iter().take(MAX_LISTED).map(|it| format!("not received: '{it}'"));
    let listed: Vec<_> = changed.chain(omitted).collect();
    let all = report.changed.len().saturating_add(report.omitted.len());
    let more = u64::try_from(all - listed.len()).unwrap_or(u64::MAX);
    let more = more.saturating_add(report.omitted_more);
    let mut text: String = listed.iter().map(|line| format!("\n{line}")).collect();
    if more > 0 {
        text = format!("{text}\nand {} more", progress::files(more));
    }
    text
}

fn percent(done: u64, total: u64) -> u128 {
    u128::from(done) * 100 / u128::from(total.max(1))
}

fn json_of(event: &Event) -> Option<Value> {
    let with_id = |id: &TransferId, event: TransferEvent| {
        let mut value = events::event(&event)?;
        events::set(&mut value, "id", id.number());
        Some(value)
    };
    match event {
        Event::Connected(path) => Some(events::connected(path)),
        Event::ConnectionLost => events::event(&TransferEvent::ConnectionLost),
        Event::Offered { id, offer } => with_id(id, TransferEvent::Offer(offer.clone())),
        Event::Accepted(id) => with_id(id, TransferEvent::Accepted),
        Event::Resuming { id, done, total } => {
            with_id(id, TransferEvent::Resuming { done: *done, total: *total })
        }
        Event::Progress { id, done, total } => {
            with_id(id, TransferEvent::Progress { done: *done, total: *total })
        }
        Event::Done { id, report } => with_id(id, TransferEvent::Done(report.clone())),
        Event::Failed { id, error, kept } => {
            let (id, reason) = (id.number(), error.to_string());
            let mut value = json!({"event": "failed", "id": id, "reason": reason, "path": null});
            if let Some(path) = kept {
                events::add_path(&mut value, path);
            }
            Some(value)
        }
        Event::PeerFinished => Some(json!({"event": "peer-finished"})),
        // A later event of the SDK.
        _ => None,
    }
}

/// Maximum number of missing files of one kind that are listed.
const MAX_LISTED: usize = 10;
