//! `chat talk`: sends the lines that are typed to one person, and shows what this person writes.
//!
//! Messages of other people stay in the store for `chat receive`, and so do files.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wormhole::chat::{
    AccountId, Client, Destination, Ended, Event, Message, MessageRef, Messages, NotSent, Progress,
    ReceivedMessage, RequestError, SendError, SendFailure, Timestamp,
};

use super::outbox;
use super::people::{self, People};
use super::receive::note::{self, FileState};
use super::recent::{self, Recent};
use super::{explain, mentions, profile, show, show_changes, who};
use crate::args::chat::{AccountArgs, TalkArgs};
use crate::config::Config;
use crate::console::{Console, interrupted_by};
use crate::conversation::{End, Input, InputEnd, Style};
use crate::failure::Failure;
use crate::printable;
use crate::signals::Signal;

/// Sends lines and shows messages, until the input ends.
///
/// # Errors
/// The person is unknown, a line was not sent, the client has ended, or a signal came.
pub(super) async fn run(args: TalkArgs, config: &Config, console: &mut Console) -> Result<()> {
    let client = profile::client(&args.client, config, console).await?;
    let done = talk(&client, &args, console).await;
    profile::finish(client, done).await
}

async fn talk(client: &Client, args: &TalkArgs, console: &mut Console) -> Result<()> {
    let account = &args.client.account;
    let with = who::contact(&args.who, client, account, console).await?;
    let messages = client.messages();
    let people = People::new(client, console).await?;
    let mut recent = Recent::load(client, console).await?;
    recent.shows_ids |= args.ids;
    let label = people.label(&with);
    console.screen.show(&format!(
        "You are writing with {label}. Type a line to send it; Ctrl-D ends the conversation."
    ));
    let style = Style { event: String::clone, own: show::own, too_many: TOO_MANY_LINES };
    let (editor, to_show) = mpsc::channel(1);
    let mut input = Input::open(to_show, style, console);
    let editor = input.to_show.is_none().then_some(editor);
    let mut talk = Talk {
        client,
        args: account,
        with: with.account,
        messages,
        people,
        recent,
        is_up_to_date: false,
        read: Vec::new(),
        editor,
        on_the_way: BTreeMap::new(),
        others: BTreeSet::new(),
        has_files: false,
        is_lost: false,
        is_blocked: false,
        is_all_sent: true,
    };
    let done = talk.exchange(&mut input, console).await;
    if done.is_err() && talk.editor.take().is_some() {
        console.screen.end_prompt();
    }
    // From here on, the terminal is in its usual mode.
    drop(input);
    talk.editor = None;
    done.inspect_err(|_| talk.say_on_the_way(console))?;
    talk.end(console).await
}

/// A running conversation.
struct Talk<'a> {
    client: &'a Client,
    args: &'a AccountArgs,
    with: AccountId,
    messages: Messages,
    people: People,
    recent: Recent,
    is_up_to_date: bool,
    /// Messages that were shown, until the client is told that they were read.
    read: Vec<MessageRef>,
    /// The line editor, which shows events above its line. `None` if this task prints them.
    editor: Option<mpsc::Sender<String>>,
    /// Lines that the server does not have yet.
    on_the_way: BTreeMap<Timestamp, String>,
    /// Messages of other people that wait for `chat receive`.
    others: BTreeSet<u64>,
    /// Whether files wait for `chat receive`.
    has_files: bool,
    is_lost: bool,
    /// Whether lines wait until the user accepts a changed identity key.
    is_blocked: bool,
    is_all_sent: bool,
}

/// What happens next.
enum Step {
    End(InputEnd),
    Event(Result<Event, Ended>),
    Line(Option<io::Result<String>>),
}

