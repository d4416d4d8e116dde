//! What the specification of 2014 and deployed clients disagree about, or write differently: one test for each, in the
//! order of docs/chat-service.md "Differences between clients". What concerns only the WebSocket is in socket/.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use serde_json::{Value, json};
use wormhole_chat::directory_token;

use crate::client::Client;
use crate::keys::keys;
use crate::messages::{message, with_keys};
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";
const ATTRIBUTES: &str = r#"{"registrationId":1,"fetchesMessages":true}"#;

#[test]
fn every_success_is_200_and_every_answer_is_json_without_a_charset() {
    let server = Server::start(&[]);
    let alice = with_keys(&server, ALICE, 1);
    let answers = [
        alice.get(&format!("/v1/accounts/sms/code/{ALICE}")),
        alice.put("/v1/accounts/attributes/", ATTRIBUTES),
        alice.put("/v2/keys/", &keys(1, 1).to_string()),
        alice.delete("/v1/accounts/signaling_key"),
        alice.delete("/v1/messages/+14155550199/1"),
        alice.get("/v1/keepalive"),
        alice.get("/v1/devices/"),
    ];
    for answer in answers {
        answer.expect(200);
        let is_type = |line: &str| line.eq_ignore_ascii_case("content-type: application/json");
        assert!(answer.head.lines().any(is_type), "{}", answer.head);
    }
    let refused = alice.get("/v1/nothing");
    refused.expect(404);
    assert!(refused.head.to_lowercase().contains("content-type: application/json\r\n"));
}

#[test]
fn codes_are_confirmed_under_both_spellings_with_one_limit() {
    let server = Server::start(&[]);
    let mut alice = server.client();
    alice.get(&format!("/v1/accounts/sms/code/{ALICE}")).expect(200);
    alice.log_in(ALICE, "password", None);
    let confirm = |path: &str| alice.put(&format!("/v1/{path}/code/000000"), ATTRIBUTES);
    confirm("accounts").expect(403);
    confirm("acccounts").expect(403);
    confirm("accounts").expect(413);
    confirm("acccounts").expect(413);
    let mut bob = server.client();
    bob.get(&format!("/v1/accounts/sms/code/{BOB}")).expect(200);
    bob.log_in(BOB, "password", None);
    let code = server.code(BOB).replace('-', "");
    bob.put(&format!("/v1/acccounts/code/{code}"), ATTRIBUTES).expect(200);
}

#[test]
fn gcm_has_three_names() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    for channel in ["gcm", "gms", "fcm"] {
        let path = format!("/v1/accounts/{channel}/");
        alice.put(&path, r#"{"gcmRegistrationId":"id"}"#).expect(200);
        // As clients of 2014 do, with the fields of both channels.
        let both = r#"{"apnRegistrationId":"","gcmRegistrationId":"id"}"#;
        alice.put(&path, both).expect(200);
    }
    alice.put("/v1/accounts/apn/", r#"{"apnRegistrationId":"id"}"#).expect(200);
    alice.put("/v1/accounts/mpns/", r#"{"apnRegistrationId":"id"}"#).expect(404);
}

#[test]
fn a_code_is_sent_by_sms_or_voice_and_credentials_do_not_matter() {
    let server = Server::start(&[]);
    let mut alice = server.client();
    // Clients send the credentials of the account that does not exist yet.
    alice.log_in(ALICE, "password", None);
    for transport in ["sms", "voice"] {
        let path = format!("/v1/accounts/{transport}/code/{ALICE}?client=android-ng");
        alice.get(&path).expect(200);
        assert_eq!(server.code(ALICE).len(), "123-456".len());
    }
    let refused = alice.get(&format!("/v1/accounts/fax/code/{ALICE}"));
    assert_eq!(refused.expect(415)["error"], "bad_transport");
}

#[test]
fn keys_of_clients_of_2014_and_of_later_ones_have_the_same_path() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), Client::register(&server, BOB, None));
    let published = keys(2, 2);
    let identity = &published["identityKey"];
    let key = |id: Value, number: usize| json!({"keyId": id, "publicKey": published["preKeys"][number]["publicKey"], "identityKey": identity});
    // The id of the last key of clients of 2014 is hexadecimal, which JSON allows only as text.
    let old = json!({"lastResortKey": key(json!("0xFFFFFF"), 0), "keys": [key(json!("5"), 1)]});
    bob.put("/v2/keys/", &old.to_string()).expect(200);
    let unquoted = old.to_string().replace("\"0xFFFFFF\"", "0xFFFFFF");
    bob.put("/v2/keys/", &unquoted).expect(415);
    let fetch = || alice.get(&format!("/v2/keys/{BOB}/*?relay=")).expect(200);
    let ids = |bundle: &Value| (bundle["keys"][0]["keyId"].clone(), bundle["devices"].clone());
    assert_eq!(ids(&fetch()), (json!(5), json!([])));
    assert_eq!(ids(&fetch()), (json!(0x00ff_ffff), json!([])));
    bob.put("/v2/keys", &published.to_string()).expect(200);
    let later = fetch();
    assert_eq!(later["devices"][0]["preKey"]["keyId"], 1);
    assert_eq!(later["devices"][0]["signedPreKey"], published["signedPreKey"]);
}

