//! Two people become contacts with a code.

use data_encoding::BASE64;
use rand_core::OsRng;
use wormhole::chat::{
    AccountId, Client, IntroduceError, Introduced, Introducing, PublicKey, RequestError, Transport,
};
use wormhole::code::{self, AppId, Config, Wormhole};
use wormhole_chat::{Introduction, IntroductionMessage, KeyPair, Signature};

use crate::mailbox::Mailbox;
use crate::world::{Folder, Person, World, next_message, say, soon};

/// Introductions of two clients under one code.
async fn meet(mailbox: &Mailbox, one: &Client, other: &Client) -> (Introducing, Introducing) {
    let one = one.introduce(None, &mailbox.mailbox_options()).unwrap();
    let code = soon(one.code()).await.unwrap();
    (one, other.introduce(Some(code), &mailbox.mailbox_options()).unwrap())
}

async fn introduce(
    mailbox: &Mailbox,
    one: &Client,
    other: &Client,
) -> (Result<Introduced, IntroduceError>, Result<Introduced, IntroduceError>) {
    let (one, other) = meet(mailbox, one, other).await;
    let name = |name: &str| Some(name.to_owned());
    soon(async { tokio::join!(one.complete(name("Alice")), other.complete(name("Bob"))) }).await
}

/// A person with a client of 2014, whose keys are not signed.
async fn client_of_2014(world: &World, number: &str, identity: &PublicKey) -> Person {
    let bob = Person { folder: Folder::new(), number: number.to_owned() };
    let number = bob.number.parse().unwrap();
    bob.account().register(&world.server(0), &number, Transport::Sms).await.unwrap();
    world.confirm_without_keys(&bob.number, 0).await;
    let keys = format!(
        r#"{{"lastResortKey":{{"keyId":16777215,"publicKey":"{}","identityKey":"{}"}},"keys":[]}}"#,
        BASE64.encode(&KeyPair::random(&mut OsRng).public().encode()),
        BASE64.encode(&identity.encode())
    );
    let login = BASE64.encode(format!("{}:another password", bob.number).as_bytes());
    assert_eq!(world.put_as(&login, "/v2/keys", &keys).await, 200);
    bob
}

/// Somebody introduces this account, key and number to a client, with a proof by another key perhaps.
async fn introduce_as(
    mailbox: &Mailbox,
    client: &Client,
    account: AccountId,
    key: (PublicKey, &KeyPair),
    number: Option<String>,
) -> Result<Introduced, IntroduceError> {
    let introducing = client.introduce(None, &mailbox.mailbox_options()).unwrap();
    let other = Wormhole::create(Config {
        app_id: AppId::new("wormholeim.org/chat/introduction"),
        servers: mailbox.mailbox_options().servers,
        ..Config::default()
    });
    other.set_code(soon(introducing.code()).await.unwrap()).unwrap();
    let server = client.me().server.clone();
    let (identity, pair) = key;
    let (app, name, proof) = (None, None, Signature([0; 64]));
    let mut introduction = Introduction { account, identity, server, app, number, name, proof };
    introduction.sign(&soon(other.verifier()).await.unwrap().0, pair, &mut OsRng);
    for message in
        [IntroductionMessage::Introduction(Box::new(introduction)), IntroductionMessage::Stored]
    {
        other.send_message(message.encode()).await.unwrap();
    }
    soon(introducing.complete(None)).await
}

#[tokio::test]
async fn both_become_contacts_whose_safety_number_is_verified() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550831", "+14155550832"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let (at_alice, at_bob) = introduce(&mailbox, &a, &b).await;
    let (at_alice, at_bob) = (at_alice.unwrap(), at_bob.unwrap());
    assert!(at_alice.is_mutual && at_bob.is_mutual);
    assert_eq!((at_alice.name.as_deref(), at_bob.name.as_deref()), (Some("Bob"), Some("Alice")));
    let known = &at_alice.contact;
    assert_eq!(known.account, b.me().address.account);
    assert_eq!(known.number.as_deref(), Some("+14155550832"));
    assert!(known.is_in_app, "the server has confirmed the number");
    let digits = async |client: &Client, of: &Client| {
        let number = client.safety_number(of.me().address.account).await.unwrap();
        assert!(number.is_verified && !number.is_new);
        number.digits
    };
    assert_eq!(digits(&a, &b).await, digits(&b, &a).await);
    // It survives a restart, and the first message goes to this person.
    a.close().await.unwrap();
    let a = alice.open().await;
    assert_eq!(digits(&a, &b).await, digits(&b, &a).await);
    say(&a, &bob.destination(), "hello").await;
    let message = next_message(&mut b.messages()).await;
    assert!(message.text.as_deref() == Some("hello") && !message.identity_changed);
}

