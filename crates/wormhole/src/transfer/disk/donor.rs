//! What an interrupted transfer of another folder of the same name has left. Files of it can be moved into the new one, so that a
//! folder that has changed since is continued.

use std::fs::File;
use std::path::Path;

use wormhole_magic::transfer::dilated::{Hash, JournalFile};

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
    /// Its journal, which keeps other transfers from using it.
    _lock: File,
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
        Some(Donor { part, files, _lock: journal_file })
    }
}

#[cfg(not(unix))]
impl Found {
    fn into_donor(self, _: Place, _: &Hash) -> Option<Donor> {
        None
    }
}
