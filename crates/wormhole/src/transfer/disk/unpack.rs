//! Fills a folder as its files arrive, in a zip or one by one. The folder is private until it is complete.
//!
//! Memory use does not grow with the number of entries, except if an earlier attempt is continued: duplicates are detected on the
//! disk. Every folder is opened relative to its parent, without following links.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use wormhole_magic::transfer::Attributes;
use wormhole_magic::transfer::zip::{Piece, ZipError, ZipPath, ZipReader};

use super::dir::{Access, Dir, Identity, set_permissions};
use super::limits::Limits;
use super::loss::Loss;
use super::named::Named;
use super::part::{DiskError, Part};

/// A tree that is being unpacked.
#[derive(Debug)]
pub(crate) struct Unpacker {
    /// `None` if the files arrive one by one.
    reader: Option<ZipReader>,
    /// This field comes before the tree, so that the file is closed before the tree is removed.
    current: Option<Current>,
    tree: Tree,
    limits: Limits,
    loss: Loss,
    attributes: Option<Attributes>,
    closed: Closed,
    files: u64,
    /// Files that the sender could not read completely.
    omitted: Vec<ZipPath>,
    omitted_bytes: usize,
    omitted_more: u64,
}

/// A complete folder.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Its path.
    pub(crate) path: PathBuf,
    /// The first files that the sender could not read completely.
    pub(crate) omitted: Vec<ZipPath>,
    /// Number of further such files.
    pub(crate) omitted_more: u64,
    /// Metadata that could not be set.
    pub(crate) loss: Loss,
}

#[derive(Debug)]
struct Current {
    file: File,
    path: ZipPath,
    modified: Option<i64>,
    is_empty: bool,
}

/// The offered properties of the folder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offered {
    /// Total size of all files in bytes.
    pub(crate) bytes: u64,
    /// Number of files.
    pub(crate) files: u64,
    /// Metadata of the folder itself.
    pub(crate) attributes: Option<Attributes>,
}

impl Unpacker {
    /// Starts unpacking an offer into `part`.
    pub(crate) fn new(part: Part, offered: Offered, limits: Limits) -> Self {
        let reader = Some(ZipReader::new(offered.bytes, offered.files));
        Self { reader, ..Self::without_zip(part, offered, limits, false) }
    }

    /// Starts to fill `part` with files that arrive one by one. If it `resumes`, there are files of an earlier attempt in it.
    pub(crate) fn without_zip(part: Part, offered: Offered, limits: Limits, resumes: bool) -> Self {
        Self {
            reader: None,
            current: None,
            tree: Tree { open: Vec::new(), part, resumes, named: Named::default() },
            limits,
            loss: Loss::default(),
            attributes: offered.attributes,
            closed: Closed::default(),
            files: offered.files,
            omitted: Vec::new(),
            omitted_bytes: 0,
            omitted_more: 0,
        }
    }

