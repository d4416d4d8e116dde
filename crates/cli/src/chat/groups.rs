//! `chat group`: groups of people in different apps.
//!
//! | file | what it does |
//! |---|---|
//! | `list` | lists groups and members |
//! | `notices` | describes what others have changed |
//! | `sending` | reports which members get a message of `chat send` |

mod list;
pub(super) mod notices;
pub(super) mod sending;

use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::time::timeout;
use wormhole::chat::group::{GroupLink, Role};
use wormhole::chat::{
    AccountId, Client, Event, Group, GroupError, GroupInfo, Membership, PendingChange,
};

use super::people::People;
use super::{explain, profile, requests, who};
use crate::args::chat::{
    AccountArgs, ClientArgs, GroupArgs, GroupCommand, GroupLinkArgs, LeaveArgs, MemberArgs,
    PeopleArgs, RenameArgs,
};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;
use crate::shell::quote;
pub(super) use list::{UNKNOWN_TITLE, count, title};

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
        GroupCommand::Rename(args) => &args.client,
    }
}

/// Learns what others have changed meanwhile, and shows it: a message goes to the members that this device knows.
async fn catch_up(client: &Client, console: &mut Console) -> Result<()> {
    let mut events = client.events();
    if !requests::wait_for_messages(client, console).await? {
        return Ok(());
    }
    let mut people = People::new(client, console).await?;
    let mut notices = notices::Notices::default();
    loop {
        let patience = patience(client, console).await?;
        match console.unless_interrupted(timeout(patience, events.next())).await? {
            Ok(Ok(Event::Group { group, event })) => {
                let notice = notices.describe(group, &event, &mut people, client, console).await?;
                notices::show(notice, console)?;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(explain::ended(&error).into()),
            Err(_) => return Ok(()),
        }
    }
}

async fn execute(command: GroupCommand, client: &Client, console: &mut Console) -> Result<()> {
    let account = options(&command).account.clone();
    let groups = Groups { client, account: &account };
    match command {
        GroupCommand::Create(args) => groups.create(&args, console).await,
        GroupCommand::Invite(args) => groups.invite(&args, console).await,
        GroupCommand::Join(args) => groups.join(&args.group, console).await,
        GroupCommand::Leave(args) => groups.leave(&args, console).await,
        GroupCommand::Link(args) => groups.link(&args, console).await,
        GroupCommand::List(args) => groups.list(&args, console).await,
        GroupCommand::Promote(args) => groups.promote(&args, console).await,
        GroupCommand::Remove(args) => groups.remove(&args, console).await,
        GroupCommand::Rename(args) => groups.rename(&args, console).await,
        GroupCommand::Show(args) => groups.show(&args.group, console).await,
    }
}

/// The groups of an account.
struct Groups<'a> {
    client: &'a Client,
    account: &'a AccountArgs,
}

