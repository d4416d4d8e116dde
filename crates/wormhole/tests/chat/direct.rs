//! Large files that go directly from one person to the other.

use std::path::{Path, PathBuf};

use wormhole::chat::{Client, Connection, Destination, DirectFiles, Message, Options, QueueError};
use wormhole::transfer::OnExists;

use crate::files::create;
use crate::world::{Person, World, next_message, soon};

/// Opens the client of a person who takes and sends files of at least 1 MiB directly, without a relay.
async fn open(person: &Person) -> Client {
    let mut settings = DirectFiles::default();
    settings.min_bytes = 1 << 20;
    settings.transit.relays.clear();
    let mut options = Options::default();
    options.direct = Some(settings);
    Client::open(person.account(), options).await.unwrap()
}

/// Two people who know each other, with their clients.
async fn friends(world: &World, numbers: [&str; 2]) -> [(Person, Client); 2] {
    let [one, two] = [world.register(numbers[0], 0).await, world.register(numbers[1], 1).await];
    let (a, b) = (open(&one).await, open(&two).await);
    greet(&a, &b, &two.destination()).await;
    greet(&b, &a, &one.destination()).await;
    [(one, a), (two, b)]
}

async fn greet(from: &Client, to: &Client, destination: &Destination) {
    let mut messages = to.messages();
    let mut sent = soon(from.send(destination, Message::text("hello"))).await.unwrap();
    soon(sent.on_server()).await.unwrap();
    let received = next_message(&mut messages).await;
    to.done(received.id).await.unwrap();
}

/// The attachments of the service.
fn stored(world: &World) -> usize {
    let folders = std::fs::read_dir(world.folder.0.join("blobs")).unwrap();
    let folders = folders.map(|folder| folder.unwrap().path()).filter(|path| path.is_dir());
    let files = folders.flat_map(|path| std::fs::read_dir(path).unwrap());
    files.filter(|file| file.as_ref().unwrap().path().is_file()).count()
}

/// The files that have come directly and are not saved.
fn arrived(person: &Person) -> Vec<(PathBuf, u64)> {
    let direct = person.folder.0.join("store/direct");
    let senders = std::fs::read_dir(direct).into_iter().flatten();
    let files = senders.filter_map(|sender| std::fs::read_dir(sender.unwrap().path()).ok());
    let files = files.flatten().filter_map(|file| {
        // It may get its final name just now.
        let file = file.ok()?;
        Some((file.path(), file.metadata().ok()?.len()))
    });
    files.collect()
}

/// The next message of a client has one file, which is saved and has this content.
async fn saves(client: &Client, person: &Person, content: &[u8]) {
    let received = soon(next_message(&mut client.messages())).await;
    let target = person.folder.0.join("saved");
    soon(client.download(&received.files[0], &target, OnExists::Overwrite)).await.unwrap();
    assert!(std::fs::read(target).unwrap() == content, "another content");
    client.done(received.id).await.unwrap();
}

#[tokio::test]
async fn a_large_file_goes_directly_and_a_small_one_through_the_service() {
    let world = World::new().await;
    let [(alice, a), (bob, b)] = friends(&world, ["+14155550941", "+14155550942"]).await;
    let path = alice.folder.0.join("large");
    let content = create(&path, 5 << 20);
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    assert_eq!(stored(&world), 0, "the service has it");
    assert_eq!(arrived(&bob).len(), 1, "it is there before the message is sent");
    saves(&b, &bob, &content).await;
    assert_eq!(arrived(&bob), vec![]);
    let content = create(&path, 1000);
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    assert_eq!(stored(&world), 1);
    saves(&b, &bob, &content).await;
}

#[tokio::test]
async fn a_large_file_goes_through_the_service_if_the_other_person_is_not_there_or_does_not_want_it()
 {
    let world = World::new().await;
    let [(alice, a), (bob, b)] = friends(&world, ["+14155550943", "+14155550944"]).await;
    let path = alice.folder.0.join("large");
    let content = create(&path, 2 << 20);
    soon(b.close()).await.unwrap();
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    assert_eq!(stored(&world), 1);
    // This client does not take files directly.
    let b = bob.open().await;
    saves(&b, &bob, &content).await;
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    assert_eq!(stored(&world), 2);
    saves(&b, &bob, &content).await;
}

