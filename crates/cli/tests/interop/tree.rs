//! Files to send, and what has arrived of them.
//!
//! Contents are reproducible noise; nothing here knows who sends.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// What is at one path below a folder.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Entry {
    File { executable: bool, bytes: Vec<u8> },
    Folder { is_empty: bool },
}

/// Everything below a folder, by relative path.
pub(crate) type Tree = BTreeMap<String, Entry>;

/// Bytes that look random and are the same in every run.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A file that takes seconds to send and no room on the disk: all of it is a hole.
pub(crate) fn endless_file(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(path).unwrap().set_len(4 << 30).unwrap();
}

/// Fills `folder` with what file systems allow and programs stumble over.
pub(crate) fn fill_with_odd_names(folder: &Path) {
    fs::create_dir_all(folder.join("empty folder/deeper")).unwrap();
    fs::create_dir_all(folder.join("sub/ünter ordner")).unwrap();
    fs::write(folder.join("-rf"), noise(10)).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::write(folder.join("a name with spaces.txt"), noise(70_000)).unwrap();
    fs::write(folder.join("sub/ünter ordner/日本語 🌀.bin"), noise(300_000)).unwrap();
    fs::write(folder.join("sub/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.join("sub/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// Reads everything below `folder`.
pub(crate) fn read(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    read_into(&mut tree, folder, "");
    tree
}

fn read_into(tree: &mut Tree, folder: &Path, above: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{above}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            let is_empty = fs::read_dir(&path).unwrap().next().is_none();
            tree.insert(name.clone(), Entry::Folder { is_empty });
            read_into(tree, &path, &format!("{name}/"));
        } else {
            let executable = path.metadata().unwrap().permissions().mode() & 0o100 != 0;
            tree.insert(name, Entry::File { executable, bytes: fs::read(&path).unwrap() });
        }
    }
}

/// The names directly in `folder`.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// The files of the tree, without its folders and permissions: what every peer carries.
pub(crate) fn files(tree: &Tree) -> BTreeMap<&str, &[u8]> {
    tree.iter()
        .filter_map(|(name, entry)| match entry {
            Entry::File { bytes, .. } => Some((name.as_str(), bytes.as_slice())),
            Entry::Folder { .. } => None,
        })
        .collect()
}

/// The names inside a tar archive.
pub(crate) fn names_in_tar(path: &Path) -> Vec<String> {
    let mut command = Command::new("tar");
    let output =
        command.args(["--list", "--quoting-style=literal", "--file"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Whether a file begins like a zip archive.
pub(crate) fn is_zip(path: &Path) -> bool {
    let mut magic = [0; 4];
    fs::File::open(path).unwrap().read_exact(&mut magic).unwrap();
    magic == *b"PK\x03\x04"
}
