//! Uploads that can be continued: what has arrived stays in the directory `partial`, and the client asks how much that is.
//!
//! Each account has a folder there. An upload has two files: its bytes, and a short text with its length and with how many
//! of its bytes are certainly on the disk. Only these count, so nothing is promised that a power failure could take back.
//!
//! A lock on the file of the bytes lets one request write at a time, also if nodes share the directory.

use std::fs::{self, File};
use std::hash::BuildHasher as _;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use wormhole_disk::{durable, private};

use super::upload::{Upload, UploadError, store_under};
use super::{BlobName, Blobs};

/// An upload that can be continued.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(in crate::messaging) struct PartialName {
    /// The pseudonym of the account.
    owner: String,
    id: u64,
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct Progress {
    /// Bytes of the whole attachment.
    pub(in crate::messaging) length: u64,
    /// Bytes that the server has.
    pub(in crate::messaging) offset: u64,
}

/// The part of an [`Upload`] that only one which can be continued has.
#[derive(Debug)]
pub(super) struct Resumable {
    pub(super) name: PartialName,
    pub(super) progress: Progress,
    pub(super) state: StateFile,
    interrupt: Arc<Notify>,
}

/// Where the progress is stored. It never goes back.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    length: u64,
    stored: Arc<Mutex<u64>>,
}

impl PartialName {
    /// The upload of this attachment. `None` if the account has no valid pseudonym.
    pub(in crate::messaging) fn new(owner: &str, id: u64) -> Option<Self> {
        let is_valid = !owner.is_empty() && owner.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_valid.then(|| Self { owner: owner.to_owned(), id })
    }

    /// The name of the attachment when it is complete.
    pub(in crate::messaging) fn blob(&self) -> BlobName {
        BlobName::of_form(self.id)
    }
}

impl Blobs {
    /// Begins an upload that can be continued, unless it has begun with the same length. The account's oldest uploads are
    /// removed if it has too many.
    ///
    /// # Errors
    /// It is stored, it has begun with another length, or the account is uploading too much.
    pub(in crate::messaging) async fn create_partial(
        self: &Arc<Self>,
        name: PartialName,
        length: u64,
    ) -> Result<(), UploadError> {
        let one = self.creating(&name.owner).lock_owned().await;
        self.run(move |blobs| {
            let _one = one;
            if blobs.path(&name.blob()).exists() {
                return Err(UploadError::Exists);
            }
            let (data, state) = blobs.partial_paths(&name);
            if data.exists() && state.exists() {
                let is_same = read_state(&state)?.length == length;
                return if is_same { Ok(()) } else { Err(UploadError::Exists) };
            }
            let folder = blobs.partial_folder(&name);
            private::create_directory(&folder)?;
            durable::sync_parent(&folder)?;
            blobs.make_space(&folder, length)?;
            write_state(&state, Progress { length, offset: 0 })?;
            private::create_if_missing(&data)?;
            Ok(durable::sync_parent(&data)?)
        })
        .await?
    }

    /// The lock of an account.
    fn creating(&self, owner: &str) -> Arc<tokio::sync::Mutex<()>> {
        let hash = self.hasher.hash_one(owner);
        let [first, ..] = hash.to_le_bytes();
        let lock = self.creating.get(usize::from(first)).unwrap_or(&self.creating[0]);
        Arc::clone(lock)
    }

    /// How far an upload is. A request that is still writing it is ended: its client has probably lost the connection.
    ///
    /// # Errors
    /// There is no such upload, or the request does not end.
    pub(in crate::messaging) async fn progress(
        self: &Arc<Self>,
        name: PartialName,
    ) -> Result<Progress, UploadError> {
        let blob = name.blob();
        let stored = self.run(move |blobs| fs::metadata(blobs.path(&blob))).await?;
        if let Ok(stored) = stored {
            return Ok(Progress { length: stored.len(), offset: stored.len() });
        }
        let file = self.lock_partial(&name).await?;
        let (_, state) = self.partial_paths(&name);
        self.run(move |_| {
            let progress = usable(&file, read_state(&state)?)?;
            drop(file);
            Ok(progress)
        })
        .await?
    }