    /// Processes the next bytes of the zip.
    ///
    /// # Errors
    /// The zip is invalid, or cannot be unpacked. Drop this value to remove everything.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        let mut input = bytes;
        let Some(mut reader) = self.reader.take() else { return Ok(()) };
        while let Some(piece) = reader.next(&mut input).map_err(DiskError::Zip)? {
            self.on_piece(piece)?;
        }
        self.reader = Some(reader);
        Ok(())
    }

    /// Processes one piece.
    ///
    /// # Errors
    /// It cannot be created. Drop this value to remove everything.
    pub(crate) fn on_piece(&mut self, piece: Piece<'_>) -> Result<(), DiskError> {
        match piece {
            Piece::Data(data) => {
                if let Some(Current { file, path, is_empty, .. }) = &mut self.current {
                    *is_empty &= data.is_empty();
                    file.write_all(data).map_err(|error| self.tree.error(path, error))?;
                }
                Ok(())
            }
            Piece::File { path, modified } => {
                let file = self.tree.create_file(&path, &mut self.limits)?;
                self.current = Some(Current { file, path, modified, is_empty: true });
                Ok(())
            }
            Piece::FileEnd => self.end_file(),
            Piece::Omitted(path) => self.omit(path),
            Piece::Folder(path) => {
                self.tree.enter(&path, path.components(), Some(&mut self.limits)).map(drop)
            }
            Piece::Permissions { path, permissions, modified, is_folder: true } => {
                self.end_folder(path, permissions, modified)
            }
            Piece::Permissions { path, permissions, is_folder: false, .. } => match permissions {
                Some(permissions) => self.allow_file(&path, permissions),
                None => Ok(()),
            },
        }
    }

    /// Continues a file of an earlier attempt.
    ///
    /// # Errors
    /// It cannot be opened. Drop this value to remove everything.
    pub(crate) fn continue_file(
        &mut self,
        path: ZipPath,
        modified: Option<i64>,
    ) -> Result<(), DiskError> {
        let file = self.tree.reopen_file(&path, &mut self.limits)?;
        self.current = Some(Current { file, path, modified, is_empty: false });
        Ok(())
    }

    /// Moves a file here from what another transfer has left.
    ///
    /// # Errors
    /// It cannot be moved, or this folder has the file already. Drop this value to remove everything.
    pub(crate) fn take_file(&mut self, from: &Part, path: &ZipPath) -> Result<(), DiskError> {
        self.tree.take_file(from, path, &mut self.limits)
    }

    /// Creates a symbolic link. If the disk has no links, that is recorded.
    ///
    /// # Errors
    /// It cannot be created. Drop this value to remove everything.
    pub(crate) fn link(&mut self, path: &ZipPath, target: &str) -> Result<(), DiskError> {
        let created = self.tree.create_link(path, target, &mut self.limits)?;
        let recorded = self.loss.link(|| self.tree.place(path), created);
        recorded.map_err(|error| self.tree.error(path, error))
    }

    /// The current file.
    pub(crate) fn current_file(&mut self) -> Option<&mut File> {
        self.current.as_mut().map(|current| &mut current.file)
    }

    /// The path of the current file, for messages.
    pub(crate) fn current_place(&self) -> PathBuf {
        let current = self.current.as_ref();
        current.map_or_else(|| self.tree.part.target(), |current| self.tree.place(&current.path))
    }

    /// Removes the current file, which the sender cannot read completely.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn omit_current(&mut self) -> Result<(), DiskError> {
        match self.current.take() {
            Some(Current { path, .. }) => self.omit(path),
            None => Ok(()),
        }
    }

    /// The incomplete folder.
    pub(crate) const fn part_mut(&mut self) -> &mut Part {
        &mut self.tree.part
    }

    /// Completes the folder and renames it. When this returns, the folder would survive a power
    /// failure.
    ///
    /// # Errors
    /// The zip is incomplete, the folder cannot be written, or the name is taken.
    pub(crate) fn complete(self) -> Result<Unpacked, DiskError> {
        let Self { reader, mut tree, mut loss, attributes, closed, files, .. } = self;
        if let Some(reader) = reader {
            reader.finish().map_err(DiskError::Zip)?;
        }
        let (root, usual) = (tree.part.target(), tree.part.usual());
        if let Some(inside) = tree.part.inside() {
            if tree.resumes {
                // An earlier attempt may have left what is not in this offer.
                let removed = inside.retain(&|path, identity| {
                    tree.named.has_identity(identity)
                        || path.is_some_and(|path| tree.named.contains(path))
                });
                removed.map_err(|error| DiskError::Write { path: root.clone(), error })?;
            }
            let flushed = inside.flush_contents(files, &root, &mut loss);
            let flushed = loss.flush(&root, flushed);
            flushed.map_err(|error| DiskError::Write { path: root.clone(), error })?;
            if let Some(Attributes { modified, .. }) = attributes {
                loss.time(|| root.clone(), inside.set_modified(time(modified)));
            }
        }
        let permissions = attributes.map_or(0o777, |given| given.permissions) & usual;
        // Folders that their owner may not enter get their permissions last, innermost first.
        let is_closed = is_closed(permissions);
        let set_permissions = |tree: &Tree, loss: &mut Loss| {
            if let Some(inside) = tree.part.inside() {
                loss.permissions(|| root.clone(), inside.set_permissions(permissions));
            }
        };
        if !is_closed {
            set_permissions(&tree, &mut loss);
        }
        // Some systems do not rename a folder while a file in it is open.
        tree.open.clear();
        let path = tree.part.complete()?;
        closed.apply(&mut tree, &mut loss);
        if is_closed {
            set_permissions(&tree, &mut loss);
        }
        tree.part.flush_name(&path, &mut loss)?;
        Ok(Unpacked { path, omitted: self.omitted, omitted_more: self.omitted_more, loss })
    }

    fn end_file(&mut self) -> Result<(), DiskError> {
        let Some(Current { file, path, modified, is_empty }) = self.current.take() else {
            return Ok(());
        };
        self.limits.file_end(is_empty)?;
        if let Some(modified) = modified {
            self.loss.time(|| self.tree.place(&path), file.set_modified(time(modified)));
        }
        Ok(())
    }

    /// Removes a file that the sender could not read completely.
    fn omit(&mut self, path: ZipPath) -> Result<(), DiskError> {
        let (above, name) = split(&path);
        match self.tree.enter(&path, above, None)?.remove_file(name) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DiskError::Zip(ZipError::WrongCentralDirectory));
            }
            Err(error) => return Err(self.tree.error(&path, error)),
        }
        self.omitted_bytes += path.as_str().len() + size_of::<ZipPath>();
        if self.omitted_bytes > MAX_KEPT {
            self.omitted_more += 1;
        } else {
            self.omitted.push(path);
        }
        Ok(())
    }

    /// Sets a file's permissions, restricted to those of a new file.
    fn allow_file(&mut self, path: &ZipPath, permissions: u16) -> Result<(), DiskError> {
        let usual = self.tree.part.usual();
        if permissions & usual == 0o666 & usual && !self.tree.resumes {
            return Ok(());
        }
        let place = self.tree.place(path);
        let outcome = match self.tree.open_file(path)? {
            Ok(file) => set_permissions(&file, permissions & usual),
            Err(error) => Err(error),
        };
        self.loss.permissions(|| place, outcome);
        Ok(())
    }

    /// Sets a folder's time and permissions: nothing more is created in it.
    fn end_folder(
        &mut self,
        path: ZipPath,
        permissions: Option<u16>,
        modified: Option<i64>,
    ) -> Result<(), DiskError> {
        let (usual, resumes) = (self.tree.part.usual(), self.tree.resumes);
        let place = self.tree.place(&path);
        let folder = self.tree.enter(&path, path.components(), None)?;
        if let Some(modified) = modified {
            self.loss.time(|| place.clone(), folder.set_modified(time(modified)));
        }
        let Some(mut permissions) = permissions.map(|given| given & usual) else { return Ok(()) };
        if is_closed(permissions) {
            if self.closed.keep(path, permissions) {
                return Ok(());
            }
            permissions |= 0o500 & usual;
        }
        if permissions != usual || resumes {
            self.loss.permissions(|| place, folder.set_permissions(permissions));
        }
        Ok(())
    }
}

