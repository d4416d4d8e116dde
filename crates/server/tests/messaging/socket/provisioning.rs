//! Linking a device: its anonymous WebSocket, the message to its address, and its code.

use serde_json::json;

use super::{ALICE, BOB, Socket};
use crate::client::Client;
use crate::keys::keys;
use crate::messages::{message, with_keys};
use crate::server::Server;

const ATTRIBUTES: &str = r#"{"registrationId":77,"fetchesMessages":true,"name":"laptop"}"#;

/// A device that waits to be linked, and its address.
pub(super) async fn wait(server: &Server) -> (Socket, String) {
    let mut socket = Socket::try_open(&server.address, "provisioning/", &[]).await.unwrap();
    let request = socket.request().await;
    assert_eq!((request.verb.as_str(), request.path.as_str()), ("PUT", "/v1/address"));
    let body = request.body.unwrap();
    // Field 1 of a protocol buffer: 22 characters for 16 bytes.
    assert_eq!(&body[..2], &[0x0a, 22]);
    socket.answer(request.id.unwrap(), 200).await;
    (socket, String::from_utf8(body[2..].to_vec()).unwrap())
}

/// The device gets this message and confirms it.
pub(super) async fn expect_message(socket: &mut Socket, content: &[u8]) {
    let request = socket.request().await;
    assert_eq!((request.verb.as_str(), request.path.as_str()), ("PUT", "/v1/message"));
    assert_eq!(request.body.as_deref(), Some(content));
    socket.answer(request.id.unwrap(), 200).await;
    assert_eq!(socket.closed().await, Some(1001));
}

/// Links another device to an account. Returns the path with the code that it has used.
pub(crate) fn link(server: &Server, account: &Client) -> (Client, String) {
    let code = account.get("/v1/devices/provisioning/code").expect(200);
    let code = code["verificationCode"].as_str().unwrap();
    assert!(code.len() == 32 && code.bytes().all(|byte| byte.is_ascii_hexdigit()), "{code}");
    let mut device = server.client();
    device.log_in(&account.number, "password-of-the-laptop", None);
    let path = format!("/v1/devices/{code}");
    let linked = device.put(&path, ATTRIBUTES).expect(200);
    assert_eq!(linked["uuid"], account.uuid);
    let user = format!("{}.{}", account.number, linked["deviceId"]);
    device.log_in(&user, "password-of-the-laptop", None);
    (device, path)
}

#[tokio::test]
async fn a_device_that_waits_gets_one_message_at_its_address() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let (mut socket, address) = wait(&server).await;
    assert_eq!(socket.ask("GET", "/v1/keepalive/provisioning", "").await.status, 200);
    assert_eq!(socket.ask("GET", "/v1/accounts/whoami", "").await.status, 401);
    let path = format!("/v1/provisioning/{address}");
    let put = |path: &str, body: &str| alice.put(path, &json!({ "body": body }).to_string());
    server.client().put(&path, r#"{"body":"AAAA"}"#).expect(401);
    for other in ["AAAAAAAAAAAAAAAAAAAAAA", "x", &address[1..], "%2e%2e"] {
        put(&format!("/v1/provisioning/{other}"), "AAAA").expect(404);
    }
    let longest = data_encoding::BASE64.encode(&vec![7; 16 << 10]);
    let too_long = data_encoding::BASE64.encode(&vec![7; (16 << 10) + 1]);
    assert_eq!(put(&path, &too_long).expect(400)["error"], "too_large");
    assert_eq!(put(&path, &longest).expect(200), json!({}));
    assert_eq!(put(&path, "AAAA").expect(404)["error"], "not_found");
    expect_message(&mut socket, &vec![7; 16 << 10]).await;
    put(&path, "AAAA").expect(404);
}

