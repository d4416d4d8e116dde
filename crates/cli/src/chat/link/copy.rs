//! `chat link history`, and the copy of contacts and messages after a device was linked.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{Copied, CopyError};

use crate::args::chat::{AccountArgs, CopyArgs};
use crate::chat::meeting::{self, MeetingPoint};
use crate::chat::{explain, history, profile};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::request::Servers;

/// Copies contacts and messages between two devices that are linked already.
///
/// # Errors
/// Not everything was copied.
pub(super) async fn run(
    args: CopyArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    match &args.code {
        Some(code) => send(code, &args, servers, config, console).await,
        None => receive(&args, servers, config, console).await,
    }
}

async fn send(
    code: &str,
    args: &CopyArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let (meeting_point, code) = MeetingPoint::from_code(code, servers, console).await?;
    let store = profile::open(&args.client.account, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    meeting_point.report(console)?;
    let mode = history::mode(args.history);
    let copying = account.send_copy(code, &meeting_point.mailbox, mode);
    let copied = console.unless_interrupted(copying).await?;
    let explain = |error: &CopyError| explain::copy(error, &meeting_point, &args.client.account);
    show_sent(copied.map_err(|error| explain(&error))?, console)
}

async fn receive(
    args: &CopyArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let meeting_point = MeetingPoint::new(servers, args.code_length, config)?;
    let explain = |error: &CopyError| explain::copy(error, &meeting_point, &args.client.account);
    let store = profile::open(&args.client.account, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    meeting_point.report(console)?;
    let receiving =
        account.receive_copy(&meeting_point.mailbox).await.map_err(|error| explain(&error))?;
    let code = console.unless_interrupted(receiving.code()).await?;
    let code = code.map_err(|error| explain(&error))?;
    let where_to = "On the device that has the messages";
    meeting::show_code(&code, &["chat", "link", "history"], servers, where_to, console)?;
    console.screen.show("Waiting for that device...");
    let copied = console.unless_interrupted(receiving.complete()).await?;
    show_received(copied.map_err(|error| explain(&error))?, console)
}

/// Shows what the new device has got, after it was linked.
///
/// # Errors
/// Not everything was copied.
pub(super) fn received(
    copied: Result<Option<Copied>, CopyError>,
    meeting_point: &MeetingPoint,
    args: &AccountArgs,
    console: &Console,
) -> Result<()> {
    match copied {
        Ok(Some(copied)) => {
            show_received(copied, console)?;
            let receive = explain::command("receive", args);
            console
                .screen
                .show(&format!("The groups of your account come with the next {receive}."));
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(explain_interrupted(&error, meeting_point, args).into()),
    }
}

/// Shows what the primary device has sent, after it has linked another one.
///
/// # Errors
/// Not everything was copied.
pub(super) fn sent(
    copied: Result<Copied, CopyError>,
    meeting_point: &MeetingPoint,
    args: &AccountArgs,
    console: &Console,
) -> Result<()> {
    match copied {
        Ok(copied) => show_sent(copied, console),
        Err(error) => Err(explain_interrupted(&error, meeting_point, args).into()),
    }
}

/// The device is linked, but not everything was copied.
fn explain_interrupted(
    error: &CopyError,
    meeting_point: &MeetingPoint,
    args: &AccountArgs,
) -> Failure {
    let why = explain::copy(error, meeting_point, args);
    let repeat = explain::command("link history", args);
    Failure::new(format!("the device is linked, but contacts and messages were not copied: {why}"))
        .hint(format!("run {repeat} on the new device to copy them"))
}

fn show_received(copied: Copied, console: &Console) -> Result<()> {
    let Copied { contacts, messages, .. } = copied;
    console.report(&json!({
        "event": "chat-copied", "direction": "received", "contacts": contacts, "messages": messages,
    }))?;
    console.screen.show(&format!("Copied to this device: {}.", counts(copied)));
    Ok(())
}

fn show_sent(copied: Copied, console: &Console) -> Result<()> {
    let Copied { contacts, messages, .. } = copied;
    console.report(&json!({
        "event": "chat-copied", "direction": "sent", "contacts": contacts, "messages": messages,
    }))?;
    console.screen.show(&format!("Copied to the other device: {}.", counts(copied)));
    Ok(())
}

fn counts(copied: Copied) -> String {
    let count = |number: u64, what: &str| {
        if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
    };
    let (contacts, messages) = (copied.contacts, copied.messages);
    format!("{}, {}", count(contacts, "contact"), count(messages, "message"))
}
