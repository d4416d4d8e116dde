//! The encrypted bytes of a download that has not ended. They are in the directory of the store, so that the next download of the
//! same file continues there, also after the program was killed.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use wormhole_chat::AttachmentPointer;
use wormhole_disk::{durable, private};

/// The bytes that have arrived so far. They are not authentic until all of them are checked.
#[derive(Debug)]
pub(in crate::chat) struct Partial {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Partial {
    /// Opens the part that an earlier download of this file has left, or an empty one.
    ///
    /// # Errors
    /// The directory cannot be used, or another download of the same file is running.
    pub(in crate::chat) fn open(folder: &Path, pointer: &AttachmentPointer) -> io::Result<Self> {
        private::create_directory(folder)?;
        let path = folder.join(name(pointer));
        remove_others(folder, &path);
        Self::at(path, true)
    }

    /// A file that comes directly, or has come. Others are not removed: their senders believe that they are here.
    ///
    /// # Errors
    /// `NotFound` if no such file has arrived. With any other error, the file is still arriving or cannot be read.
    pub(in crate::chat) fn open_direct(path: &Path) -> io::Result<Self> {
        for _ in 0..LOCK_ATTEMPTS {
            match Self::at(path.to_owned(), false) {
                // A transfer whose connection is lost has not ended yet.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                result => return result,
            }
        }
        Self::at(path.to_owned(), false)
    }

    /// A file of which the first bytes arrive directly.
    ///
    /// # Errors
    /// It cannot be created.
    pub(in crate::chat) fn create_direct(path: &Path) -> io::Result<Self> {
        path.parent().map_or(Ok(()), private::create_directory)?;
        Self::at(path.to_owned(), true)
    }

    fn at(path: PathBuf, is_created: bool) -> io::Result<Self> {
        let mut options = private::options();
        let file = options.read(true).append(true).create(is_created).open(&path)?;
        file.try_lock().map_err(io::Error::from)?;
        let length = file.metadata()?.len();
        Ok(Self { file, path, length })
    }

    /// Number of bytes.
    pub(in crate::chat) const fn len(&self) -> u64 {
        self.length
    }

    /// Adds a piece.
    pub(in crate::chat) fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.length = self.length.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Passes all bytes to `take`, one piece after the other.
    pub(in crate::chat) fn read<E: From<io::Error>>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut piece = vec![0; PIECE];
        loop {
            let length = self.file.read(&mut piece)?;
            if length == 0 {
                return Ok(());
            }
            take(piece.get(..length).unwrap_or_default())?;
        }
    }

    /// The file is whole, and gets this name in the same folder. When this returns, it is on the disk.
    pub(in crate::chat) fn finish(self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        if self.path != path {
            fs::rename(&self.path, path)?;
        }
        // Its name, and those of the two folders that may be new.
        path.ancestors().take(3).try_for_each(durable::sync_parent)
    }

    /// Removes the bytes: the download is complete, or can never be.
    pub(in crate::chat) fn remove(self) {
        let Self { file, path, length: _ } = self;
        drop(file);
        // The part is removed later, when there are too many.
        let _left = fs::remove_file(&path);
        if let Some(folder) = path.parent() {
            // It stays if it has other downloads.
            let _used = fs::remove_dir(folder);
        }
    }
}

/// A name that says nothing about the file.
fn name(pointer: &AttachmentPointer) -> String {
    let hash = Sha256::new_with_prefix(LABEL)
        .chain_update(pointer.key.expose())
        .chain_update(pointer.digest.unwrap_or_default())
        .finalize();
    HEXLOWER.encode(hash.get(..16).unwrap_or_default())
}

/// Makes room for a download: removes the oldest ones that nobody has continued.
fn remove_others(folder: &Path, keep: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let others = entries.filter_map(Result::ok).filter(|entry| entry.path() != keep);
    let mut others: Vec<_> = others
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    others.sort_unstable();
    let surplus = others.len().saturating_sub(MAX_OTHERS);
    for (_, path) in others.into_iter().take(surplus) {
        let _left = fs::remove_file(path);
    }
}

/// How long to wait for the end of a transfer of the same file: 2 seconds.
const LOCK_ATTEMPTS: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

const LABEL: &str = "wormhole partial download";

/// Maximum number of other downloads that have not ended. Each has at most 128 MiB.
const MAX_OTHERS: usize = 7;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use wormhole_chat::{AttachmentKey, AttachmentPlace};

    use super::*;

    fn pointer(number: u8) -> AttachmentPointer {
        let key = AttachmentKey::from_slice(&[number; 64]).unwrap();
        AttachmentPointer::new(AttachmentPlace::Id(1), key, 10, [number; 32], "text/plain")
    }

    fn content(partial: &mut Partial) -> Vec<u8> {
        let mut content = Vec::new();
        partial
            .read(|piece| {
                content.extend_from_slice(piece);
                Ok::<_, io::Error>(())
            })
            .unwrap();
        content
    }

    #[test]
    fn a_download_continues_and_only_so_many_are_kept() {
        let name = format!("wormhole-partial-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let mut first = Partial::open(&folder, &pointer(1)).unwrap();
        first.append(b"hello ").unwrap();
        assert!(Partial::open(&folder, &pointer(1)).is_err(), "it is running");
        drop(first);
        let mut again = Partial::open(&folder, &pointer(1)).unwrap();
        assert_eq!(again.len(), 6);
        again.append(b"world").unwrap();
        assert_eq!(content(&mut again), b"hello world");
        assert_eq!(again.len(), 11);
        for number in 2..20 {
            drop(Partial::open(&folder, &pointer(number)).unwrap());
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), MAX_OTHERS + 1);
        for number in 1..20 {
            Partial::open(&folder, &pointer(number)).unwrap().remove();
        }
        let left = fs::read_dir(&folder).map_or(0, Iterator::count);
        assert_eq!(left, 0);
    }
}
