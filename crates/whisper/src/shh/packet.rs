//! Encodes and decodes the packets of the capability `shh/6` (EIP-627 "Packet Codes").
//!
//! A packet is a code and a body; `peer` decides which packets are allowed when. In addition to EIP-627, this
//! module knows some packets that Status added.

use super::{
    bloom::Bloom,
    envelope::{Envelope, EnvelopeHash, Fields},
    work::Work,
};
use crate::devp2p::rlp::{self, Encoder, Rlp, RlpError};

/// A received packet.
#[derive(Debug)]
pub enum Packet<'a> {
    /// Handshake: the first packet of each side.
    Status(Status),
    /// Envelopes to store and forward.
    Messages(Envelopes<'a>),
    /// The minimum work that the peer requires from now on.
    MinWork(Work),
    /// The Bloom filter of the peer from now on.
    Bloom(Bloom),
    /// Direct envelopes: not stored in the pool, and without proof of work.
    Direct(Envelopes<'a>),
    /// A request to a mail server, encrypted like a message.
    ArchiveRequest(Envelope),
    /// A mail server has sent all requested envelopes (Status only).
    ArchiveComplete {
        /// The hash of the request's envelope.
        request: EnvelopeHash,
        /// The last envelope that was sent, if any.
        last: Option<EnvelopeHash>,
    },
    /// Unknown packet, to be ignored.
    Unknown,
}

impl<'a> Packet<'a> {
    /// Decodes a whole packet; nothing of a malformed packet is used.
    ///
    /// # Errors
    /// The packet is malformed.
    pub fn decode(code: u16, body: &'a [u8]) -> Result<Self, PacketError> {
        Ok(match code {
            STATUS => Self::Status(Status::decode(body)?),
            MESSAGES => Self::Messages(Envelopes::list(body)?),
            MIN_WORK => Self::MinWork(decode_work(&mut Rlp::new(body))?),
            BLOOM => Self::Bloom(decode_bloom(body)?),
            DIRECT => Self::Direct(Envelopes::one_or_more(body)?),
            // Status sends a different kind of request with this code, which is not supported.
            ARCHIVE_REQUEST => Envelope::parse(body).map_or(Self::Unknown, Self::ArchiveRequest),
            ARCHIVE_COMPLETE => decode_archive_complete(body).unwrap_or(Self::Unknown),
            _ => Self::Unknown,
        })
    }
}

/// The handshake of a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Status {
    /// The minimum work that it requires.
    pub min_work: Work,
    /// Its Bloom filter.
    pub bloom: Bloom,
    /// Whether it is a light node, which does not forward envelopes.
    pub light: bool,
    /// Whether it wants acknowledgements of batches (Status only).
    pub confirmations: bool,
}

impl Status {
    /// Creates our handshake. We never ask for acknowledgements.
    pub const fn new(min_work: Work, bloom: Bloom, light: bool) -> Self {
        Self { min_work, bloom, light, confirmations: false }
    }

    /// Encodes the body. A full filter is encoded as an empty one, as in go-ethereum.
    pub fn encode(&self) -> Vec<u8> {
        rlp::list(|list| {
            list.uint(VERSION).uint(self.min_work.as_f64().to_bits());
            list.string(if self.bloom == Bloom::FULL { &[] } else { self.bloom.as_bytes() });
            list.uint(self.light.into());
        })
    }

    /// Decodes the body. All fields except the version are optional.
    fn decode(body: &[u8]) -> Result<Self, PacketError> {
        let mut items = Rlp::only_list(body)?;
        let version = items.u64()?;
        if version != VERSION {
            return Err(PacketError::UnsupportedVersion(version));
        }
        let mut status = Self::new(Work::NONE, Bloom::FULL, false);
        if !items.is_empty() {
            status.min_work = read_work(&mut items)?;
        }
        if !items.is_empty() {
            status.bloom = match items.string()? {
                [] => Bloom::FULL,
                bytes => bloom(bytes)?,
            };
        }
        if !items.is_empty() {
            status.light = items.bool()?;
        }
        if !items.is_empty() {
            status.confirmations = items.bool()?;
        }
        Ok(status)
    }
}

