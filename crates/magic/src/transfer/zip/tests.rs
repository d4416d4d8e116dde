//! Tests with zips of this and of other programs: complete, in pieces, and modified.

use proptest::prelude::*;

use super::*;
use crate::transfer::PeerName;

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap()
}

/// The contents of an unpacked zip.
#[derive(Debug, Default, Eq, PartialEq)]
struct Tree {
    folders: Vec<String>,
    files: Vec<(String, Vec<u8>, Option<i64>)>,
    permissions: Vec<(String, Option<u16>)>,
    omitted: Vec<String>,
}

fn unpack<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, offered: u64) -> Result<Tree, ZipError> {
    unpack_files(pieces, offered, u64::MAX)
}

fn unpack_files<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    offered: u64,
    files: u64,
) -> Result<Tree, ZipError> {
    let mut reader = ZipReader::new(offered, files);
    let mut tree = Tree::default();
    let mut data = Vec::new();
    for mut input in pieces {
        while let Some(piece) = reader.next(&mut input)? {
            match piece {
                Piece::Folder(path) => tree.folders.push(path.as_str().to_owned()),
                Piece::File { path, modified } => {
                    tree.files.push((path.as_str().to_owned(), Vec::new(), modified));
                }
                Piece::Data(bytes) => data.extend_from_slice(bytes),
                Piece::FileEnd => tree.files.last_mut().unwrap().1 = std::mem::take(&mut data),
                Piece::Permissions { path, permissions, .. } => {
                    tree.permissions.push((path.as_str().to_owned(), permissions));
                }
                Piece::Omitted(path) => tree.omitted.push(path.as_str().to_owned()),
            }
        }
        assert!(input.is_empty());
    }
    reader.finish()?;
    Ok(tree)
}

fn file(path: &str, data: &[u8]) -> (Entry, Vec<u8>) {
    let size = to_u64(data.len());
    let path = ZipPath::parse(path).unwrap();
    let kind = EntryKind::File(size);
    (Entry { path, permissions: 0o640, modified: 1_700_000_001, kind }, data.to_vec())
}

fn folder(path: &str) -> (Entry, Vec<u8>) {
    let path = ZipPath::parse(path).unwrap();
    (Entry { path, permissions: 0o755, modified: -86_400, kind: EntryKind::Folder }, Vec::new())
}

fn zip(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new();
    let mut zip = Vec::new();
    for (entry, data) in entries {
        writer.begin(entry.clone(), &mut zip).unwrap();
        writer.data(data);
        zip.extend(data);
    }
    writer.finish(&mut zip).unwrap();
    zip
}

fn sample() -> Vec<(Entry, Vec<u8>)> {
    vec![
        file("hello.txt", b"hello\n"),
        file("zero", b""),
        folder("sub/empty"),
        file("sub/-odd name \u{e9}", &[b'P'; 100]),
        // Looks like the end of a file, and is not.
        file("trap", b"PK\x07\x08PK\x07\x08\0\0\0\0PK\x07"),
    ]
}

const FROM_PYTHON: &[u8] = include_bytes!("../../../../../vectors/magic/zip-python.zip");
const FROM_WILLIAM: &[u8] = include_bytes!("../../../../../vectors/magic/zip-william.zip");

#[test]
fn what_is_written_is_read_and_has_the_length_that_was_announced() {
    let entries = sample();
    let zip = zip(&entries);
    assert_eq!(ZipWriter::length(entries.iter().map(|(entry, _)| entry)), to_u64(zip.len()));
    let tree = unpack([&zip[..]], 1 << 20).unwrap();
    assert_eq!(tree.folders, ["sub/empty"]);
    for ((entry, data), (path, unpacked, modified)) in
        entries.iter().filter(|(entry, _)| entry.kind != EntryKind::Folder).zip(&tree.files)
    {
        assert_eq!((entry.path.as_str(), data), (path.as_str(), unpacked));
        assert_eq!(*modified, Some(1_700_000_001));
    }
    assert_eq!(tree.permissions[0], ("hello.txt".to_owned(), Some(0o640)));
    assert_eq!(tree.permissions[2], ("sub/empty".to_owned(), Some(0o755)));
}

