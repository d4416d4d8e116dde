//! Tests of long messages that are never completed.

use tokio::io::AsyncWriteExt;

use super::*;

/// The frame of a `ping` message of about `bytes`, which the server answers with `pong`.
fn long_message(bytes: usize) -> Vec<u8> {
    let text = json!({"type": "ping", "ping": "x".repeat(bytes)}).to_string();
    let length = u64::try_from(text.len()).unwrap().to_be_bytes();
    // Masked with zeros.
    [&[0x81, 0xff], &length[..], &[0; 4], text.as_bytes()].concat()
}

/// One address can have two of the longest messages in memory.
const OPTIONS: [&str; 8] = [
    "--max-frame",
    "100000",
    "--memory-per-address",
    "0",
    "--mailbox-bytes",
    "1",
    "--mailbox-messages",
    "1",
];

#[tokio::test]
async fn a_long_message_without_memory_for_it_gets_an_error_and_others_are_accepted() {
    let options = OPTIONS;
    let world = World::new("no-room", &options);
    let (mut one, mut two) = (world.bound("one").await, world.bound("two").await);
    let message = long_message(90_000);
    let (begin, end) = message.split_at(80_000);
    one.link.get_mut().write_all(begin).await.unwrap();
    // The other links can use what the first message leaves free. Repeat this until the server has received the first
    // message, which cannot be observed.
    let error = loop {
        two.link.get_mut().write_all(&long_message(70_000)).await.unwrap();
        let answer = two.receive().await;
        match answer["type"].as_str() {
            Some("error") => break answer["error"].clone(),
            _ => two.expect("pong").await,
        };
    };
    assert!(
        error.as_str().unwrap().starts_with("no memory left for a message of this length"),
        "{error}"
    );
    two.ping().await;
    two.link.get_mut().write_all(&long_message(30_000)).await.unwrap();
    two.expect("ack").await;
    two.expect("pong").await;
    one.link.get_mut().write_all(end).await.unwrap();
    one.expect("ack").await;
    one.expect("pong").await;
    two.link.get_mut().write_all(&long_message(70_000)).await.unwrap();
    two.expect("ack").await;
    two.expect("pong").await;
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_disconnects_during_a_message_frees_its_memory() {
    let world = World::new("left", &OPTIONS);
    let mut two = world.bound("two").await;
    for _ in 0..10 {
        let mut one = world.bound("one").await;
        one.link.get_mut().write_all(&long_message(90_000)[..85_000]).await.unwrap();
        drop(one);
        world.until("links", 1).await;
    }
    two.link.get_mut().write_all(&long_message(90_000)).await.unwrap();
    two.expect("ack").await;
    two.expect("pong").await;
    world.stop().await;
}

#[tokio::test]
async fn incomplete_messages_of_one_address_do_not_limit_those_of_another() {
    let world = World::new("strangers", &[]);
    let mut held = Vec::new();
    for side in 0..23 {
        let mut peer = world.bound(&side.to_string()).await;
        peer.link.get_mut().write_all(&long_message(4_000_000)[..3_900_000]).await.unwrap();
        held.push(peer);
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(world.address).await.unwrap();
    let url = format!("ws://{}/v1", world.address);
    let (link, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let mut stranger = Peer { link, welcome: Value::Null };
    stranger.expect("welcome").await;
    stranger.link.get_mut().write_all(&long_message(4_000_000)).await.unwrap();
    stranger.expect("ack").await;
    stranger.expect("pong").await;
    // Links of the busy address still get the memory that an ordinary exchange needs.
    let mut peer = world.bound("one more").await;
    peer.link.get_mut().write_all(&long_message(15_000)).await.unwrap();
    peer.expect("ack").await;
    peer.expect("pong").await;
    drop((held, stranger, peer));
    world.stop().await;
}
