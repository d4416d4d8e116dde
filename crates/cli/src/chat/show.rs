//! Shows messages and other events, as text or as JSON.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::chat::{
    AccountId, Attachment, CopyFailure, Event, Quote, RangeKind, ReadError, ReceivedMessage,
};

use super::people::{self, People};
use super::recent::{self, Recent};
use super::{explain, mentions};
use crate::args::chat::AccountArgs;
use crate::console::Console;
use crate::json::{add_path, set};
use crate::shell::quote;
use crate::{printable, units};

/// The result for a file of a message.
#[derive(Debug)]
pub(super) struct FileResult<'a> {
    pub(super) file: &'a Attachment,
    /// Its position among the files of the message.
    pub(super) index: usize,
    /// Where it is, or why it is not saved.
    pub(super) saved: Result<PathBuf, (NotSaved, String)>,
}

/// Whether a file that is not saved can be saved later.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotSaved {
    /// It cannot.
    Failed,
    /// It waits for another run.
    Left,
}

impl FileResult<'_> {
    /// Whether it waits for another run.
    pub(super) const fn is_left(&self) -> bool {
        matches!(self.saved, Err((NotSaved::Left, _)))
    }

    /// Reports the file of a message to programs.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn report(&self, message: &ReceivedMessage, console: &Console) -> Result<()> {
        let (state, why) = match &self.saved {
            Ok(_) => ("saved", None),
            Err((NotSaved::Failed, why)) => ("failed", Some(why)),
            Err((NotSaved::Left, why)) => ("left", Some(why)),
        };
        let mut value = json!({
            "event": "chat-file", "message": message.id.0, "index": self.index, "state": state,
            "name": self.file.file_name(), "size": self.file.size(),
            "content_type": self.file.content_type(), "path": null, "error": why,
        });
        if let Ok(path) = &self.saved {
            add_path(&mut value, path);
        }
        console.report(&value)
    }

    /// The line for people. `None` for waiting files, which are summed up instead.
    pub(super) fn line(&self) -> Option<String> {
        match &self.saved {
            Ok(path) => Some(format!("    saved: {}\n", printable::path(path))),
            Err((NotSaved::Failed, why)) if self.index < MAX_LINES => {
                let name = printable::line(&self.file.file_name());
                Some(format!("    not saved: {name}: {}\n", printable::line(why)))
            }
            Err(_) => None,
        }
    }
}

/// Prints a message on standard output. Its files are not saved yet.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn message(
    message: &ReceivedMessage,
    people: &People,
    recent: &Recent,
    console: &Console,
) -> Result<()> {
    let (value, text) = describe(message, people, recent);
    console.report(&value)?;
    console.print(&text)
}

/// A message, for programs and for people. Its files are not saved yet.
pub(super) fn describe(
    message: &ReceivedMessage,
    people: &People,
    recent: &Recent,
) -> (Value, String) {
    let value = described_message(message);
    let text = safe(&text(message, people));
    let text = if text.is_empty() { String::new() } else { format!(" {text}") };
    let id = recent.shown_id(message.reference());
    let reply = message.quote.as_ref().map(|quote| reply_line(quote, people));
    let lines = reply.unwrap_or_default() + &file_lines(&message.files);
    (value, format!("{}{id}:{text}\n{lines}", heading(message, people)))
}

/// The text of a message, with the names of those who are mentioned.
pub(super) fn text(message: &ReceivedMessage, people: &People) -> String {
    mentions::shown(message.text.as_deref().unwrap_or_default(), &message.ranges, people)
}

/// The message that is replied to, as the sender quotes it.
fn reply_line(quote: &Quote, people: &People) -> String {
    let author = quote.target.author;
    let whose = if author == people.own() { "you".to_owned() } else { people.label_of(author) };
    match quote.text.as_deref().map(recent::excerpt).filter(|text| !text.is_empty()) {
        Some(text) => format!("    in reply to {whose}: \"{text}\"\n"),
        None => format!("    in reply to {whose}\n"),
    }
}

/// A line that the user has typed, in the form of the messages of others, with its id as it is shown there.
pub(super) fn own(line: &str, id: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}  you{id}: {}\n", units::time(now.as_secs()), safe(line))
}