/// The folder being filled, and its open subfolders: the one used last and all its parents. Their
/// number is limited by the maximum depth of a path.
#[derive(Debug)]
struct Tree {
    open: Vec<(String, Dir)>,
    part: Part,
    /// Whether files and folders of an earlier attempt may exist in it.
    resumes: bool,
    /// If so, what belongs to this offer.
    named: Named,
}

impl Tree {
    /// The final path of an entry, for messages.
    fn place(&self, path: &ZipPath) -> PathBuf {
        let mut place = self.part.target();
        place.extend(path.components());
        place
    }

    fn error(&self, path: &ZipPath, error: io::Error) -> DiskError {
        DiskError::Write { path: self.place(path), error }
    }

    fn create_file(&mut self, path: &ZipPath, limits: &mut Limits) -> Result<File, DiskError> {
        let (folder, name) = self.free(path, limits)?;
        limits.file()?;
        match folder.create_file(name, Access::Usual) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(duplicate(path)),
            outcome => {
                let file = outcome.map_err(|error| self.error(path, error))?;
                self.record(path, Identity::of(&file))?;
                Ok(file)
            }
        }
    }

    /// Creates a link. The outer error ends the transfer.
    fn create_link(
        &mut self,
        path: &ZipPath,
        target: &str,
        limits: &mut Limits,
    ) -> Result<io::Result<()>, DiskError> {
        let (folder, name) = self.free(path, limits)?;
        limits.folder()?;
        match folder.create_link(target, name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(duplicate(path)),
            Ok(()) => {
                let identity = folder.identity_of(name);
                self.record(path, identity)?;
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    /// The folder of a new file or link, and its name, which is free unless it was used before or is that of a folder.
    fn free<'a>(
        &mut self,
        path: &'a ZipPath,
        limits: &mut Limits,
    ) -> Result<(&Dir, &'a str), DiskError> {
        let (above, name) = split(path);
        if !self.resumes {
            return Ok((self.enter(path, above, Some(limits))?, name));
        }
        if self.named.contains(path.as_str()) {
            return Err(duplicate(path));
        }
        self.enter(path, above, Some(limits))?;
        let folder = self.at(path.components().count().saturating_sub(1))?;
        if let Ok(identity) = folder.identity_of(name) {
            // The file system may not tell this name from an earlier one of this offer.
            if self.named.has_identity(identity) {
                return Err(duplicate(path));
            }
            // What an earlier attempt has left.
            let _gone = folder.remove_file(name);
        }
        Ok((folder, name))
    }

    /// Opens a file of an earlier attempt for writing.
    fn reopen_file(&mut self, path: &ZipPath, limits: &mut Limits) -> Result<File, DiskError> {
        let (above, name) = split(path);
        let folder = self.enter(path, above, Some(limits))?;
        limits.file()?;
        let file = folder.reopen_file(name).map_err(|error| self.error(path, error))?;
        if self.record(path, Identity::of(&file))? { Ok(file) } else { Err(duplicate(path)) }
    }

    /// Records that a file or link belongs to this offer. Returns whether it is new.
    fn record(
        &mut self,
        path: &ZipPath,
        identity: io::Result<Identity>,
    ) -> Result<bool, DiskError> {
        if !self.resumes {
            return Ok(true);
        }
        let identity = identity.map_err(|error| self.error(path, error))?;
        Ok(self.named.insert_identity(identity))
    }

    /// Moves a file here from another incomplete folder.
    fn take_file(
        &mut self,
        from: &Part,
        path: &ZipPath,
        limits: &mut Limits,
    ) -> Result<(), DiskError> {
        let (to, name) = self.free(path, limits)?;
        match from.inside().map_or(Ok(()), |inside| take_from(to, inside, path.as_str(), name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(duplicate(path)),
            outcome => outcome.map_err(|error| self.error(path, error)),
        }
    }

    /// Opens a file that was created before. The outer error ends the transfer.
    fn open_file(&mut self, path: &ZipPath) -> Result<io::Result<File>, DiskError> {
        let (above, name) = split(path);
        match self.enter(path, above, None)?.open_file(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(DiskError::Zip(ZipError::WrongCentralDirectory))
            }
            outcome => Ok(outcome),
        }
    }

    /// Opens a folder and its parents for the entry `path`. With `limits`, missing folders are
    /// created.
    fn enter<'a>(
        &mut self,
        path: &ZipPath,
        components: impl Iterator<Item = &'a str>,
        mut limits: Option<&mut Limits>,
    ) -> Result<&Dir, DiskError> {
        let mut depth = 0;
        let may_write = self.resumes && limits.is_some();
        if may_write {
            self.named.insert(path.as_str());
        }
        for name in components {
            if self.open.get(depth).is_none_or(|(open, _)| open != name) {
                self.open.truncate(depth);
                let opened = open_or_create(self.at(depth)?, name, limits.as_deref_mut())?;
                let opened = opened.map_err(|error| self.error(path, error))?;
                if may_write {
                    let identity = opened.make_writable().and_then(|()| opened.identity());
                    let identity = identity.map_err(|error| self.error(path, error))?;
                    self.named.insert_identity(identity);
                }
                self.open.push((name.to_owned(), opened));
            }
            depth += 1;
        }
        self.at(depth)
    }

    /// The open folder at this depth.
    fn at(&self, depth: usize) -> Result<&Dir, DiskError> {
        let folder = match depth.checked_sub(1) {
            None => self.part.inside(),
            Some(last) => self.open.get(last).map(|(_, dir)| dir),
        };
        folder.ok_or(DiskError::Zip(ZipError::Damaged))
    }
}

