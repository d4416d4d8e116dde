//! The person or the group that a command names.

use std::borrow::Cow;

use anyhow::Result;
use wormhole::chat::group::GroupId;
use wormhole::chat::{
    AccountId, Client, Contact, Conversation, Destination, GroupInfo, Membership, QueueError,
};

use super::people::{self, People};
use super::{explain, groups};
use crate::args::chat::AccountArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// The destination that `who` means: a number, an account id, or the name of a contact.
///
/// # Errors
/// The text is not a valid name, or several contacts have this name.
pub(super) async fn destination(
    who: &str,
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<Destination> {
    if let Ok(destination) = without_separators(who).parse() {
        return Ok(destination);
    }
    let contacts = console.unless_interrupted(client.contacts()).await?;
    let contacts = contacts.map_err(|error| explain::ended(&error))?;
    let mut named = named(who, contacts.iter());
    match (named.next(), named.next()) {
        (Some(contact), None) => Ok(Destination::Account(contact.account)),
        (Some(_), Some(_)) => {
            let shown = printable::line(who);
            let contacts = explain::command("contacts", args);
            Err(Failure::usage(format!("you have given the name '{shown}' to several people"))
                .hint(format!("use the phone number or the account id: {contacts} lists them"))
                .into())
        }
        (None, _) => match with_short_id(who, &People::new(client, console).await?, args)? {
            Some(account) => Ok(Destination::Account(account)),
            None => Err(unknown(who, Kind::Contact, args).into()),
        },
    }
}

/// The contact or the member of a group whose id begins with what the user has typed.
///
/// # Errors
/// There are several.
pub(super) fn with_short_id(
    who: &str,
    people: &People,
    args: &AccountArgs,
) -> Result<Option<AccountId>, Failure> {
    let meant: Vec<_> = people.with_short_id(who).into_iter().collect();
    match meant.as_slice() {
        [] => Ok(None),
        [account] => Ok(Some(*account)),
        accounts => {
            let ids = accounts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let contacts = explain::command("contacts", args);
            let shown = printable::line(who);
            Err(Failure::usage(format!("several account ids begin with '{shown}': {ids}"))
                .hint(format!("use the whole id; {contacts} lists those of your contacts")))
        }
    }
}

/// A phone number without the separators that people write: `+1 (415) 555-0102`. Other text stays as it is.
pub(super) fn without_separators(who: &str) -> Cow<'_, str> {
    if !who.starts_with('+') {
        return Cow::Borrowed(who);
    }
    let (number, app) = who.find('@').map_or((who, ""), |at| who.split_at(at));
    let is_separator = |c: &char| {
        matches!(
            c,
            ' ' | '\u{a0}' | '\u{202f}' | '-' | '\u{2011}' | '\u{2013}' | '.' | '/' | '(' | ')'
        )
    };
    Cow::Owned(number.chars().filter(|c| !is_separator(c)).collect::<String>() + app)
}

/// Whom a command accepts, besides numbers and ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A contact.
    Contact,
    /// A contact or a group.
    Target,
    /// Somebody who waits for a decision, or is blocked.
    Waiting,
}

/// Nobody has this name.
pub(super) fn unknown(who: &str, kind: Kind, args: &AccountArgs) -> Failure {
    let shown = printable::line(who);
    if who.starts_with('+') {
        return Failure::usage(format!("'{shown}' is not a complete phone number"))
            .hint("a phone number has + and 10 to 15 digits, such as +14155550102");
    }
    if !who.is_empty() && who.chars().all(|c| c.is_ascii_digit() || c.is_whitespace()) {
        return Failure::usage(format!("'{shown}' does not begin with + and a country code"))
            .hint("write a phone number as +14155550102, or use a name that you have given");
    }
    let contacts = explain::command("contacts", args);
    let (what, list) = match kind {
        Kind::Contact => ("contact", format!("{contacts} lists your contacts")),
        Kind::Target => {
            let groups = explain::command("group list", args);
            (
                "contact or group",
                format!("{contacts} lists your contacts, and {groups} your groups"),
            )
        }
        Kind::Waiting => {
            let requests = explain::command("requests", args);
            ("contact", format!("{requests} lists the people who wait, with their numbers and ids"))
        }
    };
    Failure::usage(format!("no {what} is called '{shown}'"))
        .hint(format!("{list}. A phone number begins with +, such as +14155550102"))
}

