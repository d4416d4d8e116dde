//! Identity keys that change, and safety numbers.

use wormhole::chat::{
    DeliveryError, Event, IdentityError, Message, Progress, QueueError, ReadError, SendFailure,
};

use crate::world::{World, next_event, next_message, say, soon};

#[tokio::test]
async fn both_sides_see_the_same_safety_number() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550401", "+14155550402"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let (for_alice, for_bob) = (a.me().address.account, b.me().address.account);
    assert_eq!(a.safety_number(for_bob).await, Err(IdentityError::Unknown));
    say(&a, &bob.destination(), "hello").await;
    next_message(&mut b.messages()).await;
    let ours = a.safety_number(for_bob).await.unwrap();
    let theirs = b.safety_number(for_alice).await.unwrap();
    assert_eq!(ours.digits, theirs.digits);
    assert_eq!((ours.digits.len(), ours.is_verified, ours.is_new), (60, false, false));
    let wrong = "0".repeat(60);
    assert_eq!(a.verify_safety_number(for_bob, &wrong).await, Err(IdentityError::Mismatch));
    let [first, second] = theirs.words();
    let swapped = [second.clone(), first.clone()].concat().join(" ");
    assert_eq!(a.verify_safety_number(for_bob, &swapped).await, Err(IdentityError::Mismatch));
    a.verify_safety_number(for_bob, &[first, second].concat().join(" ")).await.unwrap();
    let spaced: Vec<_> = theirs.digits.as_bytes().chunks(5).map(String::from_utf8_lossy).collect();
    a.verify_safety_number(for_bob, &spaced.join(" ")).await.unwrap();
    a.close().await.unwrap();
    // The mark is stored.
    let a = alice.open().await;
    assert!(a.safety_number(for_bob).await.unwrap().is_verified);
    assert!(!b.safety_number(for_alice).await.unwrap().is_verified);
}

#[tokio::test]
async fn a_changed_identity_stops_messages_until_it_is_accepted() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550403", "+14155550404"]).await;
    let a = alice.open().await;
    let mut events = a.messages();
    say(&a, &bob.destination(), "before").await;
    let account = a.resolve(&bob.destination()).await.unwrap().account;
    let before = a.safety_number(account).await.unwrap();
    a.verify_safety_number(account, &before.digits).await.unwrap();

    // Bob registers again on a new phone.
    let bob = world.register("+14155550404", 1).await;
    let mut sent = a.send(&bob.destination(), Message::text("after")).await.unwrap();
    let blocked = soon(sent.on_server()).await.unwrap_err();
    let DeliveryError::IdentityChanged(key) = blocked else { panic!("{blocked}") };
    let event =
        next_event(&mut events, |event| matches!(event, Event::IdentityChanged { .. })).await;
    assert_eq!(event, Event::IdentityChanged { account, key });
    let after = a.safety_number(account).await.unwrap();
    assert!(after.is_new && !after.is_verified && after.digits != before.digits);
    assert_eq!(after.key, key);

    // It still waits after a restart.
    a.close().await.unwrap();
    let a = alice.open().await;
    let mut second = a.send(&bob.destination(), Message::text("waits, too")).await.unwrap();
    assert_eq!(soon(second.on_server()).await, Err(DeliveryError::IdentityChanged(key)));
    assert_eq!(a.outbox().await.unwrap().len(), 2);
    assert_eq!(a.accept_identity(account, before.key).await, Err(IdentityError::NotCurrent));
    a.accept_identity(account, key).await.unwrap();
    soon(second.on_server()).await.unwrap();
    assert_eq!(second.progress(), Progress::OnServer);
    let b = bob.open().await;
    let mut messages = b.messages();
    assert_eq!(next_message(&mut messages).await.text.as_deref(), Some("after"));
    assert_eq!(next_message(&mut messages).await.text.as_deref(), Some("waits, too"));
    assert!(!a.safety_number(account).await.unwrap().is_new);
}

