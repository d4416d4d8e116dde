//! The content of a provisioning message.

use std::fmt;

use prost::Message;
use wormhole_kit::Secret;
use zeroize::{Zeroize, Zeroizing};

use crate::address::AccountId;
use crate::key::{KeyPair, PrivateKey, PublicKey};
use crate::profile::ProfileKey;

/// The data with which a new device becomes a device of the account.
#[derive(Clone, Eq, PartialEq)]
pub struct ProvisionMessage {
    /// The account's identity key, which all its devices share.
    pub identity: KeyPair,
    /// The account's phone number.
    pub number: Option<String>,
    /// The code with which the device registers itself once.
    pub code: String,
    /// The name of the primary device's program.
    pub user_agent: Option<String>,
    /// The key to the account's profile.
    pub profile_key: Option<ProfileKey>,
    /// Whether the account sends reports about messages that were read.
    pub read_receipts: Option<bool>,
    /// The account. Clients before 2019 omit it.
    pub account: Option<AccountId>,
}

impl ProvisionMessage {
    /// Encodes the plaintext.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let proto = MessageProto {
            identity_public: Some(self.identity.public().encode().to_vec()),
            identity_private: Some(self.identity.private().as_secret().expose().to_vec()),
            number: self.number.clone(),
            code: Some(self.code.clone()),
            user_agent: self.user_agent.clone(),
            profile_key: self.profile_key.as_ref().map(|key| key.as_secret().expose().to_vec()),
            read_receipts: self.read_receipts,
            account: self.account.map(|account| account.to_string()),
        };
        let proto = Wiped(proto);
        Zeroizing::new(proto.0.encode_to_vec())
    }

    /// Decodes the plaintext of an envelope. `None` if a field is missing or malformed, or if the identity keys do not
    /// belong together.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut proto = Wiped(MessageProto::decode(bytes).ok()?);
        let proto = &mut proto.0;
        let private = secret(proto.identity_private.as_deref()?)?;
        let identity = KeyPair::from(PrivateKey::from_secret(&private));
        let public = PublicKey::decode(proto.identity_public.as_deref()?).ok()?;
        let account = proto.account.as_deref().filter(|account| !account.is_empty());
        let profile_key = proto.profile_key.as_deref().filter(|key| !key.is_empty());
        (public == *identity.public()).then_some(())?;
        Some(Self {
            identity,
            number: proto.number.take(),
            code: proto.code.take()?,
            user_agent: proto.user_agent.take(),
            profile_key: match profile_key {
                Some(key) => Some(ProfileKey::from_secret(secret(key)?)),
                None => None,
            },
            read_receipts: proto.read_receipts,
            account: account.map(|account| account.parse().ok()).unwrap_or_default(),
        })
    }
}

fn secret(bytes: &[u8]) -> Option<Secret<32>> {
    bytes.try_into().ok().map(Secret::new)
}

impl fmt::Debug for ProvisionMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProvisionMessage(…)")
    }
}

/// Overwrites the keys when it is dropped.
struct Wiped(MessageProto);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.identity_private.zeroize();
        self.0.profile_key.zeroize();
        self.0.code.zeroize();
    }
}

#[derive(Message)]
struct MessageProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    identity_public: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    identity_private: Option<Vec<u8>>,
    #[prost(string, optional, tag = "3")]
    number: Option<String>,
    #[prost(string, optional, tag = "4")]
    code: Option<String>,
    #[prost(string, optional, tag = "5")]
    user_agent: Option<String>,
    #[prost(bytes = "vec", optional, tag = "6")]
    profile_key: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "7")]
    read_receipts: Option<bool>,
    #[prost(string, optional, tag = "8")]
    account: Option<String>,
}
