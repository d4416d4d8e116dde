//! What becomes of a pair after one of its links has gone: the other side neither waits for ever nor
//! loses what it was sent.

use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::AsyncWrite;

use super::*;

/// One relay per way of carrying bytes between plain links, with this limit on the last bytes.
fn both_ways(limit: Duration) -> [World; 2] {
    let start = |splices: bool| {
        World::with(&config(), Timeouts::default(), |service| {
            let tools = Arc::get_mut(&mut service.tools).unwrap();
            tools.last_bytes_within(limit);
            if !splices {
                tools.copy_always();
            }
        })
    };
    [start(true), start(false)]
}

/// Opens a pair whose two sides both send and do not read, until nothing moves any more.
async fn stuck_pair(world: &World) -> (TcpStream, TcpStream) {
    let (mut one, mut two) = world.pair().await;
    let bytes = pattern(64 << 20);
    bulk::write_until_stuck(&mut one, &bytes).await;
    bulk::write_until_stuck(&mut two, &bytes).await;
    (one, two)
}

/// Writes everything, which must not take as long as the relay would wait.
async fn write_in_time(link: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    tokio::time::timeout(SOON, link.write_all(bytes)).await.expect("the relay reads on").unwrap();
}

async fn until_ended(world: &World) {
    let ended = world.until(|world| world.ended("happy") == 1);
    tokio::time::timeout(SOON, ended).await.expect("the pair ends");
}

#[tokio::test]
async fn a_survivor_that_reads_only_after_it_has_written_is_read_from() {
    for world in both_ways(Duration::from_secs(3600)) {
        let (one, mut two) = stuck_pair(&world).await;
        // Its unread bytes turn this into a reset.
        drop(one);
        write_in_time(&mut two, &pattern(32 << 20)).await;
        drop(two);
        until_ended(&world).await;
    }
}

#[tokio::test]
async fn a_survivor_gets_what_had_reached_the_relay_after_it_has_written() {
    for world in both_ways(Duration::from_secs(3600)) {
        let (mut one, mut two) = world.pair().await;
        let bytes = pattern(64 << 20);
        bulk::write_until_stuck(&mut one, &bytes).await;
        drop(one);
        // The relay finds out by writing to a link that nobody has any more.
        write_in_time(&mut two, &pattern(32 << 20)).await;
        let mut heard = Vec::new();
        // Whether the end comes as a close or a reset is the system's choice.
        let _ = two.read_to_end(&mut heard).await;
        assert!(bytes.starts_with(&heard) && heard.len() > 1 << 20, "{}", heard.len());
    }
}

/// Opens a pair whose first side has sent more than the second reads, and ended in an orderly way.
async fn left_alone(world: &World) -> TcpStream {
    let (mut one, mut two) = world.pair().await;
    // So little that the end is not stuck with the system of the sender.
    SockRef::from(&one).set_send_buffer_size(64 << 10).unwrap();
    bulk::write_until_stuck(&mut one, &pattern(64 << 20)).await;
    heard(&mut two, 1 << 20).await;
    two
}

#[tokio::test]
async fn a_survivor_that_neither_reads_nor_writes_is_closed_in_time() {
    for world in both_ways(Duration::from_millis(200)) {
        let _two = left_alone(&world).await;
        until_ended(&world).await;
        tokio::time::timeout(SOON, world.stop()).await.expect("nothing is left of the pair");
    }
}

