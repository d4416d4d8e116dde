//! `chat group`: groups of people in different apps.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::timeout;
use wormhole::chat::group::{GroupChange, GroupId, GroupLink, Role};
use wormhole::chat::{
    AccountId, Client, Event, Events, GroupEvent, GroupInfo, Membership, PartlySent, Timestamp,
};

use super::people::People;
use super::{explain, profile, requests, who};
use crate::args::chat::{
    AccountArgs, ClientArgs, GroupArgs, GroupCommand, GroupLinkArgs, LeaveArgs, MemberArgs,
    PeopleArgs, SendToGroupArgs,
};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// Runs a command about groups.
///
/// # Errors
/// The account cannot be opened, there is no such group or person, or the change is not permitted.
pub(super) async fn run(args: GroupArgs, config: &Config, console: &mut Console) -> Result<()> {
    let client = profile::client(options(&args.command), config, console).await?;
    let done = match catch_up(&client, console).await {
        Ok(()) => execute(args.command, &client, console).await,
        Err(error) => Err(error),
    };
    profile::finish(client, done).await
}

const fn options(command: &GroupCommand) -> &ClientArgs {
    match command {
        GroupCommand::Create(args) | GroupCommand::Invite(args) => &args.client,
        GroupCommand::Join(args) | GroupCommand::Show(args) => &args.client,
        GroupCommand::Leave(args) => &args.client,
        GroupCommand::Link(args) => &args.client,
        GroupCommand::List(args) => &args.client,
        GroupCommand::Promote(args) | GroupCommand::Remove(args) => &args.client,
        GroupCommand::Send(args) => &args.client,
    }
}

/// Learns what others have changed meanwhile: a message goes to the members that this device knows.
async fn catch_up(client: &Client, console: &mut Console) -> Result<()> {
    if requests::wait_for_messages(client, console).await? {
        finish(client, console).await?;
    }
    Ok(())
}

async fn execute(command: GroupCommand, client: &Client, console: &mut Console) -> Result<()> {
    // Before anything happens, so that no event is missed.
    let mut groups = Groups { client, events: client.events() };
    match command {
        GroupCommand::Create(args) => groups.create(&args, console).await,
        GroupCommand::Invite(args) => {
            let group = groups.find(&args.group, console).await?;
            groups.invite(group.id, &args, console).await
        }
        GroupCommand::Join(args) => groups.join(&args.group, console).await,
        GroupCommand::Leave(args) => groups.leave(&args, console).await,
        GroupCommand::Link(args) => groups.link(&args, console).await,
        GroupCommand::List(_) => groups.list(console).await,
        GroupCommand::Promote(args) => groups.promote(&args, console).await,
        GroupCommand::Remove(args) => groups.remove(&args, console).await,
        GroupCommand::Send(args) => groups.send(&args, console).await,
        GroupCommand::Show(args) => groups.show(&args.group, console).await,
    }
}

/// The groups of an account, and what happens in them.
struct Groups<'a> {
    client: &'a Client,
    events: Events,
}

