//! Peers that violate the protocol of transfers over a dilated connection (docs/dilated-transfer.md).

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wormhole::code::{Config, Wormhole};
use wormhole::dilated::{self, Dilated};
use wormhole::transfer::{PeerMisbehaved, PeerName, Violation};
use wormhole_magic::transfer::dilated::{FileEntry, Mode, SUBPROTOCOL, frame};
use wormhole_magic::transfer::zip::ZipPath;

use super::*;

/// A peer that announces a mode, and says whatever the test wants.
pub(super) async fn peer(mode: Mode, settings: &Settings, code: Code) -> Dilated {
    let mut app_versions = json!({});
    mode.announce(&mut app_versions);
    let config = Config { servers: settings.servers.clone(), app_versions, ..Config::default() };
    let wormhole = Wormhole::create_dilatable(config);
    wormhole.set_code(code).unwrap();
    let settings = dilated::Settings { relays: Vec::new(), ..dilated::Settings::default() };
    timeout(PATIENCE, wormhole.dilate(settings)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_peer_that_says_it_dilates_and_does_not_gets_the_offer_of_version_1() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let _sender = transfer::send(path(&from.file("a", b"abc")), settings.clone()).unwrap();
    let mut app_versions = json!({});
    Mode::Receive.announce(&mut app_versions);
    let config = Config { servers: settings.servers, app_versions, ..Config::default() };
    let wormhole = Wormhole::create_dilatable(config);
    wormhole.set_code(code).unwrap();
    for key in ["transit", "offer"] {
        let message = timeout(PATIENCE, wormhole.receive_message()).await.unwrap().unwrap();
        let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
        assert!(message.get(key).is_some(), "{message}");
    }
}

pub(super) fn folder(bytes: u64, files: u64) -> Offer {
    let name = PeerName::new("d");
    Offer::Directory { name, zip_size: bytes, bytes, files, attributes: None }
}

pub(super) fn file(path: &str, size: u64, keep: u64) -> FileEntry {
    let path = Some(ZipPath::parse(path).unwrap());
    FileEntry { path, size: Some(size), attributes: None, keep }
}

fn data(frames: &mut Vec<u8>, bytes: &[u8]) {
    let start = frames.len();
    frames.extend_from_slice(&[0; frame::HEADER]);
    frames.extend_from_slice(bytes);
    frame::set_header(frames, start);
}

/// Offers something, sends these frames once it is accepted, and returns the receiver's error.
pub(super) async fn refused(offer: Offer, frames: Vec<u8>) -> Error {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let receiver = transfer::receive(CodeSource::Code(code.clone()), settings.clone());
    let receiving = tokio::spawn(finish(receiver, Some(to.destination(OnExists::Refuse))));
    let liar = peer(Mode::Send, &settings, code).await;
    let mut stream = liar.connect(SUBPROTOCOL).unwrap();
    let mut first = Vec::new();
    frame::offer(&mut first, &offer);
    stream.write_all(&first).await.unwrap();
    // Accept and Ready.
    timeout(PATIENCE, stream.read_exact(&mut [0; 18])).await.unwrap().unwrap();
    stream.write_all(&frames).await.unwrap();
    let outcome = timeout(PATIENCE, receiving).await.unwrap().unwrap().0;
    until_empty(&to).await;
    outcome.unwrap_err()
}

fn violation(violation: Violation) -> Error {
    Error::PeerMisbehaved(PeerMisbehaved::Dilated(violation))
}

#[tokio::test]
async fn a_sender_that_sends_more_than_it_offered_is_refused_and_leaves_nothing() {
    let mut frames = Vec::new();
    frame::file(&mut frames, &file("a", 3, 0));
    data(&mut frames, b"abcd");
    assert_eq!(refused(folder(3, 1), frames).await, violation(Violation::NotAsOffered));
}

#[tokio::test]
async fn a_file_with_another_hash_is_refused_and_leaves_nothing() {
    let mut frames = Vec::new();
    frame::file(&mut frames, &file("a", 3, 0));
    data(&mut frames, b"abc");
    frame::file_end(&mut frames, &[0; 32]);
    assert_eq!(refused(folder(3, 1), frames).await, violation(Violation::WrongHash));
}

#[tokio::test]
async fn a_sender_that_keeps_what_the_receiver_does_not_have_is_refused() {
    let mut frames = Vec::new();
    frame::file(&mut frames, &file("a", 3, 1));
    assert_eq!(refused(folder(3, 1), frames).await, violation(Violation::WrongClaim));
}

#[tokio::test]
async fn compressed_data_that_does_not_have_the_announced_length_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let short = zstd::bulk::compress(&[1; 999], 1).unwrap();
    for block in [bomb.as_slice(), &short, b"not compressed", b""] {
        let mut frames = Vec::new();
        frame::file(&mut frames, &file("a", 1000, 0));
        frame::compressed(&mut frames, 1000, block);
        assert_eq!(refused(folder(1000, 1), frames).await, violation(Violation::Malformed));
    }
}

