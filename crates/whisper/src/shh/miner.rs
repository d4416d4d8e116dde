//! Search for a nonce with enough proof of work, in resumable steps (docs/whisper-protocol.md "Envelope").
//!
//! The nonce is hashed last, so everything before it is hashed once, and each try costs one permutation
//! whatever the size of the envelope. The caller decides on which thread [`Miner::step`] runs and when to stop.
//! All back ends find the same nonce first.

use super::envelope::Draft;

mod keccak;
#[cfg(target_arch = "x86_64")]
mod simd;

use keccak::portable;

/// Searches for the nonce of one envelope.
///
/// ```
/// use wormhole_whisper::shh::{Draft, Miner, Topic};
///
/// let draft = Draft { expiry: 1_575_000_050, ttl: 50, topic: Topic([1, 2, 3, 4]), data: vec![0x42; 284] };
/// let mut miner = Miner::new(&draft, 12);
/// let nonce = loop {
///     if let Some(nonce) = miner.step(1024) {
///         break nonce;
///     }
/// };
/// assert_eq!(nonce, 6446);
/// let envelope = draft.finish(nonce);
/// assert!(envelope.work().as_f64() > 0.2);
/// ```
#[derive(Clone, Debug)]
pub struct Miner {
    task: Task,
    backend: Backend,
    aim: Aim,
    next: u64,
    tried: u64,
    best: Option<Best>,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// At this many leading zero bits.
    Bits(u32),
    /// Never: the caller stops the search and uses the best nonce.
    Best,
}

/// The best nonce so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Best {
    /// The nonce.
    pub nonce: u64,
    /// Leading zero bits of its hash.
    pub bits: u32,
}

impl Miner {
    /// Searches for the first nonce whose hash has at least `bits` leading zero bits.
    pub fn new(draft: &Draft, bits: u32) -> Self {
        Self::with_aim(draft, Aim::Bits(bits))
    }

    /// Searches for better and better nonces; see [`Miner::best`].
    pub fn for_best(draft: &Draft) -> Self {
        Self::with_aim(draft, Aim::Best)
    }

    fn with_aim(draft: &Draft, aim: Aim) -> Self {
        let task = Task::new(&draft.hashed_before_nonce());
        Self { task, backend: Backend::fastest(), aim, next: 0, tried: 0, best: None }
    }

    /// Starts at this nonce instead of 0, so that several miners can share the work.
    #[must_use]
    pub const fn starting_at(mut self, nonce: u64) -> Self {
        self.next = nonce;
        self
    }

    /// Uses this back end, for tests and measurements.
    #[must_use]
    pub const fn with_backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// Tries `tries` nonces, rounded up to the number that the back end tries at once. After a success, the next
    /// call continues after the found nonce.
    pub fn step(&mut self, tries: u64) -> Option<u64> {
        let end = self.tried.saturating_add(tries);
        while self.tried < end {
            let wanted = match self.aim {
                Aim::Bits(bits) => bits,
                Aim::Best => self.best.map_or(0, |best| best.bits + 1),
            };
            let Some(best) = self.search(end - self.tried, wanted) else { continue };
            if best.bits < wanted {
                continue;
            }
            self.best = Some(best);
            if matches!(self.aim, Aim::Bits(_)) {
                return Some(best.nonce);
            }
        }
        None
    }

    /// Tries up to `tries` nonces and stops at the first one with enough leading zeros in its first 64 bits.
    fn search(&mut self, tries: u64, bits: u32) -> Option<Best> {
        let batches = tries.div_ceil(self.backend.lanes());
        let found = self.task.search(self.backend, self.next, batches, mask(bits));
        let next = found.map_or_else(
            || self.next.wrapping_add(batches.saturating_mul(self.backend.lanes())),
            |nonce| nonce.wrapping_add(1),
        );
        self.tried = self.tried.saturating_add(next.wrapping_sub(self.next));
        self.next = next;
        found.map(|nonce| Best { nonce, bits: self.task.leading_zero_bits(nonce) })
    }

    /// The best nonce so far, if any was tried; with a target, the found one.
    pub const fn best(&self) -> Option<Best> {
        self.best
    }

    /// Number of nonces tried.
    pub const fn tried(&self) -> u64 {
        self.tried
    }
}

/// The bits of lane 0 that must be zero for `bits` (at most 64) leading zero bits: the hash begins with the least
/// significant byte of the lane.
fn mask(bits: u32) -> u64 {
    u64::MAX.checked_shl(64_u32.saturating_sub(bits)).unwrap_or(0).swap_bytes()
}