/// A message as JSON: a received one, or one that another device of the user has sent.
fn described_message(message: &ReceivedMessage) -> Value {
    let files = message.files.iter().map(described_file).collect::<Vec<_>>();
    let mut value = match &message.sent_to {
        None => json!({
            "event": "chat-message", "id": message.id.0, "from": people::json(&message.from),
            "timestamp": message.timestamp.0, "text": message.text, "files": files,
            "identity_changed": message.identity_changed,
        }),
        Some(to) => json!({
            "event": "chat-sent-elsewhere", "id": message.id.0, "to": people::json(to),
            "device": message.device.number(), "timestamp": message.timestamp.0,
            "text": message.text, "files": files,
        }),
    };
    let reply = message.quote.as_ref().map(|quote| {
        let mut reply = recent::json(quote.target);
        set(&mut reply, "text", quote.text.clone());
        reply
    });
    let mentions = message.ranges.iter().filter_map(|range| match range.kind {
        RangeKind::Mention(account) => Some(json!({
            "account": account.to_string(), "start": range.start, "length": range.length,
        })),
        RangeKind::Style(_) => None,
    });
    set(&mut value, "group", message.group.map(|group| group.to_string()));
    set(&mut value, "short_id", message.reference().short_id());
    set(&mut value, "reply_to", reply);
    set(&mut value, "mentions", mentions.collect::<Vec<_>>());
    set(&mut value, "expires_after", message.expire_timer);
    value
}

/// Prints to which earlier message the files belong that are saved now.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn earlier(message: &ReceivedMessage, people: &People, console: &Console) -> Result<()> {
    console.print(&format!("{}: files of this earlier message\n", heading(message, people)))
}

/// When a message was sent, and by whom.
pub(super) fn heading(message: &ReceivedMessage, people: &People) -> String {
    let who = match &message.sent_to {
        Some(to) => format!("you to {}", people.label(to)),
        None if message.from.account == people.own() => "you".to_owned(),
        None => people.label(&message.from),
    };
    let time = units::time(message.timestamp.0 / 1000);
    format!("{time}  {who}{}", people.in_group(message.group))
}

/// One line for each file, but not for a thousand of them.
fn file_lines(files: &[Attachment]) -> String {
    let line = |file: &Attachment| {
        let size = file.size().map(|bytes| format!(" ({})", size(bytes))).unwrap_or_default();
        format!("    file: {}{size}\n", printable::line(&file.file_name()))
    };
    let mut lines: String = files.iter().take(MAX_LINES).map(line).collect();
    if files.len() > MAX_LINES {
        lines += &format!("    and {} more files\n", files.len() - MAX_LINES);
    }
    lines
}

/// The text and the files of an own message, indented.
pub(super) fn content(text: Option<&str>, files: &[Attachment]) -> String {
    let text = safe(text.unwrap_or_default());
    let text = if text.is_empty() { text } else { format!("    {text}\n") };
    text + &file_lines(files)
}

/// The files of a message, for programs and for people.
pub(super) fn files(files: &[Attachment]) -> (Value, String) {
    (files.iter().map(described_file).collect(), file_lines(files))
}

/// A file that is not saved yet, as JSON.
fn described_file(file: &Attachment) -> Value {
    json!({
        "name": file.file_name(), "size": file.size(), "content_type": file.content_type(),
        "path": null, "error": null,
    })
}

/// A size as people read it.
pub(super) fn size(bytes: u64) -> String {
    units::size(bytes).replace("Byte", "byte")
}

/// The safety number with somebody has changed, for programs.
pub(super) fn identity_changed(account: AccountId, people: &People) -> Value {
    json!({"event": "chat-identity-changed", "who": people.json_of(account)})
}

/// Shows an event that is not a message.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn event(
    event: &Event,
    people: &People,
    args: &AccountArgs,
    console: &Console,
) -> Result<()> {
    match event {
        Event::IdentityChanged { account, .. } => {
            console.report(&identity_changed(*account, people))?;
            let (label, argument) = (people.label_of(*account), people.argument_of(*account));
            console.screen.show(&explain::changed_recipient(&label, &argument, args));
        }
        Event::ForeignDevice => {
            console.report(&json!({"event": "chat-foreign-device"}))?;
            console.screen.show(&explain::foreign_device(args));
        }
        Event::UnsignedDevice { device } => {
            let number = device.device.number();
            let who = people.json_of(device.account);
            console
                .report(&json!({"event": "chat-unsigned-device", "who": who, "device": number}))?;
            console.screen.show(&if device.account == people.own() {
                explain::own_unsigned_device(number, args)
            } else {
                explain::unsigned_device(&people.label_of(device.account), number)
            });
        }
        Event::ListsDiffer => {
            console.report(&json!({"event": "chat-device-lists-differ"}))?;
            console.screen.show(&explain::lists_differ(args));
        }
        Event::NotCopied(why) => {
            let (value, text) = not_copied(*why, args);
            console.report(&value)?;
            console.screen.show(&text);
        }
        Event::StoreIsOlder => {
            console.report(&json!({"event": "chat-store-is-older"}))?;
            console.screen.show(
                "The store of this account is older than what this device has already sent: a backup was restored. Messages that \
                 had arrived after the backup are not in it. New sessions are started with everybody, so messages arrive as before.",
            );
        }
        Event::UntrustedCertificates => {
            console.report(&json!({"event": "chat-untrusted-certificates"}))?;
            console.screen.show(
                "The server certifies senders with another key than before: somebody else may run it. What you send shows it \
                 that you are the sender, and messages of senders whom it certifies cannot be read. Ask the operator",
            );
        }
        Event::NotRead { .. } => {
            let (value, text) = unreadable(event, people, args);
            console.report(&value)?;
            console.print(&text)?;
        }
        // `receive.rs` handles these.
        Event::Connected
        | Event::Deleted(_)
        | Event::Disconnected(_)
        | Event::Edited { .. }
        | Event::Group { .. }
        | Event::KeysRefused(_)
        | Event::Message(_)
        | Event::Missed(_)
        | Event::Progress { .. }
        | Event::Reaction { .. }
        | Event::ReadElsewhere(_)
        | Event::Receipt { .. }
        | Event::Request { .. }
        | Event::TimerChanged { .. }
        | Event::Typing { .. }
        | Event::UpToDate => {}
        // Later events of the SDK.
        _ => {}
    }
    Ok(())
}

