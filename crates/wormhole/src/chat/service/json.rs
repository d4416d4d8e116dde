//! The JSON of requests and answers. (docs/chat-service.md "Requests")
//!
//! Unknown fields are ignored. Numbers out of range, malformed keys and malformed ids make an answer invalid.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::{BASE64, BASE64_NOPAD};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wormhole_chat::service::AppName;
use wormhole_chat::{
    AccessKey, AccountId, CiphertextKind, DeviceId, EnvelopeKind, KemPublicKey, LeftOut,
    NewDeviceList, OwnDevice, OwnDeviceList, PreKeyBundle, PublicKey, Publication, Response,
    SealedMessage, Signature, Timestamp,
};

use crate::chat::RequestError;

/// The attributes of our device.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attributes {
    pub(crate) registration_id: u32,
    pub(crate) fetches_messages: bool,
    /// Encrypted, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// In base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unidentified_access_key: Option<String>,
}

impl Attributes {
    /// Those of a device that fetches its messages.
    pub(crate) const fn new(registration_id: u32) -> Self {
        let (name, unidentified_access_key) = (None, None);
        Self { registration_id, fetches_messages: true, name, unidentified_access_key }
    }

    /// Adds the key that permits sending to us without credentials.
    pub(crate) fn with_access(self, key: &AccessKey) -> Self {
        Self { unidentified_access_key: Some(BASE64.encode(key.expose())), ..self }
    }
}

/// Our account.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Registered {
    #[serde(deserialize_with = "parsed")]
    pub(crate) uuid: AccountId,
}

/// A device that was linked.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LinkedJson {
    #[serde(rename = "deviceId", deserialize_with = "device")]
    pub(crate) device: DeviceId,
    /// Servers of others leave it out.
    #[serde(default, deserialize_with = "parsed_option")]
    pub(crate) uuid: Option<AccountId>,
}

/// A code for another device.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceCode {
    pub(super) verification_code: String,
}

/// The devices of our account.
#[derive(Debug, Deserialize)]
pub(super) struct Devices {
    pub(super) devices: Vec<ListedDevice>,
}

/// A device of our account. Times are milliseconds since 1970.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedDevice {
    #[serde(rename = "id", deserialize_with = "device")]
    pub(crate) device: DeviceId,
    /// Usually encrypted, in base64.
    #[serde(default)]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) created: u64,
    #[serde(default)]
    pub(crate) last_seen: u64,
}

/// A message for a device that waits to be linked.
#[derive(Debug, Serialize)]
pub(super) struct ProvisioningBody {
    pub(super) body: String,
}

/// The name of our device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceName<'a> {
    pub(super) device_name: &'a str,
}

/// The signed prekey that the server hands out for us.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PublishedKey {
    key_id: u32,
    public_key: Base64,
}

impl PublishedKey {
    /// Its id and the key; `None` if it is malformed.
    pub(super) fn check(&self) -> Option<(u32, PublicKey)> {
        Some((self.key_id, PublicKey::decode(&self.public_key.0).ok()?))
    }
}

/// How many one-time prekeys the server has left.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct KeyCount {
    pub(crate) count: usize,
}

/// Where and how an attachment is uploaded so that the upload can be continued.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResumableForm {
    cdn: u32,
    pub(crate) key: String,
    /// They prove that we may upload it.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) signed_upload_location: String,
}

impl ResumableForm {
    /// Whether we know the protocol, which is tus 1.0, and the answer has a reasonable size.
    pub(crate) fn is_usable(&self) -> bool {
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_short = |text: &String| text.len() <= MAX_FORM_TEXT;
        self.cdn == TUS_STORE
            && self.key.len() <= 64
            && self.key.bytes().all(is_safe)
            && self.headers.len() <= MAX_FORM_HEADERS
            && self.headers.iter().all(|(name, value)| is_short(name) && is_short(value))
            && is_short(&self.signed_upload_location)
    }
}

impl fmt::Debug for ResumableForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumableForm").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The number of the store that means tus.
const TUS_STORE: u32 = 3;

/// Maximum number of headers of a form. Servers send two.
const MAX_FORM_HEADERS: usize = 8;

/// Longest name, value or address in a form, in bytes.
const MAX_FORM_TEXT: usize = 2048;

/// The fields of a form that uploads an attachment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UploadForm {
    pub(crate) attachment_id: u64,
    pub(crate) key: String,
    pub(crate) credential: String,
    pub(crate) acl: String,
    pub(crate) algorithm: String,
    pub(crate) date: String,
    pub(crate) policy: String,
    pub(crate) signature: String,
}

/// Where an attachment can be downloaded.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Located {
    pub(crate) location: String,
}

