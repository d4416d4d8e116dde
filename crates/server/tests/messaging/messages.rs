//! Messages over plain HTTP.

use serde_json::{Value, json};

use crate::client::Client;
use crate::keys::keys;
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// A client with keys, which can receive messages.
pub(crate) fn with_keys(server: &Server, number: &str, seed: u64) -> Client {
    let client = Client::register(server, number, None);
    client.put("/v2/keys", &keys(seed, 1).to_string()).expect(200);
    client
}

/// A message to one device.
pub(crate) fn message(text: &str, timestamp: u64) -> Value {
    let content = data_encoding::BASE64.encode(text.as_bytes());
    json!({
        "messages": [{"type": 1, "destinationDeviceId": 1, "destinationRegistrationId": 1001, "content": content}],
        "timestamp": timestamp,
    })
}

#[test]
fn a_message_waits_until_it_is_acknowledged_and_its_sender_gets_a_receipt() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let sent = alice.put(&format!("/v1/messages/{BOB}"), &message("hello", 1000).to_string());
    assert_eq!(sent.expect(200), json!({"needsSync": false}));
    for _ in 0..2 {
        let queue = bob.get("/v1/messages").expect(200);
        assert_eq!(queue["more"], false);
        let [received] = queue["messages"].as_array().unwrap().as_slice() else {
            panic!("{queue}")
        };
        assert_eq!((&received["type"], &received["timestamp"]), (&json!(1), &json!(1000)));
        assert_eq!(
            (&received["source"], &received["sourceUuid"]),
            (&json!(ALICE), &json!(alice.uuid))
        );
        assert_eq!(
            (&received["sourceDevice"], &received["content"]),
            (&json!(1), &json!("aGVsbG8="))
        );
        assert_eq!(received["sourceApp"], "com.example.one");
    }
    bob.delete(&format!("/v1/messages/{ALICE}/1000")).expect(200);
    assert_eq!(bob.get("/v1/messages").expect(200)["messages"], json!([]));
    let receipts = alice.get("/v1/messages").expect(200);
    let receipt = &receipts["messages"][0];
    assert_eq!((&receipt["type"], &receipt["timestamp"]), (&json!(5), &json!(1000)));
    assert_eq!(receipt["source"], BOB);
    let guid = receipt["guid"].as_str().unwrap();
    alice.delete(&format!("/v1/messages/uuid/{guid}")).expect(200);
    assert_eq!(alice.get("/v1/messages").expect(200)["messages"], json!([]));
    assert_eq!(
        bob.get("/v1/messages").expect(200)["messages"],
        json!([]),
        "a receipt has no receipt"
    );
}

#[test]
fn a_repeated_message_is_stored_once_even_after_it_was_received() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let send =
        || alice.put(&format!("/v1/messages/{}", bob.uuid), &message("hello", 1000).to_string());
    send().expect(200);
    send().expect(200);
    assert_eq!(bob.get("/v1/messages").expect(200)["messages"].as_array().unwrap().len(), 1);
    bob.delete(&format!("/v1/messages/{}/1000", alice.uuid)).expect(200);
    send().expect(200);
    assert_eq!(bob.get("/v1/messages").expect(200)["messages"], json!([]));
}

#[test]
fn wrong_devices_get_409_and_registered_again_410_and_nothing_is_delivered() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let send = |change: &dyn Fn(&mut Value)| {
        let mut body = message("hello", 1000);
        change(&mut body);
        alice.put(&format!("/v1/messages/{BOB}"), &body.to_string())
    };
    let wrong = send(&|body| body["messages"][0]["destinationDeviceId"] = json!(2)).expect(409);
    assert_eq!(wrong, json!({"missingDevices": [1], "extraDevices": [2]}));
    let stale =
        send(&|body| body["messages"][0]["destinationRegistrationId"] = json!(9)).expect(410);
    assert_eq!(stale, json!({"staleDevices": [1]}));
    let twice = send(&|body| body["messages"] = json!([body["messages"][0], body["messages"][0]]));
    assert_eq!(twice.expect(409), json!({"missingDevices": [], "extraDevices": [1]}));
    assert_eq!(bob.get("/v1/messages").expect(200)["messages"], json!([]));
}

