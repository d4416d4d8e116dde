//! The two moves that begin every RLPx link (rlpx.md "Initial Handshake", EIP-8).
//!
//! ```text
//! initiator: ExpectAck::start ──auth──►  recipient: ExpectAuth::finish
//!            ExpectAck::finish ◄──ack──
//! ```
//!
//! A packet is `size (2, big-endian) ‖ ECIES(fields ‖ padding)`. The form before EIP-8 has no size,
//! fixed lengths and fields without RLP; it is read, and answered in kind, but never begun.

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

/// The initiator, which has sent its auth and waits for the ack.
#[derive(Debug)]
pub struct ExpectAck {
    local: PrivateKey,
    remote: PublicKey,
    fresh: Fresh,
    auth: Vec<u8>,
}

impl ExpectAck {
    /// Begins a link to the node that has the key `remote`. The second part is what it must
    /// receive.
    pub fn start(
        local: &PrivateKey,
        remote: PublicKey,
        rng: &mut impl CryptoRngCore,
    ) -> (Self, Vec<u8>) {
        let fresh = Fresh::draw(rng);
        let proof = Secret::new(xor(local.agree(&remote).expose(), &fresh.nonce));
        let signature = fresh.ephemeral.sign(proof.expose());
        let fields = rlp::list(|auth| {
            auth.string(&signature.0)
                .string(&local.public_key().node_id().0)
                .string(&fresh.nonce)
                .uint(VERSION);
        });
        let auth = seal_sized(&remote, fields, ecies::Fresh::draw(rng), fresh.padding);
        (Self { local: local.clone(), remote, fresh, auth: auth.clone() }, auth)
    }

    /// Cuts the ack off the front of what has been received. Nothing yet if it is not whole.
    ///
    /// # Errors
    /// The recipient misbehaved; close the link.
    pub fn packet(&self, received: &[u8]) -> Result<Option<Packet>, HandshakeError> {
        Packet::cut(received, PLAIN_ACK)
    }

    /// Takes the ack and yields the frame ciphers.
    ///
    /// # Errors
    /// The recipient misbehaved, or is not the node we meant; close the link.
    pub fn finish(self, ack: &Packet) -> Result<Connected, HandshakeError> {
        let plaintext = ack.open(&self.local)?;
        let (ephemeral, nonce) = match ack.form {
            Form::Plain => {
                let mut fields = Reader::new(&plaintext);
                (fields.array()?, fields.array()?)
            }
            Form::Sized => {
                let mut fields = Rlp::new(&plaintext).list()?;
                (fields.array()?, fields.array()?)
            }
        };
        let link = Agreed {
            shared: self.fresh.ephemeral.agree(&point(ephemeral)?),
            initiator_nonce: self.fresh.nonce,
            recipient_nonce: nonce,
        };
        let [ours, theirs] = link.ciphers(&self.auth, &ack.wire);
        Ok(Connected { remote: self.remote, sealer: ours.into(), opener: theirs.into() })
    }
}

/// The recipient, which waits for an auth.
#[derive(Debug)]
pub struct ExpectAuth {
    local: PrivateKey,
    fresh: Fresh,
    sealing: ecies::Fresh,
}

impl ExpectAuth {
    /// Awaits an initiator. Everything random in the answer is drawn now.
    pub fn start(local: &PrivateKey, rng: &mut impl CryptoRngCore) -> Self {
        let fresh = Fresh::draw(rng);
        Self { local: local.clone(), fresh, sealing: ecies::Fresh::draw(rng) }
    }

    /// Cuts the auth off the front of what has been received. Nothing yet if it is not whole.
    ///
    /// # Errors
    /// The initiator misbehaved; close the link.
    pub fn packet(&self, received: &[u8]) -> Result<Option<Packet>, HandshakeError> {
        Packet::cut(received, PLAIN_AUTH)
    }

    /// Takes the auth and yields the answer with the frame ciphers.
    ///
    /// # Errors
    /// The initiator misbehaved; close the link without an answer.
    pub fn finish(self, auth: &Packet) -> Result<Accepted, HandshakeError> {
        let Auth { signature, remote, nonce } = Auth::open(auth, &self.local)?;
        let proof = Secret::new(xor(self.local.agree(&remote).expose(), &nonce));
        let ephemeral = signature.recover(proof.expose());
        let link = Agreed {
            shared: self.fresh.ephemeral.agree(&ephemeral.map_err(|_| HandshakeError::Forged)?),
            initiator_nonce: nonce,
            recipient_nonce: self.fresh.nonce,
        };
        let ack = self.ack(auth.form, &remote);
        let [theirs, ours] = link.ciphers(&auth.wire, &ack);
        let connected = Connected { remote, sealer: ours.into(), opener: theirs.into() };
        Ok(Accepted { ack, connected })
    }

    fn ack(self, form: Form, remote: &PublicKey) -> Vec<u8> {
        let ephemeral = self.fresh.ephemeral.public_key().node_id().0;
        match form {
            Form::Plain => {
                let fields = [ephemeral.as_slice(), &self.fresh.nonce, &[0]].concat();
                self.sealing.seal(remote, &fields, &[])
            }
            Form::Sized => {
                let fields = rlp::list(|ack| {
                    ack.string(&ephemeral).string(&self.fresh.nonce).uint(VERSION);
                });
                seal_sized(remote, fields, self.sealing, self.fresh.padding)
            }
        }
    }
}

/// A link both sides have agreed on: who is at the other end, and the ciphers of the frames.
#[derive(Debug)]
pub struct Connected {
    /// The other node's key, proved to be its own.
    pub remote: PublicKey,
    /// Seals what we send.
    pub sealer: Sealer,
    /// Opens what we receive.
    pub opener: Opener,
}

