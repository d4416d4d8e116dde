//! A transfer that is dropped in any phase: the other side learns it at once, the code is free again, and nothing
//! incomplete remains.

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use wormhole::code;
use wormhole::transfer::{self, CodeSource};

use super::*;
use crate::held::{Feeder, Operation, accept_first_byte, fed, held};

/// Waits until every client has closed its connection to the mailbox server.
async fn until_left(servers: &TestServers) {
    timeout(PATIENCE, servers.until("mailbox_links", 0))
        .await
        .expect("a client is still connected");
}

/// Transfers a text with this code, which must be free.
async fn use_again(settings: &Settings, code: &Code) {
    let text = Outgoing::Text("again".into());
    let sender = transfer::send(text, settings.clone()).unwrap();
    let receiver = transfer::receive(CodeSource::Code(code.clone()), settings.clone());
    let ((sent, _), (received, _)) = tokio::join!(finish(sender, None), finish(receiver, None));
    assert!(sent.is_ok() && received.is_ok(), "{sent:?} {received:?}");
}

fn cancelled() -> Result<Report, Error> {
    Err(Error::PeerRefused("transfer cancelled".into()))
}

/// Waits for an event of the wormhole.
async fn until(transfer: &mut Transfer, is_wanted: impl Fn(&code::Event) -> bool) {
    let waiting = async {
        loop {
            match transfer.next().await.unwrap().unwrap() {
                Event::Wormhole(event) if is_wanted(&event) => return,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("the event did not come");
}

#[tokio::test]
async fn a_side_that_is_dropped_before_its_peer_comes_leaves_the_server_and_frees_the_code() {
    let servers = TestServers::start(&[]).await;
    let (settings, code) = settings_for(&servers);
    let receive = |source| transfer::receive(source, settings.clone());
    let start: [&dyn Fn() -> Transfer; 3] = [
        &|| transfer::send(Outgoing::Text("a".into()), settings.clone()).unwrap(),
        &|| receive(CodeSource::Code(code.clone())),
        &|| receive(CodeSource::Input),
    ];
    for start in start {
        let waiting = start();
        timeout(PATIENCE, servers.until("mailbox_links", 1)).await.expect("it does not connect");
        drop(waiting);
        until_left(&servers).await;
        use_again(&settings, &code).await;
        until_left(&servers).await;
    }
}

#[tokio::test]
async fn a_side_that_is_dropped_at_once_never_takes_part() {
    let servers = TestServers::start(&[]).await;
    let (settings, code) = settings_for(&servers);
    drop(transfer::send(Outgoing::Text("a".into()), settings.clone()).unwrap());
    drop(transfer::receive(CodeSource::Code(code.clone()), settings.clone()));
    use_again(&settings, &code).await;
    until_left(&servers).await;
}

#[tokio::test]
async fn either_side_can_be_dropped_while_the_verifiers_are_compared() {
    for drop_sender in [true, false] {
        let (mut settings, code) = settings().await;
        settings.verify = true;
        let text = Outgoing::Text("secret".into());
        let mut sender = transfer::send(text, settings.clone()).unwrap();
        let mut receiver = transfer::receive(CodeSource::Code(code), settings);
        let is_verifier = |event: &code::Event| matches!(event, code::Event::Verifier(_));
        tokio::join!(until(&mut sender, is_verifier), until(&mut receiver, is_verifier));
        let (dropped, other) = if drop_sender { (sender, receiver) } else { (receiver, sender) };
        drop(dropped);
        assert_eq!(finish(other, None).await.0, cancelled(), "{drop_sender}");
    }
}

#[tokio::test]
async fn either_side_can_be_dropped_before_the_offer_is_answered() {
    for drop_sender in [true, false] {
        let (settings, code) = settings().await;
        let from = Folder::new();
        let file = from.file("a", b"a");
        let sender = transfer::send(path(&file), settings.clone()).unwrap();
        let mut receiver = transfer::receive(CodeSource::Code(code), settings);
        offer(&mut receiver).await;
        let (dropped, other) = if drop_sender { (sender, receiver) } else { (receiver, sender) };
        drop(dropped);
        assert_eq!(finish(other, None).await.0, cancelled(), "{drop_sender}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_dropped_right_after_it_accepted_leaves_nothing() {
    let (settings, code) = settings().await;
    let (from, to) = (Folder::new(), Folder::new());
    let file = from.file("a", b"a");
    let sender = transfer::send(path(&file), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    offer(&mut receiver).await;
    receiver.accept(to.destination(OnExists::Refuse));
    drop(receiver);
    assert_eq!(finish(sender, None).await.0, cancelled());
    until_empty(&to).await;
}

#[tokio::test]
async fn a_receiver_that_is_dropped_while_it_flushes_is_not_a_success_for_the_sender() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let file = from.file("a", b"contents");
    let (mut holder, destination) = held(Operation::Flush);
    let sender = transfer::send(path(&file), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    offer(&mut receiver).await;
    receiver.accept(destination);
    holder.until_reached().await;
    drop(receiver);
    assert_eq!(finish(sender, None).await.0, cancelled());
}

#[tokio::test]
async fn cancelling_does_not_wait_for_a_writer_that_is_blocked() {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let file = from.file("a", b"contents");
    let (mut holder, destination) = held(Operation::Write);
    let sender = transfer::send(path(&file), settings.clone()).unwrap();
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    offer(&mut receiver).await;
    receiver.accept(destination);
    holder.until_reached().await;
    timeout(CANCEL_TIME, receiver.cancel()).await.expect("it waits for the writer");
    assert_eq!(finish(sender, None).await.0, cancelled());
}

/// A receiver with a runtime of its own, which has received the first byte of a stream.
async fn receive_elsewhere(
    settings: &Settings,
    code: Code,
    feeder: &Feeder,
    destination: Destination,
) -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (settings, (first_byte, arrived)) = (settings.clone(), oneshot::channel());
    runtime.spawn(async move {
        let mut receiver = transfer::receive(CodeSource::Code(code), settings);
        offer(&mut receiver).await;
        receiver.accept(destination);
        progress(&mut receiver, 1).await;
        first_byte.send(()).unwrap();
        finish(receiver, None).await.0
    });
    feeder.feed(b"x");
    timeout(PATIENCE, arrived).await.expect("nothing arrived").unwrap();
    runtime
}

#[tokio::test]
async fn a_receiver_whose_runtime_ends_neither_completes_nor_confirms_the_transfer() {
    let (mut settings, code) = settings().await;
    settings.patience = Duration::from_secs(2);
    let to = Folder::new();
    let (feeder, what) = fed("s");
    let sender = transfer::send(what, settings.clone()).unwrap();
    let destination = to.destination(OnExists::Refuse);
    let runtime = receive_elsewhere(&settings, code, &feeder, destination).await;
    runtime.shutdown_background();
    // The tasks of the runtime are dropped by its own thread: the stream must not end before.
    until_empty(&to).await;
    drop(feeder);
    let sent = finish(sender, None).await.0;
    assert!(matches!(sent, Err(Error::Interrupted { .. })), "{sent:?}");
}

#[tokio::test]
async fn a_sender_whose_runtime_ends_stops_sending() {
    let (mut settings, code) = settings().await;
    settings.patience = Duration::from_secs(2);
    let to = Folder::new();
    let (feeder, what) = fed("s");
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sender = {
        let _entered = runtime.enter();
        transfer::send(what, settings.clone()).unwrap()
    };
    let mut receiver = transfer::receive(CodeSource::Code(code), settings);
    accept_first_byte(&mut receiver, &feeder, to.destination(OnExists::Refuse)).await;
    runtime.shutdown_background();
    let received = finish(receiver, None).await.0;
    assert!(matches!(received, Err(Error::Interrupted { .. })), "{received:?}");
    until_empty(&to).await;
    drop((feeder, sender));
}

/// More than the time for closing, and less than the time for removing files.
const CANCEL_TIME: Duration = Duration::from_secs(5);
