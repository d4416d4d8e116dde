//! `chat react`, `chat edit`, `chat delete` and `chat timer`: changes of messages and of a conversation.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{
    ChangeRefusal, Client, Conversation, Emoji, Message, MessageRef, QueueError, SentMessage,
};

use super::groups::sending::show_partly_sent;
use super::people::{self, People};
use super::recent::Recent;
use super::send::{self, Recipient};
use super::{explain, mentions, profile, who};
use crate::args::chat::{ClientArgs, DeleteArgs, EditArgs, ReactArgs, TimerArgs};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// A change that the user wants to make.
enum Change {
    Delete { id: String },
    Edit { id: String, text: String },
    React { id: String, emoji: Option<String> },
    Timer(Option<u32>),
}

/// Reacts to a message.
///
/// # Errors
/// There is no such message, or the server does not have the reaction. It may be in the outbox.
pub(super) async fn react(args: ReactArgs, config: &Config, console: &mut Console) -> Result<()> {
    let ReactArgs { who, id, emoji, remove: _, client } = args;
    run(Change::React { id, emoji }, &who, &client, config, console).await
}

/// Edits a message.
///
/// # Errors
/// As for a reaction, or the message cannot be edited.
pub(super) async fn edit(args: EditArgs, config: &Config, console: &mut Console) -> Result<()> {
    let EditArgs { who, id, text, client } = args;
    run(Change::Edit { id, text }, &who, &client, config, console).await
}

/// Deletes a message for all.
///
/// # Errors
/// As for a reaction.
pub(super) async fn delete(args: DeleteArgs, config: &Config, console: &mut Console) -> Result<()> {
    let DeleteArgs { who, id, client } = args;
    run(Change::Delete { id }, &who, &client, config, console).await
}

/// Shows or sets after how long messages disappear.
///
/// # Errors
/// The time is invalid, or the server does not have the change. It may be in the outbox.
pub(super) async fn timer(args: TimerArgs, config: &Config, console: &mut Console) -> Result<()> {
    let TimerArgs { who, time, client } = args;
    if let Some(time) = time {
        return run(Change::Timer(parse(&time)?), &who, &client, config, console).await;
    }
    let opened = profile::client(&client, config, console).await?;
    let done = show_timer(&opened, &who, &client, console).await;
    profile::finish(opened, done).await
}

async fn show_timer(
    client: &Client,
    who: &str,
    args: &ClientArgs,
    console: &mut Console,
) -> Result<()> {
    let with = who::target(who, client, &args.account, console).await?.conversation();
    let people = People::new(client, console).await?;
    let seconds = console.unless_interrupted(client.timer(with)).await?;
    let seconds = seconds.map_err(|error| explain::ended(&error))?;
    console.report(&json!({
        "event": "chat-timer", "who": people.json_in(with), "group": people::group_json(with),
        "seconds": seconds,
    }))?;
    console.print(&format!("{}\n", describe_timer(seconds)))
}

async fn run(
    change: Change,
    who: &str,
    args: &ClientArgs,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let client = profile::client(args, config, console).await?;
    let to = Recipient { who, account: &args.account };
    let done = apply(&client, change, to, console).await;
    profile::finish(client, done).await
}

async fn apply(
    client: &Client,
    change: Change,
    to: Recipient<'_>,
    console: &mut Console,
) -> Result<()> {
    let with = who::target(to.who, client, to.account, console).await?.conversation();
    let events = client.messages();
    let mut recent = Recent::load(client, console).await?;
    let done = if let Change::Timer(seconds) = &change {
        describe_timer(*seconds)
    } else {
        "Sent.".into()
    };
    let mut sent = queue(client, with, change, to, &mut recent, console).await?;
    recent.save(client, console).await?;
    let (to_account, group) = (people::account_json(with), people::group_json(with));
    let timestamp = sent.timestamp().0;
    let value =
        |event| json!({"event": event, "to": to_account, "group": group, "timestamp": timestamp});
    console.report(&value("chat-queued"))?;
    let partly = send::wait(client, with, &mut sent, events, to, console).await?;
    if let Some((group, partly)) = partly {
        return show_partly_sent(client, (group, &partly), console).await;
    }
    console.report(&value("chat-sent"))?;
    console.screen.show(&done);
    Ok(())
}

