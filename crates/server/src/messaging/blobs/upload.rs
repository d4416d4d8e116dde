//! One upload: written in pieces, and stored under its name when it is complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use data_encoding::HEXLOWER;
use tokio::task::JoinHandle;
use wormhole_disk::{durable, private};

use super::{BlobName, Blobs, INCOMING};
use crate::messaging::random;

/// An upload that is not complete. Dropping it removes what it has written.
#[derive(Debug)]
pub(in crate::messaging) struct Upload {
    blobs: Arc<Blobs>,
    name: BlobName,
    /// The file until it has its name.
    path: PathBuf,
    /// `None` if it was never created.
    file: Option<Arc<File>>,
    /// Bytes that were written after the last flush began.
    unflushed: u64,
    /// Brings what was written to the disk, while more arrives. Its error is not reported again.
    flush: Option<JoinHandle<io::Result<()>>>,
    /// Bytes for which room is reserved.
    reserved: u64,
    is_stored: bool,
}

/// Why an upload is not stored.
#[derive(Debug, thiserror::Error)]
pub(in crate::messaging) enum UploadError {
    #[error("an attachment with this name is being uploaded")]
    Arriving,
    #[error("an attachment with this name is already stored")]
    Exists,
    #[error("the storage for attachments is full")]
    Full,
    #[error("cannot write the attachment: {0}")]
    Io(#[from] io::Error),
}

impl Blobs {
    /// Begins to store an attachment under this name.
    ///
    /// # Errors
    /// It is stored or being uploaded, or cannot be written.
    pub(in crate::messaging) async fn begin(
        self: &Arc<Self>,
        name: BlobName,
    ) -> Result<Upload, UploadError> {
        if !self.space.begin(&name) {
            return Err(UploadError::Arriving);
        }
        let path = self.root.join(INCOMING).join(HEXLOWER.encode(&random::bytes::<20>()));
        let blobs = Arc::clone(self);
        let mut upload = Upload {
            blobs,
            name,
            path,
            file: None,
            unflushed: 0,
            flush: None,
            reserved: 0,
            is_stored: false,
        };
        self.run(move |blobs| {
            if blobs.path(&upload.name).exists() {
                return Err(UploadError::Exists);
            }
            upload.file = Some(Arc::new(private::create(&upload.path)?));
            Ok(upload)
        })
        .await?
    }
}

impl Upload {
    /// Writes more of it.
    ///
    /// # Errors
    /// There is no room, or the disk cannot be written.
    pub(in crate::messaging) async fn write(
        mut self,
        pieces: Vec<Bytes>,
    ) -> Result<Self, UploadError> {
        let bytes = pieces.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX)).sum();
        if !self.blobs.space.reserve(bytes) {
            return Err(UploadError::Full);
        }
        self.reserved = self.reserved.saturating_add(bytes);
        self.unflushed = self.unflushed.saturating_add(bytes);
        let blobs = Arc::clone(&self.blobs);
        let written = blobs.run(move |_| {
            if let Some(mut file) = self.file.as_deref() {
                pieces.iter().try_for_each(|piece| file.write_all(piece))?;
            }
            Ok::<_, io::Error>(self)
        });
        let mut upload = written.await??;
        upload.begin_flush().await?;
        Ok(upload)
    }

    /// Begins to flush, if enough was written and the last flush has ended. So the disk works all the time, and little
    /// is left at the end.
    async fn begin_flush(&mut self) -> io::Result<()> {
        let is_flushing = self.flush.as_ref().is_some_and(|flush| !flush.is_finished());
        if self.unflushed < FLUSH_BYTES || is_flushing {
            return Ok(());
        }
        self.end_flush().await?;
        self.unflushed = 0;
        if let Some(file) = self.file.clone() {
            let blobs = Arc::clone(&self.blobs);
            let flush = async move { blobs.run(move |_| file.sync_data()).await? };
            self.flush = Some(tokio::spawn(flush));
        }
        Ok(())
    }

    async fn end_flush(&mut self) -> io::Result<()> {
        match self.flush.take() {
            Some(flush) => flush.await.map_err(io::Error::other)?,
            None => Ok(()),
        }
    }

    /// Gives it its name. When this returns, everything is on the disk.
    ///
    /// # Errors
    /// An attachment with this name exists now, or the disk cannot be written.
    pub(in crate::messaging) async fn finish(mut self) -> Result<(), UploadError> {
        self.end_flush().await?;
        let blobs = Arc::clone(&self.blobs);
        blobs.run(move |_| self.store()).await?
    }

    fn store(mut self) -> Result<(), UploadError> {
        if let Some(file) = self.file.take() {
            file.sync_all()?;
        }
        let path = self.blobs.path(&self.name);
        create_folder(&path)?;
        link(&self.path, &path)?;
        self.is_stored = true;
        Ok(durable::sync_parent(&path)?)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.blobs.space.end(&self.name, self.reserved, self.is_stored);
        // It may be gone, or was never created.
        let path = std::mem::take(&mut self.path);
        let remove = move || drop(fs::remove_file(path));
        match tokio::runtime::Handle::try_current() {
            // A large file takes a while.
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// Creates the folder of this file, if somebody has removed it.
fn create_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.is_dir() => {
            private::create_directory(folder)?;
            durable::sync_parent(folder)
        }
        _ => Ok(()),
    }
}

/// Gives a file another name, unless there is a file with that name.
fn link(from: &Path, to: &Path) -> Result<(), UploadError> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(UploadError::Exists),
        Err(_) if to.exists() => Err(UploadError::Exists),
        // Some file systems have no links.
        Err(_) => Ok(fs::rename(from, to)?),
    }
}

/// Bytes after which a flush begins.
const FLUSH_BYTES: u64 = 8 << 20;