fn duplicate(path: &ZipPath) -> DiskError {
    DiskError::Zip(ZipError::Duplicate(path.clone()))
}

/// Moves the file at `path` below `inside`.
fn take_from(to: &Dir, inside: &Dir, path: &str, name: &str) -> io::Result<()> {
    match path.split_once('/') {
        None => to.take_file(inside, name),
        Some((first, rest)) => take_from(to, &inside.open_folder(first)?, rest, name),
    }
}

/// Opens a folder. Creates it if it is missing and `limits` are given. The outer error ends the
/// transfer.
fn open_or_create(
    above: &Dir,
    name: &str,
    limits: Option<&mut Limits>,
) -> Result<io::Result<Dir>, DiskError> {
    match (above.open_folder(name), limits) {
        (Err(error), Some(limits)) if error.kind() == io::ErrorKind::NotFound => {
            limits.folder()?;
            let created = above.create_folder(name, Access::Usual);
            Ok(created.and_then(|()| above.open_folder(name)))
        }
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => {
            Err(DiskError::Zip(ZipError::WrongCentralDirectory))
        }
        (outcome, _) => Ok(outcome),
    }
}

/// Folders that even their owner may not enter or list. Their permissions are set at the end, which
/// requires storing their paths; folders beyond the memory limit keep these rights for the owner.
#[derive(Debug, Default)]
struct Closed {
    folders: Vec<(ZipPath, u16)>,
    bytes: usize,
}

