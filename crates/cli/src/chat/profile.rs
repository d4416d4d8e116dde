//! The account on this computer: where its store is, and what opens it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::spawn_blocking;
use wormhole::chat::store::{Passphrase, Protection, ProtectionKind, Store, StoreError};
use wormhole::chat::{Account, Client, DirectFiles, HistoryMode, Network, Options};
use wormhole::store::{KeyName, Profile};
use zeroize::Zeroizing;

use super::{explain, refusal};
use crate::args::chat::{AccountArgs, ClientArgs, DEFAULT_ACCOUNT, ProtectWith};
use crate::args::{GlobalArgs, TorArgs};
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;
use crate::printable;
use crate::request::Servers;
use crate::secret::PasswordSource;
use crate::tor::TorChoice;

/// The directory of an account. It may not exist.
///
/// # Errors
/// The name is invalid, or there is no home directory.
pub(super) fn directory(args: &AccountArgs) -> Result<PathBuf> {
    let name: KeyName = args.account.parse().map_err(|error| {
        Failure::usage(format!("--account '{}': {error}", printable::line(&args.account)))
    })?;
    let profile = Profile::of_user().ok_or_else(|| Failure::new("there is no home directory"))?;
    Ok(profile.chat(&name))
}

/// The names of the accounts on this computer.
pub(super) fn accounts() -> Vec<String> {
    let name = DEFAULT_ACCOUNT.parse::<KeyName>().ok();
    let one = Profile::of_user().zip(name).map(|(profile, name)| profile.chat(&name));
    let entries = one.as_deref().and_then(Path::parent).and_then(|all| all.read_dir().ok());
    let found = entries.into_iter().flatten().flatten();
    let found = found.filter(|entry| matches!(Store::protection(&entry.path()), Ok(Some(_))));
    let mut names: Vec<_> =
        found.map(|entry| printable::line(&entry.file_name().to_string_lossy())).collect();
    names.sort();
    names
}

/// Opens the store of an account.
///
/// # Errors
/// There is no account, another command uses it, or the passphrase is missing or wrong.
pub(super) async fn open(args: &AccountArgs, console: &mut Console) -> Result<Store> {
    let directory = directory(args)?;
    let explain = |error: &StoreError| explain::store(error, args);
    let kind = Store::protection(&directory).map_err(|error| explain(&error))?;
    let passphrase = match kind {
        Some(ProtectionKind::Passphrase) => Some(passphrase(args).read(console).await?),
        _ => None,
    };
    let opened = spawn_blocking(move || {
        let passphrase = passphrase.map(Passphrase::from);
        Store::open(&directory, passphrase.as_ref())
    });
    let opened = console.unless_interrupted(opened).await?.context("cannot open the account")?;
    opened.map_err(|error| explain(&error).into())
}

/// Opens the store of an account, or creates it. If the user has not chosen a protection, a given passphrase protects a new
/// store, otherwise a key file.
///
/// # Errors
/// Those of [`open`]; the store cannot be created; or there is one that something else protects.
pub(super) async fn open_or_create(
    args: &AccountArgs,
    protect: Option<ProtectWith>,
    console: &mut Console,
) -> Result<Store> {
    let directory = directory(args)?;
    let kind = Store::protection(&directory).map_err(|error| explain::store(&error, args))?;
    if let Some(kind) = kind {
        check_protection(args, kind, protect)?;
        return open(args, console).await;
    }
    let protection = match (protect, passphrase(args).without_asking()?) {
        (Some(ProtectWith::Keyring), _) => Protection::Keyring,
        (Some(ProtectWith::Passphrase), None) => {
            Protection::Passphrase(new_passphrase(None, NEW_PASSPHRASE, console).await?.into())
        }
        (_, Some(given)) => Protection::Passphrase(not_empty(given)?.into()),
        (Some(ProtectWith::KeyFile) | None, None) => Protection::KeyFile,
    };
    let created = spawn_blocking(move || {
        let mut store = Store::create(&directory, &protection)?;
        store.set_history_mode(HistoryMode::ALL)?;
        Ok::<_, StoreError>(store)
    });
    let created =
        console.unless_interrupted(created).await?.context("cannot create the account")?;
    created.map_err(|error| explain::store(&error, args).into())
}