    /// Continues an upload at this offset. The result of [`Upload::interrupted`] says when another request wants to do so.
    ///
    /// # Errors
    /// There is no such upload, it is at another offset, or another request is still writing it.
    pub(in crate::messaging) async fn resume(
        self: &Arc<Self>,
        name: PartialName,
        offset: u64,
    ) -> Result<Upload, UploadError> {
        let file = self.lock_partial(&name).await?;
        let (data, state) = self.partial_paths(&name);
        self.run(move |blobs| {
            blobs.refuse_stored(&name, &data, &state)?;
            let progress = usable(&file, read_state(&state)?)?;
            if progress.offset != offset {
                return Err(UploadError::Offset(progress));
            }
            let surplus = file.metadata()?.len().saturating_sub(offset);
            file.set_len(offset)?;
            blobs.space.release(surplus);
            (&file).seek(SeekFrom::Start(offset))?;
            let interrupt = blobs.register(&name);
            let stored = Arc::new(Mutex::new(offset));
            let state = StateFile { path: state, length: progress.length, stored };
            let resumable = Resumable { name, progress, state, interrupt };
            Ok(Upload::resumed(Arc::clone(blobs), data, file, resumable))
        })
        .await?
    }

    /// Removes an upload that is not complete.
    ///
    /// # Errors
    /// There is no such upload, or another request is still writing it.
    pub(in crate::messaging) async fn remove_partial(
        self: &Arc<Self>,
        name: PartialName,
    ) -> Result<(), UploadError> {
        let file = self.lock_partial(&name).await?;
        let (data, state) = self.partial_paths(&name);
        self.run(move |blobs| {
            blobs.refuse_stored(&name, &data, &state)?;
            Ok(blobs.remove_files(&data, &state, &file)?)
        })
        .await?
    }

    /// Refuses to change an upload that is complete: its file is that of the attachment. Call it with the lock. A crash has left
    /// the old name, which is removed now.
    fn refuse_stored(
        &self,
        name: &PartialName,
        data: &Path,
        state: &Path,
    ) -> Result<(), UploadError> {
        if !self.path(&name.blob()).exists() {
            return Ok(());
        }
        for file in [data, state] {
            // If it stays, it is removed when it is old.
            let _left = fs::remove_file(file);
        }
        Err(UploadError::Exists)
    }

    fn remove_files(&self, data: &Path, state: &Path, file: &File) -> io::Result<()> {
        let length = file.metadata()?.len();
        fs::remove_file(data)?;
        self.space.release(length);
        // It means nothing without the other.
        let _left = fs::remove_file(state);
        Ok(())
    }

    /// Ends another request that writes an upload, and waits for its end.
    async fn lock_partial(self: &Arc<Self>, name: &PartialName) -> Result<File, UploadError> {
        let (data, _) = self.partial_paths(name);
        for _ in 0..LOCK_ATTEMPTS {
            self.interrupt(name);
            let path = data.clone();
            match self.run(move |_| try_lock(&path)).await?? {
                Some(file) => return Ok(file),
                None => sleep(LOCK_PAUSE).await,
            }
        }
        Err(UploadError::Arriving)
    }

    /// Asks a request of this node that is writing an upload to end.
    fn interrupt(&self, name: &PartialName) {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(interrupt) = writing.get(name) {
            interrupt.notify_one();
        }
    }

    fn register(&self, name: &PartialName) -> Arc<Notify> {
        let interrupt = Arc::new(Notify::new());
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.insert(name.clone(), Arc::clone(&interrupt));
        interrupt
    }

