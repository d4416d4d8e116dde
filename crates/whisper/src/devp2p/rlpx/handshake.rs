//! The handshake of an RLPx connection: two packets (rlpx.md "Initial Handshake", EIP-8).
//!
//! ```text
//! initiator: ExpectAck::start ──auth──►  recipient: ExpectAuth::finish
//!            ExpectAck::finish ◄──ack──
//! ```
//!
//! A packet is `size (2, big-endian) ‖ ECIES(fields ‖ padding)`. The older form before EIP-8 has no size, fixed
//! lengths and no RLP; we accept and answer it, but never initiate it.

use std::fmt;

use rand_core::CryptoRngCore;
use wormhole_kit::{Reader, Secret, TooShort};
use zeroize::Zeroizing;

use super::frame::{self, Opener, Sealer};
use crate::devp2p::{
    ecies,
    key::{NodeId, PrivateKey, PublicKey, SIGNATURE, Signature, UNCOMPRESSED, keccak256},
    rlp::{self, Rlp, RlpError},
};

/// The initiator, which has sent its auth and expects the ack.
#[derive(Debug)]
pub struct ExpectAck {
    local: PrivateKey,
    remote: PublicKey,
    randomness: Randomness,
    auth: Vec<u8>,
}

impl ExpectAck {
    /// Starts a connection to the node with the key `remote`. Also returns the auth packet to send.
    pub fn start(
        local: &PrivateKey,
        remote: PublicKey,
        rng: &mut impl CryptoRngCore,
    ) -> (Self, Vec<u8>) {
        let randomness = Randomness::draw(rng);
        let proof = Secret::new(xor(local.agree(&remote).expose(), &randomness.nonce));
        let signature = randomness.ephemeral.sign(proof.expose());
        let fields = rlp::list(|auth| {
            auth.string(&signature.0)
                .string(&local.public_key().node_id().0)
                .string(&randomness.nonce)
                .uint(VERSION);
        });
        let auth = seal_sized(&remote, fields, ecies::Randomness::draw(rng), randomness.padding);
        (Self { local: local.clone(), remote, randomness, auth: auth.clone() }, auth)
    }

    /// Takes the ack packet from the received bytes. `None` if it is not complete.
    ///
    /// # Errors
    /// The recipient violated the protocol; close the connection.
    pub fn packet(&self, received: &[u8]) -> Result<Option<Packet>, HandshakeError> {
        Packet::cut(received, PLAIN_ACK)
    }

    /// Handles the ack and returns the frame ciphers.
    ///
    /// # Errors
    /// The recipient violated the protocol, or has another key; close the connection.
    pub fn finish(self, ack: &Packet) -> Result<Connected, HandshakeError> {
        let plaintext = ack.open(&self.local)?;
        let (ephemeral, nonce) = match ack.form {
            PacketFormat::Plain => {
                let mut fields = Reader::new(&plaintext);
                (fields.array()?, fields.array()?)
            }
            PacketFormat::Sized => {
                let mut fields = Rlp::new(&plaintext).list()?;
                (fields.array()?, fields.array()?)
            }
        };
        let link = SharedValues {
            shared: self.randomness.ephemeral.agree(&point(ephemeral)?),
            initiator_nonce: self.randomness.nonce,
            recipient_nonce: nonce,
        };
        let [ours, theirs] = link.ciphers(&self.auth, &ack.wire);
        Ok(Connected { remote: self.remote, sealer: ours.into(), opener: theirs.into() })
    }
}

/// The recipient, which expects an auth.
#[derive(Debug)]
pub struct ExpectAuth {
    local: PrivateKey,
    randomness: Randomness,
    sealing: ecies::Randomness,
}

impl ExpectAuth {
    /// Expects an initiator. All random values for the answer are generated now.
    pub fn start(local: &PrivateKey, rng: &mut impl CryptoRngCore) -> Self {
        let randomness = Randomness::draw(rng);
        Self { local: local.clone(), randomness, sealing: ecies::Randomness::draw(rng) }
    }

    /// Takes the auth packet from the received bytes. `None` if it is not complete.
    ///
    /// # Errors
    /// The initiator violated the protocol; close the connection.
    pub fn packet(&self, received: &[u8]) -> Result<Option<Packet>, HandshakeError> {
        Packet::cut(received, PLAIN_AUTH)
    }