#[test]
fn an_empty_folder_is_a_zip_without_entries() {
    let zip = zip(&[]);
    assert_eq!(ZipWriter::length([]), to_u64(zip.len()));
    assert_eq!(unpack([&zip[..]], 0), Ok(Tree::default()));
}

#[test]
fn zips_of_python_and_go_are_read() {
    for (name, recorded, files) in [("python", FROM_PYTHON, 5), ("william", FROM_WILLIAM, 4)] {
        let tree = unpack([recorded], 1 << 20).unwrap();
        assert_eq!(tree.files.len(), files, "{name}");
        let find = |path: &str| &tree.files.iter().find(|file| file.0 == path).unwrap().1;
        assert_eq!(find("h.txt"), b"hello\n", "{name}");
        assert_eq!(find("zero"), b"", "{name}");
        assert_eq!(find("sub/r.bin").len(), 3000, "{name}");
    }
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_outputs(
        which in 0..3_usize,
        mut cuts in prop::collection::vec(0..4000_usize, 0..40),
    ) {
        let zip = match which {
            0 => zip(&sample()),
            1 => FROM_PYTHON.to_vec(),
            _ => FROM_WILLIAM.to_vec(),
        };
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([zip.len()]) {
            let to = cut.clamp(from, zip.len());
            pieces.push(&zip[from..to]);
            from = to;
        }
        prop_assert_eq!(unpack(pieces, 1 << 20), unpack([&zip[..]], 1 << 20));
    }

    #[test]
    fn noise_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut noise = b"PK\x03\x04".to_vec();
        noise.extend(bytes);
        prop_assert!(unpack([&noise[..]], 1 << 20).is_err());
    }

    #[test]
    fn one_changed_byte_never_goes_unnoticed_in_contents(at in 0..1000_usize, bit in 0..8_u8) {
        let original = FROM_PYTHON.to_vec();
        let mut changed = original.clone();
        let at = at % changed.len();
        changed[at] ^= 1 << bit;
        if let Ok(tree) = unpack([&changed[..]], 1 << 20) {
            // Versions, times and attributes may differ; what is in the files may not.
            let expected = unpack([&original[..]], 1 << 20).unwrap();
            prop_assert_eq!(tree.files, expected.files);
        }
    }
}

