//! The stored forms of sender keys (docs/chat-protocol.md "Stored records").
//!
//! Do not send them: the bytes are secret. Encrypt them before storing them.

use std::collections::VecDeque;

use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::record::{MAX_KEYS, ReceivedKey};
use super::{DistributionId, SenderKey, SenderKeyRecord};
use crate::key::{KeyPair, PrivateKey};
use crate::record::StoredRecordError;
use crate::record::fields::{self, CHAIN, SEED, Writer};

impl SenderKey {
    /// Encodes the key for storage.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Writer::with_room(FIXED);
        out.u8(FORMAT);
        out.bytes(self.distribution.as_bytes());
        out.u32(self.chain_id);
        out.chain(&self.chain);
        out.secret(self.signing.private().as_secret());
        out.key(self.signing.public());
        out.finish()
    }

    /// Decodes stored bytes.
    ///
    /// # Errors
    /// They are damaged, or were written by a newer version of this program.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredRecordError> {
        let mut reader = start(bytes)?;
        let distribution = DistributionId::from_bytes(reader.array()?);
        let chain_id = reader.u32_be()?;
        let chain = fields::chain(&mut reader)?;
        let private = PrivateKey::from_secret(&fields::secret(&mut reader)?);
        let signing = KeyPair::from_stored(private, fields::key(&mut reader)?);
        end(&reader, Self { distribution, chain_id, chain, signing })
    }
}

impl SenderKeyRecord {
    /// Encodes the record for storage. The same record always gives the same bytes.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let room = FIXED + self.keys.len() * (4 + CHAIN) + self.skipped_len() * SEED;
        let mut out = Writer::with_room(room);
        out.u8(FORMAT);
        out.bytes(self.distribution.as_bytes());
        out.count(self.keys.len());
        for key in &self.keys {
            out.u32(key.chain_id);
            out.receiver(&key.chain, true);
        }
        out.finish()
    }

    /// Decodes stored bytes.
    ///
    /// # Errors
    /// They are damaged, or were written by a newer version of this program.
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredRecordError> {
        let mut reader = start(bytes)?;
        let distribution = DistributionId::from_bytes(reader.array()?);
        let count = usize::from(reader.u8()?);
        if count > MAX_KEYS {
            return Err(StoredRecordError::Damaged);
        }
        let mut keys: VecDeque<ReceivedKey> = VecDeque::with_capacity(count);
        for _ in 0..count {
            let chain_id = reader.u32_be()?;
            if keys.iter().any(|key| key.chain_id == chain_id) {
                return Err(StoredRecordError::Damaged);
            }
            keys.push_back(ReceivedKey { chain_id, chain: fields::receiver(&mut reader, true)? });
        }
        end(&reader, Self { distribution, keys })
    }
}

/// Reads the format.
fn start(bytes: &[u8]) -> Result<Reader<'_>, StoredRecordError> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        FORMAT => Ok(reader),
        other => Err(StoredRecordError::UnknownFormat(other)),
    }
}

/// Refuses bytes at the end.
fn end<T>(reader: &Reader<'_>, value: T) -> Result<T, StoredRecordError> {
    if reader.is_empty() { Ok(value) } else { Err(StoredRecordError::Damaged) }
}

/// The format that we write.
const FORMAT: u8 = 1;

/// An upper bound for the size without the keys of peers.
const FIXED: usize = 128;