impl Groups<'_> {
    async fn create(&mut self, args: &PeopleArgs, console: &mut Console) -> Result<()> {
        let created = console.unless_interrupted(self.client.create_group(&args.group)).await?;
        let created = created.map_err(|error| explain::ended(&error))?;
        let group = created.map_err(|why| Failure::usage(why.to_string()))?;
        self.settle(group, "create", console).await?;
        if !args.who.is_empty() {
            self.invite(group, args, console).await?;
        }
        console.report(&json!({"event": "chat-group-created", "group": group.to_string()}))?;
        console.print(&format!("{group}\n"))
    }

    async fn invite(
        &mut self,
        group: GroupId,
        args: &PeopleArgs,
        console: &mut Console,
    ) -> Result<()> {
        let mut invited = BTreeMap::new();
        for who in &args.who {
            invited.insert(self.person(who, &args.client.account, console).await?, None);
        }
        if invited.is_empty() {
            return Err(Failure::usage("name the people that you want to invite").into());
        }
        self.change(group, GroupChange::Invite(invited), console).await
    }

    async fn join(&mut self, text: &str, console: &mut Console) -> Result<()> {
        let (group, change) = if let Ok(link) = text.parse::<GroupLink>() {
            let joined = console.unless_interrupted(self.client.join_group(link)).await?;
            (joined.map_err(|error| explain::ended(&error))?, "join")
        } else {
            let group = self.find(text, console).await?.id;
            let app = self.client.me().app.clone();
            let accept = GroupChange::Accept { app, access_key: None };
            self.request(group, accept, console).await?;
            (group, "accept")
        };
        self.settle(group, change, console).await?;
        let info = self.info(group, console).await?;
        if info.is_none_or(|info| info.membership != Membership::Member) {
            return Err(not_a_member().into());
        }
        console.report(&json!({"event": "chat-group-joined", "group": group.to_string()}))?;
        console.print(&format!("{group}\n"))
    }

    async fn leave(&mut self, args: &LeaveArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?.id;
        let successor = match &args.successor {
            Some(who) => Some(self.person(who, &args.client.account, console).await?),
            None => None,
        };
        self.change(group, GroupChange::Leave { successor }, console).await
    }

    async fn link(&mut self, args: &GroupLinkArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?.id;
        let link = self.current_link(group, console).await?;
        if args.off {
            return self.change(group, GroupChange::SetLink(None), console).await;
        }
        if args.reset || link.is_none() {
            let password = Client::new_link_password();
            self.change(group, GroupChange::SetLink(Some(password)), console).await?;
        }
        let Some(link) = self.current_link(group, console).await? else {
            return Err(Failure::new("the group has no link").into());
        };
        console.report(&json!({
            "event": "chat-group-link", "group": group.to_string(), "link": link.to_string(),
        }))?;
        console.screen.show("Whoever has this link can read who is in the group, and join:");
        console.print(&format!("{link}\n"))
    }

    async fn list(&self, console: &mut Console) -> Result<()> {
        let groups = all(self.client, console).await?;
        for info in &groups {
            let state = state_of(info);
            console.report(&described(info))?;
            console.print(&format!("{}  {}{state}\n", info.id, title(info)))?;
        }
        if groups.is_empty() {
            console.screen.show("You are in no group.");
        }
        Ok(())
    }

    async fn promote(&mut self, args: &MemberArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?.id;
        let account = self.person(&args.who, &args.client.account, console).await?;
        let change = GroupChange::SetRole { account, role: Role::Admin };
        self.change(group, change, console).await
    }

    async fn remove(&mut self, args: &MemberArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?.id;
        let account = self.person(&args.who, &args.client.account, console).await?;
        let has_link = self.current_link(group, console).await?.is_some();
        let password = has_link.then(Client::new_link_password);
        self.change(group, GroupChange::Remove { account, password }, console).await
    }

    async fn send(&mut self, args: &SendToGroupArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?.id;
        let sent = self.client.send_to_group(group, &args.text);
        let sent = console.unless_interrupted(sent).await?;
        let sent = sent.map_err(|error| explain::ended(&error))?;
        let timestamp = sent.map_err(|why| Failure::new(why.to_string()))?;
        let Some(partly) = self.wait_until_sent(group, timestamp, console).await? else {
            console.report(&json!({
                "event": "chat-sent", "group": group.to_string(), "timestamp": timestamp.0,
            }))?;
            console.screen.show("Sent.");
            return Ok(());
        };
        let people = People::new(self.client, console).await?;
        console.report(&partly_sent(group, &partly))?;
        console.screen.show(&reach(&partly, &people));
        Ok(())
    }

    async fn show(&self, text: &str, console: &mut Console) -> Result<()> {
        let info = self.find(text, console).await?;
        let people = People::new(self.client, console).await?;
        console.report(&described(&info))?;
        let Some(state) = &info.state else { return Ok(()) };
        for (account, member) in &state.members {
            let role = if member.role == Role::Admin { " (administrator)" } else { "" };
            console.print(&format!("{}{role}\n", name(*account, &people)))?;
        }
        for account in state.invited.keys() {
            console.print(&format!("{} (invited)\n", name(*account, &people)))?;
        }
        Ok(())
    }

    /// Makes a change, and waits until the server has it.
    async fn change(
        &mut self,
        group: GroupId,
        change: GroupChange,
        console: &mut Console,
    ) -> Result<()> {
        let what = change.name();
        self.request(group, change, console).await?;
        self.settle(group, what, console).await?;
        console.report(&json!({
            "event": "chat-group-changed", "group": group.to_string(), "change": what,
        }))?;
        console.screen.show("The group is changed.");
        Ok(())
    }

    async fn request(
        &self,
        group: GroupId,
        change: GroupChange,
        console: &mut Console,
    ) -> Result<()> {
        let changed = console.unless_interrupted(self.client.change_group(group, change)).await?;
        let changed = changed.map_err(|error| explain::ended(&error))?;
        Ok(changed.map_err(|why| Failure::new(why.to_string()))?)
    }

    /// Waits until the server has our change with this name, or it has failed.
    async fn settle(
        &mut self,
        group: GroupId,
        change: &'static str,
        console: &mut Console,
    ) -> Result<()> {
        let us = self.client.me().address.account;
        for _ in 0..PATIENCE.as_secs() {
            let event = timeout(STEP, self.events.next());
            match console.unless_interrupted(event).await? {
                Ok(Ok(Event::Group { group: of, event })) if of == group => match event {
                    GroupEvent::Changed(author, made) if author == us && made.name() == change => {
                        return Ok(());
                    }
                    GroupEvent::ChangeFailed(wanted, why) if wanted.name() == change => {
                        return Err(Failure::new(why.to_string()).into());
                    }
                    GroupEvent::Removed => return Err(not_a_member().into()),
                    GroupEvent::Accepted(_)
                    | GroupEvent::ChangeFailed(..)
                    | GroupEvent::Changed(..)
                    | GroupEvent::Invited(_)
                    | GroupEvent::NotSent(..)
                    | GroupEvent::NotSentTo(..)
                    | GroupEvent::PartlySent(_)
                    | GroupEvent::Sent(_) => {}
                },
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(explain::ended(&error).into()),
                // Somebody else may have made the same change.
                Err(_) => {
                    let info = self.info(group, console).await?;
                    let waits =
                        |it: &GroupInfo| it.is_changing || it.membership == Membership::Unread;
                    if !info.as_ref().is_some_and(waits) {
                        return Ok(());
                    }
                }
            }
        }
        let why = "the server was not reached: the next command tries again";
        Err(Failure::new(why).into())
    }

    /// Waits until the server has a message. If some members do not get it now, returns who does.
    async fn wait_until_sent(
        &mut self,
        group: GroupId,
        message: Timestamp,
        console: &mut Console,
    ) -> Result<Option<PartlySent>> {
        let mut partly = None;
        loop {
            match self.event(group, console).await? {
                GroupEvent::Sent(timestamp) if timestamp == message => return Ok(partly),
                GroupEvent::PartlySent(sent) if sent.timestamp == message => {
                    if !sent.waiting.is_empty() {
                        return Ok(Some(sent));
                    }
                    partly = Some(sent);
                }
                GroupEvent::NotSent(timestamp, why) if timestamp == message => {
                    return Err(Failure::new(why.to_string()).into());
                }
                GroupEvent::Accepted(_)
                | GroupEvent::ChangeFailed(..)
                | GroupEvent::Changed(..)
                | GroupEvent::Invited(_)
                | GroupEvent::NotSent(..)
                | GroupEvent::NotSentTo(..)
                | GroupEvent::PartlySent(_)
                | GroupEvent::Removed
                | GroupEvent::Sent(_) => {}
            }
        }
    }

    /// The next event of a group.
    async fn event(&mut self, group: GroupId, console: &mut Console) -> Result<GroupEvent> {
        loop {
            let event = timeout(PATIENCE, self.events.next());
            match console.unless_interrupted(event).await? {
                Ok(Ok(Event::Group { group: of, event })) if of == group => return Ok(event),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(explain::ended(&error).into()),
                Err(_) => {
                    let why = "the server was not reached: the next command tries again";
                    return Err(Failure::new(why).into());
                }
            }
        }
    }

    async fn current_link(
        &self,
        group: GroupId,
        console: &mut Console,
    ) -> Result<Option<GroupLink>> {
        let link = console.unless_interrupted(self.client.group_link(group)).await?;
        Ok(link.map_err(|error| explain::ended(&error))?)
    }

    async fn person(
        &self,
        who: &str,
        args: &AccountArgs,
        console: &mut Console,
    ) -> Result<AccountId> {
        Ok(who::contact(who, self.client, args, console).await?.account)
    }

    async fn info(&self, group: GroupId, console: &mut Console) -> Result<Option<GroupInfo>> {
        let groups = all(self.client, console).await?;
        Ok(groups.into_iter().find(|info| info.id == group))
    }

    /// The group with this id or title.
    async fn find(&self, text: &str, console: &mut Console) -> Result<GroupInfo> {
        let groups = all(self.client, console).await?;
        let is_named = |info: &GroupInfo| {
            info.id.to_string() == text
                || info.state.as_ref().is_some_and(|state| state.title == text)
        };
        let mut named = groups.into_iter().filter(is_named);
        let shown = printable::line(text);
        match (named.next(), named.next()) {
            (Some(info), None) => Ok(info),
            (Some(_), Some(_)) => {
                Err(Failure::usage(format!("several groups are called '{shown}'"))
                    .hint("use the id that `wormhole chat group list` shows")
                    .into())
            }
            (None, _) => Err(Failure::usage(format!("no group is called '{shown}'"))
                .hint("`wormhole chat group list` lists your groups")
                .into()),
        }
    }
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

