//! The certificates of sealed sender: a service says which account, device and identity key a sender has
//! (docs/chat-protocol.md "Sealed sender").
//!
//! The trust root, whose public key is part of the program, signs the certificate of a server. The server signs those of
//! senders, which are valid for a few days.

use prost::Message;
use rand_core::CryptoRngCore;

use crate::address::{AccountId, Address, DeviceId};
use crate::key::{KeyPair, PublicKey, Signature};
use crate::time::Timestamp;

/// The certificate of a server that signs [`SenderCertificate`]s. Its signature is not verified yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerCertificate {
    id: u32,
    key: PublicKey,
    signed: Signed,
}

impl ServerCertificate {
    /// Signs the key of a server with the trust root. `id` is what programs revoke.
    pub fn issue(id: u32, key: PublicKey, root: &KeyPair, rng: &mut impl CryptoRngCore) -> Self {
        let fields = ServerFields { id: Some(id), key: Some(key.encode().to_vec()) };
        Self { id, key, signed: Signed::new(fields.encode_to_vec(), root, rng) }
    }

    /// Decodes a certificate.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Self, CertificateError> {
        let signed = Signed::decode(bytes)?;
        let fields =
            ServerFields::decode(&*signed.bytes).map_err(|_| CertificateError::Malformed)?;
        let (Some(id), Some(key)) = (fields.id, fields.key) else {
            return Err(CertificateError::Malformed);
        };
        Ok(Self { id, key: public_key(&key)?, signed })
    }

    /// Encodes the certificate.
    pub fn encode(&self) -> Vec<u8> {
        self.signed.encode()
    }

    /// Checks that one of the trust roots has signed it, and that it was not revoked.
    fn verify(&self, roots: &[PublicKey]) -> Result<(), CertificateError> {
        if !roots.iter().any(|root| self.signed.is_by(root)) {
            return Err(CertificateError::UntrustedServer);
        }
        if REVOKED.contains(&self.id) {
            return Err(CertificateError::Revoked(self.id));
        }
        Ok(())
    }
}

/// The certificate of a sender. Nothing in it is verified yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SenderCertificate {
    sender: CertifiedSender,
    expires: Timestamp,
    server: ServerCertificate,
    signed: Signed,
}

/// A sender for whom a service vouches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertifiedSender {
    /// The account and the device.
    pub address: Address,
    /// The account's identity key.
    pub identity: PublicKey,
    /// The phone number, if the sender shows it.
    pub number: Option<String>,
}

impl SenderCertificate {
    /// Certifies a sender until `expires`. `key` is the one of the server's certificate.
    pub fn issue(
        sender: CertifiedSender,
        expires: Timestamp,
        server: ServerCertificate,
        key: &KeyPair,
        rng: &mut impl CryptoRngCore,
    ) -> Self {
        let fields = SenderFields {
            number: sender.number.clone(),
            device: Some(sender.address.device.number().into()),
            expires: Some(expires.0),
            identity: Some(sender.identity.encode().to_vec()),
            server: Some(server.encode()),
            account: Some(sender.address.account.to_string()),
            account_bytes: None,
            server_id: None,
        };
        Self { sender, expires, server, signed: Signed::new(fields.encode_to_vec(), key, rng) }
    }

    /// Decodes a certificate.
    ///
    /// # Errors
    /// It is malformed, or names a server without its certificate.
    pub fn decode(bytes: &[u8]) -> Result<Self, CertificateError> {
        let signed = Signed::decode(bytes)?;
        let fields =
            SenderFields::decode(&*signed.bytes).map_err(|_| CertificateError::Malformed)?;
        if let (None, Some(id)) = (&fields.server, fields.server_id) {
            return Err(CertificateError::UnknownServer(id));
        }
        let account = fields.account_id()?;
        let (Some(device), Some(expires), Some(identity), Some(server)) =
            (fields.device, fields.expires, fields.identity, fields.server)
        else {
            return Err(CertificateError::Malformed);
        };
        let device = DeviceId::new(device).ok_or(CertificateError::Malformed)?;
        let sender = CertifiedSender {
            address: Address { account, device },
            identity: public_key(&identity)?,
            number: fields.number.filter(|number| !number.is_empty()),
        };
        let server = ServerCertificate::decode(&server)?;
        Ok(Self { sender, expires: Timestamp(expires), server, signed })
    }

    /// Encodes the certificate.
    pub fn encode(&self) -> Vec<u8> {
        self.signed.encode()
    }

