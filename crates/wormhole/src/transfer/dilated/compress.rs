//! Compresses the data of files where that makes the transfer faster (docs/dilated-transfer.md).
//!
//! Compressing costs time of the processor. It pays only if the connection is slower than the compressor, so that the sender
//! waits for it, and only for data that gets shorter.

use std::io;
use std::time::{Duration, Instant};

use zstd::bulk::{Compressor, Decompressor};

/// Decides whether to compress, and does it.
pub(super) struct Compression {
    /// `None` if the receiver does not decompress, or there is no memory.
    compressor: Option<Compressor<'static>>,
    pace: Pace,
    /// Whether the current chunk gets shorter; `None` until its first block was tried.
    pays: Option<bool>,
}

/// How fast the connection takes data.
struct Pace {
    start: Option<Instant>,
    /// Bytes that were sent since then, and how long the sender waited for the connection.
    sent: u64,
    waited: Duration,
    is_slow: bool,
}

impl Compression {
    /// Compresses only if the receiver decompresses.
    pub(super) fn new(is_supported: bool) -> Self {
        let compressor = is_supported.then(|| Compressor::new(LEVEL).ok()).flatten();
        let pace = Pace { start: None, sent: 0, waited: Duration::ZERO, is_slow: false };
        Self { compressor, pace, pays: None }
    }

    /// A chunk of a file begins: its first block shows whether it gets shorter.
    pub(super) const fn begin_chunk(&mut self) {
        self.pays = None;
    }

    /// Records that this many bytes were sent, which began and ended at these times.
    pub(super) fn sent(&mut self, bytes: usize, began: Instant, ended: Instant) {
        self.pace.sent(bytes, began, ended);
    }

    /// The compressed block, if compressing it makes the transfer faster.
    pub(super) fn block(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        if !self.pace.is_slow || self.pays == Some(false) || plain.len() < SHORTEST {
            return None;
        }
        // There is no room for more than pays.
        let mut compressed = Vec::with_capacity(plain.len() - plain.len() / SAVING);
        let outcome = self.compressor.as_mut()?.compress_to_buffer(plain, &mut compressed);
        let is_shorter = outcome.is_ok();
        self.pays.get_or_insert(is_shorter);
        is_shorter.then_some(compressed)
    }
}

impl Pace {
    fn sent(&mut self, bytes: usize, began: Instant, ended: Instant) {
        let start = *self.start.get_or_insert(began);
        self.sent = self.sent.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.waited = self.waited.saturating_add(ended.saturating_duration_since(began));
        let elapsed = ended.saturating_duration_since(start);
        if self.sent < WINDOW && elapsed < LONGEST_WINDOW {
            return;
        }
        // While it compresses, the sender waits less. As long as it waits at all, the connection is slower.
        let least_wait = elapsed / if self.is_slow { 16 } else { 2 };
        let fastest = Duration::from_secs(self.sent) / FAST;
        self.is_slow = self.waited >= least_wait && elapsed >= fastest;
        (self.start, self.sent, self.waited) = (Some(ended), 0, Duration::ZERO);
    }
}

/// Decompresses blocks.
#[derive(Default)]
pub(super) struct Decompression(Option<Decompressor<'static>>);

impl Decompression {
    /// Decompresses a block, which must have exactly this length then. It uses no more memory, whatever the peer has sent.
    ///
    /// # Errors
    /// It is not valid, or has another length.
    pub(super) fn block(&mut self, compressed: &[u8], plain: usize) -> io::Result<Vec<u8>> {
        let decompressor = match &mut self.0 {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new()?),
        };
        let mut block = Vec::with_capacity(plain);
        decompressor.decompress_to_buffer(compressed, &mut block)?;
        if block.len() == plain { Ok(block) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

/// The level of compression: the fastest of the usual ones.
const LEVEL: i32 = 1;

/// A block must get shorter by at least one part of so many.
const SAVING: usize = 8;

/// Blocks with fewer bytes are not compressed.
const SHORTEST: usize = 4 << 10;

/// After so many bytes or so much time, the pace is looked at.
const WINDOW: u64 = 1 << 20;
const LONGEST_WINDOW: Duration = Duration::from_millis(250);

/// In bytes per second: a connection that is faster than this gains nothing.
const FAST: u32 = 100 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Text-like contents, and contents without any pattern.
    fn blocks() -> [Vec<u8>; 2] {
        let text = (0..4000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let mut state = 1_u64;
        let random = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        });
        [text, random.take(40_000).collect()]
    }

    /// Lets the sender send two MiB from this time on: each block takes some time, of which the sender waits a part. Returns the
    /// time after that.
    fn send(
        compression: &mut Compression,
        start: Instant,
        time: Duration,
        waits: Duration,
    ) -> Instant {
        (0..32).fold(start, |now, _| {
            compression.sent(64 << 10, now, now + waits);
            now + time
        })
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn text_is_compressed_on_a_slow_connection_and_data_without_patterns_is_not() {
        let [text, random] = blocks();
        let mut compression = Compression::new(true);
        send(&mut compression, Instant::now(), 10 * MS, 9 * MS);
        let compressed = compression.block(&text).unwrap();
        assert!(compressed.len() < text.len() / 3, "{}", compressed.len());
        let mut decompression = Decompression::default();
        assert!(decompression.block(&compressed, text.len()).unwrap() == text);
        compression.begin_chunk();
        assert_eq!(compression.block(&random), None);
        // The rest of the chunk is not tried, and the next one is.
        assert_eq!(compression.block(&text), None);
        compression.begin_chunk();
        assert!(compression.block(&text).is_some());
        assert_eq!(compression.block(&text[..100]), None);
    }

    #[test]
    fn nothing_is_compressed_unless_the_sender_waits_for_a_slow_connection() {
        let [text, _] = blocks();
        let is_compressed = |time, waits| {
            let mut compression = Compression::new(true);
            send(&mut compression, Instant::now(), time, waits);
            compression.block(&text).is_some()
        };
        assert!(is_compressed(10 * MS, 9 * MS));
        // The source is slow; or the connection takes 640 MiB/s.
        assert!(!is_compressed(10 * MS, MS));
        assert!(!is_compressed(MS / 10, MS / 11));
        assert!(Compression::new(true).block(&text).is_none());
        let mut unsupported = Compression::new(false);
        send(&mut unsupported, Instant::now(), 10 * MS, 9 * MS);
        assert!(unsupported.block(&text).is_none());
    }

    #[test]
    fn compressing_ends_when_the_sender_does_not_wait_any_more() {
        let [text, _] = blocks();
        let mut compression = Compression::new(true);
        let now = send(&mut compression, Instant::now(), 10 * MS, 9 * MS);
        let now = send(&mut compression, now, 10 * MS, MS);
        assert!(compression.block(&text).is_some());
        send(&mut compression, now, 10 * MS, Duration::ZERO);
        assert!(compression.block(&text).is_none());
    }

    #[test]
    fn a_bomb_and_damaged_blocks_are_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 1 << 30 >> 3], 1).unwrap();
        let mut decompression = Decompression::default();
        assert!(bomb.len() < 100 << 10);
        assert!(decompression.block(&bomb, 64 << 10).is_err());
        let block = zstd::bulk::compress(&[1; 5000], 1).unwrap();
        for wrong in [0, 4999, 5001] {
            assert!(decompression.block(&block, wrong).is_err(), "{wrong}");
        }
        assert!(decompression.block(&block[..block.len() - 1], 5000).is_err());
        assert!(decompression.block(b"", 5000).is_err());
        assert_eq!(decompression.block(&block, 5000).unwrap(), [1; 5000]);
    }
}