/// The same for people.
fn reach(sent: &PartlySent, people: &People) -> String {
    let names = |accounts: &[AccountId]| {
        let names = accounts.iter().map(|account| name(*account, people));
        names.collect::<Vec<_>>().join(", ")
    };
    let PartlySent { waiting, unreachable, .. } = sent;
    let all = sent.sent + waiting.len() + unreachable.len();
    let mut text = format!("Sent to {} of {all}", sent.sent);
    if !waiting.is_empty() {
        let (count, who) = (waiting.len(), names(waiting));
        text += &format!(
            ", {count} waiting ({who}): the server has no room for them now, and this program tries again"
        );
    }
    if !unreachable.is_empty() {
        let (count, who) = (unreachable.len(), names(unreachable));
        text += &format!(", {count} not reachable ({who})");
    }
    text + "."
}

/// A message to somebody who is in the group no longer.
pub(super) fn not_a_member() -> Failure {
    Failure::new(
        "you are not a member: you were removed, or the invitation or the link is not valid any more",
    )
}

/// All groups of an account.
///
/// # Errors
/// The client has ended, or a signal came.
pub(super) async fn all(client: &Client, console: &mut Console) -> Result<Vec<GroupInfo>> {
    let groups = console.unless_interrupted(client.groups()).await?;
    Ok(groups.map_err(|error| explain::ended(&error))?)
}