impl Talk<'_> {
    /// Sends lines and shows messages, until the input ends.
    async fn exchange(&mut self, input: &mut Input<String>, console: &mut Console) -> Result<()> {
        loop {
            let step = async {
                tokio::select! {
                    end = ended(&mut input.end) => Step::End(end),
                    event = self.messages.next() => Step::Event(event),
                    line = input.lines.recv() => Step::Line(line),
                }
            };
            match console.unless_interrupted(step).await? {
                Step::End(InputEnd::Interrupted) => {
                    return Err(interrupted_by(Signal::Interrupt).into());
                }
                Step::End(InputEnd::Failed(error)) => return Err(error).context(NOT_READABLE),
                Step::End(InputEnd::EndOfInput) | Step::Line(None) => break,
                Step::Event(event) => {
                    self.event(event.map_err(|error| explain::ended(&error))?, console).await?;
                }
                Step::Line(Some(line)) => self.send(line.context(NOT_READABLE)?, console).await?,
            }
        }
        for line in input.rest() {
            self.send(line, console).await?;
        }
        Ok(())
    }

    /// Sends a line. It is in the outbox when this returns.
    async fn send(&mut self, line: String, console: &mut Console) -> Result<()> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let to = Destination::Account(self.with);
        let mut message = Message::text(line.clone());
        message.mentions = mentions::find(&line, self.people.others());
        let sending = self.client.send(&to, message);
        match console.unless_interrupted(sending).await? {
            Ok(sent) => {
                let (to, timestamp) = (sent.to().to_string(), sent.timestamp());
                let reference = MessageRef { author: self.people.own(), timestamp };
                self.remember(reference, &line, console).await?;
                self.on_the_way.insert(timestamp, line);
                let id = reference.short_id();
                console.report(&json!({
                    "event": "chat-queued", "to": to, "timestamp": timestamp.0, "short_id": id,
                }))?;
                let progress = sent.progress();
                if matches!(progress, Progress::NotSent(NotSent::IdentityChanged(_))) {
                    self.blocked(console).await?;
                }
                Ok(())
            }
            Err(SendError::Ended(error)) => Err(explain::ended(&error).into()),
            Err(error) => self.not_sent(None, &line, &error.to_string(), console).await,
        }
    }

    /// Remembers a line that is in the outbox, and shows its id where ids are shown.
    async fn remember(
        &mut self,
        message: MessageRef,
        line: &str,
        console: &mut Console,
    ) -> Result<()> {
        let timer = console.unless_interrupted(self.client.timer(self.with)).await?;
        let disappears = timer.map_err(|error| explain::ended(&error))?.is_some();
        self.recent.add(self.with, message, line, disappears);
        self.recent.save(self.client, console).await?;
        if !self.recent.shows_ids {
            return Ok(());
        }
        self.notice(&format!("    [{}]", recent::id(message)), &Value::Null, console).await
    }

    /// Shows a change of a message in the conversation, or a receipt. Those of others stay for `chat receive`.
    async fn change(&mut self, event: &Event, console: &mut Console) -> Result<()> {
        let Some(shown) = show_changes::described(event, &self.people, &mut self.recent) else {
            return Ok(());
        };
        match shown.id {
            Some(id) if shown.with != self.with => self.leave(id.0),
            None if shown.with != self.with => Ok(()),
            None if shown.text.is_empty() => console.report(&shown.value),
            None => self.notice(shown.text.trim_end(), &shown.value, console).await,
            Some(id) => {
                self.show(shown.text, &shown.value, console).await?;
                self.recent.save(self.client, console).await?;
                let done = console.unless_interrupted(self.client.done(id)).await?;
                done.map_err(|error| explain::ended(&error).into())
            }
        }
    }

    /// Says that messages were read, once all that had waited are shown.
    async fn mark_read(&mut self, console: &mut Console) -> Result<()> {
        if !self.is_up_to_date || self.read.is_empty() {
            return Ok(());
        }
        self.recent.save(self.client, console).await?;
        let read = std::mem::take(&mut self.read);
        let marked = console.unless_interrupted(self.client.mark_read(read)).await?;
        marked.map_err(|error| explain::ended(&error).into())
    }

    async fn event(&mut self, event: Event, console: &mut Console) -> Result<()> {
        match event {
            Event::Deleted(_)
            | Event::Edited { .. }
            | Event::Reaction { .. }
            | Event::Receipt { .. }
            | Event::TimerChanged { .. }
            | Event::Typing { .. } => self.change(&event, console).await,
            Event::Message(message) if self.is_of_conversation(&message) => {
                self.received(&message, console).await
            }
            Event::Message(message) => self.leave(message.id.0),
            Event::NotRead { id, from, .. } => {
                if from.is_none_or(|from| from.account != self.with) {
                    return self.leave(id.0);
                }
                let (value, text) = show::unreadable(&event, &self.people);
                self.show(text, &value, console).await?;
                let done = console.unless_interrupted(self.client.done(id)).await?;
                done.map_err(|error| explain::ended(&error).into())
            }
            Event::Progress { message, progress, .. } => {
                self.progress(message, progress, console).await
            }
            Event::IdentityChanged { account, .. } if account == self.with => {
                self.blocked(console).await
            }
            Event::NotCopied(why) => {
                let (value, text) = show::not_copied(why, self.args);
                self.notice(&text, &value, console).await
            }
            Event::Connected => self.connected(console).await,
            Event::Disconnected(why) => self.disconnected(&why, console).await,
            Event::Missed(_) => self.missed(console).await,
            Event::UpToDate => {
                self.is_up_to_date = true;
                self.mark_read(console).await?;
                console.report(&json!({"event": "chat-up-to-date"}))
            }
            // `chat receive` explains it.
            Event::ForeignDevice
            | Event::Group { .. }
            | Event::IdentityChanged { .. }
            | Event::KeysRefused(_)
            | Event::ReadElsewhere(_)
            | Event::Request { .. }
            | Event::StoreIsOlder
            | Event::UntrustedCertificates => Ok(()),
            // Later events of the SDK.
            _ => Ok(()),
        }
    }

    /// Whether the other person has sent a message, or the user to that person from another device.
    fn is_of_conversation(&self, message: &ReceivedMessage) -> bool {
        let other = message.sent_to.as_ref().unwrap_or(&message.from);
        other.account == self.with
    }

    /// Lines wait until the user accepts a changed identity key.
    async fn blocked(&mut self, console: &Console) -> Result<()> {
        if std::mem::replace(&mut self.is_blocked, true) {
            return Ok(());
        }
        let (who, label) = (self.people.json_of(self.with), self.people.label_of(self.with));
        let argument = self.people.argument_of(self.with);
        let text = explain::changed_recipient(&label, &argument, self.args);
        self.notice(&text, &json!({"event": "chat-identity-changed", "who": who}), console).await
    }

    /// Leaves a message of somebody else to `chat receive`.
    fn leave(&mut self, id: u64) -> Result<()> {
        self.others.insert(id);
        Ok(())
    }

    /// Shows a message. Its files stay for `chat receive`, which does not show the message again.
    async fn received(&mut self, message: &ReceivedMessage, console: &mut Console) -> Result<()> {
        if !message.files.is_empty() {
            self.has_files = true;
            let noted = console.unless_interrupted(self.client.note(message.id)).await?;
            if noted.map_err(|error| explain::ended(&error))?.is_some() {
                return Ok(());
            }
        }
        self.people.insert(message.from.clone());
        let (own_text, disappears) =
            (show::text(message, &self.people), message.expire_timer.is_some());
        self.recent.add(self.with, message.reference(), &own_text, disappears);
        if message.sent_to.is_none() {
            self.read.push(message.reference());
        }
        let (value, text) = show::described(message, &self.people, &self.recent);
        self.show(text, &value, console).await?;
        self.mark_read(console).await?;
        if message.identity_changed {
            let label = self.people.label(&message.from);
            let argument = people::argument(&message.from);
            let text = explain::changed_sender(&label, &argument, self.args);
            self.notice(&text, &Value::Null, console).await?;
        }
        if message.files.is_empty() {
            let done = console.unless_interrupted(self.client.done(message.id)).await?;
            return done.map_err(|error| explain::ended(&error).into());
        }
        let states = note::encode(&vec![FileState::Waiting; message.files.len()]);
        let noted = console.unless_interrupted(self.client.set_note(message.id, states)).await?;
        noted.map_err(|error| explain::not_stored(&error).into())
    }

    /// One of the messages in the outbox has made progress.
    async fn progress(
        &mut self,
        message: Timestamp,
        progress: Progress,
        console: &mut Console,
    ) -> Result<()> {
        match progress {
            Progress::OnServer => {
                let to = self.with.to_string();
                match self.on_the_way.remove(&message) {
                    Some(_) => console
                        .report(&json!({"event": "chat-sent", "to": to, "timestamp": message.0})),
                    None => Ok(()),
                }
            }
            Progress::NotSent(NotSent::Failed(why)) => self.failed(message, why, console).await,
            // The connection says why messages wait, and so does the changed identity.
            Progress::NotSent(_) | Progress::Waiting => Ok(()),
            // Later states of the SDK.
            _ => Ok(()),
        }
    }

    /// A line can never be sent.
    async fn failed(
        &mut self,
        message: Timestamp,
        why: SendFailure,
        console: &mut Console,
    ) -> Result<()> {
        let Some(line) = self.on_the_way.remove(&message) else { return Ok(()) };
        self.not_sent(Some(message.0), &line, &why.to_string(), console).await?;
        let forgotten = console.unless_interrupted(self.client.forget_failed(message)).await?;
        forgotten.map_err(|error| explain::ended(&error).into())
    }

    async fn not_sent(
        &mut self,
        timestamp: Option<u64>,
        line: &str,
        why: &str,
        console: &Console,
    ) -> Result<()> {
        self.is_all_sent = false;
        let (to, why) = (self.people.json_of(self.with), printable::line(why));
        let value = json!({
            "event": "chat-not-sent", "to": to, "timestamp": timestamp, "reason": why, "text": line,
        });
        let text = format!("This line was not sent: {why}\n    {}", show::safe(line));
        self.notice(&text, &value, console).await
    }

    /// Events were left out. What they said can be queried.
    async fn missed(&mut self, console: &mut Console) -> Result<()> {
        let failed = console.unless_interrupted(self.client.failed()).await?;
        for failed in failed.map_err(|error| explain::ended(&error))? {
            if let Some(why) = failed.why {
                self.failed(failed.timestamp, why, console).await?;
            }
        }
        let outbox = console.unless_interrupted(self.client.outbox()).await?;
        let outbox = outbox.map_err(|error| explain::ended(&error))?;
        let left: BTreeSet<_> = outbox.iter().map(|message| message.timestamp).collect();
        let sent: Vec<_> =
            self.on_the_way.keys().copied().filter(|message| !left.contains(message)).collect();
        for message in sent {
            self.progress(message, Progress::OnServer, console).await?;
        }
        Ok(())
    }

    /// The connection is there, perhaps again.
    async fn connected(&mut self, console: &Console) -> Result<()> {
        if !std::mem::take(&mut self.is_lost) {
            return Ok(());
        }
        self.notice("Connected again.", &json!({"event": "chat-connected"}), console).await
    }

    async fn disconnected(&mut self, why: &RequestError, console: &Console) -> Result<()> {
        if !why.may_retry() {
            return Err(explain::request(why, self.args).into());
        }
        if std::mem::replace(&mut self.is_lost, true) {
            return Ok(());
        }
        let why = printable::line(&why.to_string());
        let value = json!({"event": "chat-disconnected", "reason": why});
        let text =
            format!("Not connected: {why}. Trying again; lines that you type are sent later.");
        self.notice(&text, &value, console).await
    }

    /// Shows something that belongs to the conversation. It ends with a line break.
    async fn show(&self, text: String, value: &Value, console: &Console) -> Result<()> {
        console.report(value)?;
        match &self.editor {
            Some(editor) => {
                // Its end is noticed where lines are read.
                let _gone = editor.send(text).await;
                Ok(())
            }
            None => console.print(&text),
        }
    }

    /// Shows something about the conversation.
    async fn notice(&self, text: &str, value: &Value, console: &Console) -> Result<()> {
        if !value.is_null() {
            console.report(value)?;
        }
        match &self.editor {
            Some(editor) => {
                let _gone = editor.send(format!("{text}\n")).await;
            }
            None => console.screen.show(text),
        }
        Ok(())
    }

    /// Waits until the lines are sent, and says what is left.
    async fn end(&mut self, console: &mut Console) -> Result<()> {
        while !self.on_the_way.is_empty() && !self.is_lost && !self.is_blocked {
            let next = timeout(PATIENCE, self.messages.next());
            let Ok(event) = console.unless_interrupted(next).await? else { break };
            self.event(event.map_err(|error| explain::ended(&error))?, console).await?;
        }
        self.is_up_to_date = true;
        self.mark_read(console).await?;
        outbox::say_waiting(self.client, self.args, console).await?;
        outbox::say_failed(self.client, self.args, console).await?;
        let receive = explain::command("receive", self.args);
        if self.has_files {
            console.screen.show(&format!("The files are not saved yet: {receive} saves them."));
        }
        let others = match self.others.len() {
            0 => None,
            1 => Some("A message of somebody else waits".to_owned()),
            count => Some(format!("{count} messages of other people wait")),
        };
        if let Some(others) = others {
            console.screen.show(&format!("{others}: {receive}"));
        }
        if self.is_all_sent { Ok(()) } else { Err(Failure::new("not every line was sent").into()) }
    }

    /// Says, after the conversation has failed, that lines stay in the outbox.
    fn say_on_the_way(&self, console: &Console) {
        let lines = match self.on_the_way.len() {
            0 => return,
            1 => "The last line is in the outbox".to_owned(),
            count => format!("The last {count} lines are in the outbox"),
        };
        let receive = explain::command("receive", self.args);
        console.screen.show(&format!("{lines}: the next {receive} sends what is not sent yet."));
    }
}

/// Waits for the end of the input at a terminal.
async fn ended(end: &mut Option<oneshot::Receiver<End>>) -> InputEnd {
    match end {
        Some(end) => end.await.map_or(InputEnd::EndOfInput, |end| end.how),
        None => pending().await,
    }
}

/// Shown for a line that is not taken.
const TOO_MANY_LINES: &str = "This line was not sent: too many lines wait to be sent.";

/// How long to wait, after the end of the input, for something to happen to the lines that are not sent yet.
const PATIENCE: Duration = Duration::from_secs(30);

const NOT_READABLE: &str = "cannot read the lines";
