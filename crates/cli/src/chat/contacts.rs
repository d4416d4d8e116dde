//! `chat contacts`: the people with whom we have exchanged messages.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{AccountId, Client, Contact, Destination};

use super::people::{self, People};
use super::{explain, profile, who};
use crate::args::chat::{AccountArgs, ContactsArgs};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// Lists the contacts, or names one of them.
///
/// # Errors
/// The account cannot be opened, or there is no such person.
pub(super) async fn run(args: ContactsArgs, config: &Config, console: &mut Console) -> Result<()> {
    let client = profile::client(&args.client, config, console).await?;
    let done = change(&client, &args, console).await;
    profile::finish(client, done).await
}

async fn change(client: &Client, args: &ContactsArgs, console: &mut Console) -> Result<()> {
    let Some(who) = &args.who else { return list(client, console).await };
    if let Some(account) = &args.accept_account {
        accept(client, who, account, &args.client.account, console).await?;
    }
    let contact = who::contact(who, client, &args.client.account, console).await?;
    let contact = match &args.name {
        Some(name) => rename(client, contact, name, console).await?,
        None => contact,
    };
    let people = People::new(client, console).await?;
    let changed = changed(client, console).await?;
    print(&contact, &people, &changed, client, console).await
}

/// The accounts whose identity key has changed.
async fn changed(client: &Client, console: &mut Console) -> Result<BTreeSet<AccountId>> {
    let changes = console.unless_interrupted(client.identity_changes()).await?;
    let changes = changes.map_err(|error| explain::ended(&error))?;
    Ok(changes.into_iter().map(|change| change.account).collect())
}

async fn rename(
    client: &Client,
    contact: Contact,
    name: &str,
    console: &mut Console,
) -> Result<Contact> {
    check_name(contact.account, name, client, console).await?;
    let name = Some(name.to_owned()).filter(|name| !name.is_empty());
    let named = client.name_contact(contact.account, name.clone());
    let named = console.unless_interrupted(named).await?;
    named.map_err(|error| explain::ended(&error))?;
    Ok(Contact { name, ..contact })
}

/// Whether a name can be used as WHO.
///
/// # Errors
/// It looks like a number or an account id, or another person has it.
pub(super) async fn check_name(
    account: AccountId,
    name: &str,
    client: &Client,
    console: &mut Console,
) -> Result<()> {
    let shown = printable::line(name);
    if name.starts_with('+') || name.parse::<Destination>().is_ok() {
        let why = format!("--name: '{shown}' looks like a phone number or an account id");
        return Err(Failure::usage(why).into());
    }
    let people = People::new(client, console).await?;
    let is_same = |it: &&Contact| it.name.as_deref() == Some(name) && it.account != account;
    match people.others().find(is_same) {
        Some(other) => {
            let why = format!("--name: you have given the name '{shown}' to {}", other.account);
            Err(Failure::usage(why).hint("use another name").into())
        }
        None => Ok(()),
    }
}

/// Accepts that a number leads to another account now.
async fn accept(
    client: &Client,
    number: &str,
    account: &str,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<()> {
    let (number, account) = (phone_number(number)?, account_id(account)?);
    if account == client.me().address.account {
        return Err(Failure::usage("--accept-account: this is the id of your own account").into());
    }
    let people = People::new(client, console).await?;
    let known = people.get(account);
    if known.is_some_and(|contact| people::is_bound_to(contact, &number)) {
        console.screen.show(&format!("{number} already belongs to the account {account}."));
        return Ok(());
    }
    let accepted = console.unless_interrupted(client.accept_number(&number, account)).await?;
    accepted.map_err(|error| explain::ended(&error))?;
    let moved = known
        .and_then(|contact| number_before(contact, &number))
        .map(|before| format!(", and messages to {} no longer do", printable::line(before)));
    let compare = compare(client, &number, account, args, console).await?;
    console.screen.show(&format!(
        "From now on, messages to {number} go to the account {account}{}. {compare}",
        moved.unwrap_or_default()
    ));
    Ok(())
}

/// The number that has led to a contact so far, if `number` is another one.
fn number_before<'a>(contact: &'a Contact, number: &Destination) -> Option<&'a str> {
    let before = contact.number.as_deref().filter(|_| people::is_bound(contact));
    before.filter(|before| number.to_string().split('@').next() != Some(*before))
}