#[test]
fn bodies_that_are_no_messages_are_refused() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let to_bob = |body: &str| alice.put(&format!("/v1/messages/{BOB}"), body).status;
    for malformed in [
        "",
        "{}",
        "{",
        r#"{"messages":{}}"#,
        r#"{"messages":[{"type":1,"content":"!"}],"timestamp":1}"#,
    ] {
        assert_eq!(to_bob(malformed), 415, "{malformed}");
    }
    for invalid in [
        r#"{"messages":[],"timestamp":1}"#,
        r#"{"messages":[{"type":5,"content":"AAAA"}],"timestamp":1}"#,
    ] {
        assert_eq!(to_bob(invalid), 422, "{invalid}");
    }
    let limit = 256 << 10;
    let of = |bytes: usize| {
        let mut body = message("", 2000);
        body["messages"][0]["content"] = json!(data_encoding::BASE64.encode(&vec![0; bytes]));
        to_bob(&body.to_string())
    };
    assert_eq!((of(limit), of(limit + 1)), (200, 422));
    let of_both = |body: usize, content: usize| {
        let encode = |bytes: usize| json!(data_encoding::BASE64.encode(&vec![0; bytes]));
        let mut message = message("", 3000);
        message["messages"][0]["body"] = encode(body);
        message["messages"][0]["content"] = encode(content);
        to_bob(&message.to_string())
    };
    assert_eq!((of_both(limit - 9, 9), of_both(limit - 9, 10)), (200, 422));
    // The longest ones do not hide those that follow.
    assert_eq!(bob.get("/v1/messages").expect(200)["messages"].as_array().unwrap().len(), 1);
    let guid = bob.get("/v1/messages").expect(200)["messages"][0]["guid"].clone();
    bob.delete(&format!("/v1/messages/uuid/{}", guid.as_str().unwrap())).expect(200);
    assert_eq!(bob.get("/v1/messages").expect(200)["messages"].as_array().unwrap().len(), 1);
    let message = message("hello", 1).to_string();
    assert_eq!(alice.put("/v1/messages/+14155550199", &message).status, 404);
    assert_eq!(alice.put("/v1/messages/nobody", &message).status, 400);
    assert_eq!(server.client().put(&format!("/v1/messages/{BOB}"), &message).status, 401);
}

#[test]
fn a_number_in_an_app_is_reached_there_and_a_bare_number_in_its_first_app() {
    let server = Server::start(&[]);
    let token = server.add_app("com.example.two");
    let alice = with_keys(&server, ALICE, 1);
    let bob_one = with_keys(&server, BOB, 2);
    let bob_two = Client::register(&server, BOB, Some(("com.example.two", &token)));
    bob_two.put("/v2/keys", &keys(3, 1).to_string()).expect(200);
    let send = |to: &str, timestamp| {
        alice.put(&format!("/v1/messages/{to}"), &message(to, timestamp).to_string()).expect(200)
    };
    send(BOB, 1);
    send(&format!("{BOB}@com.example.two"), 2);
    send(&bob_two.uuid, 3);
    let timestamps = |client: &Client| {
        let queue = client.get("/v1/messages").expect(200);
        let messages = queue["messages"].as_array().unwrap().iter();
        messages.map(|message| message["timestamp"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((timestamps(&bob_one), timestamps(&bob_two)), (vec![1], vec![2, 3]));
}

#[test]
fn an_app_may_keep_messages_between_its_own_users_to_itself() {
    let server = Server::start_without_default_app();
    let one = server.app(&["add", "com.example.one", "--policy", "inter-only"]);
    let one = one.trim().split_once(' ').unwrap().1.to_owned();
    let two = server.add_app("com.example.two");
    let client = |number, app, token: &str, seed| {
        let client = Client::register(&server, number, Some((app, token)));
        client.put("/v2/keys", &keys(seed, 1).to_string()).expect(200);
        client
    };
    let alice = client(ALICE, "com.example.one", &one, 1);
    let _bob = client(BOB, "com.example.one", &one, 2);
    let _carol = client("+14155550103", "com.example.two", &two, 3);
    let send = |to| alice.put(&format!("/v1/messages/{to}"), &message("hello", 1).to_string());
    assert_eq!(send(BOB).expect(403)["error"], "intra_app");
    send("+14155550103").expect(200);
}

#[test]
fn what_was_answered_survives_a_killed_server() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    for timestamp in 1..=20 {
        alice
            .put(&format!("/v1/messages/{BOB}"), &message("hello", timestamp).to_string())
            .expect(200);
    }
    let server = server.restart();
    let bob = bob.at(&server);
    let queue = bob.get("/v1/messages").expect(200);
    let timestamps: Vec<_> = queue["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["timestamp"].as_u64().unwrap())
        .collect();
    assert_eq!(timestamps, (1..=20).collect::<Vec<u64>>());
}

#[test]
fn a_message_for_a_device_before_its_second_registration_gets_410_and_is_not_delivered() {
    let server = Server::start(&[]);
    let (alice, old) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let path = format!("/v1/messages/{}", old.uuid);
    alice.put(&path, &message("old", 1).to_string()).expect(200);
    let mut bob = server.client();
    bob.get(&format!("/v1/accounts/sms/code/{BOB}")).expect(200);
    bob.log_in(BOB, "another password", None);
    let attributes = r#"{"registrationId":2002,"fetchesMessages":true}"#;
    bob.put(&format!("/v1/accounts/code/{}", server.code(BOB)), attributes).expect(200);
    alice.put(&path, &message("without keys", 2).to_string()).expect(404);
    bob.put("/v2/keys", &keys(3, 1).to_string()).expect(200);
    // Also if the client repeats what was accepted for the old device.
    for timestamp in [1, 3] {
        let stale = alice.put(&path, &message("old", timestamp).to_string()).expect(410);
        assert_eq!(stale, json!({"staleDevices": [1]}));
    }
    assert_eq!(bob.get("/v1/messages").expect(200)["messages"], json!([]));
    let mut new = message("new", 3);
    new["messages"][0]["destinationRegistrationId"] = json!(2002);
    alice.put(&path, &new.to_string()).expect(200);
    let queue = bob.get("/v1/messages").expect(200);
    assert_eq!(queue["messages"].as_array().unwrap().len(), 1);
}
