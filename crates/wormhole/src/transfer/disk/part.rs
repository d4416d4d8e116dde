//! An incomplete file or folder: created private as `NAME.part`, renamed when it is complete, and
//! removed if it never is.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use wormhole_magic::transfer::Attributes;
use wormhole_magic::transfer::name::{join_name, split_extension};
use wormhole_magic::transfer::zip::ZipError;

use super::dir::{Access, Dir, Identity, Usual, is_private, set_permissions};
use super::loss::Loss;
use super::unpack::time;

/// What to do if the destination exists. This is checked when the transfer begins and again when
/// the data is complete, because the name may be taken meanwhile.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum OnExists {
    /// Use the first free name of `name (1)`, `name (2)`, ...
    KeepBoth,
    /// Replace a file once the new one is complete. A folder is never replaced and never replaces
    /// anything: if one exists at the start, that is an error, and if one appears later, both are
    /// kept.
    Overwrite,
    /// Return an error and leave it unchanged.
    #[default]
    Refuse,
}

/// Why a file or folder cannot be created.
#[derive(Debug)]
pub(crate) enum DiskError {
    /// The name is taken.
    Exists(PathBuf),
    /// The limit for files and folders is exceeded.
    TooManyEntries(u64),
    /// The limit for folders and empty files of such an offer is exceeded.
    TooManyFolders(u64),
    /// An error of the system.
    Write { path: PathBuf, error: io::Error },
    /// The zip is invalid.
    Zip(ZipError),
}

/// The temporary and the final name of a file or folder.
#[derive(Debug)]
pub(crate) struct Part {
    destination: Dir,
    /// The destination as the user typed it.
    folder: PathBuf,
    name: OsString,
    temporary: OsString,
    identity: Identity,
    on_exists: OnExists,
    usual: Usual,
    /// The open folder, if it is one.
    inside: Option<Dir>,
    /// The name of the journal, if there is one.
    pub(super) journal: Option<OsString>,
    /// Whether to leave it for a later attempt.
    is_kept: bool,
    is_complete: bool,
}

/// An incomplete file.
#[derive(Debug)]
pub(crate) struct PartFile {
    /// This field comes before the name, so that the file is closed before it is removed.
    pub(crate) file: File,
    pub(crate) part: Part,
}

impl Part {
    /// Creates a file for `target`.
    ///
    /// # Errors
    /// The target exists, or the file cannot be created.
    pub(crate) fn file(target: &Path, on_exists: OnExists) -> Result<PartFile, DiskError> {
        let place = Place::open(target, on_exists, false)?;
        let created = place.first_free(|destination, name| {
            let usual = destination.usual(name)?;
            let file = destination.create_file(name, Access::Private)?;
            Ok((usual, Identity::of(&file)?, file))
        });
        let (temporary, (usual, identity, file)) = created.map_err(|error| place.error(error))?;
        Ok(PartFile { file, part: place.into_part(temporary, usual, identity, None) })
    }

    /// Creates a folder for `target`.
    ///
    /// # Errors
    /// The target exists, or the folder cannot be created.
    pub(crate) fn folder(target: &Path, on_exists: OnExists) -> Result<Self, DiskError> {
        let place = Place::open(target, on_exists, true)?;
        let created = place.first_free(|destination, name| {
            destination.create_folder(name, Access::Private)?;
            // Until this succeeds, it may be another user's folder that took its place.
            let opened = open_own(destination, name);
            if opened.is_err() {
                // Removing an empty folder loses nothing, even if it belongs to another user; an error has no further
                // remedy.
                let _left = destination.remove_folder(name);
            }
            opened
        });
        let (temporary, (usual, inside)) = created.map_err(|error| place.error(error))?;
        let identity = inside.identity().map_err(|error| place.error(error))?;
        Ok(place.into_part(temporary, usual, identity, Some(inside)))
    }

    /// The open folder, if this is one.
    pub(super) const fn inside(&self) -> Option<&Dir> {
        self.inside.as_ref()
    }

    /// The permissions that the system gives to a new file here when 0777 is requested.
    pub(crate) const fn usual(&self) -> u16 {
        self.usual.permissions
    }

