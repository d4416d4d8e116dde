//! Our zip reader and writer against those of the `zip` crate.
//!
//! Each reads what the other writes. Where one accepts what the other refuses, the difference is
//! listed in [`differences`]: our reader is a stream that sees the table of contents last, and
//! everything that it hands out is created on a disk, so it refuses what could do harm there.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Cursor, Read as _, Write as _};

use proptest::prelude::*;
use proptest::sample::Index;
use wormhole_magic::transfer::zip::{Entry, EntryKind, Piece, ZipError, ZipPath, ZipReader};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive};

/// What an archive contains: paths in alphabetical order, `None` for a folder.
type Tree = Vec<(String, Option<Vec<u8>>)>;

/// Unpacks with our reader, which gets the archive in pieces of this size.
fn ours(archive: &[u8], piece: usize) -> Result<Tree, ZipError> {
    let mut reader = ZipReader::new(LIMIT, u64::MAX);
    let mut tree = Tree::new();
    for mut input in archive.chunks(piece.max(1)) {
        while let Some(piece) = reader.next(&mut input)? {
            match piece {
                Piece::Folder(path) => tree.push((path.as_str().to_owned(), None)),
                Piece::File { path, .. } => tree.push((path.as_str().to_owned(), Some(Vec::new()))),
                Piece::Data(bytes) => {
                    tree.last_mut().unwrap().1.as_mut().unwrap().extend_from_slice(bytes);
                }
                Piece::Omitted(path) => tree.retain(|(name, _)| name != path.as_str()),
                Piece::FileEnd | Piece::Permissions { .. } => {}
            }
        }
    }
    reader.finish()?;
    tree.sort();
    Ok(tree)
}

/// Unpacks with the `zip` crate.
fn theirs(archive: &[u8]) -> zip::result::ZipResult<Tree> {
    let mut archive = ZipArchive::new(Cursor::new(archive))?;
    let mut tree = Tree::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        // Not as text: names that are not marked as Unicode would be read in the code page of MS-DOS.
        let name = String::from_utf8_lossy(file.name_raw()).into_owned();
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        tree.push(match name.strip_suffix('/') {
            Some(name) => (name.to_owned(), None),
            None => (name, Some(data)),
        });
    }
    tree.sort();
    Ok(tree)
}

/// Writes with our writer.
fn written_by_us(tree: &Tree) -> Vec<u8> {
    let mut writer = wormhole_magic::transfer::zip::ZipWriter::new();
    let mut archive = Vec::new();
    for (path, data) in tree {
        let kind = match data {
            Some(data) => EntryKind::File(u64::try_from(data.len()).unwrap()),
            None => EntryKind::Folder,
        };
        let path = ZipPath::parse(path).unwrap();
        let entry = Entry { path, permissions: 0o751, modified: 1_700_000_001, kind };
        writer.begin(entry, &mut archive).unwrap();
        let data = data.as_deref().unwrap_or_default();
        writer.data(data);
        archive.extend(data);
    }
    writer.finish(&mut archive).unwrap();
    archive
}

/// How the `zip` crate writes a file.
#[derive(Clone, Copy, Debug)]
struct Style {
    is_deflated: bool,
    /// With sizes of 64 bits (ZIP64).
    needs_zip64: bool,
}

impl Style {
    fn options(self) -> SimpleFileOptions {
        let method =
            if self.is_deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        SimpleFileOptions::default().compression_method(method).large_file(self.needs_zip64)
    }
}

/// Writes with the `zip` crate; `styles` are used in turn. As a stream, sizes follow the data.
fn written_by_them(tree: &Tree, styles: &[Style], is_stream: bool) -> Vec<u8> {
    if is_stream {
        let writer = zip::ZipWriter::new_stream(Vec::new());
        write_with(writer, tree, styles).into_inner()
    } else {
        let writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        write_with(writer, tree, styles).into_inner()
    }
}

fn write_with<W: std::io::Write + std::io::Seek>(
    mut writer: zip::ZipWriter<W>,
    tree: &Tree,
    styles: &[Style],
) -> W {
    for ((path, data), style) in tree.iter().zip(styles.iter().cycle()) {
        match data {
            None => writer.add_directory(path.as_str(), style.options()).unwrap(),
            Some(data) => {
                writer.start_file(path.as_str(), style.options()).unwrap();
                writer.write_all(data).unwrap();
            }
        }
    }
    writer.finish().unwrap()
}

