//! How much room there is for attachments.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::BlobName;

/// The bytes of stored attachments, and of those that are being uploaded.
#[derive(Debug)]
pub(super) struct Space {
    max_bytes: u64,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    stored: u64,
    /// Those of `stored` that were stored while the directory is being counted.
    since_count: u64,
    /// Reserved by uploads that have not ended.
    arriving: u64,
    uploads: HashSet<BlobName>,
}

impl Space {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, used: Mutex::default() }
    }

    /// Registers an upload. False if this attachment is already being uploaded.
    pub(super) fn begin(&self, name: &BlobName) -> bool {
        self.lock().uploads.insert(name.clone())
    }

    /// Reserves space for more bytes of an upload. False if it is used up.
    pub(super) fn reserve(&self, bytes: u64) -> bool {
        let mut used = self.lock();
        let total = used.stored.saturating_add(used.arriving).saturating_add(bytes);
        if total > self.max_bytes {
            return false;
        }
        used.arriving = used.arriving.saturating_add(bytes);
        true
    }

    /// Ends an upload that has reserved these bytes, and of which so many stay.
    pub(super) fn end(&self, name: &BlobName, reserved: u64, stored: u64) {
        let mut used = self.lock();
        used.uploads.remove(name);
        used.arriving = used.arriving.saturating_sub(reserved);
        used.stored = used.stored.saturating_add(stored);
        used.since_count = used.since_count.saturating_add(stored);
    }

    /// So many stored bytes were removed.
    pub(super) fn release(&self, bytes: u64) {
        let mut used = self.lock();
        used.stored = used.stored.saturating_sub(bytes);
        used.since_count = used.since_count.saturating_sub(bytes);
    }

    /// The directory is going to be counted.
    pub(super) fn begin_count(&self) {
        self.lock().since_count = 0;
    }

    /// The directory has this many bytes. What was stored meanwhile may be one of them, and is added in any case.
    pub(super) fn end_count(&self, bytes: u64) {
        let mut used = self.lock();
        used.stored = bytes.saturating_add(used.since_count);
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