    /// Leaves it for a later attempt, instead of removing it.
    pub(crate) const fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Whether it is left for a later attempt.
    pub(crate) const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Removes it after all, when it is dropped.
    pub(crate) const fn discard(&mut self) {
        self.is_kept = false;
    }

    /// Where it is until it is complete.
    pub(crate) fn temporary_path(&self) -> PathBuf {
        self.folder.join(&self.temporary)
    }

    /// The folder in which it is, its temporary name, and its identity.
    pub(super) const fn location(&self) -> (&Dir, &OsString, Identity) {
        (&self.destination, &self.temporary, self.identity)
    }

    /// The final path, for messages.
    pub(crate) fn target(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Free bytes on its file system; `None` if the system does not report them.
    pub(crate) fn free_space(&self) -> Option<u64> {
        self.destination.free_space()
    }

    /// Renames it to its final name. Returns its path.
    ///
    /// # Errors
    /// The name is taken and the user chose neither another name nor replacing; or another user has
    /// put something in its place.
    pub(crate) fn complete(&mut self) -> Result<PathBuf, DiskError> {
        let path = self.target();
        let replaced =
            || DiskError::Write { path: path.clone(), error: io::Error::other(REPLACED) };
        if !self.destination.has(&self.temporary, self.identity) {
            return Err(replaced());
        }
        let name = self.rename()?;
        if !self.destination.has(&name, self.identity) {
            return Err(replaced());
        }
        self.is_complete = true;
        self.remove_journal();
        Ok(self.folder.join(name))
    }

    /// Waits until the name would survive a power failure.
    ///
    /// # Errors
    /// The folder cannot be flushed.
    pub(super) fn flush_name(&self, path: &Path, loss: &mut Loss) -> Result<(), DiskError> {
        let flushed = loss.flush(path, self.destination.flush_names());
        flushed.map_err(|error| DiskError::Write { path: path.to_owned(), error })
    }

    /// If this fails, a later transfer removes the journal.
    fn remove_journal(&mut self) {
        if let Some(journal) = self.journal.take() {
            let _left = self.destination.remove_file(journal);
        }
    }

    fn rename(&self) -> Result<OsString, DiskError> {
        let may_replace = self.on_exists == OnExists::Overwrite && self.inside.is_none();
        let mut name = self.name.clone();
        for number in 1..=MAX_NUMBER {
            let outcome = if may_replace && number == 1 {
                self.destination.replace(&self.temporary, &name)
            } else {
                self.destination.rename_new(&self.temporary, &name)
            };
            match outcome {
                Ok(()) => return Ok(name),
                Err(error) if !is_taken(&error) => {
                    return Err(DiskError::Write { path: self.folder.join(name), error });
                }
                Err(_) if self.on_exists == OnExists::Refuse => break,
                Err(_) => name = numbered(&self.name, number),
            }
        }
        Err(DiskError::Exists(self.folder.join(name)))
    }
}

impl PartFile {
    /// Completes the file: sets the offered metadata, restricted to the permissions of a new file,
    /// and renames it. Returns its path and the losses.
    ///
    /// # Errors
    /// The file cannot be flushed, or the name is taken.
    pub(crate) fn complete(
        self,
        attributes: Option<Attributes>,
    ) -> Result<(PathBuf, Loss), DiskError> {
        let Self { file, mut part } = self;
        let (target, mut loss) = (part.target(), Loss::default());
        if let Some(Attributes { modified, .. }) = attributes {
            loss.time(|| target.clone(), file.set_modified(time(modified)));
        }
        let permissions = attributes.map_or(0o666, |given| given.permissions) & part.usual();
        if attributes.is_some() || is_private(&file) {
            loss.permissions(|| target.clone(), set_permissions(&file, permissions));
        }
        let flushed = loss.flush(&target, file.sync_all());
        flushed.map_err(|error| DiskError::Write { path: target, error })?;
        drop(file);
        let path = part.complete()?;
        part.flush_name(&path, &mut loss)?;
        Ok((path, loss))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.is_complete || self.is_kept {
            return;
        }
        self.remove_journal();
        // If any of this fails, there is no further remedy.
        if let Some(inside) = self.inside.take() {
            let _left = inside.clear();
            drop(inside);
            if self.destination.has(&self.temporary, self.identity) {
                let _left = self.destination.remove_folder(&self.temporary);
            }
        } else if self.destination.has(&self.temporary, self.identity) {
            let _left = self.destination.remove_file(&self.temporary);
        }
    }
}

/// The place where a file or folder will be created.
pub(super) struct Place {
    pub(super) destination: Dir,
    pub(super) folder: PathBuf,
    pub(super) name: OsString,
    on_exists: OnExists,
}

impl Place {
    /// Opens the folder of `target` and checks that the name is free, if that is required.
    pub(super) fn open(
        target: &Path,
        on_exists: OnExists,
        is_folder: bool,
    ) -> Result<Self, DiskError> {
        let wrong = |error: io::Error| DiskError::Write { path: target.to_owned(), error };
        let name = target.file_name().ok_or_else(|| wrong(io::ErrorKind::InvalidInput.into()))?;
        let folder = target.parent().unwrap_or_else(|| Path::new(""));
        let destination = Dir::open(folder).map_err(wrong)?;
        let existing = destination.is_folder(name).map_err(wrong)?;
        let is_refused = match on_exists {
            OnExists::KeepBoth => false,
            OnExists::Overwrite => existing.is_some_and(|existing| existing || is_folder),
            OnExists::Refuse => existing.is_some(),
        };
        if is_refused {
            return Err(DiskError::Exists(target.to_owned()));
        }
        let (folder, name) = (folder.to_owned(), name.to_owned());
        Ok(Self { destination, folder, name, on_exists })
    }

