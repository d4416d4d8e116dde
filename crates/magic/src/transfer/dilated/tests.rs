//! Tests of frames, of both readers, and of the journal.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::transfer::zip::ZipPath;
use crate::transfer::{Attributes, Offer, PeerName};

const ATTRIBUTES: Attributes = Attributes { permissions: 0o640, modified: 1_700_000_000 };

fn folder(bytes: u64, files: u64) -> Offer {
    let name = PeerName::new("photos");
    Offer::Directory { name, zip_size: bytes, bytes, files, attributes: Some(ATTRIBUTES) }
}

fn entry(path: &str, size: u64, keep: u64) -> FileEntry {
    let path = Some(ZipPath::parse(path).unwrap());
    FileEntry { path, size: Some(size), attributes: Some(ATTRIBUTES), keep }
}

fn link(path: &str, target: &str) -> LinkEntry {
    let path = ZipPath::parse(path).unwrap();
    let (target, _) = LinkTarget::shortest(target, &path).unwrap();
    LinkEntry { path, target }
}

fn data(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; frame::HEADER]);
    buffer.extend_from_slice(bytes);
    frame::set_header(buffer, start);
}

/// Reads everything after the offer; data is joined.
fn read(offer: &Offer, frames: &[u8], piece: usize) -> Result<Vec<Received<'static>>, Violation> {
    let mut incoming = Incoming::new();
    let mut first = Vec::new();
    frame::offer(&mut first, offer);
    let mut all = Vec::new();
    for bytes in first.chunks(piece) {
        let mut input = bytes;
        while let Some(received) = incoming.next(&mut input)? {
            assert_eq!(received, Received::Offer(offer.clone()));
            incoming.accept();
        }
    }
    for bytes in frames.chunks(piece) {
        let mut input = bytes;
        while let Some(received) = incoming.next(&mut input)? {
            all.push(match received {
                Received::Offer(offer) => Received::Offer(offer),
                Received::File(entry) => Received::File(entry),
                Received::Data(data) => Received::Data(data.to_vec().leak()),
                Received::Compressed(bytes, plain) => Received::Compressed(bytes, plain),
                Received::Chunk(index) => Received::Chunk(index),
                Received::FileEnd(hash) => Received::FileEnd(hash),
                Received::Omitted => Received::Omitted,
                Received::Folder(entry) => Received::Folder(entry),
                Received::Link(entry) => Received::Link(entry),
                Received::End => Received::End,
                Received::Failed(reason) => Received::Failed(reason),
                Received::Finished => Received::Finished,
            });
        }
    }
    Ok(all)
}

/// A folder with a file, a file of which two chunks are kept and one is replaced, an omitted file and an empty folder.
fn transfer() -> (Offer, Vec<u8>) {
    let chunk = usize::try_from(MIN_CHUNK).unwrap();
    let mut frames = Vec::new();
    frame::file(&mut frames, &entry("a", 5, 0));
    data(&mut frames, b"he");
    data(&mut frames, b"llo");
    frame::file_end(&mut frames, &[1; 32]);
    frame::file(&mut frames, &entry("d/b", 2 * MIN_CHUNK + 3, 2));
    data(&mut frames, b"end");
    frame::chunk(&mut frames, 1);
    data(&mut frames, &vec![7; chunk]);
    frame::file_end(&mut frames, &[2; 32]);
    frame::file(&mut frames, &entry("d/gone", 10, 0));
    data(&mut frames, b"par");
    frame::omit(&mut frames);
    let path = ZipPath::parse("d").unwrap();
    frame::folder(&mut frames, &FolderEntry { path, attributes: ATTRIBUTES });
    frame::link(&mut frames, &link("l", "d/b"));
    frame::end(&mut frames);
    (folder(5 + 2 * MIN_CHUNK + 3 + 10, 3), frames)
}

