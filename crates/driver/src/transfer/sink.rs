//! Where what is received goes: under a provisional name until it is complete.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use wormhole_magic::transfer::Attributes;
use wormhole_magic::transfer::zip::ZipPath;

use super::unpack::{FolderEnd, Unpacker, time};
use super::{Destination, Error, Offer, OnExists, PeerMisbehaved, durable};

/// Takes the bytes. Dropped before it is complete, it leaves nothing behind.
pub(super) enum Sink {
    File { file: File, part: Part, modified: Option<i64> },
    Tree(Box<Unpacker>),
    Writer(Box<dyn Write + Send>),
}

impl Sink {
    /// Prepares the destination of an offer.
    ///
    /// # Errors
    /// It exists, has too little room, or cannot be written; nothing was changed.
    pub(super) fn open(destination: Destination, offer: &Offer) -> Result<Self, Error> {
        let target = destination.target(offer).map_err(|why| {
            let name = offer.name().cloned();
            name.map_or(Error::Rejected, |name| PeerMisbehaved::UnsafeName { name, why }.into())
        })?;
        let on_exists = destination.on_exists();
        let Some(target) = target else {
            return match destination {
                Destination::Writer(writer) => Ok(Self::Writer(writer)),
                Destination::Folder { .. } | Destination::Path { .. } => Err(Error::Rejected),
            };
        };
        let is_tree = matches!(offer, Offer::Directory { .. });
        if let Ok(existing) = std::fs::symlink_metadata(&target)
            && (on_exists == OnExists::Refuse
                || on_exists == OnExists::Overwrite && (is_tree || existing.is_dir()))
        {
            return Err(Error::Exists(target));
        }
        // An offer may lie about one of the two.
        let needed = offer.unpacked().unwrap_or(0).max(offer.carried().unwrap_or(0));
        check_space(&target, needed)?;
        match offer {
            Offer::Directory { bytes, files, attributes, .. } => {
                let (end, part) =
                    Part::create(target, on_exists, |path| FolderEnd::create(path, *attributes))?;
                Ok(Self::Tree(Box::new(Unpacker::new(part, end, *bytes, *files))))
            }
            Offer::File { attributes, .. } => Self::open_file(target, on_exists, *attributes),
            Offer::Stream { .. } | Offer::Text(_) | _ => Self::open_file(target, on_exists, None),
        }
    }

    fn open_file(
        target: PathBuf,
        on_exists: OnExists,
        attributes: Option<Attributes>,
    ) -> Result<Self, Error> {
        let create = |path: &Path| create_file(path, attributes);
        let (file, part) = Part::create(target, on_exists, create)?;
        Ok(Self::File { file, part, modified: attributes.map(|attributes| attributes.modified) })
    }

    /// Takes the next bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self {
            Self::File { file, part, .. } => {
                file.write_all(bytes).map_err(|error| failed(&part.target, error))
            }
            Self::Tree(unpacker) => unpacker.write(bytes),
            Self::Writer(writer) => {
                writer.write_all(bytes).map_err(|error| failed(Path::new("-"), error))
            }
        }
    }

    /// Everything has come: gives it its name. When this returns, the sender may be told that it has
    /// arrived: it would survive a loss of power.
    pub(super) fn complete(self) -> Result<Written, Error> {
        match self {
            Self::File { file, part, modified } => {
                if let Some(modified) = modified {
                    // A file system that has no such times can still hold the file.
                    let _without = file.set_modified(time(modified));
                }
                durable::file(&file).map_err(|error| failed(&part.target, error))?;
                drop(file);
                let path = part.complete()?;
                durable::name(&path).map_err(|error| failed(&path, error))?;
                Ok(Written { path: Some(path), omitted: Vec::new() })
            }
            Self::Tree(unpacker) => {
                let (path, omitted) = unpacker.complete()?;
                durable::name(&path).map_err(|error| failed(&path, error))?;
                Ok(Written { path: Some(path), omitted })
            }
            Self::Writer(mut writer) => {
                writer.flush().map_err(|error| failed(Path::new("-"), error))?;
                Ok(Written::default())
            }
        }
    }
}

/// What was written.
#[derive(Default)]
pub(super) struct Written {
    /// The file or folder, if it has a name.
    pub(super) path: Option<PathBuf>,
    /// Files of the folder that the sender could not read to their end.
    pub(super) omitted: Vec<ZipPath>,
}

/// Creates a file with the permissions that were offered, as far as the system's mask allows them.
#[cfg(unix)]
fn create_file(path: &Path, offered: Option<Attributes>) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mode = offered.map_or(0o666, |offered| u32::from(offered.permissions & 0o777));
    File::options().write(true).create_new(true).mode(mode).open(path)
}

