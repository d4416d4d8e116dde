//! `chat outbox`: messages that wait to be sent, and messages that cannot be sent. Other commands also use it: they do not
//! end while such messages can be sent.

mod cancel;
mod drafts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tokio::time::timeout;
use wormhole::chat::{
    Account, AccountId, Client, Connection, Conversation, DeliveryError, FailedMessage, Messages,
    Network, OutboxMessage, Progress, RequestError, Timestamp, WaitingMessage,
};

use super::people::{self, People};
use super::{explain, profile, show};
use crate::args::chat::{AccountArgs, ClientArgs, OutboxArgs};
use crate::config::Config;
use crate::console::Console;
use crate::shell::quote;
use crate::{printable, units};

/// Sends what waits, and lists what still waits and what cannot be sent.
///
/// # Errors
/// The account cannot be opened, the client has ended, or a signal came.
pub(super) async fn run(args: OutboxArgs, config: &Config, console: &mut Console) -> Result<()> {
    let ClientArgs { account: account_args, tor } = &args.client;
    let store = profile::open(account_args, console).await?;
    if !args.cancel.is_empty() {
        let account = Account::new(store, Network::default());
        return cancel::run(&account, &args.cancel, account_args, console).await;
    }
    let account = profile::account(store, tor, config, console).await?;
    let stored = console.unless_interrupted(account.outbox()).await?;
    let stored = stored.map_err(|error| explain::open(&error, account_args))?;
    let client = profile::start(account, account_args, config, console).await?;
    let done = list(&client, &stored, account_args, console).await;
    profile::finish(client, done).await
}

async fn list(
    client: &Client,
    stored: &[WaitingMessage],
    args: &AccountArgs,
    console: &mut Console,
) -> Result<()> {
    let mut waiting = Waiting::all(client, console).await?;
    waiting.connected(console).await?;
    let sent = waiting.send(console).await? + drafts::send(client, args, console).await?;
    say_sent(sent, console);
    let left = console.unless_interrupted(client.outbox()).await?;
    let left = left.map_err(|error| explain::ended(&error))?;
    let people = People::new(client, console).await?;
    for message in &left {
        let why = reason(message, &people, args);
        if let Some(stored) = stored.iter().find(|it| it.timestamp == message.timestamp) {
            print_waiting(stored, &people, &why, console)?;
        }
    }
    if !left.is_empty() {
        let cancel = explain::command("outbox --cancel ID", args);
        console.screen.show(&format!("To cancel a message that waits: {cancel}"));
    }
    let failed = show_failed(client, console).await?;
    let drafts = drafts::show(client, &people, args, console).await?;
    if left.is_empty() && failed.is_empty() && sent == 0 && drafts == 0 {
        console.screen.show("No messages wait to be sent.");
    }
    Ok(())
}

/// Why a message waits, and what the user can do.
fn reason(message: &OutboxMessage, people: &People, args: &AccountArgs) -> String {
    match &message.progress {
        Progress::NotSent(DeliveryError::IdentityChanged(_)) => {
            let safety = format!("safety {} --verify", quote(&people.argument_in(message.to)));
            let verify = explain::command(&safety, args);
            format!("it waits because the safety number has changed. Compare it: {verify}")
        }
        Progress::NotSent(DeliveryError::Delayed(why)) if why.may_retry() => {
            format!("it waits, and is tried again: {}", printable::line(&why.to_string()))
        }
        Progress::NotSent(why) => printable::line(&why.to_string()),
        Progress::OnServer => "it is sent".to_owned(),
        Progress::Waiting => "it waits for the server".to_owned(),
        // Later states of the SDK.
        _ => "it waits".to_owned(),
    }
}

fn print_waiting(
    message: &WaitingMessage,
    people: &People,
    why: &str,
    console: &Console,
) -> Result<()> {
    let WaitingMessage { timestamp, to, text, files, .. } = message;
    console.report(&json!({
        "event": "chat-waiting", "to": people.json_in(*to), "group": people::group_json(*to), "timestamp": timestamp.0, "reason": why,
        "text": text,
    }))?;
    let (time, to) = (units::time(timestamp.0 / 1000), people.label_in(*to));
    let content = show::content(text.as_deref(), files);
    console.print(&format!("{}  {time}  to {to}: {why}\n{content}", timestamp.0))
}

