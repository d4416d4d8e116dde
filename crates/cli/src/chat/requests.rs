//! `chat requests`: people that the user does not know, and whom the user has blocked.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::timeout;
use wormhole::chat::{
    Client, Connection, Contact, DecideError, Destination, Event, MessageRequest,
};

use super::people::{self, People};
use super::recent::Recent;
use super::{explain, profile, show, who};
use crate::args::chat::{AccountArgs, DecideArgs, RequestsArgs, RequestsCommand};
use crate::ask::Ask as _;
use crate::config::Config;
use crate::console::{Console, Question};
use crate::failure::Failure;

/// Lists requests or blocked people, or decides about one of them.
///
/// # Errors
/// The account cannot be opened, or there is no such person.
pub(super) async fn run(args: RequestsArgs, config: &Config, console: &mut Console) -> Result<()> {
    let (choice, decide) = match args.command {
        None => {
            let client = profile::client(&args.client, config, console).await?;
            let done = if args.blocked {
                list_blocked(&client, &args.client.account, console).await
            } else {
                list(&client, &args.client.account, console).await
            };
            return profile::finish(client, done).await;
        }
        Some(RequestsCommand::Accept(args)) => (Choice::Accept, args),
        Some(RequestsCommand::Block(args)) => (Choice::Block, args),
        Some(RequestsCommand::Delete(args)) => (Choice::Delete, args),
        Some(RequestsCommand::Report(args)) => (Choice::Report, args),
        Some(RequestsCommand::Unblock(args)) => (Choice::Unblock, args),
    };
    let client = profile::client(&decide.client, config, console).await?;
    let done = make_decision(&client, choice, &decide, console).await;
    profile::finish(client, done).await
}

/// A decision of the user.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Choice {
    Accept,
    Block,
    Delete,
    Report,
    Unblock,
}

async fn list(client: &Client, args: &AccountArgs, console: &mut Console) -> Result<()> {
    if !wait_for_messages(client, console).await? {
        console.screen.show("The server cannot be reached: there may be more message requests.");
    }
    let people = People::new(client, console).await?;
    let requests = console.unless_interrupted(client.requests()).await?;
    let requests = requests.map_err(|error| explain::ended(&error))?;
    for request in &requests {
        print(request, &people, client, console).await?;
    }
    if requests.is_empty() {
        console.screen.show("No message requests.");
    } else {
        let accept = explain::command("requests accept|block|delete|report WHO", args);
        console.screen.show(&format!("To decide: {accept}"));
    }
    Ok(())
}

