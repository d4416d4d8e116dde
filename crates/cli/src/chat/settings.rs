//! `chat config`: the account on this computer, and what protects it.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use wormhole::chat::Token;
use wormhole::chat::store::{Protection, Registration, Store};

use super::refusal::Refusal;
use super::{explain, history, profile, register, username};
use crate::args::chat::{AccountArgs, ConfigArgs, ProtectWith, Switch};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::json::add_path;
use crate::{printable, units};

/// Shows the account, after changing its protection if the user wants that.
///
/// # Errors
/// The account cannot be opened or changed.
pub(super) async fn run(args: ConfigArgs, config: &Config, console: &mut Console) -> Result<()> {
    let token = args.token_file.as_deref().map(register::token).transpose()?;
    let mut store = profile::open(&args.client.account, console).await?;
    if let Some(token) = &token {
        set_token(&mut store, token, &args.client.account)?;
    }
    if let Some(is_on) = args.read_receipts {
        let changed = store.set_read_receipts(is_on);
        changed.map_err(|error| explain::store(&error, &args.client.account))?;
    }
    if let Some(protect) = args.protect {
        let protection = match protect {
            ProtectWith::KeyFile => Protection::KeyFile,
            ProtectWith::Keyring => Protection::Keyring,
            ProtectWith::Passphrase => {
                let file = args.new_passphrase_file.as_deref();
                let new = profile::new_passphrase(file, NEW_PASSPHRASE, console).await?;
                Protection::Passphrase(new.into())
            }
        };
        let changing = spawn_blocking(move || {
            let changed = store.set_protection(&protection);
            (store, changed)
        });
        // Not interrupted: the user must know which passphrase is valid.
        let (kept, changed) = changing.await.context("cannot change the protection")?;
        changed.map_err(|error| explain::store(&error, &args.client.account))?;
        store = kept;
    }
    if let Some(requests) = args.requests {
        let set = profile::set_requests(&mut store, requests == Switch::On);
        set.map_err(|error| explain::store(&error, &args.client.account))?;
    }
    if let Some(size) = args.direct_files {
        let set = profile::set_direct(&mut store, size.0);
        set.map_err(|error| explain::store(&error, &args.client.account))?;
    }
    show(&store, &args, console)?;
    if args.discoverable || args.not_discoverable {
        set_discoverable(store, &args, config, console).await?;
    }
    Ok(())
}

/// Tells the server whether the directory contains the number.
async fn set_discoverable(
    store: Store,
    args: &ConfigArgs,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let account = profile::account(store, &args.client.tor, config, console).await?;
    let set = console.unless_interrupted(account.set_discoverable(args.discoverable)).await?;
    set.map_err(|error| username::explain_name(&error, &args.client.account))?;
    let event = json!({"event": "chat-discoverable", "discoverable": args.discoverable});
    console.report(&event)?;
    console.screen.show(if args.discoverable {
        "Others who know your number find you in the directory now."
    } else {
        "Others can no longer find you in the directory. People who know your number can still write to you."
    });
    Ok(())
}

fn set_token(store: &mut Store, token: &Token, args: &AccountArgs) -> Result<()> {
    if store.registration().map_err(|error| explain::store(&error, args))?.is_none() {
        let register = explain::command("register +NUMBER --server URL", args);
        let failure = Failure::usage("--token-file: no number is registered in this account");
        return Err(failure.hint(format!("register first: {register}")).into());
    }
    let changed = store.set_token(token).and_then(|is_changed| {
        if is_changed {
            Refusal::forget(store)?;
        }
        Ok(is_changed)
    });
    if changed.map_err(|error| explain::store(&error, args))? {
        return Ok(());
    }
    let why = "this account is in the default app of the server, which needs no token";
    Err(Failure::usage(why).into())
}

