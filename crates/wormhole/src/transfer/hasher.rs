//! Computes the SHA-256 of received data, on another core if there is enough data.
//!
//! A receiver decrypts, hashes and writes, so it would be slower than the sender; with the hash on another
//! core, both take the same time. Copying the bytes for the thread costs a tenth of hashing them.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle, available_parallelism};

use sha2::{Digest, Sha256};
use wormhole_magic::transfer::ContentHash;

/// Hashes bytes in order.
pub(super) enum Hasher {
    Here { state: Sha256, seen: usize },
    HashThread(HashThread),
}

/// A hashing thread, and the chunk that is being filled for it.
pub(super) struct HashThread {
    chunk: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Sha256>,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self::Here { state: Sha256::new(), seen: 0 }
    }
}

impl ContentHash for Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Here { state, seen } => {
                Digest::update(state, bytes);
                let before = std::mem::replace(seen, seen.saturating_add(bytes.len()));
                if before < ENOUGH && *seen >= ENOUGH {
                    let beside = HashThread::start(state.clone());
                    if let Some(beside) = beside {
                        *self = Self::HashThread(beside);
                    }
                }
            }
            Self::HashThread(beside) => beside.update(bytes),
        }
    }

    fn finish(self) -> Option<[u8; 32]> {
        let state = match self {
            Self::Here { state, .. } => state,
            Self::HashThread(beside) => beside.finish()?,
        };
        Some(state.finalize().into())
    }
}

impl HashThread {
    /// Continues a hash on its own thread; `None` if there is no core for it.
    fn start(mut state: Sha256) -> Option<Self> {
        available_parallelism().ok().filter(|cores| cores.get() > 1)?;
        let (full, filled) = sync_channel::<Vec<u8>>(CHUNKS);
        let (emptied, empty) = channel();
        let hashing = move || {
            for mut chunk in filled {
                Digest::update(&mut state, &chunk);
                chunk.clear();
                // At the end, the receiver of the buffer may be gone.
                let _last = emptied.send(chunk);
            }
            state
        };
        let thread = Builder::new().name("wormhole hash".to_owned()).spawn(hashing).ok()?;
        Some(Self { chunk: Vec::with_capacity(CHUNK), full, empty, thread })
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = CHUNK.saturating_sub(self.chunk.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() >= CHUNK {
                self.hand_over();
            }
        }
    }

    /// Passes the chunk to the thread, waiting if it is behind, and continues with another.
    fn hand_over(&mut self) {
        let next = self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK));
        // If the thread has ended, this is noticed at the end.
        let _gone = self.full.send(std::mem::replace(&mut self.chunk, next));
    }

    fn finish(mut self) -> Option<Sha256> {
        self.hand_over();
        drop(self.full);
        self.thread.join().ok()
    }
}

/// Number of bytes from which a thread saves time.
const ENOUGH: usize = 1 << 20;

/// Bytes per chunk: small enough for the cache that the cores share.
const CHUNK: usize = 128 << 10;

/// Maximum number of chunks waiting for the thread. With those being filled and hashed, this limits
/// the memory.
const CHUNKS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_same_wherever_it_is_computed() {
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        for (length, piece) in [(0, 1), (5, 1), (ENOUGH, 70_000), (5_000_000, 65_521)] {
            let mut hasher = Hasher::new();
            bytes[..length].chunks(piece).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish(), Some(Sha256::digest(&bytes[..length]).into()));
        }
    }
}