impl Groups<'_> {
    async fn create(&self, args: &PeopleArgs, console: &mut Console) -> Result<()> {
        // First, so that an unknown person does not leave a group behind.
        let invited = self.people(args, console).await?;
        self.mention_same_title(&args.group, console).await?;
        let created = self.request(self.client.create_group(&args.group), console).await?;
        let group = self.client.group(created.group());
        self.wait(created, console).await?;
        let (id, title) = (group.id(), printable::line(&args.group));
        console.report(&json!({"event": "chat-group-created", "group": id.to_string()}))?;
        console.screen.show(&format!("The group {title} is created."));
        console.print(&format!("{id}\n"))?;
        if invited.is_empty() {
            return Ok(());
        }
        self.change(&group, "invite", group.invite(accounts(&invited)), console).await?;
        say_invited(&invited, &title, console);
        Ok(())
    }

    /// Warns before a second group gets the same title.
    async fn mention_same_title(&self, new: &str, console: &mut Console) -> Result<()> {
        let groups = all(self.client, console).await?;
        let is_other = |info: &GroupInfo| {
            info.membership != Membership::Outside && who::has_same_title(info, new)
        };
        if groups.iter().any(is_other) {
            let list = explain::command("group list", self.account);
            console.screen.show(&format!(
                "You are in another group with this title: use the ids in commands ({list})."
            ));
        }
        Ok(())
    }

    async fn invite(&self, args: &PeopleArgs, console: &mut Console) -> Result<()> {
        let (group, title) = self.find(&args.group, console).await?;
        let invited = self.people(args, console).await?;
        if invited.is_empty() {
            return Err(Failure::usage("name the people that you want to invite").into());
        }
        self.change(&group, "invite", group.invite(accounts(&invited)), console).await?;
        say_invited(&invited, &title, console);
        Ok(())
    }

    async fn join(&self, text: &str, console: &mut Console) -> Result<()> {
        let joining = if let Ok(link) = text.parse::<GroupLink>() {
            self.request(self.client.join_group(link), console).await?
        } else if text.trim_start().starts_with(LINK) {
            return Err(Failure::usage("this link is damaged: copy the whole link")
                .hint("put the link in single quotes, because it contains &")
                .into());
        } else {
            let info = who::group_to_join(text, all(self.client, console).await?, self.account)?;
            let group = self.client.group(info.id);
            self.request(group.accept_invitation(), console).await?
        };
        let group = joining.group();
        if let Err(error) = self.wait(joining, console).await {
            // The answer may be unclear: only the group shows whether it has worked.
            let info = console.unless_interrupted(self.client.group(group).info()).await?;
            let info = info.map_err(|error| explain::ended(&error))?;
            if info.is_none_or(|info| info.membership != Membership::Member) {
                return Err(error);
            }
        }
        console.report(&json!({"event": "chat-group-joined", "group": group.to_string()}))?;
        let people = People::new(self.client, console).await?;
        console.screen.show(&format!("You have joined {}.", people.group(group)));
        console.print(&format!("{group}\n"))
    }

    async fn leave(&self, args: &LeaveArgs, console: &mut Console) -> Result<()> {
        let info = self.find_own(&args.group, console).await?;
        let (group, title) = (self.client.group(info.id), title(&info));
        if info.membership == Membership::Invited {
            self.change(&group, "decline", group.decline_invitation(), console).await?;
            console.screen.show(&format!("You have declined the invitation to {title}."));
            return Ok(());
        }
        let successor = match &args.successor {
            Some(who) => Some(self.person(who, console).await?),
            None => None,
        };
        let account = successor.as_ref().map(|(account, _)| *account);
        self.change(&group, "leave", group.leave(account), console).await?;
        console.screen.show(&match successor {
            None => format!("You have left {title}."),
            Some((_, label)) => {
                format!("You have left {title}. {label} is now an administrator.")
            }
        });
        Ok(())
    }

    async fn link(&self, args: &GroupLinkArgs, console: &mut Console) -> Result<()> {
        let (group, title) = self.find(&args.group, console).await?;
        if args.off {
            self.change(&group, "set link", group.disable_link(), console).await?;
            console.screen.show(&format!("The link of {title} is disabled."));
            return Ok(());
        }
        if args.reset {
            self.change(&group, "set link", group.reset_link(), console).await?;
            console.screen.show("An earlier link is no longer valid.");
        } else if current_link(&group, console).await?.is_none() {
            self.change(&group, "set link", group.enable_link(), console).await?;
        }
        let Some(link) = current_link(&group, console).await? else {
            let again = format!("group link {}", quote(&printable::line(&args.group)));
            return Err(Failure::new("an administrator has just disabled the link of the group")
                .hint(format!("{} enables it again", explain::command(&again, self.account)))
                .into());
        };
        console.report(&json!({
            "event": "chat-group-link", "group": group.id().to_string(), "link": link.to_string(),
        }))?;
        console.screen.show("Anybody with this link can see the members of the group, and join:");
        console.print(&format!("{link}\n"))
    }

    async fn promote(&self, args: &MemberArgs, console: &mut Console) -> Result<()> {
        let (group, title) = self.find(&args.group, console).await?;
        let (account, label) = self.person(&args.who, console).await?;
        self.change(&group, "set role", group.set_role(account, Role::Admin), console).await?;
        console.screen.show(&format!("{label} is now an administrator of {title}."));
        Ok(())
    }

    async fn remove(&self, args: &MemberArgs, console: &mut Console) -> Result<()> {
        let info = self.find_own(&args.group, console).await?;
        let (group, title) = (self.client.group(info.id), title(&info));
        let (account, label) = self.person(&args.who, console).await?;
        let was_invited = info.state.is_some_and(|state| state.invited.contains_key(&account));
        self.change(&group, "remove", group.remove(account), console).await?;
        console.screen.show(&if was_invited {
            format!("The invitation of {label} to {title} is withdrawn.")
        } else {
            format!("{label} was removed from {title}.")
        });
        Ok(())
    }

    async fn rename(&self, args: &RenameArgs, console: &mut Console) -> Result<()> {
        let (group, title) = self.find(&args.group, console).await?;
        self.change(&group, "describe", group.set_title(&args.title), console).await?;
        let new = printable::line(&args.title);
        console.screen.show(&format!("The group {title} is now called {new}."));
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
        self.wait(pending, console).await?;
        console.report(&json!({
            "event": "chat-group-changed", "group": group.id().to_string(), "change": name,
        }))
    }

    /// Waits until the server has a change.
    async fn wait(&self, mut change: PendingChange, console: &mut Console) -> Result<()> {
        match console.unless_interrupted(timeout(PATIENCE, change.on_server())).await? {
            Ok(outcome) => Ok(outcome.map_err(|error| explain::group(&error))?),
            Err(_) => Err(self.not_confirmed().into()),
        }
    }

    fn not_confirmed(&self) -> Failure {
        let seconds = PATIENCE.as_secs();
        let receive = explain::command("receive", self.account);
        Failure::new(format!("the server has not confirmed the change after {seconds} seconds"))
            .hint(format!("the change is stored: {receive} sends it again"))
    }

    async fn request(
        &self,
        change: impl Future<Output = Result<PendingChange, GroupError>>,
        console: &mut Console,
    ) -> Result<PendingChange> {
        let requested = console.unless_interrupted(change).await?;
        Ok(requested.map_err(|error| explain::group(&error))?)
    }

    /// The account that `who` means, and how the person is called.
    async fn person(&self, who: &str, console: &mut Console) -> Result<(AccountId, String)> {
        let contact = who::contact(who, self.client, self.account, console).await?;
        let people = People::new(self.client, console).await?;
        Ok((contact.account, people.label(&contact)))
    }

    async fn people(
        &self,
        args: &PeopleArgs,
        console: &mut Console,
    ) -> Result<Vec<(AccountId, String)>> {
        let mut people = Vec::new();
        for who in &args.who {
            people.push(self.person(who, console).await?);
        }
        Ok(people)
    }

    /// The group with this id or title, and its title, if the user has not left it.
    async fn find(&self, text: &str, console: &mut Console) -> Result<(Group, String)> {
        let info = self.find_own(text, console).await?;
        Ok((self.client.group(info.id), title(&info)))
    }

    async fn find_own(&self, text: &str, console: &mut Console) -> Result<GroupInfo> {
        let info = self.find_info(text, console).await?;
        if info.membership == Membership::Outside {
            return Err(not_a_member(&title(&info), self.account).into());
        }
        Ok(info)
    }

    async fn find_info(&self, text: &str, console: &mut Console) -> Result<GroupInfo> {
        Ok(who::only_group(text, all(self.client, console).await?, self.account)?)
    }
}