    /// Removes the oldest uploads of an account until there is room for one of this length.
    fn make_space(&self, folder: &Path, length: u64) -> Result<(), UploadError> {
        let mut uploads = Vec::new();
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_none() {
                let state = path.with_extension(STATE);
                let length = read_state(&state).map_or(u64::MAX, |state| state.length);
                let modified = fs::metadata(&path).and_then(|file| file.modified())?;
                uploads.push((modified, length, path));
            }
        }
        uploads.sort_unstable();
        let mut bytes = uploads.iter().fold(length, |sum, (_, next, _)| sum.saturating_add(*next));
        let mut count = uploads.len();
        for (_, length, data) in &uploads {
            if count < MAX_PARTIALS && bytes <= MAX_PARTIAL_BYTES {
                break;
            }
            let Some(file) = try_lock(data)? else { continue };
            self.remove_files(data, &data.with_extension(STATE), &file)?;
            (bytes, count) = (bytes.saturating_sub(*length), count.saturating_sub(1));
        }
        let has_capacity = count < MAX_PARTIALS && bytes <= MAX_PARTIAL_BYTES;
        if has_capacity { Ok(()) } else { Err(UploadError::TooMany) }
    }

    fn partial_folder(&self, name: &PartialName) -> PathBuf {
        self.root.join(PARTIAL).join(&name.owner)
    }

    /// The file of the bytes, and that of the progress.
    fn partial_paths(&self, name: &PartialName) -> (PathBuf, PathBuf) {
        let data = self.partial_folder(name).join(name.id.to_string());
        let state = data.with_extension(STATE);
        (data, state)
    }
}

impl StateFile {
    /// Stores how much is on the disk. Call it only after that is true.
    pub(super) fn store(&self, offset: u64) -> io::Result<()> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if offset > *stored {
            write_state(&self.path, Progress { length: self.length, offset })?;
            *stored = offset;
        }
        Ok(())
    }
}

impl Resumable {
    /// Ends when another request wants to continue the upload.
    pub(super) fn interrupted(&self) -> impl Future<Output = ()> + use<> {
        let interrupt = Arc::clone(&self.interrupt);
        async move { interrupt.notified().await }
    }

    /// Gives a complete attachment its name.
    pub(super) fn complete(&self, blobs: &Blobs, data: &Path) -> Result<(), UploadError> {
        store_under(data, &blobs.path(&self.name.blob()))?;
        for file in [data, self.state.path.as_path()] {
            // If it stays, it is removed when it is old.
            let _left = fs::remove_file(file);
        }
        Ok(())
    }

    /// The request has ended.
    pub(super) fn end(&self, blobs: &Blobs) {
        let mut writing = blobs.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.get(&self.name).is_some_and(|known| Arc::ptr_eq(known, &self.interrupt)) {
            writing.remove(&self.name);
        }
    }
}

/// Opens the bytes of an upload, unless another request writes them.
fn try_lock(data: &Path) -> Result<Option<File>, UploadError> {
    let file = match private::options().read(true).write(true).open(data) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(UploadError::NotFound),
        Err(error) => return Err(error.into()),
    };
    match file.try_lock() {
        // The request before may have completed or removed it.
        Ok(()) if data.exists() => Ok(Some(file)),
        Ok(()) => Err(UploadError::NotFound),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The progress, which is never more than the file has.
fn usable(file: &File, progress: Progress) -> Result<Progress, UploadError> {
    let found = file.metadata()?.len();
    Ok(Progress { offset: progress.offset.min(found), ..progress })
}

fn read_state(path: &Path) -> Result<Progress, UploadError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(UploadError::NotFound),
        Err(error) => return Err(error.into()),
    };
    let numbers = text.trim_end().split_once(' ').and_then(|(length, offset)| {
        Some(Progress { length: length.parse().ok()?, offset: offset.parse().ok()? })
    });
    Ok(numbers.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?)
}

fn write_state(path: &Path, Progress { length, offset }: Progress) -> io::Result<()> {
    private::replace(path, |file| {
        use std::io::Write as _;
        writeln!(file, "{length} {offset}")
    })
}

/// The folder of uploads that can be continued.
pub(super) const PARTIAL: &str = "partial";

/// The extension of the files with the progress.
const STATE: &str = "state";

/// Maximum number of uploads of one account that are not complete.
const MAX_PARTIALS: usize = 8;

/// Maximum number of bytes that these have together when they are complete: four of the longest.
const MAX_PARTIAL_BYTES: u64 = 400 << 20;

/// How long a request waits for another one that writes the same upload: 5 seconds.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
