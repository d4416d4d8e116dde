//! Explains errors of `chat`: what happened, and what to do.

mod devices;

use std::io::ErrorKind;
use std::path::Path;

use wormhole::chat::group::ChangeError;
use wormhole::chat::store::StoreError;
use wormhole::chat::{
    DeviceId, Ended, GroupError, IdentityError, Me, NotStored, OpenError, QueueError,
    RegisterError, RequestError, ServerFault,
};

use super::{profile, show};
use crate::args::chat::{AccountArgs, DEFAULT_ACCOUNT};
use crate::failure::Failure;
use crate::printable;
use crate::request::free_space;
use crate::shell::quote;
pub(super) use devices::{
    accept_link, copy, device, foreign_device, introduce, link, lists_differ, own_unsigned_device,
    qr_accept, qr_link, unsigned_device, withdrawn,
};

/// A command that the user can type, for the same account.
pub(super) fn command(command: &str, args: &AccountArgs) -> String {
    let account = printable::line(&args.account);
    let account =
        if account == DEFAULT_ACCOUNT { String::new() } else { format!(" --account {account}") };
    format!("`wormhole chat {command}{account}`")
}

/// An error of the store.
pub(super) fn store(error: &StoreError, args: &AccountArgs) -> Failure {
    let name = printable::line(&args.account);
    match error {
        StoreError::NotFound => not_found(&name, args),
        StoreError::InUse => {
            Failure::new(format!("another `wormhole chat` command uses the account '{name}'"))
                .hint("end it first, for example `wormhole chat receive --follow` with Ctrl-C")
        }
        StoreError::WrongPassphrase => Failure::new("the passphrase is wrong").hint(format!(
            "try again. If you have forgotten it, nobody can read the account: move the directory {} away, and \
             register again",
            directory(args)
        )),
        StoreError::KeyFileMissing => Failure::new(plain(error)).hint(format!(
            "restore the file whose name ends in .key in {} from a backup",
            directory(args)
        )),
        StoreError::KeyringKeyMissing => Failure::new(plain(error)).hint(format!(
            "use the keyring with which you have protected the account, or restore it from a backup. If the key is lost, \
             nobody can read the account: move the directory {} away, and register again",
            directory(args)
        )),
        StoreError::KeyringLocked => Failure::new(plain(error)).hint(
            "unlock the keyring of your desktop, for example with the program Passwords and Keys or KWalletManager, and \
             try again",
        ),
        StoreError::KeyringMissing => Failure::new(plain(error)).hint(
            "create a keyring in the program Passwords and Keys or KWalletManager, make it the default one, and try again",
        ),
        StoreError::KeyringUnavailable => Failure::new(plain(error)).hint(
            "try again in a terminal of your desktop: a keyring, such as GNOME Keyring or KWallet, must be running, and \
             the variable DBUS_SESSION_BUS_ADDRESS must name its bus",
        ),
        StoreError::KeyringUnsupported => Failure::new(plain(error)).hint(
            "use a build for Linux with the feature `keyring`, or another protection: key-file or passphrase",
        ),
        StoreError::Damaged => Failure::new(plain(error)).hint(format!(
            "restore a backup of the directory {}, or move the directory away and register again",
            directory(args)
        )),
        StoreError::Database(_) | StoreError::Io(_) => {
            let free = profile::directory(args).ok().as_deref().and_then(free_space);
            not_usable(error, free, args)
        }
        StoreError::Exists
        | StoreError::KeyringFailed(_)
        | StoreError::NoteTooLong
        | StoreError::PassphraseNeeded
        | StoreError::SettingNameTooLong
        | StoreError::UnknownFormat => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// The store cannot be read or written. SQLite does not always say that the disk is full.
fn not_usable(error: &StoreError, free: Option<u64>, args: &AccountArgs) -> Failure {
    let failure = Failure::new(plain(error));
    match free.filter(|free| *free < NEEDED) {
        Some(free) => failure.hint(format!(
            "the disk with {} has only {} free: free some space, and try again. Nothing is lost",
            directory(args),
            show::size(free)
        )),
        None => failure,
    }
}

fn not_found(name: &str, args: &AccountArgs) -> Failure {
    let failure = Failure::new(format!("there is no chat account '{name}' here"));
    let others = profile::accounts();
    if others.is_empty() {
        let register = command("register +NUMBER --server URL", args);
        return failure.hint(format!("register first: {register}"));
    }
    let shown: Vec<_> = others.iter().take(MAX_ACCOUNTS).map(String::as_str).collect();
    let more = if others.len() > MAX_ACCOUNTS { ", ..." } else { "" };
    failure.hint(format!("name the account with --account NAME: {}{more}", shown.join(", ")))
}

/// The directory of an account, as text.
fn directory(args: &AccountArgs) -> String {
    profile::directory(args).map_or_else(
        |_| "of the account".to_owned(),
        |path| format!("'{}'", printable::path(&path)),
    )
}

/// Why a group is not changed.
pub(super) fn group(error: &GroupError) -> Failure {
    match error {
        GroupError::NotPermitted(ChangeError::BadTitle) => Failure::usage(plain(error)),
        GroupError::NotPermitted(ChangeError::LastAdmin) => Failure::new(plain(error))
            .hint("`wormhole chat group promote`, or `wormhole chat group leave --successor`"),
        GroupError::Ended(error) => ended(error),
        GroupError::Internal
        | GroupError::NotFound
        | GroupError::NotMember
        | GroupError::NotPermitted(_)
        | GroupError::ServerRefused
        | GroupError::TooLong
        | GroupError::TooManyWaiting => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// Why a client could not be started.
pub(super) fn open(error: &OpenError, args: &AccountArgs) -> Failure {
    match error {
        OpenError::Store(error) => store(error, args),
        OpenError::NotRegistered => Failure::new("the number is not registered yet")
            .hint(format!("confirm the code: {}", command("verify CODE", args))),
        OpenError::Damaged(_) => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// Why a number could not be registered.
pub(super) fn register(error: &RegisterError, args: &AccountArgs) -> Failure {
    match error {
        RegisterError::Store(error) => store(error, args),
        RegisterError::Request(RequestError::AppRefused) => {
            Failure::new("the server does not accept the app's name and token").hint(
                "check --app and --token-file, and register again; or ask the operator of the server for a new token",
            )
        }
        RegisterError::Request(error) => no_code(error),
        RegisterError::AlreadyRegistered => Failure::new("this account is registered already")
            .hint("use --account NAME to register another one"),
        RegisterError::WrongCode => Failure::new(plain(error)).hint(format!(
            "check the code and try again; {} requests a code again",
            command("register +NUMBER --server URL", args)
        )),
        RegisterError::NotRequested
        | RegisterError::NumberTaken
        | RegisterError::PlainHttp(_) => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// The server has no default app, or does not accept it any more.
pub(super) fn app_needed() -> Failure {
    Failure::new("the server does not accept a registration without an app").hint(
        "ask the operator of the server for the name and the token of an app, and add --app NAME --token-file FILE",
    )
}

/// Why a code could not be confirmed.
pub(super) fn verify(error: &RegisterError, args: &AccountArgs) -> Failure {
    if let RegisterError::Request(
        why @ (RequestError::InvalidAnswer(_)
        | RequestError::Connection(_)
        | RequestError::NotAService),
    ) = error
    {
        // The address was typed in another command.
        return request(why, args);
    }
    register(error, args)
}

/// Why the server has sent no code.
fn no_code(error: &RequestError) -> Failure {
    match error {
        RequestError::Connection(_) => {
            Failure::new(plain(error)).hint("check the address: --server URL")
        }
        RequestError::NotAService | RequestError::NotFound => {
            Failure::new(plain(&RequestError::NotAService)).hint("check the address: --server URL")
        }
        RequestError::AppRefused
        | RequestError::CredentialsRefused
        | RequestError::Internal
        | RequestError::IntraApp
        | RequestError::Invalid(_)
        | RequestError::InvalidAnswer(_)
        | RequestError::Refused(_)
        | RequestError::StorageFull
        | RequestError::TooMany(_)
        | RequestError::Unavailable(_) => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// Why a request failed.
pub(super) fn request(error: &RequestError, args: &AccountArgs) -> Failure {
    let failure = Failure::new(plain(error));
    match error {
        RequestError::Connection(_) | RequestError::NotAService => failure.hint(format!(
            "check the address of the server: {} shows it",
            command("config", args)
        )),
        RequestError::InvalidAnswer(ServerFault::Format) => failure.hint(format!(
            "if the network has a login page, log in and try again. Otherwise check the address of the server: {} shows it",
            command("config", args)
        )),
        RequestError::InvalidAnswer(_) => {
            failure.hint("try again. If that does not help, ask the operator of the server")
        }
        RequestError::CredentialsRefused => failure.hint(
            "if you have registered the number elsewhere, use it there. If not, somebody else may have your number now. \
             To register it again here, use --account with another name",
        ),
        RequestError::AppRefused => failure.hint(format!(
            "when you have the new token in a file: {}",
            command("config --token-file FILE", args)
        )),
        RequestError::Internal
        | RequestError::IntraApp
        | RequestError::Invalid(_)
        | RequestError::NotFound
        | RequestError::Refused(_)
        | RequestError::StorageFull
        | RequestError::TooMany(_)
        | RequestError::Unavailable(_) => failure,
        // Later errors of the SDK have no hint.
        _ => failure,
    }
}

/// Why a request of a client failed. The server refuses a linked device for other reasons than the first one.
pub(super) fn client_request(error: &RequestError, me: &Me, args: &AccountArgs) -> Failure {
    let is_linked = me.address.device != DeviceId::PRIMARY;
    if *error != RequestError::CredentialsRefused || !is_linked {
        return request(error, args);
    }
    let account = printable::line(&args.account);
    Failure::new("this device was removed from the account, or the number was registered again elsewhere").hint(format!(
        "link this computer again, with another name: `wormhole chat link --account NAME`. Earlier messages stay in the account \
         '{account}': `wormhole chat history` shows them"
    ))
}

/// Why a message is not in the outbox.
pub(super) fn send(error: &QueueError, args: &AccountArgs) -> Failure {
    match error {
        QueueError::Request(error) => request(error, args),
        QueueError::TooLong => too_long(),
        QueueError::Blocked(account) => {
            let unblock = command(&format!("requests unblock {account}"), args);
            Failure::new(plain(error)).hint(format!("if you want to write: {unblock}"))
        }
        QueueError::NumberMoved { number, to, .. } => {
            let accept = command(&format!("contacts {number} --accept-account {to}"), args);
            Failure::new(plain(error))
                .hint(format!("if the person confirms that this account is theirs: {accept}"))
        }
        QueueError::IdentityChanged { account, .. } => {
            let verify = command(&format!("safety {account} --verify"), args);
            Failure::new(plain(error)).hint(format!("compare the safety number: {verify}"))
        }
        QueueError::File(path, kind) => {
            let kind = if path.is_dir() { ErrorKind::IsADirectory } else { *kind };
            Failure::new(format!("'{}': {}", printable::path(path), file_error(kind)))
        }
        QueueError::FileTooLarge(path) => too_large(path),
        QueueError::NotReachable(path) => not_reachable(path),
        QueueError::DraftGone
        | QueueError::Ended(_)
        | QueueError::Empty
        | QueueError::NoSuchRecipient(_)
        | QueueError::NotAllowed(_)
        | QueueError::NotMember(_)
        | QueueError::OutboxFull
        | QueueError::OwnRoute(_)
        | QueueError::TooManyFailed
        | QueueError::TooManyTimers => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

fn too_large(path: &Path) -> Failure {
    let size = path.metadata().map(|found| format!(" has {}, but", show::size(found.len())));
    let size = size.unwrap_or_else(|_| " is too large:".to_owned());
    // Between two people, larger ones go directly.
    let is_never_sent = path.metadata().is_ok_and(|found| found.len() > LARGEST_DIRECT_FILE);
    let most =
        if is_never_sent { show::size(LARGEST_DIRECT_FILE) } else { LARGEST_FILE.to_owned() };
    Failure::new(format!("'{}'{size} a file may have at most {most}", printable::path(path)))
        .hint("`wormhole send` sends files of any size")
}

fn not_reachable(path: &Path) -> Failure {
    let size = path.metadata().map(|found| show::size(found.len()));
    let size = size.unwrap_or_else(|_| "more".to_owned());
    Failure::new(format!(
        "'{}' has {size}, but the service takes files of at most {LARGEST_FILE}, and the other person cannot be reached directly now",
        printable::path(path)
    ))
    .hint(
        "try again while the other person runs `wormhole chat receive --follow`; both must have written to each other",
    )
}

fn file_error(kind: ErrorKind) -> String {
    if kind == ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else if kind == ErrorKind::IsADirectory {
        "this is a directory: only files can be sent".to_owned()
    } else if kind == ErrorKind::PermissionDenied {
        "you may not read this file".to_owned()
    } else {
        kind.to_string()
    }
}

/// A text is too long.
pub(super) fn too_long() -> Failure {
    Failure::new("the text is too long for a message").hint("send it as a file: --file PATH")
}

/// Why a client has ended.
pub(super) fn ended(error: &Ended) -> Failure {
    Failure::new(plain(error))
}

/// Why something is not in the store of a client.
pub(super) fn not_stored(error: &NotStored) -> Failure {
    Failure::new(plain(error))
}

/// Why something about an identity could not be done.
pub(super) fn identity(error: &IdentityError, who: &str, args: &AccountArgs) -> Failure {
    match error {
        IdentityError::Unknown => {
            let send = command(&format!("send {} hello", quote(&printable::line(who))), args);
            Failure::new("there is no safety number yet: you have not exchanged a message")
                .hint(format!("send one first, for example {send}"))
        }
        IdentityError::NewKeyNotTheirs => {
            let refuse = format!("safety {} --refuse", quote(&printable::line(who)));
            Failure::new(plain(error)).hint(format!("refuse it: {}", command(&refuse, args)))
        }
        IdentityError::Ended(_)
        | IdentityError::Mismatch
        | IdentityError::NotCurrent
        | IdentityError::Refused(_) => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// The command names the user's own account as the other person.
pub(super) fn own_number() -> Failure {
    Failure::usage("this is your own account").hint("name another person or a group")
}

/// A message waits because the recipient's identity key has changed.
pub(super) fn identity_changed(who: &str, args: &AccountArgs) -> Failure {
    let verify = command(&format!("safety {} --verify", quote(&printable::line(who))), args);
    Failure::new(format!(
        "the safety number with {who} has changed: the message waits until you accept the new one"
    ))
    .hint(format!(
        "{who} may have a new phone, or somebody else may pretend to be {who}. Compare the number: {verify}. The other \
         person can see it after sending you a message"
    ))
}

/// A warning that the identity key of a recipient has changed.
pub(super) fn changed_recipient(label: &str, argument: &str, args: &AccountArgs) -> String {
    let verify = command(&format!("safety {} --verify", quote(argument)), args);
    format!(
        "The safety number with {label} has changed: a new phone, or somebody else. Messages to {argument} wait until you \
         accept it: {verify}"
    )
}

/// A warning that a message came from a changed identity key.
pub(super) fn changed_sender(label: &str, argument: &str, args: &AccountArgs) -> String {
    let verify = command(&format!("safety {} --verify", quote(argument)), args);
    format!(
        "This message came with a new safety number: {label} has a new phone, or somebody else pretends to be {label}. \
         Messages to {argument} wait until you accept it: {verify}"
    )
}

fn plain(error: &impl ToString) -> String {
    printable::line(&error.to_string())
}

/// Bytes that a message store needs for its work.
const NEEDED: u64 = 1 << 20;

/// Maximum number of accounts that an error lists.
const MAX_ACCOUNTS: usize = 10;

/// The largest file that the service takes, in words.
const LARGEST_FILE: &str = "100 MiB (104.9 MB)";

/// The largest file that goes directly to another person, in bytes.
const LARGEST_DIRECT_FILE: u64 = 2 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> AccountArgs {
        AccountArgs { account: DEFAULT_ACCOUNT.to_owned(), passphrase_file: None }
    }

    #[test]
    fn a_full_disk_is_named_whatever_the_database_says() {
        let error = StoreError::Database("disk I/O error".into());
        let full = not_usable(&error, Some(0), &args());
        let advice = full.advice().unwrap();
        assert!(
            advice.starts_with("the disk with ") && advice.contains(" has only 0 bytes free: ")
        );
        assert_eq!(not_usable(&error, Some(1 << 30), &args()).advice(), None);
    }

    #[test]
    fn a_wrong_address_is_corrected_where_it_was_typed() {
        for error in [RequestError::NotAService, RequestError::NotFound] {
            let failure = register(&RegisterError::Request(error), &args());
            assert_eq!(failure.to_string(), "this is not the address of a messaging service");
            assert_eq!(failure.advice(), Some("check the address: --server URL"));
        }
        let other = RequestError::InvalidAnswer(ServerFault::Format);
        let failure = verify(&RegisterError::Request(other), &args());
        assert!(failure.advice().unwrap().contains("`wormhole chat config` shows it"));
    }

    #[test]
    fn no_answer_of_a_server_leads_to_removing_the_account() {
        let args = args();
        for error in
            [RequestError::CredentialsRefused, RequestError::InvalidAnswer(ServerFault::Format)]
        {
            let failure = request(&error, &args);
            assert!(!failure.advice().unwrap().contains("remove"), "{error}");
        }
    }
}
