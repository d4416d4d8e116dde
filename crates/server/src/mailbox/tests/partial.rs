//! Long messages that are begun and not ended.

use tokio::io::AsyncWriteExt;

use super::*;

/// A message of about `bytes` that is answered by a pong, as it is on the wire.
fn long_message(bytes: usize) -> Vec<u8> {
    let text = json!({"type": "ping", "ping": "x".repeat(bytes)}).to_string();
    let length = u64::try_from(text.len()).unwrap().to_be_bytes();
    // Masked with zeros.
    [&[0x81, 0xff], &length[..], &[0; 4], text.as_bytes()].concat()
}

#[tokio::test]
async fn a_long_message_for_which_there_is_no_room_gets_an_error_and_others_their_answer() {
    let options = ["--max-frame", "100000", "--partial-bytes", "0"];
    let world = World::new("no-room", &options);
    let (mut one, mut two) = (world.bound("one").await, world.bound("two").await);
    let message = long_message(90_000);
    let (begin, end) = message.split_at(80_000);
    one.link.get_mut().write_all(begin).await.unwrap();
    // The others have what the first leaves free. When it has come is not to be seen from outside.
    let words = loop {
        two.link.get_mut().write_all(&long_message(70_000)).await.unwrap();
        let answer = two.hear().await;
        match answer["type"].as_str() {
            Some("error") => break answer["error"].clone(),
            _ => two.expect("pong").await,
        };
    };
    assert!(words.as_str().unwrap().starts_with("frame is longer than "), "{words}");
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
async fn who_leaves_in_the_middle_of_a_message_gives_back_its_room() {
    let world = World::new("left", &["--max-frame", "100000", "--partial-bytes", "0"]);
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
