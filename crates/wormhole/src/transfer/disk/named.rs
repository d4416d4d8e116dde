//! What belongs to an offer, in a folder that an earlier attempt has left.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::dir::Identity;

/// The paths of an offer and their parents, and the files, folders and links that were created or continued for them.
///
/// A file system may list another name than the one that was created: it normalises names, or ignores case. So the identity
/// decides what belongs to the offer. Some file systems have no lasting identities; there, the path decides.
#[derive(Debug, Default)]
pub(super) struct Named {
    hasher: RandomState,
    hashes: HashSet<u64>,
    identities: HashSet<Identity>,
}

impl Named {
    /// Adds a path and its parents.
    pub(super) fn insert(&mut self, path: &str) {
        let parents = path.match_indices('/').filter_map(|(slash, _)| path.get(..slash));
        for path in parents.chain([path]) {
            self.hashes.insert(self.hasher.hash_one(path));
        }
    }

    /// Whether a path is one of the offer, or a parent of one.
    pub(super) fn contains(&self, path: &str) -> bool {
        self.hashes.contains(&self.hasher.hash_one(path))
    }

    /// Adds a file, folder or link. Returns whether it is new.
    pub(super) fn insert_identity(&mut self, identity: Identity) -> bool {
        self.identities.insert(identity)
    }

    /// Whether this file, folder or link was created or continued for the offer.
    pub(super) fn has_identity(&self, identity: Identity) -> bool {
        self.identities.contains(&identity)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use wormhole_magic::transfer::zip::{Piece, ZipError, ZipPath};

    use super::super::part::DiskError;
    use super::super::{Limits, Offered, OnExists, Part, Unpacker};

    /// A folder that is continued. Renaming a file stands for a file system that lists another name than the created one.
    struct Continued {
        root: PathBuf,
        unpacker: Option<Unpacker>,
    }

    impl Continued {
        fn new(test: &str) -> Self {
            let root =
                std::env::temp_dir().join(format!("wormhole-named-{test}-{}", std::process::id()));
            fs::create_dir(&root).unwrap();
            let part = Part::folder(&root.join("d"), OnExists::Refuse).unwrap();
            let offered = Offered { bytes: 0, files: 0, attributes: None };
            let unpacker = Unpacker::without_zip(part, offered, Limits::new(None, 0), true);
            Self { root, unpacker: Some(unpacker) }
        }

        fn part(&self) -> PathBuf {
            self.root.join("d.part")
        }

        fn receive(&mut self, path: &str) -> Result<(), DiskError> {
            let unpacker = self.unpacker.as_mut().unwrap();
            let path = ZipPath::parse(path).unwrap();
            unpacker.on_piece(Piece::File { path, modified: None })?;
            unpacker.on_piece(Piece::Data(b"new"))?;
            unpacker.on_piece(Piece::FileEnd)
        }

        fn complete(&mut self) -> PathBuf {
            self.unpacker.take().unwrap().complete().unwrap().path
        }
    }

    impl Drop for Continued {
        fn drop(&mut self) {
            self.unpacker = None;
            fs::remove_dir_all(&self.root).unwrap();
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_was_received_stays_where_the_file_system_lists_another_name() {
        let mut folder = Continued::new("normalised");
        let part = folder.part();
        fs::create_dir(part.join("docs")).unwrap();
        fs::write(part.join("docs/old"), b"old").unwrap();
        fs::write(part.join("old"), b"old").unwrap();
        folder.receive("caf\u{e9}").unwrap();
        folder.receive("docs/new").unwrap();
        let link = ZipPath::parse("link").unwrap();
        folder.unpacker.as_mut().unwrap().link(&link, "docs").unwrap();
        for (created, listed) in [("caf\u{e9}", "cafe\u{301}"), ("docs", "Docs"), ("link", "Link")]
        {
            fs::rename(part.join(created), part.join(listed)).unwrap();
        }
        let path = folder.complete();
        let mut found = names(&path);
        found.sort();
        assert_eq!(found, ["Docs", "Link", "cafe\u{301}"]);
        assert_eq!(names(&path.join("Docs")), ["new"]);
    }

    #[test]
    fn a_name_that_the_file_system_takes_for_an_earlier_one_is_a_duplicate() {
        let mut folder = Continued::new("duplicate");
        let part = folder.part();
        folder.receive("A").unwrap();
        fs::rename(part.join("A"), part.join("a")).unwrap();
        let refused = folder.receive("a");
        assert!(matches!(refused, Err(DiskError::Zip(ZipError::Duplicate(_)))), "{refused:?}");
        assert_eq!(fs::read(part.join("a")).unwrap(), b"new");
        let path = ZipPath::parse("a").unwrap();
        let refused = folder.unpacker.as_mut().unwrap().continue_file(path, None);
        assert!(matches!(refused, Err(DiskError::Zip(ZipError::Duplicate(_)))), "{refused:?}");
    }
}