/// The server has done it. It says so with an object, whose fields do not matter.
pub(super) type Accepted = serde_json::Map<String, serde_json::Value>;

/// An error.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) error: String,
}

/// The devices of a message are not those of the account.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct Mismatched {
    missing_devices: Vec<u32>,
    extra_devices: Vec<u32>,
}

impl From<Mismatched> for Response {
    fn from(devices: Mismatched) -> Self {
        let Mismatched { missing_devices, extra_devices } = devices;
        Self::Mismatched { missing: known(missing_devices), extra: known(extra_devices) }
    }
}

/// Devices that were registered again.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stale {
    stale_devices: Vec<u32>,
}

impl From<Stale> for Response {
    fn from(Stale { stale_devices }: Stale) -> Self {
        Self::Stale(known(stale_devices))
    }
}

/// Without numbers that no device can have.
fn known(devices: Vec<u32>) -> Vec<DeviceId> {
    devices.into_iter().filter_map(DeviceId::new).collect()
}

/// A message to all devices of an account.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageJson {
    messages: Vec<PartJson>,
    timestamp: u64,
    online: bool,
    /// Whether the message is not for all devices of the account.
    #[serde(skip_serializing_if = "is_false")]
    partial: bool,
    /// Devices that get nothing on purpose, although the message is for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<LeftOutJson>,
    /// `Some(false)`: the message does not mean that the user wants answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    accept: Option<bool>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PartJson {
    #[serde(rename = "type")]
    kind: u32,
    destination_device_id: u8,
    destination_registration_id: u32,
    content: String,
}

impl MessageJson {
    pub(super) fn new(
        timestamp: Timestamp,
        messages: &[SealedMessage],
        left_out: Option<&LeftOut>,
        online: bool,
        wants_answers: bool,
    ) -> Self {
        let part = |message: &SealedMessage| PartJson {
            kind: match message.ciphertext.kind {
                CiphertextKind::Signal => 1,
                CiphertextKind::PreKey => 3,
            },
            destination_device_id: message.device.number(),
            destination_registration_id: message.registration_id,
            content: BASE64.encode(&message.ciphertext.bytes),
        };
        let messages = messages.iter().map(part).collect();
        let accept = (!wants_answers).then_some(false);
        let left_out = left_out.map(LeftOutJson::from);
        Self { messages, timestamp: timestamp.0, online, partial: false, left_out, accept }
    }

    /// A message for one device. An unknown registration id is 0.
    pub(super) fn to_device(timestamp: Timestamp, message: &DeviceMessage) -> Self {
        let part = PartJson {
            kind: message.kind.number(),
            destination_device_id: message.device.number(),
            destination_registration_id: message.registration_id.unwrap_or_default(),
            content: BASE64.encode(&message.bytes),
        };
        // The user has not written it, at least not now.
        let accept = Some(false);
        let messages = vec![part];
        let (timestamp, left_out) = (timestamp.0, None);
        Self { messages, timestamp, online: false, partial: true, left_out, accept }
    }
}

/// A message for one device of an account, whose other devices get nothing.
#[derive(Clone, Debug)]
pub(crate) struct DeviceMessage {
    pub(crate) device: DeviceId,
    /// The registration id that we expect it to have, if we have a session with it.
    pub(crate) registration_id: Option<u32>,
    pub(crate) kind: EnvelopeKind,
    pub(crate) bytes: Vec<u8>,
}

/// A sealed message to all devices of an account.
#[derive(Debug, Serialize)]
pub(super) struct SealedJson(MessageJson);

impl SealedJson {
    /// The parts are devices, their registration ids, and what they get.
    pub(super) fn new(
        timestamp: Timestamp,
        parts: &[(DeviceId, u32, Vec<u8>)],
        left_out: Option<&LeftOut>,
        online: bool,
    ) -> Self {
        let part = |(device, registration_id, sealed): &(DeviceId, u32, Vec<u8>)| PartJson {
            kind: SEALED,
            destination_device_id: device.number(),
            destination_registration_id: *registration_id,
            content: BASE64.encode(sealed),
        };
        let messages = parts.iter().map(part).collect();
        let timestamp = timestamp.0;
        let left_out = left_out.map(LeftOutJson::from);
        Self(MessageJson { messages, timestamp, online, partial: false, left_out, accept: None })
    }
}

/// Devices that are not in the list with this revision.
#[derive(Debug, Serialize)]
struct LeftOutJson {
    revision: u64,
    devices: Vec<u8>,
}

impl From<&LeftOut> for LeftOutJson {
    fn from(left_out: &LeftOut) -> Self {
        let devices = left_out.devices.iter().map(|device| device.number()).collect();
        Self { revision: left_out.revision, devices }
    }
}

