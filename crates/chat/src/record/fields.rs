//! The fields of stored records: keys, chains, and the seeds of skipped messages.

use wormhole_kit::{Reader, Secret};
use zeroize::Zeroizing;

use super::StoredRecordError;
use crate::key::PublicKey;
use crate::ratchet::{ChainKey, MAX_SKIPPED, MessageSeed, ReceiverChain};

/// Appends fields to secret bytes.
pub(crate) struct Writer {
    bytes: Zeroizing<Vec<u8>>,
    room: usize,
}

impl Writer {
    /// Reserves the whole capacity, because a vector that grows leaves copies of secrets behind.
    pub(crate) fn with_room(room: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(room)), room }
    }

    /// The bytes.
    pub(crate) fn finish(self) -> Zeroizing<Vec<u8>> {
        debug_assert!(self.bytes.len() <= self.room, "the record outgrew its room");
        self.bytes
    }

    /// Where to append other bytes.
    pub(crate) fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    fn u16(&mut self, value: usize) {
        // Bounded by `MAX_SKIPPED`.
        self.bytes.extend(u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend(value.to_be_bytes());
    }

    /// The length of a list, which has at most 255 entries.
    pub(crate) fn count(&mut self, value: usize) {
        self.u8(u8::try_from(value).unwrap_or(u8::MAX));
    }

    pub(crate) fn key(&mut self, key: &PublicKey) {
        self.bytes.extend(key.as_u());
    }

    pub(crate) fn secret(&mut self, secret: &Secret<32>) {
        self.bytes.extend(secret.expose());
    }

    pub(crate) fn chain(&mut self, chain: &ChainKey) {
        self.secret(&chain.key);
        self.u32(chain.index);
    }

    /// A receiving chain. `has_deleted`: it says which seeds were deleted.
    pub(crate) fn receiver(&mut self, receiver: &ReceiverChain, has_deleted: bool) {
        self.key(&receiver.theirs);
        self.chain(&receiver.chain);
        if has_deleted {
            self.u32(receiver.deleted_before);
        }
        self.u16(receiver.skipped.len());
        for (index, seed) in &receiver.skipped {
            self.u32(*index);
            self.secret(&seed.0);
        }
    }
}

pub(crate) fn key(reader: &mut Reader<'_>) -> Result<PublicKey, StoredRecordError> {
    Ok(PublicKey::from_u(reader.array()?)?)
}

pub(crate) fn secret(reader: &mut Reader<'_>) -> Result<Secret<32>, StoredRecordError> {
    Ok(Secret::new(*Zeroizing::new(reader.array()?)))
}

pub(crate) fn chain(reader: &mut Reader<'_>) -> Result<ChainKey, StoredRecordError> {
    Ok(ChainKey { key: secret(reader)?, index: reader.u32_be()? })
}

pub(crate) fn receiver(
    reader: &mut Reader<'_>,
    has_deleted: bool,
) -> Result<ReceiverChain, StoredRecordError> {
    let mut chain = ReceiverChain::new(key(reader)?, chain(reader)?);
    if has_deleted {
        chain.deleted_before = reader.u32_be()?;
    }
    let count = u16::from_be_bytes(reader.array()?);
    if u32::from(count) > MAX_SKIPPED {
        return Err(StoredRecordError::Damaged);
    }
    for _ in 0..count {
        chain.skipped.push_back((reader.u32_be()?, MessageSeed(secret(reader)?)));
    }
    let ascending = chain.skipped.iter().map(|(index, _)| *index).is_sorted_by(|a, b| a < b);
    if ascending { Ok(chain) } else { Err(StoredRecordError::Damaged) }
}

/// Size of a receiving chain without its skipped messages.
pub(crate) const CHAIN: usize = 74;

/// Size of a skipped message.
pub(crate) const SEED: usize = 36;
