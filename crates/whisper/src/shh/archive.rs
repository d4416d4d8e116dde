//! The mail server: an archive of envelopes for readers who were away, and how to ask for them
//! (docs/whisper-protocol.md "Mail server").
//!
//! The archive sees no more than any node does. A request is a message sealed with the server's
//! password, in an envelope that goes to the server alone; the answers come as direct messages.
//!
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

/// What a reader missed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArchiveRequest {
    /// Made at or after this second since 1970.
    pub from: u32,
    /// Made at or before this second since 1970.
    pub until: u32,
    /// Under one of these topics.
    pub bloom: Bloom,
}

impl ArchiveRequest {
    /// The payload of the request's message.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = [self.from.to_be_bytes(), self.until.to_be_bytes()].concat();
        if self.bloom != Bloom::FULL {
            payload.extend_from_slice(self.bloom.as_bytes());
        }
        payload
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// The reader misbehaved.
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
            return Err(RequestError::EndsBeforeItBegins);
        }
        Ok(Self { from, until, bloom })
    }

    /// Opens a request with the key of the server's password. The second part is who signed it.
    ///
    /// # Errors
    /// The server has nothing to say; the reader is not told why.
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

    /// Whether an envelope is among what was missed.
    pub fn wants(&self, envelope: &Envelope) -> bool {
        (self.from..=self.until).contains(&envelope.sent()) && self.bloom.wants(envelope.topic())
    }
}

/// Where an envelope stands in an archive: by the time it was made. As bytes: big-endian seconds,
/// then the hash.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct ArchiveKey {
    /// Seconds since 1970 when it was made.
    pub sent: u32,
    /// Its name.
    pub hash: EnvelopeHash,
}

impl ArchiveKey {
    /// The place of this envelope.
    pub const fn of(envelope: &Envelope) -> Self {
        Self { sent: envelope.sent(), hash: envelope.hash() }
    }

    /// The bytes by which a database sorts.
    pub fn to_bytes(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        let parts = self.sent.to_be_bytes().into_iter().chain(self.hash.0);
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The time it asks for is none.
    #[error("request ends before it begins")]
    EndsBeforeItBegins,
    /// Less work than the server asks for.
    #[error("work of {}, which is too little", .0.as_f64())]
    TooLittleWork(Work),
    /// Another password, or not a message at all.
    #[error("request does not open with the server's password")]
    Unreadable,
    /// The payload has this many bytes: neither 8, nor 72 or more.
    #[error("request of {0} bytes")]
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
        let refused = Err(RequestError::EndsBeforeItBegins);
        assert_eq!(ArchiveRequest::parse(&backwards.encode()), refused);
    }

    #[test]
    fn a_request_opens_with_the_password_and_names_who_signed_it() {
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