#[tokio::test]
async fn a_linked_device_has_keys_messages_and_an_end_of_its_own() {
    let server = Server::start(&[]);
    let (alice, bob) = (with_keys(&server, ALICE, 1), with_keys(&server, BOB, 2));
    let (laptop, path) = link(&server, &alice);
    let mut second = server.client();
    second.log_in(ALICE, "another-password", None);
    assert_eq!(second.put(&path, ATTRIBUTES).expect(403)["error"], "bad_code", "it is used");
    assert_eq!(laptop.number, format!("{ALICE}.2"));
    let refused = laptop.get("/v1/devices/provisioning/code").expect(401);
    assert_eq!(refused["error"], "primary_device");
    let devices = alice.get("/v1/devices").expect(200);
    assert_eq!(devices["devices"][1]["name"], "laptop");
    // Without keys, it gets no messages.
    let path = format!("/v1/messages/{ALICE}");
    bob.put(&path, &message("hello", 1).to_string()).expect(200);
    laptop.put("/v2/keys", &keys(1, 3).to_string()).expect(200);
    let missing = bob.put(&path, &message("hello", 2).to_string()).expect(409);
    assert_eq!(missing, json!({"missingDevices": [2], "extraDevices": []}));
    let mut both = message("hello", 2);
    let mut second = both["messages"][0].clone();
    second["destinationDeviceId"] = json!(2);
    second["destinationRegistrationId"] = json!(77);
    both["messages"].as_array_mut().unwrap().push(second);
    bob.put(&path, &both.to_string()).expect(200);
    let mut socket = Socket::open(&server, &laptop).await;
    assert_eq!(socket.message().await.1.timestamp.0, 2);
    alice.delete("/v1/devices/2").expect(200);
    assert_eq!(socket.closed().await, Some(4409));
    laptop.get("/v1/accounts/whoami").expect(401);
    alice.delete("/v1/devices/2").expect(404);
}

#[test]
fn a_linked_device_is_not_locked_out_by_a_neighbour_who_guesses_its_password() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let (laptop, _) = link(&server, &alice);
    for name in [&alice.number, &alice.uuid] {
        let mut guesser = server.client();
        guesser.log_in(&format!("{name}.2"), "wrong", None);
        while guesser.get("/v1/accounts/whoami").status == 401 {}
        let mut device = laptop.clone();
        device.log_in(&format!("{name}.2"), &laptop.password, None);
        device.get("/v1/accounts/whoami").expect(200);
    }
}

#[test]
fn guesses_of_the_password_of_a_linked_device_are_limited_also_when_a_device_is_linked() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    let (laptop, path) = link(&server, &alice);
    for name in [&alice.number, &alice.uuid] {
        let mut stranger = server.client();
        let mut guess = |password: &str| {
            stranger.log_in(name, password, None);
            stranger.put(&path, ATTRIBUTES).status
        };
        // The answer to the right one may have been lost.
        assert_eq!(guess(&laptop.password), 200);
        let statuses: Vec<u16> = (0..30).map(|number| guess(&format!("guess{number}"))).collect();
        assert!(statuses.starts_with(&[403; 20]) && statuses.ends_with(&[413]), "{statuses:?}");
        assert_eq!(guess(&laptop.password), 413, "the answer shows no right guess");
        // Logins have the same limit.
        let mut device = server.client();
        device.log_in(&format!("{name}.3"), "another", None);
        device.get("/v1/accounts/whoami").expect(413);
    }
    assert_eq!(link(&server, &alice).0.number, format!("{ALICE}.3"), "with a code");
}

#[test]
fn an_account_has_six_devices() {
    let server = Server::start(&[]);
    let alice = Client::register(&server, ALICE, None);
    for number in 2..=6 {
        assert_eq!(link(&server, &alice).0.number, format!("{ALICE}.{number}"));
    }
    let full = alice.get("/v1/devices/provisioning/code").expect(411);
    assert_eq!(full["error"], "too_many_devices");
    // The limit for codes is reached.
    alice.get("/v1/devices/provisioning/code").expect(413);
}

#[test]
fn wrong_codes_for_devices_keep_nobody_from_linking_one() {
    let server = Server::start(&["--limit-loopback"]);
    let alice = Client::register(&server, ALICE, None);
    let mut stranger = server.client();
    let mut statuses = |user: &str| -> Vec<u16> {
        stranger.log_in(user, "password", None);
        let guess = |number| stranger.put(&format!("/v1/devices/{number:032x}"), ATTRIBUTES).status;
        (0..40).map(guess).collect()
    };
    // Whether a code is pending, and whether the account exists, makes no difference.
    alice.get("/v1/devices/provisioning/code").expect(200);
    for user in ["+14155550199", ALICE] {
        let guesses = statuses(user);
        assert!(guesses.starts_with(&[403; 20]) && guesses.ends_with(&[413]), "{guesses:?}");
    }
    // Other names do not help, in the same network.
    statuses("+14155550198");
    assert!(statuses("+14155550197")[..20].contains(&413));
    assert_eq!(link(&server, &alice).0.number, format!("{ALICE}.2"));
    for user in [format!("{ALICE}.2"), "nobody".into()] {
        stranger.log_in(&user, "password", None);
        stranger.put("/v1/devices/123456", ATTRIBUTES).expect(401);
    }
}
