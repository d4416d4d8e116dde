//! Transfers that continue what an earlier attempt has left. The state that is left is made here: a file or folder, and its
//! journal (docs/dilated-transfer.md).

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wormhole::transfer::{Attributes, PeerName};
use wormhole_magic::transfer::dilated::{
    FileEntry, FileKey, FolderEntry, Hash, JournalFile, JournalHeader, LinkEntry, LinkTarget, Mode,
    SUBPROTOCOL, frame,
};
use wormhole_magic::transfer::zip::ZipPath;

use super::*;

const MIB: usize = 1 << 20;
const CHUNK: usize = 4 * MIB;

/// Contents that differ everywhere.
fn contents(length: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

fn hashes(contents: &[u8]) -> Vec<Hash> {
    contents.chunks(CHUNK).map(|chunk| *blake3::hash(chunk).as_bytes()).collect()
}

/// The key of a source in its offer.
fn key(source: &Path, path: &str) -> FileKey {
    let size = source.metadata().unwrap().len();
    let bytes = [path.as_bytes(), &[0], &size.to_be_bytes()].concat();
    *blake3::hash(&bytes).as_bytes().first_chunk().unwrap()
}

fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let number = u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or_default();
    number.to_be_bytes()
}

/// The header of the journal of an incomplete file or folder, when `source` with so many bytes and files was offered.
fn header(part: &Path, source: &Path, bytes: usize, files: u64) -> JournalHeader {
    let (metadata, given) = (part.metadata().unwrap(), source.metadata().unwrap());
    let permissions = u16::try_from(given.mode() & 0o777).unwrap();
    let attributes = Some(Attributes { permissions, modified: given.mtime() });
    let name = PeerName::new(source.file_name().unwrap().to_str().unwrap());
    let bytes = u64::try_from(bytes).unwrap();
    let offer = if given.is_dir() {
        Offer::Directory { name, zip_size: 0, bytes, files, attributes }
    } else {
        Offer::File { name, size: bytes, attributes }
    };
    let mut encoded = Vec::new();
    frame::offer(&mut encoded, &offer);
    let offer = *blake3::hash(&encoded).as_bytes();
    JournalHeader { boot: boot_id(), device: metadata.dev(), inode: metadata.ino(), offer }
}

