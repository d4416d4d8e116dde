//! Records: the encrypted frames on the chosen connection (transit.rst "Records").
//!
//! A record is a 4-byte big-endian length, a 24-byte big-endian counter as nonce, a 16-byte MAC
//! and the ciphertext. Encryption and decryption work in place, in the caller's buffers, without
//! allocation.

use wormhole_kit::{Reader, Secret};

use super::keys::{Role, TransitKey};
use crate::secretbox::{MAC, NONCE, OVERHEAD, open_in_place, seal_in_place};

/// Encrypts the records of one direction, in order.
#[derive(Debug)]
pub struct Sealer {
    key: Secret<32>,
    counter: u64,
}

impl Sealer {
    /// Starts the records that `role` sends.
    pub fn new(key: &TransitKey, role: Role) -> Self {
        Self { key: key.record_key(role), counter: 0 }
    }

    /// Encrypts the record whose plaintext is in `record` after [`HEADER`] free bytes, which receive the
    /// header.
    ///
    /// # Errors
    /// `record` is shorter than a header or longer than [`MAX_RECORD`] allows: a bug in the caller.
    pub fn seal(&mut self, record: &mut [u8]) -> Result<(), BadRecord> {
        let too_long = BadRecord::TooLong(record.len());
        let (header, plaintext) =
            record.split_first_chunk_mut::<HEADER>().ok_or_else(|| too_long.clone())?;
        let length = u32::try_from(OVERHEAD + plaintext.len()).map_err(|_| too_long.clone())?;
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(too_long);
        }
        let nonce = nonce(self.counter);
        let mac = seal_in_place(&self.key, &nonce, plaintext);
        *header = join(length.to_be_bytes(), nonce, mac);
        // A connection never sends 2^64 records.
        self.counter += 1;
        Ok(())
    }

    /// Number of encrypted records.
    pub const fn records(&self) -> u64 {
        self.counter
    }

    /// Encrypts a plaintext into a new buffer. For small records.
    ///
    /// # Errors
    /// See [`Sealer::seal`].
    pub fn seal_to_vec(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, BadRecord> {
        let mut record = vec![0; HEADER];
        record.extend_from_slice(plaintext);
        self.seal(&mut record)?;
        Ok(record)
    }
}

/// Decrypts the records of one direction, in order.
#[derive(Debug)]
pub struct Opener {
    key: Secret<32>,
    counter: u64,
}

impl Opener {
    /// Starts the records that `from` sends.
    pub fn new(key: &TransitKey, from: Role) -> Self {
        Self { key: key.record_key(from), counter: 0 }
    }

    /// Decrypts the record in `record` and returns its plaintext.
    ///
    /// # Errors
    /// Records were changed, dropped, repeated or reordered; close the connection. The contents of `record` are then
    /// undefined.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a mut [u8], BadRecord> {
        let bad_length = BadRecord::Length(record.len());
        if record_length(record)? != Some(record.len()) {
            return Err(bad_length);
        }
        let (header, body) = record.split_first_chunk_mut::<HEADER>().ok_or(bad_length)?;
        let (nonce, mac) = split(header);
        if nonce != self::nonce(self.counter) {
            return Err(BadRecord::Nonce);
        }
        open_in_place(&self.key, &nonce, &mac, body).map_err(|_| BadRecord::Forged)?;
        self.counter += 1;
        Ok(body)
    }
}

/// Size of the record that starts with `bytes`, including its header; `None` if fewer than 4 bytes are
/// available.
///
/// # Errors
/// Too short for a record, or longer than [`MAX_RECORD`].
pub fn record_length(bytes: &[u8]) -> Result<Option<usize>, BadRecord> {
    let Ok(length) = Reader::new(bytes).u32_be() else { return Ok(None) };
    let length = usize::try_from(length).map_err(|_| BadRecord::TooLong(usize::MAX))?;
    if length < OVERHEAD {
        Err(BadRecord::Length(length))
    } else if length > MAX_RECORD - LENGTH {
        Err(BadRecord::TooLong(length))
    } else {
        Ok(Some(LENGTH + length))
    }
}

/// Why a record is invalid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BadRecord {
    /// It was modified, or does not come from the peer.
    #[error("a record was changed during the transfer")]
    Forged,
    /// No record has this length.
    #[error("invalid record length {0}")]
    Length(usize),
    /// A record is missing, repeated or out of order.
    #[error("a record came out of order")]
    Nonce,
    /// It is longer than our limit.
    #[error("a record of {0} bytes is too long")]
    TooLong(usize),
}

