//! Attachments: encrypted files that clients upload once and others download, in a directory that nodes may share.
//!
//! An upload is written to `incoming`, or to `partial` if it can be continued, and gets its final name when it is complete and on
//! the disk. An existing name is never replaced. The server cannot read an attachment, and does not store who has uploaded it.
//!
//! Each piece is read or written by a short task of the thread pool, so that a slow client occupies no thread.

mod avatars;
mod expiry;
mod partial;
mod reader;
mod space;
mod upload;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, Semaphore};
use wormhole_disk::{durable, private};

use super::signed_url::UrlKey;
use super::store::Avatar;
pub(super) use avatars::expire_avatars;
pub(super) use expiry::{MAX_PARTIAL, expire};
use partial::PARTIAL;
pub(super) use partial::{PartialName, Progress};
pub(super) use reader::{BlobReader, PIECE};
use space::Space;
pub(super) use upload::{Upload, UploadError};

/// The directory of attachments.
#[derive(Debug)]
pub(super) struct Blobs {
    root: PathBuf,
    /// Signs the addresses of attachments.
    pub(super) key: UrlKey,
    space: Space,
    /// Limits the threads that work with files at the same time: other services use the same threads.
    threads: Semaphore,
    /// One of them is held while an upload of an account that can be continued begins, so that the account's limits are exact on
    /// this node. Waiting for it takes no thread.
    creating: [Arc<tokio::sync::Mutex<()>>; LOCKS],
    /// The locks of accounts.
    hasher: RandomState,
    /// Requests that write an upload which can be continued.
    writing: Mutex<HashMap<PartialName, Arc<Notify>>>,
}

/// The name of a stored attachment.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct BlobName(String);

impl BlobName {
    /// The name of an attachment with this id.
    pub(super) fn allocated(id: u64) -> Self {
        Self(id.to_string())
    }

    /// The name of an attachment with this id that is uploaded as a form. Differs from an allocated one, because
    /// everyone who knows the id may download it.
    pub(super) fn of_form(id: u64) -> Self {
        Self(format!("form-{id}"))
    }

    /// The name of a picture of a profile.
    pub(super) fn avatar(avatar: Avatar) -> Self {
        Self(format!("{}{}", avatars::PREFIX, avatar.to_text()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Blobs {
    /// Opens the directory, or creates it.
    ///
    /// # Errors
    /// It cannot be used.
    pub(super) fn open(root: &Path, max_bytes: u64) -> io::Result<Self> {
        let incoming = root.join(INCOMING);
        private::create_directory(root)?;
        private::create_directory(&incoming)?;
        private::create_directory(&root.join(AVATARS))?;
        private::create_directory(&root.join(PARTIAL))?;
        for folder in 0..FOLDERS {
            private::create_directory(&root.join(format!("{folder:02}")))?;
        }
        // The names of the folders.
        durable::sync_parent(&incoming)?;
        let key = UrlKey::load(&root.join("signing-key"))?;
        let threads = Semaphore::new(MAX_THREADS);
        let blobs = Self {
            root: root.to_owned(),
            key,
            space: Space::new(max_bytes),
            threads,
            creating: std::array::from_fn(|_| Arc::default()),
            hasher: RandomState::new(),
            writing: Mutex::default(),
        };
        blobs.remove_older(SystemTime::now(), Duration::MAX)?;
        Ok(blobs)
    }

    fn path(&self, name: &BlobName) -> PathBuf {
        if name.0.starts_with(avatars::PREFIX) {
            return self.root.join(AVATARS).join(&name.0);
        }
        // By the end of the name: numbers that grow are spread over all folders.
        let folder: String = name.0.chars().rev().take(2).collect();
        self.root.join(folder).join(&name.0)
    }

    /// Whether there is an attachment with this name.
    pub(super) async fn exists(self: &Arc<Self>, name: BlobName) -> bool {
        self.run(move |blobs| blobs.path(&name).is_file()).await.unwrap_or(false)
    }

    /// Runs a task that works with files, on a thread of the pool.
    async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> io::Result<T> {
        let _permit = self.threads.acquire().await.map_err(io::Error::other)?;
        let blobs = Arc::clone(self);
        tokio::task::spawn_blocking(move || task(&blobs)).await.map_err(io::Error::other)
    }
}

/// The folder of uploads that are not complete.
const INCOMING: &str = "incoming";

/// The folder of pictures of profiles.
const AVATARS: &str = "avatars";

/// Folders of stored attachments.
const FOLDERS: u32 = 100;

/// Locks of accounts: more than there are threads, so that an account seldom waits for another one.
const LOCKS: usize = 256;

/// Maximum number of threads that work with files at the same time.
const MAX_THREADS: usize = 64;

#[cfg(test)]
mod tests;
