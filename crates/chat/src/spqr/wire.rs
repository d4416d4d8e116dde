//! The `pq_ratchet` field of a `SignalMessage` (docs/chat-protocol.md "Post-quantum ratchet").
//!
//! Decoding checks the structure only. The MAC of the message around it covers the field.

use prost::encoding::{decode_varint, encode_varint};

/// The message's field of the post-quantum ratchet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpqrMessage {
    /// The sender's epoch, from 1.
    pub epoch: u64,
    /// Number of the chain's key that protects the message, from 1. 0 if no key does, because the sender does not know yet whether
    /// the recipient has the ratchet.
    pub index: u32,
    /// The part of a key or of a ciphertext that it carries.
    pub payload: SpqrPayload,
}

/// The message's data for the exchange of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SpqrPayload {
    /// Nothing.
    None,
    /// A chunk of the header of the encapsulation key.
    Header(SpqrChunk),
    /// A chunk of the encapsulation key.
    Key(SpqrChunk),
    /// The same; and the sender has the first part of the ciphertext.
    KeyAndAck(SpqrChunk),
    /// The sender has the first part of the ciphertext.
    Ack,
    /// A chunk of the first part of the ciphertext.
    Ciphertext1(SpqrChunk),
    /// A chunk of the second part of the ciphertext.
    Ciphertext2(SpqrChunk),
}

/// One of 65,536 erasure-coded chunks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SpqrChunk {
    /// Its number.
    pub index: u16,
    /// Its bytes.
    pub data: [u8; CHUNK],
}

impl SpqrMessage {
    /// Decodes the field. `None`: the sender does not use the ratchet. Bytes after the last field are ignored.
    ///
    /// # Errors
    /// The field is invalid: discard the message.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, SpqrDecodeError> {
        let Some((version, mut rest)) = bytes.split_first() else { return Ok(None) };
        match *version {
            0 => return Ok(None),
            VERSION => {}
            other => return Err(SpqrDecodeError::UnknownVersion(other)),
        }
        let epoch = varint(&mut rest)?;
        if epoch == 0 {
            return Err(SpqrDecodeError::EpochZero);
        }
        let index = varint(&mut rest)?.try_into().map_err(|_| SpqrDecodeError::IndexTooLarge)?;
        Ok(Some(Self { epoch, index, payload: SpqrPayload::decode(rest)? }))
    }

    /// Encodes the field.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX);
        bytes.push(VERSION);
        encode_varint(self.epoch, &mut bytes);
        encode_varint(self.index.into(), &mut bytes);
        self.payload.encode(&mut bytes);
        bytes
    }
}

impl SpqrPayload {
    fn decode(bytes: &[u8]) -> Result<Self, SpqrDecodeError> {
        let (kind, rest) = bytes.split_first().ok_or(SpqrDecodeError::TooShort)?;
        Ok(match kind {
            0 => Self::None,
            1 => Self::Header(SpqrChunk::decode(rest)?),
            2 => Self::Key(SpqrChunk::decode(rest)?),
            3 => Self::KeyAndAck(SpqrChunk::decode(rest)?),
            4 => Self::Ack,
            5 => Self::Ciphertext1(SpqrChunk::decode(rest)?),
            6 => Self::Ciphertext2(SpqrChunk::decode(rest)?),
            other => return Err(SpqrDecodeError::UnknownPayload(*other)),
        })
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        let (kind, chunk) = match self {
            Self::None => (0, None),
            Self::Header(chunk) => (1, Some(chunk)),
            Self::Key(chunk) => (2, Some(chunk)),
            Self::KeyAndAck(chunk) => (3, Some(chunk)),
            Self::Ack => (4, None),
            Self::Ciphertext1(chunk) => (5, Some(chunk)),
            Self::Ciphertext2(chunk) => (6, Some(chunk)),
        };
        bytes.push(kind);
        if let Some(chunk) = chunk {
            encode_varint(chunk.index.into(), bytes);
            bytes.extend(chunk.data);
        }
    }
}

impl SpqrChunk {
    fn decode(mut bytes: &[u8]) -> Result<Self, SpqrDecodeError> {
        let index = varint(&mut bytes)?;
        let index = index.try_into().map_err(|_| SpqrDecodeError::ChunkIndexTooLarge)?;
        let data = bytes.first_chunk().ok_or(SpqrDecodeError::TooShort)?;
        Ok(Self { index, data: *data })
    }
}

/// Reads an integer of at most 10 bytes. It need not have the shortest form.
fn varint(bytes: &mut &[u8]) -> Result<u64, SpqrDecodeError> {
    decode_varint(bytes).map_err(|_| SpqrDecodeError::TooShort)
}

