//! `ssh invite` and `ssh accept`: send a public key to the `authorized_keys` of another computer
//! (docs/command-line.md).
//!
//! Unlike the Python command line, this parses the received line and writes only a valid key.

use std::time::Duration;

use anyhow::Result;
use wormhole::code::{self, AppId, Nameplate};
use wormhole::transfer::{self, CodeSource, Event, Outgoing, Settings};

use self::authorized::{Added, AuthorizedKeys};
use self::key::PublicKey;
use crate::active_transfer::ActiveTransfer;
use crate::args::{AcceptArgs, InviteArgs};
use crate::ask::Ask as _;
use crate::config::Config;
use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::request::{self, Servers};
use crate::tor::TorChoice;
use crate::{code_review, explain, json, printable, progress};

mod authorized;
mod choose_key;
mod key;

/// Invites a person to log in here, and adds the key that they send.
///
/// # Errors
/// No key was added.
pub(crate) async fn invite(
    args: InviteArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let keys = AuthorizedKeys::of(args.user.as_deref())?;
    keys.check_writable()?;
    let mut settings = settings(servers)?;
    request::set_code_words(&mut settings, args.code_length, config);
    settings.tor = TorChoice::new(&args.tor, config)?.connect(console).await?;
    let server = progress::server(&settings);
    console.report(&json::connecting(&server))?;
    let transfer = transfer::receive(CodeSource::Allocate, settings);
    let mut active = ActiveTransfer::new(console, transfer, server);
    let outcome = take_key(&mut active, servers, &keys).await;
    let (key, added) = active.end(outcome).await?;
    let path = keys.path();
    let (kind, id, path) = (key.kind(), printable::text(key.id()), printable::path(&path));
    console.print(&match added {
        Added::Appended => format!("Appended key type='{kind}' id='{id}' to '{path}'\n"),
        Added::AlreadyThere => format!("The key type='{kind}' id='{id}' is already in '{path}'\n"),
    })
}

/// Shows the command for the other side, and adds the key that it sends.
async fn take_key(
    active: &mut ActiveTransfer<'_>,
    servers: &Servers,
    keys: &AuthorizedKeys,
) -> Result<(PublicKey, Added)> {
    let mut added = None;
    while let Some(event) = active.next().await? {
        let Some(event) = progress::show(event, active) else { continue };
        if let Event::Wormhole(code::Event::Code(code)) = event {
            let command = servers.other_side(["ssh", "accept", &code.to_string()]);
            active.console.screen.show("Now tell the other user to run:\n");
            active.console.print(&format!("{command}\n"))?;
            active.console.screen.show("");
        } else if let Event::Text(text) = event {
            let outcome = add(keys, &text);
            let Some(transfer) = active.transfer() else { continue };
            match outcome {
                // Confirmed only now: afterwards the sender expects to be able to log in.
                Ok(key) => {
                    transfer.confirm_text();
                    added = Some(key);
                }
                Err(error) => {
                    transfer.reject("the key was not added");
                    active.drain().await;
                    return Err(error);
                }
            }
        } else if let (Event::Offer(_), Some(transfer)) = (event, active.transfer()) {
            transfer.reject("a public key was expected");
        }
    }
    added.ok_or_else(|| Failure::new("no key was received").into())
}

/// Adds a received key.
fn add(keys: &AuthorizedKeys, line: &str) -> Result<(PublicKey, Added)> {
    let key = PublicKey::parse(line)
        .map_err(|why| Failure::new(format!("the received text is not a public key: {why}")))?;
    keys.add(&key).map(|added| (key, added))
}

/// Sends one of our public keys to the person who invited us.
///
/// # Errors
/// The key was not sent.
pub(crate) async fn accept(
    args: AcceptArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let tor = TorChoice::new(&args.tor, config)?;
    let mut settings = settings(servers)?;
    let code = request::code(&args.code, &mut settings)?;
    code_review::confirm(&code, console).await?;
    let nameplate = code.nameplate().clone();
    settings.code = Some(code);
    let key = choose_key::choose(args.key_file.as_deref(), console).await?;
    let id = printable::text(key.id());
    console.screen.show(&format!("Sending public key type='{}' keyid='{id}'", key.kind()));
    let is_wanted = args.yes || confirm(&id, console).await?;
    settings.tor = tor.connect(console).await?;
    if !is_wanted {
        decline(settings, console).await?;
        return Err(Failure::new("the key was not sent").into());
    }
    let server = progress::server(&settings);
    console.report(&json::connecting(&server))?;
    let transfer = transfer::send(Outgoing::Text(key.to_string()), settings)
        .map_err(|error| explain::failure(&error, &server))?;
    let mut active = ActiveTransfer::new(console, transfer, server);
    let outcome = wait_for_confirmation(&mut active, &nameplate).await;
    active.end(outcome).await?;
    console.print("Key sent.\n")
}

async fn wait_for_confirmation(
    active: &mut ActiveTransfer<'_>,
    nameplate: &Nameplate,
) -> Result<()> {
    while let Some(event) = active.next().await? {
        if matches!(event, Event::Wormhole(code::Event::Server(_))) {
            active.notice_if_unanswered(
                "Waiting for the other side...",
                nameplate,
                "If the code came from `wormhole send`, use `wormhole receive`.",
            );
        }
        if matches!(event, Event::Wormhole(code::Event::Key(_) | code::Event::ServerLost)) {
            active.cancel_notices();
        }
    }
    Ok(())
}

/// Notifies the person who invited us that no key will come.
async fn decline(mut settings: Settings, console: &mut Console) -> Result<()> {
    // With this setting, the text is not sent before we confirm the verifier.
    settings.verify = true;
    let Ok(mut transfer) = transfer::send(Outgoing::Text(String::new()), settings) else {
        return Ok(());
    };
    let met = tokio::time::timeout(DECLINING, async {
        while let Some(Ok(event)) = transfer.next().await {
            if matches!(event, Event::Wormhole(code::Event::Verifier(_))) {
                break;
            }
        }
    });
    // Whether this succeeds changes nothing here.
    let _met = console.unless_interrupted(met).await?;
    console.unless_interrupted(transfer.cancel()).await.map(drop)
}

async fn confirm(id: &str, console: &mut Console) -> Result<bool> {
    let prompt = format!("Really send public key '{id}'? (y/N): ");
    let question = Question { prompt, about: "accept", answers: &["y", "n"] };
    Ok(console.ask_yes_or_no(&question, false).await?.unwrap_or(false))
}

/// The settings, with the application id for keys unless `--appid` is set.
fn settings(servers: &Servers) -> Result<Settings> {
    let mut settings = servers.settings()?;
    if servers.appid.is_none() {
        settings.app_id = AppId::new(AppId::SSH_KEYS);
    }
    Ok(settings)
}

/// Time to notify the person who invited us.
const DECLINING: Duration = Duration::from_secs(10);
