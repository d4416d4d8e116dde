//! `chat outbox --cancel`: messages that are removed from the outbox. The client is not started, so nothing is sent meanwhile.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{Account, CancelOutcome, Conversation, Draft, Timestamp, WaitingMessage};

use crate::args::chat::AccountArgs;
use crate::chat::people::{self, People};
use crate::chat::{explain, history, show};
use crate::console::Console;
use crate::failure::Failure;
use crate::units;

/// Cancels messages, and shows what they said.
///
/// # Errors
/// One of them does not wait: then those after it are not cancelled. Or the account cannot be used.
pub(super) async fn run(
    account: &Account,
    ids: &[u64],
    args: &AccountArgs,
    console: &mut Console,
) -> Result<()> {
    let outbox = console.unless_interrupted(account.outbox()).await?;
    let outbox = outbox.map_err(|error| explain::open(&error, args))?;
    let groups = console.unless_interrupted(account.groups()).await?;
    let groups = groups.map_err(|error| explain::open(&error, args))?;
    let people = history::people(account, args, console).await?.with_groups(&groups);
    let find = |id: &u64| {
        let found = outbox.iter().find(|message| message.timestamp.0 == *id);
        found.ok_or_else(|| not_waiting(*id, args))
    };
    let drafts = console.unless_interrupted(account.drafts()).await?;
    let drafts = drafts.map_err(|error| explain::store(&error, args))?;
    let (of_drafts, ids): (Vec<u64>, Vec<u64>) =
        ids.iter().partition(|id| drafts.iter().any(|draft| draft.id.0 == **id));
    // All of them are checked before the first is cancelled.
    let messages = ids.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    for message in messages {
        let outcome = cancel(account, message.timestamp, args, console).await?;
        let WaitingMessage { timestamp, to, text, files, .. } = message;
        let content = show::content(text.as_deref(), files);
        let cancelled =
            Cancelled { timestamp: *timestamp, to: *to, text: text.as_deref(), content };
        print(&cancelled, outcome, &people, console)?;
    }
    for draft in drafts.iter().filter(|draft| of_drafts.contains(&draft.id.0)) {
        let discarded = console.unless_interrupted(account.discard_draft(draft.id)).await?;
        discarded.map_err(|error| explain::store(&error, args))?;
        let Draft { id, to, text, .. } = draft;
        let content = show::content(text.as_deref(), &[]);
        let cancelled = Cancelled { timestamp: *id, to: *to, text: text.as_deref(), content };
        print(&cancelled, CancelOutcome::Cancelled, &people, console)?;
    }
    Ok(())
}

async fn cancel(
    account: &Account,
    message: Timestamp,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<CancelOutcome> {
    let cancelled = console.unless_interrupted(account.cancel(message)).await?;
    Ok(cancelled.map_err(|error| explain::open(&error, args))?)
}

/// A message that is cancelled.
struct Cancelled<'a> {
    timestamp: Timestamp,
    to: Conversation,
    text: Option<&'a str>,
    /// As it is printed.
    content: String,
}

fn print(
    message: &Cancelled<'_>,
    outcome: CancelOutcome,
    people: &People,
    console: &Console,
) -> Result<()> {
    let Cancelled { timestamp, to, text, content } = message;
    let is_certain = outcome == CancelOutcome::Cancelled;
    console.report(&json!({
        "event": "chat-cancelled", "to": people.json_in(*to), "group": people::group_json(*to), "timestamp": timestamp.0, "text": text,
        "maybe_sent": !is_certain,
    }))?;
    let (time, to) = (units::time(timestamp.0 / 1000), people.label_in(*to));
    let result = if is_certain {
        "this message is cancelled"
    } else {
        "this message is cancelled, but an earlier attempt may have reached the server"
    };
    console.print(&format!("{time}  to {to}: {result}\n{content}"))
}

fn not_waiting(id: u64, args: &AccountArgs) -> Failure {
    let list = explain::command("outbox", args);
    Failure::new(format!("no message with the id {id} waits: nothing is cancelled"))
        .hint(format!("it may be sent already; {list} lists the messages that wait"))
}
