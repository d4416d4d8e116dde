//! `chat contacts`: the people with whom we have exchanged messages.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{Client, Contact};

use super::{explain, profile, show, who};
use crate::args::chat::ContactsArgs;
use crate::config::Config;
use crate::console::Console;

/// Lists the contacts, or names one of them.
///
/// # Errors
/// The account cannot be opened, or there is no such person.
pub(super) async fn run(args: ContactsArgs, config: &Config, console: &mut Console) -> Result<()> {
    let client = profile::client(&args.account, &args.tor, config, console).await?;
    let done = match (&args.who, args.name) {
        (Some(who), Some(name)) => rename(&client, who, name, console).await,
        _ => list(&client, console).await,
    };
    client.close().await;
    done
}

async fn rename(client: &Client, who: &str, name: String, console: &mut Console) -> Result<()> {
    let contact = who::contact(who, client, console).await?;
    let name = Some(name).filter(|name| !name.is_empty());
    let named = client.name_contact(contact.account, name.clone());
    let named = console.unless_interrupted(named).await?;
    named.map_err(|error| explain::ended(&error))?;
    print(&Contact { name, ..contact }, client, console).await
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
