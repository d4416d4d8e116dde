//! Profiles: what the server stores of them, and who may read that.

use data_encoding::{BASE64, BASE64URL};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::messages::with_keys;
use crate::sealed::{stranger, with_access};
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";

/// A version of a profile.
fn version(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// An encrypted value of this length.
fn value(bytes: usize) -> String {
    BASE64.encode(&vec![7; bytes])
}

fn publish(client: &Client, change: &Value) -> Answer {
    let mut profile = json!({
        "version": version('a'), "name": value(81), "about": value(156), "aboutEmoji": value(60),
        "avatar": false, "commitment": "AAAA", "paymentAddress": "AAAA",
    });
    for (field, value) in change.as_object().unwrap() {
        profile[field] = value.clone();
    }
    client.put("/v1/profile", &profile.to_string())
}

/// Posts a picture with the fields of a form.
fn upload(server: &Server, form: &Value, picture: &[u8]) -> Answer {
    let mut body = Vec::new();
    for (name, field) in [
        ("key", "key"),
        ("policy", "policy"),
        ("x-amz-credential", "credential"),
        ("x-amz-signature", "signature"),
    ] {
        let value = form[field].as_str().unwrap();
        let part =
            format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(part.as_bytes());
    }
    let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
    body.extend([file.as_bytes(), picture, b"\r\n--x--\r\n"].concat());
    let head = format!(
        "POST /attachments/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    server.client().send(&[head.as_bytes(), &body].concat())
}

#[test]
fn a_profile_is_shown_only_to_those_who_know_its_version() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_access(&server, BOB, 2));
    assert_eq!(publish(&bob, &json!({})).expect(200), json!({}));
    let stranger = stranger(&server, &[2; 16]);
    for client in [&alice, &stranger] {
        for who in [bob.uuid.as_str(), BOB] {
            let shown = client.get(&format!("/v1/profile/{who}/{}", version('a'))).expect(200);
            assert_eq!(shown["uuid"], bob.uuid.as_str());
            assert_eq!((&shown["name"], &shown["about"]), (&json!(value(81)), &json!(value(156))));
            assert_eq!((&shown["aboutEmoji"], &shown["avatar"]), (&json!(value(60)), &Value::Null));
            // HMAC-SHA256 of 32 zeros with the access key.
            let checksum = shown["unidentifiedAccess"].as_str().unwrap();
            assert_eq!(BASE64.decode(checksum.as_bytes()).unwrap().len(), 32);
            assert_eq!(shown["unrestrictedUnidentifiedAccess"], false);
            let other = client.get(&format!("/v1/profile/{who}/{}", version('b'))).expect(200);
            let without = client.get(&format!("/v1/profile/{who}")).expect(200);
            for hidden in [other, without] {
                for field in ["name", "about", "aboutEmoji", "avatar"] {
                    assert_eq!(hidden[field], Value::Null, "{field}");
                }
                assert_eq!(hidden["identityKey"], shown["identityKey"]);
            }
        }
    }
    // A new version replaces the old one.
    let new = json!({"version": version('B'), "name": value(285), "about": ""});
    publish(&bob, &new).expect(200);
    let get = |digit| alice.get(&format!("/v1/profile/{BOB}/{}", version(digit))).expect(200);
    assert_eq!((&get('a')["name"], &get('b')["name"]), (&Value::Null, &json!(value(285))));
    assert_eq!(get('b')["about"], Value::Null);
}

#[test]
fn clients_whose_profiles_have_no_versions_have_names_too() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let name = BASE64URL.encode(&[0xfb; 54]);
    bob.put(&format!("/v1/profile/name/{name}"), "").expect(200);
    bob.put(&format!("/v1/profile/name/{}", BASE64URL.encode(&[1; 55])), "").expect(422);
    publish(&bob, &json!({})).expect(200);
    let shown = alice.get(&format!("/v1/profile/{BOB}")).expect(200);
    assert_eq!(
        (&shown["name"], &shown["about"]),
        (&json!(BASE64.encode(&[0xfb; 54])), &Value::Null)
    );
}