/// Why the field is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SpqrDecodeError {
    /// A chunk has a number above 65,535.
    #[error("the number of a chunk is too large")]
    ChunkIndexTooLarge,
    /// The epoch is 0.
    #[error("the epoch is 0, but the first one is 1")]
    EpochZero,
    /// The index is above 2^32 - 1.
    #[error("the index is too large")]
    IndexTooLarge,
    /// It ends too early, or an integer has more than 64 bits.
    #[error("the field ends too early")]
    TooShort,
    /// The kind of payload is unknown.
    #[error("unknown payload {0}")]
    UnknownPayload(u8),
    /// The version is neither 0 nor 1.
    #[error("unknown version {0}")]
    UnknownVersion(u8),
}

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 32;

/// The only version so far.
const VERSION: u8 = 1;

/// The greatest length of the field.
const MAX: usize = 1 + 10 + 5 + 1 + 3 + CHUNK;

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn chunk(index: u16) -> SpqrChunk {
        SpqrChunk { index, data: [7; CHUNK] }
    }

    /// A field with these first bytes, and 32 bytes of data.
    fn field(head: &[u8]) -> Vec<u8> {
        [head, &[7; CHUNK]].concat()
    }

    #[test]
    fn every_recorded_field_is_decoded_and_encoded_to_the_same_bytes() {
        let text = include_str!("../../../../vectors/chat/spqr_wire.json");
        let file: Value = serde_json::from_str(text).unwrap();
        let messages = file["lossy_run"]["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 260);
        for message in messages {
            let bytes = HEXLOWER.decode(message["pq"].as_str().unwrap().as_bytes()).unwrap();
            let decoded = SpqrMessage::decode(&bytes).unwrap().unwrap();
            assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn the_example_of_the_specification_is_decoded() {
        let expected = SpqrMessage { epoch: 1, index: 3, payload: SpqrPayload::Header(chunk(2)) };
        assert_eq!(SpqrMessage::decode(&field(&[1, 1, 3, 1, 2])), Ok(Some(expected)));
    }

    #[test]
    fn version_0_means_that_the_sender_does_not_use_the_ratchet() {
        for bytes in [&[][..], &[0], &[0, 9, 9]] {
            assert_eq!(SpqrMessage::decode(bytes), Ok(None));
        }
    }

    #[test]
    fn every_invalid_field_is_refused() {
        use SpqrDecodeError::*;
        let cases: [(&[u8], SpqrDecodeError); 9] = [
            (&[2, 1, 1, 0], UnknownVersion(2)),
            (&[255, 1, 1, 0], UnknownVersion(255)),
            (&[1, 0, 1, 0], EpochZero),
            (&[1, 0x80, 0, 1, 0], EpochZero),
            (&[1, 1, 0x80, 0x80, 0x80, 0x80, 0x10, 0], IndexTooLarge),
            (&[1, 1, 1, 7], UnknownPayload(7)),
            (&[1, 1, 1, 1, 0x80, 0x80, 4], ChunkIndexTooLarge),
            (&[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2, 1, 0], TooShort),
            (&[1, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1, 0], TooShort),
        ];
        for (head, error) in cases {
            assert_eq!(SpqrMessage::decode(&field(head)), Err(error), "{head:?}");
        }
    }

    #[test]
    fn a_shortened_field_is_refused() {
        for kind in 0..=6 {
            let chunked = !matches!(kind, 0 | 4);
            let full = if chunked { field(&[1, 1, 3, kind, 2]) } else { vec![1, 1, 3, kind] };
            for end in 1..full.len() {
                let result = SpqrMessage::decode(&full[..end]);
                assert_eq!(result, Err(SpqrDecodeError::TooShort), "{kind} {end}");
            }
            assert!(SpqrMessage::decode(&full).unwrap().is_some());
        }
    }

    #[test]
    fn long_integers_and_bytes_at_the_end_are_accepted() {
        let long = field(&[1, 0x81, 0x80, 0, 0x83, 0, 1, 0x82, 0x80, 0]);
        let short = field(&[1, 1, 3, 1, 2]);
        assert_eq!(SpqrMessage::decode(&long), SpqrMessage::decode(&short));
        let more = [&short[..], &[9]].concat();
        assert_eq!(SpqrMessage::decode(&more), SpqrMessage::decode(&short));
    }

    proptest! {
        #[test]
        fn a_field_reads_as_it_was_written(
            epoch in 1_u64..,
            index: u32,
            kind in 0_u8..7,
            chunk_index: u16,
            data: [u8; CHUNK],
        ) {
            let chunk = SpqrChunk { index: chunk_index, data };
            let payload = match kind {
                0 => SpqrPayload::None,
                1 => SpqrPayload::Header(chunk),
                2 => SpqrPayload::Key(chunk),
                3 => SpqrPayload::KeyAndAck(chunk),
                4 => SpqrPayload::Ack,
                5 => SpqrPayload::Ciphertext1(chunk),
                _ => SpqrPayload::Ciphertext2(chunk),
            };
            let message = SpqrMessage { epoch, index, payload };
            let bytes = message.encode();
            prop_assert!(bytes.len() <= MAX);
            prop_assert_eq!(SpqrMessage::decode(&bytes), Ok(Some(message)));
        }
    }
}
