//! Credit: how much each side may send on a subchannel, as in TCP's windows.

use std::collections::VecDeque;

use super::MAX_UNPROCESSED;

/// The peer's credit on a subchannel.
#[derive(Debug)]
pub(super) struct Window {
    /// Bytes that the peer may still send.
    left: usize,
    /// The size of the window: such bytes, and those that the application has not processed.
    size: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { left: INITIAL_CREDIT, size: INITIAL_CREDIT }
    }
}

impl Window {
    pub(super) const fn left(&self) -> usize {
        self.left
    }

    /// The peer has sent this much. Returns whether it was allowed to.
    pub(super) const fn take(&mut self, bytes: usize) -> bool {
        let Some(left) = self.left.checked_sub(bytes) else { return false };
        self.left = left;
        true
    }

    /// Returns how much to allow in addition: nothing while more than half of the window is in use. The window doubles
    /// each time, as far as `pool`, the memory for all windows, allows it.
    pub(super) fn grow(&mut self, unprocessed: usize, pool: usize) -> usize {
        let used = self.left + unprocessed;
        if used > self.size / 2 {
            return 0;
        }
        let size = (2 * self.size).min(MAX_UNPROCESSED);
        // Each subchannel can go on, however many there are.
        let bytes = (size - used).min(pool).max(INITIAL_CREDIT.saturating_sub(used));
        self.left += bytes;
        self.size = (used + bytes).max(INITIAL_CREDIT);
        bytes
    }

    /// The peer sends no more. Returns what it could have sent.
    pub(super) const fn close(&mut self) -> usize {
        std::mem::replace(&mut self.left, 0)
    }
}

/// Our credit on a subchannel, and the data that wait for more.
#[derive(Debug)]
pub(super) struct Allowance {
    bytes: u64,
    waiting: VecDeque<Vec<u8>>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { bytes: u64::try_from(INITIAL_CREDIT).unwrap_or(0), waiting: VecDeque::new() }
    }
}

impl Allowance {
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn has_credit(&self) -> bool {
        self.bytes > 0 && !self.is_waiting()
    }

    /// Returns what may be sent now. The rest waits.
    pub(super) fn take(&mut self, mut data: Vec<u8>) -> Vec<u8> {
        if self.is_waiting() {
            self.waiting.push_back(data);
            return Vec::new();
        }
        let now = self.spend(data.len());
        if now < data.len() {
            self.waiting.push_back(data.split_off(now));
        }
        data
    }

    /// More may be sent. Returns what waited for that.
    pub(super) fn add(&mut self, bytes: u32) -> Vec<Vec<u8>> {
        self.bytes = self.bytes.saturating_add(u64::from(bytes));
        let mut sent = Vec::new();
        while self.bytes > 0
            && let Some(mut data) = self.waiting.pop_front()
        {
            let now = self.spend(data.len());
            if now < data.len() {
                self.waiting.push_front(data.split_off(now));
            }
            sent.push(data);
        }
        sent
    }

    /// Spends credit for at most this many bytes. Returns for how many.
    fn spend(&mut self, bytes: usize) -> usize {
        let now = usize::try_from(self.bytes).unwrap_or(usize::MAX).min(bytes);
        self.bytes -= u64::try_from(now).unwrap_or(0);
        now
    }
}

/// Bytes that each side may send on a new subchannel.
pub const INITIAL_CREDIT: usize = 64 << 10;
