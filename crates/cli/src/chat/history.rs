//! `chat history`: shows the messages that are kept on this computer, and says which ones are kept.

use std::io::{self, IsTerminal as _};

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::chat::{
    Account, AccountId, AccountState, Contact, Conversation, Destination, GroupInfo, HistoryLimits,
    HistoryMessage, HistoryMode, HistoryState, Network, OpenError, Search,
};

use super::people::{self, People};
use super::{explain, profile, recent, show, who};
use crate::args::chat::{AccountArgs, HistoryArgs, Keep};
use crate::ask::Ask as _;
use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::{printable, units};

/// Shows messages, or changes what is kept.
///
/// # Errors
/// The account cannot be opened, or there is no such person.
pub(super) async fn run(args: HistoryArgs, console: &mut Console) -> Result<()> {
    let account_args = &args.account;
    let store = profile::open(account_args, console).await?;
    let account = Account::new(store, Network::default());
    if let Some(keep) = args.keep {
        if keep == Keep::Off && !args.yes && !may_delete_all(&account, console).await? {
            return Err(Failure::new("nothing has changed").into());
        }
        return set_mode(&account, keep, account_args, console).await;
    }
    let people = people(&account, account_args, console).await?;
    let groups = console.unless_interrupted(account.groups()).await?;
    let groups = groups.map_err(|error| explain::open(&error, account_args))?;
    let people = people.with_groups(&groups);
    let conversation = match args.who.as_deref() {
        Some(who) => Some(conversation(who, groups, &people, account_args)?),
        None => None,
    };
    match conversation {
        Some(conversation) if args.forget => {
            forget(&account, conversation, &people, account_args, console).await
        }
        _ => list(&account, conversation, &args, &people, console).await,
    }
}

async fn list(
    account: &Account,
    conversation: Option<Conversation>,
    args: &HistoryArgs,
    people: &People,
    console: &mut Console,
) -> Result<()> {
    let account_args = &args.account;
    let mut messages = match &args.search {
        Some(text) => {
            let results = account.search(text, conversation);
            console.unless_interrupted(found(results, args.limit)).await?
        }
        None => {
            let page = account.history(conversation, None, args.limit);
            console.unless_interrupted(page).await?.map_err(Into::into)
        }
    }
    .map_err(|error| explain::ended(&error))?;
    messages.reverse();
    for message in &messages {
        let (value, text) = describe(message, people);
        console.report(&value)?;
        console.print(&text)?;
    }
    if messages.is_empty() {
        let mode = console.unless_interrupted(account.history_mode()).await?;
        console.screen.show(&nothing(mode, args, account_args));
    }
    Ok(())
}

/// The first results of a search.
async fn found(
    mut results: Search,
    limit: usize,
) -> Result<Vec<HistoryMessage>, wormhole::chat::Ended> {
    let mut messages = Vec::new();
    while messages.len() < limit
        && let Some(message) = results.next().await?
    {
        messages.push(message);
    }
    Ok(messages)
}

/// The conversation that `who` means, without asking the server.
fn conversation(
    who: &str,
    groups: Vec<GroupInfo>,
    people: &People,
    args: &AccountArgs,
) -> Result<Conversation, Failure> {
    match who::group(who, groups, people, args)? {
        Some(group) => Ok(Conversation::Group(group.id)),
        None => find(who, people, args).map(Conversation::Account),
    }
}

/// Why nothing is shown.
fn nothing(mode: HistoryMode, args: &HistoryArgs, account: &AccountArgs) -> String {
    if mode == HistoryMode::Off {
        let keep = explain::command("history --keep all", account);
        return format!("No messages are kept on this computer. To keep them from now on: {keep}");
    }
    match args.search {
        Some(_) => "No message has these words.".to_owned(),
        None => "There are no messages yet.".to_owned(),
    }
}

/// Whether the user wants to delete the whole history.
///
/// # Errors
/// There are messages, and nobody can be asked.
async fn may_delete_all(account: &Account, console: &mut Console) -> Result<bool> {
    let conversations = account.conversations().await;
    let messages = match conversations.iter().map(|it| it.messages).sum() {
        0_u64 => return Ok(true),
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    };
    if !io::stdin().is_terminal() {
        let why = format!("this deletes {messages} from this computer");
        return Err(Failure::usage(why).hint("add --yes if you want that").into());
    }
    let prompt = format!("Delete {messages} from this computer? (y/N): ");
    let question = Question { prompt, about: "delete-history", answers: &["y", "n"] };
    Ok(console.ask_yes_or_no(&question, false).await?.unwrap_or(false))
}

