//! Explains errors of `chat`: what happened, and what to do.

use wormhole::chat::store::StoreError;
use wormhole::chat::{
    AttachmentError, Ended, IdentityError, OpenError, RegisterError, RequestError, SendError,
};

use crate::args::chat::AccountArgs;
use crate::failure::Failure;
use crate::printable;

/// An error of the store.
pub(super) fn store(error: &StoreError, args: &AccountArgs) -> Failure {
    let name = printable::line(&args.account);
    match error {
        StoreError::NotFound => Failure::new(format!("there is no chat account '{name}' here"))
            .hint("register first: `wormhole chat register +NUMBER --server URL`"),
        StoreError::InUse => {
            Failure::new(format!("another `wormhole chat` command uses the account '{name}'"))
                .hint("end it first, for example `wormhole chat receive --follow`")
        }
        StoreError::WrongPassphrase => Failure::new("the passphrase is wrong").hint(
            "nothing has changed. Without the passphrase, nobody can read the account: remove its directory and register \
             again",
        ),
        StoreError::KeyFileMissing => Failure::new(plain(error))
            .hint("restore the file whose name ends in .key from a backup of the account's directory"),
        StoreError::Damaged => Failure::new(plain(error)).hint(
            "restore a backup of the account's directory, or remove the directory and register again",
        ),
        StoreError::Database(_)
        | StoreError::Exists
        | StoreError::Io(_)
        | StoreError::PassphraseNeeded
        | StoreError::SettingNameTooLong
        | StoreError::UnknownFormat => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// Why a client could not be started.
pub(super) fn open(error: &OpenError, args: &AccountArgs) -> Failure {
    match error {
        OpenError::Store(error) => store(error, args),
        OpenError::NotRegistered => Failure::new("the number is not registered yet")
            .hint("confirm the code: `wormhole chat verify CODE`"),
        OpenError::Damaged(_) => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// Why a number could not be registered.
pub(super) fn register(error: &RegisterError, args: &AccountArgs) -> Failure {
    match error {
        RegisterError::Store(error) => store(error, args),
        RegisterError::Request(error) => request(error),
        RegisterError::AlreadyRegistered => Failure::new("this account is registered already")
            .hint("use --account NAME to register another one"),
        RegisterError::WrongCode => {
            Failure::new(plain(error)).hint("`wormhole chat register` requests another one")
        }
        RegisterError::NotRequested | RegisterError::NumberTaken => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// Why a request failed.
pub(super) fn request(error: &RequestError) -> Failure {
    let failure = Failure::new(plain(error));
    match error {
        RequestError::Link(_) | RequestError::NotAService => {
            failure.hint("check the address of the server: `wormhole chat config` shows it")
        }
        RequestError::CredentialsRefused => failure.hint(
            "if you have registered the number elsewhere, use it there; otherwise register it again with --account NAME",
        ),
        RequestError::AppRefused
        | RequestError::NotFound
        | RequestError::Refused(_)
        | RequestError::TooMany(_)
        | RequestError::Unavailable(_) => failure,
        // Later errors of the SDK have no hint.
        _ => failure,
    }
}

/// Why a message is not in the outbox.
pub(super) fn send(error: &SendError) -> Failure {
    match error {
        SendError::Request(error) => request(error),
        SendError::TooLong => too_long(),
        SendError::NumberMoved { to, .. } => Failure::new(plain(error))
            .hint(format!("if the person confirms it, write to the new account: {to}")),
        SendError::Ended(_)
        | SendError::Empty
        | SendError::File(..)
        | SendError::FileTooLarge(_)
        | SendError::NoSuchRecipient(_)
        | SendError::OutboxFull
        | SendError::OwnRoute(_) => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
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

/// Why something about an identity could not be done.
pub(super) fn identity(error: &IdentityError) -> Failure {
    Failure::new(plain(error))
}

/// Why a file was not saved.
pub(super) fn attachment(error: &AttachmentError) -> Failure {
    match error {
        AttachmentError::Request(error) => request(error),
        AttachmentError::WriteFailed(..) => Failure::new(plain(error))
            .hint("the message is shown again; --to DIR saves its files elsewhere"),
        AttachmentError::Ended(_)
        | AttachmentError::Exists(_)
        | AttachmentError::Expired
        | AttachmentError::NotAuthentic
        | AttachmentError::TooLarge => Failure::new(plain(error)),
        // Later errors of the SDK have no hint.
        _ => Failure::new(plain(error)),
    }
}

/// A message waits because the recipient's identity key has changed.
pub(super) fn identity_changed(who: &str) -> Failure {
    Failure::new(format!(
        "the safety number with {who} has changed: the message waits until you accept the new one"
    ))
    .hint(format!(
        "{who} may have a new phone, or somebody else may pretend to be {who}. Compare the number: `wormhole chat \
         safety {who} --verify`"
    ))
}

/// A warning that the identity key of a recipient has changed.
pub(super) fn changed_recipient(label: &str, argument: &str) -> String {
    format!(
        "The safety number with {label} has changed: a new phone, or somebody else. Messages to {argument} wait until you \
         accept it: wormhole chat safety {argument} --verify"
    )
}

/// A warning that a message came from a changed identity key.
pub(super) fn changed_sender(label: &str, argument: &str) -> String {
    format!(
        "This message came with a new safety number: {label} has a new phone, or somebody else pretends to be {label}. \
         Compare it: wormhole chat safety {argument} --verify"
    )
}

fn plain(error: &impl ToString) -> String {
    printable::line(&error.to_string())
}