#[test]
fn keys_come_with_the_registration_id_and_the_identity_key() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), Client::register(&server, BOB, None));
    let published = keys(2, 2);
    let mut last = published["preKeys"][0].clone();
    last["identityKey"] = published["identityKey"].clone();
    let old = json!({"lastResortKey": last, "keys": []});
    bob.put("/v2/keys/", &old.to_string()).expect(200);
    let old = alice.get(&format!("/v2/keys/{BOB}/1")).expect(200);
    assert_eq!(old["keys"][0]["registrationId"], 1001);
    // The answer for clients of 2014 has the public key twice.
    assert_eq!(old["keys"][0]["identityKey"], published["identityKey"]);
    assert_ne!(old["keys"][0]["publicKey"], published["identityKey"]);
    bob.put("/v2/keys", &published.to_string()).expect(200);
    let new = alice.get(&format!("/v2/keys/{BOB}/1")).expect(200);
    assert_eq!(new["devices"][0]["registrationId"], 1001);
    assert_eq!(new["identityKey"], published["identityKey"]);
}

#[test]
fn contacts_have_booleans_and_only_those_that_are_true() {
    let server = Server::start(&[]);
    let (alice, bob) =
        (Client::register(&server, ALICE, None), Client::register(&server, BOB, None));
    let token = |number: &str| BASE64_NOPAD.encode(&directory_token(number));
    let ask = |tokens: &[String]| {
        alice.put("/v1/directory/tokens", &json!({"contacts": tokens}).to_string()).expect(200)
    };
    let plain = json!({"token": token(BOB), "apps": []});
    assert_eq!(ask(&[token(BOB), token("+14155550199")]), json!({"contacts": [plain]}));
    bob.put("/v1/accounts/attributes", r#"{"registrationId":1,"supportsSms":true,"voice":false}"#)
        .expect(200);
    let contact = alice.get(&format!("/v1/directory/{}", token(BOB).replace('/', "_"))).expect(200);
    assert_eq!(contact["supportsSms"], true);
    assert_eq!(contact.get("voice"), None);
    // Both alphabets and both forms of the end are read.
    let padded = BASE64URL.encode(&directory_token(BOB));
    assert_eq!(ask(&[padded])["contacts"][0]["token"], token(BOB));
    let malformed = json!({"contacts": ["AAAA"]}).to_string();
    assert_eq!(alice.put("/v1/directory/tokens", &malformed).expect(400)["error"], "bad_token");
}

#[test]
fn timestamps_are_numbers_or_text_at_either_place() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let part = |timestamp: Value| json!({"type": "1", "destinationDeviceId": "1", "destinationRegistrationId": "1001", "body": "aGVsbG8", "timestamp": timestamp});
    for body in [
        json!({"relay": "", "messages": [part(json!("1"))]}),
        json!({"relay": null, "messages": [part(json!(2))]}),
        json!({"messages": [part(json!(9))], "timestamp": "3"}),
        json!({"messages": [part(Value::Null)], "timestamp": 4}),
    ] {
        alice.put(&format!("/v1/messages/{BOB}"), &body.to_string()).expect(200);
    }
    let queue = bob.get("/v1/messages").expect(200);
    let timestamps: Vec<&Value> =
        queue["messages"].as_array().unwrap().iter().map(|it| &it["timestamp"]).collect();
    assert_eq!(timestamps, [1, 2, 3, 4]);
    let none = json!({"messages": [part(Value::Null)]}).to_string();
    alice.put(&format!("/v1/messages/{BOB}"), &none).expect(422);
}

#[test]
fn base64_is_read_in_every_form_and_messages_are_written_with_padding() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let content = [0xfb, 0xff, 0xbf, 0xff];
    let forms = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD];
    for (timestamp, form) in (1..).zip(&forms) {
        let mut body = message("", timestamp);
        body["messages"][0]["content"] = json!(form.encode(&content));
        alice.put(&format!("/v1/messages/{BOB}"), &body.to_string()).expect(200);
    }
    let queue = bob.get("/v1/messages").expect(200);
    let messages = queue["messages"].as_array().unwrap();
    assert_eq!(messages.len(), forms.len());
    assert!(messages.iter().all(|message| message["content"] == "+/+//w=="), "{queue}");
    let identity = &alice.get(&format!("/v2/keys/{BOB}/1")).expect(200)["identityKey"];
    assert_eq!(identity.as_str().unwrap().len(), 44, "33 bytes need no padding");
    let signature = &bob.get("/v2/keys/signed").expect(200)["signature"];
    assert_eq!(signature.as_str().unwrap().len(), 86, "64 bytes without padding");
}

