//! The handshake `Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s`, or the same with `AESGCM`, and the encryption of frames after it.
//!
//! Not a general implementation of Noise: one pattern, without a Noise prologue and without payloads. It consists of
//! primitives of crates that the workspace already uses; `snow` would add the random source of the operating system,
//! which a core must not have. (The Noise Protocol Framework, revision 34; dilation-protocol.md "Noise")

#[cfg(all(feature = "libsodium", not(target_arch = "wasm32")))]
mod aes;
mod cipher;

use blake2::{Blake2s256, Digest};
use curve25519_dalek::MontgomeryPoint;
use hkdf::SimpleHkdf;
use rand_core::{CryptoRng, RngCore};
use wormhole_kit::Secret;
use zeroize::{Zeroize, Zeroizing};

use cipher::KeyedCipher;
pub use cipher::{NoiseCipher, aes_is_available};

/// Size of each handshake message in bytes: a public key and the tag of an empty payload.
pub const HANDSHAKE: usize = PUBLIC + TAG;

/// A handshake message or a frame that was changed, or that does not come from the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a message of the encrypted connection was changed, or does not come from the peer")]
pub struct BadNoise;

/// The leader's half of the handshake, which waits for the follower's answer.
#[derive(Debug)]
pub struct Initiator {
    state: SymmetricState,
    ephemeral: Secret<32>,
}

