//! `chat talk`: sends the lines that are typed to one person or group, and shows what is written there.
//!
//! | file | what it does |
//! |---|---|
//! | `events` | shows messages, changes of them, and receipts |
//! | `outgoing` | what becomes of the lines |
//!
//! Messages of other people stay in the store for `chat receive`, and so do files.

mod events;
mod outgoing;

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wormhole::chat::{
    AccountId, Client, Conversation, DeliveryError, Ended, Event, Message, MessageRef, Messages,
    Progress, QueueError, Timestamp,
};

use super::groups::notices::Notices;
use super::outbox;
use super::people::{self, People};
use super::recent::{self, Recent};
use super::{explain, mentions, profile, show, who};
use crate::args::chat::{AccountArgs, TalkArgs};
use crate::config::Config;
use crate::console::{Console, interrupted_by};
use crate::conversation::{End, Input, InputEnd, Style};
use crate::failure::Failure;
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
    let with = who::target(&args.who, client, account, console).await?;
    let with = with.conversation();
    let messages = client.messages();
    let people = People::new(client, console).await?.in_conversation(with);
    let mut recent = Recent::load(client, console).await?;
    recent.shows_ids |= args.ids;
    let label = people.label_in(with);
    let whom = match with {
        Conversation::Group(_) => format!("to the group {label}"),
        // Also later kinds of the SDK.
        Conversation::Account(_) | _ => format!("with {label}"),
    };
    console.screen.show(&format!(
        "You are writing {whom}. Type a line to send it; Ctrl-D ends the conversation."
    ));
    let style = Style {
        event: |shown: &EditorLines| shown.text.clone(),
        // `send` shows the line with its id.
        own: |_| String::new(),
        is_state: |shown| shown.is_state,
        replaces_state: |shown| shown.is_state,
        too_many: TOO_MANY_LINES,
    };
    let (editor, to_show) = mpsc::channel(1);
    let mut input = Input::open(to_show, style, console);
    let editor = input.to_show.is_none().then_some(editor);
    let mut talk = Talk {
        client,
        args: account,
        with,
        messages,
        people,
        recent,
        notices: Notices::default(),
        is_up_to_date: false,
        read: Vec::new(),
        editor,
        on_the_way: BTreeMap::new(),
        readers: BTreeMap::new(),
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

/// Lines that the editor shows above the one that is typed.
struct EditorLines {
    /// With the end of the last line.
    text: String,
    /// Whether it is the state of a message, which the next state replaces.
    is_state: bool,
}

/// A running conversation.
struct Talk<'a> {
    client: &'a Client,
    args: &'a AccountArgs,
    with: Conversation,
    messages: Messages,
    people: People,
    recent: Recent,
    notices: Notices,
    is_up_to_date: bool,
    /// Messages that were shown, until the client is told that they were read.
    read: Vec<MessageRef>,
    /// The line editor, which shows events above its line. `None` if this task prints them.
    editor: Option<mpsc::Sender<EditorLines>>,
    /// Lines that the server does not have yet.
    on_the_way: BTreeMap<Timestamp, String>,
    /// The members of the group that have read the last lines.
    readers: BTreeMap<Timestamp, BTreeSet<AccountId>>,
    /// Messages of other conversations that wait for `chat receive`.
    others: BTreeSet<u64>,
    /// Whether files wait for `chat receive`.
    has_files: bool,
    is_lost: bool,
    /// Whether lines wait until the user accepts a changed identity key.
    is_blocked: bool,
    is_all_sent: bool,
}

/// The next event.
enum Step {
    End(InputEnd),
    Event(Result<Event, Ended>),
    Line(Option<io::Result<String>>),
}

impl Talk<'_> {
    /// Sends lines and shows messages, until the input ends.
    async fn exchange(
        &mut self,
        input: &mut Input<EditorLines>,
        console: &mut Console,
    ) -> Result<()> {
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
        let mut message = Message::text(line.clone());
        message.mentions = mentions::find(&line, self.people.others());
        let sending = self.client.send(self.with, message);
        match console.unless_interrupted(sending).await? {
            Ok(sent) => {
                let timestamp = sent.timestamp();
                let reference = MessageRef { author: self.people.own(), timestamp };
                self.remember(reference, &line, console).await?;
                self.on_the_way.insert(timestamp, line);
                self.readers.insert(timestamp, BTreeSet::new());
                while self.readers.len() > MAX_READ_LINES {
                    self.readers.pop_first();
                }
                let id = reference.short_id();
                console.report(&json!({
                    "event": "chat-queued", "to": people::account_json(self.with),
                    "group": people::group_json(self.with), "timestamp": timestamp.0, "short_id": id,
                }))?;
                let progress = sent.progress();
                if matches!(progress, Progress::NotSent(DeliveryError::IdentityChanged(_))) {
                    self.blocked(console).await?;
                }
                Ok(())
            }
            Err(QueueError::Ended(error)) => Err(explain::ended(&error).into()),
            Err(error) => self.not_sent(None, &line, &error.to_string(), console).await,
        }
    }

    /// Remembers a line that is in the outbox, and shows it with its id.
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
        if self.editor.is_some() {
            self.edit(show::own(line, &self.recent.shown_id(message)), false).await;
        } else if self.recent.shows_ids {
            console.screen.show(&format!("    [{}]", recent::id(message)));
        }
        Ok(())
    }

    /// Shows something that belongs to the conversation. It ends with a line break.
    async fn show(&self, text: String, value: &Value, console: &Console) -> Result<()> {
        console.report(value)?;
        match &self.editor {
            Some(_) => {
                self.edit(text, false).await;
                Ok(())
            }
            None => console.print(&text),
        }
    }

    /// Shows lines above the one that is typed.
    async fn edit(&self, text: String, is_state: bool) {
        if let Some(editor) = &self.editor {
            // Its end is noticed where lines are read.
            let _gone = editor.send(EditorLines { text, is_state }).await;
        }
    }

    /// Shows the state of a message, or what the other person does now. At a terminal, it replaces an earlier state.
    async fn state(&self, text: &str, value: &Value, console: &Console) -> Result<()> {
        console.report(value)?;
        match &self.editor {
            Some(_) => self.edit(format!("{text}\n"), true).await,
            None => console.screen.show(text),
        }
        Ok(())
    }

    /// Shows something about the conversation.
    async fn notice(&self, text: &str, value: &Value, console: &Console) -> Result<()> {
        if !value.is_null() {
            console.report(value)?;
        }
        match &self.editor {
            Some(_) => self.edit(format!("{text}\n"), false).await,
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
            1 => Some("A message of another conversation waits".to_owned()),
            count => Some(format!("{count} messages of other conversations wait")),
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

/// Maximum number of lines whose readers are counted.
const MAX_READ_LINES: usize = 1000;

/// Shown for a line that is not taken.
const TOO_MANY_LINES: &str = "This line was not sent: too many lines wait to be sent.";

/// How long to wait, after the end of the input, for something to happen to the lines that are not sent yet.
const PATIENCE: Duration = Duration::from_secs(30);

const NOT_READABLE: &str = "cannot read the lines";
