//! Tests that received data gets its final name only when it is complete, and that other users with write
//! access to the destination cannot redirect it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

use rand_core::{OsRng, RngCore};
use wormhole_magic::transfer::zip::{Entry, EntryKind, ZipPath, ZipWriter};
use wormhole_magic::transfer::{Attributes, PeerName};

use super::super::OnExists;
use super::*;

/// A folder of a test's own, gone with it.
struct Root(PathBuf);

impl Root {
    fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Where thousands of folders take no time, if there is such a place.
    fn in_memory() -> Self {
        let shared = Path::new("/dev/shm");
        if shared.is_dir() { Self::below(shared) } else { Self::new() }
    }

    fn below(folder: &Path) -> Self {
        let path = folder.join(format!("wormhole-sink-{:016x}", OsRng.next_u64()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names in it, sorted.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn open(&self, offer: &Offer, on_exists: OnExists) -> Result<Sink, Error> {
        Sink::open(Destination::Folder { folder: self.0.clone(), on_exists }, offer, None)
    }

    /// Receives a file with these contents; `meanwhile` is done before it is complete.
    fn receive_file(
        &self,
        name: &str,
        contents: &[u8],
        on_exists: OnExists,
        meanwhile: impl FnOnce(),
    ) -> Result<PathBuf, Error> {
        let size = u64::try_from(contents.len()).unwrap();
        let mut sink = self
            .open(&Offer::File { name: PeerName::new(name), size, attributes: None }, on_exists)?;
        sink.write(contents)?;
        meanwhile();
        sink.complete().map(|written| written.path.unwrap())
    }

    /// The same for a folder with one file in it.
    fn receive_folder(
        &self,
        name: &str,
        on_exists: OnExists,
        meanwhile: impl FnOnce(),
    ) -> Result<PathBuf, Error> {
        let mut sink = self.open(&directory(name, 1, 1, None), on_exists)?;
        sink.write(&zip(&[file("sub/new", 0o644)]))?;
        meanwhile();
        sink.complete().map(|written| written.path.unwrap())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

fn directory(name: &str, bytes: u64, files: u64, attributes: Option<Attributes>) -> Offer {
    Offer::Directory { name: PeerName::new(name), zip_size: 0, bytes, files, attributes }
}

fn file(path: &str, permissions: u16) -> Entry {
    let path = ZipPath::parse(path).unwrap();
    Entry { path, permissions, modified: 1_000_000_000, kind: EntryKind::File(1) }
}

fn folder(path: &str, permissions: u16) -> Entry {
    Entry { kind: EntryKind::Folder, ..file(path, permissions) }
}

/// A zip of these entries; each file contains `x`.
fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut writer, mut zip) = (ZipWriter::new(), Vec::new());
    for entry in entries {
        writer.begin(entry.clone(), &mut zip).unwrap();
        if entry.kind == EntryKind::File(1) {
            writer.data(b"x");
            zip.push(b'x');
        }
    }
    writer.finish(&mut zip).unwrap();
    zip
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The mode that the system gives a new folder, and a new file.
fn usual(root: &Root) -> (u32, u32) {
    let (folder, file) = (root.at("usual folder"), root.at("usual file"));
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "").unwrap();
    let modes = (mode(&folder), mode(&file));
    fs::remove_dir(&folder).unwrap();
    fs::remove_file(&file).unwrap();
    modes
}

#[test]
fn a_directory_is_private_until_it_is_complete_and_then_what_the_umask_leaves() {
    let root = Root::new();
    let (usual, _) = usual(&root);
    for (name, permissions) in
        [("none", None), ("closed", Some(0o500)), ("open", Some(0o777)), ("own", Some(0o700))]
    {
        let attributes =
            permissions.map(|permissions| Attributes { permissions, modified: 1_000_000_000 });
        let mut sink = root.open(&directory(name, 0, 0, attributes), OnExists::Refuse).unwrap();
        assert_eq!(mode(&root.at(&format!("{name}.part"))), 0o700);
        sink.write(&zip(&[])).unwrap();
        let path = sink.complete().unwrap().path.unwrap();
        assert_eq!(mode(&path), permissions.map_or(usual, |given| u32::from(given) & usual));
    }
}

#[test]
fn a_file_is_private_until_it_is_complete_and_then_like_any_new_file() {
    let root = Root::new();
    let (_, usual) = usual(&root);
    let part = root.at("f.part");
    let path = root.receive_file("f", b"x", OnExists::Refuse, || assert_eq!(mode(&part), 0o600));
    assert_eq!(mode(&path.unwrap()), usual);
    assert_eq!(root.names(), ["f"]);
}

#[test]
fn received_files_have_no_setuid_bits_and_no_permissions_beyond_the_umask() {
    let root = Root::new();
    let (usual, _) = usual(&root);
    let mut sink = root.open(&directory("d", 2, 2, None), OnExists::Refuse).unwrap();
    let entries = [
        file("sub/tool", 0o7777),
        file("sub/secret", 0o600),
        folder("sub", 0o7777),
        folder("own", 0o1700),
    ];
    sink.write(&zip(&entries)).unwrap();
    sink.complete().unwrap();
    for (name, expected) in
        [("sub/tool", usual), ("sub/secret", 0o600), ("sub", usual), ("own", 0o700)]
    {
        assert_eq!(mode(&root.at("d").join(name)), expected, "{name}");
    }
}

/// The order is one that our own sender never uses: a folder before what is in it.
#[test]
fn folders_without_permissions_are_filled_and_get_their_permissions_at_the_end() {
    let root = Root::new();
    let attributes = Some(Attributes { permissions: 0o055, modified: 1_000_000_000 });
    let mut sink = root.open(&directory("d", 2, 2, attributes), OnExists::Refuse).unwrap();
    let entries = [
        folder("a", 0o000),
        folder("a/b", 0o200),
        folder("read only", 0o555),
        file("a/b/f", 0o640),
        file("read only/g", 0o600),
    ];
    sink.write(&zip(&entries)).unwrap();
    let written = sink.complete().unwrap();
    assert_eq!(written.lost, None);
    let at = |name: &str| root.at("d").join(name);
    assert_eq!(mode(&root.at("d")), 0o055);
    // Only root can still look.
    if fs::read_dir(at("a")).is_ok() {
        assert_eq!((mode(&at("a")), mode(&at("a/b"))), (0, 0o200));
        assert_eq!((mode(&at("read only")), mode(&at("a/b/f"))), (0o555, 0o640));
        let modified = fs::metadata(at("a")).unwrap().modified().unwrap();
        assert_eq!(modified, std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000));
    }
    fs::set_permissions(root.at("d"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(at("a"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(at("a/b"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(at("read only"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_is_given_up_leaves_nothing_behind_whatever_its_permissions() {
    let root = Root::new();
    let mut sink = root.open(&directory("d", 2, 2, None), OnExists::Refuse).unwrap();
    let entries =
        [file("a/b/f", 0o400), file("c/g", 0o400), folder("a/b", 0o500), folder("a", 0o500)];
    let zip = zip(&entries);
    // All but the end of the table of contents.
    sink.write(&zip[..zip.len() - 22]).unwrap();
    assert_eq!(mode(&root.at("d.part/a")), 0o500);
    drop(sink);
    assert_eq!(root.names(), Vec::<String>::new());
}

#[test]
fn a_second_file_with_the_longest_name_is_kept_under_a_shorter_one() {
    let root = Root::new();
    for name in [
        "n".repeat(255),
        format!("{}.txt", "ü".repeat(125)),
        format!("n.{}", "e".repeat(253)),
        format!(".{}", "h".repeat(254)),
    ] {
        fs::write(root.at(&name), "first").unwrap();
        let path = root.receive_file(&name, b"second", OnExists::KeepBoth, || ()).unwrap();
        assert!(path.to_str().unwrap().contains(" (1)"), "{}", path.display());
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read(root.at(&name)).unwrap(), b"first");
    }
}

#[test]
fn a_name_that_is_taken_meanwhile_costs_nothing_unless_that_was_chosen() {
    let root = Root::new();
    let appear = |name: &str| fs::write(root.at(name), "theirs").unwrap();
    for (name, on_exists, gets) in [
        ("keep", OnExists::KeepBoth, "keep (1)"),
        ("replace", OnExists::Overwrite, "replace"),
        ("folder", OnExists::Overwrite, "folder (1)"),
    ] {
        let path = root.receive_file(name, b"ours", on_exists, || {
            if name == "folder" { fs::create_dir(root.at(name)).unwrap() } else { appear(name) }
        });
        assert_eq!(path, Ok(root.at(gets)));
        assert_eq!(fs::read(root.at(gets)).unwrap(), b"ours");
    }
    assert_eq!(fs::read(root.at("keep")).unwrap(), b"theirs");
    let refused = root.receive_file("refuse", b"ours", OnExists::Refuse, || appear("refuse"));
    assert_eq!(refused, Err(Error::Exists(root.at("refuse"))));
    assert_eq!(fs::read(root.at("refuse")).unwrap(), b"theirs");
}

#[test]
fn a_folder_never_replaces_anything_not_even_an_empty_folder() {
    let root = Root::new();
    for (name, on_exists) in [("keep", OnExists::KeepBoth), ("replace", OnExists::Overwrite)] {
        let meanwhile = || fs::create_dir(root.at(name)).unwrap();
        let path = root.receive_folder(name, on_exists, meanwhile).unwrap();
        assert_eq!(path, root.at(&format!("{name} (1)")));
        assert!(path.join("sub/new").is_file());
        assert_eq!(fs::read_dir(root.at(name)).unwrap().count(), 0);
    }
    let again = root.receive_folder("replace", OnExists::Overwrite, || ());
    assert_eq!(again, Err(Error::Exists(root.at("replace"))));
}

#[test]
fn a_name_that_is_taken_again_and_again_is_not_given_up() {
    let root = Root::new();
    for number in 0..50 {
        let name = if number == 0 { "f".to_owned() } else { format!("f ({number})") };
        fs::write(root.at(&name), "theirs").unwrap();
    }
    let path = root.receive_file("f", b"ours", OnExists::KeepBoth, || ()).unwrap();
    assert_eq!(path, root.at("f (50)"));
}

/// Another user with write access to the destination moves what we create out of the way and puts a link to
/// another folder there, as fast as possible.
fn attack(root: &Root, victim: &Path, part: &str, stop: &AtomicBool) {
    let (part, aside) = (root.at(part), root.at("aside"));
    while !stop.load(Ordering::Relaxed) {
        if symlink(victim, &part).is_err() {
            let _not_there = fs::rename(&part, &aside);
            let _taken = symlink(victim, &part);
        }
        let _ours = fs::remove_file(&part);
        let _gone = fs::remove_dir_all(&aside).or_else(|_| fs::remove_file(&aside));
    }
}

#[test]
fn nothing_is_written_outside_even_if_incomplete_files_are_replaced() {
    let (root, victim) = (Root::new(), Root::new());
    fs::write(victim.at("precious"), "kept").unwrap();
    let before = mode(&victim.0);
    let stop = AtomicBool::new(false);
    let (mut complete, mut failed) = (0, 0);
    std::thread::scope(|scope| {
        for part in ["d.part", "f.part"] {
            scope.spawn(|| attack(&root, &victim.0, part, &stop));
        }
        for _ in 0..300 {
            let outcomes = [
                root.receive_folder("d", OnExists::KeepBoth, || ()),
                root.receive_file("f", b"x", OnExists::KeepBoth, || ()),
            ];
            for outcome in outcomes {
                if outcome.is_ok() { complete += 1 } else { failed += 1 }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((complete + failed, victim.names()), (600, vec!["precious".to_owned()]));
    assert_eq!(fs::read(victim.at("precious")).unwrap(), b"kept");
    assert_eq!(mode(&victim.0), before);
}

#[test]
fn what_was_replaced_is_not_called_received() {
    let (root, victim) = (Root::new(), Root::new());
    fs::write(victim.at("f"), "theirs").unwrap();
    let outcome = root.receive_file("f", b"ours", OnExists::Refuse, || {
        fs::remove_file(root.at("f.part")).unwrap();
        symlink(victim.at("f"), root.at("f.part")).unwrap();
    });
    assert!(matches!(outcome, Err(Error::WriteFailed { .. })), "{outcome:?}");
    // The link is not ours to remove.
    assert_eq!(root.names(), ["f.part"]);
    fs::remove_file(root.at("f.part")).unwrap();
    let outcome = root.receive_folder("d", OnExists::Refuse, || {
        fs::rename(root.at("d.part"), root.at("moved")).unwrap();
        symlink(&victim.0, root.at("d.part")).unwrap();
    });
    assert!(matches!(outcome, Err(Error::WriteFailed { .. })), "{outcome:?}");
    // Our folder is emptied wherever it is now; theirs is not touched.
    assert_eq!(fs::read_dir(root.at("moved")).unwrap().count(), 0);
    assert_eq!(victim.names(), ["f"]);
}

#[test]
fn a_file_that_cannot_be_opened_to_flush_it_ends_the_transfer_unless_its_permissions_forbid_it() {
    let root = Root::new();
    let outcome = root.receive_folder("d", OnExists::Refuse, || {
        fs::remove_file(root.at("d.part/sub/new")).unwrap();
        // A socket cannot be opened.
        UnixListener::bind(root.at("d.part/sub/new")).unwrap();
    });
    assert!(matches!(outcome, Err(Error::WriteFailed { .. })), "{outcome:?}");
    assert_eq!(root.names(), Vec::<String>::new());
    let mut sink = root.open(&directory("d", 2, 2, None), OnExists::Refuse).unwrap();
    sink.write(&zip(&[file("a", 0o200), file("b", 0o644)])).unwrap();
    // The superuser may open everything.
    let is_readable = fs::File::open(root.at("d.part/a")).is_ok();
    let lost = sink.complete().unwrap().lost;
    assert_eq!(lost.as_ref().map(|lost| lost.unflushed), (!is_readable).then_some(1));
    assert_eq!(lost.map(|lost| lost.path), (!is_readable).then(|| root.at("d/a")));
}

/// Bytes of memory that this process uses.
#[cfg(target_os = "linux")]
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_entries() {
    let root = Root::in_memory();
    let destination = Destination::Folder { folder: root.0.clone(), on_exists: OnExists::Refuse };
    let mut sink = Sink::open(destination, &directory("d", 0, 0, None), Some(40_100)).unwrap();
    let (mut writer, mut zip) = (ZipWriter::new(), Vec::new());
    for number in 0..40_000 {
        let path = format!("{}/{}{number}", number / 1000, "n".repeat(240));
        writer.begin(folder(&path, 0o755), &mut zip).unwrap();
    }
    let before = memory();
    for piece in zip.chunks(1 << 16) {
        sink.write(piece).unwrap();
    }
    let grown = memory().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
    drop(sink);
    assert_eq!(root.names(), Vec::<String>::new());
}

#[test]
fn a_bomb_of_folders_is_refused_early_and_leaves_nothing() {
    let root = Root::in_memory();
    // The announced number of files does not matter.
    let mut sink = root.open(&directory("d", 0, 900_000, None), OnExists::Refuse).unwrap();
    let (mut writer, mut out) = (ZipWriter::new(), Vec::new());
    let mut refused = None;
    for number in 0..20_000 {
        out.clear();
        writer.begin(folder(&format!("f{number}"), 0o755), &mut out).unwrap();
        if let Err(error) = sink.write(&out) {
            refused = Some((number, error));
            break;
        }
    }
    assert_eq!(refused, Some((16_384, Error::TooManyFolders(16_384))));
    drop(sink);
    assert_eq!(root.names(), Vec::<String>::new());
    let mut sink = root.open(&directory("d", 0, 900_000, None), OnExists::Refuse).unwrap();
    let (mut writer, mut out) = (ZipWriter::new(), Vec::new());
    for number in 0..10_000 {
        writer.begin(folder(&format!("f{number}"), 0o755), &mut out).unwrap();
        let empty = Entry { kind: EntryKind::File(0), ..file(&format!("f{number}/e"), 0o644) };
        writer.begin(empty, &mut out).unwrap();
    }
    assert_eq!(sink.write(&out), Err(Error::TooManyFolders(16_384)), "empty files buy nothing");
    drop(sink);
    assert_eq!(root.names(), Vec::<String>::new());
    let too_many = root.open(&directory("d", 0, 1_000_001, None), OnExists::Refuse);
    assert_eq!(too_many.err(), Some(Error::TooManyEntries(1_000_000)));
}