#[tokio::test]
async fn the_same_path_twice_is_refused() {
    let mut frames = Vec::new();
    for _ in 0..2 {
        frame::file(&mut frames, &file("a", 0, 0));
        frame::file_end(&mut frames, blake3::hash(b"").as_bytes());
    }
    let error = refused(folder(0, 2), frames).await;
    assert!(matches!(error, Error::PeerMisbehaved(PeerMisbehaved::BadZip(_))), "{error:?}");
}

#[tokio::test]
async fn a_receiver_that_confirms_before_it_has_anything_is_refused() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    // Longer than what can wait on the way.
    let source = from.file("a", &vec![1; 64 << 20]);
    let sender = transfer::send(path(&source), settings.clone()).unwrap();
    let sending = tokio::spawn(finish(sender, None));
    let liar = peer(Mode::Receive, &settings, code).await;
    let mut streams = liar.listen(SUBPROTOCOL).unwrap();
    let mut stream = timeout(PATIENCE, streams.accept()).await.unwrap().unwrap();
    let mut frames = Vec::new();
    frame::accept(&mut frames);
    frame::ready(&mut frames, 0);
    frame::stored(&mut frames);
    stream.write_all(&frames).await.unwrap();
    let outcome = timeout(PATIENCE, sending).await.unwrap().unwrap().0;
    assert_eq!(outcome.unwrap_err(), violation(Violation::OutOfOrder));
}

#[tokio::test]
async fn a_receiver_with_wrong_hashes_gets_everything_again() {
    use std::os::unix::fs::MetadataExt;

    let contents = b"the contents";
    let (settings, code) = settings().await;
    let from = Folder::new();
    let source = from.file("a", contents);
    let numbers = [12_u64.to_be_bytes(), source.metadata().unwrap().mtime().to_be_bytes()];
    let key = *blake3::hash(&[&[0], numbers.as_flattened()].concat()).as_bytes();
    let sender = transfer::send(path(&source), settings.clone()).unwrap();
    let sending = tokio::spawn(finish(sender, None));
    let other = peer(Mode::Receive, &settings, code).await;
    let mut streams = other.listen(SUBPROTOCOL).unwrap();
    let mut stream = timeout(PATIENCE, streams.accept()).await.unwrap().unwrap();
    let mut frames = Vec::new();
    frame::accept(&mut frames);
    frame::have(&mut frames, key.first_chunk().unwrap(), &[[9; 32]]);
    frame::ready(&mut frames, u64::MAX);
    stream.write_all(&frames).await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(&frame::header(frame::FrameKind::End, 0)) {
        let mut buffer = [0; 4096];
        let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(length > 0);
        received.extend_from_slice(&buffer[..length]);
    }
    assert!(received.windows(contents.len()).any(|window| window == contents));
    let mut stored = Vec::new();
    frame::stored(&mut stored);
    stream.write_all(&stored).await.unwrap();
    let (outcome, events) = timeout(PATIENCE, sending).await.unwrap().unwrap();
    assert_eq!(outcome.unwrap().bytes, 12);
    // The number of the receiver is not believed.
    assert!(events.iter().any(|event| matches!(event, Event::Resuming { done: 12, .. })));
}