#[test]
fn a_zip_cut_anywhere_is_refused() {
    for zip in [zip(&sample()), FROM_PYTHON.to_vec(), FROM_WILLIAM.to_vec()] {
        for length in 0..zip.len() {
            assert!(unpack([&zip[..length]], 1 << 20).is_err(), "{length}");
        }
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut zip = zip(&sample());
    zip.extend_from_slice(b"more");
    assert_eq!(unpack([&zip[..]], 1 << 20), Err(ZipError::Trailing));
}

#[test]
fn more_than_was_offered_is_refused_when_it_comes() {
    let zip = zip(&[file("a", &[7; 1000])]);
    assert!(unpack([&zip[..]], 1000).is_ok());
    assert_eq!(unpack([&zip[..]], 999), Err(ZipError::Bomb(999)));
    // 10 MiB of zeros in 10 KiB, in one file.
    let mut bomb = deflated("bomb", &vec![0; 10 << 20]);
    assert_eq!(unpack([&bomb[..]], 10_000), Err(ZipError::Bomb(10_000)));
    bomb.truncate(500);
    assert_eq!(unpack([&bomb[..]], 10_000), Err(ZipError::Bomb(10_000)));
}

#[test]
fn a_path_that_leads_elsewhere_is_refused() {
    for path in ["../x", "/etc/x", "a/../x", "a//x", "./xx"] {
        let name = "n".repeat(path.len());
        let zip = replace(&zip(&[file(&name, b"x")]), name.as_bytes(), path.as_bytes());
        let refused = ZipError::UnsafePath(path::UnsafePath(PeerName::new(path)));
        assert_eq!(unpack([&zip[..]], 10), Err(refused), "{path}");
    }
    let zip = replace(&zip(&[file("nn", b"x")]), b"nn", b"\xff\xfe");
    assert_eq!(unpack([&zip[..]], 10), Err(ZipError::NotUnicode));
}

#[test]
fn a_symbolic_link_is_refused() {
    let plain = zip(&[file("link", b"/etc/passwd")]);
    let mode = (0o100_640_u32 << 16).to_le_bytes();
    let zip = replace(&plain, &mode, &(0o120_777_u32 << 16).to_le_bytes());
    let path = ZipPath::parse("link").unwrap();
    assert_eq!(unpack([&zip[..]], 100), Err(ZipError::NotAFile(path)));
}

#[test]
fn a_table_of_contents_in_another_order_is_taken() {
    let original = zip(&[file("aa", b"1"), file("bb", b"2"), folder("cc")]);
    let lines: Vec<_> = positions(&original, b"PK\x01\x02");
    let end = positions(&original, b"PK\x05\x06")[0];
    let (one, two) = (&original[lines[0]..lines[1]], &original[lines[1]..lines[2]]);
    let other = [&original[..lines[0]], &original[lines[2]..end], two, one, &original[end..]];
    let tree = unpack([&other.concat()[..]], 100).unwrap();
    let paths: Vec<_> = tree.permissions.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["cc", "bb", "aa"]);
}

/// Where `bytes` contain `mark`.
fn positions(bytes: &[u8], mark: &[u8]) -> Vec<usize> {
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(mark)).collect()
}

#[test]
fn a_wrong_checksum_is_refused_at_the_end_of_its_file() {
    let path = ZipPath::parse("a").unwrap();
    let zip = replace(&zip(&[file("a", b"contents")]), b"contents", b"c0ntents");
    assert_eq!(unpack([&zip[..]], 100), Err(ZipError::WrongChecksum(path)));
}

#[test]
fn a_table_of_contents_that_differs_is_refused() {
    let original = zip(&[file("aa", b"1"), file("bb", b"2")]);
    let table = original.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let (contents, table) = original.split_at(table);
    let other_name = [contents, &replace(table, b"bb", b"cc")].concat();
    assert_eq!(unpack([&other_name[..]], 100), Err(ZipError::WrongCentralDirectory));
    let twice = [contents, &replace(table, b"bb", b"aa")].concat();
    assert_eq!(unpack([&twice[..]], 100), Err(ZipError::WrongCentralDirectory));
    let second = table[1..].windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap() + 1;
    let missing = [contents, &table[second..]].concat();
    assert_eq!(unpack([&missing[..]], 100), Err(ZipError::WrongCentralDirectory));
    let repeated = [contents, &table[..second], table].concat();
    assert_eq!(unpack([&repeated[..]], 100), Err(ZipError::WrongCentralDirectory));
}

#[test]
fn encrypted_or_unusual_compression_is_refused() {
    let original = zip(&[file("a", b"1")]);
    for (at, value) in [(6, 9), (8, 14), (8, 99)] {
        let mut changed = original.clone();
        changed[at] = value;
        assert_eq!(unpack([&changed[..]], 100), Err(ZipError::Unsupported), "{value}");
    }
}

#[test]
fn damaged_compression_is_refused() {
    let mut zip = deflated("a", b"some text, some text, some text");
    zip[31] = 0xff;
    assert_eq!(unpack([&zip[..]], 100), Err(ZipError::Damaged));
}