/// Waits until what has arrived about groups is done: reading their logs, and accepting invitations of contacts. Gives up
/// silently, because the next command continues.
///
/// # Errors
/// The client has ended, or a signal came.
pub(super) async fn finish(client: &Client, console: &mut Console) -> Result<()> {
    let mut events = client.events();
    loop {
        let groups = all(client, console).await?;
        let is_busy = |info: &GroupInfo| info.is_changing || info.membership == Membership::Unread;
        if !groups.iter().any(is_busy) {
            return Ok(());
        }
        let event = timeout(SHORT_PATIENCE, events.next());
        if console.unless_interrupted(event).await?.is_err() {
            return Ok(());
        }
    }
}

/// How a group is called.
pub(super) fn title(info: &GroupInfo) -> String {
    let title = info.state.as_ref().map(|state| state.title.as_str());
    title.map_or_else(|| info.id.to_string(), printable::line)
}

const fn state_of(info: &GroupInfo) -> &'static str {
    match info.membership {
        Membership::Invited => " (you are invited: `wormhole chat group join`)",
        Membership::Member => "",
        Membership::Outside => " (you are not a member any more)",
        Membership::Unread => " (not read yet)",
    }
}

fn name(account: AccountId, people: &People) -> String {
    if account == people.own() { "you".to_owned() } else { people.label_of(account) }
}

/// A group, for programs.
fn described(info: &GroupInfo) -> Value {
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

/// How long to wait before looking whether a change still waits.
const STEP: Duration = Duration::from_secs(1);

/// How long the server may take for one step.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long `chat receive` waits for what continues by itself.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);
