//! Peers that leave in each phase of an exchange, codes with too many users, and verifiers.

use std::time::Duration;

use wormhole::code::{Config, Error, Mood, Nameplate, Password, Wormhole};

use crate::mailbox::Mailbox;

fn with_code(config: Config, code: &str) -> Wormhole {
    let wormhole = Wormhole::create(config);
    wormhole.set_code(code.parse().unwrap()).unwrap();
    wormhole
}

/// A wormhole whose user has typed the nameplate 4 only.
async fn with_nameplate(server: &Mailbox) -> (Wormhole, wormhole::code::CodeInput) {
    let wormhole = Wormhole::create(server.config());
    let mut input = wormhole.input_code().unwrap();
    input.choose_nameplate(Nameplate::parse("4").unwrap()).unwrap();
    while !input.is_nameplate_claimed() {
        tokio::task::yield_now().await;
    }
    (wormhole, input)
}

/// Two wormholes that have confirmed each other.
async fn connected(server: &Mailbox) -> (Wormhole, Wormhole) {
    let (alice, bob) = (with_code(server.config(), "4-x"), with_code(server.config(), "4-x"));
    assert_eq!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
    (alice, bob)
}

#[tokio::test]
async fn a_peer_that_leaves_before_the_words_are_typed_has_used_up_the_code() {
    let server = Mailbox::start().await;
    let alice = with_code(server.config(), "4-x");
    server.proxy.received("open").await;
    let (bob, _input) = with_nameplate(&server).await;
    assert!(bob.close().await.unwrap().confirmed);
    // The server does not accept a third side, even after one has left.
    let carol = with_code(server.config(), "4-x");
    let Err(Error::ServerRefused(reason)) = carol.verifier().await else { panic!("let in") };
    assert_eq!(reason.as_str(), "crowded");
    // It is free again when the first side has left as well.
    let closed = alice.close().await.unwrap();
    assert!(closed.mood == Mood::Lonely && closed.confirmed);
    connected(&server).await;
}

#[tokio::test]
async fn a_peer_that_leaves_after_the_key_exchange_has_had_its_guess() {
    let server = Mailbox::start().await;
    let alice = with_code(server.config(), "4-x");
    let bob = with_code(server.config(), "4-x");
    bob.key().await.unwrap();
    drop(bob);
    // The other side's first message may or may not have been sent.
    alice.key().await.unwrap();
    alice.code_consumed().await.unwrap();
    assert!(alice.close().await.unwrap().confirmed);
}

#[tokio::test]
async fn messages_of_a_peer_that_has_left_are_delivered() {
    let server = Mailbox::start().await;
    let (alice, bob) = connected(&server).await;
    bob.send_message(b"goodbye".to_vec()).await.unwrap();
    assert!(bob.close().await.unwrap().confirmed);
    assert_eq!(alice.receive_message().await.unwrap(), b"goodbye");
}

#[tokio::test]
async fn a_message_to_a_peer_that_has_left_is_accepted_by_the_server() {
    let server = Mailbox::start().await;
    let (alice, bob) = connected(&server).await;
    assert!(bob.close().await.unwrap().confirmed);
    alice.send_message(b"too late".to_vec()).await.unwrap();
    let closed = alice.close().await.unwrap();
    assert!(closed.mood == Mood::Happy && closed.confirmed);
}

