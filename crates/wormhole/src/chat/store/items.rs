//! The values of received messages, messages that could not be read, and messages that cannot be sent.
//!
//! | first byte | row of | the rest |
//! |---|---|---|
//! | 1 | a received message | account, device, timestamp (8), whether the sender's identity key differs (1), content |
//! | 2 | a message that could not be read | whether the sender is known (1), account, device, timestamp (8), reason (1), perhaps how many more there are (8) |
//! | 1 | a message that cannot be sent | recipient, reason (1), content |

use wormhole_chat::{
    AccountId, Address, Content, DecryptError, Failed, Received, SendFailure, Timestamp, Unreadable,
};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::records::{end, read_flag};
use super::state_key::decode_address;
use super::{ReceivedId, StoreError};
use crate::chat::Conversation;
use crate::chat::error::ReadError;
use crate::chat::message::{FailedMessage, written};

/// A received message in the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum StoredMessage {
    /// It could be read.
    Read(Received),
    /// It could not be read, or can no longer be read.
    Unreadable {
        /// The device that sent it, according to the server.
        from: Option<Address>,
        /// When it was sent, according to the server.
        timestamp: Option<Timestamp>,
        /// Why it could not be read.
        why: ReadError,
        /// How many later ones of the same account were not stored.
        more: u64,
    },
}

/// Encodes a received message.
pub(super) fn encode_received(message: &Received) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(vec![READ]);
    put_address(&mut value, message.from);
    value.extend(message.timestamp.0.to_be_bytes());
    value.push(message.identity_changed.into());
    value.extend(message.content.encode().iter());
    value
}

/// Encodes a message that could not be read.
pub(super) fn encode_unreadable(message: &Unreadable) -> Zeroizing<Vec<u8>> {
    unreadable(message.from, message.timestamp, message.why.into())
}

/// Encodes a message that could be read, but that is not stored because of a limit.
pub(super) fn encode_too_many(from: Address, timestamp: Timestamp) -> Zeroizing<Vec<u8>> {
    unreadable(Some(from), timestamp, ReadError::TooMany)
}

fn unreadable(from: Option<Address>, timestamp: Timestamp, why: ReadError) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(vec![UNREADABLE]);
    value.push(from.is_some().into());
    from.into_iter().for_each(|from| put_address(&mut value, from));
    value.extend(timestamp.0.to_be_bytes());
    value.push(read_error_number(why));
    value
}

/// Counts one more message in the value of one that could not be read.
pub(super) fn add_one(value: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let StoredMessage::Unreadable { more, .. } = decode_received(value)? else {
        return Err(StoreError::Damaged);
    };
    let length = value.len() - if more == 0 { 0 } else { COUNT };
    let mut counted = Zeroizing::new(value.get(..length).unwrap_or_default().to_vec());
    counted.extend(more.saturating_add(1).to_be_bytes());
    Ok(counted)
}

/// The account that sent a received message, if it is known and the value can be decoded.
pub(super) fn sender(value: &[u8]) -> Option<AccountId> {
    let mut reader = Reader::new(value);
    let is_known = match reader.u8().ok()? {
        READ => true,
        UNREADABLE => read_flag(&mut reader).ok()?,
        _ => false,
    };
    decode_address(&mut reader).ok().filter(|_| is_known).map(|from| from.account)
}

/// Whether a received message could not be read.
pub(super) fn is_unreadable(value: &[u8]) -> bool {
    value.first() == Some(&UNREADABLE)
}

/// Decodes a received message.
pub(super) fn decode_received(value: &[u8]) -> Result<StoredMessage, StoreError> {
    let mut reader = Reader::new(value);
    match reader.u8()? {
        READ => {
            let from = decode_address(&mut reader)?;
            let timestamp = read_timestamp(&mut reader)?;
            let identity_changed = read_flag(&mut reader)?;
            let content = Content::decode_stored(reader.rest()).map_err(|_| StoreError::Damaged)?;
            Ok(StoredMessage::Read(Received { from, timestamp, content, identity_changed }))
        }
        UNREADABLE => {
            let is_known = read_flag(&mut reader)?;
            let from = if is_known { Some(decode_address(&mut reader)?) } else { None };
            let timestamp = Some(read_timestamp(&mut reader)?);
            let why = read_error(reader.u8()?)?;
            let has_more = !reader.is_empty();
            let more = if has_more { u64::from_be_bytes(reader.array()?) } else { 0 };
            end(&reader, StoredMessage::Unreadable { from, timestamp, why, more })
        }
        _ => Err(StoreError::UnknownFormat),
    }
}

/// Encodes a message that cannot be sent, except for its timestamp, which is the key.
pub(super) fn encode_failed(message: &Failed) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(vec![READ]);
    value.extend(message.to.as_bytes());
    value.push(message.why.number());
    value.extend(message.content.iter());
    value
}

