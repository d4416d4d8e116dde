//! Envelopes: encrypted data with a topic, an expiry time and a nonce (docs/whisper-protocol.md "Envelope").
//!
//! An [`Envelope`] is only well-formed; a [`ValidEnvelope`] has been checked against the clock and the
//! requirements of this node. Module `message` handles the encrypted data.
//!
//! ```text
//! Draft ──finish(nonce)──► Envelope ──check──► ValidEnvelope ──► Pool
//! bytes ──parse──────────►
//! ```

use std::{fmt, ops::Range, sync::Arc};

use data_encoding::HEXLOWER;
use sha3::{Digest, Keccak256};
use wormhole_kit::{Instant, UnixTime};

use super::{
    requirements::Requirements,
    topic::Topic,
    whole_seconds,
    work::{Work, leading_zero_bits},
};
use crate::devp2p::rlp::{self, Encoder, Rlp, RlpError};

/// An envelope without its nonce.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    /// Expiry time in seconds since 1970.
    pub expiry: u32,
    /// Lifetime in seconds, at least 1.
    pub ttl: u32,
    /// Topic.
    pub topic: Topic,
    /// The encrypted message.
    pub data: Vec<u8>,
}

impl Draft {
    /// Creates a draft that is sent at `now` and expires after `ttl` seconds. Both are public: use a
    /// [rounded](UnixTime::rounded_down) time if the exact time is sensitive.
    pub fn new(now: UnixTime, ttl: u32, topic: Topic, data: Vec<u8>) -> Self {
        Self { expiry: whole_seconds(now).saturating_add(ttl), ttl, topic, data }
    }

    /// The number of leading zero bits that gives at least this much work. Peers disagree about the size of
    /// an envelope, so this is enough for all of their definitions.
    pub fn bits_needed(&self, work: Work) -> u32 {
        let largest = self.finish(u64::MAX).encoded().len();
        work.bits_needed(largest.max(self.data.len() + FIXED_SIZE), self.ttl)
    }

    /// Adds the nonce.
    pub fn finish(&self, nonce: u64) -> Envelope {
        let (fields, last) = (self.fields().into_bytes(), rlp::uint(nonce));
        let encoded = rlp::list(|list| {
            list.raw(&fields).raw(&last);
        });
        let end = encoded.len() - last.len();
        Envelope {
            hash: EnvelopeHash(Keccak256::digest(&encoded).into()),
            expiry: self.expiry,
            ttl: self.ttl,
            topic: self.topic,
            nonce,
            data: end - self.data.len()..end,
            fields: end - fields.len()..end,
            encoded: encoded.into(),
        }
    }

    /// The bytes that are hashed before the nonce: the encoding of the envelope without its nonce.
    pub(super) fn hashed_before_nonce(&self) -> Vec<u8> {
        rlp::list(|list| {
            list.raw(&self.fields().into_bytes());
        })
    }

    fn fields(&self) -> Encoder {
        let mut fields = Encoder::default();
        fields.uint(self.expiry.into()).uint(self.ttl.into()).string(&self.topic.0);
        fields.string(&self.data);
        fields
    }
}

/// A well-formed envelope. Clones share the bytes.
#[derive(Clone, Eq, PartialEq)]
pub struct Envelope {
    encoded: Arc<[u8]>,
    hash: EnvelopeHash,
    expiry: u32,
    ttl: u32,
    topic: Topic,
    nonce: u64,
    data: Range<usize>,
    /// Range of the encoded fields before the nonce.
    fields: Range<usize>,
}

impl Envelope {
    /// Parses exactly one envelope, as strictly as go-ethereum does.
    ///
    /// # Errors
    /// The encoding is invalid or not canonical.
    pub fn parse(encoded: &[u8]) -> Result<Self, RlpError> {
        let Fields { expiry, ttl, topic, nonce, data, fields } = Fields::read(encoded)?;
        let hash = EnvelopeHash(Keccak256::digest(encoded).into());
        Ok(Self { encoded: encoded.into(), hash, expiry, ttl, topic, nonce, data, fields })
    }

    /// The encoded envelope.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The hash of the encoded envelope, which identifies it.
    pub const fn hash(&self) -> EnvelopeHash {
        self.hash
    }

    /// Expiry time in seconds since 1970.
    pub const fn expiry(&self) -> u32 {
        self.expiry
    }

    /// Lifetime in seconds.
    pub const fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Sent time in seconds since 1970, as the sender claims. Wraps around, as in go-ethereum.
    pub const fn sent(&self) -> u32 {
        self.expiry.wrapping_sub(self.ttl)
    }

    /// Topic.
    pub const fn topic(&self) -> Topic {
        self.topic
    }

    /// The encrypted message.
    pub fn data(&self) -> &[u8] {
        self.encoded.get(self.data.clone()).unwrap_or_default()
    }

    /// The nonce that proves the work.
    pub const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Size in bytes for limits and proof of work: the data, and the other fields at full width.
    pub const fn size(&self) -> usize {
        FIXED_SIZE + self.data.end.saturating_sub(self.data.start)
    }

