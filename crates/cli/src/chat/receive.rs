//! `chat receive`: shows the messages that have arrived, and saves their files.
//!
//! All texts are shown before the first file is saved. A message is removed from the store only after it was shown and its files
//! were saved, can never be saved, or were given up by the user.

mod files;
mod kept;
mod left;
pub(super) mod note;
mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::time::{sleep_until, timeout};
use wormhole::chat::group::GroupId;
use wormhole::chat::{
    AccountId, AttachmentError, Client, Connection, Conversation, DeliveryError, Ended, Event,
    GroupEvent, MessageRef, Messages, Progress, ReceivedId, ReceivedMessage, RequestError,
};

use super::groups::notices::{self, Notices};
use super::outbox::{self, Waiting};
use super::people::{self, People};
use super::recent::Recent;
use super::show::{self, FileResult, NotSaved};
use super::{explain, groups, profile, requests, show_changes, who};
use crate::args::chat::{AccountArgs, ReceiveArgs};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;
use files::{Drops, FileLimits, FileSaver, MEGABYTE, Outcome, Start, Work, set_state};
use left::LeftFiles;
use note::FileState;
use queue::{Pending, Queue};

/// Shows messages.
///
/// # Errors
/// The server cannot be reached, a file cannot be saved, or a signal came.
pub(super) async fn run(args: ReceiveArgs, config: &Config, console: &mut Console) -> Result<()> {
    let directory = args.to.clone().or_else(|| config.download_dir.clone());
    let directory = directory.unwrap_or_else(|| ".".into());
    if !directory.is_dir() {
        let shown = printable::path(&directory);
        return Err(Failure::usage(format!("'{shown}' is not a directory")).into());
    }
    let client = profile::client(&args.client, config, console).await?;
    let done = receive(&client, &args, directory, console).await;
    profile::finish(client, done).await
}

async fn receive(
    client: &Client,
    args: &ReceiveArgs,
    directory: PathBuf,
    console: &mut Console,
) -> Result<()> {
    // At once: receipts are not stored.
    let messages = client.messages();
    let drops = match &args.drop_files {
        None => Drops::Nobody,
        Some(None) => Drops::Everybody,
        Some(Some(who)) => {
            Drops::One(who::contact(who, client, &args.client.account, console).await?.account)
        }
    };
    let bytes = args.max_size.saturating_mul(MEGABYTE);
    let limits = FileLimits { files: args.max_files, bytes, drops };
    let now = Instant::now();
    let mut recent = Recent::load(client, console).await?;
    recent.shows_ids |= args.ids;
    let mut receiver = Receiver {
        client,
        people: People::new(client, console).await?,
        recent,
        notices: Notices::default(),
        changed: BTreeSet::new(),
        read: BTreeMap::new(),
        account: &args.client.account,
        follows: args.follow,
        to: args.to.as_deref(),
        files: FileSaver::new(client, directory, limits),
        reading: Reading::Waiting,
        last_event: now,
        is_lost: false,
        has_shown: false,
        headed: None,
        queue: Queue::default(),
        active: None,
        work: None,
        waiting: Waiting::all(client, console).await?,
        kept: Vec::new(),
        left: LeftFiles::default(),
        retry_at: now + RETRY,
    };
    receiver.run(messages, console).await
}

/// A running command.
struct Receiver<'a> {
    client: &'a Client,
    people: People,
    recent: Recent,
    notices: Notices,
    /// The people whose changed safety number was explained.
    changed: BTreeSet<AccountId>,
    /// Messages that were shown, until the client is told that they were read.
    read: BTreeMap<Conversation, Vec<MessageRef>>,
    account: &'a AccountArgs,
    follows: bool,
    /// The directory for files that the user has named.
    to: Option<&'a Path>,
    files: FileSaver<'a>,
    reading: Reading,
    /// When something came from the client.
    last_event: Instant,
    is_lost: bool,
    /// Whether a message was shown.
    has_shown: bool,
    /// The message whose sender was printed last.
    headed: Option<ReceivedId>,
    /// Messages whose files are not saved yet.
    queue: Queue,
    /// The message whose files are being saved.
    active: Option<Pending>,
    work: Option<Work>,
    /// The messages that were in the outbox at the beginning.
    waiting: Waiting<'a>,
    /// Messages that stay in the store because files are left.
    kept: Vec<Pending>,
    /// The files that are left, until the user learns it.
    left: LeftFiles,
    /// When what is left is tried again, with `--follow`.
    retry_at: Instant,
}

