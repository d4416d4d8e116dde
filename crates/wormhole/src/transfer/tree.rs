//! A directory to send: everything in it, listed before anything is connected.
//!
//! No contents are read yet, and no file stays open: a tree of a million files is only a list.

use std::collections::BTreeSet;
use std::fs::{DirEntry, Metadata};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use wormhole_magic::transfer::dilated::LinkTarget;
use wormhole_magic::transfer::name::join_name;
use wormhole_magic::transfer::zip::{Entry, EntryKind, ZipPath, ZipWriter};
use wormhole_magic::transfer::{Attributes, Offer, PeerName};

use super::exact_reader::examine;
use super::source::system;
use super::{Error, Unsendable, UnsendableReason};

/// A directory, or several paths that are sent as one directory.
pub(super) struct Tree {
    name: String,
    /// Attributes of the directory itself; several paths have none.
    attributes: Option<Attributes>,
    pub(super) items: Vec<Item>,
    /// Whether a file that changes during the transfer is omitted instead of failing everything.
    pub(super) tolerant: bool,
    /// What was omitted after the list of omitted files was shown.
    pub(super) omitted: Vec<Unsendable>,
    origin: Origin,
}

/// What a tree was made of.
struct Origin {
    paths: Vec<PathBuf>,
    lenient: bool,
    /// What was omitted, and shown.
    skipped: Vec<Unsendable>,
}

/// One file or folder: its entry in the offer, and its path.
pub(super) struct Item {
    pub(super) entry: Entry,
    pub(super) path: PathBuf,
}

impl Tree {
    /// Everything below a folder, or several paths, each under its own name. Links that stay inside a folder are links.
    /// Also returns what was omitted.
    pub(super) fn of(paths: &[PathBuf], lenient: bool) -> Result<(Self, Vec<Unsendable>), Error> {
        let (mut tree, skipped) = Self::read(paths, lenient, cfg!(unix))?;
        tree.origin.skipped.clone_from(&skipped);
        Ok((tree, skipped))
    }

    /// The same for a peer that does not create links: with what they lead to instead. It is read again if there are links.
    ///
    /// # Errors
    /// What a link leads to cannot be sent.
    pub(super) fn followed(self) -> Result<Self, Error> {
        if !self.items.iter().any(|item| matches!(item.entry.kind, EntryKind::Link(_))) {
            return Ok(self);
        }
        let Origin { paths, lenient, skipped: shown } = self.origin;
        let (tree, mut omitted) = Self::read(&paths, lenient, false)?;
        omitted.retain(|one| !shown.contains(one));
        Ok(Self { tolerant: self.tolerant, omitted, ..tree })
    }

    fn read(
        paths: &[PathBuf],
        lenient: bool,
        keeps_links: bool,
    ) -> Result<(Self, Vec<Unsendable>), Error> {
        let mut walk = Walk::new(lenient, keeps_links);
        let (name, attributes) = match paths {
            [path] => walk.only(path)?,
            paths => (walk.several(paths)?, None),
        };
        let origin = Origin { paths: paths.to_vec(), lenient, skipped: Vec::new() };
        let (items, omitted) = (walk.items, Vec::new());
        let tree = Self { name, attributes, items, tolerant: lenient, omitted, origin };
        Ok((tree, walk.skipped))
    }
    /// The same without non-empty folders, which are created with their contents, and without
    /// attributes: the form that every client supports.
    pub(super) fn simplified(mut self) -> Self {
        self.attributes = None;
        let mut parents = BTreeSet::new();
        for item in &self.items {
            if let Some((parent, _)) = item.entry.path.as_str().rsplit_once('/') {
                parents.insert(parent.to_owned());
            }
        }
        self.items.retain(|item| {
            item.entry.kind != EntryKind::Folder || !parents.contains(item.entry.path.as_str())
        });
        self
    }

    /// The offer to the receiver.
    pub(super) fn offer(&self) -> Offer {
        let sizes = self.items.iter().filter_map(|item| match item.entry.kind {
            EntryKind::File(size) => Some(size),
            EntryKind::Folder | EntryKind::Link(_) => None,
        });
        let (bytes, files) = sizes.fold((0, 0), |(bytes, files), size| (bytes + size, files + 1));
        let zip_size = ZipWriter::length(self.items.iter().map(|item| &item.entry));
        let name = PeerName::new(&self.name);
        Offer::Directory { name, zip_size, bytes, files, attributes: self.attributes }
    }
}