fn private(path: &Path, contents: &[u8]) {
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// Writes a journal that says what has arrived of each file.
fn write_journal(part: &Path, header: JournalHeader, files: &[JournalFile]) {
    let mut journal = header.encode();
    for file in files {
        file.append_begin(&mut journal);
        for (index, hash) in (0..).zip(&file.hashes) {
            JournalFile::append_hash(index, hash, &mut journal);
        }
    }
    let name = format!("{}.resume", part.file_name().unwrap().to_str().unwrap());
    private(&part.with_file_name(name), &journal);
}

/// Leaves the first bytes of a single file in a folder, as an interrupted transfer does.
fn leave(to: &Folder, source: &Path, left: &[u8]) -> PathBuf {
    let name = format!("{}.part", source.file_name().unwrap().to_str().unwrap());
    let part = to.path().join(name);
    private(&part, left);
    let size = source.metadata().unwrap().len();
    let file = JournalFile { key: key(source, ""), path: None, size, hashes: hashes(left) };
    let header = header(&part, source, usize::try_from(size).unwrap(), 1);
    write_journal(&part, header, &[file]);
    part
}

/// What both sides said about continuing.
fn resumed(events: &[Event]) -> Option<u64> {
    events.iter().find_map(|event| match event {
        Event::Resuming { done, .. } => Some(*done),
        _ => None,
    })
}

/// Transfers a path. Returns the outcomes, and at how many bytes each side said that it continues.
async fn run(
    source: &Path,
    to: &Folder,
) -> ((Result<Report, Error>, Option<u64>), (Result<Report, Error>, Option<u64>)) {
    let (settings, code) = settings().await;
    let sender = transfer::send(path(source), settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let destination = to.destination(OnExists::Refuse);
    let ((sent, sender_events), (received, receiver_events)) =
        tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    ((sent, resumed(&sender_events)), (received, resumed(&receiver_events)))
}

#[tokio::test]
async fn a_file_is_continued_where_it_was_interrupted() {
    let (from, to) = (Folder::new(), Folder::new());
    let bytes = contents(3 * CHUNK + 5, 1);
    let source = from.file("a", &bytes);
    let inode = leave(&to, &source, &bytes[..2 * CHUNK]).metadata().unwrap().ino();
    let kept = Some(u64::try_from(2 * CHUNK).unwrap());
    let ((sent, sender), (received, receiver)) = run(&source, &to).await;
    assert_eq!((sender, receiver), (kept, kept));
    assert_eq!(sent.unwrap().bytes, received.unwrap().bytes);
    assert_eq!(to.names(), ["a"]);
    let arrived = to.path().join("a");
    assert_eq!(arrived.metadata().unwrap().ino(), inode, "it was not the same file");
    assert!(fs::read(arrived).unwrap() == bytes);
}

#[tokio::test]
async fn a_source_that_changed_meanwhile_is_sent_again_where_it_differs() {
    let (from, to) = (Folder::new(), Folder::new());
    let old = contents(3 * CHUNK, 1);
    let mut new = old.clone();
    new[CHUNK + 7] ^= 1;
    // With the same size and time.
    let source = from.file("a", &new);
    leave(&to, &source, &old);
    let ((sent, _), (received, receiver)) = run(&source, &to).await;
    assert_eq!(receiver, Some(u64::try_from(3 * CHUNK).unwrap()));
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert!(fs::read(to.path().join("a")).unwrap() == new);
    assert_eq!(to.names(), ["a"]);
}

#[tokio::test]
async fn a_file_that_was_changed_later_is_continued_except_for_its_short_chunk() {
    let (from, to) = (Folder::new(), Folder::new());
    let old = contents(3 * CHUNK + 5, 1);
    let mut new = old.clone();
    new[CHUNK + 7] ^= 1;
    let source = from.file("a", &old);
    leave(&to, &source, &old);
    fs::write(&source, &new).unwrap();
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    File::options().write(true).open(&source).unwrap().set_modified(later).unwrap();
    let ((sent, _), (received, receiver)) = run(&source, &to).await;
    // The sender of another offer learns no hash of the last 5 bytes, which it could guess.
    assert_eq!(receiver, Some(u64::try_from(3 * CHUNK).unwrap()));
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert!(fs::read(to.path().join("a")).unwrap() == new);
    assert_eq!(to.names(), ["a"]);
}

#[tokio::test]
async fn another_file_of_the_same_name_is_sent_from_the_beginning_and_removes_nothing() {
    let (from, to) = (Folder::new(), Folder::new());
    let (old, new) = (contents(2 * CHUNK, 1), contents(2 * CHUNK + 1, 1));
    let source = from.file("a", &old);
    let part = leave(&to, &source, &old[..CHUNK]);
    fs::write(&source, &new).unwrap();
    let ((sent, sender), (received, receiver)) = run(&source, &to).await;
    assert_eq!((sender, receiver), (None, None));
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert!(fs::read(to.path().join("a")).unwrap() == new);
    assert_eq!(to.names(), ["a", "a.part", "a.part.resume"]);
    assert!(fs::read(part).unwrap() == old[..CHUNK]);
}

#[tokio::test]
async fn a_sender_that_breaks_the_protocol_before_it_continues_a_file_removes_nothing() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let bytes = contents(3 * CHUNK, 1);
    let source = from.file("a", &bytes);
    let part = leave(&to, &source, &bytes[..2 * CHUNK]);
    let receiver = transfer::receive(CodeSource::Code(code.clone()), settings.clone());
    let receiving = tokio::spawn(finish(receiver, Some(to.destination(OnExists::Refuse))));
    let liar = dilated_liars::peer(Mode::Send, &settings, code).await;
    let mut stream = liar.connect(SUBPROTOCOL).unwrap();
    let given = source.metadata().unwrap();
    let attributes = Some(Attributes { permissions: 0o600, modified: given.mtime() });
    let (name, mut first) = (PeerName::new("a"), Vec::new());
    frame::offer(&mut first, &Offer::File { name, size: given.len(), attributes });
    stream.write_all(&first).await.unwrap();
    // Accept, Have with two hashes, and Ready.
    let answer = 5 + (5 + 16 + 2 * 32) + 13;
    timeout(PATIENCE, stream.read_exact(&mut vec![0; answer])).await.unwrap().unwrap();
    let mut wrong = Vec::new();
    frame::file_end(&mut wrong, &[0; 32]);
    stream.write_all(&wrong).await.unwrap();
    let (outcome, events) = timeout(PATIENCE, receiving).await.unwrap().unwrap();
    assert!(matches!(outcome, Err(Error::PeerMisbehaved(_))), "{outcome:?}");
    assert!(events.iter().any(|event| matches!(event, Event::Kept(path) if *path == part)));
    assert!(fs::read(part).unwrap() == bytes[..2 * CHUNK]);
    // Its own sender still continues it.
    let ((sent, _), (received, receiver)) = run(&source, &to).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert_eq!(receiver, Some(u64::try_from(2 * CHUNK).unwrap()));
    assert!(fs::read(to.path().join("a")).unwrap() == bytes);
}

/// Leaves a folder with the first bytes of its files, as an interrupted transfer does: names, contents, and how much of them.
fn leave_folder(to: &Folder, source: &Path, files: &[(&str, &[u8], usize)]) -> PathBuf {
    let part = to.path().join("d.part");
    fs::create_dir(&part).unwrap();
    fs::set_permissions(&part, PermissionsExt::from_mode(0o700)).unwrap();
    let left = |(name, bytes, left): &(&str, &[u8], usize)| {
        fs::write(part.join(name), &bytes[..*left]).unwrap();
        let (key, path) = (key(&source.join(name), name), Some(ZipPath::parse(name).unwrap()));
        let size = u64::try_from(bytes.len()).unwrap();
        JournalFile { key, path, size, hashes: hashes(&bytes[..*left]) }
    };
    let journal: Vec<_> = files.iter().map(left).collect();
    let bytes = files.iter().map(|(_, bytes, _)| bytes.len()).sum();
    let count = u64::try_from(files.len()).unwrap();
    write_journal(&part, header(&part, source, bytes, count), &journal);
    part
}

/// Offers a folder, sends these frames once it is accepted, and returns the receiver's outcome.
async fn send_frames(
    to: &Folder,
    offer: &Offer,
    claimed: usize,
    frames: Vec<u8>,
) -> (Result<Report, Error>, Vec<Event>) {
    let (settings, code) = settings().await;
    let receiver = transfer::receive(CodeSource::Code(code.clone()), settings.clone());
    let receiving = tokio::spawn(finish(receiver, Some(to.destination(OnExists::Refuse))));
    let sender = dilated_liars::peer(Mode::Send, &settings, code).await;
    let mut stream = sender.connect(SUBPROTOCOL).unwrap();
    let mut first = Vec::new();
    frame::offer(&mut first, offer);
    stream.write_all(&first).await.unwrap();
    // Accept, Have with the hashes of one file, and Ready.
    let answer = 5 + (5 + 16 + claimed * 32) + 13;
    timeout(PATIENCE, stream.read_exact(&mut vec![0; answer])).await.unwrap().unwrap();
    stream.write_all(&frames).await.unwrap();
    timeout(PATIENCE, receiving).await.unwrap().unwrap()
}

#[tokio::test]
async fn what_a_sender_has_changed_with_a_link_or_a_folder_is_not_kept_for_later() {
    for is_link in [true, false] {
        let (from, to) = (Folder::new(), Folder::new());
        let bytes = contents(2 * CHUNK, 1);
        from.file("d/video", &bytes);
        let source = from.path().join("d");
        leave_folder(&to, &source, &[("video", &bytes, CHUNK)]);
        let given = source.metadata().unwrap();
        let permissions = u16::try_from(given.mode() & 0o777).unwrap();
        let attributes = Attributes { permissions, modified: given.mtime() };
        let size = u64::try_from(bytes.len()).unwrap();
        let name = PeerName::new("d");
        let (zip_size, attributes) = (0, Some(attributes));
        let offer = Offer::Directory { name, zip_size, bytes: size, files: 1, attributes };
        let mut frames = Vec::new();
        if is_link {
            let path = ZipPath::parse("video").unwrap();
            let (target, _) = LinkTarget::shortest("elsewhere", &path).unwrap();
            frame::link(&mut frames, &LinkEntry { path, target });
        } else {
            let path = ZipPath::parse("added").unwrap();
            frame::folder(&mut frames, &FolderEntry { path, attributes: attributes.unwrap() });
        }
        frame::file_end(&mut frames, &[0; 32]);
        let (outcome, events) = send_frames(&to, &offer, 1, frames).await;
        assert!(matches!(outcome, Err(Error::PeerMisbehaved(_))), "{outcome:?}");
        assert!(!events.iter().any(|event| matches!(event, Event::Kept(_))), "{events:?}");
        until_empty(&to).await;
    }
}

/// Appends data.
fn data(frames: &mut Vec<u8>, contents: &[u8]) {
    let start = frames.len();
    frames.extend_from_slice(&[0; frame::HEADER]);
    frames.extend_from_slice(contents);
    frame::set_header(frames, start);
}

#[tokio::test]
async fn a_sender_of_another_folder_that_breaks_the_protocol_removes_only_what_it_has_replaced() {
    for (replaced, left) in [(None, 2 * CHUNK), (Some(1), CHUNK)] {
        let (from, to) = (Folder::new(), Folder::new());
        let bytes = contents(2 * CHUNK + 5, 1);
        from.file("d/video", &bytes);
        let source = from.path().join("d");
        let part = leave_folder(&to, &source, &[("video", &bytes, 2 * CHUNK)]);
        let size = u64::try_from(bytes.len()).unwrap();
        let mut frames = Vec::new();
        frame::file(&mut frames, &dilated_liars::file("video", size, 2));
        data(&mut frames, b"other");
        if let Some(index) = replaced {
            frame::chunk(&mut frames, index);
            data(&mut frames, b"other");
        }
        frame::file_end(&mut frames, &[0; 32]);
        let offer = dilated_liars::folder(size, 1);
        let (outcome, _) = send_frames(&to, &offer, 2, frames).await;
        assert!(matches!(outcome, Err(Error::PeerMisbehaved(_))), "{outcome:?}");
        assert_eq!(to.names(), ["d.part", "d.part.resume"]);
        assert!(fs::read(part.join("video")).unwrap() == bytes[..left]);
        // Its own sender still continues it.
        let ((sent, _), (received, receiver)) = run(&source, &to).await;
        assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
        assert_eq!(receiver, Some(u64::try_from(left).unwrap()));
        assert!(fs::read(to.path().join("d/video")).unwrap() == bytes);
        assert_eq!(to.names(), ["d"]);
    }
}

#[tokio::test]
async fn a_sender_of_another_folder_that_names_only_some_of_the_files_does_not_remove_the_others() {
    let (from, other, to) = (Folder::new(), Folder::new(), Folder::new());
    let (video, audio) = (contents(CHUNK, 1), contents(CHUNK + 1, 2));
    from.file("d/video", &video);
    from.file("d/audio", &audio);
    other.file("d/video", &video);
    let source = from.path().join("d");
    let part = leave_folder(&to, &source, &[("video", &video, CHUNK), ("audio", &audio, CHUNK)]);
    let ((sent, _), (received, receiver)) = run(&other.path().join("d"), &to).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    // It claims both files, of which the sender continues one.
    assert_eq!(receiver, Some(u64::try_from(2 * CHUNK).unwrap()));
    assert_eq!(to.names(), ["d", "d.part", "d.part.resume"]);
    assert_eq!(Folder::names_in(&part), ["audio"]);
    fs::remove_dir_all(to.path().join("d")).unwrap();
    // Its own sender still continues it.
    let ((sent, _), (received, receiver)) = run(&source, &to).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert_eq!(receiver, Some(u64::try_from(CHUNK).unwrap()));
    let arrived = |name: &str| fs::read(to.path().join("d").join(name)).unwrap();
    assert!(arrived("video") == video && arrived("audio") == audio);
    assert_eq!(to.names(), ["d"]);
}

/// Appends compressed blocks.
fn compressed(frames: &mut Vec<u8>, contents: &[u8]) {
    for block in contents.chunks(100_000) {
        let plain = u32::try_from(block.len()).unwrap();
        frame::compressed(frames, plain, &zstd::bulk::compress(block, 1).unwrap());
    }
}

#[tokio::test]
async fn a_file_is_continued_with_compressed_data() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let new = vec![7; 3 * CHUNK + 5];
    let mut old = new[..2 * CHUNK].to_vec();
    old[CHUNK + 1] ^= 1;
    let source = from.file("a", &new);
    leave(&to, &source, &old);
    let receiver = transfer::receive(CodeSource::Code(code.clone()), settings.clone());
    let receiving = tokio::spawn(finish(receiver, Some(to.destination(OnExists::Refuse))));
    let sender = dilated_liars::peer(Mode::Send, &settings, code).await;
    let mut stream = sender.connect(SUBPROTOCOL).unwrap();
    let given = source.metadata().unwrap();
    let permissions = u16::try_from(given.mode() & 0o777).unwrap();
    let attributes = Some(Attributes { permissions, modified: given.mtime() });
    let (name, mut frames) = (PeerName::new("a"), Vec::new());
    frame::offer(&mut frames, &Offer::File { name, size: given.len(), attributes });
    stream.write_all(&frames).await.unwrap();
    // Accept, Have with two hashes, and Ready.
    let answer = 5 + (5 + 16 + 2 * 32) + 13;
    timeout(PATIENCE, stream.read_exact(&mut vec![0; answer])).await.unwrap().unwrap();
    let mut frames = Vec::new();
    let entry = FileEntry { path: None, size: Some(given.len()), attributes, keep: 2 };
    frame::file(&mut frames, &entry);
    compressed(&mut frames, &new[2 * CHUNK..]);
    frame::chunk(&mut frames, 1);
    compressed(&mut frames, &new[CHUNK..2 * CHUNK]);
    frame::file_end(&mut frames, blake3::hash(hashes(&new).as_flattened()).as_bytes());
    frame::end(&mut frames);
    stream.write_all(&frames).await.unwrap();
    let (outcome, _) = timeout(PATIENCE, receiving).await.unwrap().unwrap();
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(fs::read(to.path().join("a")).unwrap() == new);
}