    /// When it expires: a sender needs another one before that.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Verifies the certificate at the time `now`: a trust root has signed the server's certificate, the server has signed this
    /// one, and it has not expired.
    ///
    /// # Errors
    /// Do not believe anything that it says.
    pub fn verify(
        &self,
        roots: &[PublicKey],
        now: Timestamp,
    ) -> Result<&CertifiedSender, CertificateError> {
        self.server.verify(roots)?;
        if !self.signed.is_by(&self.server.key) {
            return Err(CertificateError::BadSignature);
        }
        if now > self.expires {
            return Err(CertificateError::Expired);
        }
        Ok(&self.sender)
    }

    /// The identity key that it claims, for checks that do not depend on who has signed it.
    pub(crate) const fn claimed_identity(&self) -> &PublicKey {
        &self.sender.identity
    }
}

/// Why a certificate is not valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CertificateError {
    /// The server did not sign it.
    #[error("the signature of the sender's certificate is invalid")]
    BadSignature,
    /// It has expired.
    #[error("the sender's certificate has expired")]
    Expired,
    /// A field is missing or invalid.
    #[error("the certificate is malformed")]
    Malformed,
    /// The certificate of the server with this id was revoked.
    #[error("the server certificate {0:#010x} was revoked")]
    Revoked(u32),
    /// It names a server whose certificate it does not contain.
    #[error("the server certificate {0} is unknown")]
    UnknownServer(u32),
    /// No trust root has signed the server's certificate.
    #[error("the server's certificate is not signed by a trust root")]
    UntrustedServer,
}

/// Signed bytes and their signature.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Signed {
    bytes: Vec<u8>,
    signature: Signature,
}

impl Signed {
    fn new(bytes: Vec<u8>, key: &KeyPair, rng: &mut impl CryptoRngCore) -> Self {
        let signature = key.sign(&bytes, rng);
        Self { bytes, signature }
    }

    fn decode(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > MAX_CERTIFICATE {
            return Err(CertificateError::Malformed);
        }
        let fields = SignedFields::decode(bytes).map_err(|_| CertificateError::Malformed)?;
        let signature = fields.signature.and_then(|bytes| Signature::from_slice(&bytes));
        let (Some(bytes), Some(signature)) = (fields.bytes, signature) else {
            return Err(CertificateError::Malformed);
        };
        Ok(Self { bytes, signature })
    }

    fn encode(&self) -> Vec<u8> {
        let (bytes, signature) = (Some(self.bytes.clone()), Some(self.signature.0.to_vec()));
        SignedFields { bytes, signature }.encode_to_vec()
    }

    fn is_by(&self, key: &PublicKey) -> bool {
        key.verify(&self.bytes, &self.signature)
    }
}

fn public_key(bytes: &[u8]) -> Result<PublicKey, CertificateError> {
    PublicKey::decode(bytes).map_err(|_| CertificateError::Malformed)
}

#[derive(Message)]
struct SignedFields {
    #[prost(bytes = "vec", optional, tag = "1")]
    bytes: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    signature: Option<Vec<u8>>,
}

#[derive(Message)]
struct ServerFields {
    #[prost(uint32, optional, tag = "1")]
    id: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "2")]
    key: Option<Vec<u8>>,
}

#[derive(Message)]
struct SenderFields {
    #[prost(string, optional, tag = "1")]
    number: Option<String>,
    #[prost(uint32, optional, tag = "2")]
    device: Option<u32>,
    #[prost(fixed64, optional, tag = "3")]
    expires: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    identity: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    server: Option<Vec<u8>>,
    #[prost(string, optional, tag = "6")]
    account: Option<String>,
    #[prost(bytes = "vec", optional, tag = "7")]
    account_bytes: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "8")]
    server_id: Option<u32>,
}

impl SenderFields {
    /// The account, in one of its two forms.
    fn account_id(&self) -> Result<AccountId, CertificateError> {
        let account = match (&self.account, &self.account_bytes) {
            (Some(text), None) => text.parse().ok(),
            (None, Some(bytes)) => bytes.as_slice().try_into().ok().map(AccountId::from_bytes),
            (None, None) | (Some(_), Some(_)) => None,
        };
        account.ok_or(CertificateError::Malformed)
    }
}

/// Server certificates that are not valid any more, the same as in deployed clients.
const REVOKED: [u32; 1] = [0xdead_c357];

/// Maximum length of a certificate in bytes. Usual ones have about 300.
const MAX_CERTIFICATE: usize = 4096;

#[cfg(test)]
mod tests;