/// The name under which a path is offered: its last component as typed, so that a link keeps its
/// own name.
pub(super) fn name_of(path: &Path) -> Result<String, Unsendable> {
    let unsendable = |why| Unsendable { path: path.to_owned(), why };
    let resolved;
    let name = match path.file_name() {
        Some(name) => name,
        // Paths such as `.` and `..`: the real path has the name.
        None => {
            resolved = path.canonicalize().map_err(|error| unsendable(system(error)))?;
            resolved.file_name().ok_or_else(|| unsendable(UnsendableReason::NoName))?
        }
    };
    let name = name.to_str().ok_or_else(|| unsendable(UnsendableReason::NotUnicode))?;
    Ok(name.to_owned())
}

/// A walk through a tree. Symbolic links are followed, unless they can be sent as links.
struct Walk {
    items: Vec<Item>,
    skipped: Vec<Unsendable>,
    lenient: bool,
    keeps_links: bool,
    /// The real paths of the folders that contain the current one, and the name of the first one with a slash, or nothing.
    inside: Vec<PathBuf>,
    prefix: String,
}

impl Walk {
    const fn new(lenient: bool, keeps_links: bool) -> Self {
        Self {
            items: Vec::new(),
            skipped: Vec::new(),
            lenient,
            keeps_links,
            inside: Vec::new(),
            prefix: String::new(),
        }
    }

    /// Adds the contents of a folder. Returns its name and attributes.
    fn only(&mut self, path: &Path) -> Result<(String, Option<Attributes>), Unsendable> {
        let name = name_of(path)?;
        let metadata = std::fs::metadata(path)
            .map_err(|error| Unsendable { path: path.to_owned(), why: system(error) })?;
        self.named_folder(path, "")?;
        Ok((name, Some(attributes(&metadata))))
    }

    /// Adds several paths, each under its own name. Returns a name for all of them.
    fn several(&mut self, paths: &[PathBuf]) -> Result<String, Error> {
        let first = paths.first().ok_or(Error::NothingToSend)?;
        let mut names = BTreeSet::new();
        for path in paths {
            let name = name_of(path)?;
            if !names.insert(name.clone()) {
                let why = UnsendableReason::SameName;
                return Err(Unsendable { path: path.clone(), why }.into());
            }
            self.named_item(path, &name)?;
        }
        Ok(join_name(&name_of(first)?, &format!(" and {} more", paths.len() - 1), ""))
    }

    /// Adds a file or folder that the user named; it is never omitted.
    fn named_item(&mut self, path: &Path, name: &str) -> Result<(), Unsendable> {
        let unsendable = |why| Unsendable { path: path.to_owned(), why };
        let metadata = std::fs::metadata(path).map_err(|error| unsendable(system(error)))?;
        let kind = if metadata.is_dir() {
            self.named_folder(path, &format!("{name}/"))?;
            EntryKind::Folder
        } else if metadata.is_file() {
            examine(path, &metadata).map_err(unsendable)?;
            EntryKind::File(metadata.len())
        } else {
            return Err(unsendable(UnsendableReason::NotAFile));
        };
        self.add(path, name, &metadata, kind).map_err(unsendable)
    }

    /// Adds the contents of a folder that the user named: some of them may be omitted, but not all.
    fn named_folder(&mut self, path: &Path, prefix: &str) -> Result<(), Unsendable> {
        let opened = self.open_folder(path);
        let (true_path, listing) =
            opened.map_err(|why| Unsendable { path: path.to_owned(), why })?;
        prefix.clone_into(&mut self.prefix);
        self.children(true_path, listing, prefix)
    }

    /// Adds the contents of a folder. Returns whether the folder can be sent.
    fn folder(&mut self, path: &Path, prefix: &str) -> Result<bool, Unsendable> {
        let opened = self.open_folder(path);
        let Some((true_path, listing)) = self.allow(path, opened)? else { return Ok(false) };
        self.children(true_path, listing, prefix).map(|()| true)
    }

    /// The real path of a folder, and its contents sorted by name.
    fn open_folder(&self, path: &Path) -> Result<(PathBuf, Vec<DirEntry>), UnsendableReason> {
        let true_path = path.canonicalize().map_err(system)?;
        // A link to a parent of the starting folder is also a loop.
        if self.inside.iter().any(|inside| inside.starts_with(&true_path)) {
            return Err(UnsendableReason::ContainsItself);
        }
        let listing = std::fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut listing = listing.map_err(system)?;
        listing.sort_by_key(DirEntry::file_name);
        Ok((true_path, listing))
    }

    fn children(
        &mut self,
        true_path: PathBuf,
        listing: Vec<DirEntry>,
        prefix: &str,
    ) -> Result<(), Unsendable> {
        self.inside.push(true_path);
        for child in listing {
            let path = child.path();
            let name = child.file_name();
            let Some(name) = name.to_str() else {
                self.skip(&path, UnsendableReason::NotUnicode)?;
                continue;
            };
            let name = format!("{prefix}{name}");
            let is_link = self.keeps_links && child.file_type().is_ok_and(|kind| kind.is_symlink());
            if let Some(target) = is_link.then(|| self.link_target(&path, &name)).flatten() {
                self.link(&path, &name, target)?;
            } else if let Some(metadata) = self.metadata(&path)? {
                self.item(&path, &name, &metadata)?;
            }
        }
        self.inside.pop();
        Ok(())
    }