#[tokio::test]
async fn another_folder_of_the_same_name_leaves_what_is_not_its_own() {
    let (from, other, to) = (Folder::new(), Folder::new(), Folder::new());
    let bytes = contents(2 * CHUNK, 1);
    from.file("d/video", &bytes);
    other.file("d/video", b"short");
    let part = leave_folder(&to, &from.path().join("d"), &[("video", &bytes, CHUNK)]);
    let ((sent, _), (received, _)) = run(&other.path().join("d"), &to).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert_eq!(to.names(), ["d", "d.part", "d.part.resume"]);
    assert_eq!(fs::read(to.path().join("d/video")).unwrap(), b"short");
    assert!(fs::read(part.join("video")).unwrap() == bytes[..CHUNK]);
    // Its own sender still continues it.
    fs::remove_dir_all(to.path().join("d")).unwrap();
    let ((sent, _), (received, receiver)) = run(&from.path().join("d"), &to).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert_eq!(receiver, Some(u64::try_from(CHUNK).unwrap()));
    assert_eq!(to.names(), ["d"]);
    assert!(fs::read(to.path().join("d/video")).unwrap() == bytes);
}

#[tokio::test]
async fn data_that_was_damaged_on_the_disk_is_noticed_and_not_kept() {
    let (from, to) = (Folder::new(), Folder::new());
    let bytes = contents(3 * CHUNK, 1);
    let source = from.file("a", &bytes);
    let part = leave(&to, &source, &bytes[..2 * CHUNK]);
    let mut damaged = bytes[..2 * CHUNK].to_vec();
    damaged[5] ^= 1;
    fs::write(&part, &damaged).unwrap();
    let ((sent, _), (received, _)) = run(&source, &to).await;
    assert!(matches!(received, Err(Error::PeerMisbehaved(_))), "{received:?}");
    assert!(sent.is_err());
    until_empty(&to).await;
}

