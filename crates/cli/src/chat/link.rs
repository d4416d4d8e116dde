//! `chat link` and `chat link accept`: this computer becomes another device of an account.

mod copy;
mod qr;

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{
    AcceptLinkError, Account, LinkError, LinkGuest, LinkHost, LinkOptions, LinkRequest, Me,
    OfferedAccount, ServerUrl,
};
use wormhole::code::Nameplate;

use super::meeting::{self, MeetingPoint};
use super::{explain, profile};
use crate::args::chat::{AcceptLinkArgs, LinkArgs, LinkCommand, NewDeviceArgs};
use crate::ask::Ask as _;
use crate::config::Config;
use crate::console::{Console, Question};
use crate::explain::nobody_is_waiting;
use crate::failure::Failure;
use crate::printable;
use crate::request::Servers;

/// Links a device.
///
/// # Errors
/// It is not linked.
pub(super) async fn run(
    args: LinkArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    match args.command {
        Some(LinkCommand::Accept(args)) => accept(args, servers, config, console).await,
        Some(LinkCommand::History(args)) => copy::run(args, servers, config, console).await,
        None if args.new.qr => qr::new_device(args.new, config, console).await,
        None => new_device(args.new, servers, config, console).await,
    }
}

async fn new_device(
    args: NewDeviceArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let meeting_point = MeetingPoint::new(servers, args.code_length, config)?;
    let options = options(&args, &meeting_point)?;
    let protect = args.new.protection();
    let explain = |error: &LinkError| explain::link(error, &meeting_point, &args.client.account);
    let store = profile::open_or_create(&args.client.account, protect, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    if let Some(me) = finish(&account, &args, &options, &meeting_point, console).await? {
        console.screen.show("The link that was interrupted before is complete now.");
        return show_linked(&me, console);
    }
    meeting_point.report(console)?;
    let linking = account.link(options).await.map_err(|error| explain(&error))?;
    let linked = match wait(&linking, args.yes, servers, console).await {
        Ok(linked) => linked.map_err(|error| explain(&error).into()),
        Err(error) => Err(error),
    };
    match linked {
        Ok(me) => {
            show_linked(&me, console)?;
            let copied = console.unless_interrupted(linking.copy()).await;
            linking.close().await;
            copy::received(copied?, &meeting_point, &args.client.account, console)
        }
        Err(error) => {
            linking.cancel().await;
            Err(error)
        }
    }
}

fn options(args: &NewDeviceArgs, meeting_point: &MeetingPoint) -> Result<LinkOptions> {
    let mut options = LinkOptions::default();
    options.mailbox = meeting_point.mailbox.clone();
    options.name.clone_from(&args.name);
    options.allow_plain_http = args.new.allow_plain;
    if let Some(server) = &args.server {
        let url: ServerUrl = server.parse().map_err(|error| {
            Failure::usage(format!("--server '{}': {error}", printable::line(server)))
        })?;
        options.server = Some(url);
    }
    Ok(options)
}

/// Completes a link that was interrupted, or gives it up.
async fn finish(
    account: &Account,
    args: &NewDeviceArgs,
    options: &LinkOptions,
    meeting_point: &MeetingPoint,
    console: &mut Console,
) -> Result<Option<Me>> {
    let explain = |error: &LinkError| explain::link(error, meeting_point, &args.client.account);
    if args.forget {
        let forgotten = console.unless_interrupted(account.forget_link()).await?;
        forgotten.map_err(|error| explain::store(&error, &args.client.account))?;
        return Ok(None);
    }
    let forget = explain::command("link --forget", &args.client.account);
    let interrupted = console.unless_interrupted(account.interrupted_link()).await?;
    let interrupted = interrupted
        .map_err(|error| explain::store(&error, &args.client.account).hint(give_up(&forget)))?;
    let Some(interrupted) = interrupted else { return Ok(None) };
    let wanted = options.server.as_ref().map(ToString::to_string);
    if wanted.is_some_and(|wanted| wanted != interrupted.server) {
        let (number, server) =
            (printable::line(&interrupted.number), printable::line(&interrupted.server));
        let what = format!("a link to {number} at {server} was interrupted before");
        return Err(Failure::new(what).hint(give_up(&forget)).into());
    }
    let finished = console.unless_interrupted(account.finish_link()).await?;
    Ok(finished.map_err(|error| explain(&error).hint(give_up(&forget)))?)
}

fn give_up(forget: &str) -> String {
    format!(
        "try again later, or {forget} gives up this link and shows a new code. `wormhole chat devices` on the primary device shows \
         whether this one was linked"
    )
}

/// Shows the code, and waits until this device is linked.
async fn wait(
    linking: &LinkGuest,
    is_wanted: bool,
    servers: &Servers,
    console: &mut Console,
) -> Result<Result<Me, LinkError>> {
    let code = match console.unless_interrupted(linking.code()).await? {
        Ok(code) => code,
        Err(error) => return Ok(Err(error)),
    };
    let place = "On the primary device of your account";
    meeting::show_code(&code, &["chat", "link", "accept"], servers, place, console)?;
    console.screen.show("Waiting for that device...");
    if let Err(error) = console.unless_interrupted(linking.met()).await? {
        return Ok(Err(error));
    }
    let offered = match console.unless_interrupted(linking.offer()).await? {
        Ok(offered) => offered,
        Err(error) => return Ok(Err(error)),
    };
    if !may_use(&offered, is_wanted, console).await? {
        return Err(Failure::new("this computer was not linked").into());
    }
    console.unless_interrupted(linking.accept(offered)).await
}

/// Whether the user wants to use this account: somebody else may have offered it.
async fn may_use(offered: &OfferedAccount, is_wanted: bool, console: &mut Console) -> Result<bool> {
    if is_wanted {
        return Ok(true);
    }
    let (number, server) = (&offered.number, printable::line(&offered.server.to_string()));
    let prompt = format!("Use the account of {number} at {server} on this computer? (y/N): ");
    let question = Question { prompt, about: "use-account", answers: &["y", "n"] };
    Ok(console.ask_yes_or_no(&question, false).await?.unwrap_or(false))
}

fn show_linked(me: &Me, console: &Console) -> Result<()> {
    let (account, device) = (me.address.account.to_string(), me.address.device.number());
    console.report(&json!({
        "event": "chat-linked", "account": account, "device": device, "number": me.number.to_string(),
        "app": me.app.as_ref().map(ToString::to_string), "server": me.server,
    }))?;
    console
        .screen
        .show(&format!("This computer is device {device} of {} now. The account id:", me.number));
    console.print(&format!("{account}\n"))
}

async fn accept(
    args: AcceptLinkArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    if let Some(uri) = qr::scanned(&args.code)? {
        return qr::accept(uri, &args, config, console).await;
    }
    let (meeting_point, code) = MeetingPoint::from_code(&args.code, servers, console).await?;
    let explain =
        |error: &AcceptLinkError| explain::accept_link(error, &meeting_point, &args.client.account);
    let store = profile::open(&args.client.account, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    meeting_point.report(console)?;
    let nameplate = code.nameplate().clone();
    let accepting = account.accept_link(code, &meeting_point.mailbox);
    let accepting = console.unless_interrupted(accepting).await?;
    let acceptance = accepting.map_err(|error| explain(&error))?.with_copy();
    let linked = match link(&acceptance, &account, &nameplate, args.yes, console).await {
        Ok(linked) => linked.map_err(|error| explain(&error).into()),
        Err(error) => Err(error),
    };
    match linked {
        Ok((shown, can_copy)) => {
            console.screen.show(&shown);
            let mode = super::history::mode(args.history);
            if !can_copy {
                acceptance.close().await;
                return Ok(());
            }
            let copied = console.unless_interrupted(acceptance.copy(&account, mode)).await;
            acceptance.close().await;
            copy::sent(copied?, &meeting_point, &args.client.account, console)
        }
        Err(error) => {
            // Nothing is left to report, unless a signal came.
            if let Some(withdrawal) = acceptance.cancel().await {
                let left = explain::withdrawn(withdrawal, &args.client.account);
                console.screen.show(&format!("Note: {left}."));
            }
            Err(error)
        }
    }
}

/// Links the new device. Returns what to show, and whether it can take over contacts and messages.
async fn link(
    acceptance: &LinkHost,
    account: &Account,
    nameplate: &Nameplate,
    is_wanted: bool,
    console: &mut Console,
) -> Result<Result<(String, bool), AcceptLinkError>> {
    let waiting = "Waiting for the new device...";
    let unanswered = nobody_is_waiting(nameplate, OTHER_COMMAND);
    let request = console.notice_if_unanswered(waiting, &unanswered, acceptance.request());
    let request = match request.await? {
        Ok(request) => request,
        Err(error) => return Ok(Err(error)),
    };
    let name = request.name.as_deref().map(printable::line);
    let shown = name.as_ref().map_or_else(|| "the new device".to_owned(), |it| format!("'{it}'"));
    if !is_wanted && !confirm(&shown, account, console).await? {
        return Err(Failure::new("the device was not linked").into());
    }
    let shown = accept_request(acceptance, &request, &shown, console).await?;
    Ok(shown.map(|shown| (shown, request.can_copy())))
}

async fn accept_request(
    acceptance: &LinkHost,
    request: &LinkRequest,
    shown: &str,
    console: &mut Console,
) -> Result<Result<String, AcceptLinkError>> {
    let linked = match console.unless_interrupted(acceptance.accept(request)).await? {
        Ok(linked) => linked,
        Err(error) => return Ok(Err(error)),
    };
    let device = linked.device.number();
    console.report(&json!({
        "event": "chat-device-linked", "device": device, "name": request.name,
    }))?;
    Ok(Ok(format!("Linked {shown}: it is device {device} of your account.")))
}

async fn confirm(shown: &str, account: &Account, console: &mut Console) -> Result<bool> {
    let state = console.unless_interrupted(account.state()).await?;
    let number = match state {
        Ok(wormhole::chat::AccountState::Registered(me)) => format!(" to {}", me.number),
        Ok(_) | Err(_) => String::new(),
    };
    let prompt = format!("Link {shown}{number}? It can then read and write your messages. (y/N): ");
    let question = Question { prompt, about: "link", answers: &["y", "n"] };
    Ok(console.ask_yes_or_no(&question, false).await?.unwrap_or(false))
}

const OTHER_COMMAND: &str = "If the code came from `wormhole chat add`, use `wormhole chat add`.";
