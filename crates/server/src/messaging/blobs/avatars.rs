//! Pictures of profiles: files that stay as long as a profile names them.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::expiry::EXPIRE_PERIOD;
use super::{AVATARS, BlobName, Blobs};
use crate::messaging::store::{Avatar, ReadRows};
use crate::messaging::store_thread::Storage;

impl Blobs {
    /// Removes a file, if it exists.
    pub(in crate::messaging) async fn remove(self: &Arc<Self>, name: BlobName) {
        // Files that stay are removed later, see below.
        let _removed = self.run(move |blobs| fs::remove_file(blobs.path(&name))).await;
    }

    /// Pictures that were stored so long ago that their profiles name them, if any do.
    fn stored_avatars(&self, now: SystemTime) -> io::Result<Vec<Avatar>> {
        let mut stored = Vec::new();
        for file in fs::read_dir(self.root.join(AVATARS))? {
            let file = file?;
            let Ok(metadata) = file.metadata() else { continue };
            let is_old = metadata.modified()?.checked_add(UPLOAD_TIME).is_some_and(|end| end < now);
            let name = file.file_name();
            let avatar = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            stored.extend(avatar.and_then(Avatar::parse).filter(|_| is_old));
        }
        Ok(stored)
    }

    /// Removes pictures that no profile names: their owners have replaced them or removed their accounts.
    ///
    /// # Errors
    /// The directory cannot be read, or the database is not available.
    pub(super) async fn remove_unused_avatars(
        self: &Arc<Self>,
        storage: &Storage,
    ) -> io::Result<()> {
        let stored = self.run(|blobs| blobs.stored_avatars(SystemTime::now())).await??;
        for avatar in stored {
            let is_used = move |rows: &mut dyn ReadRows| rows.has_avatar(avatar);
            if !storage.read(is_used).await.map_err(io::Error::other)? {
                self.remove(BlobName::avatar(avatar)).await;
            }
        }
        Ok(())
    }
}

/// Removes unused pictures now and once an hour.
pub(in crate::messaging) async fn expire_avatars(blobs: Arc<Blobs>, storage: Storage) {
    loop {
        if let Err(error) = blobs.remove_unused_avatars(&storage).await {
            tracing::warn!(%error, "could not remove unused pictures of profiles");
        }
        tokio::time::sleep(EXPIRE_PERIOD).await;
    }
}

/// The beginning of the name of a picture.
pub(super) const PREFIX: &str = "avatar-";

/// Age after which the upload of a picture has ended for sure.
const UPLOAD_TIME: Duration = Duration::from_secs(6 * 60 * 60);
