//! Attached files.

use std::path::Path;

use rand_core::{OsRng, RngCore};
use wormhole::chat::{AttachmentError, Client, Destination, Message, QueueError};
use wormhole::transfer::OnExists;

use crate::proxy::Proxy;
use crate::world::{World, next_message, register, soon};

/// Creates a file with random content.
pub(crate) fn create(path: &Path, size: usize) -> Vec<u8> {
    let mut content = vec![0; size];
    OsRng.fill_bytes(&mut content);
    std::fs::write(path, &content).unwrap();
    content
}

#[tokio::test]
async fn files_arrive_with_their_content_in_both_directions() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550201", "+14155550202"]).await;
    let people = [(alice.open().await, &alice), (bob.open().await, &bob)];
    for (size, from, to) in [(1 << 20, 0, 1), (0, 1, 0), (100_000, 1, 0)] {
        let ((sender, ours), (recipient, theirs)) = (&people[from], &people[to]);
        let path = ours.folder.0.join("photo.jpg");
        let content = create(&path, size);
        let message = Message::text("look").with_file(&path);
        let mut sent = soon(sender.send(&theirs.destination(), message)).await.unwrap();
        soon(sent.on_server()).await.unwrap();
        let received = next_message(&mut recipient.messages()).await;
        assert_eq!(received.text.as_deref(), Some("look"));
        let file = &received.files[0];
        assert_eq!(file.size(), Some(u64::try_from(size).unwrap()));
        assert_eq!(
            (file.file_name().as_str(), file.content_type()),
            ("photo.jpg", Some("image/jpeg"))
        );
        let target = theirs.folder.0.join(file.file_name());
        let path = soon(recipient.download(file, &target, OnExists::KeepBoth)).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), content);
        recipient.done(received.id).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_was_changed_at_the_server_does_not_appear() {
    let mut world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550203", "+14155550204"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let path = alice.folder.0.join("a");
    create(&path, 50_000);
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    let received = next_message(&mut b.messages()).await;
    let blob = files_below(&world.folder.0.join("blobs"))
        .into_iter()
        .find(|it| std::fs::metadata(it).unwrap().len() > 50_000);
    let blob = blob.unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[20_000] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    let target = bob.folder.0.join("a");
    let failed = soon(b.download(&received.files[0], &target, OnExists::Refuse)).await;
    assert_eq!(failed, Err(AttachmentError::NotAuthentic));
    std::fs::remove_file(&blob).unwrap();
    let failed = soon(b.download(&received.files[0], &target, OnExists::Refuse)).await;
    assert_eq!(failed, Err(AttachmentError::Expired));
    let names: Vec<_> = std::fs::read_dir(&bob.folder.0).unwrap().collect();
    assert_eq!(names.len(), 1, "only the store is there: {names:?}");
    world.stop().await;
}

/// All files in a directory and below.
pub(crate) fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn files_that_cannot_be_read_or_overwritten_are_named() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550205", "+14155550206"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let missing = alice.folder.0.join("missing");
    let message = Message::text("").with_file(&missing);
    let failed = a.send(&bob.destination(), message).await.unwrap_err();
    assert_eq!(failed, QueueError::File(missing, std::io::ErrorKind::NotFound));
    let folder = Message::text("").with_file(&alice.folder.0);
    assert!(matches!(a.send(&bob.destination(), folder).await, Err(QueueError::File(..))));
    let path = alice.folder.0.join("large");
    std::fs::File::create(&path).unwrap().set_len(101 << 20).unwrap();
    let failed = a.send(&bob.destination(), Message::text("").with_file(&path)).await.unwrap_err();
    assert_eq!(failed, QueueError::FileTooLarge(path.clone()));

    create(&path, 10);
    a.send(&bob.destination(), Message::text("").with_file(&path)).await.unwrap();
    let received = next_message(&mut b.messages()).await;
    let target = bob.folder.0.join("large");
    std::fs::write(&target, "mine").unwrap();
    let failed = soon(b.download(&received.files[0], &target, OnExists::Refuse)).await;
    assert_eq!(failed, Err(AttachmentError::Exists(target.clone())));
    assert_eq!(std::fs::read(&target).unwrap(), b"mine");
}

#[tokio::test]
async fn a_download_continues_after_a_lost_connection() {
    const SIZE: usize = 3 << 20;
    let world = World::new().await;
    let proxy = Proxy::start(world.address).await;
    let alice = world.register("+14155550209", 0).await;
    let bob = register("+14155550210", &world.server_at(proxy.address, 1)).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let path = alice.folder.0.join("a");
    let content = create(&path, SIZE);
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    let received = next_message(&mut b.messages()).await;
    proxy.cut_after(1 << 20);
    let target = bob.folder.0.join("a");
    soon(b.download(&received.files[0], &target, OnExists::Refuse)).await.unwrap();
    assert_eq!(std::fs::read(target).unwrap(), content);
    assert!(proxy.has_cut());
    // What had arrived was not sent again, except for what was on its way.
    let carried = proxy.carried();
    assert!(carried < u64::try_from(SIZE + SIZE / 4).unwrap(), "{carried}");
}

