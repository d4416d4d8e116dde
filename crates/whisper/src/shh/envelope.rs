//! Envelopes: what travels and is kept, sealed data under a topic with an expiry and a nonce
//! (docs/whisper-protocol.md "Envelope").
//!
//! An [`Envelope`] is well-formed, no more; a [`ValidEnvelope`] has been checked against the clock
//! and against what this node asks for. What is inside the data is the business of `message`.
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

/// An envelope that still lacks its nonce.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draft {
    /// Seconds since 1970 after which nobody keeps it.
    pub expiry: u32,
    /// Seconds from its making to its expiry; at least 1.
    pub ttl: u32,
    /// How readers find it.
    pub topic: Topic,
    /// The sealed message.
    pub data: Vec<u8>,
}

impl Draft {
    /// A draft that is made at `now` and lives for `ttl` seconds. Everyone can see both, so give a
    /// time that is [blurred](UnixTime::blurred) to ten seconds if the exact one tells too much.
    pub fn new(now: UnixTime, ttl: u32, topic: Topic, data: Vec<u8>) -> Self {
        Self { expiry: whole_seconds(now).saturating_add(ttl), ttl, topic, data }
    }

    /// Leading zero bits that give it at least this much work by every reading of the
    /// specification: peers differ in what they take for its size.
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

    /// What is hashed before the nonce: the envelope's encoding as if it had none.
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

/// A well-formed envelope. Cloning shares its bytes.
#[derive(Clone, Eq, PartialEq)]
pub struct Envelope {
    encoded: Arc<[u8]>,
    hash: EnvelopeHash,
    expiry: u32,
    ttl: u32,
    topic: Topic,
    nonce: u64,
    data: Range<usize>,
    /// The encoded fields before the nonce.
    fields: Range<usize>,
}

impl Envelope {
    /// Reads exactly one envelope, as strictly as go-ethereum does.
    ///
    /// # Errors
    /// The peer misbehaved: this is not the one encoding of an envelope.
    pub fn parse(encoded: &[u8]) -> Result<Self, RlpError> {
        let Fields { expiry, ttl, topic, nonce, data, fields } = Fields::read(encoded)?;
        let hash = EnvelopeHash(Keccak256::digest(encoded).into());
        Ok(Self { encoded: encoded.into(), hash, expiry, ttl, topic, nonce, data, fields })
    }

    /// Its bytes on the wire.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Its name: the hash of its bytes on the wire.
    pub const fn hash(&self) -> EnvelopeHash {
        self.hash
    }

    /// Seconds since 1970 after which nobody keeps it.
    pub const fn expiry(&self) -> u32 {
        self.expiry
    }

    /// Seconds from its making to its expiry.
    pub const fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Seconds since 1970 when it claims to have been made. Wraps, as in the reference.
    pub const fn sent(&self) -> u32 {
        self.expiry.wrapping_sub(self.ttl)
    }

    /// How readers find it.
    pub const fn topic(&self) -> Topic {
        self.topic
    }

    /// The sealed message.
    pub fn data(&self) -> &[u8] {
        self.encoded.get(self.data.clone()).unwrap_or_default()
    }

    /// What was searched for.
    pub const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Its size in the sense of limits, in bytes: the data and the other fields at full width.
    pub const fn size(&self) -> usize {
        FIXED_SIZE + self.data.end.saturating_sub(self.data.start)
    }

    /// Its proof of work. Infinite for a TTL of 0, which [`Envelope::check`] refuses.
    pub fn work(&self) -> Work {
        self.work_if_early(0)
    }

    /// Its proof of work if it has to last `seconds` longer than its TTL, because it came before
    /// its time. Wraps, as in the reference.
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

    /// Checks it against the clock and against what this node asks for, in the reference's order.
    ///
    /// # Errors
    /// It must not be kept; [`Refusal::is_misbehaviour`] says whether its sender is to blame.
    pub fn check(
        self,
        requirements: &Requirements,
        now: Instant,
        wall: UnixTime,
    ) -> Result<ValidEnvelope, Refusal> {
        let wall = whole_seconds(wall);
        let early = self.check_time(wall)?;
        let limit = requirements.max_size();
        if self.size() > limit {
            return Err(Refusal::TooLarge { size: self.size(), limit });
        }
        if self.ttl == 0 {
            return Err(Refusal::NoTtl);
        }
        let work = self.work_if_early(early);
        if !requirements.accepts_work(now, work) {
            return Err(self.refuse_work(requirements, now, work, early));
        }
        if !requirements.accepts_topic(now, self.topic) {
            return Err(match requirements.forgives_topic(now, self.topic) {
                true => Refusal::NotWantedAnyMore(self.topic),
                false => Refusal::NotWanted(self.topic),
            });
        }
        if self.ttl > requirements.max_ttl() {
            return Err(Refusal::LivesTooLong { ttl: self.ttl, limit: requirements.max_ttl() });
        }
        Ok(ValidEnvelope { envelope: self, work })
    }

    /// What is wrong with an envelope whose work does not suffice, `early` seconds before its time.
    fn refuse_work(
        &self,
        requirements: &Requirements,
        now: Instant,
        work: Work,
        early: u32,
    ) -> Refusal {
        let on_time = if early > 0 { self.work() } else { work };
        if requirements.accepts_work(now, on_time) {
            Refusal::TooLittleWorkYet(work)
        } else if requirements.forgives_work(now, on_time) {
            Refusal::TooLittleWorkNow(work)
        } else {
            Refusal::TooLittleWork(work)
        }
    }