    /// Handles the auth and returns the ack packet and the frame ciphers.
    ///
    /// # Errors
    /// The initiator violated the protocol; close the connection without an answer.
    pub fn finish(self, auth: &Packet) -> Result<Accepted, HandshakeError> {
        let Auth { signature, remote, nonce } = Auth::open(auth, &self.local)?;
        let proof = Secret::new(xor(self.local.agree(&remote).expose(), &nonce));
        let ephemeral = signature.recover(proof.expose());
        let link = SharedValues {
            shared: self
                .randomness
                .ephemeral
                .agree(&ephemeral.map_err(|_| HandshakeError::Forged)?),
            initiator_nonce: nonce,
            recipient_nonce: self.randomness.nonce,
        };
        let ack = self.ack(auth.form, &remote);
        let [theirs, ours] = link.ciphers(&auth.wire, &ack);
        let connected = Connected { remote, sealer: ours.into(), opener: theirs.into() };
        Ok(Accepted { ack, connected })
    }

    fn ack(self, form: PacketFormat, remote: &PublicKey) -> Vec<u8> {
        let ephemeral = self.randomness.ephemeral.public_key().node_id().0;
        match form {
            PacketFormat::Plain => {
                let fields = [ephemeral.as_slice(), &self.randomness.nonce, &[0]].concat();
                self.sealing.seal(remote, &fields, &[])
            }
            PacketFormat::Sized => {
                let fields = rlp::list(|ack| {
                    ack.string(&ephemeral).string(&self.randomness.nonce).uint(VERSION);
                });
                seal_sized(remote, fields, self.sealing, self.randomness.padding)
            }
        }
    }
}

/// A completed handshake: the key of the other node, and the frame ciphers.
#[derive(Debug)]
pub struct Connected {
    /// The other node's authenticated key.
    pub remote: PublicKey,
    /// Encrypts outgoing frames.
    pub sealer: Sealer,
    /// Decrypts incoming frames.
    pub opener: Opener,
}

/// The result of the recipient.
#[derive(Debug)]
pub struct Accepted {
    /// The ack packet, to be sent before any frame.
    pub ack: Vec<u8>,
    /// The completed handshake.
    pub connected: Connected,
}

/// A complete but still encrypted handshake packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    wire: Vec<u8>,
    form: PacketFormat,
}

impl Packet {
    /// Size of the packet in bytes.
    pub const fn length(&self) -> usize {
        self.wire.len()
    }

    /// Splits off a packet. The older form has `plain` bytes.
    fn cut(received: &[u8], plain: usize) -> Result<Option<Self>, HandshakeError> {
        let Some(size) = received.first_chunk() else { return Ok(None) };
        let (mut form, mut length) =
            (PacketFormat::Sized, SIZE.saturating_add(usize::from(u16::from_be_bytes(*size))));
        // The size of a packet may begin with the same byte, but what follows is a point of the curve only with
        // probability 2^-256.
        if received.starts_with(&[POINT_TAG]) {
            let Some(start) = received.get(..UNCOMPRESSED) else { return Ok(None) };
            if PublicKey::from_sec1(start).is_ok() {
                (form, length) = (PacketFormat::Plain, plain);
            }
        }
        if length > MAX_PACKET {
            return Err(HandshakeError::TooLong(length));
        }
        Ok(received.get(..length).map(|wire| Self { wire: wire.to_vec(), form }))
    }

    fn open(&self, key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
        let (size, sealed) = match self.form {
            PacketFormat::Plain => (&[][..], self.wire.as_slice()),
            PacketFormat::Sized => {
                self.wire.split_at_checked(SIZE).ok_or(HandshakeError::Unreadable)?
            }
        };
        ecies::open(key, sealed, size).map_err(|_| HandshakeError::Unreadable)
    }
}

/// Format of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PacketFormat {
    /// Before EIP-8: fixed fields, no size.
    Plain,
    /// Since EIP-8: size, fields in RLP, padding.
    Sized,
}

/// The fields of an auth packet.
#[derive(Debug)]
struct Auth {
    signature: Signature,
    remote: PublicKey,
    nonce: [u8; NONCE],
}

impl Auth {
    fn open(auth: &Packet, key: &PrivateKey) -> Result<Self, HandshakeError> {
        let plaintext = auth.open(key)?;
        let (signature, remote, nonce) = match auth.form {
            PacketFormat::Plain => {
                let mut fields = Reader::new(&plaintext);
                let signature: [u8; SIGNATURE] = fields.array()?;
                // The hash of the ephemeral key, which also follows from the signature.
                fields.take(32)?;
                (signature, fields.array()?, fields.array()?)
            }
            // The version and additional fields are ignored (EIP-8).
            PacketFormat::Sized => {
                let mut fields = Rlp::new(&plaintext).list()?;
                (fields.array()?, fields.array()?, fields.array()?)
            }
        };
        Ok(Self { signature: Signature(signature), remote: point(remote)?, nonce })
    }
}