/// The kind of a sealed message.
const SEALED: u32 = 6;

/// Keys that we publish.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeysJson {
    identity_key: Base64,
    signed_pre_key: SignedKeyJson,
    pre_keys: Vec<KeyJson>,
    pq_last_resort_pre_key: SignedKeyJson,
}

impl From<&Publication> for KeysJson {
    fn from(keys: &Publication) -> Self {
        let (id, key, signature) = &keys.signed;
        let signed_pre_key = SignedKeyJson::new(*id, &key.encode(), signature);
        let (id, key, signature) = &keys.kem;
        let one_time = keys.one_time.iter();
        Self {
            identity_key: Base64(keys.identity.encode().to_vec()),
            signed_pre_key,
            pre_keys: one_time
                .map(|(id, key)| KeyJson { key_id: *id, public_key: Base64(key.encode().to_vec()) })
                .collect(),
            pq_last_resort_pre_key: SignedKeyJson::new(*id, &key.encode(), signature),
        }
    }
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyJson {
    key_id: u32,
    public_key: Base64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct SignedKeyJson {
    key_id: u32,
    public_key: Base64,
    signature: Base64,
}

impl SignedKeyJson {
    fn new(key_id: u32, key: &[u8], signature: &Signature) -> Self {
        Self { key_id, public_key: Base64(key.to_vec()), signature: Base64(signature.0.to_vec()) }
    }

    fn signature(&self) -> Option<Signature> {
        self.signature.0.as_slice().try_into().ok().map(Signature)
    }
}

/// The keys of all devices of an account.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bundles {
    #[serde(deserialize_with = "parsed")]
    uuid: AccountId,
    #[serde(default)]
    app: Option<String>,
    identity_key: Base64,
    devices: Vec<DeviceKeys>,
    #[serde(default)]
    device_list: Option<Base64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceKeys {
    device_id: u32,
    registration_id: u32,
    signed_pre_key: SignedKeyJson,
    pre_key: Option<KeyJson>,
    pq_pre_key: Option<SignedKeyJson>,
}

/// The account that a destination means, and its keys. Their signatures are not verified yet.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) account: AccountId,
    pub(crate) app: Option<AppName>,
    /// The identity key of the account, also if no device has published keys that can be used.
    pub(crate) identity: PublicKey,
    pub(crate) bundles: Vec<PreKeyBundle>,
    /// The signed list of its devices, if it has one. It is not verified yet.
    pub(crate) list: Option<Vec<u8>>,
}

impl Bundles {
    /// The keys; `None` if one of them is malformed.
    pub(super) fn check(&self) -> Option<Resolved> {
        let identity = PublicKey::decode(&self.identity_key.0).ok()?;
        let bundles = self.devices.iter().map(|device| device.bundle(identity));
        let bundles = bundles.collect::<Option<_>>()?;
        let app = self.app.as_deref().map(str::parse).transpose().ok()?;
        let list = self.device_list.as_ref().map(|Base64(list)| list.clone());
        Some(Resolved { account: self.uuid, app, identity, bundles, list })
    }
}

/// The list of our devices, and which exist.
#[derive(Debug, Deserialize)]
pub(super) struct OwnList {
    revision: Option<u64>,
    list: Option<Base64>,
    devices: Vec<ExistingDevice>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExistingDevice {
    id: u32,
    registration_id: u32,
    has_keys: bool,
}

impl OwnList {
    /// Converts the answer; `None` if a device has an invalid number.
    pub(super) fn check(self) -> Option<OwnDeviceList> {
        let devices = self.devices.iter().map(|it| {
            let device = DeviceId::new(it.id)?;
            let ExistingDevice { registration_id, has_keys, .. } = *it;
            Some(OwnDevice { device, registration_id, has_keys })
        });
        let stored = self.revision.zip(self.list).map(|(revision, Base64(list))| (revision, list));
        Some(OwnDeviceList { stored, devices: devices.collect::<Option<_>>()? })
    }
}

/// A list of our devices that replaces another one.
#[derive(Debug, Serialize)]
pub(super) struct NewList {
    previous: Option<u64>,
    revision: u64,
    list: Base64,
}

impl From<&NewDeviceList> for NewList {
    fn from(new: &NewDeviceList) -> Self {
        let NewDeviceList { previous, revision, list } = new;
        Self { previous: *previous, revision: *revision, list: Base64(list.clone()) }
    }
}

impl DeviceKeys {
    fn bundle(&self, identity: PublicKey) -> Option<PreKeyBundle> {
        let signed = &self.signed_pre_key;
        let curve = |key: &Base64| PublicKey::decode(&key.0).ok();
        let one_time = |key: &KeyJson| Some((key.key_id, curve(&key.public_key)?));
        let kem = |key: &SignedKeyJson| {
            let public = KemPublicKey::decode(&key.public_key.0).ok()?;
            Some((key.key_id, public, key.signature()?))
        };
        Some(PreKeyBundle {
            device: DeviceId::new(self.device_id)?,
            registration_id: self.registration_id,
            identity,
            signed: (signed.key_id, curve(&signed.public_key)?, signed.signature()?),
            one_time: match &self.pre_key {
                Some(key) => Some(one_time(key)?),
                None => None,
            },
            kem: match &self.pq_pre_key {
                Some(key) => Some(kem(key)?),
                None => None,
            },
        })
    }
}

/// Bytes in base64: read with or without padding, written without.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Base64(Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl Visitor<'_> for TextVisitor {
            type Value = Base64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text in base64")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Base64, E> {
                let digits = text.trim_end_matches('=');
                BASE64_NOPAD.decode(digits.as_bytes()).map(Base64).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_NOPAD.encode(&self.0))
    }
}