#[tokio::test]
async fn an_introduction_replaces_no_known_key_and_works_after_the_user_has_accepted_the_new_one() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550833", "+14155550834"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    say(&a, &bob.destination(), "to the first phone").await;
    let before = a.safety_number(b.me().address.account).await.unwrap().digits;
    b.close().await.unwrap();
    let new = world.register("+14155550834", 1).await;
    let n = new.open().await;
    assert_eq!(n.me().address.account, bob.registration().account.unwrap().account);
    let (at_alice, _) = introduce(&mailbox, &a, &n).await;
    assert_eq!(at_alice, Err(IntroduceError::OtherKey));
    let known = a.safety_number(n.me().address.account).await.unwrap();
    assert!(known.digits == before && !known.is_verified && !known.is_new);
    // The new phone writes, and Alice accepts its key.
    say(&n, &alice.destination(), "my new phone").await;
    assert!(next_message(&mut a.messages()).await.identity_changed);
    let (at_alice, _) = introduce(&mailbox, &a, &n).await;
    assert_eq!(at_alice, Err(IntroduceError::OtherKey));
    let new = a.safety_number(n.me().address.account).await.unwrap();
    a.accept_identity(n.me().address.account, new.key).await.unwrap();
    let (at_alice, _) = introduce(&mailbox, &a, &n).await;
    assert!(at_alice.is_ok(), "{at_alice:?}");
    let after = a.safety_number(n.me().address.account).await.unwrap();
    assert!(after.is_verified && !after.is_new && after.digits != before);
    say(&a, &bob.destination(), "to the new phone").await;
    assert_eq!(next_message(&mut n.messages()).await.text.as_deref(), Some("to the new phone"));
}

#[tokio::test]
async fn an_introduction_does_not_replace_a_key_that_was_verified() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550839", "+14155550840"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    say(&a, &bob.destination(), "to the first phone").await;
    let account = b.me().address.account;
    let before = a.safety_number(account).await.unwrap();
    b.close().await.unwrap();
    let n = world.register("+14155550840", 1).await.open().await;
    a.verify_safety_number(account, &before.digits).await.unwrap();
    let (at_alice, at_bob) = introduce(&mailbox, &a, &n).await;
    assert_eq!(at_alice, Err(IntroduceError::OtherKey), "she has verified the other key");
    assert!(at_bob.is_ok_and(|introduced| !introduced.is_mutual));
    let after = a.safety_number(account).await.unwrap();
    assert!(after.key == before.key && after.is_verified && !after.is_new);
}

#[tokio::test]
async fn nobody_is_stored_without_the_words_of_the_server() {
    let (mut world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550841", "+14155550842"]).await;
    world.use_up_keys(&alice, &bob).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let (at_alice, at_bob) = introduce(&mailbox, &a, &b).await;
    let limited = |error: &_| matches!(error, IntroduceError::Server(RequestError::TooMany(_)));
    assert!(at_alice.as_ref().is_err_and(limited), "{at_alice:?}");
    assert!(at_bob.is_ok_and(|introduced| !introduced.is_mutual));
    world.stop().await;
    let (at_alice, _) = introduce(&mailbox, &a, &b).await;
    let cut_off = |error: &_| matches!(error, IntroduceError::Server(RequestError::Connection(_)));
    assert!(at_alice.as_ref().is_err_and(cut_off), "{at_alice:?}");
    assert!(a.contacts().await.unwrap().is_empty());
    assert!(a.safety_number(b.me().address.account).await.is_err());
}

#[tokio::test]
async fn a_key_is_compared_with_the_server_also_if_no_device_has_signed_prekeys() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550843", 0).await.open().await;
    let key = KeyPair::random(&mut OsRng);
    let bob = client_of_2014(&world, "+14155550844", key.public()).await;
    let account = alice.resolve(&bob.destination()).await.unwrap().account;
    // Somebody else introduces the account with another key.
    let pair = KeyPair::random(&mut OsRng);
    let key = (*pair.public(), &pair);
    let introduced = introduce_as(&mailbox, &alice, account, key, None).await;
    assert_eq!(introduced, Err(IntroduceError::WrongKey));
    assert!(alice.safety_number(account).await.is_err());
}

