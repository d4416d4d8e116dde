//! The fuzz target for unpacking: the zip of a hostile sender, unpacked to a real disk.
//!
//! It exists only with the feature `fuzzing` and is not part of the public interface.

#![expect(clippy::expect_used, reason = "a panic is how a fuzz target reports an error")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use wormhole_magic::transfer::Attributes;

use super::{Limits, Offered, OnExists, Part, Unpacker};

/// Unpacks a zip into a real folder. Nothing outside may change, and nothing may be left unless the
/// whole zip is valid. The first byte says whether the rest is a zip, or the description of one.
pub fn sdk_unpack(bytes: &[u8]) {
    let Some(([choice, mode], rest)) = bytes.split_first_chunk() else { return };
    let zip = if choice % 2 == 0 { rest.to_vec() } else { forged_zip(rest) };
    let place = Place::new();
    let part = Part::folder(&place.destination.join("d"), OnExists::Refuse).expect("a free name");
    let usual = part.usual();
    let permissions = u16::from(*mode) * 2;
    let attributes = Some(Attributes { permissions, modified: i64::MIN });
    let offered = Offered { bytes: 1 << 16, files: 8, attributes };
    let mut unpacker = Unpacker::new(part, offered, Limits::new(Some(MOST_ENTRIES), 0));
    let piece = usize::from(choice / 2) * 8 + 1;
    let written = zip.chunks(piece).try_for_each(|piece| unpacker.write(piece));
    let complete = written.and_then(|()| unpacker.complete()).is_ok();
    assert_eq!(names(&place.outside), ["kept"]);
    assert_eq!(fs::read(place.outside.join("kept")).expect("a file"), b"kept");
    assert_eq!(names(&place.destination), if complete { vec!["d"] } else { Vec::new() });
    if complete {
        let created = check_tree(&place.destination.join("d"), usual);
        assert!(created <= MOST_ENTRIES + 1);
    }
}

/// Two temporary folders. The zip is unpacked into one of them; both are removed on drop.
struct Place {
    root: PathBuf,
    destination: PathBuf,
    outside: PathBuf,
}

impl Place {
    fn new() -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let root = above.join(format!("wormhole-fuzz-{}-{run}", std::process::id()));
        let (destination, outside) = (root.join("destination"), root.join("outside"));
        for folder in [&root, &destination, &outside] {
            fs::create_dir(folder).expect("a new folder");
        }
        fs::write(outside.join("kept"), "kept").expect("a new file");
        Self { root, destination, outside }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.root);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.expect("an entry"))).collect()
}

/// Counts the entries of a tree, and makes it writable so that it can be removed.
fn check_tree(path: &Path, usual: u16) -> u64 {
    let metadata = fs::symlink_metadata(path).expect("an entry");
    assert!(metadata.is_file() || metadata.is_dir(), "{}", path.display());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o7777;
        assert_eq!(mode & !u32::from(usual), 0, "{mode:o} {}", path.display());
        fs::set_permissions(path, PermissionsExt::from_mode(0o700)).expect("our own");
    }
    if metadata.is_file() {
        return 1;
    }
    names(path).iter().map(|name| check_tree(&path.join(name), usual)).sum::<u64>() + 1
}

/// Makes a well-formed zip of empty files and folders with arbitrary names and modes. Each entry uses
/// two bytes for its kind and mode, and one for each component of its path.
fn forged_zip(mut bytes: &[u8]) -> Vec<u8> {
    let (mut zip, mut omissions, mut table, mut entries) = (vec![], vec![], vec![], 0_u16);
    while let Some(([kind, mode], rest)) = bytes.split_first_chunk() {
        let depth = usize::from(kind % 4) + 1;
        let (path, rest) = rest.split_at(depth.min(rest.len()));
        bytes = rest;
        let components =
            path.iter().filter_map(|byte| COMPONENTS.get(usize::from(*byte) % COMPONENTS.len()));
        let mut name = components.copied().collect::<Vec<_>>().join("/");
        let is_folder = kind & 4 != 0;
        if is_folder {
            name.push('/');
        }
        let length = u16::try_from(name.len()).expect("short").to_le_bytes();
        // Neither compressed nor encrypted; time, CRC and sizes are 0.
        let common = [&[20, 0, 0, 8][..], &[0; 18], &length, &[0; 2]].concat();
        if kind & 8 == 0 {
            zip.extend([b"PK\x03\x04", &common[..], name.as_bytes()].concat());
        }
        let kinds = if is_folder { 0o040_000 } else { 0o100_000 } ^ u32::from(kind / 64) << 13;
        let attributes = ((kinds | u32::from(*mode) << 4) << 16).to_le_bytes();
        let rest = [b"\x14\x03", &common[..], &[0; 6], &attributes, &[0; 4]].concat();
        if kind & 32 != 0 {
            omissions.extend([b"PK\x06\x09", &rest[..], name.as_bytes()].concat());
        }
        if kind & 16 == 0 {
            table.extend([b"PK\x01\x02", &rest[..], name.as_bytes()].concat());
            entries += 1;
        }
    }
    let count = entries.to_le_bytes();
    zip.append(&mut omissions);
    zip.append(&mut table);
    zip.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &[0; 10]].concat());
    zip
}

/// Components of names: ordinary ones, and ones that leave the folder or collide.
const COMPONENTS: [&str; 16] = [
    "a", "b", "c", "A", "new", "d.part", "..", ".", "", "/", "outside", "kept", "a\0", "\u{e9}",
    "\n", "a\\..",
];

/// Maximum number of files and folders.
const MOST_ENTRIES: u64 = 16;
