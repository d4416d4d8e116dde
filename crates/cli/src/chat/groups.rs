//! `chat group`: groups of people in different apps.

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::time::timeout;
use wormhole::chat::group::{GroupId, GroupLink, Role};
use wormhole::chat::{
    AccountId, Client, Conversation, DeliveryError, Ended, Event, Events, Group, GroupError,
    GroupEvent, GroupInfo, Membership, Message, PartlySent, PendingChange, SentMessage,
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
            groups.invite(&group, &args, console).await
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
    async fn create(&self, args: &PeopleArgs, console: &mut Console) -> Result<()> {
        let created = self.request(self.client.create_group(&args.group), console).await?;
        let group = self.client.group(created.group());
        wait(created, console).await?;
        if !args.who.is_empty() {
            self.invite(&group, args, console).await?;
        }
        let id = group.id();
        console.report(&json!({"event": "chat-group-created", "group": id.to_string()}))?;
        console.print(&format!("{id}\n"))
    }

    async fn invite(&self, group: &Group, args: &PeopleArgs, console: &mut Console) -> Result<()> {
        let mut invited = Vec::new();
        for who in &args.who {
            invited.push(self.person(who, &args.client.account, console).await?);
        }
        if invited.is_empty() {
            return Err(Failure::usage("name the people that you want to invite").into());
        }
        self.change(group, "invite", group.invite(invited), console).await
    }

    async fn join(&self, text: &str, console: &mut Console) -> Result<()> {
        let joining = if let Ok(link) = text.parse::<GroupLink>() {
            self.request(self.client.join_group(link), console).await?
        } else {
            let group = self.find(text, console).await?;
            self.request(group.accept_invitation(), console).await?
        };
        let group = joining.group();
        wait(joining, console).await?;
        console.report(&json!({"event": "chat-group-joined", "group": group.to_string()}))?;
        console.print(&format!("{group}\n"))
    }

    async fn leave(&self, args: &LeaveArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?;
        let successor = match &args.successor {
            Some(who) => Some(self.person(who, &args.client.account, console).await?),
            None => None,
        };
        self.change(&group, "leave", group.leave(successor), console).await
    }

    async fn link(&self, args: &GroupLinkArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?;
        if args.off {
            return self.change(&group, "set link", group.disable_link(), console).await;
        }
        if args.reset {
            self.change(&group, "set link", group.reset_link(), console).await?;
        } else if current_link(&group, console).await?.is_none() {
            self.change(&group, "set link", group.enable_link(), console).await?;
        }
        let Some(link) = current_link(&group, console).await? else {
            return Err(Failure::new("the group has no link").into());
        };
        console.report(&json!({
            "event": "chat-group-link", "group": group.id().to_string(), "link": link.to_string(),
        }))?;
        console.screen.show("Anybody with this link can see the members of the group, and join:");
        console.print(&format!("{link}\n"))
    }

    async fn list(&self, console: &mut Console) -> Result<()> {
        let groups = all(self.client, console).await?;
        for info in &groups {
            let state = state_of(info);
            console.report(&json_of_group(info))?;
            console.print(&format!("{}  {}{state}\n", info.id, title(info)))?;
        }
        if groups.is_empty() {
            console.screen.show("You are in no group.");
        }
        Ok(())
    }

    async fn promote(&self, args: &MemberArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?;
        let account = self.person(&args.who, &args.client.account, console).await?;
        self.change(&group, "set role", group.set_role(account, Role::Admin), console).await
    }

    async fn remove(&self, args: &MemberArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?;
        let account = self.person(&args.who, &args.client.account, console).await?;
        self.change(&group, "remove", group.remove(account), console).await
    }

    async fn send(&mut self, args: &SendToGroupArgs, console: &mut Console) -> Result<()> {
        let group = self.find(&args.group, console).await?.id();
        let sent = self.client.send(group, Message::text(&args.text));
        let sent = console.unless_interrupted(sent).await?;
        let mut sent = sent.map_err(|error| explain::send(&error, &args.client.account))?;
        let Some(partly) = self.wait_until_sent(group, &mut sent, console).await? else {
            console.report(&json!({
                "event": "chat-sent", "group": group.to_string(), "timestamp": sent.timestamp().0,
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
        let info = self.find_info(text, console).await?;
        let people = People::new(self.client, console).await?;
        console.report(&json_of_group(&info))?;
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
        &self,
        group: &Group,
        name: &str,
        change: impl Future<Output = Result<PendingChange, GroupError>>,
        console: &mut Console,
    ) -> Result<()> {
        let pending = self.request(change, console).await?;
        wait(pending, console).await?;
        console.report(&json!({
            "event": "chat-group-changed", "group": group.id().to_string(), "change": name,
        }))?;
        console.screen.show("The group is changed.");
        Ok(())
    }

    async fn request(
        &self,
        change: impl Future<Output = Result<PendingChange, GroupError>>,
        console: &mut Console,
    ) -> Result<PendingChange> {
        let requested = console.unless_interrupted(change).await?;
        Ok(requested.map_err(|error| explain::group(&error))?)
    }

    /// Waits until the server has a message. Returns which members do not get it now, if there are any.
    async fn wait_until_sent(
        &mut self,
        group: GroupId,
        sent: &mut SentMessage,
        console: &mut Console,
    ) -> Result<Option<PartlySent>> {
        let message = sent.timestamp();
        let mut partly = None;
        loop {
            let next = timeout(PATIENCE, next(sent, &mut self.events));
            match console.unless_interrupted(next).await? {
                Ok(Next::OnServer(result)) => {
                    result.map_err(|why| Failure::new(why.to_string()))?;
                    return Ok(partly);
                }
                Ok(Next::Event(Ok(Event::Group {
                    group: of,
                    event: GroupEvent::PartlySent(sent),
                }))) if of == group && sent.timestamp == message => {
                    if !sent.waiting.is_empty() {
                        return Ok(Some(sent));
                    }
                    partly = Some(sent);
                }
                Ok(Next::Event(Ok(_))) => {}
                Ok(Next::Event(Err(error))) => return Err(explain::ended(&error).into()),
                Err(_) => return Err(not_confirmed("message").into()),
            }
        }
    }

    async fn person(
        &self,
        who: &str,
        args: &AccountArgs,
        console: &mut Console,
    ) -> Result<AccountId> {
        Ok(who::contact(who, self.client, args, console).await?.account)
    }

    /// The group with this id or title.
    async fn find(&self, text: &str, console: &mut Console) -> Result<Group> {
        Ok(self.client.group(self.find_info(text, console).await?.id))
    }

    async fn find_info(&self, text: &str, console: &mut Console) -> Result<GroupInfo> {
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

/// An event while a message is sent.
enum Next {
    Event(Result<Event, Ended>),
    OnServer(Result<(), DeliveryError>),
}

/// The next event. Those that came before the server had the message come first.
async fn next(sent: &mut SentMessage, events: &mut Events) -> Next {
    tokio::select! {
        biased;
        event = events.next() => Next::Event(event),
        result = sent.on_server() => Next::OnServer(result),
    }
}

/// Waits until the server has a change.
async fn wait(mut change: PendingChange, console: &mut Console) -> Result<()> {
    match console.unless_interrupted(timeout(PATIENCE, change.on_server())).await? {
        Ok(outcome) => Ok(outcome.map_err(|error| explain::group(&error))?),
        Err(_) => Err(not_confirmed("change").into()),
    }
}

fn not_confirmed(what: &str) -> Failure {
    let seconds = PATIENCE.as_secs();
    Failure::new(format!("the server has not confirmed the {what} after {seconds} seconds"))
        .hint(format!("the {what} is stored: `wormhole chat receive` continues"))
}

async fn current_link(group: &Group, console: &mut Console) -> Result<Option<GroupLink>> {
    let link = console.unless_interrupted(group.invite_link()).await?;
    Ok(link.map_err(|error| explain::ended(&error))?)
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

/// The account is no longer a member of the group.
pub(super) fn not_a_member() -> Failure {
    explain::group(&GroupError::NotMember)
}

/// All groups of an account.
///
/// # Errors
/// The client has ended, or a signal came.
pub(super) async fn all(client: &Client, console: &mut Console) -> Result<Vec<GroupInfo>> {
    let groups = console.unless_interrupted(client.groups()).await?;
    Ok(groups.map_err(|error| explain::ended(&error))?)
}

/// Waits until this device has read the logs of groups, and accepted the invitations of contacts, that have arrived. Gives up
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

/// Says that the server does not show a change of which a member has told us.
pub(super) fn change_missing(
    group: GroupId,
    by: AccountId,
    is_waiting: bool,
    people: &People,
) -> (Value, String) {
    let value = json!({
        "event": "chat-group-behind", "group": group.to_string(), "by": people.json_of(by),
        "waiting": is_waiting,
    });
    let (title, name) = (people.label_in(Conversation::Group(group)), name(by, people));
    let consequence = if is_waiting {
        "Your messages to the group wait until the server shows it, because otherwise a removed person could read them."
    } else {
        "Your messages go to the members that you know. Ask the others whether somebody was removed."
    };
    let who = if by == people.own() { "another device of yours" } else { &name };
    let text = format!(
        "{title} was changed, according to {who}, but the server does not show the change: it withholds the change, other entries \
         have displaced it, or this is wrong. {consequence}"
    );
    (value, text)
}

/// The title of a group; its id, if the title is not known.
pub(super) fn title(info: &GroupInfo) -> String {
    let title = info.state.as_ref().map(|state| state.title.as_str());
    title.map_or_else(|| info.id.to_string(), printable::line)
}

const fn state_of(info: &GroupInfo) -> &'static str {
    match info.membership {
        Membership::Invited => " (you are invited: `wormhole chat group join`)",
        Membership::Member => "",
        Membership::Outside => " (you are not a member any more)",
        Membership::Unread | _ => " (not read yet)",
    }
}

fn name(account: AccountId, people: &People) -> String {
    if account == people.own() { "you".to_owned() } else { people.label_of(account) }
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

/// How long to wait until the server confirms a change or a message.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long `chat receive` waits for what continues by itself.
const SHORT_PATIENCE: Duration = Duration::from_secs(5);
