//! Removes attachments that are too old, and counts the others.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{AVATARS, Blobs, INCOMING, PARTIAL};

impl Blobs {
    /// Removes attachments and incomplete uploads that are older than `age`, and counts the others.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn remove_older(&self, now: SystemTime, age: Duration) -> io::Result<()> {
        self.space.begin_count();
        let mut stored = remove_partials(&self.root.join(PARTIAL), now, age.min(MAX_PARTIAL))?;
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() || folder.file_name() == PARTIAL {
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

/// Removes uploads that nobody has continued for this long, and counts the bytes of the others.
fn remove_partials(folder: &Path, now: SystemTime, age: Duration) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for account in fs::read_dir(folder)? {
        let account = account?.path();
        for file in fs::read_dir(&account)? {
            let file = file?;
            // Another request may have removed it.
            let Ok(metadata) = file.metadata() else { continue };
            if metadata.modified()?.checked_add(age).is_some_and(|end| end < now) {
                let _removed = fs::remove_file(file.path());
            } else if file.path().extension().is_none() {
                bytes = bytes.saturating_add(metadata.len());
            }
        }
        // It stays if it has uploads.
        let _used = fs::remove_dir(&account);
    }
    Ok(bytes)
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

/// Age after which an upload that can be continued is removed. Its address is valid for as long.
pub(in crate::messaging) const MAX_PARTIAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Time between two removals of expired attachments.
pub(super) const EXPIRE_PERIOD: Duration = Duration::from_secs(60 * 60);
