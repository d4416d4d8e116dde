//! One upload: written in pieces, and stored under its name when it is complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use data_encoding::HEXLOWER;
use tokio::task::JoinHandle;
use wormhole_disk::{durable, private};

use super::partial::{Progress, Resumable};
use super::{BlobName, Blobs, INCOMING};
use crate::messaging::random;

/// An upload that is not complete. Dropping it removes what it has written, unless it can be continued.
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
    /// Those of them that are in the file.
    written: u64,
    is_stored: bool,
    /// Set if it can be continued.
    resumable: Option<Resumable>,
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
    #[error("no such upload")]
    NotFound,
    #[error("the upload is at another offset")]
    Offset(Progress),
    #[error("the account has too many uploads")]
    TooMany,
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
            written: 0,
            is_stored: false,
            resumable: None,
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
    /// An upload that is continued. The file is locked, and its next byte is written where it ends.
    pub(super) fn resumed(
        blobs: Arc<Blobs>,
        path: PathBuf,
        file: File,
        resumable: Resumable,
    ) -> Self {
        Self {
            blobs,
            name: resumable.name.blob(),
            path,
            file: Some(Arc::new(file)),
            unflushed: 0,
            flush: None,
            reserved: 0,
            written: 0,
            is_stored: false,
            resumable: Some(resumable),
        }
    }

    /// Ends when another request wants to continue this upload.
    pub(in crate::messaging) fn interrupted(&self) -> impl Future<Output = ()> + use<> {
        let interrupted = self.resumable.as_ref().map(Resumable::interrupted);
        async move {
            match interrupted {
                Some(interrupted) => interrupted.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Bytes that are missing, if the upload can be continued.
    pub(in crate::messaging) fn left(&self) -> u64 {
        let length = self.resumable.as_ref().map_or(0, |resumable| resumable.progress.length);
        length.saturating_sub(self.offset())
    }

    /// Where the next byte belongs, if the upload can be continued.
    fn offset(&self) -> u64 {
        self.resumable.as_ref().map_or(self.written, |resumable| self.offset_of(resumable))
    }

    const fn offset_of(&self, resumable: &Resumable) -> u64 {
        resumable.progress.offset.saturating_add(self.written)
    }

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
        let blobs = Arc::clone(&self.blobs);
        let written = blobs.run(move |_| {
            if let Some(mut file) = self.file.as_deref() {
                pieces.iter().try_for_each(|piece| file.write_all(piece))?;
            }
            self.written = self.written.saturating_add(bytes);
            self.unflushed = self.unflushed.saturating_add(bytes);
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
            let state = self.resumable.as_ref().map(|resumable| resumable.state.clone());
            let offset = self.offset();
            let flush = async move {
                let flush = move || {
                    file.sync_data()?;
                    state.map_or(Ok(()), |state| state.store(offset))
                };
                blobs.run(move |_| flush()).await?
            };
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

    /// Gives it its name, unless it is to be continued. When this returns, everything is on the disk. Returns how many bytes
    /// the server has.
    ///
    /// # Errors
    /// An attachment with this name exists now, or the disk cannot be written.
    pub(in crate::messaging) async fn finish(mut self) -> Result<u64, UploadError> {
        self.end_flush().await?;
        let blobs = Arc::clone(&self.blobs);
        blobs.run(move |_| self.store()).await?
    }

    fn store(mut self) -> Result<u64, UploadError> {
        let offset = self.offset();
        let file = self.file.take();
        if let Some(file) = &file {
            file.sync_all()?;
        }
        match &self.resumable {
            Some(resumable) if offset < resumable.progress.length => {
                resumable.state.store(offset)?;
            }
            Some(resumable) => resumable.complete(&self.blobs, &self.path)?,
            None => store_under(&self.path, &self.blobs.path(&self.name))?,
        }
        self.is_stored = true;
        // The lock is held until here.
        drop(file);
        Ok(offset)
    }

    /// Stores how much of an upload has arrived that can be continued.
    fn keep(&mut self) {
        let Some(resumable) = self.resumable.take() else { return };
        let (offset, blobs) = (self.offset_of(&resumable), Arc::clone(&self.blobs));
        let file = self.file.take();
        in_background(move || {
            // If this fails, the client repeats a little more.
            let _kept = file.map(|file| {
                file.sync_data()?;
                resumable.state.store(offset)
            });
            resumable.end(&blobs);
        });
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let stays = self.is_stored || self.resumable.is_some();
        let stored = if stays { self.written } else { 0 };
        self.blobs.space.end(&self.name, self.reserved, stored);
        if self.resumable.is_some() {
            return self.keep();
        }
        // It may be gone, or was never created.
        let path = std::mem::take(&mut self.path);
        in_background(move || drop(fs::remove_file(path)));
    }
}

/// Does something that may take a while, such as removing a large file.
fn in_background(task: impl FnOnce() + Send + 'static) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(task)),
        Err(_) => task(),
    }
}

/// Gives a file its final name. When this returns, the name is on the disk.
pub(super) fn store_under(from: &Path, path: &Path) -> Result<(), UploadError> {
    create_folder(path)?;
    link(from, path)?;
    Ok(durable::sync_parent(path)?)
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
