//! Mail server: an archive of envelopes for readers that were offline (docs/whisper-protocol.md
//! "Archive").
//!
//! The archive learns no more than any other node. A request is a message encrypted with the server's
//! password, in an envelope that is sent to the server only; the answers are direct messages.
//! ```text
//! payload of a request: from (4) ‖ until (4) ‖ [Bloom filter (64)]    seconds since 1970, big-endian
//! ```

use wormhole_kit::Reader;

use super::{
    bloom::Bloom,
    envelope::{Envelope, EnvelopeHash},
    message::Message,
    seal::SymmetricKey,
    work::Work,
};
use crate::devp2p::key::PublicKey;

/// The envelopes that a reader asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArchiveRequest {
    /// Sent at or after this time, in seconds since 1970.
    pub from: u32,
    /// Sent at or before this time, in seconds since 1970.
    pub until: u32,
    /// The filter must match the topic.
    pub bloom: Bloom,
}

impl ArchiveRequest {
    /// Encodes the payload of the request message.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = [self.from.to_be_bytes(), self.until.to_be_bytes()].concat();
        if self.bloom != Bloom::FULL {
            payload.extend_from_slice(self.bloom.as_bytes());
        }
        payload
    }

    /// Parses the payload of a request message.
    ///
    /// # Errors
    /// The payload is invalid.
    pub fn parse(payload: &[u8]) -> Result<Self, RequestError> {
        let wrong = RequestError::WrongLength(payload.len());
        let mut reader = Reader::new(payload);
        let from = reader.u32_be().map_err(|_| wrong)?;
        let until = reader.u32_be().map_err(|_| wrong)?;
        let bloom = if reader.is_empty() {
            Bloom::FULL
        } else {
            reader.array().map(Bloom::from_bytes).map_err(|_| wrong)?
        };
        if from > until {
            return Err(RequestError::EndsBeforeStart);
        }
        Ok(Self { from, until, bloom })
    }

    /// Decrypts and parses a request. Also returns the key that signed it.
    ///
    /// # Errors
    /// The request is invalid. The server ignores it and sends no error to the reader.
    pub fn open(
        envelope: &Envelope,
        key: &SymmetricKey,
        min_work: Work,
    ) -> Result<(Self, Option<PublicKey>), RequestError> {
        if envelope.ttl() == 0 || envelope.work() < min_work {
            return Err(RequestError::TooLittleWork(envelope.work()));
        }
        let plaintext = key.open(envelope.data()).map_err(|_| RequestError::Unreadable)?;
        let message = Message::parse(&plaintext).map_err(|_| RequestError::Unreadable)?;
        Ok((Self::parse(&message.payload)?, message.signer))
    }

    /// Whether the request includes this envelope.
    pub fn matches(&self, envelope: &Envelope) -> bool {
        (self.from..=self.until).contains(&envelope.sent()) && self.bloom.matches(envelope.topic())
    }
}

/// The key of an envelope in the archive: sent time, then hash. Encoded as big-endian seconds, then the
/// hash.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ArchiveKey {
    /// When the envelope was sent, in seconds since 1970.
    pub sent: u32,
    /// The hash of the envelope.
    pub hash: EnvelopeHash,
}

impl ArchiveKey {
    /// The key of this envelope.
    pub const fn of(envelope: &Envelope) -> Self {
        Self { sent: envelope.sent(), hash: envelope.hash() }
    }

    /// The encoded key; its byte order is the order of the archive.
    pub fn to_bytes(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        let parts = self.sent.to_be_bytes().into_iter().chain(self.hash.0);
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// Why a request was rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The end of the time range is before its start.
    #[error("request ends before its start")]
    EndsBeforeStart,
    /// Less work than the server requires.
    #[error("proof of work {} is below the minimum", .0.as_f64())]
    TooLittleWork(Work),
    /// Encrypted with another password, or not a message.
    #[error("request cannot be decrypted with the server's password")]
    Unreadable,
    /// The payload has this many bytes: neither 8, nor 72 or more.
    #[error("request has the wrong length ({0} bytes)")]
    WrongLength(usize),
}

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha12Rng, rand_core::SeedableRng};

    use super::{
        super::{
            Draft, Topic,
            message::{Padding, Sealing, compose},
        },
        *,
    };
    use crate::devp2p::key::PrivateKey;

    const TOPIC: Topic = Topic([1, 2, 3, 4]);

    fn envelope(sent: u32, topic: Topic) -> Envelope {
        Draft { expiry: sent + 50, ttl: 50, topic, data: vec![7; 70] }.finish(0)
    }

    fn everything() -> ArchiveRequest {
        ArchiveRequest { from: 0, until: u32::MAX, bloom: Bloom::FULL }
    }

    #[test]
    fn a_request_reads_back_with_and_without_a_filter() {
        for (bloom, length) in [(Bloom::FULL, 8), (Bloom::of([TOPIC]), 72)] {
            let request = ArchiveRequest { from: 5, until: 6, bloom };
            assert_eq!(request.encode().len(), length);
            assert_eq!(ArchiveRequest::parse(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn a_request_of_another_length_or_without_time_is_refused() {
        for length in (0..8).chain(9..72) {
            let refused = Err(RequestError::WrongLength(length));
            assert_eq!(ArchiveRequest::parse(&vec![0; length]), refused);
        }
        let backwards = ArchiveRequest { from: 6, until: 5, bloom: Bloom::FULL };
        let refused = Err(RequestError::EndsBeforeStart);
        assert_eq!(ArchiveRequest::parse(&backwards.encode()), refused);
    }

    #[test]
    fn a_request_opens_with_the_password_and_contains_its_signer() {
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let (key, other) = (SymmetricKey::random(&mut rng), SymmetricKey::random(&mut rng));
        let reader = PrivateKey::random(&mut rng);
        let payload = everything().encode();
        let sealing = Sealing::Symmetric;
        let plaintext = compose(&payload, &Padding::Block, sealing, Some(&reader), &mut rng);
        let data = key.seal(&plaintext.unwrap(), &mut rng);
        let sealed = Draft { expiry: 100, ttl: 50, topic: TOPIC, data }.finish(0);
        let opened = ArchiveRequest::open(&sealed, &key, Work::NONE);
        assert_eq!(opened, Ok((everything(), Some(reader.public_key()))));
        let unreadable = Err(RequestError::Unreadable);
        assert_eq!(ArchiveRequest::open(&sealed, &other, Work::NONE), unreadable);
        let too_little = Err(RequestError::TooLittleWork(sealed.work()));
        assert_eq!(ArchiveRequest::open(&sealed, &key, Work::new(1e9).unwrap()), too_little);
    }

    #[test]
    fn a_key_sorts_as_its_bytes() {
        let (early, late) = (envelope(10, TOPIC), envelope(300, TOPIC));
        let (early, late) = (ArchiveKey::of(&early), ArchiveKey::of(&late));
        assert!(early < late && early.to_bytes() < late.to_bytes());
        assert_eq!(early.to_bytes()[..4], [0, 0, 0, 10]);
    }
}