    /// Creates a file or folder under the first free temporary name.
    fn first_free<T>(
        &self,
        create: impl Fn(&Dir, &OsStr) -> io::Result<T>,
    ) -> io::Result<(OsString, T)> {
        let mut number = 0;
        loop {
            let name = temporary(&self.name, number);
            match create(&self.destination, &name) {
                Err(error) if is_taken(&error) && number < MAX_NUMBER => number += 1,
                outcome => return outcome.map(|created| (name, created)),
            }
        }
    }

    fn error(&self, error: io::Error) -> DiskError {
        DiskError::Write { path: self.folder.join(&self.name), error }
    }

    pub(super) fn into_part(
        self,
        temporary: OsString,
        usual: Usual,
        identity: Identity,
        inside: Option<Dir>,
    ) -> Part {
        Part {
            destination: self.destination,
            folder: self.folder,
            name: self.name,
            temporary,
            identity,
            on_exists: self.on_exists,
            usual,
            inside,
            journal: None,
            is_kept: false,
            is_complete: false,
        }
    }
}

/// Opens a newly created folder and checks that no other user has replaced it. After that, nobody
/// else can create, move or see anything in it.
fn open_own(destination: &Dir, name: &OsStr) -> io::Result<(Usual, Dir)> {
    let inside = destination.open_folder(name)?;
    let usual = inside.usual("new")?;
    if inside.belongs_to(usual)? { Ok((usual, inside)) } else { Err(io::Error::other(REPLACED)) }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists
            | io::ErrorKind::DirectoryNotEmpty
            | io::ErrorKind::IsADirectory
    )
}

/// `NAME.part`, `NAME.1.part`, ...
pub(super) fn temporary(name: &OsStr, number: u32) -> OsString {
    let end = if number == 0 { ".part".to_owned() } else { format!(".{number}.part") };
    join_name(&name.to_string_lossy(), "", &end).into()
}

/// `name (1).ext`, `name (2).ext`, ...
fn numbered(name: &OsStr, number: u32) -> OsString {
    let Some(text) = name.to_str() else {
        let mut numbered = name.to_owned();
        numbered.push(format!(" ({number})"));
        return numbered;
    };
    let (stem, extension) = split_extension(text);
    join_name(stem, &format!(" ({number})"), extension).into()
}

const REPLACED: &str = "another program has put something else at this path";

/// Maximum number of names to try.
const MAX_NUMBER: u32 = 999;
