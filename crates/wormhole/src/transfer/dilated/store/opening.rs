//! Prepares the destination of an offer, and finds what an earlier attempt has left.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;

use wormhole_magic::transfer::dilated::{FileEntry, Hash};
use wormhole_magic::transfer::{Attributes, Offer};

use super::super::super::disk::{
    Donor, Limits, Offered, OnExists, Part, PartFile, Resumed, Unpacker, Wanted, failed,
};
use super::super::super::sink::{check_space, longest_file};
use super::super::super::{Destination, Error, PeerMisbehaved};
use super::super::compress::Decompression;
use super::super::hash::{self, key};
use super::super::target::{Target, ZipTarget};
use super::{FileDonor, Store, bytes_of};

impl Store {
    /// Prepares the destination of an offer, and finds what an earlier attempt has left. A folder may have at most `most` files
    /// and folders.
    ///
    /// # Errors
    /// It exists, has not enough space, or cannot be written; nothing was changed.
    pub(in super::super::super) fn open(
        destination: Destination,
        offer: &Offer,
        most: Option<u64>,
    ) -> Result<Self, Error> {
        let target = destination.target(offer).map_err(|why| {
            let name = offer.name().cloned();
            name.map_or(Error::Rejected, |name| PeerMisbehaved::UnsafeName { name, why }.into())
        })?;
        let on_exists = destination.on_exists();
        let needed = offer.unpacked_size().unwrap_or(0);
        let limits = Limits::new(most, needed);
        if let Offer::Directory { files, .. } = offer {
            limits.check_offer(*files)?;
        }
        let Some(target) = target else {
            return match destination {
                Destination::Writer(writer) => {
                    let target = if is_folder(offer) {
                        Target::Zip(Box::new(ZipTarget::new(writer, limits)))
                    } else {
                        Target::Writer(writer)
                    };
                    Ok(Self::new(target, hash::of_offer(offer)))
                }
                Destination::Folder { .. } | Destination::Path { .. } => Err(Error::Rejected),
            };
        };
        if !is_folder(offer) && needed > longest_file() {
            return Err(failed(&target, io::ErrorKind::FileTooLarge.into()));
        }
        let left = wanted(offer).and_then(|wanted| Part::resume(&target, on_exists, &wanted));
        let donor = is_folder(offer)
            .then(|| Part::donor(&target, on_exists, &hash::of_offer(offer)))
            .flatten();
        let mut store = match left {
            Some(resumed) => Self::continued(resumed, offer, limits, needed)?,
            None => {
                let donated = donor.iter().flat_map(|donor| donor.files.iter().map(bytes_of));
                let needed = needed.saturating_sub(donated.fold(0, u64::saturating_add));
                Self::started(&target, on_exists, offer, limits, needed, donor.is_some())?
            }
        };
        if let Some(donor) = donor {
            store.add_donor(donor);
        }
        Ok(store)
    }

    /// Lets files be continued that a folder of another offer has left. What the sender does not name stays there.
    fn add_donor(&mut self, mut donor: Donor) {
        let mut keys = HashSet::new();
        for file in std::mem::take(&mut donor.files) {
            if let Entry::Vacant(entry) = self.claims.entry(file.key) {
                keys.insert(file.key);
                entry.insert(file);
            }
        }
        self.donor = Some(FileDonor { donor, keys, is_used: false });
    }

    fn new(target: Target, offer: Hash) -> Self {
        Self {
            target,
            offer,
            claims: HashMap::new(),
            may_be_damaged: false,
            is_untouched: false,
            donor: None,
            journal: None,
            uncommitted: 0,
            current: None,
            received: 0,
            decompression: Decompression::default(),
        }
    }

    fn started(
        target: &Path,
        on_exists: OnExists,
        offer: &Offer,
        limits: Limits,
        needed: u64,
        takes_files: bool,
    ) -> Result<Self, Error> {
        let target = if let Some(offered) = offered(offer) {
            let part = Part::folder(target, on_exists)?;
            check_space(&part, needed)?;
            Target::Tree(Box::new(Unpacker::without_zip(part, offered, limits, takes_files)))
        } else {
            let file = Box::new(Part::file(target, on_exists)?);
            check_space(&file.part, needed)?;
            Target::File { file, attributes: attributes(offer) }
        };
        Ok(Self::new(target, hash::of_offer(offer)))
    }

    fn continued(
        resumed: Resumed,
        offer: &Offer,
        limits: Limits,
        needed: u64,
    ) -> Result<Self, Error> {
        let Resumed { part, file, mut files, may_be_damaged, journal } = resumed;
        if let Some(offered) = wanted(offer).and_then(|wanted| wanted.key) {
            files.retain(|file| file.key == offered);
        }
        let bytes: u64 = files.iter().map(bytes_of).fold(0, u64::saturating_add);
        check_space(&part, needed.saturating_sub(bytes))?;
        let target = match (file, offered(offer)) {
            (Some(file), _) => {
                let file = Box::new(PartFile { file, part });
                Target::File { file, attributes: attributes(offer) }
            }
            (None, Some(offered)) => {
                Target::Tree(Box::new(Unpacker::without_zip(part, offered, limits, true)))
            }
            (None, None) => return Err(Error::Rejected),
        };
        let claims = files.into_iter().map(|file| (file.key, file)).collect();
        let new = Self::new(target, hash::of_offer(offer));
        Ok(Self { claims, may_be_damaged, is_untouched: true, journal: Some(journal), ..new })
    }
}

const fn is_folder(offer: &Offer) -> bool {
    matches!(offer, Offer::Directory { .. })
}

/// What an offer can continue; `None` for a stream.
fn wanted(offer: &Offer) -> Option<Wanted> {
    let (size, attributes) = (Some(offer.unpacked_size()?), attributes(offer));
    let entry = FileEntry { path: None, size, attributes, keep: 0 };
    let key = if is_folder(offer) { None } else { Some(key(&entry)?) };
    Some(Wanted { offer: hash::of_offer(offer), key })
}

/// The properties of an offered folder.
const fn offered(offer: &Offer) -> Option<Offered> {
    if let Offer::Directory { bytes, files, attributes, .. } = offer {
        return Some(Offered { bytes: *bytes, files: *files, attributes: *attributes });
    }
    None
}

/// The attributes of an offered file.
const fn attributes(offer: &Offer) -> Option<Attributes> {
    if let Offer::File { attributes, .. } = offer { *attributes } else { None }
}