/// Says that the other devices do not learn a message that was sent from here.
pub(super) fn not_copied(why: CopyFailure, args: &AccountArgs) -> (Value, String) {
    let why = printable::line(&why.to_string());
    let text = format!(
        "Your other devices do not show a message that you have sent from here: {why}. {} lists them",
        explain::command("devices", args)
    );
    (json!({"event": "chat-not-copied", "reason": why}), text)
}

/// A message that cannot be read, for programs and for people. Nothing if the event is another one.
pub(super) fn unreadable(event: &Event, people: &People, args: &AccountArgs) -> (Value, String) {
    let Event::NotRead { id, from, timestamp, why, more } = event else {
        return (Value::Null, String::new());
    };
    let account = from.map(|address| address.account);
    let advice = account.filter(|_| *why == ReadError::RefusedIdentity).map(|account| {
        let safety = format!("safety {}", quote(&people.argument_of(account)));
        let safety = explain::command(&safety, args);
        format!("    If you refused it by mistake: {safety} shows it, and how to accept it\n")
    });
    let why = printable::line(&why.to_string());
    let value = json!({
        "event": "chat-unreadable", "id": id.0, "reason": why, "more": more,
        "from": account.map(|account| account.to_string()),
        "timestamp": timestamp.map(|timestamp| timestamp.0),
    });
    let unknown = || "an unknown sender".to_owned();
    let from = account.map_or_else(unknown, |account| people.label_of(account));
    let time = timestamp.map(|it| format!("{}  ", units::time(it.0 / 1000))).unwrap_or_default();
    let line = unreadable_line(&from, &why, *more);
    (value, format!("{time}{line}\n{}", advice.unwrap_or_default()))
}

/// The store keeps only some unreadable messages of one sender, and counts the others.
fn unreadable_line(from: &str, why: &str, more: u64) -> String {
    let more = match more {
        0 => String::new(),
        1 => "; nor can 1 other message of this sender".to_owned(),
        more => format!("; nor can {more} other messages of this sender"),
    };
    format!("{from}: this message cannot be read: {why}{more}")
}

/// Text without characters that control a terminal. All lines but the first are indented, so that none of them can look
/// like the beginning of another message. Joiners stay: emoji and several languages need them.
pub(super) fn safe(text: &str) -> String {
    let parts = text.trim_end().split_inclusive(is_joiner);
    let parts = parts.map(|part| match part.strip_suffix(is_joiner) {
        Some(before) => printable::text(before) + part.get(before.len()..).unwrap_or_default(),
        None => printable::text(part),
    });
    parts.collect::<String>().replace('\n', "\n    ")
}

const fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Maximum number of files of a message that are listed.
const MAX_LINES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_look_like_two_messages() {
        assert_eq!(safe("one\n2026-01-01  Bob: two\n"), "one\n    2026-01-01  Bob: two");
        assert_eq!(safe("a\x1b[2J\rb"), "a\\u{1b}[2J\\rb");
    }

    #[test]
    fn messages_that_were_only_counted_are_mentioned() {
        let line = |more| unreadable_line("Bob", "it is damaged", more);
        let one = "Bob: this message cannot be read: it is damaged";
        assert_eq!(line(0), one);
        assert_eq!(line(1), format!("{one}; nor can 1 other message of this sender"));
        assert_eq!(line(900), format!("{one}; nor can 900 other messages of this sender"));
    }

    #[test]
    fn an_emoji_of_several_characters_stays_as_it_is() {
        assert_eq!(safe("👩\u{200d}💻 می\u{200c}خواهم"), "👩\u{200d}💻 می\u{200c}خواهم");
        assert_eq!(safe("a\u{200d}\u{200d}\x07"), "a\u{200d}\u{200d}\\u{7}");
        assert_eq!(safe("gpj\u{202e}exe"), "gpj\\u{202e}exe");
    }
}
