//! RLPx frames: AES-256-CTR under a running keccak256 MAC (rlpx.md "Framing").
//!
//! ```text
//! header (16) ‖ header MAC (16) ‖ body, padded to 16 ‖ body MAC (16)
//! header = body size (3, big-endian) ‖ c2 80 80 ‖ zeros
//! ```
//!
//! Key stream and MAC run on through all frames of a link, so a frame that is lost, replayed,
//! changed or moved is noticed, and so is everything after it.

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
    /// Begins a direction: its MAC starts with `seed`, given in pieces.
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
    /// All that the MAC has seen, as geth prints it.
    pub(super) fn mac_digest(&self) -> [u8; 32] {
        self.mac.state.clone().finalize().into()
    }
}

/// Seals the frames we send.
pub struct Sealer(Keys);

impl Sealer {
    /// Seals one frame of `body`, given in pieces.
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

/// Opens the frames we receive, in order.
pub struct Opener(Keys);

impl Opener {
    /// Opens a header and tells how much follows.
    ///
    /// # Errors
    /// The MAC does not fit; nothing has changed, but the link is lost.
    pub fn header(&mut self, sealed: &[u8; SEALED_HEADER]) -> Result<BodySize, FrameError> {
        let (header, tag) = sealed.split_at(BLOCK);
        let mut header: [u8; BLOCK] = header.try_into().map_err(|_| FrameError::Forged)?;
        let mut mac = self.0.mac.clone();
        check(&mac.header(&header), tag)?;
        self.0.mac = mac;
        self.0.cipher.apply_keystream(&mut header);
        let [high, middle, low, ..] = header;
        // What follows in the header was for splitting messages, which nobody has ever done.
        Ok(BodySize(u32::from_be_bytes([0, high, middle, low])))
    }

    /// Opens the body that its header announced, where it stands.
    ///
    /// # Errors
    /// The MAC does not fit, or `sealed` is not [`BodySize::sealed`] long; nothing has changed, but
    /// the link is lost.
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

/// How many bytes a body has. The only way to one is a header whose MAC fits.
#[derive(Debug, Eq, PartialEq)]
pub struct BodySize(u32);

impl BodySize {
    fn new(length: usize) -> Result<Self, FrameError> {
        let too_long = FrameError::TooLong(length);
        let size = u32::try_from(length).map_err(|_| too_long)?;
        if length > MAX_FRAME { Err(too_long) } else { Ok(Self(size)) }
    }

    /// Bytes of the body itself.
    pub fn get(&self) -> usize {
        usize::try_from(self.0).unwrap_or(MAX_FRAME)
    }

    /// Bytes on the wire behind the header, padding and MAC included.
    pub fn sealed(&self) -> usize {
        self.padded().saturating_add(MAC)
    }

    fn padded(&self) -> usize {
        self.get().next_multiple_of(BLOCK)
    }
}

/// A MAC over everything that ever went one way.
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

    /// Stirs `seed` in, under the key, and tells the state.
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

/// Why a frame could not be sealed or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame is not what the other node sealed next.
    #[error("frame is forged or out of order")]
    Forged,
    /// We were asked to send this many bytes at once.
    #[error("frame of {0} bytes, more than {MAX_FRAME}")]
    TooLong(usize),
}

/// Most bytes a body can have: what fits into the three bytes of its size.
pub const MAX_FRAME: usize = 0xff_ffff;

/// Bytes of a header with its MAC.
pub const SEALED_HEADER: usize = BLOCK + MAC;

/// Bytes of a block of the cipher.
const BLOCK: usize = 16;

/// Bytes of a message authentication code.
const MAC: usize = 16;

/// What stands behind the size: an RLP list of two zeros, for a split that was never used.
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