#[test]
fn values_of_other_lengths_are_refused() {
    let server = Server::start(&[]);
    let bob = with_keys(&server, BOB, 2);
    for change in [
        json!({"version": "a"}),
        json!({"version": "g".repeat(64)}),
        json!({"version": version('a') + "a"}),
        json!({"name": value(80)}),
        json!({"name": value(156)}),
        json!({"about": value(81)}),
        json!({"aboutEmoji": value(61)}),
        json!({"name": value(200_000)}),
    ] {
        publish(&bob, &change).expect(422);
    }
    publish(&bob, &json!({"name": "!"})).expect(415);
    publish(&bob, &json!({"version": 1})).expect(415);
    let shown = bob.get(&format!("/v1/profile/{BOB}/{}", version('a'))).expect(200);
    assert_eq!(shown["name"], Value::Null);
    bob.get(&format!("/v1/profile/{BOB}/xyz")).expect(422);
    server.client().put("/v1/profile", "{}").expect(401);
}

#[test]
fn a_wrong_access_key_and_an_account_that_does_not_exist_look_alike() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_access(&server, BOB, 2));
    let nobody = "00000000-0000-4000-8000-000000000000";
    for suffix in [String::new(), format!("/{}", version('a'))] {
        let get = |key: u8, who: &str| {
            stranger(&server, &[key; 16]).get(&format!("/v1/profile/{who}{suffix}"))
        };
        let refused = [get(3, &bob.uuid), get(2, nobody), get(2, &alice.uuid), get(2, ALICE)];
        for answer in refused {
            answer.expect(401);
        }
        server.client().get(&format!("/v1/profile/{BOB}{suffix}")).expect(401);
        alice.get(&format!("/v1/profile/{nobody}{suffix}")).expect(404);
    }
}

#[test]
fn an_account_has_one_picture_and_others_download_it() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let first = publish(&bob, &json!({"avatar": true})).expect(200);
    let key = first["key"].as_str().unwrap();
    assert!(key.starts_with("profiles/"), "{key}");
    server.client().get(&format!("/{key}")).expect(404);
    upload(&server, &first, b"a picture").expect(200);
    upload(&server, &first, b"another").expect(409);
    let path = |client: &Client| {
        let shown = client.get(&format!("/v1/profile/{BOB}/{}", version('a'))).expect(200);
        shown["avatar"].as_str().map(|path| format!("/{path}"))
    };
    assert_eq!(path(&alice), Some(format!("/{key}")));
    assert_eq!(server.client().get(&path(&alice).unwrap()).body, b"a picture");
    // It stays if only the name changes.
    publish(&bob, &json!({"avatar": true, "sameAvatar": true, "name": value(285)})).expect(200);
    assert_eq!(server.client().get(&path(&alice).unwrap()).body, b"a picture");
    // The next one replaces it, even if its form is used afterwards.
    let second = bob.get("/v1/profile/form/avatar").expect(200);
    server.client().get(&format!("/{key}")).expect(404);
    upload(&server, &first, b"late").expect(403);
    upload(&server, &second, b"the next").expect(200);
    assert_eq!(server.client().get(&path(&alice).unwrap()).body, b"the next");
    let mut forged = second.clone();
    forged["key"] = json!("profiles/AAAAAAAAAAAAAAAAAAAAAA");
    upload(&server, &forged, b"x").expect(403);
    publish(&bob, &json!({"avatar": false})).expect(200);
    assert_eq!(path(&alice), None);
    server.client().get(&format!("/{}", second["key"].as_str().unwrap())).expect(404);
}

#[test]
fn a_picture_has_at_most_ten_mebibytes() {
    let server = Server::start(&[]);
    let bob = with_keys(&server, BOB, 2);
    let form = || publish(&bob, &json!({"avatar": true})).expect(200);
    upload(&server, &form(), &vec![1; 10 << 20]).expect(200);
    upload(&server, &form(), &vec![1; (10 << 20) + 1]).expect(400);
}

#[test]
fn whoever_registers_a_number_again_has_no_profile() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_access(&server, BOB, 2));
    publish(&bob, &json!({})).expect(200);
    with_keys(&server, BOB, 7);
    let shown = alice.get(&format!("/v1/profile/{BOB}/{}", version('a'))).expect(200);
    assert_eq!((&shown["name"], &shown["unidentifiedAccess"]), (&Value::Null, &Value::Null));
}