#[cfg(not(unix))]
fn create_file(path: &Path, _: Option<Attributes>) -> io::Result<File> {
    File::create_new(path)
}

/// A file or folder that is not complete yet: `NAME.part`. Removed when it is dropped.
pub(super) struct Part {
    path: PathBuf,
    target: PathBuf,
    on_exists: OnExists,
    complete: bool,
}

impl Part {
    /// Creates it beside the target, under the first free name.
    fn create<T>(
        target: PathBuf,
        on_exists: OnExists,
        create: impl Fn(&Path) -> io::Result<T>,
    ) -> Result<(T, Self), Error> {
        let mut number = 0_u32;
        loop {
            let path = part_path(&target, number);
            match create(&path) {
                Ok(made) => return Ok((made, Self { path, target, on_exists, complete: false })),
                Err(error)
                    if error.kind() == io::ErrorKind::AlreadyExists && number < MAX_NUMBER =>
                {
                    number += 1;
                }
                Err(error) => return Err(failed(&target, error)),
            }
        }
    }

    /// Where it is for now.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name.
    pub(super) fn complete(mut self) -> Result<PathBuf, Error> {
        let mut target = self.target.clone();
        let mut number = 0_u32;
        loop {
            let outcome = match self.on_exists {
                OnExists::Overwrite => std::fs::rename(&self.path, &target),
                OnExists::KeepBoth | OnExists::Refuse => rename_new(&self.path, &target),
            };
            match outcome {
                Ok(()) => break,
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(failed(&target, error));
                }
                Err(_) if self.on_exists == OnExists::KeepBoth && number < MAX_NUMBER => {
                    number += 1;
                    target = numbered(&self.target, number);
                }
                Err(_) => return Err(Error::Exists(target)),
            }
        }
        self.complete = true;
        Ok(target)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.complete {
            // If even this fails there is nothing left to try.
            let _left = std::fs::remove_file(&self.path).or_else(|_| remove_tree(&self.path));
        }
    }
}

/// Removes a tree, also one whose folders have got their permissions and may not be changed.
fn remove_tree(root: &Path) -> io::Result<()> {
    std::fs::remove_dir_all(root).or_else(|_| {
        open_up(root)?;
        std::fs::remove_dir_all(root)
    })
}

#[cfg(unix)]
fn open_up(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn open_up(_: &Path) -> io::Result<()> {
    Ok(())
}

/// What is to be known of a file before it is closed: file systems on other machines write some of
/// it only then, and dropping a `File` swallows their error. On this machine it is in the system's
/// hands, as with every program; waiting for the disk would double the time of small files.
#[cfg(target_os = "linux")]
pub(super) fn end(file: &File) -> io::Result<()> {
    let distant = rustix::fs::fstatfs(file).is_ok_and(|system| {
        let kind = u64::try_from(system.f_type).unwrap_or_default() & 0xffff_ffff;
        DISTANT.contains(&kind)
    });
    if distant { file.sync_data() } else { Ok(()) }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "other systems do not tell where a file is")]
pub(super) const fn end(_: &File) -> io::Result<()> {
    Ok(())
}

/// Renames only if there is nothing under the new name.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot do that in one step.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => look_and_rename(from, to),
        outcome => Ok(outcome?),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    look_and_rename(from, to)
}

fn look_and_rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}

/// `NAME.part`, `NAME.1.part`, ... beside the target.
fn part_path(target: &Path, number: u32) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let stem = shortened(&name, MAX_STEM);
    target.with_file_name(match number {
        0 => format!("{stem}.part"),
        number => format!("{stem}.{number}.part"),
    })
}

/// `name (1).ext`, `name (2).ext`, ...
fn numbered(target: &Path, number: u32) -> PathBuf {
    let stem = target.file_stem().unwrap_or_default().to_string_lossy();
    let extension = target.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    let extension = extension.unwrap_or_default();
    let extension = shortened(&extension, MAX_STEM / 2);
    let stem = shortened(&stem, MAX_STEM.saturating_sub(extension.len()));
    target.with_file_name(format!("{stem} ({number}){extension}"))
}