/// Waits until the messages have arrived that had waited at the server. Returns whether they have: without a connection, or
/// after some seconds, it gives up.
///
/// # Errors
/// A signal came.
pub(super) async fn wait_for_messages(client: &Client, console: &mut Console) -> Result<bool> {
    let mut events = client.events();
    let arrived = async {
        while !matches!(client.connection(), Connection::UpToDate | Connection::Disconnected(_)) {
            match events.next().await {
                Ok(Event::UpToDate | Event::Disconnected(_)) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    let arrived = console.unless_interrupted(timeout(PATIENCE, arrived)).await?;
    Ok(arrived.is_ok() && client.connection() == Connection::UpToDate)
}

async fn print(
    request: &MessageRequest,
    people: &People,
    client: &Client,
    console: &mut Console,
) -> Result<()> {
    let account = request.from.account;
    let safety = console.unless_interrupted(client.safety_number(account)).await?;
    let digits = safety.ok().map(|safety| safety.digits);
    // Ids are not useful: nobody answers a message before accepting the person.
    let recent = Recent::default();
    let messages: Vec<(Value, String)> =
        request.messages.iter().map(|message| show::describe(message, people, &recent)).collect();
    let since = request.messages.first().map(|message| message.timestamp.0);
    console.report(&json!({
        "event": "chat-request", "who": people::json(&request.from), "since": since,
        "count": messages.len(), "safety_number": digits,
        "messages": messages.iter().map(|(json, _)| json).collect::<Vec<_>>(),
    }))?;
    let count = count(messages.len());
    let label = people.label(&request.from);
    let mut text = format!("{account}  {label}: {count}\n");
    if let Some(digits) = digits {
        text += &format!("    safety number {digits}\n");
    }
    let lines = messages.iter().flat_map(|(_, text)| text.lines());
    lines.for_each(|line| text += &format!("    {line}\n"));
    console.print(&text)
}

fn count(messages: usize) -> String {
    if messages == 1 { "1 message".to_owned() } else { format!("{messages} messages") }
}

async fn list_blocked(client: &Client, args: &AccountArgs, console: &mut Console) -> Result<()> {
    let people = People::new(client, console).await?;
    let blocked = console.unless_interrupted(client.blocked()).await?;
    let blocked = blocked.map_err(|error| explain::ended(&error))?;
    for contact in &blocked {
        console.report(&json!({"event": "chat-blocked", "who": people::json(contact)}))?;
        console.print(&format!("{}  {}\n", contact.account, people.label(contact)))?;
    }
    if blocked.is_empty() {
        console.screen.show("You have not blocked anybody.");
    } else {
        let unblock = explain::command("requests unblock WHO", args);
        console.screen.show(&format!("To no longer block somebody: {unblock}"));
    }
    Ok(())
}

async fn make_decision(
    client: &Client,
    choice: Choice,
    args: &DecideArgs,
    console: &mut Console,
) -> Result<()> {
    let contact = find(client, args, console).await?;
    let account = contact.account;
    if choice == Choice::Report && !may_report(&contact, client, console).await? {
        return Err(Failure::new("nothing has changed").into());
    }
    let decided = async {
        match choice {
            Choice::Accept => client.accept_request(account).await.map(|()| 0),
            Choice::Block => client.block(account).await.map(|()| 0),
            Choice::Delete => client.delete_request(account).await.map(|()| 0),
            Choice::Report => client.report(account).await,
            Choice::Unblock => client.unblock(account).await.map(|()| 0),
        }
    };
    let decided = console.unless_interrupted(decided).await?;
    let reported = decided.map_err(|error| explain_decision(&error))?;
    let people = People::new(client, console).await?;
    let (name, text) = describe(choice, &people.label(&contact), reported, &args.client.account);
    console.report(&json!({
        "event": "chat-request-decided", "who": people::json(&contact), "decision": name,
        "reported": reported,
    }))?;
    console.screen.show(&text);
    let sent = console.unless_interrupted(client.decisions_sent(PATIENCE)).await?;
    if !sent.map_err(|error| explain::ended(&error))? {
        console
            .screen
            .show("The server cannot be reached now: the next command sends the decision.");
    }
    Ok(())
}

/// Whether the user wants to report and block somebody. Asks only at a terminal, and not about somebody who waits for a decision.
async fn may_report(contact: &Contact, client: &Client, console: &mut Console) -> Result<bool> {
    let requests = console.unless_interrupted(client.requests()).await?;
    let requests = requests.map_err(|error| explain::ended(&error))?;
    let is_waiting = requests.iter().any(|request| request.from.account == contact.account);
    if is_waiting || !io::stdin().is_terminal() || console.is_json() {
        return Ok(true);
    }
    let label = People::new(client, console).await?.label(contact);
    let prompt = format!(
        "Block {label}, and report the messages to the operator of the server? You have accepted this person before. (y/N): "
    );
    let question = Question { prompt, about: "report", answers: &["y", "n"] };
    Ok(console.ask_yes_or_no(&question, false).await?.unwrap_or(false))
}

fn describe(
    choice: Choice,
    label: &str,
    reported: usize,
    args: &AccountArgs,
) -> (&'static str, String) {
    match choice {
        Choice::Accept => {
            let receive = explain::command("receive", args);
            ("accept", format!("{label} is accepted. To get the messages: {receive}"))
        }
        Choice::Block => ("block", format!("{label} is blocked.")),
        Choice::Delete => ("delete", format!("The messages of {label} are deleted.")),
        Choice::Report if reported == 0 => {
            let why = "the request of this person has no message to report";
            ("report", format!("{label} is blocked, but {why}."))
        }
        Choice::Report => {
            ("report", format!("{label} is blocked, and reported: {}.", count(reported)))
        }
        Choice::Unblock => ("unblock", format!("{label} is not blocked any more.")),
    }
}

/// The person that the user means: one who waits or is blocked, also by the number that the server claims, or somebody else.
async fn find(client: &Client, args: &DecideArgs, console: &mut Console) -> Result<Contact> {
    let requests = console.unless_interrupted(client.requests()).await?;
    let requests = requests.map_err(|error| explain::ended(&error))?;
    let blocked = console.unless_interrupted(client.blocked()).await?;
    let blocked = blocked.map_err(|error| explain::ended(&error))?;
    let waiting = requests.into_iter().map(|request| request.from);
    let wanted = who::without_separators(&args.who);
    let destination = wanted.parse::<Destination>().ok();
    let is_meant = |contact: &Contact| match &destination {
        Some(destination) => claims(contact, destination),
        None => contact.name.as_deref() == Some(args.who.as_str()),
    };
    let mut meant = waiting.chain(blocked).filter(is_meant);
    match (meant.next(), meant.next()) {
        (Some(contact), None) => Ok(contact),
        (Some(first), Some(second)) if first.account != second.account => {
            let why = "several people claim to have this number: use the account id";
            Err(Failure::usage(why).into())
        }
        (Some(contact), Some(_)) => Ok(contact),
        (None, _) if destination.is_none() && !is_named(client, &args.who, console).await? => {
            Err(who::unknown(&args.who, who::Kind::Waiting, &args.client.account).into())
        }
        (None, _) => who::contact(&args.who, client, &args.client.account, console).await,
    }
}

/// Whether a contact has this name.
async fn is_named(client: &Client, name: &str, console: &mut Console) -> Result<bool> {
    let people = People::new(client, console).await?;
    Ok(who::named(name, people.others()).next().is_some())
}

/// Whether a contact is this destination, or the server says so.
fn claims(contact: &Contact, destination: &Destination) -> bool {
    let has = |number: &str| contact.number.as_deref() == Some(number);
    match destination {
        Destination::Account(account) => contact.account == *account,
        Destination::Number(number) => has(number.as_str()),
        Destination::NumberInApp(number, app) => {
            has(number.as_str()) && contact.app.as_deref() == Some(app.as_str())
        }
        Destination::Username(_) => false,
    }
}

fn explain_decision(error: &DecideError) -> Failure {
    match error {
        DecideError::OwnAccount => explain::own_number(),
        DecideError::Ended(error) => explain::ended(error),
        DecideError::TooManyBlocked => Failure::new(error.to_string()),
        // Later errors of the SDK.
        _ => Failure::new(error.to_string()),
    }
}

/// Tells the user that people wait for a decision. Returns whether there are any.
///
/// # Errors
/// The client has ended, or standard output cannot be written.
pub(super) async fn mention(
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<bool> {
    let requests = console.unless_interrupted(client.requests()).await?;
    let requests = requests.map_err(|error| explain::ended(&error))?;
    if requests.is_empty() {
        return Ok(false);
    }
    let people = People::new(client, console).await?;
    let labels: Vec<String> =
        requests.iter().take(MAX_LABELS).map(|request| people.label(&request.from)).collect();
    let more = requests.len() - labels.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} others") };
    let accounts = requests.iter().map(|request| people::json(&request.from));
    console.report(&json!({
        "event": "chat-requests", "count": requests.len(),
        "who": accounts.take(MAX_LABELS).collect::<Vec<_>>(),
    }))?;
    let what = if requests.len() == 1 { "message request" } else { "message requests" };
    console.screen.show(&format!(
        "{} {what} from {}{more} ({})",
        requests.len(),
        labels.join(", "),
        explain::command("requests", args)
    ));
    Ok(true)
}

/// How long the command waits for the server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Maximum number of people that are named at once.
const MAX_LABELS: usize = 3;