/// Implementations of the search.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Backend {
    /// 4 nonces at a time.
    Avx2,
    /// 8 nonces at a time.
    Avx512,
    /// One nonce at a time on any processor.
    Portable,
}

impl Backend {
    /// The fastest one that this processor supports.
    pub fn fastest() -> Self {
        let mut backends = [Self::Avx512, Self::Avx2].into_iter();
        backends.find(|backend| backend.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor supports it. Unsupported back ends fall back to the portable one.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => simd::has_avx2(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => simd::has_avx512(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Number of nonces tried at once.
    const fn lanes(self) -> u64 {
        match self {
            Self::Avx2 => 4,
            Self::Avx512 => 8,
            Self::Portable => 1,
        }
    }
}

/// The parts of the hash that do not depend on the nonce.
#[derive(Clone, Debug)]
struct Task {
    /// The state after absorbing the block with the nonce, but without the nonce itself.
    first: [u64; 25],
    /// The block after it, if nonce or padding do not fit into the first one.
    second: Option<[u64; 17]>,
    /// The lane in which the nonce begins, 0 to 16.
    nonce_lane: usize,
    /// The bit of that lane at which it begins: 0 to 56, a multiple of 8.
    shift: u32,
}

impl Task {
    /// Absorbs the bytes before the nonce.
    fn new(before: &[u8]) -> Self {
        let (blocks, rest) = before.as_chunks::<BLOCK>();
        let mut state = [0; 25];
        for block in blocks {
            state = portable::permute(absorbed(state, &words(block)));
        }
        let mut tail = rest.to_vec();
        tail.extend([0; NONCE]);
        tail.push(PADDING_START);
        tail.resize(if tail.len() > BLOCK { 2 * BLOCK } else { BLOCK }, 0);
        if let Some(last) = tail.last_mut() {
            *last |= PADDING_END;
        }
        let (blocks, _) = tail.as_chunks::<BLOCK>();
        let mut blocks = blocks.iter().map(words);
        let bit = u32::try_from(8 * (rest.len() % 8)).unwrap_or(0);
        Self {
            first: absorbed(state, &blocks.next().unwrap_or_default()),
            second: blocks.next(),
            nonce_lane: rest.len() / 8,
            shift: bit,
        }
    }

    /// The contribution of `nonce`, as big-endian bytes, to its lane and to the next one.
    const fn place(&self, nonce: u64) -> (u64, u64) {
        let word = nonce.swap_bytes();
        (word << self.shift, (word >> 1) >> (63 - self.shift))
    }

    /// Returns the first of `batches` times `backend.lanes()` nonces from `start` on for which lane 0 of the hash
    /// has no bit of `mask` set.
    fn search(&self, backend: Backend, start: u64, batches: u64, mask: u64) -> Option<u64> {
        let found = match backend {
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512 => simd::search_8(self, start, batches, mask),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx2 => simd::search_4(self, start, batches, mask),
            _ => None,
        };
        let tries = batches.saturating_mul(backend.lanes());
        found.unwrap_or_else(|| portable::search(self, start, tries, mask))
    }

    /// Leading zero bits of the hash with this nonce, 0 to 256.
    fn leading_zero_bits(&self, nonce: u64) -> u32 {
        let (low, high) = self.place(nonce);
        let mut state = self.first;
        let mut second = self.second;
        let next = match &mut second {
            Some(second) if self.nonce_lane == keccak::LAST_LANE => second.first_mut(),
            _ => state.get_mut(self.nonce_lane + 1),
        };
        if let Some(lane) = next {
            *lane ^= high;
        }
        if let Some(lane) = state.get_mut(self.nonce_lane) {
            *lane ^= low;
        }
        state = portable::permute(state);
        if let Some(second) = &second {
            state = portable::permute(absorbed(state, second));
        }
        super::work::leading_zero_bits(state.iter().take(4).flat_map(|lane| lane.to_le_bytes()))
    }
}

fn absorbed(mut state: [u64; 25], block: &[u64; 17]) -> [u64; 25] {
    state.iter_mut().zip(block).for_each(|(lane, word)| *lane ^= word);
    state
}

fn words(block: &[u8; BLOCK]) -> [u64; 17] {
    let (bytes, _) = block.as_chunks();
    let mut words = [0; 17];
    words.iter_mut().zip(bytes).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
    words
}

/// Block size of Keccak-256 in bytes.
const BLOCK: usize = 136;

/// Size of a nonce in bytes.
const NONCE: usize = 8;

/// First byte after the input: Keccak's padding, not that of SHA-3.
const PADDING_START: u8 = 0x01;

/// Added to the last byte of the last block.
const PADDING_END: u8 = 0x80;

#[cfg(test)]
mod tests;
