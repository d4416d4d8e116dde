//! Tests of each limit of the relay.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn a_link_without_a_partner_is_closed_at_the_time_limit() {
    let timeouts = Timeouts { waiting: Some(Duration::from_millis(20)), ..Timeouts::default() };
    let world = World::with(&config(), timeouts, |_| {});
    let mut link = world.connect_and_send(&line("1")).await;
    assert_eq!(receive_to_end(&mut link).await, b"");
    world.until(|world| world.ended("lonely") == 1).await;
}

#[tokio::test]
async fn a_link_that_sends_no_complete_line_is_closed_at_the_time_limit() {
    let timeouts = Timeouts { handshake: Duration::from_millis(20), ..Timeouts::default() };
    let world = World::with(&config(), timeouts, |_| {});
    let mut link = world.connect_and_send("please relay").await;
    assert_eq!(receive_to_end(&mut link).await, b"");
    world.until(|world| world.ended("empty") == 1).await;
}

#[tokio::test]
async fn time_limits_for_waiting_do_not_apply_to_pairs() {
    let timeouts = Timeouts { handshake: Duration::from_millis(20), waiting: None };
    let world = World::with(&config(), timeouts, |_| {});
    let (mut one, mut two) = world.pair().await;
    // This link's time limit ends after that of the pair would have ended.
    let mut silent = world.connect().await;
    assert_eq!(receive_to_end(&mut silent).await, b"");
    one.write_all(b"still here").await.unwrap();
    assert_eq!(receive(&mut two, 10).await, b"still here");
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
    // New links are admitted as soon as the relay has closed both.
    loop {
        let mut again = world.connect_and_send("hello\n").await;
        if again.read_to_end(&mut Vec::new()).await.is_ok_and(|count| count > 0) {
            break;
        }
    }
}

#[tokio::test]
async fn a_pair_cannot_exceed_its_bytes_per_second() {
    let config = Config { bytes_per_second: 1_000_000, ..config() };
    let world = World::with(&config, Timeouts::default(), |_| {});
    let (mut one, mut two) = world.pair().await;
    let start = Instant::now();
    let bytes = pattern(400_000);
    let sender = tokio::spawn(async move { one.write_all(&pattern(400_000)).await });
    assert!(receive_to_end(&mut two).await == bytes);
    sender.await.unwrap().unwrap();
    // The pause after the last piece, at most an eighth of a second, comes after its data has arrived.
    assert!(start.elapsed() > Duration::from_millis(150), "{:?}", start.elapsed());
}
