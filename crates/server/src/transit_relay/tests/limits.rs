//! What happens at each limit.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn a_link_whose_partner_does_not_come_in_time_is_closed() {
    let timeouts = Timeouts { waiting: Some(Duration::from_millis(20)), ..Timeouts::default() };
    let world = World::with(&config(), timeouts, |_| {});
    let mut link = world.saying(&line("1")).await;
    assert_eq!(heard_to_the_end(&mut link).await, b"");
    world.until(|world| world.ended("lonely") == 1).await;
}

#[tokio::test]
async fn a_link_that_gives_no_line_in_time_is_closed() {
    let timeouts = Timeouts { handshake: Duration::from_millis(20), ..Timeouts::default() };
    let world = World::with(&config(), timeouts, |_| {});
    let mut link = world.saying("please relay").await;
    assert_eq!(heard_to_the_end(&mut link).await, b"");
    world.until(|world| world.ended("empty") == 1).await;
}

#[tokio::test]
async fn a_pair_outlives_the_limits_on_waiting() {
    let timeouts = Timeouts { handshake: Duration::from_millis(20), waiting: None };
    let world = World::with(&config(), timeouts, |_| {});
    let (mut one, mut two) = world.pair().await;
    // This one's deadline passes after the pair's would have.
    let mut silent = world.connect().await;
    assert_eq!(heard_to_the_end(&mut silent).await, b"");
    one.write_all(b"still here").await.unwrap();
    assert_eq!(heard(&mut two, 10).await, b"still here");
}

#[tokio::test]
async fn an_address_with_too_many_links_is_refused_until_one_has_ended() {
    let world =
        World::with(&Config { links_per_address: 2, ..config() }, Timeouts::default(), |_| {});
    let (one, two) = world.pair().await;
    let mut third = world.connect().await;
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(world.metric("transit_relay_refused_total"), 1);
    drop((one, two));
    world.until(|world| world.ended("happy") == 1).await;
    // The places are free as soon as the relay has parted from both.
    loop {
        let mut again = world.saying("hello\n").await;
        if again.read_to_end(&mut Vec::new()).await.is_ok_and(|count| count > 0) {
            break;
        }
    }
}

#[tokio::test]
async fn a_pair_is_held_to_its_bytes_per_second() {
    let config = Config { bytes_per_second: 1_000_000, ..config() };
    let world = World::with(&config, Timeouts::default(), |_| {});
    let (mut one, mut two) = world.pair().await;
    let start = Instant::now();
    let bytes = pattern(400_000);
    let sender = tokio::spawn(async move { one.write_all(&pattern(400_000)).await });
    assert!(heard_to_the_end(&mut two).await == bytes);
    sender.await.unwrap().unwrap();
    // The last piece of at most an eighth of a second is paid for after it has arrived.
    assert!(start.elapsed() > Duration::from_millis(150), "{:?}", start.elapsed());
}
