//! Tests of a clean restart with the same files. `tests/nodes/kill.rs` kills the server instead.

use super::*;

#[tokio::test]
async fn a_restart_loses_nothing() {
    let world = World::new("restart", &[]);
    let (mut one, mut two) = (world.bound("one").await, world.bound("two").await);
    let mailbox = one.claim("4").await;
    one.open(&mailbox).await;
    one.add("pake").await;
    two.claim("4").await;
    two.request(json!({"type": "release"}), "released").await;
    let world = world.restarted().await;
    assert_eq!(one.receive_to_end().await.1, Some(1001));
    assert_eq!(two.receive_to_end().await.1, Some(1001));
    let (mut one, mut two) = (world.bound("one").await, world.bound("two").await);
    assert_eq!(one.claim("4").await, mailbox);
    two.assert_refused(json!({"type": "claim", "nameplate": "4"}), "reclaimed").await;
    two.open(&mailbox).await;
    assert_eq!(two.phase().await, "pake");
    one.open(&mailbox).await;
    assert_eq!(one.phase().await, "pake");
    two.add("version").await;
    assert_eq!(one.phase().await, "version");
    world.stop().await;
}

#[tokio::test]
async fn draining_answers_received_requests_and_accepts_no_more() {
    let world = World::new("drain", &[]);
    let mut one = world.bound("one").await;
    one.open("m").await;
    one.ping().await;
    for phase in 0..20 {
        let add = json!({"type": "add", "phase": phase.to_string(), "body": "00"});
        one.send_json(add).await;
    }
    one.expect("ack").await;
    one.expect("message").await;
    world.host.draining.cancel();
    let (frames, code) = one.receive_to_end().await;
    assert_eq!(code, Some(1001));
    // Every acknowledged message was stored and delivered.
    let count = |kind: &str| frames.iter().filter(|frame| frame["type"] == kind).count();
    assert_eq!(count("ack"), count("message"));
    world.running.await.unwrap().unwrap();
    assert!(TcpStream::connect(world.address).await.is_err());
}
