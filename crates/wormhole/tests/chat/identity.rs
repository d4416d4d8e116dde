//! Identity keys that change, and safety numbers.

use wormhole::chat::{
    DeliveryError, Event, HistoryMode, IdentityError, Message, MessageRef, Progress, QueueError,
    ReadError, SendFailure,
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

#[tokio::test]
async fn attack_6_an_identity_key_that_is_not_accepted_changes_no_earlier_message_and_no_timer() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550409", "+14155550410"]).await;
    alice.account().set_history_mode(HistoryMode::ALL).await.unwrap();
    let (a, b) = (alice.open().await, bob.open().await);
    let mut events = a.messages();
    let (to_alice, from) = (alice.destination(), b.me().address.account);
    say(&a, &bob.destination(), "hello Bob").await;
    next_message(&mut b.messages()).await;
    say(&b, &to_alice, "see you at three").await;
    let original = next_message(&mut events).await;
    a.done(original.id).await.unwrap();
    soon(b.close()).await.unwrap();

    // Somebody else has Bob's number now, and knows when his messages were sent.
    let mallory = world.register("+14155550410", 1).await;
    let m = mallory.open().await;
    assert_eq!(m.me().address.account, from);
    let attack = async || {
        let of_bob = MessageRef { author: from, timestamp: original.timestamp };
        m.edit(&to_alice, of_bob.timestamp, Message::text("see you at nine")).await.unwrap();
        m.react(&to_alice, of_bob, Some("👍".parse().unwrap())).await.unwrap();
        m.set_timer(&to_alice, Some(1)).await.unwrap();
        m.delete(&to_alice, of_bob.timestamp).await.unwrap();
        say(&m, &to_alice, "new words").await;
    };
    attack().await;
    let is_refused =
        |event: &Event| matches!(event, Event::NotRead { why: ReadError::UnacceptedIdentity, .. });
    next_event(&mut events, is_refused).await;
    let is_new = |event: &Event| {
        assert!(!is_change(event), "{event:?}");
        let Event::Message(message) = event else { return false };
        assert!(message.identity_changed);
        message.text.as_deref() == Some("new words")
    };
    next_event(&mut events, is_new).await;
    let known = async |timestamp| {
        let history = a.history(None, None, 10).await.unwrap();
        history.into_iter().find(|it| it.timestamp == timestamp).unwrap()
    };
    let unchanged = known(original.timestamp).await;
    assert_eq!(unchanged.text.as_deref(), Some("see you at three"));
    assert!(unchanged.reactions.is_empty());
    assert_eq!(a.timer(from).await, Ok(None));

    // It was Bob, with a new phone.
    let number = a.safety_number(from).await.unwrap();
    a.accept_identity(from, number.key).await.unwrap();
    attack().await;
    next_event(&mut events, |event| matches!(event, Event::Deleted(_))).await;
    assert_eq!(a.timer(from).await, Ok(Some(1)));
}

fn is_change(event: &Event) -> bool {
    matches!(
        event,
        Event::Deleted(_)
            | Event::Edited { .. }
            | Event::Reaction { .. }
            | Event::TimerChanged { .. }
    )
}
