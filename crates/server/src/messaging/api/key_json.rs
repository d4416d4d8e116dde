//! The JSON of keys, and the checks of its values.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::{ENCODED_KEY, KemPublicKey, PublicKey, Signature};

use super::ApiError;
use super::json::{Base64, Number};
use crate::messaging::base64;
use crate::messaging::store::{
    Bundle, DeviceBundle, KeyKind, KeySet, LastResortKey, OneTimeKey, SignedKey,
};

/// Keys in either shape. (docs/chat-service.md "Keys")
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PublishedKeys {
    #[schema(value_type = Option<String>)]
    identity_key: Option<Base64>,
    signed_pre_key: Option<SignedKeyJson>,
    /// One-time keys, at most 100.
    pre_keys: Option<Vec<KeyJson>>,
    /// Post-quantum one-time keys, at most 100.
    pq_pre_keys: Option<Vec<SignedKeyJson>>,
    pq_last_resort_pre_key: Option<SignedKeyJson>,
    /// Given out when no one-time key is left, to clients of 2014.
    last_resort_key: Option<KeyJson>,
    /// One-time keys in the shape of clients of 2014, each with the identity key.
    keys: Option<Vec<KeyJson>>,
}

/// A public key with its id.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyJson {
    #[schema(value_type = u32)]
    key_id: Number,
    /// 33 bytes in base64, the first one is 5.
    #[schema(value_type = String)]
    public_key: Base64,
    /// Only in the shape of clients of 2014.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity_key: Option<Base64>,
}

/// A public key with its id and the identity key's signature.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SignedKeyJson {
    #[schema(value_type = u32)]
    key_id: Number,
    #[schema(value_type = String)]
    public_key: Base64,
    /// 64 bytes in base64.
    #[schema(value_type = String)]
    signature: Base64,
}

/// How many one-time keys are left.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyCount {
    pub(super) count: u64,
    /// Of the post-quantum kind.
    pub(super) pq_count: u64,
}

/// The keys of some devices of an account, in both shapes.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bundles {
    /// The id of the account.
    uuid: String,
    /// The app of the account.
    app: String,
    identity_key: String,
    /// Devices with a signed prekey.
    devices: Vec<DeviceKeys>,
    /// The shape of clients of 2014: the unsigned key of each device that has one.
    keys: Vec<UnsignedKey>,
    /// The list of its devices, in base64, if the account has published one.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_list: Option<String>,
}

/// The keys of one device.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeviceKeys {
    device_id: u8,
    registration_id: u32,
    signed_pre_key: SignedKeyJson,
    pre_key: Option<KeyJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pq_pre_key: Option<SignedKeyJson>,
}

/// The key of one device in the shape of clients of 2014.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct UnsignedKey {
    device_id: u8,
    key_id: u32,
    public_key: String,
    identity_key: String,
    registration_id: u32,
}

impl PublishedKeys {
    /// The identity key: at the top, or in the shape of clients of 2014 in each key.
    pub(super) fn identity(&self) -> Result<PublicKey, ApiError> {
        let of_last = self.last_resort_key.iter().chain(self.keys.iter().flatten());
        let mut in_keys = of_last.filter_map(|key| key.identity_key.as_ref());
        let first = self.identity_key.as_ref().map(|Base64(bytes)| bytes);
        let first = first.or_else(|| in_keys.clone().next().map(|Base64(bytes)| bytes));
        let first = first.ok_or_else(|| ApiError::invalid("the identity key is missing"))?;
        if in_keys.any(|Base64(bytes)| bytes != first) {
            return Err(ApiError::invalid("the keys have different identity keys"));
        }
        identity_of(first).ok_or_else(|| ApiError::invalid("the identity key is invalid"))
    }

    /// The keys, once all of them and their signatures are checked.
    ///
    /// # Errors
    /// One of them is invalid, or there are too many.
    pub(super) fn check(&self, identity: &PublicKey) -> Result<KeySet, ApiError> {
        let one_time = |keys: &Vec<KeyJson>| {
            check_number(keys.len())?;
            keys.iter().map(KeyJson::check).collect::<Result<Vec<_>, _>>()
        };
        let signed = |keys: &Vec<SignedKeyJson>| {
            check_number(keys.len())?;
            keys.iter().map(|key| key.check_one_time_kyber(identity)).collect::<Result<Vec<_>, _>>()
        };
        let curve = self.pre_keys.as_ref().or(self.keys.as_ref()).map(one_time).transpose()?;
        let kyber = self.pq_pre_keys.as_ref().map(signed).transpose()?;
        let last = self.last_resort_key.as_ref().map(KeyJson::check_last_resort).transpose()?;
        let kyber_last = self.pq_last_resort_pre_key.as_ref();
        Ok(KeySet {
            signed: self
                .signed_pre_key
                .as_ref()
                .map(|key| key.check_curve(identity))
                .transpose()?,
            last_resort: last.flatten(),
            kyber_last_resort: kyber_last.map(|key| key.check_kyber(identity)).transpose()?,
            curve,
            kyber,
        })
    }
}

impl KeyJson {
    fn check(&self) -> Result<OneTimeKey, ApiError> {
        let Base64(key) = &self.public_key;
        let valid = identity_of(key).ok_or_else(|| ApiError::invalid("a prekey is invalid"))?;
        let id = check_id(self.key_id)?;
        Ok(OneTimeKey { kind: KeyKind::Curve, id, key: valid.encode().to_vec(), signature: None })
    }