    /// Proof of work. Infinite for a TTL of 0, which [`Envelope::check`] rejects.
    pub fn work(&self) -> Work {
        self.work_if_early(0)
    }

    /// Proof of work if the lifetime is extended by `seconds`, for an envelope from the future. Wraps around, as
    /// in go-ethereum.
    pub fn work_if_early(&self, seconds: u32) -> Work {
        let fields = self.encoded.get(self.fields.clone()).unwrap_or_default();
        let before_nonce = rlp::list(|list| {
            list.raw(fields);
        });
        let mut hasher = Keccak256::new_with_prefix(&before_nonce);
        hasher.update(self.nonce.to_be_bytes());
        let bits = leading_zero_bits(hasher.finalize());
        Work::of(bits, before_nonce.len(), self.ttl.wrapping_add(seconds))
    }

    /// Checks the envelope against the clock and the requirements of this node, in go-ethereum's order.
    ///
    /// # Errors
    /// The envelope must not be stored. [`EnvelopeError::is_misbehaviour`] says whether to disconnect its sender.
    pub fn check(
        self,
        requirements: &Requirements,
        now: Instant,
        wall: UnixTime,
    ) -> Result<ValidEnvelope, EnvelopeError> {
        let wall = whole_seconds(wall);
        let early = self.check_time(wall)?;
        let limit = requirements.max_size();
        if self.size() > limit {
            return Err(EnvelopeError::TooLarge { size: self.size(), limit });
        }
        if self.ttl == 0 {
            return Err(EnvelopeError::NoTtl);
        }
        let work = self.work_if_early(early);
        if !requirements.accepts_work(now, work) {
            return Err(self.work_error(requirements, now, work, early));
        }
        if !requirements.accepts_topic(now, self.topic) {
            return Err(match requirements.forgives_topic(now, self.topic) {
                true => EnvelopeError::NotWantedAnyMore(self.topic),
                false => EnvelopeError::NotWanted(self.topic),
            });
        }
        if self.ttl > requirements.max_ttl() {
            return Err(EnvelopeError::TtlTooLong { ttl: self.ttl, limit: requirements.max_ttl() });
        }
        Ok(ValidEnvelope { envelope: self, work })
    }

    /// The error for insufficient work of an envelope that is `early` seconds in the future.
    fn work_error(
        &self,
        requirements: &Requirements,
        now: Instant,
        work: Work,
        early: u32,
    ) -> EnvelopeError {
        let on_time = if early > 0 { self.work() } else { work };
        if requirements.accepts_work(now, on_time) {
            EnvelopeError::TooLittleWorkYet(work)
        } else if requirements.forgives_work(now, on_time) {
            EnvelopeError::TooLittleWorkNow(work)
        } else {
            EnvelopeError::TooLittleWork(work)
        }
    }

    /// Checks the times. Returns the number of seconds by which the lifetime must be extended.
    fn check_time(&self, wall: u32) -> Result<u32, EnvelopeError> {
        let early = self.sent().saturating_sub(wall);
        if early > 2 * SYNC_ALLOWANCE {
            return Err(EnvelopeError::FromFarInTheFuture { seconds: early });
        }
        if early > SYNC_ALLOWANCE {
            return Err(EnvelopeError::FromTheFuture { seconds: early });
        }
        let late = wall.saturating_sub(self.expiry);
        if late > GRACE {
            return Err(EnvelopeError::LongExpired { seconds: late });
        }
        if late > 0 {
            return Err(EnvelopeError::Expired { seconds: late });
        }
        // One more second for the transport.
        Ok(if early > 0 { early + 1 } else { 0 })
    }
}

/// The fields of an encoded envelope, and the position of the data.
pub(super) struct Fields {
    expiry: u32,
    ttl: u32,
    topic: Topic,
    nonce: u64,
    data: Range<usize>,
    fields: Range<usize>,
}

impl Fields {
    /// Parses the fields without allocating or hashing.
    pub(super) fn read(encoded: &[u8]) -> Result<Self, RlpError> {
        let mut items = Rlp::only_list(encoded)?;
        let start = encoded.len().saturating_sub(items.rest().len());
        let (expiry, ttl) = (items.u32()?, items.u32()?);
        let topic = Topic(items.array()?);
        let data = items.string()?.len();
        let end = encoded.len().saturating_sub(items.rest().len());
        let nonce = items.u64()?;
        items.end()?;
        Ok(Self {
            expiry,
            ttl,
            topic,
            nonce,
            data: end.saturating_sub(data)..end,
            fields: start..end,
        })
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.encoded.len();
        write!(f, "Envelope({}, {} for {} s, {bytes} bytes)", self.hash, self.topic, self.ttl)
    }
}

/// An envelope that may be stored and forwarded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ValidEnvelope {
    envelope: Envelope,
    work: Work,
}

impl ValidEnvelope {
    /// The envelope.
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The envelope.
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }

    /// Its proof of work when it arrived.
    pub const fn work(&self) -> Work {
        self.work
    }
}

/// The identifier of an envelope: Keccak-256 of its encoding.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EnvelopeHash(pub [u8; 32]);

