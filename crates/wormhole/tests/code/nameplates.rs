//! Codes and their nameplates at the real server: who may use them, and when they are free again.

use std::num::NonZeroU8;

use wormhole::code::{ApiMisuse, AppId, Config, Error, Nameplate, Password, Wormhole};

use crate::mailbox::Mailbox;

fn with_code(config: Config, code: &str) -> Wormhole {
    let wormhole = Wormhole::create(config);
    wormhole.set_code(code.parse().unwrap()).unwrap();
    wormhole
}

/// The nameplates that the server lists for an application.
async fn listed(config: Config) -> Vec<Nameplate> {
    let wormhole = Wormhole::create(config);
    let input = wormhole.input_code().unwrap();
    input.refresh_nameplates();
    input.first_nameplates().await.unwrap()
}

#[tokio::test]
async fn an_allocated_code_has_as_many_words_as_requested() {
    let server = Mailbox::start().await;
    for words in [1, 2, 5] {
        let wormhole = Wormhole::create(server.config());
        wormhole.allocate_code(NonZeroU8::new(words).unwrap()).unwrap();
        let code = wormhole.code().await.unwrap().to_string();
        assert_eq!(code.split('-').count(), usize::from(words) + 1, "{code}");
    }
}

#[tokio::test]
async fn codes_that_are_in_use_at_the_same_time_have_different_nameplates() {
    let server = Mailbox::start().await;
    let wormholes: Vec<_> = (0..12).map(|_| Wormhole::create(server.config())).collect();
    let mut nameplates = Vec::new();
    for wormhole in &wormholes {
        wormhole.allocate_code(Wormhole::CODE_WORDS).unwrap();
        nameplates.push(wormhole.code().await.unwrap().nameplate().to_string());
    }
    nameplates.sort();
    nameplates.dedup();
    assert_eq!(nameplates.len(), wormholes.len());
}

#[tokio::test]
async fn a_third_side_is_refused_and_the_first_two_still_connect() {
    let server = Mailbox::start().await;
    let alice = with_code(server.config(), "4-right");
    server.proxy.received("open").await;
    let bob = Wormhole::create(server.config());
    let mut input = bob.input_code().unwrap();
    input.choose_nameplate(Nameplate::parse("4").unwrap()).unwrap();
    while !input.is_nameplate_claimed() {
        tokio::task::yield_now().await;
    }
    let carol = with_code(server.config(), "4-guess");
    let Err(Error::ServerRefused(reason)) = carol.verifier().await else {
        panic!("a third side was let in")
    };
    assert_eq!(reason.as_str(), "crowded");
    input.choose_words(Password::parse("right").unwrap()).unwrap();
    assert_eq!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
}

#[tokio::test]
async fn a_consumed_code_can_be_used_again_by_others() {
    let server = Mailbox::start().await;
    let mut verifiers = Vec::new();
    let mut open = Vec::new();
    for _ in 0..2 {
        let (alice, bob) =
            (with_code(server.config(), "4-same"), with_code(server.config(), "4-same"));
        alice.code_consumed().await.unwrap();
        bob.code_consumed().await.unwrap();
        assert_eq!(listed(server.config()).await, []);
        verifiers.push(alice.verifier().await.unwrap());
        assert_eq!(bob.verifier().await.unwrap(), verifiers.pop().unwrap());
        verifiers.push(bob.verifier().await.unwrap());
        open.push((alice, bob));
    }
    assert_ne!(verifiers.first(), verifiers.last());
    for (alice, bob) in &open {
        alice.send_message(b"still here".to_vec()).await.unwrap();
        assert_eq!(bob.receive_message().await.unwrap(), b"still here");
    }
}

#[tokio::test]
async fn applications_with_different_identifiers_do_not_see_each_others_nameplates() {
    let server = Mailbox::start().await;
    let _alice = with_code(server.config(), "4-x");
    server.proxy.received("open").await;
    let other = Config { app_id: AppId::new("example.com/other"), ..server.config() };
    assert_eq!(listed(other).await, []);
    assert_eq!(listed(server.config()).await, [Nameplate::parse("4").unwrap()]);
}

#[tokio::test]
async fn a_server_that_does_not_list_nameplates_still_connects_two_sides() {
    let server = Mailbox::with(&["--mailbox-disallow-list"]).await;
    let alice = with_code(server.config(), "4-x");
    server.proxy.received("open").await;
    assert_eq!(listed(server.config()).await, []);
    let bob = with_code(server.config(), "4-x");
    assert_eq!(alice.verifier().await.unwrap(), bob.verifier().await.unwrap());
}

#[tokio::test]
async fn a_wrong_code_is_found_after_the_key_exchange() {
    let server = Mailbox::start().await;
    let (alice, bob) =
        (with_code(server.config(), "4-right"), with_code(server.config(), "4-wrong"));
    // Somebody is there: whether it is the right one shows only afterwards.
    assert!(alice.key().await.is_ok());
    assert_eq!(alice.versions().await, Err(Error::WrongCode));
    assert_eq!(bob.verifier().await, Err(Error::WrongCode));
    assert_eq!(bob.close().await, Err(Error::WrongCode));
}

#[tokio::test]
async fn both_sides_derive_the_same_bytes_for_a_purpose_and_others_for_another() {
    let server = Mailbox::start().await;
    let (alice, bob) = (with_code(server.config(), "4-x"), with_code(server.config(), "4-x"));
    alice.verifier().await.unwrap();
    bob.verifier().await.unwrap();
    let most = alice.derive_key("one", 8160).unwrap();
    assert_eq!(most.len(), 8160);
    assert_eq!(bob.derive_key("one", 8160).unwrap(), most);
    assert_ne!(bob.derive_key("two", 8160).unwrap(), most);
    let too_long = alice.derive_key("one", 8161).unwrap_err();
    assert_eq!(too_long, ApiMisuse::KeyTooLong(8161).into());
}

#[tokio::test]
async fn closing_without_a_peer_is_lonely_and_frees_the_nameplate() {
    let server = Mailbox::start().await;
    let alice = with_code(server.config(), "4-x");
    server.proxy.received("open").await;
    let closed = alice.close().await.unwrap();
    assert_eq!(server.proxy.received("close").await["mood"], "lonely");
    assert!(closed.confirmed);
    assert_eq!(listed(server.config()).await, []);
}