fn show(store: &Store, args: &ConfigArgs, console: &Console) -> Result<()> {
    let explain_store = |error| explain::store(&error, &args.client.account);
    let directory = profile::directory(&args.client.account)?;
    let registration = store.registration().map_err(explain_store)?;
    let protection = Store::protection(&directory).map_err(explain_store)?;
    let protection = protection.map_or("", profile::protection_name);
    let refusal = Refusal::stored(store).map_err(explain_store)?;
    let outbox = store.outbox().map_err(explain_store)?.len();
    let read_receipts = store.read_receipts().map_err(explain_store)?;
    let (received, failed) = (store.received_count(), store.failed_count());
    let refused =
        refusal.as_ref().map(|it| json!({"since": it.since, "reason": it.error().to_string()}));
    let requests = profile::requests(store).map_err(explain_store)?;
    let direct = profile::direct(store).map_err(explain_store)?;
    let waiting = store.request_count();
    let mut value = json!({
        "event": "chat-account", "requests": requests, "waiting_requests": waiting, "protection": protection, "waiting": received, "to_send": outbox,
        "direct_files": direct, "not_sent": failed, "refused": refused, "read_receipts": read_receipts,
        "history": history::mode_name(store.history_mode()),
    });
    add_path(&mut value, &directory);
    add_registration(&mut value, registration.as_ref());
    console.report(&value)?;
    let mut text =
        registration.as_ref().map(|it| describe(it, &args.client.account)).unwrap_or_default();
    if let Some(refusal) = &refusal {
        let why = printable::line(&refusal.error().to_string());
        text += &format!("refused     since {}: {why}\n", units::time(refusal.since));
    }
    text += &format!("directory   {}\n", printable::path(&directory));
    text += &format!("protection  {protection}\n");
    if !requests {
        text += "requests    off: everybody can write to you\n";
    }
    match direct {
        Some(size) => text += &format!("direct      files of at least {}\n", units::size(size)),
        None => text += "direct      off: files go through the service only\n",
    }
    if waiting > 0 {
        text += &format!("requests    {waiting} waiting: wormhole chat requests\n");
    }
    text += &format!(
        "waiting     {}, {} to send\n",
        messages(received, "received "),
        messages(outbox, "")
    );
    text += &format!("history     {}\n", history::kept(store.history_mode()));
    if !read_receipts {
        text += "receipts    nobody learns what you have read\n";
    }
    if failed > 0 {
        text += &format!("not sent    {}\n", messages(failed, ""));
    }
    console.print(&text)?;
    if let Some(advice) = refusal.and_then(|it| {
        explain::request(&it.error(), &args.client.account).advice().map(str::to_owned)
    }) {
        console.screen.show(&format!("What to do: {advice}."));
    }
    if outbox + failed > 0 {
        let list = explain::command("outbox", &args.client.account);
        console.screen.show(&format!("To send waiting messages, or to see why they wait: {list}"));
    }
    Ok(())
}

fn messages(count: usize, kind: &str) -> String {
    if count == 1 { format!("1 {kind}message") } else { format!("{count} {kind}messages") }
}

fn add_registration(value: &mut Value, registration: Option<&Registration>) {
    let account = registration.and_then(|it| it.account).map(|it| it.account.to_string());
    let app = registration.and_then(|it| it.app.as_ref()).map(|app| app.name.as_str());
    value["account"] = account.into();
    value["app"] = app.into();
    value["number"] = registration.map(|it| it.number.as_str()).into();
    value["server"] = registration.map(|it| it.server.as_str()).into();
}

fn describe(registration: &Registration, args: &AccountArgs) -> String {
    let line = |name: &str, value: &str| format!("{name:<12}{}\n", printable::line(value));
    let app = registration.app.as_ref().map_or("(default)", |app| &app.name);
    let account = registration.account.map(|address| address.account.to_string());
    let account = account
        .unwrap_or_else(|| format!("not confirmed yet: {}", explain::command("verify CODE", args)));
    [
        line("number", &registration.number),
        line("app", app),
        line("server", &registration.server),
        line("account", &account),
    ]
    .concat()
}

/// What to do if the protection needs a new passphrase and there is no terminal.
const NEW_PASSPHRASE: &str = "use a terminal, or --new-passphrase-file FILE (--passphrase-file is for the present passphrase)";