/// Prints the messages that cannot be sent. Each is forgotten only when it was printed. Returns which they are.
///
/// # Errors
/// The client has ended, standard output cannot be written, or a signal came.
pub(super) async fn show_failed(client: &Client, console: &mut Console) -> Result<Vec<Timestamp>> {
    let failed = console.unless_interrupted(client.failed()).await?;
    let failed = failed.map_err(|error| explain::ended(&error))?;
    if failed.is_empty() {
        return Ok(Vec::new());
    }
    let people = People::new(client, console).await?;
    for message in &failed {
        print_failed(message, &people, console)?;
        let forgotten = console.unless_interrupted(client.forget_failed(message.timestamp)).await?;
        forgotten.map_err(|error| explain::ended(&error))?;
    }
    Ok(failed.iter().map(|message| message.timestamp).collect())
}

fn print_failed(message: &FailedMessage, people: &People, console: &Console) -> Result<()> {
    let why = message.why.map_or_else(|| DAMAGED.to_owned(), |why| why.to_string());
    let why = printable::line(&why);
    console.report(&json!({
        "event": "chat-not-sent", "to": people.json_in(message.to), "group": people::group_json(message.to),
        "timestamp": message.timestamp.0, "reason": why, "text": message.text,
    }))?;
    let (time, to) = (units::time(message.timestamp.0 / 1000), people.label_in(message.to));
    let content = show::content(message.text.as_deref(), &message.files);
    console.print(&format!(
        "{time}  to {to}: this message was not sent, and never will be: {why}\n{content}"
    ))
}

/// Says how many messages cannot be sent, if any. `chat outbox` prints them.
///
/// # Errors
/// The client has ended, or a signal came.
pub(super) async fn say_failed(
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<()> {
    let failed = console.unless_interrupted(client.failed()).await?;
    let failed = match failed.map_err(|error| explain::ended(&error))?.len() {
        0 => return Ok(()),
        1 => "1 message was not sent, and never will be".to_owned(),
        count => format!("{count} messages were not sent, and never will be"),
    };
    let list = explain::command("outbox", args);
    console.screen.show(&format!("{failed}. To see the text and the reason: {list}"));
    Ok(())
}

pub(super) use drafts::send as send_drafts;

/// The messages that were in the outbox when this was made.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    client: &'a Client,
    messages: BTreeMap<Timestamp, Conversation>,
    events: Messages,
}

impl<'a> Waiting<'a> {
    /// All messages in the outbox.
    ///
    /// # Errors
    /// The client has ended, or a signal came.
    pub(super) async fn all(client: &'a Client, console: &mut Console) -> Result<Self> {
        let events = client.messages();
        let outbox = console.unless_interrupted(client.outbox()).await?;
        let outbox = outbox.map_err(|error| explain::ended(&error))?;
        let messages = outbox.iter().map(|message| (message.timestamp, message.to)).collect();
        Ok(Self { client, messages, events })
    }

    /// Only those to one person.
    pub(super) fn for_person(mut self, person: AccountId) -> Self {
        self.messages.retain(|_, to| *to == Conversation::Account(person));
        self
    }

    /// Waits until the server has answered or cannot be reached. Then it is known why messages wait.
    async fn connected(&mut self, console: &mut Console) -> Result<()> {
        while self.client.connection() == Connection::Connecting {
            let next = timeout(PATIENCE, self.events.next());
            let Ok(event) = console.unless_interrupted(next).await? else { break };
            event.map_err(|error| explain::ended(&error))?;
        }
        Ok(())
    }

    /// Waits until they are sent, and returns how many are. Does not wait for messages that cannot be sent now.
    ///
    /// # Errors
    /// The client has ended, standard output cannot be written, or a signal came.
    pub(super) async fn send(&mut self, console: &mut Console) -> Result<usize> {
        let (mut sent, mut since) = (0, Instant::now());
        loop {
            let outbox = console.unless_interrupted(self.client.outbox()).await?;
            let outbox = outbox.map_err(|error| explain::ended(&error))?;
            let new = self.report_gone(&outbox, console).await?;
            if new > 0 {
                (sent, since) = (sent + new, Instant::now());
            }
            let is_ours = |message: &OutboxMessage| self.messages.contains_key(&message.timestamp);
            let is_soon = |message: &OutboxMessage| may_be_sent_soon(&message.progress);
            let can_send = outbox.iter().any(|message| is_ours(message) && is_soon(message));
            let is_lost = matches!(self.client.connection(), Connection::Disconnected(_));
            if is_lost || !can_send || since.elapsed() >= PATIENCE {
                return Ok(sent);
            }
            if let Ok(event) = console.unless_interrupted(timeout(STEP, self.events.next())).await?
            {
                event.map_err(|error| explain::ended(&error))?;
            }
        }
    }