/// An account id.
fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AccountId, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn parsed_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<AccountId>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(D::Error::custom)
}

fn device<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DeviceId, D::Error> {
    let number = u32::deserialize(deserializer)?;
    DeviceId::new(number).ok_or_else(|| D::Error::custom("not the number of a device"))
}

/// The body of a request.
pub(super) fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, RequestError> {
    // Our types have only fields that JSON can represent.
    serde_json::to_vec(value).map_err(|_| RequestError::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "9d0652a3-dcc3-4d11-975f-74d61598733f";

    fn bundles(device: &str) -> Option<Resolved> {
        let key = BASE64_NOPAD.encode(&[&[5][..], &[9; 32]].concat());
        let device = device.replace("KEY", &key).replace("SIGNATURE", &BASE64.encode(&[7; 64]));
        let text = format!(
            r#"{{"uuid":"{ID}","app":"com.example","identityKey":"{key}","devices":[{device}],"keys":[]}}"#
        );
        serde_json::from_str::<Bundles>(&text).ok()?.check()
    }

    const SIGNED: &str = r#"{"keyId":1,"publicKey":"KEY","signature":"SIGNATURE"}"#;

    #[test]
    fn keys_are_read_with_and_without_one_time_keys() {
        for (rest, one_time) in [
            ("", None),
            (r#","preKey":null"#, None),
            (r#","preKey":{"keyId":7,"publicKey":"KEY"}"#, Some(7)),
        ] {
            let device =
                format!(r#"{{"deviceId":1,"registrationId":2,"signedPreKey":{SIGNED}{rest}}}"#);
            let resolved = bundles(&device).unwrap();
            assert_eq!(resolved.account.to_string(), ID);
            let bundle = &resolved.bundles[0];
            assert_eq!(bundle.one_time.as_ref().map(|(id, _)| *id), one_time);
            assert_eq!((bundle.device, bundle.registration_id), (DeviceId::PRIMARY, 2));
        }
    }

    #[test]
    fn malformed_keys_are_refused() {
        let short = r#"{"keyId":1,"publicKey":"KEY","signature":"AAAA"}"#;
        for device in [
            format!(r#"{{"deviceId":0,"registrationId":2,"signedPreKey":{SIGNED}}}"#),
            format!(r#"{{"deviceId":128,"registrationId":2,"signedPreKey":{SIGNED}}}"#),
            format!(r#"{{"deviceId":1,"registrationId":-2,"signedPreKey":{SIGNED}}}"#),
            format!(r#"{{"deviceId":1,"registrationId":2,"signedPreKey":{short}}}"#),
            format!(
                r#"{{"deviceId":1,"registrationId":2,"signedPreKey":{SIGNED},"pqPreKey":{SIGNED}}}"#
            ),
            format!(
                r#"{{"deviceId":1,"registrationId":2,"signedPreKey":{SIGNED},"preKey":{{"keyId":1,"publicKey":"!"}}}}"#
            ),
            "{}".to_owned(),
        ] {
            assert!(bundles(&device).is_none(), "{device}");
        }
    }

    #[test]
    fn devices_that_cannot_exist_are_ignored() {
        let mismatched: Mismatched =
            serde_json::from_str(r#"{"missingDevices":[0,1,127,128,4294967295]}"#).unwrap();
        let expected = Response::Mismatched {
            missing: [1, 127].into_iter().filter_map(DeviceId::new).collect(),
            extra: Vec::new(),
        };
        assert_eq!(Response::from(mismatched), expected);
    }
}