/// Checks that an account which exists already is protected as the user wants.
fn check_protection(
    args: &AccountArgs,
    kind: ProtectionKind,
    wanted: Option<ProtectWith>,
) -> Result<()> {
    let name = protection_name(kind);
    let Some(wanted) = wanted.map(protection_value).filter(|wanted| *wanted != name) else {
        return Ok(());
    };
    let change = explain::command(&format!("config --protect {wanted}"), args);
    let what = format!("the account exists already, with the protection {name}");
    Err(Failure::usage(what).hint(format!("change the protection: {change}")).into())
}

/// The name of a protection in an option.
const fn protection_value(protect: ProtectWith) -> &'static str {
    match protect {
        ProtectWith::KeyFile => "key-file",
        ProtectWith::Keyring => "keyring",
        ProtectWith::Passphrase => "passphrase",
    }
}

/// The name of the protection of a store.
pub(super) const fn protection_name(kind: ProtectionKind) -> &'static str {
    match kind {
        ProtectionKind::Keyring => protection_value(ProtectWith::Keyring),
        ProtectionKind::Passphrase => protection_value(ProtectWith::Passphrase),
        ProtectionKind::KeyFile => protection_value(ProtectWith::KeyFile),
        // Later kinds of the SDK.
        _ => "unknown",
    }
}

/// Opens an account and starts its client, which connects to the server.
///
/// # Errors
/// Those of [`open`]; the number is not registered; or Tor cannot be used.
pub(super) async fn client(
    args: &ClientArgs,
    config: &Config,
    console: &mut Console,
) -> Result<Client> {
    let account = account(open(&args.account, console).await?, &args.tor, config, console).await?;
    start(account, &args.account, config, console).await
}

/// Starts the client of an account, which connects to the server.
///
/// # Errors
/// The number is not registered.
pub(super) async fn start(
    account: Account,
    args: &AccountArgs,
    config: &Config,
    console: &mut Console,
) -> Result<Client> {
    let asks = account.setting(REQUESTS).await.map_err(|error| explain::store(&error, args))?;
    let mut options = Options::default();
    options.hold_unknown_senders = asks.is_none_or(|value| value.as_slice() != OFF);
    let direct = account.setting(DIRECT).await.map_err(|error| explain::store(&error, args))?;
    options.direct = direct_files(direct_size(direct.as_deref().map(Vec::as_slice)), config)?;
    let opened = console.unless_interrupted(Client::open(account, options)).await?;
    opened.map_err(|error| explain::open(&error.why, args).into())
}

/// How large files go directly from one person to the other: from this size on. `None` if never.
fn direct_files(min_bytes: Option<u64>, config: &Config) -> Result<Option<DirectFiles>> {
    let Some(min_bytes) = min_bytes else { return Ok(None) };
    let settings = Servers::new(&GlobalArgs::default(), config)?.settings()?;
    let mut direct = DirectFiles::default();
    direct.min_bytes = min_bytes;
    (direct.transit.policy, direct.transit.relays) = (settings.relay, settings.relays);
    Ok(Some(direct))
}

/// From which size on files go directly, in bytes; `None` if never.
fn direct_size(setting: Option<&[u8]>) -> Option<u64> {
    match setting {
        None => Some(DirectFiles::default().min_bytes),
        Some(size) => size.try_into().ok().map(u64::from_be_bytes),
    }
}

/// From which size on files go directly from one person to the other, in bytes; `None` if never.
///
/// # Errors
/// The store is damaged or cannot be read.
pub(super) fn direct(store: &Store) -> Result<Option<u64>, StoreError> {
    Ok(direct_size(store.setting(DIRECT)?.as_deref().map(Vec::as_slice)))
}