#[tokio::test]
async fn after_a_restart_of_the_system_only_what_has_the_right_hashes_is_continued() {
    let (from, to) = (Folder::new(), Folder::new());
    let bytes = contents(3 * CHUNK, 1);
    let source = from.file("a", &bytes);
    let part = leave(&to, &source, &bytes[..2 * CHUNK]);
    let size = source.metadata().unwrap().len();
    let left = hashes(&bytes[..2 * CHUNK]);
    let file = JournalFile { key: key(&source, ""), path: None, size, hashes: left };
    let header = header(&part, &source, bytes.len(), 1);
    write_journal(&part, JournalHeader { boot: [7; 16], ..header }, &[file]);
    let mut damaged = bytes[..2 * CHUNK].to_vec();
    damaged[CHUNK] ^= 1;
    fs::write(&part, &damaged).unwrap();
    let ((sent, _), (received, receiver)) = run(&source, &to).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert_eq!(receiver, Some(u64::try_from(CHUNK).unwrap()));
    assert!(fs::read(to.path().join("a")).unwrap() == bytes);
}

#[tokio::test]
async fn after_a_restart_a_folder_is_continued_where_its_files_have_the_right_hashes() {
    let (from, to) = (Folder::new(), Folder::new());
    let (first, second) = (contents(1000, 1), contents(3 * CHUNK, 2));
    let source = from.path().join("d");
    let a = from.file("d/a", &first);
    let b = from.file("d/sub/b", &second);
    let c = from.file("d/sub/c", b"lost");
    let part = to.path().join("d.part");
    fs::create_dir(&part).unwrap();
    fs::set_permissions(&part, PermissionsExt::from_mode(0o700)).unwrap();
    fs::create_dir(part.join("sub")).unwrap();
    fs::write(part.join("a"), &first).unwrap();
    let mut damaged = second[..2 * CHUNK].to_vec();
    damaged[CHUNK] ^= 1;
    fs::write(part.join("sub/b"), &damaged).unwrap();
    // The size has reached the disk, and the data has not.
    fs::write(part.join("sub/c"), [0; 4]).unwrap();
    let left = |source: &Path, path: &str, bytes: &[u8]| JournalFile {
        key: key(source, path),
        path: Some(ZipPath::parse(path).unwrap()),
        size: source.metadata().unwrap().len(),
        hashes: hashes(bytes),
    };
    let files = [
        left(&a, "a", &first),
        left(&b, "sub/b", &second[..2 * CHUNK]),
        left(&c, "sub/c", b"lost"),
    ];
    let header = header(&part, &source, first.len() + second.len() + 4, 3);
    write_journal(&part, JournalHeader { boot: [7; 16], ..header }, &files);
    let ((sent, _), (received, receiver)) = run(&source, &to).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert_eq!(receiver, Some(u64::try_from(first.len() + CHUNK).unwrap()));
    let arrived = |name: &str| fs::read(to.path().join("d").join(name)).unwrap();
    assert!(arrived("a") == first && arrived("sub/b") == second && arrived("sub/c") == b"lost");
    assert_eq!(to.names(), ["d"]);
}