fn point(id: [u8; 64]) -> Result<PublicKey, HandshakeError> {
    NodeId(id).public_key().map_err(|_| HandshakeError::NotAPoint)
}

/// Encrypts `fields` and `padding` zeros after them.
fn seal_sized(
    remote: &PublicKey,
    mut fields: Vec<u8>,
    sealing: ecies::Randomness,
    padding: usize,
) -> Vec<u8> {
    fields.resize(fields.len().saturating_add(padding), 0);
    let [.., high, low] = fields.len().saturating_add(ecies::OVERHEAD).to_be_bytes();
    let size = [high, low];
    [size.as_slice(), &sealing.seal(remote, &fields, &size)].concat()
}

/// The random values of one side.
struct Randomness {
    ephemeral: PrivateKey,
    nonce: [u8; NONCE],
    /// Bytes of padding, so that packets have no characteristic length.
    padding: usize,
}

impl Randomness {
    fn draw(rng: &mut impl CryptoRngCore) -> Self {
        let ephemeral = PrivateKey::random(rng);
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let [more, ..] = rng.next_u32().to_le_bytes();
        Self { ephemeral, nonce, padding: MIN_PADDING.saturating_add(usize::from(more)) }
    }
}

impl fmt::Debug for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Randomness(…)")
    }
}

/// The shared values of both sides after the handshake.
struct SharedValues {
    shared: Secret<32>,
    initiator_nonce: [u8; NONCE],
    recipient_nonce: [u8; NONCE],
}

impl SharedValues {
    /// The keys for the initiator's and for the recipient's frames.
    fn ciphers(&self, auth: &[u8], ack: &[u8]) -> [frame::Keys; 2] {
        let shared = self.shared.expose();
        let nonces = keccak256(&[&self.recipient_nonce, &self.initiator_nonce]);
        let session = Zeroizing::new(keccak256(&[shared, &nonces]));
        let encryption = Zeroizing::new(keccak256(&[shared, &*session]));
        let mac = Zeroizing::new(keccak256(&[shared, &*encryption]));
        let keys = |to_nonce: &[u8; NONCE], packet| {
            frame::Keys::new(&encryption, &mac, &[&xor(&mac, to_nonce), packet])
        };
        [keys(&self.recipient_nonce, auth), keys(&self.initiator_nonce, ack)]
    }
}

fn xor(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut result = *left;
    result.iter_mut().zip(right).for_each(|(to, other)| *to ^= other);
    result
}

/// How the other node violated the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandshakeError {
    /// The signature is invalid.
    #[error("handshake has an invalid signature")]
    Forged,
    /// Invalid RLP, or unexpected items.
    #[error("handshake with malformed fields: {0}")]
    Malformed(#[from] RlpError),
    /// A public key is not a point of the curve.
    #[error("handshake with a key off the curve")]
    NotAPoint,
    /// A packet claims this size.
    #[error("handshake of {0} bytes, more than {MAX_PACKET}")]
    TooLong(usize),
    /// A packet of the older form is truncated.
    #[error("handshake {0}")]
    TooShort(#[from] TooShort),
    /// Encrypted for another key, or modified.
    #[error("handshake cannot be decrypted with our key")]
    Unreadable,
}

/// Our handshake version (EIP-8). No client checks it.
const VERSION: u64 = 4;

/// Size of a nonce in bytes.
const NONCE: usize = 32;

/// Size of the size field in bytes.
const SIZE: usize = 2;

/// Prefix of an uncompressed point, with which packets of the older form begin.
const POINT_TAG: u8 = 4;

/// Minimum padding in bytes: enough to distinguish the packet from the older form (EIP-8).
const MIN_PADDING: usize = 100;

/// Size of an auth of the older form in bytes: signature, hash, key, nonce, flag.
const PLAIN_AUTH: usize = SIGNATURE + 32 + 64 + NONCE + 1 + ecies::OVERHEAD;

/// Size of an ack of the older form in bytes: key, nonce, flag.
const PLAIN_ACK: usize = 64 + NONCE + 1 + ecies::OVERHEAD;

/// Maximum size of a packet in bytes. Real ones have 300 to 600.
const MAX_PACKET: usize = 2048;

#[cfg(test)]
mod tests;