#[tokio::test]
async fn a_download_says_how_far_it_is() {
    const SIZE: usize = 3 << 20;
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550211", "+14155550212"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let path = alice.folder.0.join("a");
    create(&path, SIZE);
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    let received = next_message(&mut b.messages()).await;
    let download = b.download(&received.files[0], &bob.folder.0.join("a"), OnExists::Refuse);
    let mut progress = download.progress();
    assert_eq!((progress.received(), progress.total()), (0, Some(3 << 20)));
    let watch = async {
        let mut steps = Vec::new();
        while let Some(bytes) = progress.next().await {
            steps.push(bytes);
        }
        steps
    };
    let (saved, steps) = soon(async { tokio::join!(download, watch) }).await;
    saved.unwrap();
    assert!(steps.len() > 1 && steps.is_sorted() && steps[0] > 0, "{steps:?}");
    assert_eq!(steps.last(), Some(&(3 << 20)));
}

#[tokio::test]
async fn an_interrupted_download_continues_where_it_was() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550871", "+14155550872"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let path = alice.folder.0.join("a");
    create(&path, 8 << 20);
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    let received = next_message(&mut b.messages()).await;
    let target = bob.folder.0.join("a");
    {
        let download = b.download(&received.files[0], &target, OnExists::Refuse);
        let progress = download.progress();
        tokio::pin!(download);
        while progress.received() < 1 << 20 {
            tokio::select! {
                done = &mut download => panic!("too fast: {done:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    // The thread that writes has ended when nothing is being received any more.
    let partials = bob.folder.0.join("store/downloads");
    soon(async {
        while bob.folder.0.join("a.part").exists() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let entries = std::fs::read_dir(&partials).unwrap().map(|entry| entry.unwrap());
    let lengths: Vec<_> = entries.map(|entry| entry.metadata().unwrap().len()).collect();
    assert!(lengths.len() == 1 && lengths[0] > 0, "{lengths:?}");
    soon(b.close()).await.unwrap();

    let b = bob.open().await;
    let download = b.download(&received.files[0], &target, OnExists::Refuse);
    let mut progress = download.progress();
    let first = async { progress.next().await };
    let (saved, first) = soon(async { tokio::join!(download, first) }).await;
    assert_eq!(first, Some(lengths[0]));
    assert_eq!(std::fs::read(saved.unwrap()).unwrap(), std::fs::read(&path).unwrap());
    assert!(!partials.exists());
}

#[tokio::test]
async fn an_interrupted_download_leaves_nothing() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550207", "+14155550208"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let path = alice.folder.0.join("a");
    create(&path, 5 << 20);
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    let received = next_message(&mut b.messages()).await;
    let target = bob.folder.0.join("a");
    {
        let download = b.download(&received.files[0], &target, OnExists::Refuse);
        tokio::pin!(download);
        let part = bob.folder.0.join("a.part");
        while !part.exists() {
            tokio::select! {
                done = &mut download => panic!("too fast: {done:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    soon(async {
        while std::fs::read_dir(&bob.folder.0).unwrap().count() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Sends a file until the server has so many bytes of it, and then gives up. Returns the name of the upload.
async fn interrupted_upload(world: &World, a: &Client, to: &Destination, path: &Path) -> String {
    let sending = a.send(to, Message::text("").with_file(path));
    tokio::pin!(sending);
    loop {
        tokio::select! {
            sent = &mut sending => panic!("too fast: {sent:?}"),
            () = tokio::task::yield_now() => {}
        }
        let (name, length) = partial_upload(world).unwrap_or_default();
        if length > 3 << 20 {
            return name;
        }
    }
}

/// The name and the length of the only upload that is not complete.
fn partial_upload(world: &World) -> Option<(String, u64)> {
    let account = std::fs::read_dir(world.folder.0.join("blobs/partial")).unwrap().next()?.unwrap();
    let files = std::fs::read_dir(account.path()).ok()?.map(|file| file.unwrap().path());
    let mut data = files.filter(|path| path.extension().is_none());
    let path = data.next()?;
    let name = path.file_name()?.to_str()?.to_owned();
    Some((name, path.metadata().ok()?.len()))
}

fn is_stored(world: &World, name: &str) -> bool {
    let folder: String = name.chars().rev().take(2).collect();
    world.folder.0.join("blobs").join(folder).join(format!("form-{name}")).exists()
}

#[tokio::test]
async fn an_upload_continues_after_the_client_has_ended() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550881", "+14155550882"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let path = alice.folder.0.join("a");
    let content = create(&path, 40 << 20);
    let name = soon(interrupted_upload(&world, &a, &bob.destination(), &path)).await;
    soon(a.close()).await.unwrap();
    let a = alice.open().await;
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    assert!(is_stored(&world, &name), "the upload began again");
    assert_eq!(partial_upload(&world), None);
    let received = next_message(&mut b.messages()).await;
    let target = bob.folder.0.join("a");
    soon(b.download(&received.files[0], &target, OnExists::Refuse)).await.unwrap();
    assert!(std::fs::read(target).unwrap() == content, "another content");
    b.done(received.id).await.unwrap();
    // The next message with the same file has another upload.
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    assert_ne!(next_message(&mut b.messages()).await.files, received.files);
}

#[tokio::test]
async fn an_upload_of_a_file_that_has_changed_begins_again() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550883", "+14155550884"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let path = alice.folder.0.join("a");
    let mut content = create(&path, 20 << 20);
    let name = soon(interrupted_upload(&world, &a, &bob.destination(), &path)).await;
    // The same length and time, as after an edit in place within the precision of the clock.
    let modified = path.metadata().unwrap().modified().unwrap();
    content[1000] ^= 1;
    std::fs::write(&path, &content).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    assert!(!is_stored(&world, &name));
    let received = next_message(&mut b.messages()).await;
    let target = bob.folder.0.join("a");
    soon(b.download(&received.files[0], &target, OnExists::Refuse)).await.unwrap();
    assert!(std::fs::read(target).unwrap() == content, "another content");
}
