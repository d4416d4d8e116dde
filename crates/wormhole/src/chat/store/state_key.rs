//! The keys of the client's rows as bytes.
//!
//! Each is a byte for its kind, and then its fields: integers of 4 or 8 bytes, big-endian, accounts as the bytes of
//! their UUIDs, public keys without their type.

use wormhole_chat::group::GroupId;
use wormhole_chat::{AccountId, Address, DeviceId, DistributionId, PublicKey, StoreKey, Timestamp};
use wormhole_kit::Reader;

use super::StoreError;

/// Encodes a key.
pub(super) fn encode(key: &StoreKey) -> Vec<u8> {
    match key {
        StoreKey::Account => vec![ACCOUNT],
        StoreKey::SessionWithoutOneTimePreKey { signed, kem, base_key } => {
            let kem = kem.map(u32::to_be_bytes);
            let mut bytes = vec![SESSION_WITHOUT_ONE_TIME_PRE_KEY];
            bytes.extend(signed.to_be_bytes());
            bytes.extend(base_key.as_u());
            bytes.extend(kem.iter().flatten());
            bytes
        }
        StoreKey::DeviceList(account) => with(DEVICE_LIST, account.as_bytes()),
        StoreKey::EarlyGroupMessage(number) => with(EARLY_GROUP_MESSAGE, &number.to_be_bytes()),
        StoreKey::Group(group) => with(GROUP, group.as_bytes()),
        StoreKey::GroupOutgoing(timestamp) => with(GROUP_OUTGOING, &timestamp.0.to_be_bytes()),
        StoreKey::OwnSenderKey(group) => with(OWN_SENDER_KEY, group.as_bytes()),
        StoreKey::SenderKey { from, distribution } => {
            let mut bytes = with(SENDER_KEY, from.account.as_bytes());
            bytes.push(from.device.number());
            bytes.extend(distribution.as_bytes());
            bytes
        }
        StoreKey::SentToGroup(timestamp) => with(SENT_TO_GROUP, &timestamp.0.to_be_bytes()),
        StoreKey::ResentToGroup { to, timestamp } => {
            of_device(RESENT_TO_GROUP, *to, &timestamp.0.to_be_bytes())
        }
        StoreKey::KemPreKey(id) => with(KEM_PRE_KEY, &id.to_be_bytes()),
        StoreKey::LastWritten => vec![LAST_WRITTEN],
        StoreKey::OneTimePreKey(id) => with(ONE_TIME_PRE_KEY, &id.to_be_bytes()),
        StoreKey::Outgoing(timestamp) => with(OUTGOING, &timestamp.0.to_be_bytes()),
        StoreKey::Peer(account) => with(PEER, account.as_bytes()),
        StoreKey::Session(address) => {
            let mut bytes = with(SESSION, address.account.as_bytes());
            bytes.push(address.device.number());
            bytes
        }
        StoreKey::SignedDeviceList => vec![SIGNED_DEVICE_LIST],
        StoreKey::SignedPreKey(id) => with(SIGNED_PRE_KEY, &id.to_be_bytes()),
        StoreKey::Unpublished => vec![UNPUBLISHED],
        StoreKey::ArchivedSession { address, number } => {
            let mut bytes = with(ARCHIVED_SESSION, address.account.as_bytes());
            bytes.push(address.device.number());
            bytes.extend(number.to_be_bytes());
            bytes
        }
        StoreKey::Newest(address) => of_device(NEWEST, *address, &[]),
        StoreKey::Retry { from, timestamp } => of_device(RETRY, *from, &timestamp.0.to_be_bytes()),
        StoreKey::SentMessage { to, timestamp } => {
            let fields = [&to.as_bytes()[..], &timestamp.0.to_be_bytes()];
            with(SENT_MESSAGE, &fields.concat())
        }
    }
}

fn of_device(kind: u8, Address { account, device }: Address, rest: &[u8]) -> Vec<u8> {
    with(kind, &[&account.as_bytes()[..], &[device.number()], rest].concat())
}

fn with(kind: u8, field: &[u8]) -> Vec<u8> {
    [&[kind], field].concat()
}

