//! Attachments: encrypted files that clients upload once and others download, in a directory that nodes may share.
//!
//! An upload is written to `incoming` and gets its final name when it is complete and on the disk. An existing name is
//! never replaced. The server cannot read an attachment, and does not know who uploaded it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use data_encoding::HEXLOWER;
use tokio::sync::mpsc;
use wormhole_disk::{durable, private};

use super::secrets;
use super::signed_url::UrlKey;

/// The directory of attachments.
#[derive(Debug)]
pub(super) struct Blobs {
    root: PathBuf,
    /// Signs the addresses of attachments.
    pub(super) key: UrlKey,
    /// Bytes of all attachments.
    stored: AtomicU64,
    max_stored: u64,
}

/// The name of a stored attachment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct BlobName(String);

/// Why an upload is not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("an attachment with this name is already stored")]
    Exists,
    #[error("the storage for attachments is full")]
    Full,
    /// The client has gone before the end.
    #[error("the upload is not complete")]
    Incomplete,
    #[error("cannot write the attachment: {0}")]
    Io(#[from] io::Error),
}

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

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Blobs {
    /// Opens the directory, or creates it.
    ///
    /// # Errors
    /// It cannot be used.
    pub(super) fn open(root: &Path, max_stored: u64) -> io::Result<Self> {
        private::create_directory(root)?;
        private::create_directory(&root.join(INCOMING))?;
        let key = UrlKey::load(&root.join("signing-key"))?;
        let blobs = Self { root: root.to_owned(), key, stored: AtomicU64::new(0), max_stored };
        blobs.remove_older(SystemTime::now(), Duration::MAX)?;
        Ok(blobs)
    }

    fn path(&self, name: &BlobName) -> PathBuf {
        // By the end of the name: numbers that grow are spread over all folders.
        let folder: String = name.0.chars().rev().take(2).collect();
        self.root.join(folder).join(&name.0)
    }

    /// Whether there is an attachment with this name.
    pub(super) fn exists(&self, name: &BlobName) -> bool {
        self.path(name).is_file()
    }

    /// Stores the pieces that arrive until `None`, under this name. Returns after everything is on the disk.
    ///
    /// # Errors
    /// Nothing is stored.
    pub(super) fn store(
        &self,
        name: &BlobName,
        mut pieces: mpsc::Receiver<Option<Bytes>>,
    ) -> Result<(), UploadError> {
        let path = self.path(name);
        let incoming = self.root.join(INCOMING).join(HEXLOWER.encode(&secrets::random::<20>()));
        let result = self.receive(&incoming, &mut pieces).and_then(|bytes| {
            if let Some(folder) = path.parent() {
                private::create_directory(folder)?;
            }
            // Unlike a rename, a link fails if the name exists.
            fs::hard_link(&incoming, &path).map_err(|error| {
                let exists = error.kind() == io::ErrorKind::AlreadyExists;
                if exists { UploadError::Exists } else { error.into() }
            })?;
            durable::sync_parent(&path)?;
            self.stored.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        });
        // Its content is stored under another name, or useless.
        let _removed = fs::remove_file(&incoming);
        result
    }

    fn receive(
        &self,
        path: &Path,
        pieces: &mut mpsc::Receiver<Option<Bytes>>,
    ) -> Result<u64, UploadError> {
        let (mut file, mut bytes) = (private::create(path)?, 0_u64);
        while let Some(piece) = pieces.blocking_recv().ok_or(UploadError::Incomplete)? {
            bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if bytes.saturating_add(self.stored.load(Ordering::Relaxed)) > self.max_stored {
                return Err(UploadError::Full);
            }
            file.write_all(&piece)?;
        }
        file.sync_all()?;
        Ok(bytes)
    }

    /// Opens an attachment, and returns its length.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(super) fn read(&self, name: &BlobName) -> io::Result<(File, u64)> {
        let file = File::open(self.path(name))?;
        let length = file.metadata()?.len();
        Ok((file, length))
    }

    /// Removes attachments and incomplete uploads that are older than `age`, and counts the others.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn remove_older(&self, now: SystemTime, age: Duration) -> io::Result<()> {
        let mut stored = 0_u64;
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            let limit = if folder.file_name() == INCOMING { age.min(MAX_UPLOAD) } else { age };
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                // Another node may have removed it.
                let Ok(metadata) = file.metadata() else { continue };
                let is_old = metadata.modified()?.checked_add(limit).is_some_and(|end| end < now);
                if is_old {
                    let _removed = fs::remove_file(file.path());
                } else {
                    stored = stored.saturating_add(metadata.len());
                }
            }
        }
        self.stored.store(stored, Ordering::Relaxed);
        Ok(())
    }
}