#[tokio::test]
async fn what_somebody_else_could_have_put_there_is_not_continued() {
    let bytes = contents(2 * CHUNK, 1);
    type Trick = fn(&Folder, &Path);
    let tricks: [Trick; 4] = [
        |_, part| fs::set_permissions(part, PermissionsExt::from_mode(0o644)).unwrap(),
        |to, part| fs::hard_link(part, to.path().join("other")).unwrap(),
        |_, part| {
            fs::rename(part, part.with_file_name("moved")).unwrap();
            std::os::unix::fs::symlink("moved", part).unwrap();
        },
        // Another file, such as a private one that was moved here.
        |_, part| {
            let copy = part.with_file_name("copy");
            private(&copy, &fs::read(part).unwrap());
            fs::rename(copy, part).unwrap();
        },
    ];
    for trick in tricks {
        let (from, to) = (Folder::new(), Folder::new());
        let source = from.file("a", &bytes);
        let part = leave(&to, &source, &bytes[..CHUNK]);
        trick(&to, &part);
        let ((sent, _), (received, receiver)) = run(&source, &to).await;
        assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
        assert_eq!(receiver, None);
        assert!(fs::read(to.path().join("a")).unwrap() == bytes);
        assert!(fs::read(part).unwrap() == bytes[..CHUNK], "it was changed");
    }
}

