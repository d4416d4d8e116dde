//! Peers at the real mailbox server that send garbage, in each phase of an exchange.

use serde_json::{Value, json};
use wormhole::code::{Error, PakeError, PeerMisbehaved, Wormhole};

use crate::mailbox::Mailbox;
use crate::raw_peer::RawPeer;

/// The code of all tests.
const CODE: &str = "4-purple-sausages";

/// A wormhole, and a peer with the same nameplate.
async fn start() -> (Mailbox, Wormhole, RawPeer) {
    let server = Mailbox::start().await;
    let alice = Wormhole::create(server.config());
    alice.set_code(CODE.parse().unwrap()).unwrap();
    server.proxy.received("open").await;
    let peer = RawPeer::join(&server, "4", "peer").await;
    (server, alice, peer)
}

/// The error of a wormhole whose peer sends this body instead of its key-exchange message, and the mood with which
/// it closes its mailbox.
async fn after_pake(body: &str) -> (Error, Value) {
    let (server, alice, mut peer) = start().await;
    peer.add("pake", body).await;
    let error = alice.key().await.unwrap_err();
    (error, server.proxy.received("close").await["mood"].clone())
}

fn hex(text: &str) -> String {
    data_encoding::HEXLOWER.encode(text.as_bytes())
}

#[tokio::test]
async fn a_key_exchange_message_that_is_not_hexadecimal_ends_the_wormhole() {
    let (error, mood) = after_pake("no digits").await;
    assert_eq!(error, PeerMisbehaved::NotHex.into());
    assert_eq!(error.to_string(), "the other side misbehaved: a message is not hexadecimal");
    assert_eq!(mood, "scary");
}

#[tokio::test]
async fn a_key_exchange_message_that_is_not_json_ends_the_wormhole() {
    for body in ["", "{}", "[]", "{\"pake_v1\": 7}", "{\"pake_v1\": \"xyz\"}"] {
        let (error, mood) = after_pake(&hex(body)).await;
        assert_eq!(error, PeerMisbehaved::PakeMalformed.into(), "{body}");
        assert_eq!(mood, "scary");
    }
}

#[tokio::test]
async fn a_point_outside_of_the_group_ends_the_wormhole() {
    // The neutral element: a peer that answers with it would know the key.
    let identity = format!("5301{}", "00".repeat(31));
    let (error, mood) = after_pake(&hex(&json!({ "pake_v1": identity }).to_string())).await;
    assert_eq!(error, PeerMisbehaved::Pake(PakeError::WrongOrder).into());
    assert_eq!(mood, "scary");
}

#[tokio::test]
async fn our_own_key_exchange_message_is_not_accepted_from_the_peer() {
    let (_server, alice, mut peer) = start().await;
    let ours = peer.receive_phase("pake").await;
    peer.add_bytes("pake", &ours).await;
    let error = alice.key().await.unwrap_err();
    assert_eq!(error, PeerMisbehaved::Pake(PakeError::Reflected).into());
}

#[tokio::test]
async fn a_version_that_cannot_be_decrypted_means_another_code() {
    let (server, alice, mut peer) = start().await;
    peer.exchange_keys(CODE).await;
    peer.add_bytes("version", &[7; 64]).await;
    assert_eq!(alice.verifier().await.unwrap_err(), Error::WrongCode);
    assert_eq!(server.proxy.received("close").await["mood"], "scary");
}

#[tokio::test]
async fn a_version_that_is_not_json_ends_the_wormhole() {
    let (server, alice, mut peer) = start().await;
    let key = peer.exchange_keys(CODE).await;
    peer.add_sealed(&key, "version", b"version 1").await;
    let error = alice.versions().await.unwrap_err();
    assert_eq!(error, PeerMisbehaved::VersionMalformed.into());
    assert_eq!(server.proxy.received("close").await["mood"], "errory");
}

#[tokio::test]
async fn a_forged_message_after_the_version_ends_the_wormhole() {
    let (server, alice, mut peer) = start().await;
    let key = peer.exchange_keys(CODE).await;
    peer.add_sealed(&key, "version", b"{}").await;
    peer.add_bytes("0", &[7; 64]).await;
    assert_eq!(alice.receive_message().await.unwrap_err(), PeerMisbehaved::Forged.into());
    assert_eq!(server.proxy.received("close").await["mood"], "scary");
}

