//! What can be sent arrives as it was.

use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use wormhole::code::{Config, Wormhole};
use wormhole::transfer::{self, CodeSource, Event, Offer, OnExists, Outgoing};
use wormhole::transit::RelayPolicy;

use super::*;

#[tokio::test]
async fn a_text_arrives_as_an_event_on_the_other_side() {
    let (settings, code) = settings().await;
    let text = "line1\nline2 ☃ \u{1b}[2J";
    let sender = transfer::send(Outgoing::Text(text.into()), settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let ((sent, _), (received, events)) =
        tokio::join!(finish(sender, None), finish(receiver, None));
    assert_eq!(sent.unwrap().bytes, u64::try_from(text.len()).unwrap());
    assert!(received.is_ok());
    assert!(events.iter().any(|event| matches!(event, Event::Text(arrived) if arrived == text)));
}

#[tokio::test]
async fn a_text_that_the_application_could_not_keep_is_not_confirmed() {
    let (settings, code) = settings().await;
    let sender = transfer::send(Outgoing::Text("a".into()), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    let receiving = async {
        assert!(matches!(receiver.offered().await, Ok(Offer::Text(_))));
        receiver.reject("the disk is full");
        receiver.done().await
    };
    let ((sent, _), received) = tokio::join!(finish(sender, None), receiving);
    assert_eq!(sent, Err(Error::PeerRefused("the disk is full".into())));
    assert_eq!(received, Err(Error::Rejected));
}

#[tokio::test]
async fn a_single_file_keeps_its_time_and_its_permissions_as_far_as_the_mask_allows() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("tool", b"#!/bin/sh\n");
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    set_time(&file, old);
    #[cfg(unix)]
    set_mode(&file, 0o6777);
    let (sent, received) =
        transfer(path(&file), to.destination(OnExists::Refuse), settings, code).await;
    assert!(sent.is_ok() && received.is_ok());
    let arrived = to.path().join("tool");
    assert_eq!(time(&arrived), old);
    #[cfg(unix)]
    {
        // What the system gives to a new folder is all that the mask allows.
        std::fs::create_dir(to.path().join("usual")).unwrap();
        assert_eq!(mode(&arrived), mode(&to.path().join("usual")) & 0o777);
    }
}

#[tokio::test]
async fn other_clients_are_offered_a_file_as_they_know_it() {
    for (ability, known) in [
        ("transfer-v1", &["filename", "filesize"][..]),
        ("attributes-v1", &["filename", "filesize", "modified", "permissions"]),
    ] {
        let (settings, code) = settings().await;
        let from = Folder::new();
        let sender = transfer::send(path(&from.file("a", b"a")), settings.clone()).unwrap();
        let (outcome, offer) = offered_to(sender, settings, code, ability).await;
        assert_eq!(outcome, Err(Error::PeerRefused("no".into())));
        let keys: Vec<_> = offer["offer"]["file"].as_object().unwrap().keys().collect();
        assert_eq!(keys, known);
    }
}

#[tokio::test]
async fn an_application_need_not_look_at_events() {
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", b"contents");
    for what in [path(&file), Outgoing::Text("hello".into())] {
        let (mut settings, _) = settings().await;
        settings.code = None;
        let mut sender = transfer::send(what, settings.clone()).unwrap();
        let code = sender.code().await.unwrap();
        let mut receiver = transfer::receive(CodeSource::Code(code), settings.clone());
        let receiving = async {
            let offer = receiver.offered().await.unwrap();
            receiver.accept(to.destination(OnExists::Refuse));
            (offer, receiver.done().await)
        };
        let (sent, (offer, received)) = tokio::join!(sender.done(), receiving);
        assert_eq!(sent.unwrap().bytes, received.unwrap().bytes);
        assert!(matches!(offer, Offer::File { size: 8, .. } | Offer::Text(_)), "{offer:?}");
    }
    assert_eq!(std::fs::read(to.path().join("a")).unwrap(), b"contents");
}

#[tokio::test]
async fn files_of_any_size_arrive_under_their_names() {
    for (name, size) in [("empty", 0), ("one byte", 1), ("-dash ü.bin", 3_000_000)] {
        let (settings, code) = settings().await;
        let (from, to) = (Folder::new(), Folder::new());
        let contents: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[1]).collect();
        let file = from.file(name, &contents);
        let (sent, received) =
            transfer(path(&file), to.destination(OnExists::Refuse), settings, code).await;
        assert_eq!(sent.unwrap().bytes, u64::from(size));
        assert_eq!(received.unwrap().written, Some(to.path().join(name)));
        assert_eq!(to.names(), [name]);
        assert!(std::fs::read(to.path().join(name)).unwrap() == contents);
    }
}

