//! `chat group list` and `chat group show`.

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::chat::group::Role;
use wormhole::chat::{DeviceId, GroupInfo, Membership};

use super::notices::join_command;
use super::{Groups, all};
use crate::args::chat::ListArgs;
use crate::chat::people::People;
use crate::chat::{explain, who};
use crate::console::Console;
use crate::printable;

impl Groups<'_> {
    pub(super) async fn list(&self, args: &ListArgs, console: &mut Console) -> Result<()> {
        let mut groups = all(self.client, console).await?;
        groups.retain(|info| args.all || info.membership != Membership::Outside);
        let people = People::new(self.client, console).await?;
        for info in &groups {
            let members = members(info, &groups, &people);
            let state = self.describe_membership(info, &groups);
            console.report(&json_of_group(info))?;
            console.print(&format!("{}  {}{members}{state}\n", info.id, title(info)))?;
        }
        if groups.is_empty() {
            console.screen.show(&self.no_group());
        }
        Ok(())
    }

    /// A device that was just linked has not received the keys of the groups yet.
    fn no_group(&self) -> String {
        if self.client.me().address.device == DeviceId::PRIMARY {
            return "You are in no group.".to_owned();
        }
        let receive = explain::command("receive", self.account);
        format!(
            "This device knows no group of yours. After it was linked, groups come with the next {receive}."
        )
    }

    fn describe_membership(&self, info: &GroupInfo, groups: &[GroupInfo]) -> String {
        match info.membership {
            Membership::Invited => {
                format!(" (you are invited: {})", join_command(info, groups, self.account))
            }
            Membership::Member => String::new(),
            Membership::Outside => " (you are no longer a member)".to_owned(),
            Membership::Unread | _ => " (not read yet)".to_owned(),
        }
    }

    pub(super) async fn show(&self, text: &str, console: &mut Console) -> Result<()> {
        let info = self.find_info(text, console).await?;
        let people = People::new(self.client, console).await?;
        console.report(&json_of_group(&info))?;
        let Some(state) = &info.state else { return Ok(()) };
        if info.membership == Membership::Outside {
            console.screen.show("You are not a member any more. These people were in the group when you last read it:");
        }
        for (account, member) in &state.members {
            let role = if member.role == Role::Admin { " (administrator)" } else { "" };
            console.print(&format!("{}{role}\n", people.label_of(*account)))?;
        }
        for (account, invitation) in &state.invited {
            let (invited, by) = (people.label_of(*account), people.label_of(invitation.by));
            console.print(&format!("{invited} (invited by {by})\n"))?;
        }
        Ok(())
    }
}

/// How many members a group has. If other groups have the same title, also who some of them are.
fn members(info: &GroupInfo, groups: &[GroupInfo], people: &People) -> String {
    let Some(state) = info.state.as_ref().filter(|_| info.membership != Membership::Outside) else {
        return String::new();
    };
    let count = count(state.members.len());
    let namesakes = groups.iter().filter(|other| who::has_same_title(other, &state.title)).count();
    if namesakes < 2 {
        return format!(" ({count})");
    }
    let names = state.members.keys().take(MAX_NAMES).map(|account| people.label_of(*account));
    let names = names.collect::<Vec<_>>().join(", ");
    let more = if state.members.len() > MAX_NAMES { ", ..." } else { "" };
    format!(" ({count}: {names}{more})")
}

/// A number of members, in words.
pub(in crate::chat) fn count(members: usize) -> String {
    if members == 1 { "1 member".to_owned() } else { format!("{members} members") }
}

/// The title of a group, for people.
pub(in crate::chat) fn title(info: &GroupInfo) -> String {
    let title = info.state.as_ref().map(|state| state.title.as_str());
    title.map_or_else(|| UNKNOWN_TITLE.to_owned(), printable::line)
}

/// A group, for programs.
fn json_of_group(info: &GroupInfo) -> Value {
    let state = info.state.as_ref();
    let members = state.into_iter().flat_map(|state| &state.members).map(|(account, member)| {
        json!({"account": account.to_string(), "admin": member.role == Role::Admin})
    });
    let invited = state.into_iter().flat_map(|state| state.invited.keys());
    json!({
        "event": "chat-group", "group": info.id.to_string(),
        "title": state.map(|state| &state.title), "members": members.collect::<Vec<_>>(),
        "invited": invited.map(ToString::to_string).collect::<Vec<_>>(),
        "member": info.membership == Membership::Member,
    })
}

/// Maximum number of members that are named to distinguish groups with the same title.
const MAX_NAMES: usize = 5;

/// Shown instead of the title of a group of which this device has read nothing yet.
pub(in crate::chat) const UNKNOWN_TITLE: &str = "a group whose name is not known yet";