#[tokio::test]
async fn messages_before_a_forged_one_are_delivered() {
    let (_server, alice, mut peer) = start().await;
    let key = peer.exchange_keys(CODE).await;
    peer.add_sealed(&key, "version", b"{}").await;
    peer.add_sealed(&key, "0", b"good").await;
    peer.add_bytes("1", &[7; 64]).await;
    assert_eq!(alice.receive_message().await.unwrap(), b"good");
    assert_eq!(alice.receive_message().await.unwrap_err(), PeerMisbehaved::Forged.into());
}

#[tokio::test]
async fn a_message_for_another_phase_is_a_forgery() {
    let (_server, alice, mut peer) = start().await;
    let key = peer.exchange_keys(CODE).await;
    peer.add_sealed(&key, "version", b"{}").await;
    let sealed = wormhole_magic::secretbox::seal(
        &key.phase_key("peer", "1"),
        b"moved",
        &mut rand_core::OsRng,
    );
    peer.add_bytes("0", &sealed).await;
    assert_eq!(alice.receive_message().await.unwrap_err(), PeerMisbehaved::Forged.into());
}

#[tokio::test]
async fn messages_that_arrive_before_their_turn_are_delivered_in_order() {
    let (_server, alice, mut peer) = start().await;
    let key = peer.exchange_keys(CODE).await;
    for phase in ["3", "1", "version", "2", "0"] {
        peer.add_sealed(&key, phase, format!("{{\"n\": \"{phase}\"}}").as_bytes()).await;
    }
    for number in 0..4 {
        let expected = format!("{{\"n\": \"{number}\"}}");
        assert_eq!(alice.receive_message().await.unwrap(), expected.as_bytes());
    }
}

#[tokio::test]
async fn the_first_of_two_messages_of_one_phase_counts() {
    let (_server, alice, mut peer) = start().await;
    let key = peer.exchange_keys(CODE).await;
    peer.add_sealed(&key, "version", b"{}").await;
    for (phase, text) in [("0", "one"), ("0", "again"), ("1", "two")] {
        peer.add_sealed(&key, phase, text.as_bytes()).await;
    }
    assert_eq!(alice.receive_message().await.unwrap(), b"one");
    assert_eq!(alice.receive_message().await.unwrap(), b"two");
}

#[tokio::test]
async fn messages_of_unknown_phases_are_ignored() {
    let (_server, alice, mut peer) = start().await;
    let key = peer.exchange_keys(CODE).await;
    peer.add_sealed(&key, "version", b"{}").await;
    for phase in ["-1", "00", "1e3", "dilate-0", "later", "0"] {
        peer.add_sealed(&key, phase, phase.as_bytes()).await;
    }
    assert_eq!(alice.receive_message().await.unwrap(), b"0");
}

#[tokio::test]
async fn a_message_far_ahead_of_the_others_ends_the_wormhole() {
    let (_server, alice, mut peer) = start().await;
    let key = peer.exchange_keys(CODE).await;
    peer.add_sealed(&key, "version", b"{}").await;
    peer.add_sealed(&key, "1000000", b"far").await;
    assert_eq!(alice.receive_message().await.unwrap_err(), PeerMisbehaved::PhaseMissing(0).into());
}

#[tokio::test]
async fn a_flood_before_the_key_exchange_ends_the_wormhole() {
    let (_server, alice, mut peer) = start().await;
    for number in 0..400 {
        peer.add_bytes(&number.to_string(), b"x").await;
    }
    assert_eq!(alice.key().await.unwrap_err(), PeerMisbehaved::TooManyEarlyMessages.into());
}

#[tokio::test]
async fn deceptive_characters_in_the_versions_of_a_peer_are_passed_on_as_they_are() {
    let (_server, alice, mut peer) = start().await;
    let key = peer.exchange_keys(CODE).await;
    peer.add_sealed(&key, "version", br#"{"app_versions": {"name": "\u202e\u0000"}}"#).await;
    assert_eq!(alice.versions().await.unwrap(), json!({"name": "\u{202e}\0"}));
}