/// Decides from which size on files go directly from one person to the other, in bytes; `None` for never.
///
/// # Errors
/// The store cannot be written.
pub(super) fn set_direct(store: &mut Store, size: Option<u64>) -> Result<(), StoreError> {
    let value = size.map(u64::to_be_bytes);
    store.set_setting(DIRECT, Some(value.as_ref().map_or(OFF, |size| size.as_slice())))
}

/// Whether messages of people that the user does not know wait for a decision.
///
/// # Errors
/// The store is damaged or cannot be read.
pub(super) fn requests(store: &Store) -> Result<bool, StoreError> {
    Ok(store.setting(REQUESTS)?.is_none_or(|value| value.as_slice() != OFF))
}

/// Decides whether messages of people that the user does not know wait for a decision.
///
/// # Errors
/// The store cannot be written.
pub(super) fn set_requests(store: &mut Store, are_on: bool) -> Result<(), StoreError> {
    store.set_setting(REQUESTS, Some(OFF).filter(|_| !are_on))
}

/// Remembers whether the server accepts the account, then ends the client. Returns `done`.
///
/// # Errors
/// Those of the command.
pub(super) async fn finish(client: Client, done: Result<()>) -> Result<()> {
    if done.is_ok() {
        // The next command sends the rest.
        let _left = tokio::time::timeout(SYNC, client.synced()).await;
    }
    refusal::record_refusal(&client, done.is_err()).await;
    let _account = client.close().await;
    done
}

/// The account in a store, with the network to use.
///
/// # Errors
/// Tor cannot be used.
pub(super) async fn account(
    store: Store,
    tor: &TorArgs,
    config: &Config,
    console: &mut Console,
) -> Result<Account> {
    let mut network = Network::default();
    network.tor = TorChoice::new(tor, config)?.connect(console).await?;
    Ok(Account::new(store, network))
}

/// A new passphrase, from a file, or typed twice.
///
/// # Errors
/// It cannot be read, is empty, or was typed differently.
pub(super) async fn new_passphrase(
    file: Option<&Path>,
    hint: &'static str,
    console: &mut Console,
) -> Result<Zeroizing<String>> {
    if let Some(file) = file {
        return crate::secret::first_line(file);
    }
    let source =
        |prompt| PasswordSource { file: None, name: "new passphrase", variable: "", prompt, hint };
    let first = not_empty(source("New passphrase: ").ask(console).await?)?;
    let second = source("The same passphrase again: ").ask(console).await?;
    if first == second {
        Ok(first)
    } else {
        Err(Failure::usage("the passphrases differ: nothing has changed").into())
    }
}

/// What to do if a new account needs a passphrase and there is no terminal.
const NEW_PASSPHRASE: &str =
    "use a terminal, or instead of --ask-passphrase the option --passphrase-file FILE";

/// The setting with the size from which on files go directly. Missing: the usual one.
const DIRECT: &str = "direct-files";

/// The setting that says that everybody can write to the user.
const REQUESTS: &str = "requests";

/// Its value.
const OFF: &[u8] = b"off";

/// How long a command waits until the user's other devices have what it has sent.
const SYNC: Duration = Duration::from_secs(5);

fn passphrase(args: &AccountArgs) -> PasswordSource<'_> {
    PasswordSource {
        file: args.passphrase_file.as_deref(),
        name: "passphrase",
        variable: "WORMHOLE_CHAT_PASSPHRASE",
        prompt: "Passphrase: ",
        hint: "use --passphrase-file FILE, or set WORMHOLE_CHAT_PASSPHRASE",
    }
}

fn not_empty(passphrase: Zeroizing<String>) -> Result<Zeroizing<String>> {
    if passphrase.is_empty() {
        return Err(Failure::usage("the passphrase is empty").into());
    }
    Ok(passphrase)
}