#[tokio::test]
async fn attack_12_a_stranger_opens_no_connection_to_us() {
    let world = World::new().await;
    let (alice, bob) =
        (world.register("+14155550945", 0).await, world.register("+14155550946", 1).await);
    let (a, b) = (open(&alice).await, open(&bob).await);
    greet(&a, &b, &bob.destination()).await;
    let path = alice.folder.0.join("large");
    let content = create(&path, 2 << 20);
    // Bob has never written to Alice. She learns no address of his, and not even that he is online.
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    assert_eq!((stored(&world), arrived(&bob)), (1, vec![]));
    saves(&b, &bob, &content).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_for_the_service_needs_both_people() {
    const SIZE: usize = (100 << 20) + 1;
    let world = World::new().await;
    let [(alice, a), (bob, b)] = friends(&world, ["+14155550947", "+14155550948"]).await;
    let path = alice.folder.0.join("large");
    let content = create(&path, SIZE);
    soon(b.close()).await.unwrap();
    let failed = soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await;
    assert_eq!(failed.unwrap_err(), QueueError::NotReachable(path.clone()));
    assert_eq!((a.outbox().await, a.drafts().await), (Ok(vec![]), Ok(vec![])));
    let b = open(&bob).await;
    until_connected(&b).await;
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    saves(&b, &bob, &content).await;
}

async fn until_connected(client: &Client) {
    soon(async {
        while client.connection() != Connection::UpToDate {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_direct_file_continues_after_the_end_of_either_client() {
    const SIZE: usize = 60 << 20;
    let world = World::new().await;
    let [(alice, a), (bob, b)] = friends(&world, ["+14155550949", "+14155550950"]).await;
    let path = alice.folder.0.join("large");
    let content = create(&path, SIZE);
    {
        let to = bob.destination();
        let sending = a.send(&to, Message::text("look").with_file(&path));
        tokio::pin!(sending);
        until(&mut sending, || arrived(&bob).iter().any(|(_, length)| *length > 4 << 20)).await;
    }
    soon(a.close()).await.unwrap();
    let partial = arrived(&bob)[0].clone();
    assert!(partial.1 < u64::try_from(SIZE).unwrap(), "too fast");
    let a = open(&alice).await;
    until_connected(&a).await;
    let drafts = a.drafts().await.unwrap();
    assert_eq!((drafts.len(), drafts[0].files.as_slice()), (1, &[path.clone()][..]));
    {
        let sending = a.send_draft(drafts[0].id);
        tokio::pin!(sending);
        until(&mut sending, || {
            arrived(&bob).iter().any(|(_, length)| *length > partial.1 + (4 << 20))
        })
        .await;
        soon(b.close()).await.unwrap();
        let b = open(&bob).await;
        soon(sending).await.unwrap().unwrap();
        assert_eq!(arrived(&bob)[0].0, partial.0.with_extension(""), "it began again");
        assert_eq!(stored(&world), 0);
        saves(&b, &bob, &content).await;
    }
    assert_eq!(a.drafts().await, Ok(vec![]));
}

/// Waits for something while something else goes on.
async fn until<T: std::fmt::Debug>(
    running: &mut (impl Future<Output = T> + Unpin),
    is_reached: impl Fn() -> bool,
) {
    soon(async {
        while !is_reached() {
            tokio::select! {
                done = &mut *running => panic!("too fast: {done:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
}

#[tokio::test]
async fn attack_12_damaged_bytes_on_the_disk_are_noticed_before_the_message_is_sent() {
    const SIZE: usize = 30 << 20;
    let world = World::new().await;
    let [(alice, a), (bob, b)] = friends(&world, ["+14155550951", "+14155550952"]).await;
    let path = alice.folder.0.join("large");
    let content = create(&path, SIZE);
    {
        let to = bob.destination();
        let sending = a.send(&to, Message::text("").with_file(&path));
        tokio::pin!(sending);
        until(&mut sending, || arrived(&bob).iter().any(|(_, length)| *length > 4 << 20)).await;
    }
    soon(b.close()).await.unwrap();
    let (partial, _) = arrived(&bob)[0].clone();
    flip(&partial, 1000);
    let b = open(&bob).await;
    until_connected(&b).await;
    soon(a.send(&bob.destination(), Message::text("").with_file(&path))).await.unwrap();
    saves(&b, &bob, &content).await;
}

fn flip(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