/// Sends a folder of which an earlier attempt has left a small file, and a part of a large one. `is_other` says that it was
/// another offer. Returns how many bytes the receiver claimed to have.
async fn continue_folder(is_other: bool) -> Option<u64> {
    let (from, to) = (Folder::new(), Folder::new());
    let (first, second) = (contents(1000, 1), contents(2 * CHUNK + 3, 2));
    let source = from.path().join("d");
    let a = from.file("d/a", &first);
    let b = from.file("d/sub/b", &second);
    let c = from.file("d/sub/c", b"new");
    fs::set_permissions(&a, PermissionsExt::from_mode(0o444)).unwrap();
    let part = to.path().join("d.part");
    fs::create_dir(&part).unwrap();
    fs::set_permissions(&part, PermissionsExt::from_mode(0o700)).unwrap();
    fs::create_dir(part.join("sub")).unwrap();
    fs::write(part.join("a"), &first).unwrap();
    fs::write(part.join("sub/b"), &second[..CHUNK + 100]).unwrap();
    // The source has them no more, or another sender has sent them.
    fs::create_dir_all(part.join("old/deep")).unwrap();
    for name in ["old/deep/file", "sub/old"] {
        fs::write(part.join(name), b"old").unwrap();
    }
    fs::set_permissions(part.join("old"), PermissionsExt::from_mode(0o500)).unwrap();
    fs::set_permissions(part.join("a"), PermissionsExt::from_mode(0o444)).unwrap();
    fs::set_permissions(part.join("sub"), PermissionsExt::from_mode(0o500)).unwrap();
    let left = |source: &Path, path: &str, bytes: &[u8], hashes: Vec<Hash>| JournalFile {
        key: key(source, path),
        path: Some(ZipPath::parse(path).unwrap()),
        size: u64::try_from(bytes.len()).unwrap(),
        hashes,
    };
    let files = [
        left(&a, "a", &first, hashes(&first)),
        left(&b, "sub/b", &second, hashes(&second[..CHUNK])),
        // It is no longer there, so it is received again.
        left(&c, "sub/c", b"new", hashes(b"new")),
    ];
    let bytes = first.len() + second.len() + 3 + usize::from(is_other);
    write_journal(&part, header(&part, &source, bytes, 3), &files);
    let ((sent, _), (received, receiver)) = run(&source, &to).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert_eq!(to.names(), ["d"]);
    let arrived = |name: &str| fs::read(to.path().join("d").join(name)).unwrap();
    assert!(arrived("a") == first && arrived("sub/b") == second && arrived("sub/c") == b"new");
    assert!(!to.path().join("d/old").exists() && !to.path().join("d/sub/old").exists());
    let mode = |name: &str| to.path().join(name).metadata().unwrap().mode() & 0o777;
    assert_eq!(
        (mode("d/a"), mode("d/sub")),
        (0o444, source.join("sub").metadata().unwrap().mode() & 0o777)
    );
    receiver
}

