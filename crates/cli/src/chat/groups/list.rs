//! `chat group list` and `chat group show`.

use anyhow::Result;
use serde_json::{Value, json};
use wormhole::chat::group::Role;
use wormhole::chat::{GroupInfo, Membership};

use super::notices::join_command;
use super::{Groups, all};
use crate::args::chat::ListArgs;
use crate::chat::people::People;
use crate::console::Console;
use crate::printable;

impl Groups<'_> {
    pub(super) async fn list(&self, args: &ListArgs, console: &mut Console) -> Result<()> {
        let mut groups = all(self.client, console).await?;
        groups.retain(|info| args.all || info.membership != Membership::Outside);
        for info in &groups {
            let state = self.describe_membership(info, &groups);
            console.report(&json_of_group(info))?;
            console.print(&format!("{}  {}{state}\n", info.id, title(info)))?;
        }
        if groups.is_empty() {
            console.screen.show("You are in no group.");
        }
        Ok(())
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

/// Shown instead of the title of a group of which this device has read nothing yet.
pub(in crate::chat) const UNKNOWN_TITLE: &str = "a group whose name is not known yet";
