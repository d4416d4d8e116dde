//! Accounts, devices, keys and messages for the cases.

use wormhole_chat::{AccountId, DeviceId, EnvelopeKind, Timestamp};

use crate::messaging::random;
use crate::messaging::store::{
    App, DeviceColumns, KeyKind, KeySet, LastResortKey, NewAccount, NewMessage, OneTimeKey,
    SignedKey, TokenHash,
};

/// An account that becomes the default of its number.
pub(super) fn new_account(app: &App, number: &str) -> NewAccount {
    NewAccount {
        id: AccountId::from_bytes(random::bytes()),
        app: app.key,
        number: number.parse().unwrap(),
        is_default: true,
        is_discoverable: true,
        shows_app: false,
        created: Timestamp(5),
    }
}

/// A device that fetches its messages. Its registration id is ten times its number.
pub(super) fn new_device(number: u32) -> DeviceColumns {
    DeviceColumns {
        number: device_id(number),
        password: TokenHash([7; 32]),
        salt: [8; 16],
        registration_id: number * 10,
        signaling_key: None,
        name: None,
        fetches_messages: true,
        push: None,
        attributes: "{}".into(),
        created: Timestamp(5),
        last_seen: NOW,
    }
}

/// A signed prekey, and nothing else.
pub(super) fn some_keys() -> KeySet {
    KeySet { signed: Some(signed_key(1)), ..KeySet::default() }
}

pub(super) fn signed_key(id: u32) -> SignedKey {
    SignedKey { id, key: key_bytes(id, 33), signature: vec![9; 64] }
}

pub(super) fn last_resort_key(id: u32) -> LastResortKey {
    LastResortKey { id, key: key_bytes(id, 33) }
}

pub(super) fn curve_key(id: u32) -> OneTimeKey {
    OneTimeKey { kind: KeyKind::Curve, id, key: key_bytes(id, 33), signature: None }
}

pub(super) fn kyber_key(id: u32) -> OneTimeKey {
    let SignedKey { key, signature, .. } = kyber_signed_key(id);
    OneTimeKey { kind: KeyKind::Kyber, id, key, signature: Some(signature) }
}

pub(super) fn kyber_signed_key(id: u32) -> SignedKey {
    SignedKey { id, key: key_bytes(id, 1569), signature: vec![10; 64] }
}

/// Bytes that are different for each id.
fn key_bytes(id: u32, length: usize) -> Vec<u8> {
    id.to_be_bytes().into_iter().cycle().take(length).collect()
}

/// A message that shows which device it is for.
pub(super) fn message(device: u32) -> NewMessage {
    NewMessage {
        kind: EnvelopeKind::Ciphertext,
        device: device_id(device),
        registration_id: Some(device * 10),
        body: None,
        content: Some(format!("for device {device}").into_bytes()),
    }
}

pub(super) fn device_id(number: u32) -> DeviceId {
    DeviceId::new(number).unwrap()
}

/// The time at the start of each case.
pub(super) const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(super) const ALICE: &str = "+14155550101";
pub(super) const BOB: &str = "+14155550102";