#[test]
fn an_empty_content_is_no_content() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let part = json!({"type": 1, "destinationDeviceId": 1, "body": "aGVsbG8=", "content": ""});
    let body = json!({"destination": BOB, "messages": [part], "timestamp": 1}).to_string();
    alice.put(&format!("/v1/messages/{BOB}"), &body).expect(200);
    let received = &bob.get("/v1/messages").expect(200)["messages"][0];
    assert_eq!((&received["message"], &received["content"]), (&json!("aGVsbG8="), &Value::Null));
}

#[test]
fn plaintext_and_receipts_are_not_accepted_from_clients() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    for (kind, status) in [(1, 200), (2, 200), (3, 200), (7, 200), (8, 200), (4, 422), (5, 422)] {
        let mut body = message("hello", 10 + kind);
        body["messages"][0]["type"] = json!(kind);
        let sent = alice.put(&format!("/v1/messages/{BOB}"), &body.to_string());
        assert_eq!(sent.status, status, "type {kind}");
    }
    assert_eq!(bob.get("/v1/messages").expect(200)["messages"].as_array().unwrap().len(), 5);
}

#[test]
fn a_number_may_be_registered_again() {
    let server = Server::start(&[]);
    let first = Client::register(&server, ALICE, None);
    let again = Client::register(&server, ALICE, None);
    assert_eq!(first.uuid, again.uuid);
    let strict = Server::start(&["--reject-registered"]);
    Client::register(&strict, ALICE, None);
    let mut second = strict.client();
    second.get(&format!("/v1/accounts/sms/code/{ALICE}")).expect(200);
    let code = strict.code(ALICE);
    second.log_in(ALICE, "password", None);
    let refused = second.put(&format!("/v1/accounts/code/{code}"), ATTRIBUTES).expect(417);
    assert_eq!(refused["error"], "registered");
}

#[test]
fn credentials_are_read_in_every_form_that_was_written() {
    let server = Server::start(&[]);
    let mut alice = server.client();
    alice.get(&format!("/v1/accounts/sms/code/{ALICE}")).expect(200);
    // A colon in the password belongs to the password.
    alice.log_in(ALICE, "pass:word", None);
    let code = server.code(ALICE);
    alice.put(&format!("/v1/accounts/code/{code}"), ATTRIBUTES).expect(200);
    let basic = |user: &str| BASE64.encode(format!("{user}:pass:word").as_bytes());
    let (bare, device) = (basic(ALICE), basic(&format!("{ALICE}.1")));
    let unpadded = bare.trim_end_matches('=');
    let status = |value: String| {
        let mut client = server.client();
        client.headers = vec![("Authorization".into(), value)];
        client.get("/v1/accounts/whoami").status
    };
    for value in [
        bare.clone(),
        format!("basic {device}"),
        format!("BASIC  {bare}"),
        format!("Basic {unpadded}"),
    ] {
        assert_eq!(status(value.clone()), 200, "{value}");
    }
    for user in
        [".1", "+14155550101.", "+14155550101.01", "+14155550101.1.1", "+14155550101.undefined"]
    {
        assert_eq!(status(format!("Basic {}", basic(user))), 401, "{user}");
    }
    assert_eq!(status("Basic".into()), 401);
    assert_eq!(status(format!("Bearer {bare}")), 401);
}

#[test]
fn the_body_of_delete_is_ignored() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let id = r#"{"gcmRegistrationId":"id"}"#;
    alice.put("/v1/accounts/gcm/", id).expect(200);
    for body in ["", id, "{", "[]"] {
        alice.request("DELETE", "/v1/accounts/gcm/", body).expect(200);
    }
}

#[test]
fn the_headers_of_an_app_have_two_names() {
    let server = Server::start(&[]);
    let token = server.add_app("com.example.two");
    let alice = Client::register(&server, ALICE, Some(("com.example.two", &token)));
    let status = |headers: &[(&str, &str)]| {
        let mut client = alice.clone();
        client.headers.truncate(1);
        client.headers.extend(headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        client.get("/v1/accounts/whoami").status
    };
    let name = "com.example.two";
    assert_eq!(status(&[("X-PKG-NAME", name), ("X-PKG-TOKEN", &token)]), 200);
    assert_eq!(status(&[("X-App-ID", name), ("X-App-Token", &token)]), 200);
    assert_eq!(status(&[("x-app-id", name), ("x-pkg-token", &token)]), 200);
    assert_eq!(status(&[("X-PKG-NAME", name)]), 401);
    assert_eq!(status(&[("X-PKG-NAME", name), ("X-App-ID", name), ("X-PKG-TOKEN", &token)]), 401);
}

#[test]
fn an_attachment_has_its_id_as_a_number_and_as_text() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let mut raw = alice;
    // Clients of 2014 send no word before these credentials.
    let value = raw.headers[0].1.trim_start_matches("Basic ").to_owned();
    raw.headers[0].1 = value;
    let allocation = raw.get("/v1/attachments/").expect(200);
    assert_eq!(allocation["idString"], allocation["id"].as_u64().unwrap().to_string());
}
