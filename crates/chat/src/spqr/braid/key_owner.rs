//! The side that owns the key pair of an epoch.

use wormhole_kit::Secret;

use super::super::SpqrError;
use super::super::authenticator::{Authenticator, MAC, epoch_key};
use super::super::erasure::{Decoder, Encoder};
use super::super::kem::{CIPHERTEXT_1, CIPHERTEXT_2, KeySeed};
use super::super::wire::SpqrPayload;
use super::{first, last};

/// | state | sends | received, and what follows |
/// |---|---|---|
/// | `KeysUnsampled` | the first chunk of the header, then `KeysSampled` | |
/// | `KeysSampled` | chunks of the header | `Ciphertext1`: `HeaderSent` |
/// | `HeaderSent` | chunks of the key | enough of `Ciphertext1`: `Ct1Received` |
/// | `Ct1Received` | chunks of the key, and an acknowledgement | `Ciphertext2`: `EkSentCt1Received` |
/// | `EkSentCt1Received` | an acknowledgement | enough of `Ciphertext2`: the key is exchanged |
///
/// Everything else is ignored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::spqr) enum KeyOwner {
    /// The key pair has been chosen, but nothing was sent.
    KeysUnsampled { seed: KeySeed },
    /// The header is on its way.
    KeysSampled { seed: KeySeed, header: Encoder },
    /// The peer has the header. The key is on its way, and so is the first part of the ciphertext.
    HeaderSent { seed: KeySeed, key: Encoder, first: Decoder },
    /// The first part of the ciphertext has arrived.
    Ct1Received { seed: KeySeed, key: Encoder, first: Box<[u8; CIPHERTEXT_1]> },
    /// The peer has the key. The second part of the ciphertext is on its way.
    EkSentCt1Received { seed: KeySeed, first: Box<[u8; CIPHERTEXT_1]>, second: Decoder },
}

/// The result of a message.
pub(super) enum Received {
    /// The exchange continues.
    Still(KeyOwner),
    /// The key was exchanged. The next epoch begins.
    Finished(Authenticator, Secret<32>),
}

impl KeyOwner {
    pub(super) fn send(self, epoch: u64, authenticator: &Authenticator) -> (Self, SpqrPayload) {
        match self {
            Self::KeysUnsampled { seed } => {
                let bytes = seed.header();
                let mac = authenticator.of_header(epoch, &bytes);
                let mut header = Encoder::new([&bytes[..], &mac].concat());
                let chunk = header.next_chunk();
                (Self::KeysSampled { seed, header }, SpqrPayload::Header(chunk))
            }
            Self::KeysSampled { seed, mut header } => {
                let chunk = header.next_chunk();
                (Self::KeysSampled { seed, header }, SpqrPayload::Header(chunk))
            }
            Self::HeaderSent { seed, mut key, first } => {
                let chunk = key.next_chunk();
                (Self::HeaderSent { seed, key, first }, SpqrPayload::Key(chunk))
            }
            Self::Ct1Received { seed, mut key, first } => {
                let chunk = key.next_chunk();
                (Self::Ct1Received { seed, key, first }, SpqrPayload::KeyAndAck(chunk))
            }
            Self::EkSentCt1Received { .. } => (self, SpqrPayload::Ack),
        }
    }

    pub(super) fn receive(
        self,
        epoch: u64,
        authenticator: &Authenticator,
        payload: &SpqrPayload,
    ) -> Result<Received, SpqrError> {
        Ok(Received::Still(match (self, payload) {
            (Self::KeysSampled { seed, .. }, SpqrPayload::Ciphertext1(chunk)) => {
                let (key, mut first) =
                    (Encoder::new(seed.key().to_vec()), Decoder::new(CIPHERTEXT_1));
                first.add(chunk);
                Self::HeaderSent { seed, key, first }
            }
            (Self::HeaderSent { seed, key, first: mut held }, SpqrPayload::Ciphertext1(chunk)) => {
                match held.add(chunk) {
                    None => Self::HeaderSent { seed, key, first: held },
                    Some(bytes) => Self::Ct1Received { seed, key, first: first(&bytes) },
                }
            }
            (Self::Ct1Received { seed, first, .. }, SpqrPayload::Ciphertext2(chunk)) => {
                let mut second = Decoder::new(CIPHERTEXT_2 + MAC);
                second.add(chunk);
                Self::EkSentCt1Received { seed, first, second }
            }
            (
                Self::EkSentCt1Received { seed, first, mut second },
                SpqrPayload::Ciphertext2(chunk),
            ) => match second.add(chunk) {
                None => Self::EkSentCt1Received { seed, first, second },
                Some(bytes) => return finish(epoch, authenticator, &seed, &first, &bytes),
            },
            (state, _) => state,
        }))
    }
}

/// Decapsulates the secret of a complete ciphertext: `rest` is its second part and the MAC.
fn finish(
    epoch: u64,
    authenticator: &Authenticator,
    seed: &KeySeed,
    ciphertext: &[u8; CIPHERTEXT_1],
    rest: &[u8],
) -> Result<Received, SpqrError> {
    let (second, mac) = (first::<CIPHERTEXT_2>(rest), last::<MAC>(rest));
    let key = epoch_key(epoch, &seed.decapsulate(ciphertext, &second));
    let authenticator = authenticator.updated(epoch, &key);
    let expected = authenticator.of_ciphertext(epoch, ciphertext, &second);
    if !Authenticator::matches(&expected, &mac) {
        return Err(SpqrError::CiphertextMac);
    }
    Ok(Received::Finished(authenticator, key))
}