#[test]
fn more_than_65535_entries_use_the_zip64_end_record() {
    let entries: Vec<_> = (0..70_000).map(|n| file(&format!("d/{n}"), b"")).collect();
    let zip = zip(&entries);
    assert_eq!(ZipWriter::length(entries.iter().map(|(entry, _)| entry)), to_u64(zip.len()));
    assert!(zip.windows(4).any(|bytes| bytes == b"PK\x06\x06"));
    assert_eq!(unpack([&zip[..]], 0).unwrap().files.len(), 70_000);
}

#[test]
fn more_files_than_were_offered_are_refused_and_folders_are_no_files() {
    let zip = zip(&[folder("d"), file("d/a", b""), file("d/b", b"")]);
    assert!(unpack_files([&zip[..]], 0, 2).is_ok());
    assert_eq!(unpack_files([&zip[..]], 0, 1), Err(ZipError::TooManyFiles(1)));
}

#[test]
fn a_file_of_more_than_4_gib_is_written_and_read_with_wide_sizes() {
    let size = (4_u64 << 30) + 5;
    let entry = |path: &str, size| Entry {
        path: ZipPath::parse(path).unwrap(),
        permissions: 0o644,
        modified: 0,
        kind: EntryKind::File(size),
    };
    let entries = [entry("big", size), entry("after", 3)];
    let chunk = vec![0; 16 << 20];
    let (mut writer, mut reader) = (ZipWriter::new(), ZipReader::new(size + 3, 2));
    let (mut written, mut unpacked, mut table) = (0_u64, 0_u64, Vec::new());
    let mut feed = |bytes: &[u8]| {
        written += to_u64(bytes.len());
        let mut input = bytes;
        while let Some(piece) = reader.next(&mut input).unwrap() {
            if let Piece::Data(data) = piece {
                unpacked += to_u64(data.len());
            }
        }
    };
    for entry in &entries {
        let mut header = Vec::new();
        writer.begin(entry.clone(), &mut header).unwrap();
        feed(&header);
        let EntryKind::File(mut left) = entry.kind else { panic!("a file") };
        while left > 0 {
            let part = &chunk[..usize::try_from(left.min(to_u64(chunk.len()))).unwrap()];
            writer.data(part);
            feed(part);
            left -= to_u64(part.len());
        }
    }
    writer.finish(&mut table).unwrap();
    feed(&table);
    assert_eq!(unpacked, size + 3);
    assert_eq!(written, ZipWriter::length(&entries));
    reader.finish().unwrap();
}

#[test]
fn a_file_that_changed_its_size_cannot_be_completed() {
    let mut writer = ZipWriter::new();
    let mut zip = Vec::new();
    writer.begin(file("a", b"abc").0, &mut zip).unwrap();
    writer.data(b"ab");
    assert_eq!(writer.end(&mut zip), Err(write::SizeChanged { announced: 3, actual: 2 }));
}

/// A zip of which the entries with these numbers are omitted.
fn zip_without(entries: &[(Entry, Vec<u8>)], omitted: &[usize]) -> Vec<u8> {
    let mut writer = ZipWriter::new();
    let mut zip = Vec::new();
    for (number, (entry, data)) in entries.iter().enumerate() {
        writer.begin(entry.clone(), &mut zip).unwrap();
        writer.data(data);
        zip.extend(data);
        if omitted.contains(&number) {
            writer.omit(&mut zip).unwrap();
        }
    }
    writer.finish(&mut zip).unwrap();
    zip
}

#[test]
fn an_omitted_file_leaves_the_length_as_it_was_and_is_named_to_the_reader() {
    let entries = sample();
    for omitted in [&[0][..], &[1], &[4], &[0, 1, 3, 4]] {
        let zip = zip_without(&entries, omitted);
        assert_eq!(ZipWriter::length(entries.iter().map(|(entry, _)| entry)), to_u64(zip.len()));
        for size in [1, 3, zip.len()] {
            let tree = unpack(zip.chunks(size), 1 << 20).unwrap();
            let names = omitted.iter().map(|number| entries[*number].0.path.as_str().to_owned());
            let mut names: Vec<_> = names.collect();
            names.sort();
            let mut told = tree.omitted.clone();
            told.sort();
            assert_eq!(told, names);
            assert_eq!(tree.permissions.len(), entries.len() - omitted.len());
        }
    }
}