    /// Prints the messages that cannot be sent, also others than these.
    ///
    /// # Errors
    /// Those of [`show_failed`].
    pub(super) async fn show_failed(&mut self, console: &mut Console) -> Result<()> {
        for message in show_failed(self.client, console).await? {
            self.messages.remove(&message);
        }
        Ok(())
    }

    /// Reports the messages that have left the outbox for the server since the last report. Returns their number.
    ///
    /// # Errors
    /// The client has ended, standard output cannot be written, or a signal came.
    pub(super) async fn report_sent(&mut self, console: &mut Console) -> Result<usize> {
        let outbox = console.unless_interrupted(self.client.outbox()).await?;
        self.report_gone(&outbox.map_err(|error| explain::ended(&error))?, console).await
    }

    async fn report_gone(
        &mut self,
        outbox: &[OutboxMessage],
        console: &mut Console,
    ) -> Result<usize> {
        let left: BTreeSet<_> = outbox.iter().map(|message| message.timestamp).collect();
        let is_gone = |message: &Timestamp| !left.contains(message);
        let gone: Vec<_> = self.messages.keys().copied().filter(is_gone).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        let failed = console.unless_interrupted(self.client.failed()).await?;
        let failed = failed.map_err(|error| explain::ended(&error))?;
        let mut sent = 0;
        for message in gone {
            if failed.iter().any(|failed| failed.timestamp == message) {
                self.messages.remove(&message);
            } else {
                sent += 1;
                self.report_one(message, console)?;
            }
        }
        Ok(sent)
    }

    /// Reports that the server has a message, unless that was reported before.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub(super) fn report_one(&mut self, message: Timestamp, console: &Console) -> Result<()> {
        let Some(to) = self.messages.remove(&message) else { return Ok(()) };
        let to = to.to_string();
        console.report(&json!({"event": "chat-sent", "to": to, "timestamp": message.0}))
    }
}

/// Whether it is worth waiting for a message.
fn may_be_sent_soon(progress: &Progress) -> bool {
    match progress {
        Progress::Waiting => true,
        Progress::NotSent(DeliveryError::Delayed(RequestError::TooMany(pause))) => {
            *pause <= PATIENCE
        }
        Progress::NotSent(why) => why.may_retry(),
        Progress::OnServer => false,
        // Later states of the SDK.
        _ => false,
    }
}

/// Says how many messages are sent that had waited.
pub(super) fn say_sent(sent: usize, console: &Console) {
    match sent {
        0 => {}
        1 => console.screen.show("The waiting message is sent."),
        _ => console.screen.show(&format!("{sent} waiting messages are sent.")),
    }
}

/// Says how many messages still wait, if any.
///
/// # Errors
/// The client has ended, or a signal came.
pub(super) async fn say_waiting(
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<()> {
    let outbox = console.unless_interrupted(client.outbox()).await?;
    let waiting = match outbox.map_err(|error| explain::ended(&error))?.len() {
        0 => return Ok(()),
        1 => "1 message waits to be sent".to_owned(),
        count => format!("{count} messages wait to be sent"),
    };
    let list = explain::command("outbox", args);
    console.screen.show(&format!("{waiting}. To see why: {list}"));
    Ok(())
}

/// Why a message cannot be sent, if that cannot be read any more.
const DAMAGED: &str = "the stored message is damaged";

/// How long to wait for the next message to be sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait for an event before the outbox is looked at again.
const STEP: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_waits_for_messages_that_the_server_takes_soon() {
        let delayed = |why| Progress::NotSent(DeliveryError::Delayed(why));
        let too_many = |seconds| RequestError::TooMany(Duration::from_secs(seconds));
        assert!(may_be_sent_soon(&delayed(too_many(1))));
        assert!(!may_be_sent_soon(&delayed(too_many(3600))));
        assert!(may_be_sent_soon(&delayed(RequestError::Unavailable(503))));
        assert!(!may_be_sent_soon(&delayed(RequestError::Refused(403))));
        assert!(!may_be_sent_soon(&Progress::OnServer));
    }
}