/// What the recipient has when its part is done.
#[derive(Debug)]
pub struct Accepted {
    /// What the initiator must receive before any frame.
    pub ack: Vec<u8>,
    /// The link.
    pub connected: Connected,
}

/// One whole handshake packet as it was received, not yet opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Packet {
    wire: Vec<u8>,
    form: Form,
}

impl Packet {
    /// Bytes that the packet took from the front of what was received.
    pub const fn length(&self) -> usize {
        self.wire.len()
    }

    /// Cuts a packet off whose old form has `plain` bytes.
    fn cut(received: &[u8], plain: usize) -> Result<Option<Self>, HandshakeError> {
        let Some(size) = received.first_chunk() else { return Ok(None) };
        let (mut form, mut length) =
            (Form::Sized, SIZE.saturating_add(usize::from(u16::from_be_bytes(*size))));
        // A sized packet may begin like a point, but hits the curve with odds of 2^-256 only.
        if received.starts_with(&[POINT_TAG]) {
            let Some(start) = received.get(..UNCOMPRESSED) else { return Ok(None) };
            if PublicKey::from_sec1(start).is_ok() {
                (form, length) = (Form::Plain, plain);
            }
        }
        if length > MAX_PACKET {
            return Err(HandshakeError::TooLong(length));
        }
        Ok(received.get(..length).map(|wire| Self { wire: wire.to_vec(), form }))
    }

    fn open(&self, key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>, HandshakeError> {
        let (size, sealed) = match self.form {
            Form::Plain => (&[][..], self.wire.as_slice()),
            Form::Sized => self.wire.split_at_checked(SIZE).ok_or(HandshakeError::Unreadable)?,
        };
        ecies::open(key, sealed, size).map_err(|_| HandshakeError::Unreadable)
    }
}

/// How a packet is laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// Before EIP-8: fixed fields, nothing around them.
    Plain,
    /// Since EIP-8: a size, fields in RLP, padding.
    Sized,
}

/// What an auth says.
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
            Form::Plain => {
                let mut fields = Reader::new(&plaintext);
                let signature: [u8; SIGNATURE] = fields.array()?;
                // The hash of the ephemeral key, which the signature gives anyway.
                fields.take(32)?;
                (signature, fields.array()?, fields.array()?)
            }
            // Neither the version nor what follows it matters (EIP-8).
            Form::Sized => {
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

/// Seals `fields` with `padding` zeros behind them, which nobody sees.
fn seal_sized(
    remote: &PublicKey,
    mut fields: Vec<u8>,
    sealing: ecies::Fresh,
    padding: usize,
) -> Vec<u8> {
    fields.resize(fields.len().saturating_add(padding), 0);
    let [.., high, low] = fields.len().saturating_add(ecies::OVERHEAD).to_be_bytes();
    let size = [high, low];
    [size.as_slice(), &sealing.seal(remote, &fields, &size)].concat()
}

/// What one side brings that is new in every handshake.
struct Fresh {
    ephemeral: PrivateKey,
    nonce: [u8; NONCE],
    /// Bytes behind the fields, so that packets cannot be told by their length.
    padding: usize,
}

impl Fresh {
    fn draw(rng: &mut impl CryptoRngCore) -> Self {
        let ephemeral = PrivateKey::random(rng);
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        let [more, ..] = rng.next_u32().to_le_bytes();
        Self { ephemeral, nonce, padding: MIN_PADDING.saturating_add(usize::from(more)) }
    }
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh(…)")
    }
}

/// What both sides know once the packets have crossed.
struct Agreed {
    shared: Secret<32>,
    initiator_nonce: [u8; NONCE],
    recipient_nonce: [u8; NONCE],
}

impl Agreed {
    /// The keys of what the initiator sends and of what the recipient sends.
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

/// How the other node broke the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The signature fits no ephemeral key.
    #[error("handshake is signed by no key")]
    Forged,
    /// The fields are not what they should be.
    #[error("handshake with malformed fields: {0}")]
    Malformed(#[from] RlpError),
    /// A public key is not on the curve.
    #[error("handshake with a key off the curve")]
    NotAPoint,
    /// A packet claims this many bytes.
    #[error("handshake of {0} bytes, more than {MAX_PACKET}")]
    TooLong(usize),
    /// The fields of the old form are cut off.
    #[error("handshake {0}")]
    TooShort(#[from] TooShort),
    /// Sealed for somebody else, or changed on its way.
    #[error("handshake does not open with our key")]
    Unreadable,
}

/// Handshake version we name (EIP-8). Nobody compares it.
const VERSION: u64 = 4;

/// Bytes of a nonce.
const NONCE: usize = 32;

/// Bytes of the size in front of a packet.
const SIZE: usize = 2;

/// First byte of an uncompressed point, with which packets of the old form begin.
const POINT_TAG: u8 = 4;

/// Least padding, in bytes: enough to tell the packet from the old form (EIP-8).
const MIN_PADDING: usize = 100;

/// Bytes of an auth of the old form: signature, hash, key, nonce, flag.
const PLAIN_AUTH: usize = SIGNATURE + 32 + 64 + NONCE + 1 + ecies::OVERHEAD;

/// Bytes of an ack of the old form: key, nonce, flag.
const PLAIN_ACK: usize = 64 + NONCE + 1 + ecies::OVERHEAD;

/// Longest packet that is taken, in bytes. Real ones have 300 to 600.
const MAX_PACKET: usize = 2048;

#[cfg(test)]
mod tests;
