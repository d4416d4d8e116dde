//! Prekeys, as clients publish and fetch them.

use serde::{Deserialize, Serialize};
use wormhole_chat::service::AppName;
use wormhole_chat::{
    AccountId, DeviceId, KemPublicKey, PreKeyBundle, PublicKey, Publication, Signature,
};

use super::{Base64, parsed};

/// The signed prekey that the server hands out for us.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::chat::service) struct PublishedKey {
    key_id: u32,
    public_key: Base64,
}

impl PublishedKey {
    /// Its id and the key; `None` if it is malformed.
    pub(in crate::chat::service) fn check(&self) -> Option<(u32, PublicKey)> {
        Some((self.key_id, PublicKey::decode(&self.public_key.0).ok()?))
    }
}

/// Keys that we publish.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::chat::service) struct KeysJson {
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
pub(in crate::chat::service) struct Bundles {
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
    pub(in crate::chat::service) fn check(&self) -> Option<Resolved> {
        let identity = PublicKey::decode(&self.identity_key.0).ok()?;
        let bundles = self.devices.iter().map(|device| device.bundle(identity));
        let bundles = bundles.collect::<Option<_>>()?;
        let app = self.app.as_deref().map(str::parse).transpose().ok()?;
        let list = self.device_list.as_ref().map(|Base64(list)| list.clone());
        Some(Resolved { account: self.uuid, app, identity, bundles, list })
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
