//! `chat contacts`: the people with whom we have exchanged messages.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{AccountId, Client, Contact, Destination};

use super::{explain, profile, show, who};
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
    client.close().await;
    done
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
    print(&contact, client, console).await
}

async fn rename(
    client: &Client,
    contact: Contact,
    name: &str,
    console: &mut Console,
) -> Result<Contact> {
    let name = Some(name.to_owned()).filter(|name| !name.is_empty());
    let named = client.name_contact(contact.account, name.clone());
    let named = console.unless_interrupted(named).await?;
    named.map_err(|error| explain::ended(&error))?;
    Ok(Contact { name, ..contact })
}

/// Accepts that a number leads to another account now.
async fn accept(
    client: &Client,
    number: &str,
    account: &str,
    args: &AccountArgs,
    console: &mut Console,
) -> Result<()> {
    let shown = printable::line(account);
    let account: AccountId = account
        .parse()
        .map_err(|_| Failure::usage(format!("--accept-account: '{shown}' is not an account id")))?;
    let destination = number.parse::<Destination>().ok();
    let destination = destination.filter(|it| !matches!(it, Destination::Account(_)));
    let destination = destination.ok_or_else(|| {
        let number = printable::line(number);
        Failure::usage(format!("--accept-account needs a phone number, and '{number}' is not one"))
    })?;
    let accepted = console.unless_interrupted(client.accept_number(&destination, account)).await?;
    accepted.map_err(|error| explain::ended(&error))?;
    let safety = explain::command(&format!("safety {destination} --verify"), args);
    console.screen.show(&format!(
        "{destination} leads to the account {account} now. It has another safety number. When you have exchanged a \
         message, compare it: {safety}"
    ));
    Ok(())
}

async fn list(client: &Client, console: &mut Console) -> Result<()> {
    let contacts = console.unless_interrupted(client.contacts()).await?;
    let contacts = contacts.map_err(|error| explain::ended(&error))?;
    if contacts.is_empty() {
        console.screen.show("You have not exchanged messages with anyone yet.");
    }
    for contact in &contacts {
        print(contact, client, console).await?;
    }
    Ok(())
}

async fn print(contact: &Contact, client: &Client, console: &mut Console) -> Result<()> {
    // Without an exchanged message, there is no safety number.
    let safety = console.unless_interrupted(client.safety_number(contact.account)).await?.ok();
    let is_verified = safety.as_ref().is_some_and(|safety| safety.is_verified);
    let is_changed = safety.is_some_and(|safety| safety.is_new);
    console.report(&json!({
        "event": "chat-contact", "who": show::person(contact), "verified": is_verified,
        "identity_changed": is_changed,
    }))?;
    let state = match (is_changed, is_verified) {
        (true, _) => "  safety number has changed",
        (false, true) => "  verified",
        (false, false) => "",
    };
    console.print(&format!("{}  {}{state}\n", contact.account, who::label(contact)))
}
