//! `chat receive`: shows the messages that have arrived, and saves their files.
//!
//! A message is removed from the store only after it was shown and its files were saved, cannot be saved, or were given up.

mod files;
mod left;
mod note;

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{
    Client, Event, Messages, NotSent, Progress, ReceivedId, ReceivedMessage, RequestError,
};

use super::outbox::{self, Waiting};
use super::show::{self, FileResult};
use super::{explain, profile, who};
use crate::args::chat::{AccountArgs, ReceiveArgs};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;
use files::{FileLimits, FileSaver, MEGABYTE};
use left::LeftFiles;
use note::FileState;

/// Shows messages.
///
/// # Errors
/// The server cannot be reached, a file cannot be saved, or a signal came.
pub(super) async fn run(args: ReceiveArgs, config: &Config, console: &mut Console) -> Result<()> {
    let directory = args.to.or_else(|| config.download_dir.clone()).unwrap_or_else(|| ".".into());
    if !directory.is_dir() {
        let shown = printable::path(&directory);
        return Err(Failure::usage(format!("'{shown}' is not a directory")).into());
    }
    let client = profile::client(&args.client, config, console).await?;
    let limits = FileLimits {
        files: args.max_files,
        bytes: args.max_size.saturating_mul(MEGABYTE),
        drops: args.drop_files,
    };
    let mut receiver = Receiver {
        client: &client,
        account: &args.client.account,
        follows: args.follow,
        files: FileSaver::new(&client, directory, limits),
        has_shown: false,
        is_up_to_date: false,
        kept: 0,
        left: LeftFiles::default(),
    };
    let done = receiver.run(console).await;
    client.close().await;
    done
}

/// A running command.
#[derive(Debug)]
struct Receiver<'a> {
    client: &'a Client,
    account: &'a AccountArgs,
    follows: bool,
    files: FileSaver<'a>,
    /// Whether a message was shown.
    has_shown: bool,
    /// Whether all messages were shown that had waited.
    is_up_to_date: bool,
    /// The number of messages that stay in the store because files are left.
    kept: usize,
    /// The files that are left of messages that had waited.
    left: LeftFiles,
}