/// Well-formed envelopes in the body of a packet, not yet hashed.
#[derive(Clone, Debug)]
pub struct Envelopes<'a>(Rlp<'a>);

impl<'a> Envelopes<'a> {
    /// Decodes a list of envelopes.
    fn list(body: &'a [u8]) -> Result<Self, RlpError> {
        Self::checked(Rlp::only_list(body)?)
    }

    /// Decodes one envelope, or a list of envelopes as Status sends it.
    fn one_or_more(body: &'a [u8]) -> Result<Self, RlpError> {
        let inside = Rlp::only_list(body)?;
        Self::checked(if inside.next_is_list() { inside } else { Rlp::new(body) })
    }

    fn checked(items: Rlp<'a>) -> Result<Self, RlpError> {
        let mut unread = items;
        while !unread.is_empty() {
            Fields::read(unread.raw()?)?;
        }
        Ok(Self(items))
    }
}

impl Iterator for Envelopes<'_> {
    type Item = Envelope;

    fn next(&mut self) -> Option<Envelope> {
        self.0.raw().ok().and_then(|item| Envelope::parse(item).ok())
    }
}

/// Encodes a packet of envelopes, which are already encoded.
pub fn encode_messages<'a>(envelopes: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    rlp::list(|list| {
        envelopes.into_iter().for_each(|envelope| {
            list.raw(envelope);
        });
    })
}

/// Encodes the body of a [`Packet::MinWork`].
pub fn encode_min_work(work: Work) -> Vec<u8> {
    rlp::uint(work.as_f64().to_bits())
}

/// Encodes the body of a [`Packet::Bloom`].
pub fn encode_bloom(bloom: &Bloom) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.string(bloom.as_bytes());
    encoder.into_bytes()
}

/// Encodes the body of a [`Packet::ArchiveComplete`]: two hashes, and no cursor because the answer is
/// complete.
pub fn encode_archive_complete(request: EnvelopeHash, last: Option<EnvelopeHash>) -> Vec<u8> {
    rlp::string(&[request.0, last.map_or([0; 32], |last| last.0)].concat())
}

/// Reads the two hashes. Forks differ in the rest, which is ignored.
fn decode_archive_complete<'a>(body: &[u8]) -> Option<Packet<'a>> {
    let (request, rest) = Rlp::new(body).string().ok()?.split_first_chunk()?;
    let last = rest.first_chunk().filter(|last| **last != [0; 32]);
    let last = last.map(|last| EnvelopeHash(*last));
    Some(Packet::ArchiveComplete { request: EnvelopeHash(*request), last })
}

fn decode_work(body: &mut Rlp<'_>) -> Result<Work, PacketError> {
    let work = read_work(body)?;
    body.end()?;
    Ok(work)
}

fn read_work(items: &mut Rlp<'_>) -> Result<Work, PacketError> {
    let bits = items.u64()?;
    Work::new(f64::from_bits(bits)).ok_or(PacketError::NotAWork)
}

fn decode_bloom(body: &[u8]) -> Result<Bloom, PacketError> {
    let mut items = Rlp::new(body);
    let bytes = items.string()?;
    items.end()?;
    bloom(bytes)
}

fn bloom(bytes: &[u8]) -> Result<Bloom, PacketError> {
    let wrong = PacketError::BloomLength(bytes.len());
    bytes.try_into().map(Bloom::from_bytes).map_err(|_| wrong)
}

/// Why a packet is malformed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PacketError {
    /// A Bloom filter of the wrong length.
    #[error("bloom filter has {0} bytes instead of 64")]
    BloomLength(usize),
    /// Invalid RLP, or unexpected items.
    #[error(transparent)]
    Malformed(#[from] RlpError),
    /// The required work is negative, infinite or not a number.
    #[error("required proof of work is negative, infinite or not a number")]
    NotAWork,
    /// The peer uses this version of Whisper.
    #[error("unsupported Whisper version {0}")]
    UnsupportedVersion(u64),
}

