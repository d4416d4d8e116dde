//! Much data, slow readers, dying senders; spliced and copied.

use std::time::Duration;

use socket2::SockRef;

use super::*;

/// A relay that splices (where the system can) and one that copies.
fn both_ways() -> [World; 2] {
    let start = |adjust: fn(&mut Service)| World::with(&config(), Timeouts::default(), adjust);
    [start(|_| {}), start(|service| service.tools.copy_always())]
}

/// Writes until nothing has been taken for a while. Returns the number of bytes taken.
pub(super) async fn write_until_stuck(link: &mut TcpStream, bytes: &[u8]) -> usize {
    let mut taken = 0;
    while let Ok(count) = tokio::time::timeout(STUCK, link.write(&bytes[taken..])).await {
        taken += count.unwrap();
        assert!(taken < bytes.len(), "the relay took everything");
    }
    taken
}

#[tokio::test]
async fn every_byte_arrives_in_both_directions_at_once() {
    for world in both_ways() {
        let (one, two) = world.pair().await;
        let bytes = pattern(5 << 20);
        let exchange = |link: TcpStream, bytes: Vec<u8>| async move {
            let (mut reader, mut writer) = link.into_split();
            let mut heard = vec![0; bytes.len()];
            let (read, written) =
                tokio::join!(reader.read_exact(&mut heard), writer.write_all(&bytes));
            read.unwrap();
            written.unwrap();
            (heard, reader, writer)
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
        let taken = write_until_stuck(&mut one, &bytes).await;
        assert_eq!(heard(&mut two, taken).await, bytes[..taken]);
        // And once it reads, the stream goes on.
        one.write_all(b"more").await.unwrap();
        assert_eq!(heard(&mut two, 4).await, b"more");
    }
}

#[tokio::test]
async fn a_slow_reader_gets_everything_after_the_sender_has_left() {
    for world in both_ways() {
        let (mut one, mut two) = world.pair().await;
        let bytes = pattern(64 << 20);
        let taken = write_until_stuck(&mut one, &bytes).await;
        drop(one);
        assert!(heard_to_the_end(&mut two).await == bytes[..taken]);
    }
}

#[tokio::test]
async fn a_side_that_dies_in_mid_transfer_takes_the_other_with_it() {
    for world in both_ways() {
        let (mut one, mut two) = world.pair().await;
        one.write_all(&pattern(100_000)).await.unwrap();
        heard(&mut two, 100_000).await;
        SockRef::from(&one).set_linger(Some(Duration::ZERO)).unwrap();
        drop(one);
        assert_eq!(heard_to_the_end(&mut two).await, b"");
        world.until(|world| world.ended("happy") == 1).await;
    }
}

#[tokio::test]
async fn a_reader_that_dies_stops_the_sender() {
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
async fn pairs_do_not_mix() {
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
            assert!(heard_to_the_end(&mut two).await == bytes);
            sender.await.unwrap().unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Silence that means a full path: every buffer on it is on this machine.
const STUCK: Duration = Duration::from_millis(300);