impl Closed {
    /// Stores one for later, if there is room.
    fn keep(&mut self, path: ZipPath, permissions: u16) -> bool {
        self.bytes = self.bytes.saturating_add(path.as_str().len() + size_of::<(ZipPath, u16)>());
        let has_room = self.bytes <= MAX_KEPT;
        if has_room {
            self.folders.push((path, permissions));
        }
        has_room
    }

    /// Sets their permissions, innermost first.
    fn apply(mut self, tree: &mut Tree, loss: &mut Loss) {
        self.folders.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        for (path, permissions) in self.folders {
            let place = tree.place(&path);
            let outcome = match tree.enter(&path, path.components(), None) {
                Ok(folder) => folder.set_permissions(permissions),
                Err(DiskError::Write { error, .. }) => Err(error),
                Err(_) => Err(io::ErrorKind::NotFound.into()),
            };
            loss.permissions(|| place, outcome);
        }
    }
}

/// Whether these permissions prevent the owner from entering or listing a folder.
const fn is_closed(permissions: u16) -> bool {
    permissions & 0o500 != 0o500
}

/// The parent folders of an entry, and its name.
fn split(path: &ZipPath) -> (impl Iterator<Item = &str>, &str) {
    let (above, name) = path.as_str().rsplit_once('/').unwrap_or(("", path.as_str()));
    (above.split('/').filter(|name| !name.is_empty()), name)
}

/// The time, or 1970 if the system cannot represent it.
pub(super) fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let time = if seconds < 0 { epoch.checked_sub(distance) } else { epoch.checked_add(distance) };
    time.unwrap_or(epoch)
}

/// Maximum total bytes of stored paths, of each kind.
const MAX_KEPT: usize = 1 << 20;