/// The contact that `who` means. Asks the server if it is not known yet.
///
/// # Errors
/// There is no such account, it is the user's own, or the server cannot be asked.
pub(super) async fn contact(
    who: &str,
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<Contact> {
    let destination = destination(who, client, args, console).await?;
    let found = console.unless_interrupted(client.resolve(&destination)).await?;
    let contact = found.map_err(|error| {
        if let QueueError::Request(why) = &error {
            explain::client_request(why, client.me(), args)
        } else {
            explain::send(&error, args)
        }
    })?;
    if contact.account == client.me().address.account {
        return Err(explain::own_number().into());
    }
    Ok(contact)
}

/// A person or a group.
#[derive(Debug)]
pub(super) enum Target {
    Group(Box<GroupInfo>),
    Person(Box<Contact>),
}

impl Target {
    /// The conversation with the person, or of the group.
    pub(super) fn conversation(&self) -> Conversation {
        match self {
            Self::Group(info) => Conversation::Group(info.id),
            Self::Person(contact) => Conversation::Account(contact.account),
        }
    }
}

/// The contact or the group that `who` means: a number, an id, the name of a contact, or the title of a group. Asks the server about
/// a number that is not known yet.
///
/// # Errors
/// No person or group has this name, or several have it, it is the user's own account, or the server cannot be asked.
pub(super) async fn target(
    who: &str,
    client: &Client,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<Target> {
    if without_separators(who).parse::<Destination>().is_err() {
        let groups = groups::all(client, console).await?;
        let contacts = console.unless_interrupted(client.contacts()).await?;
        let contacts = contacts.map_err(|error| explain::ended(&error))?;
        let people = People::from_contacts(client.me(), contacts).with_groups(&groups);
        if let Some(group) = group(who, groups, &people, args)? {
            return match group.membership {
                Membership::Outside => {
                    Err(groups::not_a_member(&groups::title(&group), args).into())
                }
                Membership::Invited => Err(groups::not_joined(&group, args).into()),
                // Also later kinds of the SDK.
                Membership::Member | Membership::Unread | _ => Ok(Target::Group(Box::new(group))),
            };
        }
        let is_named = named(who, people.others()).next().is_some();
        if !is_named && people.with_short_id(who).is_empty() {
            return Err(unknown(who, Kind::Target, args).into());
        }
    }
    Ok(Target::Person(Box::new(contact(who, client, args, console).await?)))
}

/// The group that `who` means, by its id or its title. Upper and lower case count only if several have this name. Groups that the
/// user has left count only if there is no other. `None`: it may be a person.
///
/// # Errors
/// Several groups have this name, or a group and a person.
pub(super) fn group(
    who: &str,
    groups: Vec<GroupInfo>,
    people: &People,
    args: &AccountArgs,
) -> Result<Option<GroupInfo>, Failure> {
    if let Some(group) = with_id(who, &groups) {
        return Ok(Some(group));
    }
    let mut meant = with_title(who, groups, &[Membership::Member]);
    let mut persons = named(who, people.others()).collect::<Vec<_>>();
    let has_name = |contact: &&Contact| contact.name.as_deref() == Some(who);
    if meant.iter().any(|info| has_title(info, who)) || persons.iter().any(has_name) {
        meant.retain(|info| has_title(info, who));
        persons.retain(has_name);
    }
    // Anybody can give a group a title that looks like the id of somebody.
    let with_id = people.with_short_id(who).into_iter().map(|account| account.to_string());
    let persons: Vec<_> = persons.into_iter().map(people::argument).chain(with_id).collect();
    match (meant.as_slice(), persons.as_slice()) {
        ([], _) => Ok(None),
        ([group], []) => Ok(Some(group.clone())),
        (groups, persons) => Err(ambiguous(who, groups, persons, args)),
    }
}

/// The group that `text` means in a command that is only about groups.
///
/// # Errors
/// No group has this name, or several groups have it.
pub(super) fn only_group(
    text: &str,
    groups: Vec<GroupInfo>,
    args: &AccountArgs,
) -> Result<GroupInfo, Failure> {
    one_group(text, groups, args, &[Membership::Member, Membership::Invited])
}

/// The group that `text` means in a command that accepts an invitation.
///
/// # Errors
/// No group has this name, or several groups have it.
pub(super) fn group_to_join(
    text: &str,
    groups: Vec<GroupInfo>,
    args: &AccountArgs,
) -> Result<GroupInfo, Failure> {
    one_group(text, groups, args, &[Membership::Invited])
}

fn one_group(
    text: &str,
    groups: Vec<GroupInfo>,
    args: &AccountArgs,
    first: &[Membership],
) -> Result<GroupInfo, Failure> {
    if let Some(group) = with_id(text, &groups) {
        return Ok(group);
    }
    let mut meant = with_title(text, groups, first);
    if meant.iter().any(|info| has_title(info, text)) {
        meant.retain(|info| has_title(info, text));
    }
    let list = explain::command("group list", args);
    match meant.as_slice() {
        [group] => Ok(group.clone()),
        [] => Err(Failure::usage(format!("no group is called '{}'", printable::line(text)))
            .hint(format!("{list} lists your groups"))),
        groups => Err(ambiguous(text, groups, &[], args)),
    }
}

fn with_id(text: &str, groups: &[GroupInfo]) -> Option<GroupInfo> {
    let id = text.parse::<GroupId>().ok()?;
    groups.iter().find(|info| info.id == id).cloned()
}

fn has_title(info: &GroupInfo, text: &str) -> bool {
    info.state.as_ref().is_some_and(|state| state.title == text)
}

/// Whether a group has this title, regardless of case.
pub(super) fn has_same_title(info: &GroupInfo, text: &str) -> bool {
    info.state.as_ref().is_some_and(|state| is_same_name(&state.title, text))
}

/// The groups with this title, regardless of case: those with the first of these memberships that one of them has, otherwise all.
fn with_title(text: &str, groups: Vec<GroupInfo>, first: &[Membership]) -> Vec<GroupInfo> {
    let named: Vec<_> = groups.into_iter().filter(|info| has_same_title(info, text)).collect();
    let best = first.iter().find(|it| named.iter().any(|info| info.membership == **it));
    match best {
        Some(best) => named.into_iter().filter(|info| info.membership == *best).collect(),
        None => named,
    }
}

/// The contacts with this name: exactly, or otherwise regardless of case.
pub(super) fn named<'a>(
    who: &'a str,
    contacts: impl Iterator<Item = &'a Contact> + Clone,
) -> impl Iterator<Item = &'a Contact> {
    let has_name = |contact: &Contact| contact.name.as_deref() == Some(who);
    let is_exact = contacts.clone().any(has_name);
    contacts.filter(move |contact| {
        let name = contact.name.as_deref();
        name.is_some_and(|name| name == who || (!is_exact && is_same_name(name, who)))
    })
}

/// Whether two names differ at most in upper and lower case.
fn is_same_name(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

/// Several groups and persons have a name. Names all of them.
fn ambiguous(who: &str, groups: &[GroupInfo], persons: &[String], args: &AccountArgs) -> Failure {
    let shown = printable::line(who);
    let groups = groups.iter().map(|info| {
        let members = groups::count(info.state.as_ref().map_or(0, |state| state.members.len()));
        format!("the group {} ({members})", info.id)
    });
    let persons =
        persons.iter().map(|argument| format!("the person {}", printable::line(argument)));
    let candidates = groups.chain(persons).collect::<Vec<_>>().join(", ");
    let list = explain::command("group list", args);
    Failure::usage(format!("'{shown}' can mean {candidates}"))
        .hint(format!("use the id or the number instead of the name; {list} lists your groups"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_can_be_written_with_separators() {
        assert_eq!(without_separators("+1 (415) 555-0102"), "+14155550102");
        assert_eq!(without_separators("+49.30/1234 567@com.a-b"), "+49301234567@com.a-b");
        for other in ["Bob (work)", "9d0652a3-dcc3-4d11-975f-74d61598733f", "415 555"] {
            assert_eq!(without_separators(other), other);
        }
    }
}