#[tokio::test]
async fn a_folder_is_continued_with_its_complete_files_and_the_last_one() {
    let left = u64::try_from(1000 + CHUNK).unwrap();
    assert_eq!(continue_folder(false).await, Some(left));
}

#[tokio::test]
async fn the_sender_of_another_folder_of_the_same_name_learns_no_hash_that_can_be_guessed() {
    assert_eq!(continue_folder(true).await, Some(u64::try_from(CHUNK).unwrap()));
}

#[tokio::test]
async fn a_folder_with_links_is_continued_and_only_its_own_links_stay() {
    let (from, to) = (Folder::new(), Folder::new());
    let bytes = contents(CHUNK + 3, 1);
    let source = from.path().join("d");
    let large = from.file("d/sub/large", &bytes);
    from.file("d/now a file", b"new");
    for (link, target) in [("link", "sub/large"), ("now a link", "sub"), ("sub/up", "..")] {
        std::os::unix::fs::symlink(target, source.join(link)).unwrap();
    }
    let part = to.path().join("d.part");
    fs::create_dir(&part).unwrap();
    fs::set_permissions(&part, PermissionsExt::from_mode(0o700)).unwrap();
    fs::create_dir(part.join("sub")).unwrap();
    fs::write(part.join("sub/large"), &bytes[..CHUNK]).unwrap();
    fs::write(part.join("now a link"), b"old").unwrap();
    for (link, target) in [("link", "elsewhere"), ("now a file", "sub/large"), ("old", "sub")] {
        std::os::unix::fs::symlink(target, part.join(link)).unwrap();
    }
    let file = JournalFile {
        key: key(&large, "sub/large"),
        path: Some(ZipPath::parse("sub/large").unwrap()),
        size: u64::try_from(bytes.len()).unwrap(),
        hashes: hashes(&bytes[..CHUNK]),
    };
    write_journal(&part, header(&part, &source, bytes.len() + 3, 2), &[file]);
    let ((sent, _), (received, receiver)) = run(&source, &to).await;
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
    assert_eq!(receiver, Some(u64::try_from(CHUNK).unwrap()));
    let arrived = to.path().join("d");
    assert_eq!(Folder::names_in(&arrived), ["link", "now a file", "now a link", "sub"]);
    for (link, target) in [("link", "sub/large"), ("now a link", "sub"), ("sub/up", "..")] {
        assert_eq!(fs::read_link(arrived.join(link)).unwrap(), Path::new(target));
    }
    assert!(fs::read(arrived.join("sub/up/link")).unwrap() == bytes);
    assert_eq!(fs::read(arrived.join("now a file")).unwrap(), b"new");
}