/// Name of the capability.
pub const NAME: &str = "shh";

/// Version of the capability.
pub const VERSION: u64 = 6;

/// Number of message codes of the capability.
pub const LENGTH: u16 = 128;

/// Code of [`Packet::Status`].
pub const STATUS: u16 = 0;

/// Code of [`Packet::Messages`].
pub const MESSAGES: u16 = 1;

/// Code of [`Packet::MinWork`].
pub const MIN_WORK: u16 = 2;

/// Code of [`Packet::Bloom`].
pub const BLOOM: u16 = 3;

/// Code of the acknowledgement of a batch: the hash of its body (Status only).
pub const ACKNOWLEDGED: u16 = 11;

/// Code of [`Packet::ArchiveComplete`].
pub const ARCHIVE_COMPLETE: u16 = 125;

/// Code of [`Packet::ArchiveRequest`].
pub const ARCHIVE_REQUEST: u16 = 126;

/// Code of [`Packet::Direct`].
pub const DIRECT: u16 = 127;

/// Maximum size of an envelope that every peer accepts, in bytes: in a packet of its own, including the list
/// header, it must not exceed go-ethereum's maximum message size.
pub const LONGEST_FOR_ALL: usize = 1024 * 1024 - 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn archive_complete_round_trips_and_invalid_ones_are_ignored() {
        let request = EnvelopeHash([7; 32]);
        for last in [None, Some(EnvelopeHash([8; 32]))] {
            let body = encode_archive_complete(request, last);
            let Ok(Packet::ArchiveComplete { request: read, last: read_last }) =
                Packet::decode(ARCHIVE_COMPLETE, &body)
            else {
                panic!()
            };
            assert_eq!((read, read_last), (request, last));
        }
        for body in [vec![], vec![0x80], vec![0xc0], rlp::string(&[1; 31])] {
            assert!(matches!(Packet::decode(ARCHIVE_COMPLETE, &body), Ok(Packet::Unknown)));
        }
    }

    #[test]
    fn an_empty_status_is_refused() {
        assert!(matches!(Packet::decode(STATUS, &[0xc0]), Err(PacketError::Malformed(_))));
    }

    #[test]
    fn a_status_may_say_no_more_than_its_version() {
        let Ok(Packet::Status(status)) = Packet::decode(STATUS, &[0xc1, 6]) else { panic!() };
        assert_eq!(status, Status::new(Work::NONE, Bloom::FULL, false));
        let older = Packet::decode(STATUS, &[0xc1, 5]).unwrap_err();
        assert_eq!(older, PacketError::UnsupportedVersion(5));
    }

    #[test]
    fn items_that_are_not_known_are_ignored_at_the_end_of_a_status() {
        let body = rlp::list(|list| {
            list.uint(6).uint(0).string(&[]).uint(1).uint(1).list(|_| ()).string(b"later");
        });
        let Ok(Packet::Status(status)) = Packet::decode(STATUS, &body) else { panic!() };
        assert!(status.light && status.confirmations);
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(code in 0_u16..LENGTH, body: Vec<u8>) {
            if let Ok(Packet::Messages(envelopes) | Packet::Direct(envelopes)) =
                Packet::decode(code, &body)
            {
                prop_assert!(envelopes.count() <= body.len());
            }
        }

        #[test]
        fn a_status_reads_back(work in 0.0..1e9, bytes: [[u8; 32]; 2], light: bool) {
            let bloom = Bloom::from_bytes(bytes.concat().try_into().unwrap());
            let status = Status::new(Work::new(work).unwrap(), bloom, light);
            let body = status.encode();
            let Ok(Packet::Status(decoded)) = Packet::decode(STATUS, &body) else { panic!() };
            prop_assert_eq!(decoded, status);
        }
    }
}