async fn set_mode(
    account: &Account,
    keep: Keep,
    args: &AccountArgs,
    console: &Console,
) -> Result<()> {
    let mode = mode(keep);
    // Not interrupted: the user must know whether the messages are deleted.
    if mode == HistoryMode::Off {
        let forgotten = recent::forget_texts(account, None).await;
        forgotten.map_err(|error| explain::store(&error, args))?;
    }
    let changed = account.set_history_mode(mode).await;
    changed.map_err(|error| explain::store(&error, args))?;
    console.report(&json!({"event": "chat-history-kept", "keep": mode_name(mode)}))?;
    console.screen.show(&format!("Kept on this computer: {}.", kept(mode)));
    Ok(())
}

/// The mode of the SDK for this choice.
pub(super) fn mode(keep: Keep) -> HistoryMode {
    match keep {
        Keep::All => HistoryMode::ALL,
        Keep::Days(days) => HistoryMode::days(days),
        Keep::Off => HistoryMode::Off,
    }
}

/// The name of a mode in an option.
pub(super) fn mode_name(mode: HistoryMode) -> String {
    match days(mode) {
        _ if mode == HistoryMode::Off => "off".to_owned(),
        Some(days) => format!("{days}d"),
        None => "all".to_owned(),
    }
}

/// Describes the messages that are kept, for people.
pub(super) fn kept(mode: HistoryMode) -> String {
    match days(mode) {
        _ if mode == HistoryMode::Off => "no messages".to_owned(),
        Some(1) => "the messages of the last day".to_owned(),
        Some(days) => format!("the messages of the last {days} days"),
        None => "all messages".to_owned(),
    }
}

fn days(mode: HistoryMode) -> Option<u64> {
    let HistoryMode::On(HistoryLimits { max_age, .. }) = mode else { return None };
    max_age.map(|age| age.as_secs() / (24 * 60 * 60))
}

async fn forget(
    account: &Account,
    conversation: Conversation,
    people: &People,
    args: &AccountArgs,
    console: &Console,
) -> Result<()> {
    let summaries = account.conversations().await;
    let summary = summaries.iter().find(|summary| summary.conversation == conversation);
    let count = summary.map_or(0, |summary| summary.messages);
    // Not interrupted: the user must know whether the messages are deleted.
    let forgotten = recent::forget_texts(account, Some(conversation)).await;
    forgotten.map_err(|error| explain::store(&error, args))?;
    let forgotten = account.forget_conversation(conversation).await;
    forgotten.map_err(|error| explain::store(&error, args))?;
    let label = people.label_in(conversation);
    console.report(&json!({
        "event": "chat-history-forgotten", "who": people.json_in(conversation),
        "group": people::group_json(conversation), "messages": count,
    }))?;
    let messages = if count == 1 { "1 message".to_owned() } else { format!("{count} messages") };
    console.screen.show(&format!("Deleted {messages} with {label} from this computer."));
    Ok(())
}

/// A message, for programs and for people.
fn describe(message: &HistoryMessage, people: &People) -> (Value, String) {
    let (with, label) = (message.conversation, people.label_in(message.conversation));
    let author = if message.is_ours { None } else { Some(people.json_of(message.author)) };
    let (files, file_lines) = show::files(&message.files);
    let earlier = message.edits.iter();
    let reactions = message.reactions.iter();
    let value = json!({
        "event": "chat-history-message", "id": message.id.0, "with": people.json_in(with),
        "group": people::group_json(with), "from": author,
        "timestamp": message.timestamp.0, "text": message.text, "files": files,
        "state": state(message.state), "deleted": message.is_deleted,
        "expires": message.expires.map(|expires| expires.0),
        "edits": earlier.map(|it| json!({"timestamp": it.timestamp.0, "text": it.text}))
            .collect::<Vec<_>>(),
        "reactions": reactions.map(|it| json!({
            "from": people.json_of(it.author), "emoji": it.emoji.as_str(),
        })).collect::<Vec<_>>(),
        "recipients": message.recipients.iter().map(|it| json!({
            "account": it.account.to_string(), "state": state(it.state),
        })).collect::<Vec<_>>(),
        "identity_changed": message.identity_changed,
    });
    let who = match (with, message.is_ours) {
        (Conversation::Group(_), true) => format!("you in {label}"),
        (Conversation::Group(_), false) => {
            format!("{} in {label}", people.label_of(message.author))
        }
        (_, true) => format!("you to {label}"),
        (_, false) => label,
    };
    let time = units::time(message.timestamp.0 / 1000);
    let text = show::safe(message.text.as_deref().unwrap_or_default());
    let text = if text.is_empty() { text } else { format!(" {text}") };
    let remarks = remarks(message);
    let reactions = reaction_line(message, people);
    (value, format!("{time}  {who}:{text}{remarks}\n{file_lines}{reactions}"))
}

