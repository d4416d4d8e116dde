//! Reports which members of a group get a message of `chat send`.

use std::future;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::{Instant, interval};
use wormhole::chat::group::GroupId;
use wormhole::chat::{
    AccountId, Client, Connection, Conversation, GroupDelay, Membership, PartlySent,
};

use super::PATIENCE;
use crate::chat::people::People;
use crate::console::Console;
use crate::failure::Failure;

/// Returns why a message to a group waits, if that does not pass soon while the server can be reached. Otherwise it never returns.
pub(in crate::chat) async fn until_delayed(client: &Client, with: Conversation) -> GroupDelay {
    let Conversation::Group(group) = with else { return future::pending().await };
    let mut interval = interval(CHECK);
    let mut since: Option<(GroupDelay, Instant)> = None;
    loop {
        interval.tick().await;
        let Ok(Some(info)) = client.group(group).info().await else {
            return future::pending().await;
        };
        let is_member = info.membership == Membership::Member;
        let is_waiting = is_member && !info.is_changing && is_up_to_date(client);
        let Some(why) = info.delay.filter(|_| is_waiting) else {
            since = None;
            continue;
        };
        let start = match since {
            Some((before, start)) if before == why => start,
            Some(_) | None => Instant::now(),
        };
        since = Some((why, start));
        if start.elapsed() >= patience(why) {
            return why;
        }
    }
}

/// Whether everything has arrived that waited at the server, such as keys of groups.
fn is_up_to_date(client: &Client) -> bool {
    client.connection() == Connection::UpToDate
}

/// How long messages wait for this reason before the user learns it.
const fn patience(why: GroupDelay) -> Duration {
    match why {
        GroupDelay::NobodyHasJoined => Duration::ZERO,
        GroupDelay::ChangeMissing | GroupDelay::NoKeys => Duration::from_secs(2),
        // The log is read again and again.
        GroupDelay::Unread => PATIENCE,
        // Later reasons of the SDK.
        _ => PATIENCE,
    }
}

/// Why a message to a group waits, for people.
pub(in crate::chat) fn delayed_by(why: GroupDelay) -> Failure {
    match why {
        GroupDelay::NobodyHasJoined => {
            Failure::new("nobody has joined the group yet, so the message stays in the outbox")
                .hint("it is sent with your next command after somebody has joined: people who join later could not read it")
        }
        GroupDelay::ChangeMissing => {
            Failure::new("the server does not show a change of the group, so the message stays in the outbox")
                .hint("somebody may have been removed and must not get it. It is sent with your next command after the server has shown the change; if that does not help, ask an administrator of the group")
        }
        GroupDelay::NoKeys => {
            Failure::new("this device does not have the new keys of the group yet, so the message stays in the outbox")
                .hint("it is sent with your next command after the keys have arrived. The program of the administrator who has replaced them sends them: ask this person to run `wormhole chat receive`")
        }
        GroupDelay::Unread => {
            Failure::new("the changes of the group could not be read, so the message stays in the outbox")
                .hint("it is sent with your next command after that: somebody may have been removed and must not get it")
        }
        // Later reasons of the SDK.
        _ => Failure::new("the message cannot be sent to the group now, and stays in the outbox"),
    }
}

/// Shows which members do not get a message now.
///
/// # Errors
/// The client has ended, or a signal came.
pub(in crate::chat) async fn show_partly_sent(
    client: &Client,
    (group, sent): (GroupId, &PartlySent),
    console: &mut Console,
) -> Result<()> {
    let people = People::new(client, console).await?;
    console.report(&partly_sent(group, sent))?;
    console.screen.show(&describe(sent, &people));
    Ok(())
}

/// A message that some members do not get now, for programs.
fn partly_sent(group: GroupId, sent: &PartlySent) -> Value {
    let names = |accounts: &[AccountId]| accounts.iter().map(ToString::to_string).collect();
    let [waiting, unreachable]: [Vec<String>; 2] = [names(&sent.waiting), names(&sent.unreachable)];
    json!({
        "event": "chat-partly-sent", "group": group.to_string(), "timestamp": sent.timestamp.0,
        "sent": sent.sent, "waiting": waiting, "unreachable": unreachable,
    })
}

/// Describes such a message for people.
fn describe(sent: &PartlySent, people: &People) -> String {
    let PartlySent { waiting, unreachable, .. } = sent;
    let all = sent.sent + waiting.len() + unreachable.len();
    let mut text = format!("Sent to {} of {all}", sent.sent);
    if !waiting.is_empty() {
        text += &format!(
            ", {} waiting ({}): the server has no room for them now, and this program tries again",
            waiting.len(),
            names(waiting, people)
        );
    }
    if !unreachable.is_empty() {
        text += &format!(
            ", {} not reachable ({}): they have no device, or a safety number that you have not accepted",
            unreachable.len(),
            names(unreachable, people)
        );
    }
    text + "."
}

/// The names of some members, and the number of the others.
fn names(accounts: &[AccountId], people: &People) -> String {
    let named = accounts.iter().take(MAX_NAMES).map(|account| people.label_of(*account));
    let names = named.collect::<Vec<_>>().join(", ");
    match accounts.len().saturating_sub(MAX_NAMES) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

/// Maximum number of members that are shown by name.
const MAX_NAMES: usize = 5;

/// How often to look whether messages to a group wait.
const CHECK: Duration = Duration::from_millis(250);
