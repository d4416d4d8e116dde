//! Describes what has happened in groups: invitations, and changes that others have made.
//!
//! Messages of groups are shown elsewhere. Nothing here is stored: it is shown by the command that reads the change.

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::chat::group::{GroupChange, GroupId, Role};
use wormhole::chat::{
    AccountId, Client, Conversation, GroupEvent, GroupFailure, GroupInfo, Membership,
};

use super::{all, title};
use crate::args::chat::AccountArgs;
use crate::chat::explain;
use crate::chat::people::People;
use crate::console::Console;
use crate::printable;
use crate::shell::quote;

/// A notice about a group, for programs and for people.
pub(in crate::chat) type Notice = (Value, String);

/// Describes the events of groups.
#[derive(Debug, Default)]
pub(in crate::chat) struct Notices {
    /// The group of which it was last shown that we are no longer a member.
    left: Option<GroupId>,
}

impl Notices {
    /// Describes an event, and updates the titles and members in `people`. `None`: there is nothing to show.
    ///
    /// # Errors
    /// The client has ended, or a signal came.
    pub(in crate::chat) async fn describe(
        &mut self,
        group: GroupId,
        event: &GroupEvent,
        people: &mut People,
        client: &Client,
        console: &mut Console,
    ) -> Result<Option<Notice>> {
        let before = match event {
            GroupEvent::Changed(..) | GroupEvent::Joined { .. } | GroupEvent::Removed => {
                let now = People::new(client, console).await?;
                Some(people.replace_with(now))
            }
            GroupEvent::Accepted(_)
            | GroupEvent::ChangeFailed(..)
            | GroupEvent::ChangeMissing { .. }
            | GroupEvent::Invited(_)
            | GroupEvent::NotSent(..)
            | GroupEvent::NotSentTo(..)
            | GroupEvent::PartlySent(_)
            | GroupEvent::Sent(_)
            // Later events of the SDK.
            | _ => None,
        };
        Ok(self.words(group, event, before.as_ref(), people))
    }

    fn words(
        &mut self,
        group: GroupId,
        event: &GroupEvent,
        before: Option<&People>,
        people: &People,
    ) -> Option<Notice> {
        match event {
            GroupEvent::Changed(author, change) => {
                if removes(change, *author, people.own()) {
                    self.left = Some(group);
                }
                let context = ChangeContext { group, before: before.unwrap_or(people), people };
                context.changed(*author, change)
            }
            GroupEvent::ChangeFailed(change, why) => Some(failed(group, change, *why, people)),
            GroupEvent::ChangeMissing { by, is_waiting } => {
                Some(change_missing(group, *by, *is_waiting, people))
            }
            GroupEvent::Joined { invited_by } => Some(joined(group, *invited_by, people)),
            GroupEvent::Removed if self.left == Some(group) => None,
            GroupEvent::Removed => {
                self.left = Some(group);
                let text = format!("You are no longer a member of {}.", people.group(group));
                Some((value(group, None, "removed", &[people.own()], people), text))
            }
            GroupEvent::Accepted(_)
            // `invitations` shows it, whichever command has read it.
            | GroupEvent::Invited(_)
            | GroupEvent::NotSent(..)
            | GroupEvent::NotSentTo(..)
            | GroupEvent::PartlySent(_)
            | GroupEvent::Sent(_)
            // Later events of the SDK.
            | _ => None,
        }
    }
}

/// Prints a notice.
///
/// # Errors
/// Standard output cannot be written.
pub(in crate::chat) fn show(notice: Option<Notice>, console: &Console) -> Result<()> {
    let Some((value, text)) = notice else { return Ok(()) };
    console.report(&value)?;
    console.screen.show(&text);
    Ok(())
}