/// Describes the special state of a message.
fn remarks(message: &HistoryMessage) -> String {
    let state = match message.state {
        HistoryState::Waiting => Some("waits to be sent"),
        HistoryState::Failed => Some("not sent"),
        HistoryState::MaybeSent => Some("cancelled, perhaps sent"),
        HistoryState::Unread => Some("new"),
        HistoryState::Delivered | HistoryState::OnServer | HistoryState::Read => None,
        // Later states of the SDK.
        _ => None,
    };
    let mut remarks: Vec<_> = state.into_iter().map(str::to_owned).collect();
    remarks
        .extend(message.identity_changed.then(|| "written with another identity key".to_owned()));
    remarks.extend(message.is_deleted.then(|| "deleted by the author".to_owned()));
    remarks.extend((!message.edits.is_empty()).then(|| "edited".to_owned()));
    remarks.extend(readers(message));
    if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) }
}

/// How many members of a group have got or read a message of ours.
fn readers(message: &HistoryMessage) -> Option<String> {
    let all = message.recipients.len();
    let count = |least| message.recipients.iter().filter(|it| it.state >= least).count();
    let (read, delivered) = (count(HistoryState::Read), count(HistoryState::Delivered));
    match (read, delivered) {
        (0, 0) => None,
        (0, delivered) => Some(format!("delivered to {delivered} of {all}")),
        (read, _) => Some(format!("read by {read} of {all}")),
    }
}

/// Describes the reactions and their authors.
fn reaction_line(message: &HistoryMessage, people: &People) -> String {
    let shown = message.reactions.iter().take(MAX_REACTIONS).map(|reaction| {
        format!("{} {}", printable::line(reaction.emoji.as_str()), people.label_of(reaction.author))
    });
    let mut line = shown.collect::<Vec<_>>().join(", ");
    if line.is_empty() {
        return line;
    }
    let more = message.reactions.len().saturating_sub(MAX_REACTIONS);
    if more > 0 {
        line += &format!(" and {more} more");
    }
    format!("    {line}\n")
}

const fn state(state: HistoryState) -> &'static str {
    match state {
        HistoryState::Waiting => "waiting",
        HistoryState::Failed => "failed",
        HistoryState::MaybeSent => "maybe-sent",
        HistoryState::OnServer => "on-server",
        HistoryState::Delivered => "delivered",
        HistoryState::Unread => "unread",
        HistoryState::Read => "read",
        // Later states of the SDK.
        _ => "unknown",
    }
}

/// The contacts, without a connection.
pub(super) async fn people(
    account: &Account,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<People> {
    let explain = |error| explain::store(&error, args);
    let contacts = console.unless_interrupted(account.contacts()).await?.map_err(explain)?;
    match console.unless_interrupted(account.state()).await?.map_err(explain)? {
        AccountState::Registered(me) => Ok(People::from_contacts(&me, contacts)),
        AccountState::New | AccountState::Pending(_) => {
            Err(explain::open(&OpenError::NotRegistered, args).into())
        }
        // Later states of the SDK.
        _ => Err(Failure::new("the account is not ready").into()),
    }
}

/// The account that `who` means, without asking the server.
///
/// # Errors
/// There is no such contact, or there are several.
fn find(who: &str, people: &People, args: &AccountArgs) -> Result<AccountId, Failure> {
    let number = who::without_separators(who).parse::<Destination>().ok();
    if let Some(Destination::Account(account)) = number {
        return Ok(account);
    }
    let mut meant: Box<dyn Iterator<Item = &Contact>> = match &number {
        Some(number) => Box::new(people.others().filter(|it| people::is_bound_to(it, number))),
        None => Box::new(who::named(who, people.others())),
    };
    match (meant.next(), meant.next()) {
        (Some(contact), None) => Ok(contact.account),
        (found, _) => {
            let shown = printable::line(who);
            let contacts = explain::command("contacts", args);
            if found.is_some() {
                return Err(Failure::usage(format!("several contacts are called '{shown}'"))
                    .hint(format!("use the account id: {contacts} lists them")));
            }
            if let Some(account) = who::with_short_id(who, people, args)? {
                return Ok(account);
            }
            let groups = explain::command("group list", args);
            let list = format!("{contacts} lists your contacts, and {groups} your groups");
            Err(Failure::usage(format!("no contact or group is called '{shown}'")).hint(list))
        }
    }
}

/// Maximum number of reactions to a message that are shown.
const MAX_REACTIONS: usize = 16;
