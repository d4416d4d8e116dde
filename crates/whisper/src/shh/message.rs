//! The plaintext of a message: flags, payload, padding, signature (docs/whisper-protocol.md "Data").
//!
//! Module `seal` encrypts and decrypts. go-ethereum's parser reads out of bounds for hostile bytes;
//! [`Message::parse`] returns an error instead.
//!
//! ```text
//! flags (1) ‖ size of payload (0 to 3, least significant first) ‖ payload ‖ padding ‖ [signature (65)]
//! ```

use std::fmt;

use rand_core::CryptoRngCore;
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::seal::{ASYMMETRIC_OVERHEAD, SYMMETRIC_OVERHEAD};
use crate::devp2p::key::{PrivateKey, PublicKey, SIGNATURE, Signature, keccak256};

/// A decrypted message.
#[derive(Clone, Eq, PartialEq)]
pub struct Message {
    /// Content.
    pub payload: Vec<u8>,
    /// Padding, which hides the length of the payload.
    pub padding: Vec<u8>,
    /// The key that signed it, if it is signed; verified by [`Message::parse`].
    pub signer: Option<PublicKey>,
}

impl Message {
    /// Parses a plaintext and verifies its signature.
    ///
    /// # Errors
    /// The message is invalid. Only a holder of the key can send such a message.
    pub fn parse(plaintext: &[u8]) -> Result<Self, MessageError> {
        let flags = *plaintext.first().ok_or(MessageError::Empty)?;
        let (signed, signature) = match flags & SIGNED {
            0 => (plaintext, None),
            _ => plaintext
                .split_last_chunk()
                .map(|(all, tag)| (all, Some(Signature(*tag))))
                .ok_or(MessageError::SignatureTooShort { bytes: plaintext.len() })?,
        };
        let mut reader = Reader::new(signed);
        reader.u8().map_err(|_| MessageError::SignatureTooShort { bytes: plaintext.len() })?;
        let digits = reader.take(usize::from(flags & SIZE_BYTES)).map_err(too_short)?;
        let size = digits.iter().rev().fold(0, |size, digit| size << 8 | usize::from(*digit));
        let payload = reader.take(size).map_err(too_short)?.to_vec();
        let signer = signature.map(|signature| signature.recover(&keccak256(&[signed])));
        let signer = signer.transpose().map_err(|_| MessageError::BadSignature)?;
        Ok(Self { payload, padding: reader.rest().to_vec(), signer })
    }
}

/// Prints only sizes, because the payload is private.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (payload, padding) = (self.payload.len(), self.padding.len());
        write!(f, "Message({payload} bytes, {padding} of padding, signer: {:?})", self.signer)
    }
}

/// Padding of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Padding {
    /// 1 to 256 random bytes up to the next multiple of 256, as in go-ethereum.
    Block,
    /// Exactly these bytes.
    Exact(Vec<u8>),
    /// Random bytes that make symmetric and asymmetric messages equally long: the sizes that `Block` gives
    /// for symmetric ones. All implementations can read them.
    Uniform,
}

/// How a message will be encrypted, which affects its padding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sealing {
    /// For the holder of a private key.
    Asymmetric,
    /// For all holders of a shared key.
    Symmetric,
}

/// Builds a plaintext that is ready for encryption.
///
/// # Errors
/// The payload is too large.
pub fn compose(
    payload: &[u8],
    padding: &Padding,
    sealing: Sealing,
    signer: Option<&PrivateKey>,
    rng: &mut impl CryptoRngCore,
) -> Result<Zeroizing<Vec<u8>>, MessageError> {
    let size_bytes: u8 = match payload.len() {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=MAX_PAYLOAD => 3,
        bytes => return Err(MessageError::PayloadTooLarge { bytes }),
    };
    let signature = if signer.is_some() { SIGNATURE } else { 0 };
    let mut plaintext = Zeroizing::new(Vec::with_capacity(payload.len() + 2 * BLOCK + SIGNATURE));
    plaintext.push(size_bytes | if signer.is_some() { SIGNED } else { 0 });
    plaintext.extend(payload.len().to_le_bytes().iter().take(size_bytes.into()));
    plaintext.extend_from_slice(payload);
    let unpadded = plaintext.len() + signature;
    match padding {
        Padding::Exact(bytes) => plaintext.extend_from_slice(bytes),
        Padding::Block => pad(&mut plaintext, unpadded, rng),
        Padding::Uniform => pad(&mut plaintext, unpadded + sealing.extra(), rng),
    }
    if let Some(signer) = signer {
        let signature = signer.sign(&keccak256(&[&plaintext]));
        plaintext.extend_from_slice(&signature.0);
    }
    Ok(plaintext)
}

impl Sealing {
    /// Overhead of this kind of encryption compared with the smaller one, in bytes.
    const fn extra(self) -> usize {
        match self {
            Self::Asymmetric => ASYMMETRIC_OVERHEAD - SYMMETRIC_OVERHEAD,
            Self::Symmetric => 0,
        }
    }
}

