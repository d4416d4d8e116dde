//! Tests of the limits that protect clients from each other.

use tokio::io::AsyncWriteExt;

use super::*;

#[tokio::test]
async fn the_number_of_links_of_one_address_is_limited() {
    let world = World::new("links", &["--links-per-address", "2", "--limit-loopback"]);
    let one = world.connected().await;
    let _two = world.connected().await;
    let refused = Peer::connect(world.address).await.err().unwrap().to_string();
    assert!(refused.contains("429"), "{refused}");
    assert_eq!(world.metric("refused_total"), 1);
    drop(one);
    world.until("links", 1).await;
    let _three = world.connected().await;
    drop((_two, _three));
    world.stop().await;
}

#[tokio::test]
async fn loopback_addresses_are_not_limited_by_default() {
    let world = World::new("loopback", &["--links-per-address", "1", "--claims-per-minute", "1"]);
    let (mut one, mut two) = (world.bound("one").await, world.bound("two").await);
    one.claim("4").await;
    two.claim("4").await;
    world.stop().await;
}

#[tokio::test]
async fn claims_and_messages_of_one_address_are_limited_per_minute() {
    let options = ["--claims-per-minute", "2", "--messages-per-minute", "2", "--limit-loopback"];
    let world = World::new("rates", &options);
    let mut one = world.bound("one").await;
    one.request(json!({"type": "allocate"}), "allocated").await;
    one.claim("400").await;
    let mut two = world.bound("two").await;
    let error = "too many claims from your address, try again later";
    two.assert_refused(json!({"type": "claim", "nameplate": "4"}), error).await;
    two.open("m").await;
    two.add("0").await;
    two.add("1").await;
    let error = "too many messages from your address, try again later";
    two.assert_refused(json!({"type": "add", "phase": "2", "body": ""}), error).await;
    world.stop().await;
}

#[tokio::test]
async fn opening_mailboxes_and_listing_nameplates_are_limited_per_minute() {
    let options = ["--claims-per-minute", "1", "--messages-per-minute", "2", "--limit-loopback"];
    let world = World::new("visits", &options);
    let mut one = world.bound("one").await;
    one.open("m").await;
    one.request(json!({"type": "close"}), "closed").await;
    one.open("m").await;
    let mut two = world.bound("two").await;
    let error = "too many claims from your address, try again later";
    two.assert_refused(json!({"type": "open", "mailbox": "m"}), error).await;
    two.assert_refused(json!({"type": "close", "mailbox": "m"}), error).await;
    two.assert_refused(json!({"type": "release", "nameplate": "4"}), error).await;
    two.request(json!({"type": "list"}), "nameplates").await;
    one.request(json!({"type": "add", "phase": "0", "body": "00".repeat(10)}), "message").await;
    let error = "too many messages from your address, try again later";
    two.assert_refused(json!({"type": "list"}), error).await;
    world.stop().await;
}

#[tokio::test]
async fn a_link_that_sends_nothing_counts_for_its_address() {
    let world = World::new("mute", &["--links-per-address", "1", "--limit-loopback"]);
    let mute = TcpStream::connect(world.address).await.unwrap();
    let refused = Peer::connect(world.address).await.err().unwrap().to_string();
    assert!(refused.contains("429"), "{refused}");
    drop(mute);
    while Peer::connect(world.address).await.is_err() {}
    world.stop().await;
}

#[tokio::test]
async fn a_replay_can_be_longer_than_the_limit_for_new_messages() {
    let world = World::new("replay", &["--outgoing-bytes", "100000"]);
    let mut one = world.bound("one").await;
    one.open("m").await;
    let body = "ab".repeat(20_000);
    for phase in 0..50 {
        let add = json!({"type": "add", "phase": phase.to_string(), "body": body});
        one.request(add, "message").await;
    }
    let mut two = world.bound("two").await;
    two.open("m").await;
    for phase in 0..50 {
        assert_eq!(two.phase().await, phase.to_string());
    }
    one.add("50").await;
    assert_eq!(two.phase().await, "50");
    world.stop().await;
}

#[tokio::test]
async fn with_a_trusted_proxy_links_count_for_the_address_in_its_header() {
    let options = ["--links-per-address", "1", "--trust-proxy=x-real-ip"];
    let world = World::new("proxy", &options);
    let via = |address: &'static str| {
        let server = world.address;
        async move {
            let stream = TcpStream::connect(server).await.unwrap();
            let request = tokio_tungstenite::tungstenite::http::Request::builder()
                .uri(format!("ws://{server}/v1"))
                .header("Host", "x")
                .header("Upgrade", "websocket")
                .header("Connection", "Upgrade")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
                .header("Sec-WebSocket-Version", "13")
                .header("X-Real-IP", address)
                .header("X-Real-Port", "77")
                .body(())
                .unwrap();
            let (link, _) = tokio_tungstenite::client_async(request, stream).await?;
            let mut peer = Peer { link, welcome: Value::Null };
            peer.welcome = peer.receive().await["welcome"].clone();
            Ok::<_, tokio_tungstenite::tungstenite::Error>(peer)
        }
    };
    let one = via("2001:db8::1").await.unwrap();
    let seen = json!({"port": 77, "ipv6": "2001:db8::1"});
    assert_eq!(one.welcome["your-address"], seen);
    assert!(via("2001:db8::2").await.is_err());
    assert!(via("192.0.2.1").await.is_ok());
    drop(one);
    world.stop().await;
    let world = World::new("no-proxy", &[]);
    let peer = world.connected().await;
    assert_eq!(peer.welcome["your-address"]["ipv4"], "127.0.0.1");
    drop(peer);
    world.stop().await;
}