#[tokio::test]
async fn a_torn_record_at_the_end_of_a_journal_is_ignored() {
    let bytes = contents(2 * CHUNK, 1);
    for (torn, expected) in [(1, None), (0, Some(CHUNK))] {
        let (from, to) = (Folder::new(), Folder::new());
        let source = from.file("a", &bytes);
        let part = leave(&to, &source, &bytes[..CHUNK]);
        let journal = part.with_file_name("a.part.resume");
        let file = File::options().write(true).open(&journal).unwrap();
        file.set_len(journal.metadata().unwrap().len() - torn).unwrap();
        let ((sent, _), (received, receiver)) = run(&source, &to).await;
        assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
        assert_eq!(receiver, expected.map(|bytes| u64::try_from(bytes).unwrap()));
        assert_eq!(to.names(), ["a"]);
    }
}

#[test]
fn what_is_left_is_listed_and_removed_after_a_week() {
    let (from, to) = (Folder::new(), Folder::new());
    let bytes = contents(CHUNK, 1);
    for name in ["a", "b", "deleted"] {
        leave(&to, &from.file(name, &bytes), &bytes);
    }
    fs::remove_file(to.path().join("deleted.part")).unwrap();
    let eight_days_ago = SystemTime::now() - Duration::from_secs(8 * 24 * 3600);
    let journal = File::options().write(true).open(to.path().join("b.part.resume")).unwrap();
    journal.set_modified(eight_days_ago).unwrap();
    let left = transfer::leftovers(to.path());
    let paths: Vec<_> = left.iter().map(|it| it.path.clone()).collect();
    assert_eq!(paths, [to.path().join("a.part")]);
    assert_eq!(to.names(), ["a.part", "a.part.resume"]);
}

#[tokio::test]
async fn a_side_without_dilated_connections_gets_version_1() {
    for sender_dilates in [false, true] {
        let (settings, code) = settings().await;
        let (from, to) = (Folder::new(), Folder::new());
        let mut other = settings.clone();
        other.dilate = false;
        let (sending, receiving) =
            if sender_dilates { (settings, other) } else { (other, settings) };
        let sender = transfer::send(path(&from.file("a", b"abc")), sending).unwrap();
        let receiver = transfer::receive(CodeSource::Code(code), receiving);
        let destination = to.destination(OnExists::Refuse);
        let ((sent, _), (received, _)) =
            tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
        assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
        assert_eq!(to.names(), ["a"]);
    }
}

#[tokio::test]
async fn a_cancelled_receiver_keeps_what_has_arrived_and_says_where() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let source = from.path().join("a");
    // Sparse, so that it takes a while only on the way.
    let file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&source).unwrap();
    file.set_len(4 << 30).unwrap();
    let sender = transfer::send(path(&source), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let sending = tokio::spawn(finish(sender, None));
    offer(&mut receiver).await;
    receiver.accept(to.destination(OnExists::Refuse));
    let arriving = async {
        loop {
            let event = receiver.next().await.unwrap().unwrap();
            if matches!(event, Event::Progress { done, .. } if done > 12 << 20) {
                return;
            }
        }
    };
    timeout(PATIENCE, arriving).await.unwrap();
    assert_eq!(receiver.cancel().await, Some(to.path().join("a.part")));
    assert_eq!(to.names(), ["a.part", "a.part.resume"]);
    assert!(matches!(sending.await.unwrap().0, Err(Error::PeerRefused(_))));
}
