//! Tests the answers of the relay, and which links it closes.

use super::*;

#[tokio::test]
async fn both_links_of_a_pair_receive_ok_and_then_the_data_of_each_other() {
    let world = World::new().await;
    let (mut one, mut two) = world.pair().await;
    one.write_all(b"ping").await.unwrap();
    assert_eq!(receive(&mut two, 4).await, b"ping");
    two.write_all(b"pong").await.unwrap();
    assert_eq!(receive(&mut one, 4).await, b"pong");
}

#[tokio::test]
async fn a_link_with_the_old_handshake_is_paired_with_one_with_the_new_handshake() {
    let world = World::new().await;
    let mut one = world.waiting(&format!("please relay {}\n", "a".repeat(64))).await;
    let mut two = world.connect_and_send(&line("2")).await;
    assert_eq!(receive(&mut one, 3).await, b"ok\n");
    assert_eq!(receive(&mut two, 3).await, b"ok\n");
}

#[tokio::test]
async fn the_line_may_arrive_byte_by_byte() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut two = world.connect().await;
    two.set_nodelay(true).unwrap();
    for byte in line("2").bytes() {
        two.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(receive(&mut one, 3).await, b"ok\n");
    assert_eq!(receive(&mut two, 3).await, b"ok\n");
}

#[tokio::test]
async fn an_invalid_line_gets_an_answer_and_the_link_is_closed() {
    let world = World::new().await;
    let mut link = world.connect_and_send("GET / HTTP/1.1\r\nHost: relay\r\n\r\n").await;
    assert_eq!(receive_to_end(&mut link).await, b"bad handshake\n");
    world.until(|world| world.ended("errory") == 1).await;
}

#[tokio::test]
async fn a_line_without_an_end_gets_an_answer_even_if_more_was_sent() {
    let world = World::new().await;
    let mut link = world.connect_and_send(&"x".repeat(20_000)).await;
    assert_eq!(receive_to_end(&mut link).await, b"bad handshake\n");
}

#[tokio::test]
async fn data_before_the_partner_has_connected_is_impatient() {
    let world = World::new().await;
    let mut link = world.waiting(&line("1")).await;
    link.write_all(b"transit sender").await.unwrap();
    assert_eq!(receive_to_end(&mut link).await, b"impatient\n");
    world.until(|world| world.ended("impatient") == 1).await;
    assert_eq!(world.waiting_links(), 0);
}

#[tokio::test]
async fn data_directly_after_the_second_line_is_forwarded_to_the_first_link() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let _two = world.connect_and_send(&(line("2") + "early")).await;
    assert_eq!(receive(&mut one, 8).await, b"ok\nearly");
}

#[tokio::test]
async fn a_second_link_of_one_side_waits_too_and_is_closed_when_the_first_is_paired() {
    let world = World::new().await;
    let mut one = world.waiting(&line("1")).await;
    let mut again = world.waiting(&line("1")).await;
    let mut two = world.connect_and_send(&line("2")).await;
    assert_eq!(receive(&mut one, 3).await, b"ok\n");
    assert_eq!(receive(&mut two, 3).await, b"ok\n");
    assert_eq!(receive_to_end(&mut again).await, b"");
    world.until(|world| world.ended("redundant") == 1).await;
}

#[tokio::test]
async fn a_link_that_closes_before_it_has_a_partner_is_removed() {
    let world = World::new().await;
    drop(world.waiting(&line("1")).await);
    world.until(|world| world.ended("lonely") == 1).await;
    let _two = world.waiting(&line("2")).await;
}

#[tokio::test]
async fn data_sent_before_closing_arrives_before_the_end() {
    let world = World::new().await;
    let (mut one, mut two) = world.pair().await;
    let bytes = pattern(3 << 20);
    let sent = bytes.clone();
    let sender = tokio::spawn(async move {
        one.write_all(&sent).await.unwrap();
    });
    assert!(receive_to_end(&mut two).await == bytes);
    sender.await.unwrap();
    world.until(|world| world.ended("happy") == 1).await;
}

#[tokio::test]
async fn unread_data_in_the_other_direction_does_not_discard_the_last_bytes() {
    let world = World::new().await;
    let (mut one, mut two) = world.pair().await;
    // The relay has bytes for the side that closes. This must not reset the connection of the other side.
    two.write_all(b"unread by the side that closes").await.unwrap();
    one.write_all(b"last bytes").await.unwrap();
    drop(one);
    let mut bytes = Vec::new();
    // Because data was not read, the system may close or reset the connection.
    let _ = two.read_to_end(&mut bytes).await;
    assert_eq!(bytes, b"last bytes");
}

#[tokio::test]
async fn draining_closes_waiting_links_and_lets_pairs_finish() {
    let world = World::new().await;
    let (mut one, mut two) = world.pair().await;
    let mut lonely = world.waiting(&line("1")).await;
    world.host.draining.cancel();
    assert_eq!(receive_to_end(&mut lonely).await, b"");
    one.write_all(b"still here").await.unwrap();
    assert_eq!(receive(&mut two, 10).await, b"still here");
    assert!(!world.running.is_finished());
    drop((one, two));
    world.stop().await;
}
