//! A message of version 2 for many recipients, as a sender gives it to the server.
//!
//! | what | bytes |
//! |---|---|
//! | version | `23` |
//! | number of recipients | LEB128 |
//! | each recipient | id: kind `00` and UUID (17); its devices; masked bytes (32); tag (16) |
//! | each device | number (1); 16 bits, big-endian: whether another device follows, `0`, registration id (14) |
//! | a recipient that must not get it | id, `00` |
//! | for all | public key (32), ciphertext |

use prost::encoding::{decode_varint, encode_varint};
use rand_core::CryptoRngCore;
use wormhole_kit::{Reader, TooShort};

use super::v2::{ForRecipient, Sealing, TAG};
use super::{MAX_SEALED, SealedContent};
use crate::address::{AccountId, DeviceId};
use crate::key::{KeyError, KeyPair, PublicKey};

/// A recipient of a sealed message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedRecipient {
    /// The account.
    pub account: AccountId,
    /// Its identity key.
    pub identity: PublicKey,
    /// All its devices.
    pub devices: Vec<SealedDevice>,
}

/// A device of a recipient.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SealedDevice {
    /// The device.
    pub device: DeviceId,
    /// The registration id that we expect it to have, at most 16383.
    pub registration_id: u16,
}

/// A sealed message for many recipients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MultiRecipientMessage {
    recipients: Vec<Recipient>,
    /// The public key and the ciphertext.
    shared: Vec<u8>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Recipient {
    account: AccountId,
    devices: Vec<SealedDevice>,
    /// `None`: it must not get the message.
    sealed: Option<ForRecipient>,
}

impl MultiRecipientMessage {
    /// Seals a message for these recipients.
    ///
    /// # Errors
    /// The key of a recipient is of low order.
    pub fn seal(
        content: &SealedContent,
        us: &KeyPair,
        to: &[SealedRecipient],
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, KeyError> {
        let sealing = Sealing::new(&content.encode(), rng);
        let recipients = to.iter().filter(|recipient| !recipient.devices.is_empty());
        let recipients = recipients.map(|recipient| {
            Ok(Recipient {
                account: recipient.account,
                devices: recipient.devices.clone(),
                sealed: Some(sealing.recipient(us, &recipient.identity)?),
            })
        });
        let recipients = recipients.collect::<Result<_, KeyError>>()?;
        let shared = [sealing.ephemeral().as_u().as_slice(), &sealing.ciphertext].concat();
        Ok(Self { recipients, shared })
    }

    /// Names an account that must not get the message, although it may be a member of the group.
    pub fn exclude(&mut self, account: AccountId) {
        self.recipients.push(Recipient { account, devices: Vec::new(), sealed: None });
    }

    /// Encodes the message for the server.
    pub fn encode(&self) -> Vec<u8> {
        let size = |recipient: &Recipient| 17 + recipient.devices.len() * 3 + 32 + TAG;
        let size = self.recipients.iter().map(size).sum::<usize>();
        let mut bytes = Vec::with_capacity(11 + size + self.shared.len());
        bytes.push(SENT_VERSION);
        encode_varint(u64::try_from(self.recipients.len()).unwrap_or(u64::MAX), &mut bytes);
        for recipient in &self.recipients {
            recipient.encode(&mut bytes);
        }
        bytes.extend(&self.shared);
        bytes
    }

    /// Decodes what a sender gives to the server.
    ///
    /// # Errors
    /// It is malformed: refuse it.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMultiRecipient> {
        let (version, mut rest) = bytes.split_first().ok_or(MalformedMultiRecipient)?;
        let count = decode_varint(&mut rest).map_err(|_| MalformedMultiRecipient)?;
        if *version != SENT_VERSION || count > MAX_RECIPIENTS {
            return Err(MalformedMultiRecipient);
        }
        let mut reader = Reader::new(rest);
        let recipients: Vec<_> =
            (0..count).map(|_| Recipient::decode(&mut reader)).collect::<Result<_, _>>()?;
        let mut accounts: Vec<_> = recipients.iter().map(|recipient| recipient.account).collect();
        accounts.sort_unstable();
        let is_unique = accounts.is_sorted_by(|a, b| a < b);
        let shared = reader.rest();
        if !is_unique || !(SHARED_MIN..=MAX_SEALED).contains(&shared.len()) {
            return Err(MalformedMultiRecipient);
        }
        Ok(Self { recipients, shared: shared.to_vec() })
    }

