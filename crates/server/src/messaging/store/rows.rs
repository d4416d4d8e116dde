//! The rows of the database, and the operations on single rows that rare requests are made of.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use wormhole_chat::service::{AppName, PhoneNumber, Username};
use wormhole_chat::{AccountId, DeviceId, Timestamp};

use super::StoreError;
use super::access::{Access, DeliveryKeys};
use super::consent::{ConsentRows, ReadConsentRows};
use super::groups::{GroupRows, ReadGroupRows};
use super::secrets::{LinkCode, PendingCode, ProvisioningAddress, TokenHash};

/// Reading rows, inside the transaction of a turn. Each operation returns what the database contains, and decides nothing.
pub(in crate::messaging) trait ReadRows:
    ReadConsentRows + ReadGroupRows
{
    /// The app with this name.
    fn app(&mut self, name: &AppName) -> Result<Option<App>, StoreError>;

    /// All apps, by name.
    fn apps(&mut self) -> Result<Vec<App>, StoreError>;

    /// The account with this id.
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, StoreError>;

    /// The accounts of a number, at most one in each app, the oldest first.
    fn accounts_of(&mut self, number: &PhoneNumber) -> Result<Vec<Account>, StoreError>;

    /// The account with this name.
    fn account_with_name(&mut self, name: &Username) -> Result<Option<Account>, StoreError>;

    /// The name of an account.
    fn username(&mut self, account: AccountKey) -> Result<Option<Username>, StoreError>;

    /// Discoverable accounts whose number has one of these directory tokens.
    fn accounts_with_tokens(&mut self, tokens: &[[u8; 10]]) -> Result<Vec<Account>, StoreError>;

    /// The devices of an account, in the order of their numbers.
    fn devices(&mut self, account: AccountKey) -> Result<Vec<Device>, StoreError>;

    /// The number of one-time keys that are left, of each kind.
    fn count_keys(&mut self, device: DeviceKey) -> Result<[u64; 2], StoreError>;

    /// The signed prekey of a device.
    fn signed_key(&mut self, device: DeviceKey) -> Result<Option<SignedKey>, StoreError>;

    /// The code with which another device can be linked to an account.
    fn device_code(&mut self, account: AccountKey) -> Result<Option<LinkCode>, StoreError>;

    /// The profile of an account, if it has one.
    fn profile(&mut self, account: AccountKey) -> Result<Option<Profile>, StoreError>;

    /// Whether a profile names this picture.
    fn has_avatar(&mut self, avatar: Avatar) -> Result<bool, StoreError>;

    /// The keys with which senders are certified, once they exist.
    fn delivery_keys(&mut self) -> Result<Option<DeliveryKeys>, StoreError>;
}

