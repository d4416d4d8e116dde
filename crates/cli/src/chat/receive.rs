//! `chat receive`: shows the messages that have arrived, and saves their files.
//!
//! A message is removed from the store only after it was shown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::sleep;
use wormhole::chat::{
    Attachment, AttachmentError, Client, Event, ReceivedId, ReceivedMessage, RequestError,
};
use wormhole::transfer::OnExists;

use super::show::{self, SavedFile};
use super::{explain, profile, who};
use crate::args::chat::ReceiveArgs;
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

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
    let client = profile::client(&args.account, &args.tor, config, console).await?;
    let receiver = Receiver { client: &client, directory, follows: args.follow };
    let done = receiver.run(console).await;
    client.close().await;
    done
}

/// A running command.
#[derive(Debug)]
struct Receiver<'a> {
    client: &'a Client,
    directory: PathBuf,
    follows: bool,
}

impl Receiver<'_> {
    async fn run(&self, console: &mut Console) -> Result<()> {
        let mut messages = self.client.messages();
        let (mut is_empty, mut is_lost) = (true, false);
        if self.follows {
            console.screen.show("Waiting for messages. Ctrl-C ends it.");
        }
        loop {
            let event = console.unless_interrupted(messages.next()).await?;
            let event = event.map_err(|error| explain::ended(&error))?;
            match &event {
                Event::Message(message) => {
                    is_empty = false;
                    self.show(message, console).await?;
                }
                Event::UpToDate if self.follows => {
                    console.report(&json!({"event": "chat-up-to-date"}))?;
                }
                Event::UpToDate => {
                    if is_empty {
                        console.screen.show("No new messages.");
                    }
                    return Ok(());
                }
                Event::Disconnected(why) => {
                    self.disconnected(why, &mut is_lost, console)?;
                }
                Event::Connected if is_lost => {
                    is_lost = false;
                    console.screen.show("Connected again.");
                    console.report(&json!({"event": "chat-connected"}))?;
                }
                Event::Connected => {}
                Event::NotRead { id, .. } => {
                    self.other(&event, console).await?;
                    self.done(*id, console).await?;
                }
                Event::IdentityChanged { .. } | Event::Progress { .. } => {
                    self.other(&event, console).await?;
                }
                // Later events of the SDK.
                _ => {}
            }
        }
    }

    /// An event that is not a message.
    async fn other(&self, event: &Event, console: &mut Console) -> Result<()> {
        let contacts = console.unless_interrupted(self.client.contacts()).await?;
        let contacts = contacts.map_err(|error| explain::ended(&error))?;
        show::event(event, &contacts, console)
    }

    /// The connection is lost. Only `--follow` waits for it.
    fn disconnected(
        &self,
        why: &RequestError,
        is_lost: &mut bool,
        console: &Console,
    ) -> Result<()> {
        if !self.follows || !why.is_temporary() {
            return Err(explain::request(why).into());
        }
        if !std::mem::replace(is_lost, true) {
            let why = printable::line(&why.to_string());
            console.screen.show(&format!("Not connected: {why}. Trying again.."));
            console.report(&json!({"event": "chat-disconnected", "reason": why}))?;
        }
        Ok(())
    }

    /// Saves the files of a message, shows it, and removes it from the store.
    async fn show(&self, message: &ReceivedMessage, console: &mut Console) -> Result<()> {
        let mut files = Vec::new();
        for file in &message.files {
            files.push(self.save(file, console).await?);
        }
        show::message(message, &files, console)?;
        if message.identity_changed {
            console.screen.show(&explain::changed_sender(
                &who::label(&message.from),
                &who::argument(&message.from),
            ));
        }
        self.done(message.id, console).await
    }

    async fn done(&self, id: ReceivedId, console: &mut Console) -> Result<()> {
        let done = console.unless_interrupted(self.client.done(id)).await?;
        done.map_err(|error| explain::ended(&error).into())
    }

    /// Saves a file. A file that the server does not have any more, or that was changed, is only reported.
    async fn save(&self, file: &Attachment, console: &mut Console) -> Result<SavedFile> {
        let target = self.directory.join(file.file_name());
        loop {
            let error = match self.download(file, &target, console).await? {
                Ok(path) => return Ok(SavedFile::new(file, Ok(path))),
                Err(error) => error,
            };
            match &error {
                AttachmentError::Request(why) if why.is_temporary() && self.follows => {
                    let why = printable::line(&why.to_string());
                    console
                        .screen
                        .show(&format!("A file has not arrived yet: {why}. Trying again.."));
                    console.unless_interrupted(sleep(RETRY)).await?;
                }
                AttachmentError::Expired
                | AttachmentError::NotAuthentic
                | AttachmentError::TooLarge => {
                    return Ok(SavedFile::new(file, Err(error.to_string())));
                }
                AttachmentError::Ended(_)
                | AttachmentError::Exists(_)
                | AttachmentError::Request(_)
                | AttachmentError::WriteFailed(..) => {
                    return Err(explain::attachment(&error).into());
                }
                // Later errors of the SDK.
                _ => return Err(explain::attachment(&error).into()),
            }
        }
    }

    async fn download(
        &self,
        file: &Attachment,
        target: &Path,
        console: &mut Console,
    ) -> Result<Result<PathBuf, AttachmentError>> {
        let work = self.client.download(file, target, OnExists::KeepBoth);
        console.notice_if_slow("Downloading a file..", work).await
    }
}

/// Pause before a file is tried again.
const RETRY: Duration = Duration::from_secs(5);