    /// The npm client sends two bytes as a key of last resort, because servers required one: that is no key.
    fn check_last_resort(&self) -> Result<Option<LastResortKey>, ApiError> {
        let Base64(key) = &self.public_key;
        if key.len() < ENCODED_KEY {
            return Ok(None);
        }
        let OneTimeKey { id, key, .. } = self.check()?;
        Ok(Some(LastResortKey { id, key }))
    }
}

impl SignedKeyJson {
    /// The key, if it is an X25519 key and the identity key has signed it.
    pub(super) fn check_curve(&self, identity: &PublicKey) -> Result<SignedKey, ApiError> {
        let Base64(key) = &self.public_key;
        let key =
            identity_of(key).ok_or_else(|| ApiError::invalid("the signed prekey is invalid"))?;
        self.check_signature(identity, key.encode().to_vec())
    }

    /// The key, if it is a Kyber-1024 key and the identity key has signed it.
    fn check_kyber(&self, identity: &PublicKey) -> Result<SignedKey, ApiError> {
        let Base64(key) = &self.public_key;
        let key = KemPublicKey::decode(key)
            .map_err(|_| ApiError::invalid("a post-quantum prekey is invalid"))?;
        self.check_signature(identity, key.encode())
    }

    fn check_one_time_kyber(&self, identity: &PublicKey) -> Result<OneTimeKey, ApiError> {
        let SignedKey { id, key, signature } = self.check_kyber(identity)?;
        Ok(OneTimeKey { kind: KeyKind::Kyber, id, key, signature: Some(signature) })
    }

    fn check_signature(&self, identity: &PublicKey, key: Vec<u8>) -> Result<SignedKey, ApiError> {
        let Base64(signature) = &self.signature;
        let bad = || ApiError::invalid("the signature of a prekey is invalid");
        let bytes: [u8; 64] = signature.as_slice().try_into().map_err(|_| bad())?;
        if !identity.verify(&key, &Signature(bytes)) {
            return Err(bad());
        }
        Ok(SignedKey { id: check_id(self.key_id)?, key, signature: bytes.to_vec() })
    }
}

impl From<&SignedKey> for SignedKeyJson {
    fn from(SignedKey { id, key, signature }: &SignedKey) -> Self {
        let (public_key, signature) = (Base64(key.clone()), Base64(signature.clone()));
        Self { key_id: Number((*id).into()), public_key, signature }
    }
}

impl Bundles {
    /// The answer; `None` if the account has published no keys.
    pub(super) fn new(bundle: &Bundle) -> Option<Self> {
        let identity = base64::encode_key(bundle.account.identity.as_deref()?);
        let devices: Vec<_> = bundle.devices.iter().filter_map(DeviceKeys::new).collect();
        let unsigned_key = |device| UnsignedKey::new(device, &identity);
        let keys: Vec<_> = bundle.devices.iter().filter_map(unsigned_key).collect();
        if devices.is_empty() && keys.is_empty() {
            return None;
        }
        let account = &bundle.account;
        let (uuid, app) = (account.id.to_string(), account.app_name.to_string());
        let device_list = account.device_list.as_ref().map(|list| base64::encode_key(&list.list));
        Some(Self { uuid, app, identity_key: identity, devices, keys, device_list })
    }
}

/// The unsigned key that a device hands out: a one-time key, or the one of last resort.
fn unsigned_key(device: &DeviceBundle) -> Option<(u32, &[u8])> {
    let one_time = device.one_time.as_ref().map(|key| (key.id, key.key.as_slice()));
    one_time.or_else(|| device.last_resort.as_ref().map(|key| (key.id, key.key.as_slice())))
}

impl DeviceKeys {
    fn new(device: &DeviceBundle) -> Option<Self> {
        let signed = device.signed.as_ref()?;
        let pre_key = unsigned_key(device).map(|(id, key)| KeyJson {
            key_id: Number(id.into()),
            public_key: Base64(key.to_vec()),
            identity_key: None,
        });
        Some(Self {
            device_id: device.device.number(),
            registration_id: device.registration_id,
            signed_pre_key: signed.into(),
            pre_key,
            pq_pre_key: device.kyber.as_ref().map(SignedKeyJson::from),
        })
    }
}

impl UnsignedKey {
    fn new(device: &DeviceBundle, identity: &str) -> Option<Self> {
        let (key_id, key) = unsigned_key(device)?;
        Some(Self {
            device_id: device.device.number(),
            key_id,
            public_key: base64::encode_key(key),
            identity_key: identity.to_owned(),
            registration_id: device.registration_id,
        })
    }
}

/// Decodes an X25519 key of 33 bytes.
pub(super) fn identity_of(bytes: &[u8]) -> Option<PublicKey> {
    PublicKey::decode(bytes).ok()
}

fn check_id(Number(id): Number) -> Result<u32, ApiError> {
    let id = u32::try_from(id).ok().filter(|id| *id <= MAX_KEY_ID);
    id.ok_or_else(|| ApiError::invalid("a key id is too large"))
}

fn check_number(keys: usize) -> Result<(), ApiError> {
    if keys <= MAX_KEYS { Ok(()) } else { Err(ApiError::invalid("more than 100 one-time keys")) }
}

/// Highest key id. The specification has 24 bits, but some clients use more.
const MAX_KEY_ID: u32 = i32::MAX.unsigned_abs();

/// Maximum number of one-time keys of each kind in a request.
const MAX_KEYS: usize = 100;