/// Trees of files and folders with names in several scripts. Every path is different.
fn trees() -> impl Strategy<Value = Tree> {
    let data = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..600),
        (any::<u8>(), 0..200_000_usize).prop_map(|(byte, length)| vec![byte; length]),
        // Looks like the end of a file, and is not.
        Just(b"PK\x07\x08PK\x07\x08\0\0\0\0PK\x01\x02PK\x05\x06".to_vec()),
    ];
    let name = "[a-z .\u{e9}\u{65e5}\u{1f600}-]{0,9}(/[A-Z_]{1,5}){0,3}";
    prop::collection::vec((name, prop::option::weighted(0.8, data)), 0..8).prop_map(|entries| {
        let numbered = entries.into_iter().enumerate();
        let mut tree: Tree =
            numbered.map(|(at, (name, data))| (format!("{at}{name}"), data)).collect();
        tree.sort();
        tree
    })
}

fn styles() -> impl Strategy<Value = Vec<Style>> {
    let style = any::<(bool, bool)>();
    let style = style.prop_map(|(is_deflated, needs_zip64)| Style { is_deflated, needs_zip64 });
    prop::collection::vec(style, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_zip_crate_reads_what_we_write(tree in trees()) {
        let archive = written_by_us(&tree);
        prop_assert_eq!(&theirs(&archive).unwrap(), &tree);
        let mut archive = ZipArchive::new(Cursor::new(archive)).unwrap();
        for (path, data) in tree {
            let folder = format!("{path}/");
            let name = if data.is_some() { &path } else { &folder };
            let mode = archive.by_name(name).unwrap().unix_mode().unwrap();
            prop_assert_eq!(mode & 0o7777, 0o751);
        }
    }

    #[test]
    fn we_read_what_the_zip_crate_writes(
        tree in trees(),
        styles in styles(),
        is_stream in any::<bool>(),
        piece in 1..5000_usize,
    ) {
        let archive = written_by_them(&tree, &styles, is_stream);
        prop_assert_eq!(ours(&archive, piece), Ok(tree));
    }

    /// Nobody can build an archive that two programs unpack to different files.
    #[test]
    fn a_changed_archive_that_both_accept_has_the_same_content_for_both(
        tree in trees(),
        styles in styles(),
        is_stream in any::<bool>(),
        is_ours in any::<bool>(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..3),
    ) {
        let mut archive =
            if is_ours { written_by_us(&tree) } else { written_by_them(&tree, &styles, is_stream) };
        for (place, byte) in changes {
            let place = place.index(archive.len());
            archive[place] = byte;
        }
        if let (Ok(ours), Ok(theirs)) = (ours(&archive, usize::MAX), theirs(&archive)) {
            prop_assert_eq!(ours, theirs);
        }
    }
}

/// One archive that only one of the two readers accepts: what is special about it, the archive, and
/// the error of our reader, or `None` if the `zip` crate is the one that refuses.
type Difference = (&'static str, Vec<u8>, Option<ZipError>);

/// All known differences between the two readers.
fn differences() -> Vec<Difference> {
    let path = |path: &str| ZipPath::parse(path).unwrap();
    let archive = sample();
    let named = |name: &[u8]| replace(&archive, b"ab/file", name);
    let refused = |name: &str| Some(ZipPath::parse(name).unwrap_err().into());
    let changed = |mark: &[u8], at: usize, byte: u8| {
        let mut archive = archive.clone();
        let place = position(&archive, mark) + at;
        archive[place] = byte;
        archive
    };
    let (central, end) = (position(&archive, b"PK\x01\x02"), position(&archive, b"PK\x05\x06"));
    vec![
        // Our reader refuses what must not be created on a disk.
        ("a path upwards", named(b"../file"), refused("../file")),
        ("an absolute path", named(b"/a/file"), refused("/a/file")),
        ("an empty component", named(b"ab//ile"), refused("ab//ile")),
        ("a zero byte in a path", named(b"ab/\0ile"), refused("ab/\0ile")),
        ("a path that is not Unicode", named(b"ab/\xffile"), Some(ZipError::NotUnicode)),
        ("a symbolic link", link(), Some(ZipError::NotAFile(path("link")))),
        // Our reader refuses an archive with bytes that another program would not see.
        ("bytes before it", [b"#!/bin/sh\n", &archive[..]].concat(), Some(ZipError::Damaged)),
        ("bytes after it", [&archive[..], b"more"].concat(), Some(ZipError::Trailing)),
        (
            "a file that is not listed",
            {
                let mut archive = [&archive[..central], &archive[end..]].concat();
                let end = position(&archive, b"PK\x05\x06");
                archive[end + 8..end + 16].fill(0);
                archive
            },
            Some(ZipError::WrongCentralDirectory),
        ),
        (
            "a file that is listed twice",
            {
                let mut archive =
                    [&archive[..end], &archive[central..end], &archive[end..]].concat();
                let end = position(&archive, b"PK\x05\x06");
                archive[end + 8] = 2;
                archive[end + 10] = 2;
                archive[end + 12] *= 2;
                archive
            },
            Some(ZipError::WrongCentralDirectory),
        ),
        (
            "another name in the table",
            changed(b"PK\x03\x04", 30, b'x'),
            Some(ZipError::WrongCentralDirectory),
        ),
        // Our reader does not look at positions: it reads from the first byte to the last.
        ("a wrong position of a file", changed(b"PK\x01\x02", 42, 1), None),
        ("a wrong position of the table", changed(b"PK\x05\x06", 16, 1), None),
    ]
}

#[test]
fn what_only_one_of_both_accepts_is_known() {
    for (what, archive, refusal) in differences() {
        let (ours, theirs) = (ours(&archive, 7), theirs(&archive));
        assert_eq!(ours.clone().err(), refusal, "{what}");
        assert_ne!(ours.is_ok(), theirs.is_ok(), "{what}: {theirs:?}");
    }
}

#[test]
fn the_archives_with_differences_are_accepted_without_them() {
    let tree = vec![("ab/file".to_owned(), Some(b"content".to_vec()))];
    assert_eq!(ours(&sample(), 7), Ok(tree.clone()));
    assert_eq!(theirs(&sample()).unwrap(), tree);
}

/// Of an empty file, the sizes of 32 bits and of 64 bits that follow its data begin alike.
#[test]
fn an_empty_file_with_sizes_of_64_bits_behind_it_is_read() {
    let tree = vec![("empty".to_owned(), Some(Vec::new())), ("next".to_owned(), Some(vec![1]))];
    for is_deflated in [false, true] {
        let archive = written_by_them(&tree, &[Style { is_deflated, needs_zip64: true }], true);
        assert_eq!(ours(&archive, 5), Ok(tree.clone()));
    }
}

/// A file that the sender could not read is in neither tree.
#[test]
fn both_leave_out_an_omitted_file() {
    let entry = |path: &str, size| Entry {
        path: ZipPath::parse(path).unwrap(),
        permissions: 0o644,
        modified: 0,
        kind: EntryKind::File(size),
    };
    let mut writer = wormhole_magic::transfer::zip::ZipWriter::new();
    let mut archive = Vec::new();
    writer.begin(entry("unreadable", 2), &mut archive).unwrap();
    writer.data(&[0, 0]);
    archive.extend([0, 0]);
    writer.omit(&mut archive).unwrap();
    writer.begin(entry("good", 1), &mut archive).unwrap();
    writer.data(b"x");
    archive.extend(b"x");
    writer.finish(&mut archive).unwrap();
    let tree = vec![("good".to_owned(), Some(b"x".to_vec()))];
    assert_eq!(ours(&archive, 3), Ok(tree.clone()));
    assert_eq!(theirs(&archive).unwrap(), tree);
}

/// One stored file, written by the `zip` crate.
fn sample() -> Vec<u8> {
    let tree: Tree = vec![("ab/file".into(), Some(b"content".to_vec()))];
    written_by_them(&tree, &[Style { is_deflated: false, needs_zip64: false }], false)
}

/// A symbolic link, written by the `zip` crate.
fn link() -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    writer.finish().unwrap().into_inner()
}

fn position(archive: &[u8], mark: &[u8]) -> usize {
    archive.windows(mark.len()).position(|window| window == mark).unwrap()
}

/// Replaces every occurrence by as many bytes.
fn replace(archive: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = archive.to_vec();
    for at in 0..=archive.len() - from.len() {
        if archive[at..].starts_with(from) {
            replaced[at..at + to.len()].copy_from_slice(to);
        }
    }
    replaced
}

/// Bytes that an archive may unpack to.
const LIMIT: u64 = 1 << 30;