/// Adds 1 to 256 random bytes so that `length` becomes a multiple of 256.
fn pad(plaintext: &mut Vec<u8>, length: usize, rng: &mut impl CryptoRngCore) {
    let mut padding = vec![0; BLOCK - length % BLOCK];
    rng.fill_bytes(&mut padding);
    plaintext.append(&mut padding);
}

const fn too_short(error: wormhole_kit::TooShort) -> MessageError {
    MessageError::PayloadTooShort { wanted: error.wanted, available: error.available }
}

/// Why a message cannot be parsed or built.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MessageError {
    /// The signature is invalid.
    #[error("bad signature")]
    BadSignature,
    /// There are no flags.
    #[error("empty message")]
    Empty,
    /// The payload size does not fit into three bytes.
    #[error("payload of {bytes} bytes, more than {MAX_PAYLOAD}")]
    PayloadTooLarge {
        /// Bytes of the payload.
        bytes: usize,
    },
    /// The payload or its size field is truncated.
    #[error("message ends after {available} of {wanted} bytes")]
    PayloadTooShort {
        /// Expected bytes.
        wanted: usize,
        /// Available bytes.
        available: usize,
    },
    /// The message claims to be signed but is too short for a signature.
    #[error("{bytes} bytes cannot hold a signature")]
    SignatureTooShort {
        /// Size of the whole message in bytes.
        bytes: usize,
    },
}

/// Maximum payload in bytes: the size field has at most three bytes. go-ethereum would write a fourth one,
/// which sets the flag for a signature.
pub const MAX_PAYLOAD: usize = 0xff_ffff;

/// Bits of the flags that contain the length of the size field.
const SIZE_BYTES: u8 = 0b011;

/// Bit of the flags for a signed message.
const SIGNED: u8 = 0b100;

/// Messages are padded to a multiple of this many bytes.
pub const BLOCK: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::*;

    fn rng() -> ChaCha12Rng {
        ChaCha12Rng::seed_from_u64(1)
    }

    fn composed(length: usize, padding: &Padding, sealing: Sealing) -> usize {
        compose(&vec![7; length], padding, sealing, None, &mut rng()).unwrap().len()
    }

    #[test]
    fn padding_fills_a_block_and_is_never_empty() {
        for (payload, whole) in [(0, 256), (253, 256), (254, 512), (255, 512), (256, 512)] {
            assert_eq!(composed(payload, &Padding::Block, Sealing::Symmetric), whole);
            assert_eq!(composed(payload, &Padding::Block, Sealing::Asymmetric), whole);
        }
    }

    #[test]
    fn uniform_padding_makes_both_ways_of_sealing_equally_long() {
        for payload in 0..600 {
            let symmetric = composed(payload, &Padding::Uniform, Sealing::Symmetric);
            let asymmetric = composed(payload, &Padding::Uniform, Sealing::Asymmetric);
            let lengths = [symmetric + SYMMETRIC_OVERHEAD, asymmetric + ASYMMETRIC_OVERHEAD];
            assert!(lengths.iter().all(|length| length % BLOCK == SYMMETRIC_OVERHEAD));
        }
    }

    #[test]
    fn a_payload_whose_size_does_not_fit_is_refused() {
        let compose =
            |bytes| compose(&vec![0; bytes], &Padding::Block, Sealing::Symmetric, None, &mut rng());
        assert!(compose(MAX_PAYLOAD).is_ok());
        let refused = MessageError::PayloadTooLarge { bytes: MAX_PAYLOAD + 1 };
        assert_eq!(compose(MAX_PAYLOAD + 1), Err(refused));
    }

    #[test]
    fn a_message_prints_neither_payload_nor_padding() {
        let message = Message { payload: vec![7; 5], padding: vec![8; 9], signer: None };
        assert_eq!(format!("{message:?}"), "Message(5 bytes, 9 of padding, signer: None)");
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes: Vec<u8>) {
            if let Ok(message) = Message::parse(&bytes) {
                prop_assert!(message.payload.len() + message.padding.len() < bytes.len());
            }
        }

        #[test]
        fn a_composed_message_parses_to_its_parts(
            payload in proptest::collection::vec(any::<u8>(), 0..1000),
            own: Option<Vec<u8>>,
            signed: bool,
        ) {
            let key = PrivateKey::random(&mut rng());
            let padding = own.clone().map_or(Padding::Block, Padding::Exact);
            let signer = signed.then_some(&key);
            let composed =
                compose(&payload, &padding, Sealing::Symmetric, signer, &mut rng()).unwrap();
            let message = Message::parse(&composed).unwrap();
            prop_assert_eq!(message.payload, payload);
            prop_assert_eq!(message.signer, signer.map(PrivateKey::public_key));
            if let Some(own) = own {
                prop_assert_eq!(message.padding, own);
            }
        }
    }
}