    /// How many seconds longer than its TTL it has to last.
    fn check_time(&self, wall: u32) -> Result<u32, Refusal> {
        let early = self.sent().saturating_sub(wall);
        if early > 2 * SYNC_ALLOWANCE {
            return Err(Refusal::FromFarInTheFuture { seconds: early });
        }
        if early > SYNC_ALLOWANCE {
            return Err(Refusal::FromTheFuture { seconds: early });
        }
        let late = wall.saturating_sub(self.expiry);
        if late > GRACE {
            return Err(Refusal::LongExpired { seconds: late });
        }
        if late > 0 {
            return Err(Refusal::Expired { seconds: late });
        }
        // One more second for the way here.
        Ok(if early > 0 { early + 1 } else { 0 })
    }
}

/// What stands in an encoded envelope, and where.
pub(super) struct Fields {
    expiry: u32,
    ttl: u32,
    topic: Topic,
    nonce: u64,
    data: Range<usize>,
    fields: Range<usize>,
}

impl Fields {
    /// Reads the fields without keeping or hashing anything.
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

/// An envelope that may be kept and relayed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ValidEnvelope {
    envelope: Envelope,
    work: Work,
}

impl ValidEnvelope {
    /// The envelope itself.
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The envelope itself.
    pub fn into_envelope(self) -> Envelope {
        self.envelope
    }

    /// Its proof of work when it came in.
    pub const fn work(&self) -> Work {
        self.work
    }
}

/// The name of an envelope: the Keccak-256 of its bytes on the wire.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EnvelopeHash(pub [u8; 32]);

/// `0x` and 64 lower-case hexadecimal digits.
impl fmt::Display for EnvelopeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", HEXLOWER.encode(&self.0))
    }
}

/// Why an envelope is not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It expired moments ago, perhaps on its way.
    #[error("expired {seconds} s ago")]
    Expired {
        /// Seconds since it expired.
        seconds: u32,
    },
    /// It claims to have been made later than even two clocks may differ that each of them may
    /// differ from ours.
    #[error("made {seconds} s in the future, which is far")]
    FromFarInTheFuture {
        /// Seconds until it is made.
        seconds: u32,
    },
    /// It claims to have been made later than clocks may differ. By the clock of whoever passed it
    /// on it may not.
    #[error("made {seconds} s in the future")]
    FromTheFuture {
        /// Seconds until it is made.
        seconds: u32,
    },
    /// It lives longer than we keep anything. The reference has no such limit.
    #[error("lives for {ttl} s, more than {limit} s")]
    LivesTooLong {
        /// Seconds it lives.
        ttl: u32,
        /// Seconds it may live.
        limit: u32,
    },
    /// It expired so long ago that nobody should still send it.
    #[error("expired {seconds} s ago, which is long")]
    LongExpired {
        /// Seconds since it expired.
        seconds: u32,
    },
    /// It does not live at all, which the reference takes for infinite work.
    #[error("lives for 0 s")]
    NoTtl,
    /// Our Bloom filter does not ask for this topic, and did not lately.
    #[error("topic {0} was not asked for")]
    NotWanted(Topic),
    /// Our Bloom filter asked for this topic until lately.
    #[error("topic {0} is not asked for any more")]
    NotWantedAnyMore(Topic),
    /// More bytes than we take, which others may take.
    #[error("{size} bytes, more than {limit}")]
    TooLarge {
        /// Bytes it counts for.
        size: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// Less work than we ask for, and asked for lately.
    #[error("work of {}, which is too little", .0.as_f64())]
    TooLittleWork(Work),
    /// Less work than we ask for now, but enough until lately.
    #[error("work of {}, which is too little now", .0.as_f64())]
    TooLittleWorkNow(Work),
    /// Less work than we ask for, only because by our clock it came before its time. By the clock
    /// of whoever passed it on it may not have.
    #[error("work of {}, which is too little before its time", .0.as_f64())]
    TooLittleWorkYet(Work),
}

impl Refusal {
    /// Whether no honest peer whose clock is about right sends such an envelope, so that its sender
    /// is cut. What only we refuse does not count: an attacker could use it to cut us off from
    /// go-ethereum's nodes. Nor does what another clock, no further off than clocks may be, takes.
    pub const fn is_misbehaviour(&self) -> bool {
        match self {
            Self::Expired { .. }
            | Self::FromTheFuture { .. }
            | Self::LivesTooLong { .. }
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

    /// Whether it came before its time, by our clock.
    pub const fn is_early(&self) -> bool {
        matches!(
            self,
            Self::FromFarInTheFuture { .. }
                | Self::FromTheFuture { .. }
                | Self::TooLittleWorkYet(_)
        )
    }

    /// Whether it may be our clock that is wrong. Nobody should be remembered for it: once the clock
    /// is right, we need those whom we have cut.
    pub const fn depends_on_clock(&self) -> bool {
        match self {
            Self::Expired { .. }
            | Self::FromFarInTheFuture { .. }
            | Self::FromTheFuture { .. }
            | Self::LongExpired { .. }
            | Self::TooLittleWorkYet(_) => true,
            Self::LivesTooLong { .. }
            | Self::NoTtl
            | Self::NotWanted(_)
            | Self::NotWantedAnyMore(_)
            | Self::TooLarge { .. }
            | Self::TooLittleWork(_)
            | Self::TooLittleWorkNow(_) => false,
        }
    }
}

/// Seconds to live unless told otherwise (geth `DefaultTTL`).
pub const DEFAULT_TTL: u32 = 50;

/// Bytes of all fields but the data, at full width: what `size` counts for them.
const FIXED_SIZE: usize = 20;

/// Seconds by which clocks may differ (geth `DefaultSyncAllowance`).
pub(super) const SYNC_ALLOWANCE: u32 = 10;

/// Seconds after its expiry during which an envelope is dropped without blame.
pub(super) const GRACE: u32 = 2 * SYNC_ALLOWANCE;

#[cfg(test)]
mod tests;
