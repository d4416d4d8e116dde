//! Tests of pairs in which one side has closed: the other side is closed in time, and still receives all data that was
//! sent to it.

use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::AsyncWrite;

use super::*;

/// A relay that splices and one that copies, with this time limit for the last bytes.
fn both_ways(limit: Duration) -> [World; 2] {
    let start = |splices: bool| {
        World::with(&config(), Timeouts::default(), |service| {
            let context = Arc::get_mut(&mut service.context).unwrap();
            context.last_bytes_within(limit);
            if !splices {
                context.copy_always();
            }
        })
    };
    [start(true), start(false)]
}

/// Opens a pair in which both sides send and neither reads, until the relay accepts no more data.
async fn stuck_pair(world: &World) -> (TcpStream, TcpStream) {
    let (mut one, mut two) = world.pair().await;
    let bytes = pattern(64 << 20);
    bulk::write_until_stuck(&mut one, &bytes).await;
    bulk::write_until_stuck(&mut two, &bytes).await;
    (one, two)
}

/// Writes all bytes, and fails if this takes too long.
async fn write_in_time(link: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    tokio::time::timeout(SOON, link.write_all(bytes)).await.expect("the relay reads on").unwrap();
}

async fn until_ended(world: &World) {
    let ended = world.until(|world| world.ended("happy") == 1);
    tokio::time::timeout(SOON, ended).await.expect("the pair ends");
}

#[tokio::test]
async fn an_open_side_can_write_all_its_data_before_it_reads() {
    for world in both_ways(Duration::from_secs(3600)) {
        let (one, mut two) = stuck_pair(&world).await;
        // The system resets the connection, because data was not read.
        drop(one);
        write_in_time(&mut two, &pattern(32 << 20)).await;
        drop(two);
        until_ended(&world).await;
    }
}

#[tokio::test]
async fn an_open_side_that_writes_first_still_receives_the_data_in_the_relay() {
    for world in both_ways(Duration::from_secs(3600)) {
        let (mut one, mut two) = world.pair().await;
        let bytes = pattern(64 << 20);
        bulk::write_until_stuck(&mut one, &bytes).await;
        drop(one);
        // The relay notices the closed link when it writes to it.
        write_in_time(&mut two, &pattern(32 << 20)).await;
        let mut received = Vec::new();
        // The system may close or reset the connection.
        let _ = two.read_to_end(&mut received).await;
        assert!(bytes.starts_with(&received) && received.len() > 1 << 20, "{}", received.len());
    }
}

/// Opens a pair whose first side sends more than the second reads, and then closes normally.
async fn first_side_closed(world: &World) -> TcpStream {
    let (mut one, mut two) = world.pair().await;
    // So small that the sender's system can send the end of the data.
    SockRef::from(&one).set_send_buffer_size(64 << 10).unwrap();
    bulk::write_until_stuck(&mut one, &pattern(64 << 20)).await;
    receive(&mut two, 1 << 20).await;
    two
}

#[tokio::test]
async fn an_open_side_that_neither_reads_nor_writes_is_closed_in_time() {
    for world in both_ways(Duration::from_millis(200)) {
        let _two = first_side_closed(&world).await;
        until_ended(&world).await;
        tokio::time::timeout(SOON, world.stop()).await.expect("the pair has ended");
    }
}