#[tokio::test]
async fn a_sender_hears_of_acceptance_connection_progress_and_confirmation_in_order() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", &[1; 100_000]);
    let sender = transfer::send(path(&file), settings.clone()).unwrap();
    assert!(matches!(sender.offer(), Some(Offer::File { size: 100_000, .. })));
    let receiver = transfer::receive(CodeSource::Code(code), settings);
    let destination = to.destination(OnExists::Refuse);
    let ((_, events), _) = tokio::join!(finish(sender, None), finish(receiver, Some(destination)));
    let of_interest: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Accepted => Some("accepted"),
            Event::Connected(_) => Some("connected"),
            Event::Progress { done: 100_000, total: Some(100_000) } => Some("all sent"),
            Event::AwaitingConfirmation => Some("waiting"),
            _ => None,
        })
        .collect();
    assert_eq!(of_interest[..4], ["accepted", "connected", "all sent", "waiting"]);
}

#[tokio::test]
async fn a_directory_keeps_names_empty_folders_permissions_and_times() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    from.file("tree/plain.txt", b"hello");
    from.file("tree/sub/-odd ü name", &[7; 200_000]);
    from.file("tree/sub/empty file", b"");
    std::fs::create_dir_all(from.path().join("tree/empty/inner")).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let before_1980 = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    set_time(&from.path().join("tree/plain.txt"), old);
    set_time(&from.path().join("tree/sub/empty file"), before_1980);
    #[cfg(unix)]
    {
        set_mode(&from.path().join("tree/plain.txt"), 0o751);
        set_mode(&from.path().join("tree/empty/inner"), 0o700);
        set_time(&from.path().join("tree/empty/inner"), old);
        set_mode(&from.path().join("tree"), 0o700);
        set_time(&from.path().join("tree"), old);
    }
    let tree = from.path().join("tree");
    let (sent, received) =
        transfer(path(&tree), to.destination(OnExists::Refuse), settings, code).await;
    assert!(sent.is_ok());
    assert_eq!(received.unwrap().written, Some(to.path().join("tree")));
    assert_eq!(to.names(), ["tree"]);
    let at = |name: &str| to.path().join("tree").join(name);
    assert_eq!(std::fs::read(at("plain.txt")).unwrap(), b"hello");
    assert_eq!(std::fs::read(at("sub/-odd ü name")).unwrap(), [7; 200_000]);
    assert_eq!(std::fs::read(at("sub/empty file")).unwrap(), b"");
    assert_eq!(time(&at("plain.txt")), old);
    assert_eq!(time(&at("sub/empty file")), before_1980);
    #[cfg(unix)]
    {
        assert_eq!(mode(&at("plain.txt")), 0o751);
        assert_eq!(mode(&at("empty/inner")), 0o700);
        assert_eq!(time(&at("empty/inner")), old);
        assert_eq!(mode(&to.path().join("tree")), 0o700);
        assert_eq!(time(&to.path().join("tree")), old);
    }
}

#[tokio::test]
async fn other_clients_are_offered_a_directory_as_they_know_it() {
    for (ability, knows_more) in [("transfer-v1", false), ("folders-v1", true)] {
        let (settings, code) = settings().await;
        let from = Folder::new();
        from.file("tree/sub/a", b"a");
        let sender = transfer::send(path(&from.path().join("tree")), settings.clone()).unwrap();
        let (outcome, offer) = offered_to(sender, settings, code, ability).await;
        assert_eq!(outcome, Err(Error::PeerRefused("no".into())));
        let directory = offer["offer"]["directory"].as_object().unwrap();
        let keys: Vec<_> = directory.keys().map(String::as_str).collect();
        let mut known = vec!["dirname", "mode", "numbytes", "numfiles", "zipsize"];
        if knows_more {
            known.extend(["modified", "permissions"]);
            known.sort_unstable();
        }
        assert_eq!(keys, known);
    }
}