impl Receiver<'_> {
    async fn run(&mut self, console: &mut Console) -> Result<()> {
        let mut messages = self.client.messages();
        let mut waiting = Waiting::all(self.client, console).await?;
        let mut is_lost = false;
        if self.follows {
            console.screen.show("Waiting for messages. End it with Ctrl-C before you write.");
        }
        loop {
            let event = console.unless_interrupted(messages.next()).await?;
            let event = event.map_err(|error| explain::ended(&error))?;
            match &event {
                Event::Message(message) => self.show(message, console).await?,
                Event::UpToDate => {
                    self.up_to_date(console)?;
                    outbox::show_failed(self.client, console).await?;
                    if !self.follows {
                        return self.send_waiting(&mut waiting, console).await;
                    }
                }
                Event::Disconnected(why) => {
                    self.disconnected(why, &mut is_lost, console)?;
                }
                Event::Connected if is_lost => {
                    is_lost = false;
                    messages = self.connected_again(console)?;
                }
                Event::Connected => {}
                Event::NotRead { id, .. } => {
                    self.has_shown = true;
                    self.other(&event, console).await?;
                    self.done(*id, console).await?;
                }
                Event::Progress { progress: Progress::NotSent(NotSent::Failed(_)), .. } => {
                    outbox::show_failed(self.client, console).await?;
                }
                Event::IdentityChanged { .. } => self.other(&event, console).await?,
                // Otherwise it is reported at the end.
                Event::Progress { .. } if self.follows => self.other(&event, console).await?,
                // The messages themselves come from the store.
                Event::Missed(_) | Event::Progress { .. } => {}
                // Later events of the SDK.
                _ => {}
            }
        }
    }

    /// The connection is back. Files that could not be downloaded are tried again.
    fn connected_again(&mut self, console: &Console) -> Result<Messages> {
        console.screen.show("Connected again.");
        console.report(&json!({"event": "chat-connected"}))?;
        self.files.retry();
        (self.is_up_to_date, self.kept) = (false, 0);
        Ok(self.client.messages())
    }

    /// All messages were shown that had waited.
    fn up_to_date(&mut self, console: &Console) -> Result<()> {
        self.is_up_to_date = true;
        let left = std::mem::take(&mut self.left);
        if !left.is_empty() {
            self.say_left(&left, console);
        }
        if self.follows {
            return console.report(&json!({"event": "chat-up-to-date"}));
        }
        if !self.has_shown {
            console.screen.show("No new messages.");
        }
        Ok(())
    }

    /// Sends what had waited in the outbox.
    async fn send_waiting(&self, waiting: &mut Waiting<'_>, console: &mut Console) -> Result<()> {
        outbox::say_sent(waiting.send(console).await?, console);
        outbox::show_failed(self.client, console).await?;
        outbox::say_waiting(self.client, self.account, console).await
    }

    /// An event that is not a message.
    async fn other(&self, event: &Event, console: &mut Console) -> Result<()> {
        let contacts = console.unless_interrupted(self.client.contacts()).await?;
        let contacts = contacts.map_err(|error| explain::ended(&error))?;
        show::event(event, &contacts, self.account, console)
    }

    /// The connection is lost. Only `--follow` waits for it.
    fn disconnected(
        &self,
        why: &RequestError,
        is_lost: &mut bool,
        console: &Console,
    ) -> Result<()> {
        if !self.follows || !why.is_temporary() {
            return Err(explain::request(why, self.account).into());
        }
        if !std::mem::replace(is_lost, true) {
            let why = printable::line(&why.to_string());
            console.screen.show(&format!("Not connected: {why}. Trying again..."));
            console.report(&json!({"event": "chat-disconnected", "reason": why}))?;
        }
        Ok(())
    }

    /// Shows a message, then saves its files, and then removes it from the store. If files are left for another run, it
    /// stays in the store with a note about what has become of each file, and is not shown again.
    async fn show(&mut self, message: &ReceivedMessage, console: &mut Console) -> Result<()> {
        if message.files.is_empty() {
            self.show_text(message, console)?;
            return self.done(message.id, console).await;
        }
        let noted = console.unless_interrupted(self.client.note(message.id)).await?;
        let noted = noted.map_err(|error| explain::ended(&error))?;
        let known = noted.and_then(|noted| note::decode(&noted, message.files.len()));
        let is_new = known.is_none();
        let mut states = known.unwrap_or_else(|| vec![FileState::Waiting; message.files.len()]);
        if is_new {
            self.show_text(message, console)?;
            self.set_note(message, &states, console).await?;
        }
        let left = self.save(message, &mut states, is_new, console).await?;
        if left.is_empty() {
            return self.done(message.id, console).await;
        }
        self.leave(message, &left, is_new, console).await?;
        if self.kept > MAX_KEPT { Ok(()) } else { self.set_note(message, &states, console).await }
    }

    /// Saves the files of a message. Those of an earlier one are shown below its time and sender.
    async fn save(
        &mut self,
        message: &ReceivedMessage,
        states: &mut [FileState],
        is_new: bool,
        console: &mut Console,
    ) -> Result<LeftFiles> {
        let mut is_headed = is_new;
        let report = |file: &FileResult<'_>, console: &Console| {
            // Programs know already which files of an earlier message are left.
            if is_new || !file.is_left() {
                file.report(message, console)?;
            }
            let Some(line) = file.line() else { return Ok(()) };
            if !std::mem::replace(&mut is_headed, true) {
                show::earlier(message, console)?;
            }
            console.print(&line)
        };
        let left = self.files.save(message, states, report, console).await?;
        self.has_shown |= is_headed;
        Ok(left)
    }

    /// Keeps a message whose files are left for another run.
    async fn leave(
        &mut self,
        message: &ReceivedMessage,
        left: &LeftFiles,
        is_new: bool,
        console: &mut Console,
    ) -> Result<()> {
        if is_new || self.is_up_to_date {
            console.print(&self.files.lines(left))?;
        }
        self.kept += 1;
        if self.kept > MAX_KEPT {
            console.screen.show(&format!(
                "{} were given up: files of {MAX_KEPT} other messages wait already.",
                left.words()
            ));
            return self.done(message.id, console).await;
        }
        if self.is_up_to_date {
            self.say_left(left, console);
        } else {
            self.left.extend(left);
        }
        Ok(())
    }

    /// Says which files wait, and what to do about it.
    fn say_left(&self, left: &LeftFiles, console: &Console) {
        let (files, save) = (left.words(), explain::command(&left.command(), self.account));
        let drop = explain::command("receive --drop-files", self.account);
        let of = if left.messages > 1 {
            format!(" of {} messages", left.messages)
        } else {
            String::new()
        };
        console.screen.show(&format!(
            "Not saved yet: {files}{of}. To save: {save}. To give up what is not saved: {drop}."
        ));
    }

    fn show_text(&mut self, message: &ReceivedMessage, console: &Console) -> Result<()> {
        self.has_shown = true;
        show::message(message, console)?;
        if message.identity_changed {
            let (label, argument) = (who::label(&message.from), who::argument(&message.from));
            console.screen.show(&explain::changed_sender(&label, &argument, self.account));
        }
        Ok(())
    }

    async fn set_note(
        &self,
        message: &ReceivedMessage,
        states: &[FileState],
        console: &mut Console,
    ) -> Result<()> {
        let noted = self.client.set_note(message.id, note::encode(states));
        let noted = console.unless_interrupted(noted).await?;
        noted.map_err(|error| explain::ended(&error).into())
    }

    async fn done(&self, id: ReceivedId, console: &mut Console) -> Result<()> {
        let done = console.unless_interrupted(self.client.done(id)).await?;
        done.map_err(|error| explain::ended(&error).into())
    }
}

/// Most messages that stay in the store because files are left. Somebody could fill the store with such messages.
const MAX_KEPT: usize = 64;