#[test]
fn a_folder_is_read_as_it_was_written() {
    let (offer, frames) = transfer();
    let read = read(&offer, &frames, usize::MAX).unwrap();
    let chunk = vec![7; usize::try_from(MIN_CHUNK).unwrap()].leak();
    let path = ZipPath::parse("d").unwrap();
    assert!(
        read == [
            Received::File(entry("a", 5, 0)),
            Received::Data(b"he"),
            Received::Data(b"llo"),
            Received::FileEnd([1; 32]),
            Received::File(entry("d/b", 2 * MIN_CHUNK + 3, 2)),
            Received::Data(b"end"),
            Received::Chunk(1),
            Received::Data(chunk),
            Received::FileEnd([2; 32]),
            Received::File(entry("d/gone", 10, 0)),
            Received::Data(b"par"),
            Received::Omitted,
            Received::Folder(FolderEntry { path, attributes: ATTRIBUTES }),
            Received::Link(link("l", "d/b")),
            Received::End,
        ]
    );
}

/// A small transfer, so that every split is tried fast.
fn small() -> (Offer, Vec<u8>) {
    let mut frames = Vec::new();
    frame::file(&mut frames, &entry("a", 5, 0));
    data(&mut frames, b"hello");
    frame::file_end(&mut frames, &[1; 32]);
    frame::end(&mut frames);
    (folder(5, 1), frames)
}

proptest! {
    #[test]
    fn any_split_of_the_bytes_gives_the_same_outputs(piece in 1_usize..200) {
        let (offer, frames) = small();
        let joined = |received: Vec<Received<'static>>| {
            let mut bytes = Vec::new();
            let mut others = Vec::new();
            for one in received {
                if let Received::Data(data) = one { bytes.extend_from_slice(data) } else { others.push(one) }
            }
            (bytes, others)
        };
        let whole = joined(read(&offer, &frames, usize::MAX).unwrap());
        prop_assert_eq!(joined(read(&offer, &frames, piece).unwrap()), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _outcome = read(&folder(100, 3), &bytes, 7);
        let mut replies = Replies::new();
        let mut input = bytes.as_slice();
        while let Ok(Some(_)) = replies.next(&mut input) {}
        let _journal = Journal::parse(&[b"wormhole partial 1\n".as_slice(), &bytes].concat());
    }
}

#[test]
fn a_sender_that_sends_something_else_than_offered_is_refused() {
    let refused = |offer: Offer, build: &dyn Fn(&mut Vec<u8>)| {
        let mut frames = Vec::new();
        build(&mut frames);
        read(&offer, &frames, usize::MAX).unwrap_err()
    };
    let begin = |frames: &mut Vec<u8>, size| frame::file(frames, &entry("a", size, 0));
    // More bytes than the offer, than the file, and fewer.
    assert_eq!(refused(folder(4, 1), &|to| begin(to, 5)), Violation::NotAsOffered);
    assert_eq!(refused(folder(5, 0), &|to| begin(to, 5)), Violation::NotAsOffered);
    let longer = |to: &mut Vec<u8>| {
        begin(to, 5);
        data(to, b"hello!");
    };
    assert_eq!(refused(folder(9, 1), &longer), Violation::NotAsOffered);
    let shorter = |to: &mut Vec<u8>| {
        begin(to, 5);
        data(to, b"hell");
        frame::file_end(to, &[0; 32]);
    };
    assert_eq!(refused(folder(5, 1), &shorter), Violation::NotAsOffered);
    assert_eq!(refused(folder(5, 1), &|to| frame::end(to)), Violation::NotAsOffered);
    // A path in the offer of one file, and none in that of a folder.
    let one = Offer::File { name: PeerName::new("a"), size: 5, attributes: None };
    assert_eq!(refused(one, &|to| begin(to, 5)), Violation::OutOfOrder);
    let without_path = FileEntry { path: None, ..entry("a", 5, 0) };
    assert_eq!(refused(folder(5, 1), &|to| frame::file(to, &without_path)), Violation::OutOfOrder);
    // A link where no folder was offered, and in the middle of a file.
    let one = Offer::File { name: PeerName::new("a"), size: 5, attributes: None };
    assert_eq!(refused(one, &|to| frame::link(to, &link("l", "a"))), Violation::OutOfOrder);
    let inside = |to: &mut Vec<u8>| {
        begin(to, 5);
        frame::link(to, &link("l", "a"));
    };
    assert_eq!(refused(folder(5, 1), &inside), Violation::OutOfOrder);
}

