//! Tests with much data, slow readers and broken connections, with splicing and with copying.

use std::time::Duration;

use socket2::SockRef;

use super::*;

/// A relay that splices (where the system can) and one that copies.
fn both_ways() -> [World; 2] {
    let start = |adjust: fn(&mut Service)| World::with(&config(), Timeouts::default(), adjust);
    [start(|_| {}), start(|service| service.context.copy_always())]
}

/// Writes until no bytes have been accepted for a while. Returns the number of accepted bytes.
pub(super) async fn write_until_stuck(link: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut accepted = 0;
    while let Ok(count) = tokio::time::timeout(STUCK, link.write(&bytes[accepted..])).await {
        accepted += count.unwrap();
        assert!(accepted < bytes.len(), "the relay accepted all bytes");
    }
    accepted
}

#[tokio::test]
async fn every_byte_arrives_in_both_directions_at_once() {
    for world in both_ways() {
        let (one, two) = world.pair().await;
        let bytes = pattern(5 << 20);
        let exchange = |link: TcpStream, bytes: Vec<u8>| async move {
            let (mut reader, mut writer) = link.into_split();
            let mut received = vec![0; bytes.len()];
            let (read, written) =
                tokio::join!(reader.read_exact(&mut received), writer.write_all(&bytes));
            read.unwrap();
            written.unwrap();
            (received, reader, writer)
        };
        let mut reversed = bytes.clone();
        reversed.reverse();
        let sides = tokio::join!(exchange(one, bytes.clone()), exchange(two, reversed.clone()));
        assert!(sides.0.0 == reversed && sides.1.0 == bytes);
        drop(sides);
        world.until(|world| world.ended("happy") == 1).await;
        assert_eq!(world.metric("transit_relay_bytes_total"), 10 << 20);
    }
}

#[tokio::test]
async fn a_slow_reader_stops_its_partner_instead_of_filling_memory() {
    for world in both_ways() {
        let (mut one, mut two) = world.pair().await;
        let bytes = pattern(64 << 20);
        let accepted = write_until_stuck(&mut one, &bytes).await;
        assert_eq!(receive(&mut two, accepted).await, bytes[..accepted]);
        // Once the partner reads, the relay accepts data again.
        one.write_all(b"more").await.unwrap();
        assert_eq!(receive(&mut two, 4).await, b"more");
    }
}

#[tokio::test]
async fn a_slow_reader_receives_all_data_after_the_sender_has_closed() {
    for world in both_ways() {
        let (mut one, mut two) = world.pair().await;
        let bytes = pattern(64 << 20);
        let accepted = write_until_stuck(&mut one, &bytes).await;
        drop(one);
        assert!(receive_to_end(&mut two).await == bytes[..accepted]);
    }
}

#[tokio::test]
async fn a_reset_of_one_link_closes_the_other_link() {
    for world in both_ways() {
        let (mut one, mut two) = world.pair().await;
        one.write_all(&pattern(100_000)).await.unwrap();
        receive(&mut two, 100_000).await;
        SockRef::from(&one).set_linger(Some(Duration::ZERO)).unwrap();
        drop(one);
        assert_eq!(receive_to_end(&mut two).await, b"");
        world.until(|world| world.ended("happy") == 1).await;
    }
}

#[tokio::test]
async fn a_reset_of_the_reader_closes_the_link_of_the_sender() {
    for world in both_ways() {
        let (mut one, two) = world.pair().await;
        SockRef::from(&two).set_linger(Some(Duration::ZERO)).unwrap();
        drop(two);
        let bytes = pattern(64 << 10);
        while one.write_all(&bytes).await.is_ok() {}
        world.until(|world| world.ended("happy") == 1).await;
    }
}

#[tokio::test]
async fn data_of_different_pairs_is_not_mixed() {
    let world = World::new().await;
    let mut pairs = Vec::new();
    for _ in 0..8 {
        pairs.push(world.pair().await);
    }
    let mut tasks = Vec::new();
    for (seed, (mut one, mut two)) in (0_u8..).zip(pairs) {
        tasks.push(tokio::spawn(async move {
            let bytes = vec![seed; 2 << 20];
            let sent = bytes.clone();
            let sender = tokio::spawn(async move { one.write_all(&sent).await });
            assert!(receive_to_end(&mut two).await == bytes);
            sender.await.unwrap().unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// If nothing is accepted for this time, all buffers are full: they are all on this machine.
const STUCK: Duration = Duration::from_millis(300);
