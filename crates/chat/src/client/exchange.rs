//! Requests of a client and responses of the server.

use std::sync::Arc;

use crate::address::{AccountId, Address, DeviceId};
use crate::certificate::SenderCertificate;
use crate::device_list::OwnDevice;
use crate::envelope::EnvelopeKind;
use crate::group::{AccessHashes, GroupAccess, GroupId};
use crate::kem::KemPublicKey;
use crate::key::{PublicKey, Signature};
use crate::message::Ciphertext;
use crate::prekey::PreKeyBundle;
use crate::time::Timestamp;

/// Identifies a request of one client.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(pub(super) u64);

/// A request of a client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Fetch the keys of all devices of an account; the response is [`Response::Bundles`].
    Bundles(AccountId),
    /// Add an entry to the log of a group; the response is [`Response::Done`] or [`Response::GroupConflict`]. The server must accept
    /// the same entry at the same place again.
    AppendGroupEntry {
        /// The group.
        group: GroupId,
        /// The place of the entry in the log.
        revision: u64,
        /// Proves that we may append it. The server ignores it if the entry is the first.
        access: GroupAccess,
        /// The keys that the server must require from then on, if they change. The first entry has them, too.
        next: Option<AccessHashes>,
        /// The entry.
        entry: Arc<[u8]>,
    },
    /// Fetch a certificate for our device; the response is [`Response::Certificate`].
    Certificate,
    /// Fetch the list of our own devices, and which exist; the response is [`Response::DeviceList`].
    DeviceList,
    /// Fetch entries of the log of a group; the response is [`Response::GroupEntries`].
    GroupEntries {
        /// The group.
        group: GroupId,
        /// Proves that we may read it.
        access: GroupAccess,
        /// The first entry to fetch. The log may end before it.
        from: u64,
    },
    /// Replace our published keys; the response is [`Response::Done`].
    Publish(Box<Publication>),
    /// Replace the list of our own devices; the response is [`Response::Done`] or [`Response::DeviceListConflict`].
    PublishDeviceList(Box<NewDeviceList>),
    /// Deliver a message to all devices of an account or to none. The server must accept each pair
    /// of sender and timestamp only once.
    Send {
        /// The recipient.
        to: AccountId,
        /// Identifies the message.
        timestamp: Timestamp,
        /// One message for each device that we know. The outbox has them, too, so a queue of requests needs no memory for
        /// them.
        messages: Arc<[DeviceCiphertext]>,
        /// Devices of the account that get nothing on purpose.
        left_out: Option<LeftOut>,
        /// Whether the server may drop it for devices that are not connected.
        is_online: bool,
        /// Whether a person has sent it to the recipient on purpose, who may answer then. Receipts, keys and messages about groups
        /// must not accept anybody.
        wants_answers: bool,
    },
    /// Deliver a message to one device. The others of its account get nothing, and are not missing.
    SendToDevice {
        /// The device.
        to: Address,
        /// The registration id that we expect it to have; `None` if we have no session with it.
        registration_id: Option<u32>,
        /// Of the envelope. A message that is sent again has its old one.
        timestamp: Timestamp,
        /// The kind of the envelope.
        kind: EnvelopeKind,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// Deliver a sealed message to all its recipients or to none.
    SendGroup {
        /// Identifies the message.
        timestamp: Timestamp,
        /// An encoded [`MultiRecipientMessage`](crate::MultiRecipientMessage).
        message: Arc<[u8]>,
        /// Devices of the recipients that get nothing on purpose.
        left_out: Vec<(AccountId, LeftOut)>,
        /// Whether the server may drop it for devices that are not connected. Then nothing depends on the response.
        is_online: bool,
    },
}

/// Devices that are not in the list of their account. A message without them is complete, as long as the account has no newer list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeftOut {
    /// The revision of the list.
    pub revision: u64,
    /// The devices. The server may not have all of them.
    pub devices: Vec<DeviceId>,
}

impl LeftOut {
    /// Maximum number of devices that a message to a group can leave out, of all its recipients together.
    pub const MAX_IN_GROUP: usize = 64;
}

/// A signed list of our devices that replaces another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewDeviceList {
    /// The revision of the list that it replaces, as the server has named it. `None` if the account has no list.
    pub previous: Option<u64>,
    /// Its own revision.
    pub revision: u64,
    /// The signed list.
    pub list: Vec<u8>,
}

/// The server's data about our devices.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OwnDeviceList {
    /// The newest signed list, and its revision. `None` if the account has no list.
    pub stored: Option<(u64, Vec<u8>)>,
    /// All devices that exist.
    pub devices: Vec<OwnDevice>,
}

/// The devices of an account for which a sealed message was wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountDevices {
    /// The account.
    pub account: AccountId,
    /// Devices for which the message was missing.
    pub missing: Vec<DeviceId>,
    /// Devices that no longer exist.
    pub extra: Vec<DeviceId>,
    /// Devices that were registered again.
    pub stale: Vec<DeviceId>,
}

/// A message for one device, encrypted in the session with it. It is not sealed: a [`Sealer`](super::Sealer) can do that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceCiphertext {
    /// The device.
    pub device: DeviceId,
    /// The registration id that we expect it to have.
    pub registration_id: u32,
    /// The message.
    pub ciphertext: Ciphertext,
}

/// Our public prekeys.
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

/// A response of the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Response {
    /// The keys of all devices of an account, and the signed list of its devices, if it has one.
    Bundles(Vec<PreKeyBundle>, Option<Vec<u8>>),
    /// A certificate for our device.
    Certificate(Box<SenderCertificate>),
    /// The list of our own devices.
    DeviceList(OwnDeviceList),
    /// The server has another list of our devices than the one that should be replaced.
    DeviceListConflict,
    /// The request succeeded.
    Done,
    /// The log of the group has another last entry.
    GroupConflict {
        /// The revision of the last entry.
        latest: u64,
    },
    /// Entries of the log of a group.
    GroupEntries {
        /// Each with its revision, in order.
        entries: Vec<(u64, Vec<u8>)>,
        /// The revision of the last entry.
        latest: u64,
    },
    /// Nothing was delivered: the devices of these accounts are others.
    GroupMismatched(Vec<AccountDevices>),
    /// The server has the sealed message.
    GroupSent {
        /// Accounts that do not exist any more.
        gone: Vec<AccountId>,
        /// Accounts that have not got it, because the server has no room for them now.
        full: Vec<AccountId>,
    },
    /// Nothing was delivered: the list of devices does not match the account.
    Mismatched {
        /// Devices for which a message was missing.
        missing: Vec<DeviceId>,
        /// Devices that no longer exist.
        extra: Vec<DeviceId>,
    },
    /// The app of sender and recipient delivers messages between its own users itself.
    IntraApp,
    /// Nothing was delivered: the server has no room for the recipient now, or too much was sent to it lately.
    NoRoom,
    /// The account does not exist.
    NotFound,
    /// The request will never succeed.
    Refused,
    /// The server has the message.
    Sent {
        /// Whether our account has other devices, which must learn what was sent.
        needs_sync: bool,
    },
    /// Nothing was delivered: these devices were registered again.
    Stale(Vec<DeviceId>),
    /// No response, or a temporary failure.
    Unavailable,
}
