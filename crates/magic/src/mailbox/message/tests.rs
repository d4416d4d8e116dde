use serde_json::json;

use super::*;

fn server(json: &Value) -> Result<ServerMessage, MalformedMessage> {
    ServerMessage::decode(json.to_string().as_bytes())
}

#[test]
fn every_message_of_a_client_survives_encoding() {
    for (message, text) in [
        (ClientMessage::Allocate, r#"{"type":"allocate"}"#),
        (ClientMessage::List, r#"{"type":"list"}"#),
        (
            ClientMessage::Bind {
                appid: "a".into(),
                side: "s".into(),
                client_version: Some(("rust".into(), "1".into())),
            },
            r#"{"type":"bind","appid":"a","side":"s","client_version":["rust","1"]}"#,
        ),
        (
            ClientMessage::Close { mailbox: Some("m".into()), mood: Some(Mood::Happy) },
            r#"{"type":"close","mailbox":"m","mood":"happy"}"#,
        ),
        (ClientMessage::Release { nameplate: None }, r#"{"type":"release"}"#),
        (
            ClientMessage::SubmitPermissions {
                method: "hashcash".into(),
                stamp: Some("1:6:..".into()),
            },
            r#"{"type":"submit-permissions","method":"hashcash","stamp":"1:6:.."}"#,
        ),
    ] {
        assert_eq!(message.encode(), text);
        assert_eq!(ClientMessage::decode(text), Ok(message));
    }
}

#[test]
fn unknown_messages_of_a_server_are_accepted() {
    assert_eq!(server(&json!({"type": "hologram", "x": [1]})), Ok(ServerMessage::Unknown));
    assert_eq!(
        server(&json!({"type": "claimed", "mailbox": "m", "colour": 3, "server_tx": 1.5})),
        Ok(ServerMessage::Claimed { mailbox: "m".into() })
    );
}

#[test]
fn an_answer_without_what_it_answers_is_malformed() {
    for broken in [
        json!({"type": "claimed"}),
        json!({"type": "claimed", "mailbox": 7}),
        json!({"type": "allocated", "nameplate": 7}),
        json!({"type": "message", "side": "s", "phase": 0, "body": ""}),
        json!({"type": "nameplates", "nameplates": [{"id": 4}]}),
        json!({"type": "welcome"}),
        json!({"type": "welcome", "welcome": "hello"}),
        json!({"type": 4}),
        json!({"mailbox": "m"}),
        json!(["claimed"]),
        json!(null),
    ] {
        assert_eq!(server(&broken), Err(MalformedMessage::Shape), "{broken}");
    }
}

#[test]
fn what_is_not_json_is_malformed() {
    for frame in [&b"hello"[..], b"", b"{", b"\xff\xfe", b"{\"type\":\"ack\"} trailing"] {
        assert_eq!(ServerMessage::decode(frame), Err(MalformedMessage::Shape));
    }
    let deep = "[".repeat(100_000);
    assert_eq!(ServerMessage::decode(deep.as_bytes()), Err(MalformedMessage::Shape));
}

#[test]
fn a_frame_past_the_limit_is_refused_unread() {
    let frame = vec![b' '; MAX_FRAME + 1];
    assert_eq!(ServerMessage::decode(&frame), Err(MalformedMessage::TooLong(MAX_FRAME + 1)));
}

#[test]
fn what_no_client_needs_may_be_any_json_of_any_depth() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for id in ["null", "\"2f\"", "7", "{\"a\":[]}", r#""\ud800""#, &deep] {
        let message = ServerMessage::decode(
            format!(r#"{{"type":"message","side":"s","phase":"0","body":"","id":{id}}}"#)
                .as_bytes(),
        );
        assert!(matches!(message, Ok(ServerMessage::Message(got)) if got.phase == "0"));
        let ack = format!(r#"{{"id":{id},"type":"ack"}}"#);
        assert_eq!(ServerMessage::decode(ack.as_bytes()), Ok(ServerMessage::Ack));
        let pong = format!(r#"{{"type":"pong","pong":{id}}}"#);
        assert_eq!(ServerMessage::decode(pong.as_bytes()), Ok(ServerMessage::Pong));
        for (orig, kind) in [(id.to_owned(), ""), (format!(r#"{{"type":"add","x":{id}}}"#), "add")]
        {
            let error = format!(r#"{{"type":"error","error":"no","orig":{orig}}}"#);
            let refused = Refused { kind: kind.into() };
            assert_eq!(
                ServerMessage::decode(error.as_bytes()),
                Ok(ServerMessage::Error { error: "no".into(), orig: refused })
            );
        }
    }
}

#[test]
fn a_mistyped_key_of_the_welcome_counts_as_absent_and_is_kept() {
    let welcome: Welcome = serde_json::from_value(json!({
        "motd": ["no", "string"], "error": "go away", "relays": [],
        "your-address": {"port": 5, "ipv4": "127.0.0.1"},
    }))
    .unwrap();
    assert_eq!(welcome.motd, None);
    assert_eq!(welcome.error.as_deref(), Some("go away"));
    assert_eq!(welcome.your_address, Some(YourAddress::new([127, 0, 0, 1].into(), 5)));
    assert_eq!(welcome.other.keys().collect::<Vec<_>>(), ["motd", "relays"]);
}

#[test]
fn permissions_are_written_with_exactly_the_agreed_keys() {
    let welcome = Welcome {
        permission_required: Some(PermissionRequired {
            none: None,
            hashcash: Some(HashcashDemand::new(6, "mailbox".into())),
        }),
        ..Welcome::default()
    };
    let text =
        ServerMessage::Welcome { welcome: welcome.clone() }.encode(UnixTime::from_secs_f64(1.5));
    assert_eq!(
        text,
        concat!(
            r#"{"type":"welcome","welcome":{"permission-required":"#,
            r#"{"none":null,"hashcash":{"bits":6,"resource":"mailbox"}}},"server_tx":1.5}"#
        )
    );
    assert_eq!(ServerMessage::decode(text.as_bytes()), Ok(ServerMessage::Welcome { welcome }));
}

#[test]
fn an_ipv4_mapped_address_is_shown_as_ipv4() {
    let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
    assert_eq!(
        serde_json::to_value(YourAddress::new(mapped, 9)).unwrap(),
        json!({"port": 9, "ipv4": "192.0.2.1"})
    );
}
