//! The states that an application can query: identity keys, the connection, and our account.

use wormhole_chat::service::{AppName, PhoneNumber};
use wormhole_chat::{AccountId, Address, PublicKey};

use crate::chat::error::RequestError;
use crate::chat::safety_words;

/// An identity key that waits to be accepted or refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct IdentityChange {
    /// The account.
    pub account: AccountId,
    /// The key that was accepted last, or the first one.
    pub accepted: PublicKey,
    /// The new key.
    pub changed: PublicKey,
}

/// Whether a client is connected to its server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Connection {
    /// It is connected, and messages are arriving.
    Connected,
    /// It connects for the first time.
    #[default]
    Connecting,
    /// It is not connected, and tries again.
    Disconnected(RequestError),
    /// It is connected, and all messages that had waited at the server have arrived.
    UpToDate,
}

/// Whether the server has our prekeys, with which others start a conversation.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyState {
    /// It has the newest.
    Published,
    /// They are on the way, or the server cannot be reached.
    #[default]
    Publishing,
    /// The server refuses them. The client tries again every hour.
    Refused(RequestError),
}

/// The service that delivers the messages to an account.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Route {
    /// The application itself.
    Own,
    /// This server.
    #[default]
    Wormhole,
}

/// The safety number of two accounts. Both see the same digits; if they do not, somebody else may read their messages.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SafetyNumber {
    /// 60 digits.
    pub digits: String,
    /// The identity key of the other account.
    pub key: PublicKey,
    /// Whether the user has compared these digits.
    pub is_verified: bool,
    /// Whether this key is a new one, which waits for [`Client::accept_identity`](crate::chat::Client::accept_identity) or
    /// [`Client::refuse_identity`](crate::chat::Client::refuse_identity).
    pub is_new: bool,
    /// The number with the accepted key, if this key is a new one. If the other person sees these digits, the new key belongs
    /// to somebody else.
    pub accepted: Option<AcceptedNumber>,
    /// The numbers with keys that the user has refused, the latest first. After a mistake, one of them can still be
    /// [accepted](crate::chat::Client::accept_identity).
    pub refused: Vec<RefusedNumber>,
}

impl SafetyNumber {
    /// The safety number as words: a half of 13 words for each side, in the order of the digits.
    pub fn words(&self) -> [Vec<&'static str>; 2] {
        Self::words_of(&self.digits)
    }

    /// The words for the digits of a safety number, such as the one of a [`RefusedNumber`]. Empty if there are not 60 digits.
    pub fn words_of(digits: &str) -> [Vec<&'static str>; 2] {
        safety_words::words(digits).unwrap_or_default()
    }

    /// The digits of a safety number that somebody has typed as digits or as [words](Self::words). `None` if it is neither:
    /// a mistake, and not a sign of an attack.
    pub fn digits_of(typed: &str) -> Option<String> {
        safety_words::digits(typed)
    }
}

/// The safety number with an identity key that the user has refused.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RefusedNumber {
    /// 60 digits.
    pub digits: String,
    /// The refused identity key.
    pub key: PublicKey,
}

/// The safety number with the accepted identity key of an account that has a new one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct AcceptedNumber {
    /// 60 digits.
    pub digits: String,
    /// The accepted identity key.
    pub key: PublicKey,
    /// Whether the user has compared these digits.
    pub is_verified: bool,
}

/// Our account.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Me {
    /// The account and this device.
    pub address: Address,
    /// Its phone number.
    pub number: PhoneNumber,
    /// Its app; `None` if it is the server's default app.
    pub app: Option<AppName>,
    /// The address of the server.
    pub server: String,
}