/// Sends this part of a file in pieces, until the receiver has gone.
pub(super) fn send_part(
    mut file: File,
    start: u64,
    length: u64,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
) {
    let read = |file: &mut File, left: u64| {
        let size = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let mut piece = vec![0; size];
        file.read_exact(&mut piece).map(|()| Bytes::from(piece))
    };
    let mut left = length;
    if let Err(error) = file.seek(SeekFrom::Start(start)) {
        let _gone = pieces.blocking_send(Err(error));
        return;
    }
    while left > 0 {
        let piece = read(&mut file, left);
        let is_last = piece.is_err();
        left -= piece.as_ref().map_or(0, |piece| u64::try_from(piece.len()).unwrap_or(left));
        if pieces.blocking_send(piece).is_err() || is_last {
            return;
        }
    }
}

/// Removes expired attachments once a day, for ever.
pub(super) async fn expire(blobs: Arc<Blobs>, age: Duration) {
    loop {
        tokio::time::sleep(EXPIRE_PERIOD).await;
        let blobs = Arc::clone(&blobs);
        let removed = move || blobs.remove_older(SystemTime::now(), age);
        match tokio::task::spawn_blocking(removed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "could not remove expired attachments"),
            Err(error) => tracing::error!(%error, "could not remove expired attachments"),
        }
    }
}

/// The folder of uploads that are not complete.
const INCOMING: &str = "incoming";

/// Age after which an incomplete upload is removed.
const MAX_UPLOAD: Duration = Duration::from_secs(24 * 60 * 60);

/// Time between two removals of expired attachments.
const EXPIRE_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes that are read from a file at once.
const PIECE: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("wormhole-blobs-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _left = fs::remove_dir_all(&self.0);
        }
    }

    fn store(blobs: &Blobs, id: u64, pieces: &[Option<&'static [u8]>]) -> Result<(), UploadError> {
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(piece.map(Bytes::from_static)).unwrap();
        }
        drop(sender);
        blobs.store(&BlobName::allocated(id), receiver)
    }

    fn content(blobs: &Blobs, id: u64) -> Option<Vec<u8>> {
        let (mut file, _) = blobs.read(&BlobName::allocated(id)).ok()?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        Some(content)
    }

    #[test]
    fn an_upload_is_stored_once_and_only_if_it_is_complete() {
        let folder = Folder::new("once");
        let blobs = Blobs::open(&folder.0, 100).unwrap();
        store(&blobs, 7, &[Some(b"one "), Some(b"blob"), None]).unwrap();
        assert_eq!(content(&blobs, 7).unwrap(), b"one blob");
        let again = store(&blobs, 7, &[Some(b"other"), None]);
        assert!(matches!(again, Err(UploadError::Exists)));
        assert_eq!(content(&blobs, 7).unwrap(), b"one blob");
        let cut = store(&blobs, 8, &[Some(b"half")]);
        assert!(matches!(cut, Err(UploadError::Incomplete)));
        assert_eq!(content(&blobs, 8), None);
        assert_eq!(fs::read_dir(folder.0.join(INCOMING)).unwrap().count(), 0);
    }

    #[test]
    fn the_storage_has_a_limit_that_a_restart_knows_and_expiry_frees() {
        let folder = Folder::new("limit");
        let blobs = Blobs::open(&folder.0, 10).unwrap();
        store(&blobs, 1, &[Some(b"12345678"), None]).unwrap();
        let blobs = Blobs::open(&folder.0, 10).unwrap();
        assert!(matches!(store(&blobs, 2, &[Some(b"123"), None]), Err(UploadError::Full)));
        let later = SystemTime::now() + Duration::from_secs(100);
        blobs.remove_older(later, Duration::from_secs(99)).unwrap();
        assert_eq!(content(&blobs, 1), None);
        store(&blobs, 2, &[Some(b"123"), None]).unwrap();
    }
}