#[test]
fn chunks_are_replaced_in_order_and_only_where_something_was_kept() {
    let refused = |indices: &[u64]| {
        let mut frames = Vec::new();
        frame::file(&mut frames, &entry("a", 3 * MIN_CHUNK, 2));
        data(&mut frames, &vec![0; usize::try_from(MIN_CHUNK).unwrap()]);
        for index in indices {
            frame::chunk(&mut frames, *index);
            data(&mut frames, &vec![0; usize::try_from(MIN_CHUNK).unwrap()]);
        }
        read(&folder(3 * MIN_CHUNK, 1), &frames, usize::MAX).err()
    };
    assert_eq!(refused(&[0, 1]), None);
    for indices in [&[2][..], &[1, 0], &[1, 1], &[u64::MAX]] {
        assert_eq!(refused(indices), Some(Violation::OutOfOrder), "{indices:?}");
    }
    let mut frames = Vec::new();
    frame::file(&mut frames, &entry("a", 3, 2));
    assert_eq!(read(&folder(3, 1), &frames, 9), Err(Violation::WrongClaim));
}

#[test]
fn nothing_may_follow_an_offer_or_the_end() {
    let mut frames = Vec::new();
    frame::offer(&mut frames, &folder(0, 0));
    frame::end(&mut frames);
    let mut incoming = Incoming::new();
    assert_eq!(incoming.next(&mut frames.as_slice()), Err(Violation::OutOfOrder));
    let mut frames = Vec::new();
    frame::end(&mut frames);
    frame::end(&mut frames);
    assert_eq!(read(&folder(0, 0), &frames, usize::MAX), Err(Violation::OutOfOrder));
}

#[test]
fn paths_that_lead_elsewhere_and_endless_frames_are_refused() {
    let path = rmp_serde::to_vec_named(&json!({"path": "../x", "bytes": 1})).unwrap();
    let mut frames =
        frame::header(frame::FrameKind::File, u32::try_from(path.len()).unwrap()).to_vec();
    frames.extend_from_slice(&path);
    assert!(matches!(read(&folder(1, 1), &frames, 9), Err(Violation::UnsafePath(_))));
    let endless = frame::header(frame::FrameKind::File, 8193);
    assert_eq!(read(&folder(1, 1), &endless, 9), Err(Violation::Malformed));
}

/// A file with a field that we do not know: lists within lists.
fn nested(depth: usize) -> Vec<u8> {
    let known = rmp_serde::to_vec_named(&json!({"path": "a", "bytes": 0})).unwrap();
    // A map of three fields instead of two.
    let contents = [&[0x83], &known[1..], &[0xa1, b'x'], &vec![0x91; depth], &[0xc0]].concat();
    let length = u32::try_from(contents.len()).unwrap();
    [frame::header(frame::FrameKind::File, length).as_slice(), &contents].concat()
}

#[test]
fn fields_that_we_do_not_know_are_nested_to_a_limit() {
    for depth in 0..=20 {
        let expected = if depth < 7 {
            Ok(vec![Received::File(FileEntry { attributes: None, ..entry("a", 0, 0) })])
        } else {
            Err(Violation::Malformed)
        };
        assert_eq!(read(&folder(0, 1), &nested(depth), usize::MAX), expected, "{depth}");
    }
}

#[test]
fn a_stream_ends_wherever_its_sender_says() {
    let mut frames = Vec::new();
    frame::file(&mut frames, &FileEntry { path: None, size: None, attributes: None, keep: 0 });
    data(&mut frames, b"some");
    data(&mut frames, b"");
    frame::file_end(&mut frames, &[3; 32]);
    frame::end(&mut frames);
    let offer = Offer::Stream { name: PeerName::new("log") };
    let read = read(&offer, &frames, usize::MAX).unwrap();
    assert_eq!(read[1..], [Received::Data(b"some"), Received::FileEnd([3; 32]), Received::End]);
}

/// All frames of a receiver, read in pieces of this size.
fn replies(frames: &[u8], piece: usize) -> Result<Vec<Reply>, Violation> {
    let mut replies = Replies::new();
    let mut all = Vec::new();
    for mut input in frames.chunks(piece) {
        while let Some(reply) = replies.next(&mut input)? {
            all.push(reply);
        }
    }
    Ok(all)
}

/// The frames of a receiver that has a part of two files.
fn answers() -> Vec<u8> {
    let mut frames = Vec::new();
    frame::accept(&mut frames);
    frame::have(&mut frames, &[1; 16], &vec![[5; 32]; 450]);
    frame::have(&mut frames, &[2; 16], &[[6; 32]]);
    frame::ready(&mut frames, 77);
    frame::received(&mut frames, 80);
    frame::stored(&mut frames);
    frames
}