#[tokio::test]
async fn attack_8_nobody_can_introduce_the_account_and_the_key_of_somebody_else() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550848", "+14155550849"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    say(&b, &alice.destination(), "hello").await;
    let from = next_message(&mut a.messages()).await.from;
    let bobs = a.safety_number(from.account).await.unwrap().key;
    let mallory = KeyPair::random(&mut OsRng);
    let introduced = introduce_as(&mailbox, &a, from.account, (bobs, &mallory), None).await;
    assert_eq!(introduced, Err(IntroduceError::NoProof));
    assert!(!a.safety_number(from.account).await.unwrap().is_verified);
}

#[tokio::test]
async fn a_number_that_the_person_names_replaces_nothing_that_the_server_has_said() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550845", 0).await.open().await;
    let pair = KeyPair::random(&mut OsRng);
    let key = *pair.public();
    let bob = client_of_2014(&world, "+14155550846", &key).await;
    let known = alice.resolve(&bob.destination()).await.unwrap();
    assert_eq!(known.number.as_deref(), Some("+14155550846"));
    let other = Some("+14155550847".to_owned());
    let introduced =
        introduce_as(&mailbox, &alice, known.account, (key, &pair), other).await.unwrap();
    assert_eq!(introduced.contact.number, known.number);
    assert_eq!(introduced.contact.verified, Some(key));
}

#[tokio::test]
async fn people_at_other_servers_and_the_own_account_are_refused_on_both_sides() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let elsewhere = World::new().await;
    let alice = world.register("+14155550835", 0).await;
    let carol = elsewhere.register("+14155550836", 0).await;
    let laptop = mailbox.link(&alice, "laptop").await;
    let (a, c, l) = (alice.open().await, carol.open().await, laptop.open().await);
    let (at_alice, at_carol) = introduce(&mailbox, &a, &c).await;
    for result in [at_alice, at_carol] {
        assert!(matches!(result, Err(IntroduceError::OtherServer(_))), "{result:?}");
    }
    assert!(a.safety_number(c.me().address.account).await.is_err());
    let (one, other) = introduce(&mailbox, &a, &l).await;
    assert_eq!(
        (one.err(), other.err()),
        (Some(IntroduceError::OwnAccount), Some(IntroduceError::OwnAccount))
    );
}

#[tokio::test]
async fn a_wrong_code_and_a_cancelled_introduction_add_nobody() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550837", "+14155550838"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let one = a.introduce(None, &mailbox.mailbox_options()).unwrap();
    let code = soon(one.code()).await.unwrap();
    let wrong = format!("{}-wrong-words", code.nameplate()).parse().unwrap();
    let other = b.introduce(Some(wrong), &mailbox.mailbox_options()).unwrap();
    let results = soon(async { tokio::join!(one.complete(None), other.complete(None)) }).await;
    for result in [results.0, results.1] {
        assert_eq!(result, Err(IntroduceError::Code(code::Error::WrongCode)));
    }
    let (one, other) = meet(&mailbox, &a, &b).await;
    let cancel = async {
        other.met().await.unwrap();
        other.cancel().await;
    };
    let (result, ()) = soon(async { tokio::join!(one.complete(None), cancel) }).await;
    assert_eq!(result, Err(IntroduceError::PeerRefused));
    assert!(a.contacts().await.unwrap().is_empty());
}
