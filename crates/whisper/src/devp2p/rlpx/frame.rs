//! RLPx frames: AES-256-CTR with a running keccak256 MAC (rlpx.md "Framing").
//!
//! ```text
//! header (16) ‖ header MAC (16) ‖ body, padded to 16 ‖ body MAC (16)
//! header = body size (3, big-endian) ‖ c2 80 80 ‖ zeros
//! ```
//!
//! Key stream and MAC continue through all frames of a connection, so a lost, replayed, changed or reordered
//! frame is detected, and no later frame is accepted.

use std::fmt;

use aes::{
    Aes256,
    cipher::{BlockEncrypt, KeyInit, KeyIvInit, StreamCipher},
};
use ctr::Ctr128BE;
use sha3::{Digest, Keccak256};
use subtle::ConstantTimeEq;

/// The keys of one direction.
pub(super) struct Keys {
    cipher: Ctr128BE<Aes256>,
    mac: RunningMac,
}

impl Keys {
    /// Initialises a direction; the MAC starts with `seed`, given in pieces.
    pub(super) fn new(encryption: &[u8; 32], mac: &[u8; 32], seed: &[&[u8]]) -> Self {
        let mut state = Keccak256::new();
        seed.iter().for_each(|piece| state.update(piece));
        Self {
            cipher: <Ctr128BE<Aes256> as KeyIvInit>::new(encryption.into(), &[0; BLOCK].into()),
            mac: RunningMac { key: Aes256::new(mac.into()), state },
        }
    }
}

#[cfg(test)]
impl Keys {
    /// The state of the MAC, as geth prints it.
    pub(super) fn mac_digest(&self) -> [u8; 32] {
        self.mac.state.clone().finalize().into()
    }
}

/// Encrypts outgoing frames.
pub struct Sealer(Keys);

impl Sealer {
    /// Encrypts one frame of `body`, given in pieces.
    ///
    /// # Errors
    /// The body is longer than [`MAX_FRAME`]; nothing has changed.
    pub fn seal(&mut self, body: &[&[u8]]) -> Result<Vec<u8>, FrameError> {
        let length = body.iter().map(|piece| piece.len()).sum();
        let size = BodySize::new(length)?;
        let mut header = [0; BLOCK];
        let [.., high, middle, low] = length.to_be_bytes();
        let start = [high, middle, low].into_iter().chain(HEADER_DATA);
        header.iter_mut().zip(start).for_each(|(to, from)| *to = from);

        let Keys { cipher, mac } = &mut self.0;
        cipher.apply_keystream(&mut header);
        let mut frame = Vec::with_capacity(SEALED_HEADER.saturating_add(size.sealed()));
        frame.extend(header);
        frame.extend(mac.header(&header));
        body.iter().for_each(|piece| frame.extend_from_slice(piece));
        frame.resize(SEALED_HEADER.saturating_add(size.padded()), 0);
        let padded = frame.get_mut(SEALED_HEADER..).unwrap_or_default();
        cipher.apply_keystream(padded);
        let tag = mac.body(padded);
        frame.extend(tag);
        Ok(frame)
    }
}

/// Decrypts incoming frames, in order.
pub struct Opener(Keys);

impl Opener {
    /// Decrypts a header and returns the size of the body.
    ///
    /// # Errors
    /// The MAC is wrong; nothing has changed, but the connection must be closed.
    pub fn header(&mut self, sealed: &[u8; SEALED_HEADER]) -> Result<BodySize, FrameError> {
        let (header, tag) = sealed.split_at(BLOCK);
        let mut header: [u8; BLOCK] = header.try_into().map_err(|_| FrameError::Forged)?;
        let mut mac = self.0.mac.clone();
        check(&mac.header(&header), tag)?;
        self.0.mac = mac;
        self.0.cipher.apply_keystream(&mut header);
        let [high, middle, low, ..] = header;
        // The rest of the header was meant for splitting messages, which no client does.
        Ok(BodySize(u32::from_be_bytes([0, high, middle, low])))
    }

    /// Decrypts the body for a header in place.
    ///
    /// # Errors
    /// The MAC is wrong, or the length of `sealed` is not [`BodySize::sealed`]; nothing has changed, but the
    /// connection must be closed.
    pub fn body<'b>(
        &mut self,
        size: BodySize,
        sealed: &'b mut [u8],
    ) -> Result<&'b [u8], FrameError> {
        let (body, tag) = sealed.split_at_mut_checked(size.padded()).ok_or(FrameError::Forged)?;
        let mut mac = self.0.mac.clone();
        check(&mac.body(body), tag)?;
        self.0.mac = mac;
        self.0.cipher.apply_keystream(body);
        body.get(..size.get()).ok_or(FrameError::Forged)
    }
}

/// The size of a body. Only a header with a valid MAC creates it.
#[derive(Debug, Eq, PartialEq)]
pub struct BodySize(u32);

impl BodySize {
    fn new(length: usize) -> Result<Self, FrameError> {
        let too_long = FrameError::TooLong(length);
        let size = u32::try_from(length).map_err(|_| too_long)?;
        if length > MAX_FRAME { Err(too_long) } else { Ok(Self(size)) }
    }

    /// Size of the body in bytes.
    pub fn get(&self) -> usize {
        usize::try_from(self.0).unwrap_or(MAX_FRAME)
    }

    /// Size of the encrypted body in bytes, including padding and MAC.
    pub fn sealed(&self) -> usize {
        self.padded().saturating_add(MAC)
    }

    fn padded(&self) -> usize {
        self.get().next_multiple_of(BLOCK)
    }
}

/// A MAC over all frames of one direction.
#[derive(Clone)]
struct RunningMac {
    key: Aes256,
    state: Keccak256,
}