/// `0x` and 64 lower-case hexadecimal digits.
impl fmt::Display for EnvelopeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", HEXLOWER.encode(&self.0))
    }
}

/// Why an envelope is rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvelopeError {
    /// Expired recently, perhaps during transport.
    #[error("expired {seconds} s ago")]
    Expired {
        /// Seconds since the expiry.
        seconds: u32,
    },
    /// The sent time is in the future by more than clock differences on both sides can explain.
    #[error("made {seconds} s in the future, which exceeds the tolerance")]
    FromFarInTheFuture {
        /// Seconds until the sent time.
        seconds: u32,
    },
    /// The sent time is in the future. It may be valid by the clock of the peer that forwarded it.
    #[error("made {seconds} s in the future")]
    FromTheFuture {
        /// Seconds until the sent time.
        seconds: u32,
    },
    /// The lifetime exceeds our limit. go-ethereum has no such limit.
    #[error("lifetime of {ttl} s, more than the limit of {limit} s")]
    TtlTooLong {
        /// Lifetime in seconds.
        ttl: u32,
        /// Maximum lifetime in seconds.
        limit: u32,
    },
    /// Expired so long ago that no honest peer still sends it.
    #[error("expired {seconds} s ago, which exceeds the tolerance")]
    LongExpired {
        /// Seconds since the expiry.
        seconds: u32,
    },
    /// The lifetime is zero, for which go-ethereum computes infinite work.
    #[error("lifetime of 0 s")]
    NoTtl,
    /// Our Bloom filter does not match this topic, and did not match it recently.
    #[error("topic {0} is not in our bloom filter")]
    NotWanted(Topic),
    /// Our Bloom filter matched this topic until recently.
    #[error("topic {0} is no longer in our bloom filter")]
    NotWantedAnyMore(Topic),
    /// Larger than our limit; other nodes may accept it.
    #[error("{size} bytes, more than {limit}")]
    TooLarge {
        /// Size of the envelope in bytes.
        size: usize,
        /// Maximum size in bytes.
        limit: usize,
    },
    /// Less work than we require now or required recently.
    #[error("proof of work {} is below the minimum", .0.as_f64())]
    TooLittleWork(Work),
    /// Less work than we require now, but enough until recently.
    #[error("proof of work {} is below the minimum, which was raised recently", .0.as_f64())]
    TooLittleWorkNow(Work),
    /// Less work than we require, but only because the sent time is in the future by our clock. It may be
    /// valid by the clock of the peer that forwarded it.
    #[error("proof of work {} is below the minimum, but the sent time is in the future: an earlier minimum may apply", .0.as_f64())]
    TooLittleWorkYet(Work),
}

impl EnvelopeError {
    /// Whether only a misbehaving peer sends such an envelope, so that it should be disconnected. Rules that
    /// only this node enforces do not count, because an attacker could use them to separate us from
    /// go-ethereum nodes. Neither do errors that a tolerable clock difference can explain.
    pub const fn is_misbehaviour(&self) -> bool {
        match self {
            Self::Expired { .. }
            | Self::FromTheFuture { .. }
            | Self::TtlTooLong { .. }
            | Self::NotWantedAnyMore(_)
            | Self::NoTtl
            | Self::TooLittleWorkNow(_)
            | Self::TooLittleWorkYet(_) => false,
            Self::FromFarInTheFuture { .. }
            | Self::LongExpired { .. }
            | Self::NotWanted(_)
            | Self::TooLarge { .. }
            | Self::TooLittleWork(_) => true,
        }
    }

    /// Whether the sent time is in the future by our clock.
    pub const fn is_early(&self) -> bool {
        matches!(
            self,
            Self::FromFarInTheFuture { .. }
                | Self::FromTheFuture { .. }
                | Self::TooLittleWorkYet(_)
        )
    }

    /// Whether a wrong clock on our side can cause this error. Such peers must not be banned: we need them
    /// again once the clock is right.
    pub const fn depends_on_clock(&self) -> bool {
        match self {
            Self::Expired { .. }
            | Self::FromFarInTheFuture { .. }
            | Self::FromTheFuture { .. }
            | Self::LongExpired { .. }
            | Self::TooLittleWorkYet(_) => true,
            Self::TtlTooLong { .. }
            | Self::NoTtl
            | Self::NotWanted(_)
            | Self::NotWantedAnyMore(_)
            | Self::TooLarge { .. }
            | Self::TooLittleWork(_)
            | Self::TooLittleWorkNow(_) => false,
        }
    }
}

/// Default lifetime in seconds (geth `DefaultTTL`).
pub const DEFAULT_TTL: u32 = 50;

/// Size in bytes of all fields except the data, at full width.
const FIXED_SIZE: usize = 20;

/// Tolerated clock difference in seconds (geth `DefaultSyncAllowance`).
pub(super) const SYNC_ALLOWANCE: u32 = 10;

/// Seconds after its expiry during which an envelope is dropped without disconnecting the peer.
pub(super) const GRACE: u32 = 2 * SYNC_ALLOWANCE;

#[cfg(test)]
mod tests;
