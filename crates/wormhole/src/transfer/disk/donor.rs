//! What an interrupted transfer of another folder of the same name has left. Files of it can be moved into the new one, so that a
//! folder that has changed since is continued.

use std::fs::File;
use std::io;
use std::path::Path;

use wormhole_magic::transfer::dilated::{Hash, JournalFile};
use wormhole_magic::transfer::zip::ZipPath;

use super::dir::Dir;
use super::part::{OnExists, Part, Place, temporary};
use super::resume::{Found, MAX_LEFT};
#[cfg(unix)]
use super::resume::{Opened, may_be_damaged};

/// What a folder of another offer has left. Files of it can be moved into a new folder.
#[derive(Debug)]
pub(in crate::transfer) struct Donor {
    /// The incomplete folder. It stays, unless it is discarded.
    pub(in crate::transfer) part: Part,
    /// What has arrived, without what could be guessed from its hashes.
    pub(in crate::transfer) files: Vec<JournalFile>,
    /// The files that were moved, and how many bytes of each are still as they were.
    moved: Vec<(ZipPath, u64)>,
    /// Its journal, which keeps other transfers from using it.
    _lock: File,
}

impl Donor {
    /// Records that a file was moved into a new folder, which continues it after so many bytes.
    pub(in crate::transfer) fn record_moved(&mut self, path: &ZipPath, bytes: u64) {
        self.moved.push((path.clone(), bytes));
    }

    /// Records that the new folder changes a file after so many bytes, if that was the last one that was moved.
    pub(in crate::transfer) fn record_changed(&mut self, path: &ZipPath, bytes: u64) {
        if let Some((_, kept)) = self.moved.last_mut().filter(|(moved, _)| moved == path) {
            *kept = bytes.min(*kept);
        }
    }

    /// Moves the files back, because the new folder is discarded. What was changed of them is cut off.
    pub(in crate::transfer) fn move_back(&mut self, from: &Part) {
        let (Some(from), Some(to)) = (from.inside(), self.part.inside()) else { return };
        for (path, bytes) in self.moved.drain(..).filter(|(_, bytes)| *bytes > 0) {
            // What cannot be moved is received again.
            let _lost = move_back(from, to, path.as_str(), bytes);
        }
    }
}

/// Moves the first bytes of the file at this path from one folder to the same path in another one.
fn move_back(from: &Dir, to: &Dir, path: &str, bytes: u64) -> io::Result<()> {
    if let Some((first, rest)) = path.split_once('/') {
        return move_back(&from.open_folder(first)?, &to.open_folder(first)?, rest, bytes);
    }
    let file = from.reopen_file(path)?;
    if file.metadata()?.len() < bytes {
        return Err(io::ErrorKind::InvalidData.into());
    }
    file.set_len(bytes)?;
    to.make_writable()?;
    to.take_file(from, path)
}

impl Part {
    /// Finds what an interrupted transfer of another folder to `target` has left.
    pub(in crate::transfer) fn donor(
        target: &Path,
        on_exists: OnExists,
        offer: &Hash,
    ) -> Option<Donor> {
        let place = Place::open(target, on_exists, true).ok()?;
        (0..MAX_LEFT).find_map(|number| {
            let found = Found::open(&place.destination, temporary(&place.name, number), true)?;
            found.into_donor(Place::open(target, on_exists, true).ok()?, offer)
        })
    }
}

#[cfg(unix)]
impl Found {
    /// Prepares to move files of this folder into another one.
    fn into_donor(self, place: Place, offer: &Hash) -> Option<Donor> {
        let header = self.journal.header;
        if self.is_expired() || header.offer == *offer || may_be_damaged(&header) {
            return None;
        }
        let Opened { part, files, journal_file, .. } = self.into_opened(place, true)?;
        Some(Donor { part, files, moved: Vec::new(), _lock: journal_file })
    }
}

#[cfg(not(unix))]
impl Found {
    fn into_donor(self, _: Place, _: &Hash) -> Option<Donor> {
        None
    }
}
