//! Bytes on their way to the peer.
//!
//! Two nodes that have much to say to each other must both read while they write. So what stops the
//! reading is what reading brings about, and nothing else.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    frames: VecDeque<(Vec<u8>, FrameKind)>,
    /// How much of the first is gone.
    gone: usize,
    /// Bytes of answers, and of what is not in a bundle either.
    answers: usize,
    others: usize,
    /// When the last bytes were taken, or the first came.
    moved: Option<Instant>,
}

/// Why bytes are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FrameKind {
    /// The peer has said something.
    ArchiveReply,
    /// Envelopes are passed on. There is one bundle at a time, and the hub waits for its end.
    Messages,
    /// Somebody wants it.
    Other,
}

impl WriteQueue {
    pub(super) fn push(&mut self, frame: Vec<u8>, kind: FrameKind) {
        if self.frames.is_empty() {
            self.moved = Some(Instant::now());
        }
        if let Some(bytes) = self.counted(kind) {
            *bytes += frame.len();
        }
        self.frames.push_back((frame, kind));
    }

    /// Whether more may be read, which may want an answer.
    pub(super) const fn may_read(&self) -> bool {
        self.answers < MAX_ANSWERS
    }

    /// Whether more may be sent that is wanted.
    pub(super) const fn has_room(&self) -> bool {
        self.answers + self.others < MAX_OUTBOX
    }

    pub(super) fn front(&self) -> &[u8] {
        self.frames.front().and_then(|(frame, _)| frame.get(self.gone..)).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// So many bytes of the first frame were taken. Returns what it was, once it is gone.
    pub(super) fn written(&mut self, count: usize) -> Option<FrameKind> {
        self.moved = Some(Instant::now());
        self.gone += count;
        let (frame, kind) = self.frames.front().filter(|(frame, _)| self.gone >= frame.len())?;
        let (length, kind) = (frame.len(), *kind);
        self.frames.pop_front();
        self.gone = 0;
        if let Some(bytes) = self.counted(kind) {
            *bytes = bytes.saturating_sub(length);
        }
        Some(kind)
    }

    /// Where bytes of a kind are counted. A bundle is as long as the peer takes.
    const fn counted(&mut self, kind: FrameKind) -> Option<&mut usize> {
        match kind {
            FrameKind::ArchiveReply => Some(&mut self.answers),
            FrameKind::Messages => None,
            FrameKind::Other => Some(&mut self.others),
        }
    }

    pub(super) async fn flush(&mut self, writer: &mut OwnedWriteHalf) {
        while !self.is_empty() {
            match writer.write(self.front()).await {
                Ok(count) if count > 0 => self.written(count),
                _ => return,
            };
        }
        let _gone = writer.shutdown().await;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.moved.filter(|_| !self.is_empty()).map(|moved| moved + STALL)
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Bytes of answers that wait to be written before a link stops to read more.
const MAX_ANSWERS: usize = 64 * 1024;

/// Bytes beside the bundle that wait to be written before a link stops to take more.
const MAX_OUTBOX: usize = 256 * 1024;

/// Time in which nothing is taken of what waits. As in go-ethereum.
const STALL: Duration = Duration::from_secs(20);