#[tokio::test]
async fn nothing_is_sent_to_another_account_of_a_number_until_the_user_accepts_it() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550405", "+14155550406"]).await;
    let number = bob.destination();
    let a = alice.open().await;
    say(&a, &number, "before").await;
    let from = a.resolve(&number).await.unwrap().account;
    world.delete(&bob).await;
    let mallory = world.register("+14155550406", 1).await;
    let mut sent = a.send(&number, Message::text("for Bob")).await.unwrap();
    let failed = soon(sent.on_server()).await;
    assert_eq!(failed, Err(DeliveryError::Failed(SendFailure::NoDevice)));
    let m = mallory.open().await;
    let to = m.me().address.account;
    let moved = QueueError::NumberMoved { number: number.clone(), from, to };
    assert_eq!(a.send(&number, Message::text("for Bob, too")).await.unwrap_err(), moved);
    a.accept_number(&number, to).await.unwrap();
    a.close().await.unwrap();
    // It is stored.
    let a = alice.open().await;
    say(&a, &number, "for the new owner").await;
    let received = next_message(&mut m.messages()).await;
    assert_eq!(received.text.as_deref(), Some("for the new owner"));
}

#[tokio::test]
async fn a_forged_identity_can_be_refused() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550407", "+14155550408"]).await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "before").await;
    let account = a.resolve(&bob.destination()).await.unwrap().account;
    let before = a.safety_number(account).await.unwrap();
    a.verify_safety_number(account, &before.digits).await.unwrap();
    assert_eq!(before.accepted, None);

    // Somebody else registers the number again.
    let mallory = world.register("+14155550408", 1).await;
    let mut sent = a.send(&bob.destination(), Message::text("for Bob")).await.unwrap();
    let blocked = soon(sent.on_server()).await.unwrap_err();
    let DeliveryError::IdentityChanged(key) = blocked else { panic!("{blocked}") };
    let after = a.safety_number(account).await.unwrap();
    let accepted = after.accepted.unwrap();
    assert_eq!((&accepted.digits, accepted.key), (&before.digits, before.key));
    assert!(after.is_new && !after.is_verified && accepted.is_verified);
    // Bob still sees the old digits.
    let compared = a.verify_safety_number(account, &before.digits).await;
    assert_eq!(compared, Err(IdentityError::NewKeyNotTheirs));
    assert_eq!(a.refuse_identity(account, before.key).await, Err(IdentityError::NotCurrent));
    a.refuse_identity(account, key).await.unwrap();
    a.refuse_identity(account, key).await.unwrap();
    assert_eq!(
        soon(sent.on_server()).await,
        Err(DeliveryError::Failed(SendFailure::RefusedIdentity))
    );
    assert_eq!(a.identity_changes().await.unwrap(), []);
    let number = a.safety_number(account).await.unwrap();
    assert_eq!((number.key, number.is_verified, number.is_new), (before.key, true, false));
    // What it writes is not shown.
    let m = mallory.open().await;
    say(&m, &alice.destination(), "I am Bob").await;
    let unread =
        next_event(&mut a.messages(), |event| matches!(event, Event::NotRead { .. })).await;
    assert!(matches!(unread, Event::NotRead { why: ReadError::RefusedIdentity, .. }), "{unread:?}");

    // It was Bob after all.
    let [refused] = number.refused.as_slice() else { panic!("{number:?}") };
    assert_eq!((&refused.digits, refused.key), (&after.digits, key));
    let compared = a.verify_safety_number(account, &after.digits).await;
    assert_eq!(compared, Err(IdentityError::Refused(key)));
    a.accept_identity(account, key).await.unwrap();
    a.verify_safety_number(account, &after.digits).await.unwrap();
    let number = a.safety_number(account).await.unwrap();
    assert_eq!((number.key, number.is_verified, number.refused.len()), (key, true, 0));
    say(&a, &bob.destination(), "so it is you").await;
    say(&m, &alice.destination(), "yes").await;
    let read = next_event(&mut a.messages(), |event| matches!(event, Event::Message(_))).await;
    assert!(matches!(read, Event::Message(message) if message.text.as_deref() == Some("yes")));
}
