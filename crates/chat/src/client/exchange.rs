//! What a client asks the server, and what the server answers.

use crate::address::{AccountId, DeviceId};
use crate::kem::KemPublicKey;
use crate::key::{PublicKey, Signature};
use crate::message::Ciphertext;
use crate::prekey::PreKeyBundle;
use crate::time::Timestamp;

/// Names a request of one client.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub(super) u64);

/// What a client asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// The keys of all devices of an account; answered by [`Response::Bundles`].
    Bundles(AccountId),
    /// Replace our published keys; answered by [`Response::Done`].
    Publish(Box<Publication>),
    /// Deliver a message to all devices of an account or to none. The server must take the same
    /// sender and timestamp once only.
    Send {
        /// To whom.
        to: AccountId,
        /// Names the message.
        timestamp: Timestamp,
        /// One for each device that we know.
        messages: Vec<SealedMessage>,
    },
}

/// A message for one device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedMessage {
    /// The device.
    pub device: DeviceId,
    /// What we believe its registration id to be.
    pub registration_id: u32,
    /// The message.
    pub ciphertext: Ciphertext,
}

/// The public halves of our prekeys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Publication {
    /// Our identity key.
    pub identity: PublicKey,
    /// Id, key, signature.
    pub signed: (u32, PublicKey, Signature),
    /// Ids and keys.
    pub one_time: Vec<(u32, PublicKey)>,
    /// The post-quantum key of last resort: id, key, signature.
    pub kem: (u32, KemPublicKey, Signature),
}

/// What the server answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// The keys of all devices of an account.
    Bundles(Vec<PreKeyBundle>),
    /// It is done.
    Done,
    /// Nothing was delivered: the account has other devices.
    Mismatched {
        /// Devices that got no message.
        missing: Vec<DeviceId>,
        /// Devices that are gone.
        extra: Vec<DeviceId>,
    },
    /// There is no such account.
    NotFound,
    /// Nothing was delivered: these devices were set up anew.
    Stale(Vec<DeviceId>),
    /// No answer, or one that means "later".
    Unavailable,
}
