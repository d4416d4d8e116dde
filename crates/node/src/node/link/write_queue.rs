//! Frames that wait to be written to a peer.
//!
//! Two nodes that have many envelopes for each other must both read while they write. So only replies,
//! which reading causes, stop the reading.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    frames: VecDeque<(Vec<u8>, FrameKind)>,
    /// Bytes of the first frame that are written already.
    written: usize,
    /// Bytes of replies in the queue.
    replies: usize,
    /// Bytes of frames of the kind `Other` in the queue.
    others: usize,
    /// When bytes were last written, or when the first frame was queued.
    progress: Option<Instant>,
}

/// Why a frame is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FrameKind {
    /// It forwards envelopes. The hub waits until it is written before it sends the next one.
    Messages,
    /// A client or the hub wants it.
    Other,
    /// It replies to a packet of the peer.
    Reply,
}

impl WriteQueue {
    /// Queues a frame.
    pub(super) fn push(&mut self, frame: Vec<u8>, kind: FrameKind) {
        if self.frames.is_empty() {
            self.progress = Some(Instant::now());
        }
        if let Some(bytes) = self.counted(kind) {
            *bytes += frame.len();
        }
        self.frames.push_back((frame, kind));
    }

    /// Whether the link may read more packets, which may cause replies.
    pub(super) const fn may_read(&self) -> bool {
        self.replies < MAX_REPLIES
    }

    /// Whether the link may take more commands of the hub.
    pub(super) const fn has_room(&self) -> bool {
        self.replies + self.others < MAX_BYTES
    }

    /// The bytes to write next.
    pub(super) fn front(&self) -> &[u8] {
        self.frames.front().and_then(|(frame, _)| frame.get(self.written..)).unwrap_or_default()
    }

    /// Whether everything is written.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The first `count` bytes have been written. Returns the kind of the first frame if that was its end.
    pub(super) fn written(&mut self, count: usize) -> Option<FrameKind> {
        self.progress = Some(Instant::now());
        self.written += count;
        let (frame, kind) = self.frames.front().filter(|(frame, _)| self.written >= frame.len())?;
        let (length, kind) = (frame.len(), *kind);
        self.frames.pop_front();
        self.written = 0;
        if let Some(bytes) = self.counted(kind) {
            *bytes = bytes.saturating_sub(length);
        }
        Some(kind)
    }

    /// The counter for bytes of a kind. Messages have none: there is one packet of them at a time.
    const fn counted(&mut self, kind: FrameKind) -> Option<&mut usize> {
        match kind {
            FrameKind::Reply => Some(&mut self.replies),
            FrameKind::Messages => None,
            FrameKind::Other => Some(&mut self.others),
        }
    }

    /// Writes everything, then closes the writing side.
    pub(super) async fn flush(&mut self, writer: &mut OwnedWriteHalf) {
        while !self.is_empty() {
            match writer.write(self.front()).await {
                Ok(count) if count > 0 => self.written(count),
                _ => return,
            };
        }
        let _closed = writer.shutdown().await;
    }

    /// When the peer has read nothing for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.progress.filter(|_| !self.is_empty()).map(|progress| progress + STALL_TIME)
    }

    /// Whether the peer has read nothing for too long.
    pub(super) fn is_stalled(&self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// The link stops reading while the queue has at least this many bytes of replies.
const MAX_REPLIES: usize = 64 * 1024;

/// The link accepts no commands while the queue has at least this many bytes, not counting messages.
const MAX_BYTES: usize = 256 * 1024;

/// A peer that reads nothing for this long is disconnected. As in go-ethereum.
const STALL_TIME: Duration = Duration::from_secs(20);