#[tokio::test]
async fn the_end_of_the_peer_is_not_the_end_of_a_wormhole() {
    let server = Mailbox::start().await;
    let (alice, bob) = connected(&server).await;
    assert!(bob.close().await.unwrap().confirmed);
    // The protocol does not say that nothing follows.
    let waiting = tokio::time::timeout(Duration::from_millis(20), alice.receive_message()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    assert!(alice.close().await.unwrap().confirmed);
}

#[tokio::test]
async fn of_two_receivers_of_one_code_one_connects_and_the_other_is_refused() {
    let server = Mailbox::start().await;
    let alice = with_code(server.config(), "4-x");
    server.proxy.received("open").await;
    let receivers = [with_code(server.config(), "4-x"), with_code(server.config(), "4-x")];
    let [one, other] = &receivers;
    let results = tokio::join!(one.verifier(), other.verifier());
    let verifier = alice.verifier().await.unwrap();
    let (connected, refused) = match results {
        (Ok(connected), Err(refused)) | (Err(refused), Ok(connected)) => (connected, refused),
        other => panic!("{other:?}"),
    };
    assert_eq!(connected, verifier);
    let Error::ServerRefused(reason) = refused else { panic!("{refused:?}") };
    assert_eq!(reason.as_str(), "crowded");
}

#[tokio::test]
async fn a_receiver_that_comes_after_the_exchange_finds_an_unused_nameplate() {
    let server = Mailbox::start().await;
    let (alice, bob) = connected(&server).await;
    alice.code_consumed().await.unwrap();
    bob.code_consumed().await.unwrap();
    let late = with_code(server.config(), "4-x");
    // It waits alone, and learns nothing of the exchange.
    assert_eq!(late.code().await.unwrap().to_string(), "4-x");
    let closed = late.close().await.unwrap();
    assert!(closed.mood == Mood::Lonely && closed.confirmed);
    alice.send_message(b"undisturbed".to_vec()).await.unwrap();
    assert_eq!(bob.receive_message().await.unwrap(), b"undisturbed");
}

#[tokio::test]
async fn a_man_in_the_middle_who_knows_the_code_shows_in_the_verifiers() {
    // He runs a server for each side, and the whole protocol with both.
    let (near, far) = (Mailbox::start().await, Mailbox::start().await);
    let (alice, to_alice) = connected(&near).await;
    let (to_bob, bob) = connected(&far).await;
    alice.send_message(b"for bob".to_vec()).await.unwrap();
    let read = to_alice.receive_message().await.unwrap();
    to_bob.send_message(read).await.unwrap();
    assert_eq!(bob.receive_message().await.unwrap(), b"for bob");
    assert_ne!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
}

#[tokio::test]
async fn one_wrong_code_uses_up_the_code_of_the_other_side() {
    let server = Mailbox::start().await;
    let alice = with_code(server.config(), "4-right");
    let guess = with_code(server.config(), "4-wrong");
    assert_eq!(alice.verifier().await, Err(Error::WrongCode));
    assert_eq!(guess.verifier().await, Err(Error::WrongCode));
    // A second guess finds nobody.
    let second = with_code(server.config(), "4-right");
    second.code().await.unwrap();
    assert_eq!(second.close().await.unwrap().mood, Mood::Lonely);
}

#[tokio::test]
async fn words_in_another_case_are_another_code() {
    let server = Mailbox::start().await;
    let alice = with_code(server.config(), "4-Purple-sausages");
    let bob = with_code(server.config(), "4-purple-sausages");
    assert_eq!(alice.verifier().await, Err(Error::WrongCode));
    assert_eq!(bob.verifier().await, Err(Error::WrongCode));
}

#[tokio::test]
async fn a_typed_code_connects_although_the_link_is_lost_between_nameplate_and_words() {
    let server = Mailbox::start().await;
    let alice = with_code(server.config(), "4-right-words");
    server.proxy.received("open").await;
    let (bob, mut input) = with_nameplate(&server).await;
    server.proxy.cut_all();
    input.choose_words(Password::parse("right-words").unwrap()).unwrap();
    assert_eq!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
}

#[tokio::test]
async fn words_may_be_chosen_before_the_server_has_granted_the_nameplate() {
    let server = Mailbox::start().await;
    let alice = with_code(server.config(), "4-right");
    let bob = Wormhole::create(server.config());
    let mut input = bob.input_code().unwrap();
    input.choose_nameplate(Nameplate::parse("4").unwrap()).unwrap();
    assert!(!input.is_nameplate_claimed());
    input.choose_words(Password::parse("right").unwrap()).unwrap();
    assert_eq!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
}

#[tokio::test]
async fn refreshing_replaces_the_list_of_nameplates() {
    let server = Mailbox::start().await;
    let typing = Wormhole::create(server.config());
    let input = typing.input_code().unwrap();
    input.refresh_nameplates();
    assert_eq!(input.first_nameplates().await.unwrap(), []);
    let _alice = with_code(server.config(), "12-x");
    let _bob = with_code(server.config(), "13-x");
    while input.complete_nameplate("1").len() < 2 {
        input.refresh_nameplates();
        tokio::task::yield_now().await;
    }
    let mut offered = input.complete_nameplate("1");
    offered.sort();
    assert_eq!(offered, ["12-", "13-"]);
    assert_eq!(input.complete_nameplate("13"), ["13-"]);
    assert_eq!(input.complete_nameplate("2"), Vec::<String>::new());
}

#[tokio::test]
async fn the_words_that_are_offered_depend_on_their_place_and_number() {
    let server = Mailbox::start().await;
    let wormhole = Wormhole::create(server.config());
    let input = wormhole.input_code().unwrap();
    // The first word has a list of its own, and only words before the last one are followed by a hyphen.
    assert_eq!(input.complete_words("purpl"), Vec::<String>::new());
    assert_eq!(input.complete_words("guitarist-reven"), ["guitarist-revenge"]);
    let three = std::num::NonZeroU8::new(3).unwrap();
    assert_eq!(input.complete_words_of("guitarist-reven", three), ["guitarist-revenge-"]);
    assert_eq!(input.complete_words("guitarist-revenge-more"), Vec::<String>::new());
}

#[tokio::test]
async fn typing_a_code_ends_with_the_wormhole() {
    let server = Mailbox::start().await;
    let wormhole = Wormhole::create(server.config());
    let mut input = wormhole.input_code().unwrap();
    wormhole.close().await.unwrap();
    assert_eq!(input.first_nameplates().await, Err(Error::Closed));
    // Commands to an ended wormhole do nothing.
    input.choose_nameplate(Nameplate::parse("4").unwrap()).unwrap();
    assert!(!input.is_nameplate_claimed());
}