    /// The accounts that get the message, with the devices that the sender knows.
    pub fn recipients(&self) -> impl Iterator<Item = (AccountId, &[SealedDevice])> {
        let included = self.recipients.iter().filter(|recipient| recipient.sealed.is_some());
        included.map(|recipient| (recipient.account, recipient.devices.as_slice()))
    }

    /// The messages for all accounts that get one, in the order of [`recipients`](Self::recipients).
    pub fn messages(&self) -> impl Iterator<Item = Vec<u8>> {
        self.recipients.iter().filter_map(|recipient| self.received_by(recipient))
    }

    /// The length of the message that each device gets, in bytes.
    pub const fn bytes_for_each(&self) -> usize {
        1 + size_of::<[u8; 32]>() + TAG + self.shared.len()
    }

    /// The message for one account, which all its devices get. `None` if it is not a recipient.
    pub fn for_account(&self, account: AccountId) -> Option<Vec<u8>> {
        let recipient = self.recipients.iter().find(|recipient| recipient.account == account)?;
        self.received_by(recipient)
    }

    /// The bytes for one recipient.
    fn received_by(&self, recipient: &Recipient) -> Option<Vec<u8>> {
        let ForRecipient { masked, tag } = recipient.sealed.as_ref()?;
        Some([&[RECEIVED_VERSION][..], masked, tag, &self.shared].concat())
    }
}

impl Recipient {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(ACCOUNT);
        bytes.extend(self.account.as_bytes());
        for (index, device) in self.devices.iter().enumerate() {
            let follows = if index + 1 < self.devices.len() { FOLLOWS } else { 0 };
            bytes.push(device.device.number());
            bytes.extend(((device.registration_id & !RESERVED) | follows).to_be_bytes());
        }
        match &self.sealed {
            None => bytes.push(0),
            Some(ForRecipient { masked, tag }) => {
                bytes.extend(masked);
                bytes.extend(tag);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, MalformedMultiRecipient> {
        if reader.u8()? != ACCOUNT {
            return Err(MalformedMultiRecipient);
        }
        let account = AccountId::from_bytes(reader.array()?);
        let mut devices = Vec::new();
        loop {
            let number = reader.u8()?;
            if number == 0 && devices.is_empty() {
                return Ok(Self { account, devices, sealed: None });
            }
            let device = DeviceId::new(number.into()).ok_or(MalformedMultiRecipient)?;
            let bits = u16::from_be_bytes(reader.array()?);
            let is_known = devices.iter().any(|known: &SealedDevice| known.device == device);
            if is_known || bits & RESERVED & !FOLLOWS != 0 {
                return Err(MalformedMultiRecipient);
            }
            devices.push(SealedDevice { device, registration_id: bits & !RESERVED });
            if bits & FOLLOWS == 0 {
                break;
            }
        }
        let sealed = ForRecipient { masked: reader.array()?, tag: reader.array()? };
        Ok(Self { account, devices, sealed: Some(sealed) })
    }
}

/// The bytes are not a sealed message for many recipients.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the sealed message for many recipients is malformed")]
pub struct MalformedMultiRecipient;

impl From<TooShort> for MalformedMultiRecipient {
    fn from(_: TooShort) -> Self {
        Self
    }
}

/// The version of the form that the server gets.
const SENT_VERSION: u8 = 0x23;

/// The version of the form that a recipient gets.
const RECEIVED_VERSION: u8 = 0x22;

/// The kind of an account's id.
const ACCOUNT: u8 = 0;

/// Another device of the recipient follows.
const FOLLOWS: u16 = 0x8000;

/// The bits that are not part of the registration id.
const RESERVED: u16 = 0xc000;

/// Length of the public key and the tag of an empty ciphertext.
const SHARED_MIN: usize = 32 + 16;

/// Maximum number of recipients, more than the members of a group.
const MAX_RECIPIENTS: u64 = 5000;