/// Decodes a key.
///
/// # Errors
/// `UnknownFormat` if it is of an unknown kind, otherwise `Damaged`.
pub(super) fn decode(bytes: &[u8]) -> Result<StoreKey, StoreError> {
    let mut reader = Reader::new(bytes);
    let key = match reader.u8()? {
        ACCOUNT => StoreKey::Account,
        SESSION_WITHOUT_ONE_TIME_PRE_KEY => StoreKey::SessionWithoutOneTimePreKey {
            signed: reader.u32_be()?,
            base_key: PublicKey::from_u(reader.array()?).map_err(|_| StoreError::Damaged)?,
            kem: if reader.is_empty() { None } else { Some(reader.u32_be()?) },
        },
        KEM_PRE_KEY => StoreKey::KemPreKey(reader.u32_be()?),
        LAST_WRITTEN => StoreKey::LastWritten,
        ONE_TIME_PRE_KEY => StoreKey::OneTimePreKey(reader.u32_be()?),
        OUTGOING => StoreKey::Outgoing(Timestamp(u64::from_be_bytes(reader.array()?))),
        PEER => StoreKey::Peer(AccountId::from_bytes(reader.array()?)),
        SESSION => StoreKey::Session(decode_address(&mut reader)?),
        SIGNED_DEVICE_LIST => StoreKey::SignedDeviceList,
        SIGNED_PRE_KEY => StoreKey::SignedPreKey(reader.u32_be()?),
        UNPUBLISHED => StoreKey::Unpublished,
        ARCHIVED_SESSION => StoreKey::ArchivedSession {
            address: decode_address(&mut reader)?,
            number: u64::from_be_bytes(reader.array()?),
        },
        NEWEST => StoreKey::Newest(decode_address(&mut reader)?),
        RETRY => StoreKey::Retry {
            from: decode_address(&mut reader)?,
            timestamp: Timestamp(u64::from_be_bytes(reader.array()?)),
        },
        SENT_MESSAGE => StoreKey::SentMessage {
            to: AccountId::from_bytes(reader.array()?),
            timestamp: Timestamp(u64::from_be_bytes(reader.array()?)),
        },
        DEVICE_LIST => StoreKey::DeviceList(AccountId::from_bytes(reader.array()?)),
        EARLY_GROUP_MESSAGE => StoreKey::EarlyGroupMessage(u64::from_be_bytes(reader.array()?)),
        GROUP => StoreKey::Group(GroupId::from_bytes(reader.array()?)),
        GROUP_OUTGOING => StoreKey::GroupOutgoing(Timestamp(u64::from_be_bytes(reader.array()?))),
        OWN_SENDER_KEY => StoreKey::OwnSenderKey(GroupId::from_bytes(reader.array()?)),
        SENDER_KEY => StoreKey::SenderKey {
            from: decode_address(&mut reader)?,
            distribution: DistributionId::from_bytes(reader.array()?),
        },
        SENT_TO_GROUP => StoreKey::SentToGroup(Timestamp(u64::from_be_bytes(reader.array()?))),
        RESENT_TO_GROUP => StoreKey::ResentToGroup {
            to: decode_address(&mut reader)?,
            timestamp: Timestamp(u64::from_be_bytes(reader.array()?)),
        },
        _ => return Err(StoreError::UnknownFormat),
    };
    if reader.is_empty() { Ok(key) } else { Err(StoreError::Damaged) }
}

/// Reads an account and a device.
pub(super) fn decode_address(reader: &mut Reader<'_>) -> Result<Address, StoreError> {
    let account = AccountId::from_bytes(reader.array()?);
    let device = DeviceId::new(reader.u8()?.into()).ok_or(StoreError::Damaged)?;
    Ok(Address { account, device })
}

const ACCOUNT: u8 = 1;
const SESSION_WITHOUT_ONE_TIME_PRE_KEY: u8 = 2;
const KEM_PRE_KEY: u8 = 3;
const LAST_WRITTEN: u8 = 4;
const ONE_TIME_PRE_KEY: u8 = 5;
const OUTGOING: u8 = 6;
const PEER: u8 = 7;
const SESSION: u8 = 8;
const SIGNED_PRE_KEY: u8 = 9;
const UNPUBLISHED: u8 = 10;
const ARCHIVED_SESSION: u8 = 11;
const NEWEST: u8 = 12;
const RETRY: u8 = 13;
const SENT_MESSAGE: u8 = 14;
const DEVICE_LIST: u8 = 15;
// 16 to 19 are reserved for other parts.
const GROUP: u8 = 20;
const GROUP_OUTGOING: u8 = 21;
const OWN_SENDER_KEY: u8 = 22;
const SENDER_KEY: u8 = 23;
const EARLY_GROUP_MESSAGE: u8 = 24;
const SENT_TO_GROUP: u8 = 25;
const RESENT_TO_GROUP: u8 = 26;
const SIGNED_DEVICE_LIST: u8 = 27;