/// What a client with this ability is offered, which then says no.
async fn offered_to(
    sender: Transfer,
    settings: Settings,
    code: Code,
    ability: &str,
) -> (Result<Report, Error>, Value) {
    let wormhole = Wormhole::create(Config {
        servers: settings.servers,
        app_versions: json!({ "abilities": [ability] }),
        ..Config::default()
    });
    wormhole.set_code(code).unwrap();
    let receiving = async {
        let mut messages: Vec<Value> = Vec::new();
        while !messages.iter().any(|message| message.get("offer").is_some()) {
            let message = wormhole.receive_message().await.unwrap();
            messages.push(serde_json::from_slice(&message).unwrap());
        }
        wormhole.send_message(b"{\"error\": \"no\"}".to_vec()).await.unwrap();
        messages.pop().unwrap()
    };
    let ((outcome, _), offer) = tokio::join!(finish(sender, None), receiving);
    (outcome, offer)
}

#[tokio::test]
async fn several_paths_arrive_side_by_side_in_one_directory() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let one = from.file("one.txt", b"1");
    from.file("folder/two.txt", b"2");
    let what = Outgoing::Paths(vec![one, from.path().join("folder")]);
    let (sent, received) = transfer(what, to.destination(OnExists::Refuse), settings, code).await;
    assert!(sent.is_ok() && received.is_ok());
    let at = to.path().join("one.txt and 1 more");
    assert_eq!(std::fs::read(at.join("one.txt")).unwrap(), b"1");
    assert_eq!(std::fs::read(at.join("folder/two.txt")).unwrap(), b"2");
}

/// A writer that others can look into.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_stream_of_unknown_length_goes_from_reader_to_writer() {
    for size in [0, 1, 300_001] {
        let (settings, code) = settings().await;
        let reader = Box::new(std::io::repeat(b'x').take(size));
        let what = Outgoing::Stream { name: "stdin".into(), reader };
        let written = Shared::default();
        let destination = Destination::Writer(Box::new(written.clone()));
        let (sent, received) = transfer(what, destination, settings, code).await;
        assert_eq!(sent.unwrap().bytes, size);
        assert_eq!(received.unwrap().written, None);
        let written = written.0.lock().unwrap();
        assert_eq!(u64::try_from(written.len()), Ok(size));
        assert!(written.iter().all(|byte| *byte == b'x'));
    }
}

#[tokio::test]
async fn a_stream_becomes_a_file_under_the_name_it_was_given() {
    let (settings, code) = settings().await;
    let to = Folder::new();
    let reader = Box::new(Cursor::new(b"piped".to_vec()));
    let what = Outgoing::Stream { name: "notes.txt".into(), reader };
    let (_, received) = transfer(what, to.destination(OnExists::Refuse), settings, code).await;
    assert!(received.is_ok());
    assert_eq!(std::fs::read(to.path().join("notes.txt")).unwrap(), b"piped");
}

#[tokio::test]
async fn a_relay_carries_what_may_not_go_directly() {
    for connect in [servers::relay, servers::websocket_relay] {
        let servers = TestServers::start(&[]).await;
        let (mut settings, code) = settings_for(&servers);
        let relay = connect(&servers);
        settings.relay = RelayPolicy::Only;
        settings.relays = vec![relay];
        let (from, to) = (Folder::new(), Folder::new());
        let file = from.file("a", &[1; 500_000]);
        let (sent, received) =
            transfer(path(&file), to.destination(OnExists::Refuse), settings, code).await;
        assert!(!sent.unwrap().path.unwrap().is_direct());
        assert!(!received.unwrap().path.unwrap().is_direct());
        assert_eq!(std::fs::read(to.path().join("a")).unwrap(), [1; 500_000]);
        assert!(servers.metric("transit_relay_bytes_total") >= 500_000);
    }
}

fn set_time(path: &Path, time: SystemTime) {
    std::fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn time(path: &Path) -> SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
