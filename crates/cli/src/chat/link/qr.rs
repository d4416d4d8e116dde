//! `chat link --qr` and `chat link accept sgnl://…`: linking by a QR code, as other clients of the service do.

use anyhow::Result;
use serde_json::json;
use wormhole::chat::{
    AcceptLinkError, Account, LinkError, LinkUri, LinkedDevice, Me, OfferedAccount, QrLinking,
    ScannedDevice, Server,
};

use super::{may_use, show_linked};
use crate::args::chat::{AcceptLinkArgs, AccountArgs, NewDeviceArgs};
use crate::ask::Ask as _;
use crate::chat::register::ServerChoice;
use crate::chat::{explain, profile};
use crate::config::Config;
use crate::console::{Console, Question};
use crate::failure::Failure;
use crate::{printable, qr};

/// The QR code that the user has passed as text. `None`: it is not one.
///
/// # Errors
/// It is the beginning of one, and malformed.
pub(super) fn scanned(code: &str) -> Result<Option<LinkUri>> {
    let is_qr = ["sgnl:", "tsdevice:"].iter().any(|start| {
        code.trim().get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start))
    });
    if !is_qr {
        return Ok(None);
    }
    let uri = code.parse().map_err(|error| {
        Failure::usage(format!("'{}': {error}", printable::line(code)))
            .hint("put the whole text in single quotes: it contains '&'")
    })?;
    Ok(Some(uri))
}

/// Makes this computer a device of the account whose primary device scans the code.
///
/// # Errors
/// It is not linked.
pub(super) async fn new_device(
    args: NewDeviceArgs,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let server = server(&args)?;
    let explain = |error: &LinkError| explain::qr_link(error, &args.client.account);
    let protect = args.new.protection();
    let store = profile::open_or_create(&args.client.account, protect, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    if let Some(me) = finish(&account, &args.client.account, args.forget, console).await? {
        console.screen.show("The link that was interrupted before is complete now.");
        return show_linked(&me, console);
    }
    let linking = console.unless_interrupted(account.link_by_qr(server, args.name.clone())).await?;
    let mut linking = linking.map_err(|error| explain(&error))?;
    let offered = offer(&mut linking, console).await?.map_err(|error| explain(&error))?;
    if !may_use(&offered, args.yes, console).await? {
        return Err(Failure::new("this computer was not linked").into());
    }
    let linked = console.unless_interrupted(linking.accept(offered)).await?;
    show_linked(&linked.map_err(|error| explain(&error))?, console)?;
    console.screen.show(&format!(
        "Note: {} on both devices copies contacts and earlier messages.",
        explain::command("link history", &args.client.account)
    ));
    Ok(())
}

fn server(args: &NewDeviceArgs) -> Result<Server> {
    let Some(server) = args.server.as_deref() else {
        return Err(Failure::usage("the messaging server is missing")
            .hint("use --server URL: a QR code does not name the server of the account")
            .into());
    };
    let choice = ServerChoice {
        url: server,
        app: args.app.as_deref(),
        token_file: args.token_file.as_deref(),
        allow_plain: args.new.allow_plain,
    };
    choice.server()
}

/// Completes a link that was interrupted, or gives it up.
async fn finish(
    account: &Account,
    args: &AccountArgs,
    forget: bool,
    console: &mut Console,
) -> Result<Option<Me>> {
    if forget {
        let forgotten = console.unless_interrupted(account.forget_link()).await?;
        forgotten.map_err(|error| explain::store(&error, args))?;
        return Ok(None);
    }
    let finished = console.unless_interrupted(account.finish_link()).await?;
    Ok(finished.map_err(|error| explain::qr_link(&error, args))?)
}

async fn offer(
    linking: &mut QrLinking,
    console: &mut Console,
) -> Result<Result<OfferedAccount, LinkError>> {
    let uri = linking.uri();
    let (text, older) = (uri.to_string(), uri.to_older_text());
    console.report(&json!({"event": "chat-link-qr", "uri": text, "older_uri": older}))?;
    console.screen.show(
        "Scan this QR code with the primary device of your account. Do not show it to anybody else: a person who scans it can link this \
         computer to another account.",
    );
    if let Some(picture) = qr::draw(&text) {
        console.screen.show_picture(&picture);
    }
    console.screen.show(&format!(
        "If the primary device is a computer, please run there:\n\nwormhole chat link accept '{text}'\n\nEarlier programs read: \
         {older}\n\nWaiting for that device, at most ten minutes..."
    ));
    console.unless_interrupted(linking.offer()).await
}

/// Gives the account to the device that shows the code.
///
/// # Errors
/// It is not linked.
pub(super) async fn accept(
    uri: LinkUri,
    args: &AcceptLinkArgs,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let store = profile::open(&args.client.account, console).await?;
    let account = profile::account(store, &args.client.tor, config, console).await?;
    let scanned = console.unless_interrupted(account.scan(uri)).await?;
    let scanned = scanned.map_err(|error| explain::qr_accept(&error, &args.client.account))?;
    if !args.yes && !confirm(console).await? {
        return Err(Failure::new("the device was not linked").into());
    }
    match link(&scanned, console).await {
        Ok(Ok(linked)) => {
            let device = linked.device.number();
            console.report(&json!({
                "event": "chat-device-linked", "device": device, "name": null,
                "signed": linked.is_signed,
            }))?;
            console.screen.show(&format!("Linked: it is device {device} of your account."));
            show_signature(&linked, &args.client.account, console);
            Ok(())
        }
        Ok(Err(error)) => Err(explain::qr_accept(&error, &args.client.account).into()),
        Err(error) => {
            if let Some(withdrawal) = scanned.cancel().await {
                let left = explain::withdrawn(withdrawal, &args.client.account);
                console.screen.show(&format!("Note: {left}."));
            }
            Err(error)
        }
    }
}

/// Says what was signed, if the new device has not said it itself.
fn show_signature(linked: &LinkedDevice, args: &AccountArgs, console: &Console) {
    let device = linked.device.number();
    if let Some(registration_id) = linked.believed {
        console.screen.show(&format!(
            "Note: the QR code does not say which registration id the device has, so this is what the server says: \
             {registration_id}. It is signed."
        ));
    } else if !linked.is_signed {
        console.screen.show(&format!(
            "Note: this computer could not sign device {device}, so nobody writes to it until it signs itself, or you run {}.",
            explain::command(&format!("devices --sign {device}"), args)
        ));
    }
}

async fn link(
    scanned: &ScannedDevice,
    console: &mut Console,
) -> Result<Result<LinkedDevice, AcceptLinkError>> {
    let accepting = scanned.accept();
    console
        .notice_if_slow("Waiting until the new device has accepted the account...", accepting)
        .await
}

async fn confirm(console: &mut Console) -> Result<bool> {
    console.screen.show(
        "A QR code does not prove whose device shows it. Continue only if you see it on the screen of your own new device, not in \
         a message, on a website, or on paper: the person who made it could then read and write your messages.",
    );
    let prompt = "Is the QR code on the screen of your own new device? Link it? (y/N): ".to_owned();
    let question = Question { prompt, about: "link-qr", answers: &["y", "n"] };
    Ok(console.ask_yes_or_no(&question, false).await?.unwrap_or(false))
}