#[tokio::test]
async fn a_survivor_that_reads_too_slowly_is_closed_in_time() {
    for world in both_ways(Duration::from_secs(2)) {
        let mut two = left_alone(&world).await;
        let (start, mut buffer) = (Instant::now(), vec![0; 4 << 10]);
        while world.ended("happy") == 0 && start.elapsed() < SOON {
            let _ = two.read(&mut buffer).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        until_ended(&world).await;
    }
}

#[tokio::test]
async fn a_survivor_that_reads_slowly_but_steadily_gets_everything() {
    let silence = Duration::from_millis(1500);
    for splices in [true, false] {
        let world = World::with(&config(), Timeouts::default(), |service| {
            let tools = Arc::get_mut(&mut service.tools).unwrap();
            tools.silent_for(silence);
            if !splices {
                tools.copy_always();
            }
        });
        let (mut one, mut two) = world.pair().await;
        SockRef::from(&one).set_send_buffer_size(64 << 10).unwrap();
        let bytes = pattern(64 << 20);
        let sent = bulk::write_until_stuck(&mut one, &bytes).await;
        SockRef::from(&one).shutdown(std::net::Shutdown::Write).unwrap();
        // It takes several times as long as the silence that ends a pair.
        let (start, mut heard) = (Instant::now(), Vec::new());
        let mut piece = vec![0; sent / 60];
        while let Ok(count @ 1..) = two.read(&mut piece).await {
            heard.extend_from_slice(&piece[..count]);
            tokio::time::sleep(Duration::from_millis(80)).await;
        }
        assert!(start.elapsed() > 2 * silence, "{:?}", start.elapsed());
        assert!(heard == bytes[..sent], "{} of {sent}", heard.len());
    }
}

#[tokio::test]
async fn a_pair_whose_pace_is_limited_keeps_its_last_bytes() {
    let config = Config { bytes_per_second: 16 << 10, ..config() };
    let world = World::with(&config, Timeouts::default(), |service| {
        Arc::get_mut(&mut service.tools).unwrap().silent_for(Duration::from_millis(100));
    });
    let (mut one, mut two) = world.pair().await;
    let bytes = pattern(64 << 10);
    one.write_all(&bytes).await.unwrap();
    drop(one);
    // Each pause of the relay is longer than the silence that ends a pair.
    assert!(heard_to_the_end(&mut two).await == bytes);
}

#[tokio::test]
async fn the_bytes_of_a_half_closed_link_arrive_although_its_partner_is_still_sending() {
    for world in both_ways(Duration::from_secs(3600)) {
        let (mut one, mut two) = world.pair().await;
        let bytes = pattern(64 << 20);
        let taken = bulk::write_until_stuck(&mut one, &bytes).await;
        SockRef::from(&one).shutdown(std::net::Shutdown::Write).unwrap();
        // The other direction still works while the last bytes are on their way.
        two.write_all(b"answer").await.unwrap();
        assert_eq!(heard(&mut one, 6).await, b"answer");
        assert!(heard_to_the_end(&mut two).await == bytes[..taken]);
    }
}

#[tokio::test]
async fn a_pair_whose_pace_is_limited_ends_in_time_too() {
    let config = Config { bytes_per_second: 2048, ..config() };
    let world = World::with(&config, Timeouts::default(), |service| {
        Arc::get_mut(&mut service.tools).unwrap().last_bytes_within(Duration::from_millis(200));
    });
    let (mut one, _two) = world.pair().await;
    one.write_all(&pattern(64 << 10)).await.unwrap();
    drop(one);
    until_ended(&world).await;
}

#[tokio::test]
async fn links_that_do_not_close_after_their_partner_are_reset_in_time() {
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
async fn a_web_socket_that_survives_is_read_from_and_closed_in_time() {
    let limits = [(Duration::from_secs(3600), true), (Duration::from_millis(200), false)];
    for (limit, writes) in limits {
        let world = World::with(&config(), Timeouts::default(), |service| {
            Arc::get_mut(&mut service.tools).unwrap().last_bytes_within(limit);
        });
        let mut one = world.waiting(&line("1")).await;
        let mut two = world.web_saying(&line("2")).await;
        assert_eq!(heard(&mut one, 3).await, b"ok\n");
        let bytes = pattern(64 << 20);
        SockRef::from(&one).set_send_buffer_size(64 << 10).unwrap();
        bulk::write_until_stuck(&mut one, &bytes).await;
        // A message of a terabyte, masked with zeros, that nobody reads either.
        let header = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
        two.get_mut().write_all(&header).await.unwrap();
        if writes {
            bulk::write_until_stuck(two.get_mut(), &bytes).await;
            drop(one);
            write_in_time(two.get_mut(), &bytes).await;
            drop(two);
            until_ended(&world).await;
        } else {
            heard(two.get_mut(), 1 << 20).await;
            drop(one);
            until_ended(&world).await;
            tokio::time::timeout(SOON, world.stop()).await.expect("nothing is left of the pair");
        }
    }
}

/// Far less than the hour that the relay would wait, and far more than any of this takes.
const SOON: Duration = Duration::from_secs(20);
