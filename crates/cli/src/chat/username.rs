//! `chat username`: the name with which others reach the account without its number.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{NameError, Username};

use super::{explain, profile};
use crate::args::chat::{AccountArgs, UsernameArgs};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;

/// Shows, sets or removes the username.
///
/// # Errors
/// The server cannot be asked, or somebody else has the name.
pub(super) async fn run(args: UsernameArgs, config: &Config, console: &mut Console) -> Result<()> {
    let wanted = args.name.as_deref().map(parse).transpose()?;
    let store = profile::open(&args.client.account, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    let explain = |error: &NameError| explain_name(error, &args.client.account);
    if args.remove {
        let removed = console.unless_interrupted(account.remove_username()).await?;
        let removed = removed.map_err(|error| explain(&error))?;
        let name = removed.map(|name| name.to_string());
        console.report(&json!({"event": "chat-username-removed", "username": name}))?;
        console.screen.show(&name.map_or_else(
            || "You have no username.".to_owned(),
            |name| format!("@{name} is not your username any more."),
        ));
        return Ok(());
    }
    let name = match wanted {
        Some(name) => {
            let set = console.unless_interrupted(account.set_username(&name)).await?;
            set.map_err(|error| explain(&error))?;
            console.screen.show(&format!("Others can write to you as @{name} now."));
            Some(name)
        }
        None => {
            let name = console.unless_interrupted(account.username()).await?;
            name.map_err(|error| explain(&error))?
        }
    };
    let name = name.map(|name| name.to_string());
    console.report(&json!({"event": "chat-username", "username": name}))?;
    match name {
        Some(name) => console.print(&format!("@{name}\n")),
        None => {
            console.screen.show("You have no username.");
            Ok(())
        }
    }
}

fn parse(text: &str) -> Result<Username> {
    let name = text.strip_prefix('@').unwrap_or(text);
    name.parse().map_err(|error| {
        let shown = printable::line(text);
        Failure::usage(format!("'{shown}' is {error}")).into()
    })
}

/// Why the name of the account, or what the directory shows, is not changed.
pub(super) fn explain_name(error: &NameError, args: &AccountArgs) -> Failure {
    match error {
        NameError::Open(error) => explain::open(error, args),
        NameError::Request(error) => explain::request(error, args),
        NameError::Taken => Failure::new("somebody else has this name").hint("try another one"),
        NameError::NotPrimaryDevice => Failure::new(error.to_string())
            .hint("use the command on the device on which you have registered the number"),
        // Later errors of the SDK.
        _ => Failure::new(error.to_string()),
    }
}