#[tokio::test]
async fn a_full_mailbox_accepts_no_more_messages() {
    let world = World::new("full", &["--mailbox-messages", "1"]);
    let mut one = world.bound("one").await;
    one.open("m").await;
    one.add("0").await;
    let add = json!({"type": "add", "phase": "1", "body": ""});
    one.assert_refused(add, "mailbox is full").await;
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_the_other_side_is_not_affected() {
    let world = World::new("slow", &["--outgoing-bytes", "2000000", "--mailbox-bytes", "0"]);
    let (mut one, mut two) = (world.bound("one").await, world.bound("two").await);
    one.open("m").await;
    two.open("m").await;
    let body = "ab".repeat(200_000);
    let mut added = 0;
    while world.metric("cut_total") == 0 {
        assert!(added < 500, "never disconnected");
        let add = json!({"type": "add", "phase": added.to_string(), "body": body});
        one.request(add, "message").await;
        added += 1;
    }
    one.ping().await;
    drop(two);
    world.stop().await;
}

#[tokio::test]
async fn the_server_stops_reading_from_a_client_that_does_not_read_its_answers() {
    let world = World::new("deaf-asker", &[]);
    let peer = world.bound("one").await;
    let mut stream = peer.link.into_inner();
    // The client sends a masked ping message of 1000 bytes again and again, and never reads the answers.
    let mut frame = vec![0x81, 0xfe, 3, 232, 0, 0, 0, 0];
    let ping = format!("{{\"type\":\"ping\",\"ping\":\"{}\"}}", "x".repeat(975));
    assert_eq!(ping.len(), 1000);
    frame.extend_from_slice(ping.as_bytes());
    let writing = async {
        for _ in 0..100_000 {
            stream.write_all(&frame).await.unwrap();
        }
    };
    // The buffers of the server and the system are full long before 100 MB; then writing stops.
    let stopped = tokio::time::timeout(Duration::from_secs(2), writing).await;
    assert!(stopped.is_err(), "the server read 100 MB from a client that does not read");
    assert!(world.metric("frames_total") < 50_000);
    drop(stream);
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_send_bind_is_disconnected() {
    let world = World::new("unbound", &["--bind-seconds", "2"]);
    let silent = world.connected().await;
    let mut bound = world.bound("one").await;
    assert_eq!(silent.receive_to_end().await.1, None);
    bound.ping().await;
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_disconnected() {
    let world = World::new("dead", &["--ping-seconds", "1", "--pong-seconds", "3"]);
    let mut alive = world.bound("one").await;
    // A client that never reads its socket never answers a ping.
    let dead = world.bound("two").await;
    world.answer_pings_until_disconnect(&mut alive).await;
    world.until("cut_total", 1).await;
    alive.ping().await;
    drop(dead);
    world.stop().await;
}

impl World {
    /// Reads, so that pings are answered, until the server has disconnected another client.
    async fn answer_pings_until_disconnect(&self, peer: &mut Peer) {
        while self.metric("cut_total") == 0 {
            let next = tokio::time::timeout(Duration::from_millis(50), peer.link.next());
            if let Ok(message) = next.await {
                assert!(matches!(message, Some(Ok(Message::Ping(_)))), "{message:?}");
            }
        }
    }
}

#[tokio::test]
async fn proof_of_work_is_demanded_with_a_different_resource_for_each_link() {
    use rand_core::SeedableRng;
    use wormhole_magic::mailbox::message::HashcashDemand;
    let world = World::new("hashcash", &["--hashcash-bits", "6"]);
    let demand = |peer: &Peer| -> HashcashDemand {
        let ways = &peer.welcome["permission-required"];
        assert!(ways["none"].is_null());
        serde_json::from_value(ways["hashcash"].clone()).unwrap()
    };
    let (mut one, other) = (world.connected().await, world.connected().await);
    assert_ne!(demand(&one).resource, demand(&other).resource);
    let bind = json!({"type": "bind", "appid": "app", "side": "one"});
    let stamp = hashcash::Mint::start(
        &demand(&one),
        std::time::SystemTime::now().into(),
        &mut rand_chacha::ChaCha8Rng::seed_from_u64(1),
    )
    .unwrap()
    .step(u32::MAX);
    one.send_json(json!({"type": "submit-permissions", "method": "hashcash", "stamp": stamp}))
        .await;
    one.expect("ack").await;
    one.send_json(bind.clone()).await;
    one.expect("ack").await;
    one.claim("4").await;
    let mut denied = other;
    denied.assert_refused(bind, "permission denied").await;
    assert_eq!(denied.receive_to_end().await.1, Some(1000));
    world.stop().await;
}
