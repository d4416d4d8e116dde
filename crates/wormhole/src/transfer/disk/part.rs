//! A file or folder that is not complete yet: created private as `NAME.part`, given its name when
//! everything has come, removed if that does not happen.

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

/// What to do when the destination exists. It is decided when the transfer begins and again when
/// everything has come, as the name may be taken meanwhile.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum OnExists {
    /// Take the first free of `name (1)`, `name (2)`, ...
    KeepBoth,
    /// Replace a file, once the new one is complete. A folder is never replaced, nor does a folder
    /// replace anything: one that is there from the start is an error, and if one appears meanwhile
    /// both are kept.
    Overwrite,
    /// End with an error and leave it alone.
    #[default]
    Refuse,
}

/// Why something cannot be created.
#[derive(Debug)]
pub(crate) enum DiskError {
    /// The name is taken.
    Exists(PathBuf),
    /// More files and folders than may be created.
    TooManyEntries(u64),
    /// More folders and empty files than an offer like this one pays for.
    TooManyFolders(u64),
    /// The system refuses.
    Write { path: PathBuf, error: io::Error },
    /// The zip is refused.
    Zip(ZipError),
}

/// The name that something gets when it is complete, and the one it has until then.
#[derive(Debug)]
pub(crate) struct Part {
    destination: Dir,
    /// The destination as the user wrote it.
    folder: PathBuf,
    name: OsString,
    temporary: OsString,
    identity: Identity,
    on_exists: OnExists,
    usual: Usual,
    /// Open, if it is a folder.
    inside: Option<Dir>,
    is_complete: bool,
}

/// A file that is not complete yet.
#[derive(Debug)]
pub(crate) struct PartFile {
    /// Before the name, so that it is closed before it is removed.
    pub(crate) file: File,
    pub(crate) part: Part,
}

impl Part {
    /// Creates a file for `target`.
    ///
    /// # Errors
    /// It exists, or cannot be created.
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
    /// It exists, or cannot be created.
    pub(crate) fn folder(target: &Path, on_exists: OnExists) -> Result<Self, DiskError> {
        let place = Place::open(target, on_exists, true)?;
        let created = place.first_free(|destination, name| {
            destination.create_folder(name, Access::Private)?;
            // Until this succeeds it may be somebody else's, put there in the meantime.
            let opened = open_own(destination, name);
            if opened.is_err() {
                // An empty folder is no loss, whosever it is; there is nothing else to try.
                let _left = destination.remove_folder(name);
            }
            opened
        });
        let (temporary, (usual, inside)) = created.map_err(|error| place.error(error))?;
        let identity = inside.identity().map_err(|error| place.error(error))?;
        Ok(place.into_part(temporary, usual, identity, Some(inside)))
    }

    /// The open folder, if it is one.
    pub(super) const fn inside(&self) -> Option<&Dir> {
        self.inside.as_ref()
    }

    /// The permissions that the system leaves of 0777 for what is created here.
    pub(crate) const fn usual(&self) -> u16 {
        self.usual.permissions
    }

    /// The path it will have, for messages.
    pub(crate) fn target(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Bytes that are free where it is; `None` if the system does not tell.
    pub(crate) fn free_space(&self) -> Option<u64> {
        self.destination.free_space()
    }

    /// Gives it its name. Returns its path.
    ///
    /// # Errors
    /// The name is taken and the user wants neither another one nor to replace what has it; or
    /// somebody else has put something in its place.
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
        Ok(self.folder.join(name))
    }

    /// Waits until the name would survive a loss of power.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn flush_name(&self, path: &Path, loss: &mut Loss) -> Result<(), DiskError> {
        let flushed = loss.flush(path, self.destination.flush_names());
        flushed.map_err(|error| DiskError::Write { path: path.to_owned(), error })
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
    /// Everything has come: gives the file what was offered with it, as far as the system would give
    /// that to a new one, and its name. Returns its path, and what was lost.
    ///
    /// # Errors
    /// It cannot be flushed, or the name is taken.
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
        if self.is_complete {
            return;
        }
        // If any of this fails there is nothing left to try.
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

/// Where something is going to be created.
struct Place {
    destination: Dir,
    folder: PathBuf,
    name: OsString,
    on_exists: OnExists,
}

impl Place {
    /// Opens the folder of `target`, and looks whether the name is free as far as that is wanted.
    fn open(target: &Path, on_exists: OnExists, is_folder: bool) -> Result<Self, DiskError> {
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

    /// Creates something under the first free name that shows it is not complete.
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

    fn into_part(
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
            is_complete: false,
        }
    }
}

/// Opens a folder that was just created, and makes sure that nobody has put one of theirs in its
/// place: then nobody else can create, move or see anything in it.
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
fn temporary(name: &OsStr, number: u32) -> OsString {
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

const REPLACED: &str = "somebody else has put something in its place";

/// Names tried before giving up.
const MAX_NUMBER: u32 = 999;