fn accounts(people: &[(AccountId, String)]) -> Vec<AccountId> {
    people.iter().map(|(account, _)| *account).collect()
}

fn say_invited(people: &[(AccountId, String)], title: &str, console: &Console) {
    for (_, label) in people {
        console.screen.show(&format!("{label} is invited to {title}."));
    }
}

async fn current_link(group: &Group, console: &mut Console) -> Result<Option<GroupLink>> {
    let link = console.unless_interrupted(group.invite_link()).await?;
    Ok(link.map_err(|error| explain::ended(&error))?)
}

/// The account is no longer a member of the group with this title.
pub(super) fn not_a_member(title: &str, args: &AccountArgs) -> Failure {
    let list = explain::command("group list", args);
    Failure::new(format!("you are not a member of {title} any more"))
        .hint(format!("{list} lists your groups. To come back, ask a member to invite you"))
}

/// The account is invited to a group, and has not joined it.
pub(super) fn not_joined(info: &GroupInfo, args: &AccountArgs) -> Failure {
    let join = explain::command(&format!("group join {}", info.id), args);
    Failure::new(format!("you have not joined {} yet", title(info)))
        .hint(format!("accept the invitation: {join}"))
}

/// All groups of an account.
///
/// # Errors
/// The client has ended, or a signal came.
pub(super) async fn all(client: &Client, console: &mut Console) -> Result<Vec<GroupInfo>> {
    let groups = console.unless_interrupted(client.groups()).await?;
    Ok(groups.map_err(|error| explain::ended(&error))?)
}

/// How long to wait for the next event about groups: this device may have to read logs, or to accept invitations of contacts.
///
/// # Errors
/// The client has ended, or a signal came.
pub(super) async fn patience(client: &Client, console: &mut Console) -> Result<Duration> {
    let groups = all(client, console).await?;
    let is_busy = |info: &GroupInfo| {
        info.is_changing || info.is_reading || info.membership == Membership::Unread
    };
    Ok(if groups.iter().any(is_busy) {
        BUSY_PATIENCE
    } else if groups.is_empty() {
        Duration::ZERO
    } else {
        // The events of a change come when it is stored.
        STORING
    })
}

/// The beginning of a link to a group.
const LINK: &str = "wormhole:";

/// How long to wait until the server confirms a change, or a log can be read.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long `chat receive` waits for what continues by itself. Then it gives up silently, because the next command continues.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// How long a change takes to be stored, at most.
const STORING: Duration = Duration::from_millis(100);