/// How the user finds out whether the account belongs to the right person.
async fn compare(
    client: &Client,
    number: &Destination,
    account: AccountId,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<String> {
    let is_known = console.unless_interrupted(client.safety_number(account)).await?.is_ok();
    let safety = explain::command(&format!("safety {number} --verify"), args);
    Ok(if is_known {
        format!("Compare its safety number: {safety}")
    } else {
        format!("When you have exchanged a message, compare its safety number: {safety}")
    })
}

fn account_id(text: &str) -> Result<AccountId> {
    let shown = printable::line(text);
    let invalid = Failure::usage(format!("--accept-account: '{shown}' is not an account id"));
    Ok(text.parse().map_err(|_| invalid)?)
}

fn phone_number(text: &str) -> Result<Destination> {
    let number = who::without_separators(text).parse().ok();
    let is_number = |it: &Destination| match it {
        Destination::Account(_) | Destination::Username(_) => false,
        Destination::Number(_) | Destination::NumberInApp(..) => true,
    };
    Ok(number.filter(is_number).ok_or_else(|| {
        let shown = printable::line(text);
        Failure::usage(format!("--accept-account needs a phone number, and '{shown}' is not one"))
    })?)
}

async fn list(client: &Client, console: &mut Console) -> Result<()> {
    let people = People::new(client, console).await?;
    if people.others().next().is_none() {
        console.screen.show("You have not exchanged messages with anyone yet.");
    }
    let changed = changed(client, console).await?;
    for contact in people.others() {
        print(contact, &people, &changed, client, console).await?;
    }
    Ok(())
}

async fn print(
    contact: &Contact,
    people: &People,
    changed: &BTreeSet<AccountId>,
    client: &Client,
    console: &mut Console,
) -> Result<()> {
    let is_changed = changed.contains(&contact.account);
    // Computing a safety number takes some milliseconds.
    let is_verified =
        contact.verified.is_some() && is_verified(contact.account, client, console).await?;
    console.report(&json!({
        "event": "chat-contact", "who": people::json(contact), "verified": is_verified,
        "identity_changed": is_changed,
    }))?;
    let state = match (is_changed, is_verified) {
        (true, _) => "  safety number has changed",
        (false, true) => "  verified",
        (false, false) => "",
    };
    let (account, label) = (contact.account.to_string(), people.label(contact));
    // The label of an unknown person begins with the account.
    let label = label.strip_prefix(&account).unwrap_or(&label).trim_start();
    console.print(&format!("{}\n", format!("{account}  {label}{state}").trim_end()))
}

/// Whether the user has compared the safety number with the key that the account has now.
async fn is_verified(account: AccountId, client: &Client, console: &mut Console) -> Result<bool> {
    let safety = console.unless_interrupted(client.safety_number(account)).await?;
    Ok(safety.is_ok_and(|safety| safety.is_verified))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_begins_like_another_one_is_another_number() {
        let mut contact = Contact {
            account: AccountId::from_bytes([1; 16]),
            number: Some("+1415555010".to_owned()),
            app: None,
            name: None,
            is_default: true,
            is_in_app: false,
            verified: None,
            profile: None,
        };
        let before = |contact: &Contact, number: &str| {
            number_before(contact, &number.parse().unwrap()).map(str::to_owned)
        };
        for other in ["+14155550102", "+14155550102@com.example.one"] {
            assert_eq!(before(&contact, other), contact.number);
        }
        for same in ["+1415555010", "+1415555010@com.example.one"] {
            assert_eq!(before(&contact, same), None);
        }
        contact.is_default = false;
        assert_eq!(before(&contact, "+14155550102"), None, "only an envelope has named it");
    }
}