/// The beginning of a name, in whole characters.
fn shortened(name: &str, most: usize) -> &str {
    let mut end = name.len().min(most);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

/// Checks that the file system of the target has `needed` bytes left.
#[cfg(unix)]
fn check_space(target: &Path, needed: u64) -> Result<(), Error> {
    let folder = target.parent().filter(|path| !path.as_os_str().is_empty());
    // What cannot be asked is found out by writing.
    let Ok(system) = rustix::fs::statvfs(folder.unwrap_or_else(|| Path::new("."))) else {
        return Ok(());
    };
    let available = system.f_bavail.saturating_mul(system.f_frsize);
    if available < needed { Err(Error::NoSpace { needed, available }) } else { Ok(()) }
}

/// Other systems tell when the room is used up.
#[cfg(not(unix))]
const fn check_space(_: &Path, _: u64) -> Result<(), Error> {
    Ok(())
}

/// An error of the system while writing to `path`.
pub(super) fn failed(path: &Path, error: io::Error) -> Error {
    Error::WriteFailed { path: path.to_owned(), why: error.into() }
}

/// Kinds of file systems on other machines or in other programs (statfs(2)): 9P, AFS, Ceph, CIFS,
/// FUSE, NFS, SMB and SMB2.
#[cfg(target_os = "linux")]
const DISTANT: [u64; 8] =
    [0x0102_1997, 0x5346_414f, 0x00c3_6400, 0xff53_4d42, 0x6573_5546, 0x6969, 0x517b, 0xfe53_4d42];

/// Names tried before giving up.
const MAX_NUMBER: u32 = 999;

/// Bytes of a name that are kept when more is put behind it: file systems allow 255.
const MAX_STEM: usize = 240;

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use wormhole_magic::transfer::zip::ZipWriter;
    use wormhole_magic::transfer::{Attributes, PeerName};

    use super::*;

    #[expect(clippy::unwrap_used, reason = "a test's helper")]
    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_directory_is_its_owners_alone_until_it_is_complete() {
        let root = std::env::temp_dir().join(format!("wormhole-owner-{}", std::process::id()));
        std::fs::create_dir(&root).unwrap();
        std::fs::create_dir(root.join("usual")).unwrap();
        let usual = mode(&root.join("usual"));
        for (name, permissions) in
            [("none", None), ("closed", Some(0o500)), ("open", Some(0o755)), ("own", Some(0o700))]
        {
            let attributes =
                permissions.map(|permissions| Attributes { permissions, modified: 1_000_000_000 });
            let name = PeerName::new(name);
            let offer = Offer::Directory { name, zip_size: 22, bytes: 0, files: 0, attributes };
            let destination =
                Destination::Folder { folder: root.clone(), on_exists: OnExists::Refuse };
            let mut sink = Sink::open(destination, &offer).unwrap();
            let Sink::Tree(unpacker) = &sink else { panic!("not a tree") };
            assert_eq!(mode(unpacker.place()), 0o700);
            let mut zip = Vec::new();
            ZipWriter::new().finish(&mut zip).unwrap();
            sink.write(&zip).unwrap();
            let path = sink.complete().unwrap().path.unwrap();
            assert_eq!(mode(&path), permissions.map_or(usual, u32::from));
        }
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_second_file_with_the_longest_name_is_kept_under_a_shorter_one() {
        let root = std::env::temp_dir().join(format!("wormhole-long-{}", std::process::id()));
        std::fs::create_dir(&root).unwrap();
        for name in [
            "n".repeat(255),
            format!("{}.txt", "ü".repeat(125)),
            format!("n.{}", "e".repeat(253)),
            format!(".{}", "h".repeat(254)),
        ] {
            std::fs::write(root.join(&name), "first").unwrap();
            let offer = Offer::File { name: PeerName::new(&name), size: 6, attributes: None };
            let folder = root.clone();
            let destination = Destination::Folder { folder, on_exists: OnExists::KeepBoth };
            let mut sink = Sink::open(destination, &offer).unwrap();
            sink.write(b"second").unwrap();
            let path = sink.complete().unwrap().path.unwrap();
            assert!(path.to_str().unwrap().contains(" (1)"), "{}", path.display());
            assert_eq!(std::fs::read(&path).unwrap(), b"second");
            assert_eq!(std::fs::read(root.join(&name)).unwrap(), b"first");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }

    /// Root may remove such a tree anyway; everybody else may not.
    #[test]
    fn a_part_with_closed_folders_is_removed() {
        let root = std::env::temp_dir().join(format!("wormhole-closed-{}", std::process::id()));
        let inner = root.join("part/a/b");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("file"), "x").unwrap();
        for folder in [&inner, inner.parent().unwrap()] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o500)).unwrap();
        }
        let path = root.join("part");
        let target = root.join("target");
        drop(Part { path, target, on_exists: OnExists::Refuse, complete: false });
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