#[test]
fn omissions_may_cross_the_number_of_entries_that_needs_the_wide_end() {
    let entries: Vec<_> = (0..0xffff).map(|n| file(&format!("d/{n}"), b"")).collect();
    for omitted in [&[7][..], &[]] {
        let zip = zip_without(&entries, omitted);
        assert_eq!(ZipWriter::length(entries.iter().map(|(entry, _)| entry)), to_u64(zip.len()));
        assert_eq!(unpack([&zip[..]], 0).unwrap().omitted.len(), omitted.len());
    }
}

#[test]
fn what_did_not_come_cannot_be_omitted_and_what_is_listed_cannot_either() {
    let zip = zip_without(&[file("aa", b"1"), file("bb", b"2")], &[0]);
    let at = zip.windows(4).position(|bytes| bytes == b"PK\x06\x09").unwrap();
    let (contents, rest) = zip.split_at(at);
    let other = [contents, &replace(rest, b"aa", b"cc")].concat();
    assert_eq!(unpack([&other[..]], 100), Err(ZipError::WrongCentralDirectory));
    let listed = [contents, &replace(rest, b"aa", b"bb")].concat();
    assert_eq!(unpack([&listed[..]], 100), Err(ZipError::WrongCentralDirectory));
    let second = rest[1..].windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap() + 1;
    let twice = [contents, &rest[..second], rest].concat();
    assert_eq!(unpack([&twice[..]], 100), Err(ZipError::WrongCentralDirectory));
}

#[test]
fn other_programs_find_the_table_of_contents_behind_the_omissions() {
    let zip = zip_without(&sample(), &[0, 3]);
    let end = zip.len() - 22;
    let field = |at: usize| u32::from_le_bytes(zip[end + at..end + at + 4].try_into().unwrap());
    let (size, offset) = (field(12), field(16));
    assert_eq!(usize::try_from(offset + size), Ok(end));
    assert!(zip[usize::try_from(offset).unwrap()..].starts_with(b"PK\x01\x02"));
    assert_eq!(zip[end + 10], 3);
}

/// Replaces every occurrence of `from`.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
    }
    bytes
}

/// A zip of one compressed file, as wormhole-william writes them: sizes in a descriptor.
fn deflated(name: &str, data: &[u8]) -> Vec<u8> {
    let packed = miniz_oxide::deflate::compress_to_vec(data, 6);
    let crc = crc32fast::hash(data);
    let sizes = [packed.len(), data.len()].map(|size| u32::try_from(size).unwrap().to_le_bytes());
    let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
    let common = |crc: u32, sizes: [[u8; 4]; 2]| {
        let mut fields = vec![20, 0, 8, 0, 8, 0, 0, 0, 0, 0];
        fields.extend(crc.to_le_bytes());
        fields.extend(sizes.concat());
        fields.extend(name_length);
        fields.extend([0, 0]);
        fields
    };
    let mut zip = LOCAL.to_le_bytes().to_vec();
    zip.extend(common(0, [[0; 4]; 2]));
    zip.extend(name.as_bytes());
    zip.extend(&packed);
    zip.extend(DESCRIPTOR.to_le_bytes());
    zip.extend(crc.to_le_bytes());
    zip.extend(sizes.concat());
    let offset = to_u64(zip.len());
    zip.extend(CENTRAL.to_le_bytes());
    zip.extend([20, 3]);
    zip.extend(common(crc, sizes));
    zip.extend([0; 14]);
    zip.extend(name.as_bytes());
    let size = to_u64(zip.len()) - offset;
    header::write_end(1, size, offset, false, &mut zip);
    zip
}