/// Shows the invitations that wait for the user. Returns whether there are any.
///
/// # Errors
/// The client has ended, or standard output cannot be written.
pub(in crate::chat) async fn invitations(
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<bool> {
    let groups = all(client, console).await?;
    let invited = groups.iter().filter(|info| info.membership == Membership::Invited);
    let invited: Vec<_> = invited.collect();
    if invited.is_empty() {
        return Ok(false);
    }
    let people = People::new(client, console).await?;
    for info in invited {
        show(Some(invitation(info, &groups, &people, args)), console)?;
    }
    Ok(true)
}

fn invitation(
    info: &GroupInfo,
    groups: &[GroupInfo],
    people: &People,
    args: &AccountArgs,
) -> Notice {
    let own = people.own();
    let by = info.state.as_ref().and_then(|state| state.invited.get(&own)).map(|it| it.by);
    let who = by.map_or_else(|| "Somebody".to_owned(), |by| people.label_of(by));
    let join = join_command(info, groups, args);
    let text = format!("{who} invites you to {}: {join}", title(info));
    (value(info.id, by, "invited", &[own], people), text)
}

/// The command that accepts the invitation to a group.
pub(super) fn join_command(info: &GroupInfo, groups: &[GroupInfo], args: &AccountArgs) -> String {
    explain::command(&format!("group join {}", quote(&argument(info, groups))), args)
}

/// The name of a group in a command: its title if no other group has it and it needs no escapes, otherwise its id.
fn argument(info: &GroupInfo, groups: &[GroupInfo]) -> String {
    let title = info.state.as_ref().map_or("", |state| state.title.as_str());
    let is_plain = title.chars().all(|c| c.is_alphanumeric() || " -_.,".contains(c));
    let is_title = |it: &&GroupInfo| {
        it.state.as_ref().is_some_and(|state| state.title.to_lowercase() == title.to_lowercase())
    };
    let is_only = groups.iter().filter(is_title).count() == 1;
    if is_plain && is_only && title.starts_with(char::is_alphanumeric) {
        title.to_owned()
    } else {
        info.id.to_string()
    }
}

/// A group after a change, and before it.
struct ChangeContext<'a> {
    group: GroupId,
    before: &'a People,
    people: &'a People,
}

impl ChangeContext<'_> {
    /// Describes a change. `None` if it has no effect that people see.
    fn changed(&self, author: AccountId, change: &GroupChange) -> Option<Notice> {
        let Self { group, people, .. } = *self;
        let (who, title) = (self.subject(author), people.group(group));
        let is_own = author == people.own();
        let (text, about) = match change {
            GroupChange::Accept { .. } | GroupChange::Join { .. } => {
                (format!("{who} joined {title}."), vec![author])
            }
            GroupChange::Decline => {
                (format!("{who} declined the invitation to {title}."), vec![author])
            }
            GroupChange::Describe { .. } => (self.described(&who), Vec::new()),
            GroupChange::Invite(invited) => {
                let others = invited.keys().filter(|account| **account != people.own());
                let others: Vec<_> = others.copied().collect();
                (format!("{who} invited {} to {title}.", self.names(&others)), others)
            }
            GroupChange::Leave { successor } => {
                let new = successor.map(|new| format!(" {} an administrator.", self.is_now(new)));
                (format!("{who} left {title}.{}", new.unwrap_or_default()), vec![author])
            }
            GroupChange::Remove { account, .. } => {
                (self.removed(*account, &who), vec![*account])
            }
            GroupChange::SetRole { account, role } => {
                let text = match role {
                    Role::Admin => format!("{} an administrator of {title}.", self.is_now(*account)),
                    Role::Member => format!("{} an ordinary member of {title}.", self.is_now(*account)),
                };
                (text, vec![*account])
            }
            GroupChange::SetLink(Some(_)) => {
                (format!("{who} enabled a new link to {title}."), Vec::new())
            }
            GroupChange::SetLink(None) => {
                (format!("{who} disabled the link to {title}."), Vec::new())
            }
            GroupChange::Create { .. }
            | GroupChange::NewEpoch { .. }
            | GroupChange::ReplaceIdentity { .. }
            | GroupChange::SetTimer(_)
            // Later changes of the SDK.
            | _ => return None,
        };
        let joined = matches!(change, GroupChange::Accept { .. } | GroupChange::Join { .. });
        let is_told = is_own && joined;
        let is_empty = matches!(change, GroupChange::Invite(_)) && about.is_empty();
        let value = value(group, Some(author), change.name(), &about, people);
        (!is_told && !is_empty).then_some((value, text))
    }

    /// The beginning of a sentence about somebody.
    fn subject(&self, account: AccountId) -> String {
        if account == self.people.own() {
            "You have".to_owned()
        } else {
            format!("{} has", self.people.label_of(account))
        }
    }

    fn is_now(&self, account: AccountId) -> String {
        if account == self.people.own() {
            "You are now".to_owned()
        } else {
            format!("{} is now", self.people.label_of(account))
        }
    }

    fn described(&self, who: &str) -> String {
        let (old, new) = (self.before.group(self.group), self.people.group(self.group));
        if old == new {
            format!("{who} changed the title or the description of {new}.")
        } else {
            format!("{who} renamed {old} to {new}.")
        }
    }

    fn removed(&self, account: AccountId, who: &str) -> String {
        let (name, title) = (self.people.label_of(account), self.people.group(self.group));
        if self.before.is_invited(self.group, account) {
            format!("{who} withdrawn the invitation of {name} to {title}.")
        } else {
            format!("{who} removed {name} from {title}.")
        }
    }

    fn names(&self, accounts: &[AccountId]) -> String {
        let names = accounts.iter().take(MAX_NAMES).map(|account| self.people.label_of(*account));
        let names = names.collect::<Vec<_>>().join(", ");
        match accounts.len().saturating_sub(MAX_NAMES) {
            0 => names,
            more => format!("{names} and {more} others"),
        }
    }
}

