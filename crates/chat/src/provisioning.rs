//! Linking another device of the same account: the primary device sends it the account's identity key and a code with
//! which it registers (docs/chat-protocol.md "Provisioning").
//!
//! The new device shows its public key as a QR code. A device that scans the code can encrypt for it, so an authentic
//! message does not show who sent it: the person at the primary device decides which code to scan.

mod introduction;
mod link;
mod message;
mod name;

use prost::Message;
use rand_core::CryptoRngCore;
use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use crate::cipher;
use crate::kdf::{halves, hkdf, tag, tag_matches};
use crate::key::{KeyPair, PublicKey};

pub use introduction::{Introduction, IntroductionDecodeError, IntroductionMessage};
pub use link::{CopyOffer, CopyReady, LinkDecodeError, LinkMessage, LinkOffer, LinkRefusal};
pub use message::ProvisionMessage;
pub use name::{open_device_name, seal_device_name};

/// The address that the service has given to a new device: the body of the request `PUT /v1/address`. `None` if it is malformed.
pub fn provisioning_address(body: &[u8]) -> Option<String> {
    AddressProto::decode(body).ok()?.address
}

impl ProvisionMessage {
    /// Encrypts the message for the device that showed `device`. Returns the bytes of a `ProvisionEnvelope`.
    ///
    /// # Errors
    /// The key is of low order.
    pub fn seal(
        &self,
        device: &PublicKey,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Vec<u8>, ProvisioningError> {
        let ours = KeyPair::random(rng);
        let mut iv = [0; 16];
        rng.fill_bytes(&mut iv);
        let keys = Keys::agree(&ours, device)?;
        let plaintext = self.encode();
        let mut body = Vec::with_capacity(OVERHEAD + cipher::padded(plaintext.len()));
        body.push(VERSION);
        body.extend(iv);
        cipher::encrypt(&keys.cipher, &iv, &plaintext, &mut body);
        let mac = tag(keys.mac.expose(), &[&body]);
        body.extend(mac);
        let public_key = Some(ours.public().encode().to_vec());
        Ok(EnvelopeProto { public_key, body: Some(body) }.encode_to_vec())
    }

    /// Decrypts the bytes of a `ProvisionEnvelope` with the key pair that this device has shown.
    ///
    /// # Errors
    /// The envelope is malformed, was modified, or is for another device. Show a new QR code.
    pub fn open(device: &KeyPair, envelope: &[u8]) -> Result<Self, ProvisioningError> {
        if envelope.len() > MAX_ENVELOPE {
            return Err(ProvisioningError);
        }
        let proto = EnvelopeProto::decode(envelope).map_err(|_| ProvisioningError)?;
        let (key, body) = proto.public_key.zip(proto.body).ok_or(ProvisioningError)?;
        let theirs = PublicKey::decode(&key).map_err(|_| ProvisioningError)?;
        let plaintext = Keys::agree(device, &theirs)?.open(&body)?;
        Self::decode(&plaintext).ok_or(ProvisioningError)
    }
}

/// The keys for one envelope.
struct Keys {
    cipher: Secret<32>,
    mac: Secret<32>,
}

impl Keys {
    fn agree(ours: &KeyPair, theirs: &PublicKey) -> Result<Self, ProvisioningError> {
        let shared = ours.agree(theirs).map_err(|_| ProvisioningError)?;
        let (cipher, mac) = halves(&hkdf(&[0; 32], shared.expose(), INFO));
        Ok(Self { cipher, mac })
    }

    fn open(&self, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, ProvisioningError> {
        let (signed, mac) = body.split_last_chunk::<TAG>().ok_or(ProvisioningError)?;
        if !tag_matches(&tag(self.mac.expose(), &[signed]), mac) {
            return Err(ProvisioningError);
        }
        let mut reader = Reader::new(signed);
        if reader.u8() != Ok(VERSION) {
            return Err(ProvisioningError);
        }
        let iv = reader.array().map_err(|_| ProvisioningError)?;
        cipher::decrypt(&self.cipher, &iv, reader.rest()).ok_or(ProvisioningError)
    }
}

/// The envelope is malformed, was modified, or is for another device. All reasons give the same error, because naming
/// the failed check would help an attacker.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the provisioning message cannot be decrypted")]
pub struct ProvisioningError;

#[derive(Message)]
struct AddressProto {
    #[prost(string, optional, tag = "1")]
    address: Option<String>,
}

#[derive(Message)]
struct EnvelopeProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    public_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    body: Option<Vec<u8>>,
}

const INFO: &[u8] = b"TextSecure Provisioning Message";

/// The only version.
const VERSION: u8 = 1;

/// Length of the MAC, a complete HMAC-SHA256.
const TAG: usize = 32;

/// Length of version, IV and MAC.
const OVERHEAD: usize = 1 + 16 + TAG;

/// Maximum length of an envelope: far more than any message needs.
const MAX_ENVELOPE: usize = 64 * 1024;