fn nonce(counter: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    if let Some(low) = nonce.last_chunk_mut() {
        *low = counter.to_be_bytes();
    }
    nonce
}

fn join(length: [u8; LENGTH], nonce: [u8; NONCE], mac: [u8; MAC]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let fields = length.into_iter().chain(nonce).chain(mac);
    header.iter_mut().zip(fields).for_each(|(to, byte)| *to = byte);
    header
}

fn split(header: &[u8; HEADER]) -> ([u8; NONCE], [u8; MAC]) {
    let mut fields = Reader::new(header.as_slice());
    let _length = fields.u32_be();
    let nonce = fields.array().unwrap_or([u8::MAX; NONCE]);
    (nonce, fields.array().unwrap_or_default())
}

const LENGTH: usize = 4;

/// Size of a record before its ciphertext: length, nonce and MAC.
pub const HEADER: usize = LENGTH + OVERHEAD;

/// Maximum size of a received record. The format allows 4 GiB; Python and Go send 16 KiB, wormhole-rs 4 KiB, and we
/// 64 KiB. Memory is only allocated as bytes arrive.
pub const MAX_RECORD: usize = HEADER + MAX_PLAINTEXT;

/// Maximum size of the plaintext of a record.
pub const MAX_PLAINTEXT: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TransitKey {
        TransitKey::new(Secret::new([5; 32]))
    }

    fn pair() -> (Sealer, Opener) {
        (Sealer::new(&key(), Role::Sender), Opener::new(&key(), Role::Sender))
    }

    #[test]
    fn records_open_in_the_order_they_were_sealed() {
        let (mut sealer, mut opener) = pair();
        for plaintext in [&b"hello"[..], b"", &[7; 70_000]] {
            let mut record = sealer.seal_to_vec(plaintext).unwrap();
            assert_eq!(record_length(&record), Ok(Some(record.len())));
            assert_eq!(opener.open(&mut record).unwrap(), plaintext);
        }
    }

    #[test]
    fn a_record_missing_repeated_or_from_the_other_direction_is_refused() {
        let (mut sealer, mut opener) = pair();
        let [mut first, mut second] = [b"1", b"2"].map(|text| sealer.seal_to_vec(text).unwrap());
        assert_eq!(opener.open(&mut second), Err(BadRecord::Nonce));
        assert!(opener.open(&mut first.clone()).is_ok());
        let mut again = first.clone();
        assert_eq!(opener.open(&mut again), Err(BadRecord::Nonce));
        let mut reflected = Opener::new(&key(), Role::Receiver);
        assert_eq!(reflected.open(&mut first), Err(BadRecord::Forged));
    }

    #[test]
    fn one_flipped_bit_anywhere_is_refused_and_the_true_record_still_opens() {
        let (mut sealer, mut opener) = pair();
        let mut record = sealer.seal_to_vec(b"hello").unwrap();
        for at in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(opener.open(&mut changed).is_err(), "bit {at}");
        }
        assert_eq!(opener.open(&mut record).unwrap(), b"hello");
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_anything_is_read() {
        assert_eq!(record_length(&[0, 0, 0]), Ok(None));
        assert_eq!(record_length(&[0, 0, 0, 0]), Err(BadRecord::Length(0)));
        assert_eq!(record_length(&[0, 0, 0, 39]), Err(BadRecord::Length(39)));
        assert_eq!(record_length(&[0, 0, 0, 40]), Ok(Some(44)));
        assert_eq!(record_length(&[0xff; 4]), Err(BadRecord::TooLong(0xffff_ffff)));
        assert_eq!(record_length(&[1, 0, 0, 0x28]), Ok(Some(MAX_RECORD)));
        assert_eq!(record_length(&[1, 0, 0, 0x29]), Err(BadRecord::TooLong(0x0100_0029)));
    }

    #[test]
    fn a_record_cut_short_is_refused() {
        let (mut sealer, mut opener) = pair();
        let record = sealer.seal_to_vec(b"hello").unwrap();
        for length in 0..record.len() {
            assert!(opener.open(&mut record[..length].to_vec()).is_err());
        }
    }

    #[test]
    fn the_counter_is_big_endian() {
        assert_eq!(nonce(256)[22..], [1, 0]);
    }
}
