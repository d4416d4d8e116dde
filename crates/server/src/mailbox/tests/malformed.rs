//! Tests of invalid messages: the client gets an error and stays connected.

use super::*;

/// Sends each frame, and asserts that it gets one error and that the link stays open.
async fn each_gets_an_error(world: &World, frames: Vec<Message>) {
    let mut peer = world.bound("one").await;
    for frame in frames {
        let shown = format!("{frame:?}").chars().take(100).collect::<String>();
        peer.send(frame).await;
        let mut reply = peer.receive().await;
        if reply["type"] == "ack" {
            reply = peer.receive().await;
        }
        assert_eq!(reply["type"], "error", "{shown}: {reply}");
        assert!(reply.get("orig").is_some());
        peer.ping().await;
    }
}

#[tokio::test]
async fn frames_that_are_not_messages_get_an_error() {
    let world = World::new("malformed", &["--max-frame", "4096"]);
    let text = ["", "x", "{", "[]", "[\"type\"]", "null", "\"type\"", "12", "{}", "{\"id\": 1}"];
    let mut frames: Vec<Message> = text.into_iter().map(Message::text).collect();
    frames.push(Message::binary(&b"\xff\xfe\x00"[..]));
    frames.push(Message::binary(&b"{\"type\":\"nonsense\"}"[..]));
    frames.push(Message::text("x".repeat(5000)));
    frames.push(Message::text("[".repeat(900)));
    each_gets_an_error(&world, frames).await;
    world.stop().await;
}

#[tokio::test]
async fn every_field_of_the_wrong_type_gets_an_error() {
    let world = World::new("types", &[]);
    let messages = [
        ("bind", "appid"),
        ("bind", "side"),
        ("claim", "nameplate"),
        ("release", "nameplate"),
        ("open", "mailbox"),
        ("close", "mailbox"),
        ("close", "mood"),
    ];
    let mut frames = Vec::new();
    for (kind, field) in messages {
        for value in [json!(1), json!([]), json!({"a": []}), json!(true)] {
            let mut message = json!({"type": kind, "mailbox": "m"});
            message[field] = value;
            frames.push(Message::text(message.to_string()));
        }
    }
    let nines = "9".repeat(41);
    for nameplate in ["", "4\n", "\u{664}", "four", &nines] {
        let claim = json!({"type": "claim", "nameplate": nameplate});
        frames.push(Message::text(claim.to_string()));
    }
    each_gets_an_error(&world, frames).await;
    world.stop().await;
}

#[tokio::test]
async fn messages_in_binary_frames_are_accepted() {
    let world = World::new("binary", &[]);
    let mut peer = world.bound("one").await;
    peer.send(Message::binary(&b"{\"type\":\"ping\",\"ping\":5}"[..])).await;
    peer.expect("ack").await;
    assert_eq!(peer.receive().await["pong"], 5);
    world.stop().await;
}

#[tokio::test]
async fn a_websocket_ping_is_answered_and_a_close_is_returned() {
    let world = World::new("control", &[]);
    let mut peer = world.bound("one").await;
    peer.send(Message::Ping(b"abc".as_slice().into())).await;
    let pong = peer.link.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(b"abc".as_slice().into()));
    peer.link.close(None).await.unwrap();
    assert_eq!(peer.receive_to_end().await.1, Some(1000));
    world.until("links", 0).await;
    world.stop().await;
}

#[tokio::test]
async fn requests_before_a_close_frame_are_executed_and_answered() {
    let world = World::new("close", &[]);
    let mut peer = world.bound("one").await;
    peer.send_json(json!({"type": "claim", "nameplate": "4"})).await;
    peer.link.close(None).await.unwrap();
    let (frames, code) = peer.receive_to_end().await;
    let kinds: Vec<&Value> = frames.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(kinds, ["ack", "claimed"]);
    assert_eq!(code, Some(1000));
    world.stop().await;
}

#[tokio::test]
async fn a_client_that_violates_the_websocket_protocol_gets_an_error_and_is_disconnected() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let world = World::new("protocol", &[]);
    let mut peer = world.bound("one").await;
    // An unmasked frame: only servers send those.
    peer.link.get_mut().write_all(&[0x81, 1, b'x']).await.unwrap();
    assert_eq!(peer.receive_to_end().await.1, Some(1002));
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"please relay aaaa\n\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    world.stop().await;
}
