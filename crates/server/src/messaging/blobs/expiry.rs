//! Removes attachments that are too old, and counts the others.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
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
            for (path, bytes, modified) in files(&folder.path()) {
                if modified.checked_add(age).is_some_and(|end| end < now) {
                    let _removed = fs::remove_file(path);
                } else if !is_incoming {
                    stored = stored.saturating_add(bytes);
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
        for (path, length, modified) in files(&account) {
            if modified.checked_add(age).is_some_and(|end| end < now) {
                let _removed = fs::remove_file(path);
            } else if path.extension().is_none() {
                bytes = bytes.saturating_add(length);
            }
        }
        // It stays if it has uploads.
        let _used = fs::remove_dir(&account);
    }
    Ok(bytes)
}

/// The files of a folder, their lengths in bytes, and when they were written. What cannot be read is left out: another node may have
/// removed it, and it must not keep the others.
fn files(folder: &Path) -> impl Iterator<Item = (PathBuf, u64, SystemTime)> {
    let entries = fs::read_dir(folder).inspect_err(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(%error, folder = %folder.display(), "cannot read a folder of attachments");
        }
    });
    entries.into_iter().flatten().filter_map(|file| {
        let file = file.ok()?;
        let metadata = file.metadata().ok()?;
        Some((file.path(), metadata.len(), metadata.modified().ok()?))
    })
}

/// Removes expired attachments now and once an hour.
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