impl Initiator {
    /// Starts; returns the first message.
    pub fn start(
        cipher: NoiseCipher,
        psk: &Secret<32>,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> (Self, [u8; HANDSHAKE]) {
        let ephemeral = random_key(rng);
        let mut state = SymmetricState::new(cipher, psk);
        let message = state.write_ephemeral(&ephemeral);
        (Self { state, ephemeral }, message)
    }

    /// Finishes with the answer: how to encrypt what we send, and to decrypt what the peer sends.
    ///
    /// # Errors
    /// The peer does not have the key; close the connection.
    pub fn finish(
        mut self,
        answer: &[u8; HANDSHAKE],
    ) -> Result<(FrameSealer, FrameOpener), BadNoise> {
        self.state.read_ephemeral(answer, Some(&self.ephemeral))?;
        let (ours, theirs) = self.state.split();
        Ok((FrameSealer(ours), FrameOpener(theirs)))
    }
}

/// The follower's half of the handshake: answers the leader's message.
///
/// # Errors
/// The peer does not have the key; close the connection.
pub fn respond(
    cipher: NoiseCipher,
    psk: &Secret<32>,
    message: &[u8; HANDSHAKE],
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<([u8; HANDSHAKE], FrameSealer, FrameOpener), BadNoise> {
    let mut state = SymmetricState::new(cipher, psk);
    let theirs = state.read_ephemeral(message, None)?;
    let ephemeral = random_key(rng);
    let answer = state.write_ephemeral_and_mix(&ephemeral, &theirs);
    let (to_follower, to_leader) = state.split();
    Ok((answer, FrameSealer(to_leader), FrameOpener(to_follower)))
}

fn random_key(rng: &mut (impl RngCore + CryptoRng)) -> Secret<32> {
    let mut key = Zeroizing::new([0; 32]);
    rng.fill_bytes(key.as_mut_slice());
    Secret::new(*key)
}

/// `SymmetricState` of the specification, with its `CipherState`, whose nonce is always 0 during this handshake.
#[derive(Debug)]
struct SymmetricState {
    cipher: NoiseCipher,
    chaining_key: Secret<32>,
    hash: [u8; 32],
    key: Secret<32>,
}

impl SymmetricState {
    /// Starts with the name of the protocol, an empty prologue, and the token `psk`.
    fn new(cipher: NoiseCipher, psk: &Secret<32>) -> Self {
        let name: [u8; 32] = Blake2s256::digest(cipher.protocol()).into();
        let (chaining_key, key) = (Secret::new(name), Secret::new([0; 32]));
        let mut state = Self { cipher, chaining_key, hash: name, key };
        state.mix_hash(&[]);
        let [chaining_key, hash, key] = hkdf(&state.chaining_key, psk.expose());
        state.mix_hash(hash.expose());
        (state.chaining_key, state.key) = (chaining_key, key);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Blake2s256::new().chain_update(self.hash).chain_update(data).finalize().into();
    }

    fn mix_key(&mut self, input: &[u8]) {
        let [chaining_key, key, _] = hkdf(&self.chaining_key, input);
        (self.chaining_key, self.key) = (chaining_key, key);
    }

    /// The token `e` of our message, and the tag of its empty payload.
    fn write_ephemeral(&mut self, ephemeral: &Secret<32>) -> [u8; HANDSHAKE] {
        let public = self.mix_own(ephemeral);
        self.finish_message(&public)
    }

    /// The tokens `e, ee` of our message, and the tag of its empty payload.
    fn write_ephemeral_and_mix(
        &mut self,
        ephemeral: &Secret<32>,
        theirs: &[u8; PUBLIC],
    ) -> [u8; HANDSHAKE] {
        let public = self.mix_own(ephemeral);
        self.mix_shared(ephemeral, theirs);
        self.finish_message(&public)
    }

    fn mix_own(&mut self, ephemeral: &Secret<32>) -> [u8; PUBLIC] {
        let public = MontgomeryPoint::mul_base_clamped(*ephemeral.expose()).to_bytes();
        self.mix_hash(&public);
        self.mix_key(&public);
        public
    }

    fn mix_shared(&mut self, ephemeral: &Secret<32>, theirs: &[u8; PUBLIC]) {
        let mut shared = MontgomeryPoint(*theirs).mul_clamped(*ephemeral.expose());
        self.mix_key(shared.as_bytes());
        shared.zeroize();
    }

    /// Encrypts an empty payload. The next key is used for nothing else, so its nonce is 0 as well.
    fn finish_message(&mut self, public: &[u8; PUBLIC]) -> [u8; HANDSHAKE] {
        let tag = self.keyed().seal(0, &self.hash, &mut []);
        // An empty payload is never too long.
        let tag = tag.unwrap_or_default();
        self.mix_hash(&tag);
        let mut message = [0; HANDSHAKE];
        let bytes = public.iter().chain(&tag);
        message.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        message
    }

    /// Reads the token `e`, and `ee` if we have sent our key already; checks the empty payload.
    fn read_ephemeral(
        &mut self,
        message: &[u8; HANDSHAKE],
        ours: Option<&Secret<32>>,
    ) -> Result<[u8; PUBLIC], BadNoise> {
        let (public, tag) = message.split_first_chunk::<PUBLIC>().ok_or(BadNoise)?;
        let tag: &[u8; TAG] = tag.try_into().map_err(|_| BadNoise)?;
        self.mix_hash(public);
        self.mix_key(public);
        if let Some(ours) = ours {
            self.mix_shared(ours, public);
        }
        self.keyed().open(0, &self.hash, &mut [], tag)?;
        self.mix_hash(tag);
        Ok(*public)
    }

    /// The keys of the two directions: from the leader to the follower, and back.
    fn split(&self) -> (CipherState, CipherState) {
        let [first, second, _] = hkdf(&self.chaining_key, &[]);
        [first, second].map(|key| CipherState::new(KeyedCipher::new(self.cipher, &key))).into()
    }

    fn keyed(&self) -> KeyedCipher {
        KeyedCipher::new(self.cipher, &self.key)
    }
}

/// `HKDF` of the specification, which is that of RFC 5869.
fn hkdf(chaining_key: &Secret<32>, input: &[u8]) -> [Secret<32>; 3] {
    let mut output = Zeroizing::new([[0; 32]; 3]);
    let derived = SimpleHkdf::<Blake2s256>::new(Some(chaining_key.expose()), input);
    let fits = derived.expand(&[], output.as_flattened_mut());
    debug_assert!(fits.is_ok(), "three hashes always fit into HKDF");
    output.map(Secret::new)
}

/// The key of one direction.
struct CipherState {
    cipher: KeyedCipher,
    counter: u64,
}

impl CipherState {
    const fn new(cipher: KeyedCipher) -> Self {
        Self { cipher, counter: 0 }
    }

    /// No connection sends 2^64 messages.
    const fn next_counter(&mut self) -> u64 {
        let counter = self.counter;
        self.counter += 1;
        counter
    }

    fn seal(&mut self, buffer: &mut [u8]) -> Result<[u8; TAG], BadNoise> {
        let counter = self.next_counter();
        self.cipher.seal(counter, &[], buffer)
    }

    fn open(&mut self, buffer: &mut [u8], tag: &[u8; TAG]) -> Result<(), BadNoise> {
        let counter = self.next_counter();
        self.cipher.open(counter, &[], buffer, tag)
    }
}

/// Encrypts frames, in order.
pub struct FrameSealer(CipherState);

impl FrameSealer {
    /// Encrypts a plaintext, given in two parts, into a frame with its length. A long one becomes several Noise messages
    /// in one frame.
    ///
    /// # Errors
    /// The plaintext is longer than [`MAX_PLAINTEXT`](super::frame::MAX_PLAINTEXT): a bug in the caller.
    pub fn seal(&mut self, head: &[u8], body: &[u8]) -> Result<Vec<u8>, BadNoise> {
        let plaintext = head.len() + body.len();
        let length = plaintext + TAG * plaintext.div_ceil(MAX_PIECE).max(1);
        if plaintext > super::frame::MAX_PLAINTEXT {
            return Err(BadNoise);
        }
        let prefix = u32::try_from(length).map_err(|_| BadNoise)?;
        let mut frame = Vec::with_capacity(super::frame::PREFIX + length);
        frame.extend_from_slice(&prefix.to_be_bytes());
        let mut parts = [head, body];
        loop {
            let start = frame.len();
            let mut room = MAX_PIECE;
            for part in &mut parts {
                let (now, later) = part.split_at(room.min(part.len()));
                frame.extend_from_slice(now);
                room -= now.len();
                *part = later;
            }
            let tag = self.0.seal(frame.get_mut(start..).unwrap_or_default())?;
            frame.extend_from_slice(&tag);
            if parts.iter().all(|part| part.is_empty()) {
                return Ok(frame);
            }
        }
    }
}

/// Decrypts frames, in order.
pub struct FrameOpener(CipherState);

impl FrameOpener {
    /// Decrypts the content of a frame, without its length.
    ///
    /// # Errors
    /// A frame was changed, dropped, repeated or reordered; close the connection.
    pub fn open(&mut self, mut body: Vec<u8>) -> Result<Vec<u8>, BadNoise> {
        let length = self.open_in_place(&mut body)?.len();
        body.truncate(length);
        Ok(body)
    }

    /// Like [`open`](Self::open). Returns the plaintext, which replaces the content.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn open_in_place<'a>(&mut self, body: &'a mut [u8]) -> Result<&'a [u8], BadNoise> {
        let (mut from, mut to) = (0, 0);
        loop {
            let end = body.len().min(from + MAX_PIECE + TAG);
            let tag_at = end.checked_sub(TAG).filter(|at| *at >= from).ok_or(BadNoise)?;
            let (before, rest) = body.split_at_mut(tag_at);
            let tag = rest.first_chunk().ok_or(BadNoise)?;
            self.0.open(before.get_mut(from..).ok_or(BadNoise)?, tag)?;
            if from != to {
                body.copy_within(from..tag_at, to);
            }
            to += tag_at - from;
            from = end;
            if from == body.len() {
                return body.get(..to).ok_or(BadNoise);
            }
        }
    }
}

impl std::fmt::Debug for FrameSealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameSealer").field("frames", &self.0.counter).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for FrameOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameOpener").field("frames", &self.0.counter).finish_non_exhaustive()
    }
}

