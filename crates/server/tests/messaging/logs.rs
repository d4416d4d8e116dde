//! What the service logs, even with the most detailed level: nothing that identifies people, and no secrets.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD};
use serde_json::json;

use crate::client::Client;
use crate::keys::keys;
use crate::messages::message;
use crate::server::Server;

const ALICE: &str = "+14155550101";
const BOB: &str = "+14155550102";
const TEXT: &str = "the secret content";

/// Registers, and returns the client and the code.
fn register(server: &Server, number: &str, token: &str) -> (Client, String) {
    let mut client = server.client();
    client.get(&format!("/v1/accounts/sms/code/{number}")).expect(200);
    let code = server.code(number);
    client.log_in(number, &format!("password-of-{number}"), Some(("com.example.two", token)));
    let attributes = json!({"registrationId": 1001, "fetchesMessages": true, "name": "a private name",
        "signalingKey": BASE64_NOPAD.encode(&[7; 52])});
    let path = format!("/v1/accounts/code/{}", code.replace('-', ""));
    let registered = client.put(&path, &attributes.to_string()).expect(200);
    registered["uuid"].as_str().unwrap().clone_into(&mut client.uuid);
    (client, code)
}

#[tokio::test]
async fn the_log_has_no_numbers_tokens_keys_or_content() {
    let server = Server::start(&["--log-level", "trace"]);
    let token = server.add_app("com.example.two");
    let (alice, alice_code) = register(&server, ALICE, &token);
    let (bob, bob_code) = register(&server, BOB, &token);
    let published = keys(1, 3);
    for client in [&alice, &bob] {
        client.put("/v2/keys", &published.to_string()).expect(200);
        client.put("/v1/accounts/gcm", r#"{"gcmRegistrationId":"a-push-token"}"#).expect(200);
    }
    alice.get(&format!("/v2/keys/{BOB}/*")).expect(200);
    let sent = message(TEXT, 1).to_string();
    alice.put(&format!("/v1/messages/{BOB}"), &sent).expect(200);
    bob.get("/v1/messages").expect(200);
    let token_of_bob = BASE64URL_NOPAD.encode(&wormhole_chat::directory_token(BOB));
    alice.get(&format!("/v1/directory/{token_of_bob}")).expect(200);
    // Mistakes are logged most easily.
    alice.put("/v1/messages/nobody", &sent).expect(400);
    alice.put(&format!("/v1/messages/{BOB}"), &sent[..sent.len() - 1]).expect(415);
    alice.put("/v2/keys", "{\"keys\":[{\"publicKey\":\"c2VjcmV0\"}]").expect(415);
    let mut thief = server.client();
    thief.log_in(ALICE, "a-wrong-password", Some(("com.example.two", "a-wrong-token")));
    thief.get("/v1/accounts/whoami").expect(401);
    let allocation = alice.get("/v1/attachments").expect(200);
    let location = allocation["location"].as_str().unwrap().replace("http://localhost", "");
    alice.put(&location, TEXT).expect(200);
    alice.put(&location, TEXT).expect(409);
    let mut socket = crate::socket::Socket::open(&server, &bob).await;
    socket.request().await;
    drop(socket);
    alice.delete("/v1/accounts/me").expect(200);
    let (_, signature) = location.split_once("signature=").unwrap();
    let key = published["identityKey"].as_str().unwrap().to_owned();
    let secrets = [
        ALICE,
        BOB,
        "14155550101",
        "14155550102",
        &alice.uuid,
        &bob.uuid,
        &alice_code,
        &bob_code,
        "password-of-",
        "a-wrong-password",
        "a-wrong-token",
        &token,
        TEXT,
        &key,
        signature,
        &BASE64.encode(TEXT.as_bytes()),
        "a private name",
        "a-push-token",
        &alice.headers[0].1,
        &token_of_bob,
        "c2VjcmV0",
    ];
    let log = server.log();
    assert!(log.iter().any(|line| line.contains(" listening on ")), "{log:?}");
    for line in &log {
        for secret in secrets {
            assert!(!line.contains(secret), "{secret} in {line}");
        }
    }
}
