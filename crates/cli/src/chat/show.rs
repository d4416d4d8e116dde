//! Shows messages and other events, as text or as JSON.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::chat::{Attachment, Contact, Event, Progress, ReceivedMessage};

use super::{explain, who};
use crate::console::Console;
use crate::json::add_path;
use crate::{printable, units};

/// A file of a message, saved or not.
#[derive(Debug)]
pub(super) struct SavedFile {
    name: String,
    size: Option<u64>,
    content_type: Option<String>,
    /// Where it is, or why it could not be saved.
    saved: Result<PathBuf, String>,
}

impl SavedFile {
    pub(super) fn new(file: &Attachment, saved: Result<PathBuf, String>) -> Self {
        Self {
            name: file.file_name(),
            size: file.size(),
            content_type: file.content_type().map(str::to_owned),
            saved,
        }
    }

    fn line(&self) -> String {
        let size = self.size.map(|size| format!(" ({})", units::size(size))).unwrap_or_default();
        match &self.saved {
            Ok(path) => format!("    file: {}{size}\n", printable::path(path)),
            Err(why) => {
                let (name, why) = (printable::line(&self.name), printable::line(why));
                format!("    file {name} was not saved: {why}\n")
            }
        }
    }

    fn json(&self) -> Value {
        let mut value = json!({
            "name": self.name, "size": self.size, "content_type": self.content_type,
            "path": null, "error": self.saved.as_ref().err(),
        });
        if let Ok(path) = &self.saved {
            add_path(&mut value, path);
        }
        value
    }
}

/// Prints a message on standard output.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn message(
    message: &ReceivedMessage,
    files: &[SavedFile],
    console: &Console,
) -> Result<()> {
    console.report(&json!({
        "event": "chat-message",
        "id": message.id.0,
        "from": person(&message.from),
        "timestamp": message.timestamp.0,
        "text": message.text,
        "files": files.iter().map(SavedFile::json).collect::<Vec<_>>(),
        "identity_changed": message.identity_changed,
    }))?;
    let files: String = files.iter().map(SavedFile::line).collect();
    let time = units::time(message.timestamp.0 / 1000);
    let text = safe(message.text.as_deref().unwrap_or_default());
    console.print(&format!("{time}  {}: {text}\n{files}", who::label(&message.from)))
}

/// Shows an event that is not a message.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn event(event: &Event, contacts: &[Contact], console: &Console) -> Result<()> {
    match event {
        Event::IdentityChanged { account, .. } => {
            let known = contacts.iter().find(|contact| contact.account == *account);
            let Some(contact) = known else { return Ok(()) };
            console.report(&json!({"event": "chat-identity-changed", "who": person(contact)}))?;
            let (label, argument) = (who::label(contact), who::argument(contact));
            console.screen.show(&explain::changed_recipient(&label, &argument));
        }
        Event::NotRead { from, why, .. } => {
            let from = from.map(|address| address.account.to_string());
            let why = printable::line(&why.to_string());
            console.report(&json!({"event": "chat-unreadable", "from": from, "reason": why}))?;
            let from = from.unwrap_or_else(|| "an unknown sender".to_owned());
            console.screen.show(&format!("A message from {from} could not be read: {why}"));
        }
        Event::Progress { message, progress: Progress::NotSent(why), .. } => {
            let why = printable::line(&why.to_string());
            console.report(&json!({
                "event": "chat-not-sent", "timestamp": message.0, "reason": why,
            }))?;
            console.screen.show(&format!("An earlier message could not be sent: {why}"));
        }
        Event::Progress { message, .. } => {
            console.report(&json!({"event": "chat-sent", "to": null, "timestamp": message.0}))?;
        }
        // `receive.rs` handles these.
        Event::Connected | Event::Disconnected(_) | Event::Message(_) | Event::UpToDate => {}
        // Later events of the SDK.
        _ => {}
    }
    Ok(())
}

/// A person as JSON.
pub(super) fn person(contact: &Contact) -> Value {
    json!({
        "account": contact.account.to_string(), "number": contact.number, "app": contact.app,
        "name": contact.name,
    })
}

/// Text without characters that control a terminal. All lines but the first are indented, so that none of them can look
/// like the beginning of another message.
fn safe(text: &str) -> String {
    printable::text(text.trim_end()).replace('\n', "\n    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_look_like_two_messages() {
        assert_eq!(safe("one\n2026-01-01  Bob: two\n"), "one\n    2026-01-01  Bob: two");
        assert_eq!(safe("a\x1b[2J\rb"), "a\\u{1b}[2J\\rb");
    }
}