/// Size of a public key in bytes.
const PUBLIC: usize = 32;

/// Size of a tag in bytes.
pub const TAG: usize = 16;

/// Maximum plaintext of a Noise message, which has at most 65535 bytes.
pub const MAX_PIECE: usize = 65535 - TAG;

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::super::frame::PREFIX;
    use super::*;

    type Pair = (FrameSealer, FrameOpener);

    const CHACHA: NoiseCipher = NoiseCipher::ChaChaPoly;

    fn pair() -> (Pair, Pair) {
        pair_with(CHACHA)
    }

    fn pair_with(cipher: NoiseCipher) -> (Pair, Pair) {
        let psk = Secret::new([7; 32]);
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let (initiator, first) = Initiator::start(cipher, &psk, rng);
        let (answer, sealer, opener) = respond(cipher, &psk, &first, rng).unwrap();
        (initiator.finish(&answer).unwrap(), (sealer, opener))
    }

    #[test]
    fn frames_open_in_the_order_they_were_sealed() {
        check_frames(CHACHA);
        if aes_is_available() {
            check_frames(NoiseCipher::AesGcm);
        }
    }

    fn check_frames(cipher: NoiseCipher) {
        let ((mut sealer, mut our_opener), (mut their_sealer, mut opener)) = pair_with(cipher);
        for length in [0, 1, MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1, 3 * MAX_PIECE, 200_000] {
            let plaintext = vec![7; length];
            let (head, body) = plaintext.split_at(length.min(9));
            let frame = sealer.seal(head, body).unwrap();
            assert_eq!(opener.open(frame[PREFIX..].to_vec()).unwrap(), plaintext);
            let back = their_sealer.seal(&plaintext, &[]).unwrap();
            assert_eq!(our_opener.open(back[PREFIX..].to_vec()).unwrap(), plaintext);
        }
    }

    #[test]
    fn a_frame_missing_repeated_cut_or_from_the_other_direction_is_refused() {
        let ((mut sealer, mut opener), (_, mut theirs)) = pair();
        let frames = [&b"1"[..], b"2"].map(|text| sealer.seal(text, &[]).unwrap());
        let body = |frame: &[u8]| frame[PREFIX..].to_vec();
        assert_eq!(opener.open(body(&frames[0])), Err(BadNoise));
        for length in 0..frames[0].len() - PREFIX {
            let cut = frames[0][PREFIX..PREFIX + length].to_vec();
            assert_eq!(pair().1.1.open(cut), Err(BadNoise), "{length}");
        }
        assert!(theirs.open(body(&frames[0])).is_ok());
        assert_eq!(theirs.open(body(&frames[0])), Err(BadNoise));
    }

    #[test]
    fn two_sides_with_different_ciphers_fail_in_the_handshake() {
        let (psk, rng) = (Secret::new([7; 32]), &mut ChaCha8Rng::seed_from_u64(1));
        let (_, first) = Initiator::start(NoiseCipher::AesGcm, &psk, rng);
        assert!(respond(CHACHA, &psk, &first, rng).is_err());
    }

    #[test]
    fn a_handshake_with_another_key_or_a_changed_message_fails() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let (psk, other) = (Secret::new([7; 32]), Secret::new([8; 32]));
        let (_, first) = Initiator::start(CHACHA, &psk, rng);
        assert!(respond(CHACHA, &other, &first, rng).is_err());
        for at in 0..HANDSHAKE * 8 {
            let mut changed = first;
            changed[at / 8] ^= 1 << (at % 8);
            assert!(respond(CHACHA, &psk, &changed, rng).is_err(), "bit {at}");
            let (initiator, first) = Initiator::start(CHACHA, &psk, rng);
            let (mut answer, ..) = respond(CHACHA, &psk, &first, rng).unwrap();
            answer[at / 8] ^= 1 << (at % 8);
            // The highest bit of a public key has no meaning, but it is part of the hash.
            assert!(initiator.finish(&answer).is_err(), "bit {at} of the answer");
        }
    }
}