/// Decodes a message that cannot be sent. If its value is damaged, it says so, and can be forgotten like the others.
pub(super) fn decode_failed(key: &[u8], value: &[u8]) -> Result<FailedMessage, StoreError> {
    let timestamp = decode_timestamp(key)?;
    Ok(decode_failed_value(timestamp, value).unwrap_or_else(|_| FailedMessage {
        timestamp,
        to: Conversation::Account(AccountId::from_bytes([0; 16])),
        text: None,
        files: Vec::new(),
        why: None,
    }))
}

fn decode_failed_value(timestamp: Timestamp, value: &[u8]) -> Result<FailedMessage, StoreError> {
    let mut reader = Reader::new(value);
    if reader.u8()? != READ {
        return Err(StoreError::UnknownFormat);
    }
    let to = AccountId::from_bytes(reader.array()?);
    let why = SendFailure::from_number(reader.u8()?).ok_or(StoreError::UnknownFormat)?;
    let content = Content::decode_stored(reader.rest()).unwrap_or(Content::Unknown);
    let to = if let Content::Group(group) = &content {
        Conversation::Group(group.group)
    } else {
        Conversation::Account(to)
    };
    let (text, files) = written(content);
    Ok(FailedMessage { timestamp, to, text, files, why: Some(why) })
}

/// Decodes the id of a received message.
pub(super) fn decode_received_id(bytes: &[u8]) -> Result<ReceivedId, StoreError> {
    let mut reader = Reader::new(bytes);
    let id = ReceivedId(u64::from_be_bytes(reader.array()?));
    end(&reader, id)
}

/// Decodes the key of a message that cannot be sent.
pub(super) fn decode_timestamp(bytes: &[u8]) -> Result<Timestamp, StoreError> {
    let mut reader = Reader::new(bytes);
    let timestamp = read_timestamp(&mut reader)?;
    end(&reader, timestamp)
}

fn read_timestamp(reader: &mut Reader<'_>) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(u64::from_be_bytes(reader.array()?)))
}

fn put_address(value: &mut Vec<u8>, address: Address) {
    value.extend(address.account.as_bytes());
    value.push(address.device.number());
}

impl From<wormhole_chat::ReadError> for ReadError {
    fn from(error: wormhole_chat::ReadError) -> Self {
        use wormhole_chat::ReadError as Core;
        match error {
            Core::Decrypt(error) => error.into(),
            Core::Malformed => Self::Malformed,
            Core::Sealed(_) => Self::Unproven,
            Core::TimestampMismatch => Self::TimestampMismatch,
            Core::UnacceptedIdentity => Self::UnacceptedIdentity,
            Core::UnsignedDevice => Self::UnsignedDevice,
            Core::Unsupported => Self::Unsupported,
        }
    }
}

impl From<DecryptError> for ReadError {
    fn from(error: DecryptError) -> Self {
        match error {
            DecryptError::BadMac
            | DecryptError::Duplicate
            | DecryptError::Malformed(_)
            | DecryptError::WrongParties => Self::NotDecryptable,
            DecryptError::DeletedKey | DecryptError::MissingPreKey | DecryptError::NoSession => {
                Self::MissingKey
            }
            DecryptError::TooFarAhead(_) | DecryptError::TooManySessions => Self::TooMany,
            DecryptError::UntrustedIdentity(_) => Self::RefusedIdentity,
        }
    }
}

const fn read_error_number(error: ReadError) -> u8 {
    match error {
        ReadError::Damaged => 0,
        ReadError::Malformed => 1,
        ReadError::MissingKey => 2,
        ReadError::NotDecryptable => 3,
        ReadError::RefusedIdentity => 4,
        ReadError::TimestampMismatch => 5,
        ReadError::TooMany => 6,
        ReadError::Unsupported => 7,
        ReadError::Unproven => 8,
        ReadError::UnsignedDevice => 9,
        ReadError::UnacceptedIdentity => 10,
    }
}

const fn read_error(number: u8) -> Result<ReadError, StoreError> {
    Ok(match number {
        1 => ReadError::Malformed,
        2 => ReadError::MissingKey,
        3 => ReadError::NotDecryptable,
        4 => ReadError::RefusedIdentity,
        5 => ReadError::TimestampMismatch,
        6 => ReadError::TooMany,
        7 => ReadError::Unsupported,
        8 => ReadError::Unproven,
        9 => ReadError::UnsignedDevice,
        10 => ReadError::UnacceptedIdentity,
        _ => return Err(StoreError::UnknownFormat),
    })
}

/// Length of the number of further messages.
const COUNT: usize = 8;

/// First byte of a message that could be read.
const READ: u8 = 1;

/// First byte of a message that could not be read.
const UNREADABLE: u8 = 2;
