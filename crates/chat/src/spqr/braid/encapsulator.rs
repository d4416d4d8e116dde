//! The side that encapsulates the secret of an epoch.

use rand_core::CryptoRngCore;
use wormhole_kit::Secret;

use super::super::SpqrError;
use super::super::authenticator::{Authenticator, MAC, epoch_key};
use super::super::erasure::{Decoder, Encoder};
use super::super::kem::{Encapsulation, HEADER, KEY};
use super::super::wire::SpqrPayload;
use super::{first, last};

/// | state | sends | received, and what follows |
/// |---|---|---|
/// | `NoHeaderReceived` | nothing | enough of `Header`: `HeaderReceived` |
/// | `HeaderReceived` | the first chunk of the ciphertext: the key is exchanged, then `Ct1Sampled` | |
/// | `Ct1Sampled` | chunks of the first part of the ciphertext | enough of `Key`: `EkReceivedCt1Sampled`; `KeyAndAck`: `Ct1Acknowledged`; both: `Ct2Sampled` |
/// | `EkReceivedCt1Sampled` | the same | `KeyAndAck` or `Ack`: `Ct2Sampled` |
/// | `Ct1Acknowledged` | nothing | enough of `Key` or `KeyAndAck`: `Ct2Sampled` |
/// | `Ct2Sampled` | chunks of the second part of the ciphertext | a message of the next epoch: see `Braid` |
///
/// Everything else is ignored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::spqr) enum Encapsulator {
    /// The header of the key is on its way.
    NoHeaderReceived { header: Decoder },
    /// The header has arrived, but nothing was sent since.
    HeaderReceived { encapsulation: Encapsulation },
    /// The first part of the ciphertext is on its way, and so is the key.
    Ct1Sampled { encapsulation: Encapsulation, first: Encoder, key: Decoder },
    /// The key has arrived, so the second part of the ciphertext and its MAC are known.
    EkReceivedCt1Sampled { first: Encoder, second: Vec<u8> },
    /// The peer has the first part of the ciphertext. The key is on its way.
    Ct1Acknowledged { encapsulation: Encapsulation, key: Decoder },
    /// The second part of the ciphertext is on its way.
    Ct2Sampled { second: Encoder },
}

/// The result of a sent message.
pub(super) struct Sent {
    pub(super) state: Encapsulator,
    pub(super) payload: SpqrPayload,
    pub(super) exchanged: Option<(Authenticator, Secret<32>)>,
}

impl Encapsulator {
    pub(super) const fn new() -> Self {
        Self::NoHeaderReceived { header: Decoder::new(HEADER + MAC) }
    }

    pub(super) fn send(self, epoch: u64, authenticator: &Authenticator) -> Sent {
        let (state, payload) = match self {
            Self::NoHeaderReceived { .. } | Self::Ct1Acknowledged { .. } => {
                (self, SpqrPayload::None)
            }
            Self::HeaderReceived { encapsulation } => {
                return encapsulate(epoch, authenticator, encapsulation);
            }
            Self::Ct1Sampled { encapsulation, mut first, key } => {
                let chunk = first.next_chunk();
                let state = Self::Ct1Sampled { encapsulation, first, key };
                (state, SpqrPayload::Ciphertext1(chunk))
            }
            Self::EkReceivedCt1Sampled { mut first, second } => {
                let chunk = first.next_chunk();
                (Self::EkReceivedCt1Sampled { first, second }, SpqrPayload::Ciphertext1(chunk))
            }
            Self::Ct2Sampled { mut second } => {
                let chunk = second.next_chunk();
                (Self::Ct2Sampled { second }, SpqrPayload::Ciphertext2(chunk))
            }
        };
        Sent { state, payload, exchanged: None }
    }

    pub(super) fn receive(
        self,
        epoch: u64,
        authenticator: &Authenticator,
        payload: &SpqrPayload,
        rng: &mut impl CryptoRngCore,
    ) -> Result<Self, SpqrError> {
        let is_ack = matches!(payload, SpqrPayload::KeyAndAck(_) | SpqrPayload::Ack);
        Ok(match (self, payload) {
            (Self::NoHeaderReceived { mut header }, SpqrPayload::Header(chunk)) => {
                match header.add(chunk) {
                    None => Self::NoHeaderReceived { header },
                    Some(bytes) => header_received(epoch, authenticator, &bytes, rng)?,
                }
            }
            (
                Self::Ct1Sampled { encapsulation, first: ciphertext, mut key },
                SpqrPayload::Key(chunk) | SpqrPayload::KeyAndAck(chunk),
            ) => match key.add(chunk) {
                None if is_ack => Self::Ct1Acknowledged { encapsulation, key },
                None => Self::Ct1Sampled { encapsulation, first: ciphertext, key },
                Some(bytes) => {
                    let second = second_part(epoch, authenticator, &encapsulation, &bytes)?;
                    match is_ack {
                        true => Self::Ct2Sampled { second: Encoder::new(second) },
                        false => Self::EkReceivedCt1Sampled { first: ciphertext, second },
                    }
                }
            },
            (Self::EkReceivedCt1Sampled { second, .. }, _) if is_ack => {
                Self::Ct2Sampled { second: Encoder::new(second) }
            }
            (
                Self::Ct1Acknowledged { encapsulation, mut key },
                SpqrPayload::Key(chunk) | SpqrPayload::KeyAndAck(chunk),
            ) => match key.add(chunk) {
                None => Self::Ct1Acknowledged { encapsulation, key },
                Some(bytes) => {
                    let second = second_part(epoch, authenticator, &encapsulation, &bytes)?;
                    Self::Ct2Sampled { second: Encoder::new(second) }
                }
            },
            (state, _) => state,
        })
    }
}

/// Checks the MAC of a header, and chooses the secret.
fn header_received(
    epoch: u64,
    authenticator: &Authenticator,
    bytes: &[u8],
    rng: &mut impl CryptoRngCore,
) -> Result<Encapsulator, SpqrError> {
    let (header, mac) = (first::<HEADER>(bytes), last::<MAC>(bytes));
    if !Authenticator::matches(&authenticator.of_header(epoch, &header), &mac) {
        return Err(SpqrError::HeaderMac);
    }
    let encapsulation = Encapsulation::random(*header, rng);
    Ok(Encapsulator::HeaderReceived { encapsulation })
}

/// Sends the first chunk of the ciphertext, and has the key.
fn encapsulate(epoch: u64, authenticator: &Authenticator, encapsulation: Encapsulation) -> Sent {
    let (ciphertext, secret) = encapsulation.first();
    let exchanged = epoch_key(epoch, &secret);
    let authenticator = authenticator.updated(epoch, &exchanged);
    let mut first = Encoder::new(ciphertext.to_vec());
    let payload = SpqrPayload::Ciphertext1(first.next_chunk());
    let state = Encapsulator::Ct1Sampled { encapsulation, first, key: Decoder::new(KEY) };
    Sent { state, payload, exchanged: Some((authenticator, exchanged)) }
}

/// Checks the key, which has arrived, and computes the second part of the ciphertext and the MAC.
fn second_part(
    epoch: u64,
    authenticator: &Authenticator,
    encapsulation: &Encapsulation,
    key: &[u8],
) -> Result<Vec<u8>, SpqrError> {
    let parts = encapsulation.both(&first::<KEY>(key));
    let (ciphertext, second) = parts.ok_or(SpqrError::KeyMismatch)?;
    let mac = authenticator.of_ciphertext(epoch, &ciphertext, &second);
    Ok([&second[..], &mac].concat())
}