    /// The target of a link to a file or folder inside the named folder; `None` for any other link, which is followed. What the
    /// receiver will find there must be what is here.
    fn link_target(&self, path: &Path, name: &str) -> Option<LinkTarget> {
        let root = self.inside.first()?;
        let link = ZipPath::parse(name.strip_prefix(&self.prefix)?).ok()?;
        let target = std::fs::read_link(path).ok()?;
        let (target, means) = LinkTarget::shortest(target.to_str()?, &link)?;
        let real = path.canonicalize().ok()?;
        let metadata = std::fs::metadata(&real).ok()?;
        let is_inside = real.starts_with(root) && root.join(means).canonicalize().ok()? == real;
        // It is checked again with the path that the receiver sees.
        LinkTarget::shortest(target.as_str(), &ZipPath::parse(name).ok()?)?;
        (is_inside && (metadata.is_dir() || metadata.is_file())).then_some(target)
    }

    /// Adds a link.
    fn link(&mut self, path: &Path, name: &str, target: LinkTarget) -> Result<(), Unsendable> {
        let metadata = self.allow(path, std::fs::symlink_metadata(path).map_err(system))?;
        let Some(metadata) = metadata else { return Ok(()) };
        let added = self.add(path, name, &metadata, EntryKind::Link(target.as_str().to_owned()));
        self.allow(path, added).map(|_| ())
    }

    /// Adds a file, or a folder after its contents: a receiver that sets permissions immediately
    /// can then still write into the folder.
    fn item(&mut self, path: &Path, name: &str, metadata: &Metadata) -> Result<(), Unsendable> {
        let kind = if metadata.is_dir() {
            if !self.folder(path, &format!("{name}/"))? {
                return Ok(());
            }
            EntryKind::Folder
        } else if !metadata.is_file() {
            return self.skip(path, UnsendableReason::NotAFile);
        } else {
            if let Err(why) = examine(path, metadata) {
                return self.skip(path, why);
            }
            EntryKind::File(metadata.len())
        };
        let added = self.add(path, name, metadata, kind);
        self.allow(path, added).map(|_| ())
    }

    fn add(
        &mut self,
        path: &Path,
        name: &str,
        metadata: &Metadata,
        kind: EntryKind,
    ) -> Result<(), UnsendableReason> {
        let zip_path = ZipPath::parse(name).map_err(|_| UnsendableReason::TooLong)?;
        let Attributes { permissions, modified } = attributes(metadata);
        let entry = Entry { path: zip_path, permissions, modified, kind };
        self.items.push(Item { entry, path: path.to_owned() });
        Ok(())
    }

    fn metadata(&mut self, path: &Path) -> Result<Option<Metadata>, Unsendable> {
        self.allow(path, std::fs::metadata(path).map_err(system))
    }

    /// Returns a success, or a failure if the file may not be omitted.
    fn allow<T>(
        &mut self,
        path: &Path,
        outcome: Result<T, UnsendableReason>,
    ) -> Result<Option<T>, Unsendable> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(why) => self.skip(path, why).map(|()| None),
        }
    }

    fn skip(&mut self, path: &Path, why: UnsendableReason) -> Result<(), Unsendable> {
        let unsendable = Unsendable { path: path.to_owned(), why };
        if !self.lenient {
            return Err(unsendable);
        }
        self.skipped.push(unsendable);
        Ok(())
    }
}

/// The attributes of a file or folder.
pub(super) fn attributes(metadata: &Metadata) -> Attributes {
    Attributes { permissions: permissions(metadata), modified: modified(metadata) }
}

#[cfg(unix)]
fn permissions(metadata: &Metadata) -> u16 {
    use std::os::unix::fs::PermissionsExt;
    u16::try_from(metadata.permissions().mode() & 0o777).unwrap_or(0o644)
}

/// The mode that a Unix system would have.
#[cfg(not(unix))]
fn permissions(metadata: &Metadata) -> u16 {
    match (metadata.is_dir(), metadata.permissions().readonly()) {
        (true, _) => 0o755,
        (false, true) => 0o444,
        (false, false) => 0o644,
    }
}

/// Seconds since 1970; negative before.
fn modified(metadata: &Metadata) -> i64 {
    let Ok(time) = metadata.modified() else { return 0 };
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |secs| -secs),
    }
}
