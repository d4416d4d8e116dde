//! Errors of the store.

use std::io;

use wormhole_kit::TooShort;

/// Why the store cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file was changed by something other than this program, or the disk is defective. Restore a backup, or
    /// register again.
    #[error("the message store is damaged")]
    Damaged,
    /// SQLite cannot read or write the file.
    #[error("cannot use the message store: {0}")]
    Database(String),
    /// There is a store in this directory.
    #[error("there is already a message store")]
    Exists,
    /// Another process has opened the store.
    #[error("the message store is in use by another process: stop it first")]
    InUse,
    /// A file or the directory cannot be read or written.
    #[error("cannot use the directory of the message store: {0}")]
    Io(io::ErrorKind),
    /// The key file is missing or has other content than it should. Without it, the store cannot be read.
    #[error("the key file of the message store is missing or was replaced")]
    KeyFileMissing,
    /// The keyring reports an error: the name of the error, or what is wrong with the answer.
    #[error("the keyring of the desktop failed: {0}")]
    KeyringFailed(String),
    /// The keyring has no key of this store, or another one than it should. Without it, the store cannot be read.
    #[error("the keyring of the desktop does not have the key of the message store")]
    KeyringKeyMissing,
    /// The keyring is locked, and the user has not unlocked it.
    #[error("the keyring of the desktop is locked")]
    KeyringLocked,
    /// There is no default keyring.
    #[error("the desktop has no default keyring")]
    KeyringMissing,
    /// No program on the session bus provides a keyring, or there is no session bus.
    #[error("the keyring of the desktop cannot be reached")]
    KeyringUnavailable,
    /// This program was built without the feature `keyring`, or for a system on which it cannot use a keyring.
    #[error("this build of the program cannot use the keyring of the desktop")]
    KeyringUnsupported,
    /// There is no store in this directory.
    #[error("there is no message store: register first")]
    NotFound,
    /// A passphrase protects the store.
    #[error("the message store is protected by a passphrase")]
    PassphraseNeeded,
    /// A note about a received message is too long.
    #[error("the note about a message has more than 1 MiB")]
    NoteTooLong,
    /// The name of a setting has more than 64 bytes.
    #[error("the name of a setting is too long")]
    SettingNameTooLong,
    /// A newer version of this program wrote the store.
    #[error("a newer version of this program made the message store: upgrade")]
    UnknownFormat,
    /// The passphrase does not open the store. If it is right, the store is damaged.
    #[error("wrong passphrase for the message store")]
    WrongPassphrase,
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged
            }
            _ => Self::Database(error.to_string()),
        }
    }
}

impl From<TooShort> for StoreError {
    fn from(_: TooShort) -> Self {
        Self::Damaged
    }
}