#[test]
fn a_sender_reads_what_the_receiver_has() {
    let mut all = replies(&answers(), usize::MAX).unwrap();
    let Reply::Ready(claims) = &mut all[1] else { panic!("{all:?}") };
    assert_eq!(claims.bytes, 77);
    assert_eq!(claims.take(&[1; 16]), vec![[5; 32]; 450]);
    assert_eq!(claims.take(&[1; 16]), Vec::<Hash>::new());
    assert_eq!(claims.take(&[2; 16]), [[6; 32]]);
    assert_eq!(
        (&all[0], &all[2], &all[3]),
        (&Reply::Accepted, &Reply::Received(80), &Reply::Stored)
    );
    assert_eq!(all.len(), 4);
}

proptest! {
    #[test]
    fn any_split_of_the_answers_gives_the_same_replies(piece in 1_usize..400) {
        let frames = answers();
        prop_assert_eq!(replies(&frames, piece), replies(&frames, usize::MAX));
    }
}

#[test]
fn a_receiver_that_claims_too_much_is_refused() {
    let mut replies = Replies::new();
    let mut accepted = Vec::new();
    frame::accept(&mut accepted);
    assert_eq!(replies.next(&mut accepted.as_slice()), Ok(Some(Reply::Accepted)));
    let refused = (0..u64::MAX).find_map(|number| {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let mut frames = Vec::new();
        frame::have(&mut frames, &key, &[[0; 32]]);
        replies.next(&mut frames.as_slice()).err().map(|error| (number, error))
    });
    // 8 MiB, in parts of 32 bytes for a hash and 96 for its file.
    assert_eq!(refused, Some(((8 << 20) / 128, Violation::WrongClaim)));
}

#[test]
fn answers_at_the_wrong_time_or_with_wrong_contents_are_refused() {
    let early: [fn(&mut Vec<u8>); 2] = [frame::stored, frame::end];
    for early in early {
        let mut frames = Vec::new();
        early(&mut frames);
        assert_eq!(replies(&frames, usize::MAX), Err(Violation::OutOfOrder));
    }
    let with = |kind, contents: &[u8]| {
        let length = u32::try_from(contents.len()).unwrap();
        [frame::header(kind, length).as_slice(), contents].concat()
    };
    let mut before = Vec::new();
    frame::accept(&mut before);
    let accepted = before.clone();
    frame::ready(&mut before, 0);
    for (before, kind, length) in [
        (&[][..], frame::FrameKind::Accept, 1),
        (&accepted, frame::FrameKind::Have, 15),
        (&accepted, frame::FrameKind::Have, 16 + 31),
        (&accepted, frame::FrameKind::Ready, 7),
        (&before, frame::FrameKind::Received, 9),
        (&before, frame::FrameKind::Stored, 1),
    ] {
        let frames = [before, &with(kind, &vec![0; length])].concat();
        assert_eq!(replies(&frames, usize::MAX), Err(Violation::Malformed), "{kind:?}");
    }
}

/// Appends records to a journal, and remembers which files it contains after each of them.
struct Recorder {
    bytes: Vec<u8>,
    after: Vec<(usize, Vec<JournalFile>)>,
}

impl Recorder {
    fn record(&mut self, append: impl FnOnce(&mut Vec<u8>), files: Vec<JournalFile>) {
        append(&mut self.bytes);
        self.after.push((self.bytes.len(), files));
    }
}