/// Reading and writing rows, inside the transaction of a turn that runs alone.
pub(in crate::messaging) trait Rows:
    ReadRows + ConsentRows + GroupRows
{
    /// Creates an app; `None` if the name is taken.
    fn insert_app(&mut self, name: &AppName, intra: IntraApp)
    -> Result<Option<AppKey>, StoreError>;

    /// Writes the policy and the token hashes of an app.
    fn update_app(&mut self, app: &App) -> Result<(), StoreError>;

    /// The code that a number has to confirm. Other transactions that read it wait for the end of this one.
    fn pending_code(&mut self, number: &PhoneNumber) -> Result<Option<PendingCode>, StoreError>;

    /// Writes the code of a number; `None` removes it.
    fn put_pending_code(
        &mut self,
        number: &PhoneNumber,
        code: Option<&PendingCode>,
    ) -> Result<(), StoreError>;

    /// Writes the code of an account for another device; `None` removes it.
    fn put_device_code(
        &mut self,
        account: AccountKey,
        code: Option<&LinkCode>,
    ) -> Result<(), StoreError>;

    /// Adds an address at which a device that is not linked yet waits for a message.
    fn insert_provisioning(
        &mut self,
        address: ProvisioningAddress,
        opened: Timestamp,
    ) -> Result<(), StoreError>;

    /// Stores the message for the device that has waited at this address since `oldest` or later. False if no device waits
    /// there, or if the device has a message already.
    fn put_provisioning_message(
        &mut self,
        address: ProvisioningAddress,
        oldest: Timestamp,
        message: &[u8],
    ) -> Result<bool, StoreError>;

    /// Removes the message at an address together with the address; `None` if there is no message yet.
    fn take_provisioning_message(
        &mut self,
        address: ProvisioningAddress,
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// The device no longer waits at this address.
    fn delete_provisioning(&mut self, address: ProvisioningAddress) -> Result<(), StoreError>;

    /// Writes the profile of an account; `None` removes it.
    fn put_profile(
        &mut self,
        account: AccountKey,
        profile: Option<&Profile>,
    ) -> Result<(), StoreError>;

    /// Writes the first keys with which senders are certified.
    fn insert_delivery_keys(&mut self, keys: &DeliveryKeys) -> Result<(), StoreError>;

    /// Creates an account, to which nobody may send without credentials. Its number is not registered in its app yet. If it becomes the default of its number,
    /// no other account is the default any more.
    fn insert_account(&mut self, account: &NewAccount) -> Result<Account, StoreError>;

    /// Writes the columns that may change: identity key, what the directory shows, who may send without credentials, default,
    /// and when the number was verified. If the account becomes the default of its number, no other account is the default any more.
    fn update_account(&mut self, account: &Account) -> Result<(), StoreError>;

    /// Replaces the name of an account, which no other account has; `None` removes it.
    fn put_username(
        &mut self,
        account: AccountKey,
        name: Option<&Username>,
    ) -> Result<(), StoreError>;

    /// Removes an account with its name, profile, devices, keys, messages and code for another device. If it was the default of its number, the number has
    /// no default.
    fn delete_account(&mut self, account: AccountKey) -> Result<(), StoreError>;

    /// Creates a device. Its number is free.
    fn insert_device(
        &mut self,
        account: AccountKey,
        device: &DeviceColumns,
    ) -> Result<DeviceKey, StoreError>;

    /// Writes all columns of a device, except for its key and its number.
    fn update_device(&mut self, key: DeviceKey, device: &DeviceColumns) -> Result<(), StoreError>;

    /// Records the day on which a device was seen, if it is later than the recorded one.
    fn record_last_seen(&mut self, device: DeviceKey, day: Timestamp) -> Result<(), StoreError>;

    /// Removes a device with its keys and messages.
    fn delete_device(&mut self, device: DeviceKey) -> Result<(), StoreError>;

    /// The devices that this transaction has removed so far, alone or with their accounts.
    fn removed_devices(&mut self) -> Vec<DeviceKey>;

    /// Replaces the parts of a device's published keys that are not `None`. Nothing happens if the device does not
    /// exist any more. Keys have the length of their kind.
    fn put_keys(&mut self, device: DeviceKey, keys: &KeySet) -> Result<(), StoreError>;

    /// Removes everything that a device has published. It gets no messages until it publishes keys again.
    fn delete_keys(&mut self, device: DeviceKey) -> Result<(), StoreError>;
}

/// The row of an app.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::messaging) struct AppKey(pub(super) i64);

/// The row of an account.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::messaging) struct AccountKey(pub(super) i64);

/// The row of a device. A new device never gets the key of an old one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(in crate::messaging) struct DeviceKey(pub(super) i64);

impl DeviceKey {
    /// The key in a notification for other nodes, at most 16 characters.
    pub(in crate::messaging) fn to_text(self) -> String {
        format!("{:x}", self.0)
    }

    /// Reads what [`to_text`](Self::to_text) has written.
    pub(in crate::messaging) fn parse(text: &str) -> Option<Self> {
        i64::from_str_radix(text, 16).ok().filter(|key| *key >= 0).map(Self)
    }
}

/// A profile. Its owner has encrypted the texts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::messaging) struct Profile {
    /// The version that belongs to the owner's profile key, as 64 hexadecimal digits.
    pub(in crate::messaging) version: Option<String>,
    pub(in crate::messaging) name: Option<Vec<u8>>,
    pub(in crate::messaging) about: Option<Vec<u8>>,
    pub(in crate::messaging) emoji: Option<Vec<u8>>,
    /// From a client whose profiles have no versions.
    pub(in crate::messaging) old_name: Option<Vec<u8>>,
    pub(in crate::messaging) avatar: Option<Avatar>,
}

/// The id of the picture of a profile. Everybody who knows it may download the encrypted picture.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::messaging) struct Avatar(pub(in crate::messaging) [u8; 16]);

impl Avatar {
    /// As clients see it.
    pub(in crate::messaging) fn to_text(self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// Reads what [`to_text`](Self::to_text) has written.
    pub(in crate::messaging) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

/// An app whose users may use the service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct App {
    pub(in crate::messaging) key: AppKey,
    pub(in crate::messaging) name: AppName,
    pub(in crate::messaging) intra: IntraApp,
    /// At most two, the newest first, so that an app can change its token without an interruption.
    pub(in crate::messaging) tokens: Vec<TokenHash>,
}

/// The policy for a message between two users of the same app.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum IntraApp {
    /// It is delivered.
    Delivered,
    /// It is refused: the app delivers such messages itself.
    Refused,
}

/// An account that is to be created.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct NewAccount {
    pub(in crate::messaging) id: AccountId,
    pub(in crate::messaging) app: AppKey,
    pub(in crate::messaging) number: PhoneNumber,
    /// Whether messages to the bare number go to this account.
    pub(in crate::messaging) is_default: bool,
    /// Whether others find the account with its number.
    pub(in crate::messaging) is_discoverable: bool,
    /// Whether others who find it learn its app.
    pub(in crate::messaging) shows_app: bool,
    /// This is also when the number was verified.
    pub(in crate::messaging) created: Timestamp,
}