#[tokio::test]
async fn an_open_side_that_reads_too_slowly_is_closed_in_time() {
    for world in both_ways(Duration::from_secs(2)) {
        let mut two = first_side_closed(&world).await;
        let (start, mut buffer) = (Instant::now(), vec![0; 4 << 10]);
        while world.ended("happy") == 0 && start.elapsed() < SOON {
            let _ = two.read(&mut buffer).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        until_ended(&world).await;
    }
}

#[tokio::test]
async fn an_open_side_that_reads_slowly_but_steadily_receives_all_data() {
    let silence = Duration::from_millis(1500);
    for splices in [true, false] {
        let world = World::with(&config(), Timeouts::default(), |service| {
            let context = Arc::get_mut(&mut service.context).unwrap();
            context.silent_for(silence);
            if !splices {
                context.copy_always();
            }
        });
        let (mut one, mut two) = world.pair().await;
        SockRef::from(&one).set_send_buffer_size(64 << 10).unwrap();
        let bytes = pattern(64 << 20);
        let sent = bulk::write_until_stuck(&mut one, &bytes).await;
        SockRef::from(&one).shutdown(std::net::Shutdown::Write).unwrap();
        // Reading takes several times as long as the silence after which a pair ends.
        let (start, mut received) = (Instant::now(), Vec::new());
        let mut piece = vec![0; sent / 60];
        while let Ok(count @ 1..) = two.read(&mut piece).await {
            received.extend_from_slice(&piece[..count]);
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
        assert!(start.elapsed() > 2 * silence, "{:?}", start.elapsed());
        assert!(received == bytes[..sent], "{} of {sent}", received.len());
    }
}

#[tokio::test]
async fn a_pair_with_a_rate_limit_does_not_lose_its_last_bytes() {
    let config = Config { bytes_per_second: 4 << 10, ..config() };
    let world = World::with(&config, Timeouts::default(), |service| {
        Arc::get_mut(&mut service.context).unwrap().silent_for(Duration::from_millis(500));
    });
    let (mut one, mut two) = world.pair().await;
    let bytes = pattern(16 << 10);
    one.write_all(&bytes).await.unwrap();
    drop(one);
    // Each pause of the relay is longer than the silence after which a pair ends.
    assert!(receive_to_end(&mut two).await == bytes);
}

#[tokio::test]
async fn data_of_a_half_closed_link_arrives_even_if_its_partner_is_still_sending() {
    for world in both_ways(Duration::from_secs(3600)) {
        let (mut one, mut two) = world.pair().await;
        let bytes = pattern(64 << 20);
        let accepted = bulk::write_until_stuck(&mut one, &bytes).await;
        SockRef::from(&one).shutdown(std::net::Shutdown::Write).unwrap();
        // The other direction still works while the last bytes are being sent.
        two.write_all(b"answer").await.unwrap();
        assert_eq!(receive(&mut one, 6).await, b"answer");
        assert!(receive_to_end(&mut two).await == bytes[..accepted]);
    }
}

#[tokio::test]
async fn a_pair_with_a_rate_limit_ends_in_time() {
    let config = Config { bytes_per_second: 2048, ..config() };
    let world = World::with(&config, Timeouts::default(), |service| {
        Arc::get_mut(&mut service.context).unwrap().last_bytes_within(Duration::from_millis(200));
    });
    let (mut one, _two) = world.pair().await;
    one.write_all(&pattern(64 << 10)).await.unwrap();
    drop(one);
    until_ended(&world).await;
}

#[tokio::test]
async fn links_that_stay_open_after_their_partner_has_closed_are_reset_in_time() {
    for world in both_ways(Duration::from_millis(200)) {
        let (one, mut two) = world.pair().await;
        drop(one);
        let bytes = pattern(64 << 10);
        let failed = async { while two.write_all(&bytes).await.is_ok() {} };
        tokio::time::timeout(SOON, failed).await.expect("the link is reset");
        tokio::time::timeout(SOON, world.stop()).await.expect("nothing is left of the pair");
    }
}

#[tokio::test]
async fn an_open_web_socket_is_read_and_closed_in_time() {
    let limits = [(Duration::from_secs(3600), true), (Duration::from_millis(200), false)];
    for (limit, writes) in limits {
        let world = World::with(&config(), Timeouts::default(), |service| {
            Arc::get_mut(&mut service.context).unwrap().last_bytes_within(limit);
        });
        let mut one = world.waiting(&line("1")).await;
        let mut two = world.web_connect_and_send(&line("2")).await;
        assert_eq!(receive(&mut one, 3).await, b"ok\n");
        let bytes = pattern(64 << 20);
        SockRef::from(&one).set_send_buffer_size(64 << 10).unwrap();
        bulk::write_until_stuck(&mut one, &bytes).await;
        // The start of a message of a terabyte, masked with zeros. Its partner does not read it.
        let header = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
        two.get_mut().write_all(&header).await.unwrap();
        if writes {
            bulk::write_until_stuck(two.get_mut(), &bytes).await;
            drop(one);
            write_in_time(two.get_mut(), &bytes).await;
            drop(two);
            until_ended(&world).await;
        } else {
            receive(two.get_mut(), 1 << 20).await;
            drop(one);
            until_ended(&world).await;
            tokio::time::timeout(SOON, world.stop()).await.expect("nothing is left of the pair");
        }
    }
}

/// Much shorter than the hour that the relay would wait, and much longer than any step of the tests.
const SOON: Duration = Duration::from_secs(60);
