//! Removes attachments that are too old, and counts the others.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{AVATARS, Blobs, INCOMING};

impl Blobs {
    /// Removes attachments and incomplete uploads that are older than `age`, and counts the others.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn remove_older(&self, now: SystemTime, age: Duration) -> io::Result<()> {
        self.space.begin_count();
        let mut stored = 0_u64;
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            let is_incoming = folder.file_name() == INCOMING;
            let age = match folder.file_name() {
                _ if is_incoming => age.min(MAX_UPLOAD),
                // They stay as long as a profile names them.
                name if name == AVATARS => Duration::MAX,
                _ => age,
            };
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                // Another node may have removed it.
                let Ok(metadata) = file.metadata() else { continue };
                let is_old = metadata.modified()?.checked_add(age).is_some_and(|end| end < now);
                if is_old {
                    let _removed = fs::remove_file(file.path());
                } else if !is_incoming {
                    stored = stored.saturating_add(metadata.len());
                }
            }
        }
        self.space.end_count(stored);
        Ok(())
    }
}

/// Removes expired attachments now and once an hour, for ever.
pub(in crate::messaging) async fn expire(blobs: Arc<Blobs>, age: Duration) {
    loop {
        match blobs.run(move |blobs| blobs.remove_older(SystemTime::now(), age)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "could not remove expired attachments"),
            Err(error) => tracing::error!(%error, "could not remove expired attachments"),
        }
        tokio::time::sleep(EXPIRE_PERIOD).await;
    }
}

/// Age after which an incomplete upload is removed: at 8 KiB per second, the longest takes less.
const MAX_UPLOAD: Duration = Duration::from_secs(6 * 60 * 60);

/// Time between two removals of expired attachments.
pub(super) const EXPIRE_PERIOD: Duration = Duration::from_secs(60 * 60);
