//! Registering a number.

use wormhole::chat::{
    AccountState, Client, OpenError, Options, RegisterError, RequestError, Server, Transport,
};
use wormhole_server::testing::{app_command, verification_code};

use crate::world::{Folder, Person, World};

fn person(number: &str) -> Person {
    Person { folder: Folder::new(), number: number.to_owned() }
}

#[tokio::test]
async fn a_number_is_registered_with_its_code() {
    let world = World::new().await;
    let alice = person("+14155550301");
    let account = alice.account();
    assert_eq!(account.state().await, Ok(AccountState::New));
    assert_eq!(account.verify("123-456").await, Err(RegisterError::NotRequested));
    let (server, number) = (world.server(0), alice.number.parse().unwrap());
    account.register(&server, &number, Transport::Voice).await.unwrap();
    assert_eq!(account.state().await, Ok(AccountState::Pending(number.clone())));
    drop(account);

    // In another process.
    let account = alice.account();
    let code = verification_code(&alice.number).unwrap();
    let (first, last) = code.split_at(3);
    let me = account.verify(&format!("{first}-{last}")).await.unwrap();
    assert_eq!(me.number, number);
    assert_eq!(me.app.as_ref().map(ToString::to_string).as_deref(), Some("com.one"));
    assert_eq!(account.state().await, Ok(AccountState::Registered(Box::new(me))));
    let again = account.register(&server, &number, Transport::Sms).await;
    assert_eq!(again, Err(RegisterError::AlreadyRegistered));
    assert_eq!(account.verify(&code).await, Err(RegisterError::AlreadyRegistered));
}

#[tokio::test]
async fn a_wrong_code_does_not_register() {
    let world = World::new().await;
    let alice = person("+14155550302");
    let account = alice.account();
    let number = alice.number.parse().unwrap();
    account.register(&world.server(0), &number, Transport::Sms).await.unwrap();
    let code = verification_code(&alice.number).unwrap();
    let wrong = if code == "111111" { "222222" } else { "111111" };
    assert_eq!(account.verify(wrong).await, Err(RegisterError::WrongCode));
    for bad in ["", "abc", "../../v1/accounts", "1234567890123"] {
        assert_eq!(account.verify(bad).await, Err(RegisterError::WrongCode), "{bad}");
    }
    let refused = Client::open(account, Options::default()).await.unwrap_err();
    assert_eq!(refused.why, OpenError::NotRegistered);
    // The store is still open.
    refused.account.verify(&code).await.unwrap();
    Client::open(refused.account, Options::default()).await.unwrap();
}

#[tokio::test]
async fn too_many_attempts_have_to_wait() {
    let world = World::new().await;
    let alice = person("+14155550303");
    let account = alice.account();
    let number = alice.number.parse().unwrap();
    account.register(&world.server(0), &number, Transport::Sms).await.unwrap();
    account.register(&world.server(0), &number, Transport::Sms).await.unwrap();
    let limited = account.register(&world.server(0), &number, Transport::Sms).await.unwrap_err();
    let RegisterError::Request(RequestError::TooMany(pause)) = &limited else {
        panic!("{limited:?}");
    };
    assert!((20..=30).contains(&pause.as_secs()), "{limited}");
    assert!(limited.to_string().starts_with("too many requests: try again in"), "{limited}");
}

#[tokio::test]
async fn a_code_can_be_used_after_a_request_for_another_number_has_failed() {
    let mut world = World::new().await;
    let (alice, other) = (person("+14155550307"), person("+14155550308"));
    let (number, busy) = (alice.number.parse().unwrap(), other.number.parse().unwrap());
    let (server, account) = (world.server(0), alice.account());
    account.register(&server, &number, Transport::Sms).await.unwrap();
    let code = verification_code(&alice.number).unwrap();
    // Somebody else has asked for so many codes that the server refuses the next request.
    let elsewhere = other.account();
    for _ in 0..2 {
        elsewhere.register(&server, &busy, Transport::Sms).await.unwrap();
    }
    let refused = account.register(&server, &busy, Transport::Sms).await;
    assert!(matches!(refused, Err(RegisterError::Request(RequestError::TooMany(_)))));
    world.stop().await;
    let lost = account.register(&server, &busy, Transport::Sms).await;
    assert!(matches!(lost, Err(RegisterError::Request(RequestError::Connection(_)))), "{lost:?}");
    world.start().await;
    drop(account);

    // In another process.
    let account = alice.account();
    assert_eq!(account.state().await, Ok(AccountState::Pending(number.clone())));
    assert_eq!(account.verify(&code).await.unwrap().number, number);
}

#[tokio::test]
async fn a_second_code_for_the_same_account_is_for_the_same_password() {
    let world = World::new().await;
    for (number, apps, is_same) in [("+14155550309", [0, 0], true), ("+14155550310", [0, 1], false)]
    {
        let alice = person(number);
        let mut passwords = Vec::new();
        for app in apps {
            let (server, number) = (world.server(app), number.parse().unwrap());
            alice.account().register(&server, &number, Transport::Sms).await.unwrap();
            passwords.push(alice.registration().password);
        }
        assert_eq!(passwords[0] == passwords[1], is_same);
    }
}

#[tokio::test]
async fn a_wrong_app_token_is_reported() {
    let world = World::new().await;
    let alice = person("+14155550304");
    let account = alice.account();
    let number = alice.number.parse().unwrap();
    let right = world.server(0);
    let wrong = Server::new(right.url.clone())
        .with_app("com.one".parse().unwrap(), "0123".parse().unwrap());
    let refused = RegisterError::Request(RequestError::AppRefused);
    // No code was sent, and no attempt is used up.
    for _ in 0..5 {
        let error = account.register(&wrong, &number, Transport::Sms).await.unwrap_err();
        assert_eq!(error, refused);
    }
    account.register(&right, &number, Transport::Sms).await.unwrap();
    app_command(&world.database(), &["revoke", "com.one"]);
    let code = verification_code(&alice.number).unwrap();
    assert_eq!(account.verify(&code).await, Err(refused));
}

#[tokio::test]
async fn secrets_and_numbers_are_not_in_the_debug_form() {
    let world = World::new().await;
    let alice = world.register("+14155550306", 0).await;
    let (server, account) = (world.server(0), alice.account());
    let me = account.state().await.unwrap();
    let before = format!("{server:?} {account:?} {me:?}");
    let client = Client::open(account, Options::default()).await.unwrap();
    let shown = format!("{before} {client:?} {:?}", client.me());
    assert!(shown.contains("Token(…)") && !shown.contains("4155550306"), "{shown}");
}

#[tokio::test]
async fn an_address_without_a_service_is_reported() {
    let mut world = World::new().await;
    world.stop().await;
    let alice = person("+14155550305");
    let number = alice.number.parse().unwrap();
    let account = alice.account();
    let failed = account.register(&world.server(0), &number, Transport::Sms).await.unwrap_err();
    assert_eq!(failed.to_string(), "the server cannot be reached: connection refused");
}