/// Whether the client still gets messages that had waited at the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reading {
    /// It does.
    Waiting,
    /// So many messages wait because of their files that the client has stopped.
    Full,
    /// All are shown.
    UpToDate,
}

/// The next event.
enum Step {
    Event(Result<Event, Ended>),
    Downloaded(Result<PathBuf, AttachmentError>),
    Timer,
}

impl Receiver<'_> {
    async fn run(&mut self, mut messages: Messages, console: &mut Console) -> Result<()> {
        if self.follows {
            console.screen.show("Waiting for messages. End it with Ctrl-C before you write.");
        }
        loop {
            match self.step(&mut messages, console).await? {
                Step::Event(event) => {
                    self.last_event = Instant::now();
                    self.event(&event.map_err(|error| explain::ended(&error))?, console).await?;
                }
                Step::Downloaded(downloaded) => self.downloaded(downloaded, console).await?,
                Step::Timer => self.timer(console),
            }
            if self.reading == Reading::UpToDate {
                self.mark_read(console).await?;
            }
            if self.save_files(console).await? {
                self.mark_read(console).await?;
                if !self.follows {
                    self.read_groups(&mut messages, console).await?;
                }
                return self.send_waiting(console).await;
            }
        }
    }

    async fn step(&mut self, messages: &mut Messages, console: &mut Console) -> Result<Step> {
        let timer = self.next_timer();
        let work = self.work.as_mut();
        let step = async {
            tokio::select! {
                event = messages.next() => Step::Event(event),
                downloaded = finished(work) => Step::Downloaded(downloaded),
                () = due(timer) => Step::Timer,
            }
        };
        console.unless_interrupted(step).await
    }

    async fn event(&mut self, event: &Event, console: &mut Console) -> Result<()> {
        match event {
            Event::Message(message) => self.show(message, console).await,
            Event::NotRead { id, .. } => {
                (self.has_shown, self.headed) = (true, None);
                self.other(event, console).await?;
                self.done(*id, console).await
            }
            Event::Deleted(_)
            | Event::Edited { .. }
            | Event::Reaction { .. }
            | Event::Receipt { .. }
            | Event::TimerChanged { .. } => self.change(event, console).await,
            Event::UpToDate => self.up_to_date(console).await,
            Event::Request { .. } if self.follows => {
                requests::mention(self.client, self.account, console).await.map(|_| ())
            }
            Event::Connected => self.connected(console),
            Event::Disconnected(why) => self.disconnected(why, console),
            Event::Missed(_) => self.missed(console).await,
            Event::Progress { progress: Progress::NotSent(DeliveryError::Failed(_)), .. } => {
                self.waiting.show_failed(console).await
            }
            Event::ForeignDevice
            | Event::IdentityChanged { .. }
            | Event::ListsDiffer
            | Event::NotCopied(_)
            | Event::StoreIsOlder
            | Event::UnsignedDevice { .. }
            | Event::UntrustedCertificates => self.other(event, console).await,
            // The lost connection explains it.
            Event::KeysRefused(RequestError::AppRefused | RequestError::CredentialsRefused) => {
                Ok(())
            }
            Event::KeysRefused(why) => {
                let why = printable::line(&why.to_string());
                console.screen.show(&format!(
                    "The server refuses the keys of this device: {why}. People with whom you have not exchanged a message \
                     cannot write to you. `receive --follow` tries again every hour."
                ));
                console.report(&json!({"event": "chat-keys-refused", "reason": why}))
            }
            Event::Progress { message, progress: Progress::OnServer, .. } if self.follows => {
                self.waiting.report_one(*message, console)
            }
            Event::Group { group, event } => self.group_event(*group, event, console).await,
            // Some are reported at the end; the others are only for a moment.
            Event::Progress { .. }
            | Event::Request { .. }
            | Event::ReadElsewhere(_)
            | Event::Typing { .. } => Ok(()),
            // Later events of the SDK.
            _ => Ok(()),
        }
    }

    /// Shows what has happened in a group.
    async fn group_event(
        &mut self,
        group: GroupId,
        event: &GroupEvent,
        console: &mut Console,
    ) -> Result<()> {
        if self.follows && matches!(event, GroupEvent::Invited(_)) {
            return notices::invitations(self.client, self.account, console).await.map(|_| ());
        }
        let shown =
            self.notices.describe(group, event, &mut self.people, self.client, console).await?;
        if shown.is_some() {
            (self.has_shown, self.headed) = (true, None);
        }
        notices::show(shown, console)
    }

    /// Waits until this device has read what others have changed in groups, and accepted the invitations of contacts, and shows it.
    async fn read_groups(&mut self, messages: &mut Messages, console: &mut Console) -> Result<()> {
        loop {
            let patience = groups::patience(self.client, console).await?;
            match console.unless_interrupted(timeout(patience, messages.next())).await? {
                Ok(Ok(Event::Group { group, event })) => {
                    self.group_event(group, &event, console).await?;
                }
                // A message stays in the store for the next command.
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(explain::ended(&error).into()),
                Err(_) => break,
            }
        }
        self.has_shown |= notices::invitations(self.client, self.account, console).await?;
        Ok(())
    }

    /// Shows a change of a message, or a receipt.
    async fn change(&mut self, event: &Event, console: &mut Console) -> Result<()> {
        if let Some(id) = show_changes::pointless(event, &self.recent) {
            return self.done(id, console).await;
        }
        let Some(shown) = show_changes::describe(event, &self.people, &mut self.recent) else {
            return Ok(());
        };
        console.report(&shown.value)?;
        let Some(id) = shown.id else {
            if !shown.text.is_empty() {
                self.has_shown = true;
                console.screen.show(shown.text.trim_end());
            }
            return Ok(());
        };
        (self.has_shown, self.headed) = (true, None);
        console.print(&shown.text)?;
        self.done(id, console).await
    }

    /// Says that messages were read, and stores their ids.
    async fn mark_read(&mut self, console: &mut Console) -> Result<()> {
        self.recent.save(self.client, console).await?;
        if self.read.is_empty() {
            return Ok(());
        }
        for (with, read) in std::mem::take(&mut self.read) {
            let marked = console.unless_interrupted(self.client.mark_read(with, read)).await?;
            marked.map_err(|error| explain::ended(&error))?;
        }
        Ok(())
    }

    /// Events were left out. What they said can be queried.
    async fn missed(&mut self, console: &mut Console) -> Result<()> {
        self.waiting.show_failed(console).await?;
        if self.follows {
            self.waiting.report_sent(console).await?;
        }
        let changes = console.unless_interrupted(self.client.identity_changes()).await?;
        for change in changes.map_err(|error| explain::ended(&error))? {
            let event = Event::IdentityChanged { account: change.account, key: change.changed };
            self.other(&event, console).await?;
        }
        match self.client.connection() {
            Connection::UpToDate => {
                self.connected(console)?;
                self.up_to_date(console).await
            }
            Connection::Connected => self.connected(console),
            Connection::Disconnected(why) => self.disconnected(&why, console),
            Connection::Connecting => Ok(()),
            // Later states of the SDK.
            _ => Ok(()),
        }
    }

    /// Handles a new connection.
    fn connected(&mut self, console: &Console) -> Result<()> {
        if !std::mem::take(&mut self.is_lost) {
            return Ok(());
        }
        self.files.retry();
        console.screen.show("Connected again.");
        console.report(&json!({"event": "chat-connected"}))
    }

    /// Shows failed messages, after all messages that had waited were shown.
    async fn up_to_date(&mut self, console: &mut Console) -> Result<()> {
        self.reading = Reading::UpToDate;
        self.waiting.show_failed(console).await?;
        if self.follows { console.report(&json!({"event": "chat-up-to-date"})) } else { Ok(()) }
    }

    /// Handles a lost connection. Only `--follow` waits for it.
    fn disconnected(&mut self, why: &RequestError, console: &Console) -> Result<()> {
        if !why.may_retry() || (!self.follows && self.reading == Reading::Waiting) {
            return Err(explain::client_request(why, self.client.me(), self.account).into());
        }
        if self.follows && !std::mem::replace(&mut self.is_lost, true) {
            let why = printable::line(&why.to_string());
            console.screen.show(&format!("Not connected: {why}. Trying again..."));
            console.report(&json!({"event": "chat-disconnected", "reason": why}))?;
        }
        Ok(())
    }

    /// Handles an event that is not a message.
    async fn other(&mut self, event: &Event, console: &mut Console) -> Result<()> {
        let account = match event {
            Event::IdentityChanged { account, .. } => Some(*account),
            Event::NotRead { from, .. } => from.map(|address| address.account),
            Event::Connected
            | Event::Deleted(_)
            | Event::Disconnected(_)
            | Event::Edited { .. }
            | Event::ForeignDevice
            | Event::Group { .. }
            | Event::KeysRefused(_)
            | Event::ListsDiffer
            | Event::Message(_)
            | Event::Missed(_)
            | Event::NotCopied(_)
            | Event::Progress { .. }
            | Event::Reaction { .. }
            | Event::ReadElsewhere(_)
            | Event::Receipt { .. }
            | Event::Request { .. }
            | Event::StoreIsOlder
            | Event::TimerChanged { .. }
            | Event::Typing { .. }
            | Event::UntrustedCertificates
            | Event::UpToDate => None,
            // Later events of the SDK.
            Event::UnsignedDevice { .. } | _ => None,
        };
        if let Event::IdentityChanged { account, .. } = event
            && !self.changed.insert(*account)
        {
            return console.report(&show::identity_changed(*account, &self.people));
        }
        if account.is_some_and(|account| self.people.get(account).is_none()) {
            self.people = People::new(self.client, console).await?;
        }
        self.has_shown = true;
        show::event(event, &self.people, self.account, console)
    }

    /// Shows a message. Its files are saved later; until then, it stays in the store with a note about what has become of each
    /// file, and is not shown again.
    async fn show(&mut self, message: &ReceivedMessage, console: &mut Console) -> Result<()> {
        if message.files.is_empty() {
            self.show_text(message, console)?;
            return self.done(message.id, console).await;
        }
        let noted = console.unless_interrupted(self.client.note(message.id)).await?;
        let noted = noted.map_err(|error| explain::ended(&error))?;
        let known = noted.and_then(|noted| note::decode(&noted, message.files.len()));
        let is_new = known.is_none();
        let states = known.unwrap_or_else(|| vec![FileState::Waiting; message.files.len()]);
        let pending = Pending::new(message, states, is_new);
        if is_new {
            self.show_text(message, console)?;
            self.set_note(&pending, console).await?;
        }
        self.queue.push(pending);
        Ok(())
    }

    fn show_text(&mut self, message: &ReceivedMessage, console: &Console) -> Result<()> {
        (self.has_shown, self.headed) = (true, Some(message.id));
        let with = message.sent_to.as_ref().unwrap_or(&message.from);
        self.people.insert(with.clone());
        let (text, disappears) =
            (show::text(message, &self.people), message.expire_timer.is_some());
        self.recent.add(message.conversation(), message.reference(), &text, disappears);
        if message.sent_to.is_none() {
            let read = self.read.entry(message.conversation()).or_default();
            read.push(message.reference());
        }
        show::message(message, &self.people, &self.recent, console)?;
        // The first warning explains it.
        if message.identity_changed && !self.changed.insert(message.from.account) {
            console.screen.show("This message came with the new safety number, too.");
        } else if message.identity_changed {
            let label = self.people.label(&message.from);
            let argument = people::argument(&message.from);
            console.screen.show(&explain::changed_sender(&label, &argument, self.account));
        }
        Ok(())
    }

    /// Sends what had waited in the outbox.
    async fn send_waiting(&mut self, console: &mut Console) -> Result<()> {
        self.has_shown |= requests::mention(self.client, self.account, console).await?;
        if !self.has_shown {
            console.screen.show("No new messages.");
        }
        outbox::say_sent(self.waiting.send(console).await?, console);
        self.waiting.show_failed(console).await?;
        outbox::say_waiting(self.client, self.account, console).await
    }

    async fn set_note(&self, pending: &Pending, console: &mut Console) -> Result<()> {
        let note = note::encode(&pending.states);
        let noted = self.client.set_note(pending.message.id, note);
        let noted = console.unless_interrupted(noted).await?;
        noted.map_err(|error| explain::not_stored(&error).into())
    }

    async fn done(&self, id: ReceivedId, console: &mut Console) -> Result<()> {
        let done = console.unless_interrupted(self.client.done(id)).await?;
        done.map_err(|error| explain::ended(&error).into())
    }
}

async fn finished(work: Option<&mut Work>) -> Result<PathBuf, AttachmentError> {
    match work {
        Some(work) => work.download.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn due(timer: Option<Instant>) {
    match timer {
        Some(timer) => sleep_until(timer.into()).await,
        None => std::future::pending().await,
    }
}

/// How long `--follow` waits before it tries again what is left.
const RETRY: Duration = Duration::from_secs(600);