/// Whether a change ends our membership or invitation.
fn removes(change: &GroupChange, author: AccountId, own: AccountId) -> bool {
    match change {
        GroupChange::Remove { account, .. } => *account == own,
        GroupChange::Leave { .. } | GroupChange::Decline => author == own,
        GroupChange::Accept { .. }
        | GroupChange::Create { .. }
        | GroupChange::Describe { .. }
        | GroupChange::Invite(_)
        | GroupChange::Join { .. }
        | GroupChange::NewEpoch { .. }
        | GroupChange::ReplaceIdentity { .. }
        | GroupChange::SetLink(_)
        | GroupChange::SetRole { .. }
        | GroupChange::SetTimer(_)
        // Later changes of the SDK.
        | _ => false,
    }
}

fn joined(group: GroupId, invited_by: Option<AccountId>, people: &People) -> Notice {
    let title = people.group(group);
    let text = match invited_by {
        Some(by) => format!("{} has added you to {title}.", people.label_of(by)),
        None => format!("You have joined {title}."),
    };
    (value(group, invited_by, "added", &[people.own()], people), text)
}

/// A change of ours, which an earlier command has requested, is not possible any more.
fn failed(group: GroupId, change: &GroupChange, why: GroupFailure, people: &People) -> Notice {
    let why = printable::line(&why.to_string());
    let value = json!({
        "event": "chat-group-change-failed", "group": group.to_string(), "change": change.name(),
        "reason": why,
    });
    (value, format!("Your change of {} was not made: {why}", people.group(group)))
}

/// Describes a change that a member has announced and the server does not show.
fn change_missing(group: GroupId, by: AccountId, is_waiting: bool, people: &People) -> Notice {
    let value = json!({
        "event": "chat-group-change-missing", "group": group.to_string(), "by": people.json_of(by),
        "waiting": is_waiting,
    });
    let (title, name) = (people.label_in(Conversation::Group(group)), people.label_of(by));
    let consequence = if is_waiting {
        "Your messages to the group wait until the server shows it, because otherwise a removed person could read them."
    } else {
        "Your messages go to the members that you know. Ask the others whether somebody was removed."
    };
    let who = if by == people.own() { "another device of yours" } else { &name };
    let text = format!(
        "{title} was changed, according to {who}, but the server does not show the change: it withholds the change, other changes \
         have displaced it, or the announcement is wrong. {consequence}"
    );
    (value, text)
}

/// An event of a group, for programs.
fn value(
    group: GroupId,
    by: Option<AccountId>,
    change: &str,
    about: &[AccountId],
    people: &People,
) -> Value {
    json!({
        "event": "chat-group-event", "group": group.to_string(), "title": people.group_title(group),
        "change": change, "by": by.map(|by| people.json_of(by)),
        "who": about.iter().map(|account| people.json_of(*account)).collect::<Vec<_>>(),
    })
}

/// Maximum number of people that are named in one line.
const MAX_NAMES: usize = 10;
