//! The sizes of messages: what the server accepts by default, what is refused before anything is sent, and what other
//! servers and clients do.

use serde_json::json;
use wormhole::code::{ApiMisuse, AppId, Config, Error, Wormhole};
use wormhole_server::testing::TestServers;

use crate::mailbox::Mailbox;
use crate::raw_peer::RawPeer;

fn connected(server: &Mailbox) -> (Wormhole, Wormhole) {
    connected_to(&server.proxy.address.to_string())
}

/// Two wormholes with one code at this mailbox server.
fn connected_to(address: &str) -> (Wormhole, Wormhole) {
    let servers = vec![format!("ws://{address}/v1").parse().unwrap()];
    let config = Config { app_id: AppId::new("example.com/test"), servers, ..Config::default() };
    let (alice, bob) = (Wormhole::create(config.clone()), Wormhole::create(config));
    alice.set_code("4-x".parse().unwrap()).unwrap();
    bob.set_code("4-x".parse().unwrap()).unwrap();
    (alice, bob)
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_before_the_code_is_used() {
    let server = Mailbox::start().await;
    let wormhole = Wormhole::create(server.config());
    let length = Wormhole::MAX_MESSAGE + 1;
    let error = wormhole.send_message(vec![0; length]).await.unwrap_err();
    assert_eq!(error, ApiMisuse::MessageTooLong(length).into());
    assert_eq!(
        error.to_string(),
        "wormhole misused: a message of 2093057 bytes is too long: the limit is 2093056 bytes"
    );
    // The wormhole continues.
    wormhole.allocate_code(Wormhole::CODE_WORDS).unwrap();
    wormhole.code().await.unwrap();
}

#[tokio::test]
async fn the_longest_versions_pass_and_longer_ones_are_refused_before_a_code_is_allocated() {
    let server = Mailbox::start().await;
    let versions = |length| json!({"x": "y".repeat(length - r#"{"x":""}"#.len())});
    let config = |length| Config { app_versions: versions(length), ..server.config() };
    let alice = Wormhole::create(config(Wormhole::MAX_MESSAGE));
    alice.set_code("4-x".parse().unwrap()).unwrap();
    let bob = Wormhole::create(server.config());
    bob.set_code("4-x".parse().unwrap()).unwrap();
    assert!(bob.versions().await.unwrap() == versions(Wormhole::MAX_MESSAGE));
    let length = Wormhole::MAX_MESSAGE + 1;
    let wormhole = Wormhole::create(config(length));
    let too_long = Error::from(ApiMisuse::VersionsTooLong(length));
    assert_eq!(wormhole.allocate_code(Wormhole::CODE_WORDS), Err(too_long.clone()));
    assert_eq!(wormhole.set_code("5-x".parse().unwrap()), Err(too_long.clone()));
    assert_eq!(wormhole.input_code().map(drop), Err(too_long));
}

#[tokio::test]
async fn a_server_with_a_lower_limit_is_named_as_the_one_that_refused() {
    let server = Mailbox::with(&["--mailbox-max-frame", "10000"]).await;
    let (alice, bob) = connected(&server);
    alice.send_message(vec![0; 4000]).await.unwrap();
    assert_eq!(bob.receive_message().await.unwrap(), vec![0; 4000]);
    alice.send_message(vec![0; 5000]).await.unwrap();
    let Error::ServerRefused(reason) = alice.receive_message().await.unwrap_err() else {
        panic!("not refused")
    };
    assert!(reason.as_str().contains("10000"), "{reason}");
}

#[tokio::test]
async fn a_full_mailbox_is_named_as_the_reason() {
    let server = Mailbox::with(&["--mailbox-mailbox-bytes", "100000"]).await;
    let (alice, _bob) = connected(&server);
    alice.verifier().await.unwrap();
    let error = loop {
        if let Err(error) = alice.send_message(vec![0; 10_000]).await {
            break error;
        }
    };
    let Error::ServerRefused(reason) = error else { panic!("{error:?}") };
    assert!(reason.as_str().contains("full"), "{reason}");
}

#[tokio::test]
async fn a_longer_message_of_another_client_is_delivered() {
    let server = Mailbox::with(&["--mailbox-max-frame", "9000000"]).await;
    let alice = Wormhole::create(server.config());
    alice.set_code("4-x".parse().unwrap()).unwrap();
    let mut peer = RawPeer::join(&server, "4", "peer").await;
    let key = peer.exchange_keys("4-x").await;
    peer.add_sealed(&key, "version", b"{}").await;
    let long = vec![7; Wormhole::MAX_MESSAGE + 100_000];
    peer.add_sealed(&key, "0", &long).await;
    assert!(alice.receive_message().await.unwrap() == long);
}

#[tokio::test]
async fn the_longest_messages_of_both_sides_pass_each_other() {
    // Without the proxy, which does not read while it writes.
    let servers = TestServers::start(&[]).await;
    let (alice, bob) = connected_to(&servers.mailbox().to_string());
    let exchange = async |one: &Wormhole, ours: u8, theirs: u8| {
        one.send_message(vec![ours; Wormhole::MAX_MESSAGE]).await.unwrap();
        one.send_message(vec![ours]).await.unwrap();
        assert!(one.receive_message().await.unwrap() == vec![theirs; Wormhole::MAX_MESSAGE]);
        assert_eq!(one.receive_message().await.unwrap(), [theirs]);
    };
    tokio::join!(exchange(&alice, 1, 2), exchange(&bob, 2, 1));
}