/// Puts the change into the outbox.
async fn queue(
    client: &Client,
    with: Conversation,
    change: Change,
    to: Recipient<'_>,
    recent: &mut Recent,
    console: &mut Console,
) -> Result<SentMessage> {
    let queued = match change {
        Change::Timer(seconds) => {
            console.unless_interrupted(client.set_timer(with, seconds)).await?
        }
        Change::React { id, emoji } => {
            let emoji = emoji.map(|emoji| emoji.trim().parse::<Emoji>()).transpose();
            let emoji = emoji.map_err(|error| Failure::usage(error.to_string()))?;
            let target = recent.find(with, &id, None)?.message;
            console.unless_interrupted(client.react(with, target, emoji)).await?
        }
        Change::Edit { id, text } => {
            let people = People::new(client, console).await?;
            let target = own_message(recent, with, &id, "edit", &people)?;
            if recent.is_deleted(target) {
                let refused = QueueError::NotAllowed(ChangeRefusal::Deleted);
                return Err(explain::send(&refused, to.account).into());
            }
            let mut message = Message::text(&text);
            message.mentions = mentions::find(&text, people.others());
            let editing = client.edit(with, target.timestamp, message);
            let edited = console.unless_interrupted(editing).await?;
            if edited.is_ok() {
                recent.replace(target, &text);
            }
            edited
        }
        Change::Delete { id } => {
            let people = People::new(client, console).await?;
            let target = own_message(recent, with, &id, "delete", &people)?;
            let deleting = client.delete(with, target.timestamp);
            let deleted = console.unless_interrupted(deleting).await?;
            if deleted.is_ok() {
                recent.delete(target);
            }
            deleted
        }
    };
    queued.map_err(|error| explain::send(&error, to.account).into())
}

/// The message of the user whose id begins with `id`.
///
/// # Errors
/// There is no such message, or somebody else has written it.
fn own_message(
    recent: &Recent,
    with: Conversation,
    id: &str,
    verb: &str,
    people: &People,
) -> Result<MessageRef> {
    match (recent.find(with, id, Some(people.own())), recent.find(with, id, None)) {
        (Ok(found), _) => Ok(found.message),
        (Err(_), Ok(other)) => {
            let author = people.label_of(other.message.author);
            let why =
                format!("that message is from {author}: you can only {verb} your own messages");
            Err(Failure::usage(why).into())
        }
        (Err(error), Err(_)) => Err(error),
    }
}

/// A time as the user types it. `None`: messages stay.
fn parse(time: &str) -> Result<Option<u32>> {
    if time == "off" {
        return Ok(None);
    }
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', DAY), ('w', 7 * DAY)];
    let parsed = units.into_iter().find_map(|(unit, seconds)| {
        let number: u32 = time.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(seconds).filter(|seconds| (1..=MAX_TIME).contains(seconds))
    });
    let shown = printable::line(time);
    let failure = || {
        Failure::usage(format!("'{shown}' is not a time for messages"))
            .hint("write 30s, 5m, 1h, 7d or 4w, at most a year, or off")
    };
    parsed.map(Some).ok_or_else(|| failure().into())
}

/// Describes a timer, for people.
pub(super) fn describe_timer(seconds: Option<u32>) -> String {
    let Some(seconds) = seconds else { return "Messages stay.".to_owned() };
    let units = [(7 * DAY, "week"), (DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let fits = |(length, _): &(u32, &str)| seconds.is_multiple_of(*length);
    let (length, unit) = units.into_iter().find(fits).unwrap_or((1, "second"));
    let count = seconds / length;
    let plural = if count == 1 { "" } else { "s" };
    format!("Messages disappear {count} {unit}{plural} after they were read.")
}

/// Seconds in a day.
const DAY: u32 = 24 * 60 * 60;

/// Longest time, in seconds.
const MAX_TIME: u32 = 366 * DAY;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown_in_the_unit_that_fits() {
        for (text, seconds, shown) in [
            ("30s", 30, "30 seconds"),
            ("90m", 5400, "90 minutes"),
            ("1h", 3600, "1 hour"),
            ("7d", 604_800, "1 week"),
            ("4w", 2_419_200, "4 weeks"),
        ] {
            assert_eq!(parse(text).unwrap(), Some(seconds));
            let expected = format!("Messages disappear {shown} after they were read.");
            assert_eq!(describe_timer(Some(seconds)), expected);
        }
        assert_eq!(parse("off").unwrap(), None);
        for text in ["", "h", "0s", "1", "-1h", "1y", "367d", "5000000000s", "9999999w"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