/// A number in an app.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Account {
    pub(in crate::messaging) key: AccountKey,
    pub(in crate::messaging) id: AccountId,
    pub(in crate::messaging) app: AppKey,
    pub(in crate::messaging) app_name: AppName,
    pub(in crate::messaging) number: PhoneNumber,
    /// Whether messages to the bare number go to this account. True for one account of each number.
    pub(in crate::messaging) is_default: bool,
    /// Whether others find the account with its number.
    pub(in crate::messaging) is_discoverable: bool,
    /// Whether others who find it learn its app.
    pub(in crate::messaging) shows_app: bool,
    /// When the owner last proved to have the number.
    pub(in crate::messaging) verified: Timestamp,
    /// The 33 bytes of the identity key, once it is published.
    pub(in crate::messaging) identity: Option<Vec<u8>>,
    /// The clients that may send to it without credentials.
    pub(in crate::messaging) access: Access,
    /// The list of its devices, which one of them has signed.
    pub(in crate::messaging) device_list: Option<StoredDeviceList>,
}

/// A list of devices, which this server does not interpret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct StoredDeviceList {
    /// Not negative.
    pub(in crate::messaging) revision: i64,
    pub(in crate::messaging) list: Arc<[u8]>,
}

impl StoredDeviceList {
    /// Reads the columns `device_list_revision` and `device_list`.
    pub(super) fn of_columns(revision: Option<i64>, list: Option<Vec<u8>>) -> Option<Self> {
        let (revision, list) = revision.zip(list)?;
        Some(Self { revision, list: list.into() })
    }
}

/// A device with its row.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Device {
    pub(in crate::messaging) key: DeviceKey,
    pub(in crate::messaging) columns: DeviceColumns,
    /// Whether it has published a signed prekey or, from clients of 2014, a key of last resort.
    pub(in crate::messaging) has_keys: bool,
}

/// The columns of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct DeviceColumns {
    pub(in crate::messaging) number: DeviceId,
    /// SHA-256 of salt and password.
    pub(in crate::messaging) password: TokenHash,
    pub(in crate::messaging) salt: [u8; 16],
    pub(in crate::messaging) registration_id: u32,
    /// The 52 bytes with which envelopes for this device are encrypted.
    pub(in crate::messaging) signaling_key: Option<Vec<u8>>,
    /// Encrypted by the client, as it was sent.
    pub(in crate::messaging) name: Option<String>,
    /// Whether the device fetches its messages itself.
    pub(in crate::messaging) fetches_messages: bool,
    pub(in crate::messaging) push: Option<PushId>,
    /// Attributes that clients show each other, as a JSON object: `voice`, `video`, `supportsSms`, `capabilities`.
    pub(in crate::messaging) attributes: String,
    pub(in crate::messaging) created: Timestamp,
    /// The day on which the device was last seen.
    pub(in crate::messaging) last_seen: Timestamp,
}

/// How a device is woken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) enum PushId {
    /// Apple: the ids for notifications and for calls.
    Apn { id: String, voip: Option<String> },
    /// Google.
    Gcm(String),
}

/// The two kinds of one-time keys.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::messaging) enum KeyKind {
    /// X25519, 33 bytes.
    Curve,
    /// Kyber-1024, 1569 bytes, always signed.
    Kyber,
}

/// A published key with a signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct SignedKey {
    pub(in crate::messaging) id: u32,
    pub(in crate::messaging) key: Vec<u8>,
    pub(in crate::messaging) signature: Vec<u8>,
}

/// A key that is given to one asker only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct OneTimeKey {
    pub(in crate::messaging) kind: KeyKind,
    pub(in crate::messaging) id: u32,
    pub(in crate::messaging) key: Vec<u8>,
    /// Of Kyber keys.
    pub(in crate::messaging) signature: Option<Vec<u8>>,
}

/// A key without a signature that is given out when no one-time key is left, from clients of 2014.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct LastResortKey {
    pub(in crate::messaging) id: u32,
    pub(in crate::messaging) key: Vec<u8>,
}

/// The published keys of a device. `None` leaves a part as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::messaging) struct KeySet {
    pub(in crate::messaging) signed: Option<SignedKey>,
    pub(in crate::messaging) last_resort: Option<LastResortKey>,
    pub(in crate::messaging) kyber_last_resort: Option<SignedKey>,
    /// Replace all one-time keys of this kind.
    pub(in crate::messaging) curve: Option<Vec<OneTimeKey>>,
    /// Replace all one-time keys of this kind.
    pub(in crate::messaging) kyber: Option<Vec<OneTimeKey>>,
}