#[test]
fn a_journal_is_read_up_to_its_torn_end() {
    let header = JournalHeader { boot: [9; 16], device: 3, inode: 4, offer: [5; 32] };
    let file = |key: u8, path: &str, size, hashes: &[u8]| JournalFile {
        key: [key; 16],
        path: Some(ZipPath::parse(path).unwrap()),
        size,
        hashes: hashes.iter().map(|byte| [*byte; 32]).collect(),
    };
    let hash = |index, byte: u8| {
        move |bytes: &mut Vec<u8>| JournalFile::append_hash(index, &[byte; 32], bytes)
    };
    let (a, bb) = (file(1, "a", 10, &[1]), |hashes: &[u8]| file(2, "bb", 20, hashes));
    let mut journal = Recorder { bytes: Vec::new(), after: Vec::new() };
    journal.record(|bytes| bytes.extend(header.encode()), vec![]);
    journal.record(|bytes| a.append_begin(bytes), vec![]);
    journal.record(hash(0, 1), vec![a.clone()]);
    journal.record(|bytes| bb(&[]).append_begin(bytes), vec![a.clone()]);
    journal.record(hash(0, 2), vec![a.clone(), bb(&[2])]);
    journal.record(hash(1, 3), vec![a.clone(), bb(&[2, 3])]);
    let continues = |bytes: &mut Vec<u8>| JournalFile::append_continue(&[2; 16], 1, bytes);
    journal.record(continues, vec![a.clone(), bb(&[2])]);
    journal.record(hash(1, 4), vec![a.clone(), bb(&[2, 4])]);
    // The same path with other contents replaces the earlier file.
    let replaced = file(99, "a", 10, &[]);
    journal.record(|bytes| replaced.append_begin(bytes), vec![bb(&[2, 4])]);
    journal.record(hash(0, 7), vec![bb(&[2, 4]), file(99, "a", 10, &[7])]);

    let Recorder { bytes, after } = journal;
    for cut in 0..=bytes.len() {
        let whole = after.iter().rev().find(|(length, _)| *length <= cut);
        let expected =
            whole.map(|(length, files)| Journal { header, files: files.clone(), length: *length });
        assert_eq!(Journal::parse(&bytes[..cut]), expected, "{cut}");
    }
    assert_eq!(Journal::parse(b"PK\x03\x04"), None);
}

#[test]
fn both_sides_must_announce_the_opposite() {
    let mut versions = json!({"abilities": []});
    Mode::Send.announce(&mut versions);
    assert!(Mode::Receive.fits(&versions) && !Mode::Send.fits(&versions));
    for versions in
        [json!({}), json!(null), json!({SUBPROTOCOL: {"mode": "send"}}), json!({SUBPROTOCOL: 1})]
    {
        assert!(!Mode::Receive.fits(&versions), "{versions}");
    }
}

#[test]
fn compressed_data_counts_as_much_as_it_will_have() {
    let with = |blocks: &[u32]| {
        let mut frames = Vec::new();
        frame::file(&mut frames, &entry("a", 5, 0));
        blocks.iter().for_each(|plain| frame::compressed(&mut frames, *plain, b"xy"));
        frame::file_end(&mut frames, &[1; 32]);
        read(&folder(5, 1), &frames, 3)
    };
    let block = |plain| Received::Compressed(b"xy".to_vec(), plain);
    assert_eq!(with(&[2, 3]).unwrap()[1..3], [block(2), block(3)]);
    assert_eq!(with(&[2, 4]), Err(Violation::NotAsOffered));
    assert_eq!(with(&[4]), Err(Violation::NotAsOffered));
    assert_eq!(with(&[u32::MAX]), Err(Violation::Malformed));
    assert_eq!(with(&[5, 0]), Err(Violation::Malformed));
    let mut frames = Vec::new();
    frame::compressed(&mut frames, 5, b"xy");
    assert_eq!(read(&folder(5, 1), &frames, 3), Err(Violation::OutOfOrder));
    let endless = frame::header(frame::FrameKind::Compressed, (128 << 10) + 1);
    assert_eq!(read(&folder(5, 1), &endless, 3), Err(Violation::Malformed));
}

#[test]
fn a_replaced_chunk_may_be_compressed_and_not_longer() {
    let with = |last: u32| {
        let mut frames = Vec::new();
        frame::file(&mut frames, &entry("a", MIN_CHUNK, 1));
        frame::chunk(&mut frames, 0);
        (0..31).for_each(|_| frame::compressed(&mut frames, 128 << 10, b"x"));
        frame::compressed(&mut frames, last, b"x");
        frame::file_end(&mut frames, &[1; 32]);
        read(&folder(MIN_CHUNK, 1), &frames, 1000).map(|all| all.len())
    };
    assert_eq!(with(128 << 10), Ok(2 + 32 + 1));
    assert_eq!(with((128 << 10) - 1), Err(Violation::NotAsOffered));
}