impl RunningMac {
    fn header(&mut self, ciphertext: &[u8; BLOCK]) -> [u8; MAC] {
        self.step(ciphertext)
    }

    fn body(&mut self, ciphertext: &[u8]) -> [u8; MAC] {
        self.state.update(ciphertext);
        let seed = self.digest();
        self.step(&seed)
    }

    /// Adds `seed`, encrypted with the MAC key, and returns the new state.
    fn step(&mut self, seed: &[u8; BLOCK]) -> [u8; MAC] {
        let mut block = self.digest().into();
        self.key.encrypt_block(&mut block);
        block.iter_mut().zip(seed).for_each(|(to, other)| *to ^= other);
        self.state.update(block);
        self.digest()
    }

    fn digest(&self) -> [u8; MAC] {
        let digest: [u8; 32] = self.state.clone().finalize().into();
        let (half, _) = digest.split_first_chunk().unwrap_or((&[0; MAC], &[]));
        *half
    }
}

fn check(computed: &[u8; MAC], received: &[u8]) -> Result<(), FrameError> {
    if bool::from(computed.ct_eq(received)) { Ok(()) } else { Err(FrameError::Forged) }
}

impl From<Keys> for Sealer {
    fn from(keys: Keys) -> Self {
        Self(keys)
    }
}

impl From<Keys> for Opener {
    fn from(keys: Keys) -> Self {
        Self(keys)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(…)")
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener(…)")
    }
}

/// Why a frame could not be encrypted or decrypted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// The frame is not the next one that the other node sent.
    #[error("frame is forged or out of order")]
    Forged,
    /// The body to send is too long: this many bytes.
    #[error("frame of {0} bytes, more than {MAX_FRAME}")]
    TooLong(usize),
}

/// Maximum size of a body in bytes: the size field has three bytes.
pub const MAX_FRAME: usize = 0xff_ffff;

/// Size of an encrypted header with its MAC, in bytes.
pub const SEALED_HEADER: usize = BLOCK + MAC;

/// Block size of the cipher in bytes.
const BLOCK: usize = 16;

/// Size of a MAC in bytes.
const MAC: usize = 16;

/// The rest of a header: an RLP list of two zeros, for splitting messages, which no client does.
const HEADER_DATA: [u8; 3] = [0xc2, 0x80, 0x80];

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of one direction.
    fn ends() -> (Sealer, Opener) {
        let keys = || Keys::new(&[1; 32], &[2; 32], &[b"seed"]);
        (keys().into(), keys().into())
    }

    fn open(opener: &mut Opener, frame: &[u8]) -> Result<Vec<u8>, FrameError> {
        let (header, body) = frame.split_first_chunk().unwrap();
        let size = opener.header(header)?;
        assert_eq!(size.sealed(), body.len());
        Ok(opener.body(size, &mut body.to_vec())?.to_vec())
    }

    #[test]
    fn frames_of_every_length_open_in_order() {
        let (mut sealer, mut opener) = ends();
        for length in (0..70).chain([4096, 70_000]) {
            let body = vec![7; length];
            let frame = sealer.seal(&[&body]).unwrap();
            assert_eq!(open(&mut opener, &frame), Ok(body));
        }
    }

    #[test]
    fn a_forged_frame_leaves_the_opener_unchanged() {
        let (mut sealer, mut opener) = ends();
        let frame = sealer.seal(&[b"hello ", b"peer"]).unwrap();
        for place in 0..frame.len() {
            let mut forged = frame.clone();
            forged[place] ^= 1;
            let (header, body) = forged.split_first_chunk_mut().unwrap();
            let mut opener = ends().1;
            match opener.header(header) {
                Err(error) => assert_eq!(error, FrameError::Forged),
                Ok(size) => {
                    assert_eq!(opener.body(size, body), Err(FrameError::Forged), "byte {place}");
                    assert_eq!(body[..16], forged_body(&frame, place), "still the ciphertext");
                }
            }
        }
        assert_eq!(open(&mut opener, &frame).unwrap(), b"hello peer");
    }

    /// The first block of the body, with the bit at `place` of the frame flipped.
    fn forged_body(frame: &[u8], place: usize) -> Vec<u8> {
        let mut frame = frame.to_vec();
        frame[place] ^= 1;
        frame[SEALED_HEADER..SEALED_HEADER + 16].to_vec()
    }

    #[test]
    fn a_replayed_frame_and_a_skipped_frame_are_refused() {
        let (mut sealer, mut opener) = ends();
        let [first, second, third] = [b"1", b"2", b"3"].map(|body| sealer.seal(&[body]).unwrap());
        assert_eq!(open(&mut opener, &first).unwrap(), b"1");
        assert_eq!(open(&mut opener, &first), Err(FrameError::Forged));
        assert_eq!(open(&mut opener, &third), Err(FrameError::Forged));
        assert_eq!(open(&mut opener, &second).unwrap(), b"2");
        assert_eq!(open(&mut opener, &third).unwrap(), b"3");
    }

    #[test]
    fn a_body_beyond_three_bytes_of_size_is_refused() {
        let (mut sealer, mut opener) = ends();
        let huge = vec![0; MAX_FRAME + 1];
        assert_eq!(sealer.seal(&[&huge]), Err(FrameError::TooLong(MAX_FRAME + 1)));
        let frame = sealer.seal(&[b"after"]).unwrap();
        assert_eq!(open(&mut opener, &frame).unwrap(), b"after");
    }

    #[test]
    fn ciphers_do_not_print() {
        let (sealer, opener) = ends();
        assert_eq!(format!("{sealer:?} {opener:?}"), "Sealer(…) Opener(…)");
    }
}