#[test]
fn the_longest_link_fits_into_a_frame() {
    let path = vec!["x".repeat(250); 16].join("/");
    let longest = link(&path, &vec!["y".repeat(250); 8].join("/"));
    let mut frames = Vec::new();
    frame::link(&mut frames, &longest);
    frame::end(&mut frames);
    let expected = vec![Received::Link(longest), Received::End];
    assert_eq!(read(&folder(0, 0), &frames, 1000), Ok(expected));
}

#[test]
fn only_what_a_peer_announces_is_its_feature() {
    let mut versions = json!({});
    Mode::Receive.announce(&mut versions);
    assert_eq!(Features::of_peer(&versions), Features::OURS);
    for features in [json!(["core-1"]), json!("links-1"), json!([["links-1"]]), json!(null)] {
        let versions = json!({SUBPROTOCOL: {"mode": "receive", "features": features}});
        assert_eq!(Features::of_peer(&versions), Features::default(), "{versions}");
    }
}

#[test]
fn a_file_has_chunks_of_at_least_4_mib_and_not_too_many() {
    assert_eq!(chunk_size(Some(0)), MIN_CHUNK);
    assert_eq!(chunk_size(Some(MIN_CHUNK * MAX_CHUNKS)), MIN_CHUNK);
    assert_eq!(chunk_size(Some(MIN_CHUNK * MAX_CHUNKS + 1)), 2 * MIN_CHUNK);
    for size in [1, 1 << 40, u64::MAX] {
        assert!(chunk_count(size) <= MAX_CHUNKS && chunk_count(size) > 0, "{size}");
    }
    assert_eq!(chunk_count(0), 0);
    let size = 2 * MIN_CHUNK + 5;
    let ranges = [0, 1, 2, 3].map(|index| chunk_range(size, index));
    let last = 2 * MIN_CHUNK..size;
    assert_eq!(ranges, [0..MIN_CHUNK, MIN_CHUNK..2 * MIN_CHUNK, last, size..size]);
    assert_eq!(length_of_chunks(size, u64::MAX), size);
}

#[test]
fn a_chunk_that_is_shorter_than_others_can_be_forgotten() {
    let file = |size, chunks| {
        let (key, hashes) = ([1; 16], vec![[2; 32]; chunks]);
        let mut file = JournalFile { key, path: None, size, hashes };
        file.forget_short_chunk();
        file.hashes.len()
    };
    assert_eq!((file(0, 0), file(10, 1), file(MIN_CHUNK, 1)), (0, 0, 1));
    assert_eq!((file(3 * MIN_CHUNK - 1, 3), file(3 * MIN_CHUNK, 2)), (2, 2));
}

#[test]
fn either_side_can_give_up_with_a_reason_and_nothing_follows() {
    let mut frames = Vec::new();
    frame::file(&mut frames, &entry("a", 5, 0));
    data(&mut frames, b"he");
    frame::failed(&mut frames, "no more");
    let all = read(&folder(5, 1), &frames, usize::MAX).unwrap();
    assert_eq!(all.last(), Some(&Received::Failed("no more".to_owned())));
    data(&mut frames, b"llo");
    assert_eq!(read(&folder(5, 1), &frames, usize::MAX), Err(Violation::OutOfOrder));

    let mut refused = Vec::new();
    // Longer than a reason may be, with the limit inside of a character.
    frame::refused(&mut refused, &format!("a{}", "é".repeat(600)));
    let mut replies = Replies::new();
    let Ok(Some(Reply::Refused(reason))) = replies.next(&mut refused.as_slice()) else { panic!() };
    assert_eq!(reason.len(), 999);
    assert!(replies.next(&mut refused.as_slice()).is_err());
}

#[test]
fn a_side_that_offers_nothing_more_says_so_instead_of_an_offer() {
    let mut frames = Vec::new();
    frame::finished(&mut frames);
    let mut incoming = Incoming::new();
    assert_eq!(incoming.next(&mut frames.as_slice()), Ok(Some(Received::Finished)));
    assert!(incoming.next(&mut frames.as_slice()).is_err());
    assert_eq!(read(&folder(5, 1), &frames, usize::MAX), Err(Violation::OutOfOrder));
    let mut versions = json!({});
    Mode::Share.announce(&mut versions);
    assert!(Mode::Share.fits(&versions) && !Mode::Send.fits(&versions));
}
