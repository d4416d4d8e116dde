//! Replies, reactions, edits, deletions, timers, receipts and typing.

use wormhole::chat::{
    Change, ChangeRefusal, Client, Destination, Event, HistoryMode, Message, MessageRef, Messages,
    QueueError, Quote, ReceiptKind, Timestamp,
};

use crate::mailbox::Mailbox;
use crate::world::{World, next_event, next_message, say, soon};

/// How others write to a client.
fn to(client: &Client) -> Destination {
    Destination::Account(client.me().address.account)
}

/// Sends a text, waits until it has arrived, and returns what identifies it.
async fn exchange(from: &Client, to: &Client, received: &mut Messages, text: &str) -> MessageRef {
    say(from, &self::to(to), text).await;
    let message = next_message(received).await;
    assert_eq!(message.text.as_deref(), Some(text));
    to.done(message.id).await.unwrap();
    message.reference()
}

/// The next receipt of a kind.
async fn receipt(messages: &mut Messages) -> (ReceiptKind, Vec<Timestamp>) {
    let event = next_event(messages, |event| matches!(event, Event::Receipt { .. })).await;
    let receipt = if let Event::Receipt { kind, messages, .. } = event {
        Some((kind, messages))
    } else {
        None
    };
    receipt.unwrap()
}

/// The next change that is neither a message nor an edit.
async fn change(messages: &mut Messages) -> (Event, Change) {
    let is_change = |event: &Event| {
        matches!(event, Event::Reaction { .. } | Event::Deleted(_) | Event::TimerChanged { .. })
    };
    let event = next_event(messages, is_change).await;
    let change = if let Event::Reaction { change, .. }
    | Event::Deleted(change)
    | Event::TimerChanged { change, .. } = &event
    {
        Some(Change::clone(change))
    } else {
        None
    };
    (event, change.unwrap())
}

#[tokio::test]
async fn reactions_edits_and_deletions_name_the_message_and_wait_for_the_application() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550861", "+14155550862"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let (mut to_alice, mut to_bob) = (a.messages(), b.messages());
    soon(a.resolve(&bob.destination())).await.unwrap();
    let hello = exchange(&a, &b, &mut to_bob, "helo").await;
    assert_eq!(hello.author, a.me().address.account);

    let quote =
        Quote { target: hello, text: Some("helo".into()), ranges: Vec::new(), files: Vec::new() };
    b.send(&to(&a), Message::text("hi").with_quote(quote.clone())).await.unwrap();
    let reply = next_message(&mut to_alice).await;
    assert_eq!(reply.quote, Some(quote));
    a.done(reply.id).await.unwrap();
    for emoji in [Some("👍".parse().unwrap()), None] {
        b.react(&to(&a), hello, emoji.clone()).await.unwrap();
        let (event, change) = change(&mut to_alice).await;
        let from = change.from.account;
        assert_eq!((change.target, from), (hello, b.me().address.account));
        assert!(matches!(event, Event::Reaction { emoji: shown, .. } if shown == emoji));
        a.done(change.id).await.unwrap();
    }
    a.edit(&to(&b), hello.timestamp, Message::text("hello")).await.unwrap();
    let is_edit = |event: &Event| matches!(event, Event::Edited { .. });
    let Event::Edited { target, message } = next_event(&mut to_bob, is_edit).await else {
        panic!("no edit")
    };
    assert_eq!((target, message.text.as_deref()), (hello, Some("hello")));
    assert!(message.timestamp > hello.timestamp);
    b.done(message.id).await.unwrap();
    a.delete(&to(&b), hello.timestamp).await.unwrap();
    // It is not done, so it comes again.
    for _ in 0..2 {
        let (event, change) = change(&mut b.messages()).await;
        assert!(matches!(event, Event::Deleted(_)) && change.target == hello);
    }
    let old = a.edit(&to(&b), Timestamp(1), Message::text("too late")).await;
    assert_eq!(old.map(drop), Err(QueueError::NotAllowed(ChangeRefusal::TooLate)));
    soon(a.close()).await.unwrap();
    soon(b.close()).await.unwrap();
    let b = bob.open().await;
    assert_eq!(change(&mut b.messages()).await.1.target, hello);
}

#[tokio::test]
async fn a_message_that_was_deleted_cannot_be_edited() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550871", "+14155550872"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    a.set_history_mode(HistoryMode::ALL).await.unwrap();
    let mut to_bob = b.messages();
    soon(a.resolve(&bob.destination())).await.unwrap();
    let hello = exchange(&a, &b, &mut to_bob, "helo").await;
    a.delete(&to(&b), hello.timestamp).await.unwrap();
    let edited = a.edit(&to(&b), hello.timestamp, Message::text("hello")).await;
    assert_eq!(edited.map(drop), Err(QueueError::NotAllowed(ChangeRefusal::Deleted)));
    // The next thing that Bob gets after the deletion is another message.
    assert!(matches!(change(&mut to_bob).await, (Event::Deleted(_), _)));
    exchange(&a, &b, &mut to_bob, "hello").await;
}

#[tokio::test]
async fn receipts_are_sent_only_to_people_to_whom_the_user_has_written() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550863", "+14155550864"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let (mut to_alice, mut to_bob) = (a.messages(), b.messages());
    soon(a.resolve(&bob.destination())).await.unwrap();
    let author = a.me().address.account;
    let one = exchange(&a, &b, &mut to_bob, "one").await;
    b.mark_read(author, vec![one]).await.unwrap();
    exchange(&b, &a, &mut to_alice, "who are you?").await;
    let two = exchange(&a, &b, &mut to_bob, "two").await;
    assert_eq!(receipt(&mut to_alice).await, (ReceiptKind::Delivery, vec![two.timestamp]));
    b.mark_read(author, vec![one, two]).await.unwrap();
    let both = vec![one.timestamp, two.timestamp];
    assert_eq!(receipt(&mut to_alice).await, (ReceiptKind::Read, both));

    b.set_read_receipts(false).await.unwrap();
    let three = exchange(&a, &b, &mut to_bob, "three").await;
    b.mark_read(author, vec![three]).await.unwrap();
    assert_eq!(receipt(&mut to_alice).await, (ReceiptKind::Delivery, vec![three.timestamp]));
    soon(b.synced()).await.unwrap();
    soon(b.close()).await.unwrap();
    let b = bob.open().await;
    assert!(!b.read_receipts().await.unwrap());
    b.set_read_receipts(true).await.unwrap();
    let four = exchange(&a, &b, &mut b.messages(), "four").await;
    assert_eq!(receipt(&mut to_alice).await, (ReceiptKind::Delivery, vec![four.timestamp]));
}

#[tokio::test]
async fn typing_is_shown_to_a_person_who_is_connected() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550865", "+14155550866"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let (mut to_alice, mut to_bob) = (a.messages(), b.messages());
    soon(a.resolve(&bob.destination())).await.unwrap();
    exchange(&a, &b, &mut to_bob, "one").await;
    exchange(&b, &a, &mut to_alice, "two").await;
    let (own, from) = (a.me().address.account, b.me().address.account);
    b.typing(own, true).await.unwrap();
    let event = next_event(&mut to_alice, |event| matches!(event, Event::Typing { .. })).await;
    assert_eq!(event, Event::Typing { from, group: None, started: true });
    b.typing(own, false).await.unwrap();
    let event = next_event(&mut to_alice, |event| matches!(event, Event::Typing { .. })).await;
    assert_eq!(event, Event::Typing { from, group: None, started: false });
    assert_eq!(b.outbox().await.unwrap(), []);
}

#[tokio::test]
async fn what_was_read_on_one_device_is_known_on_the_others() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550867", "+14155550868"]).await;
    let laptop = mailbox.link(&alice, "laptop").await;
    let (a, b) = (alice.open().await, bob.open().await);
    let mut to_alice = a.messages();
    say(&a, &bob.destination(), "one").await;
    soon(a.synced()).await.unwrap();
    let two = exchange(&b, &a, &mut to_alice, "two").await;
    a.mark_read(b.me().address.account, vec![two]).await.unwrap();
    soon(a.synced()).await.unwrap();
    let l = laptop.open().await;
    let is_read = |event: &Event| matches!(event, Event::ReadElsewhere(_));
    let event = next_event(&mut l.messages(), is_read).await;
    assert_eq!(event, Event::ReadElsewhere(vec![two]));
}

#[tokio::test]
async fn the_timer_of_a_conversation_is_in_all_messages_of_both_sides() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550869", "+14155550870"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    let mut to_alice = a.messages();
    soon(a.resolve(&bob.destination())).await.unwrap();
    a.set_timer(&to(&b), Some(60)).await.unwrap();
    say(&a, &to(&b), "one").await;
    let mut to_bob = b.messages();
    let message = next_message(&mut to_bob).await;
    assert_eq!(message.expire_timer, Some(60));
    // The change itself is not stored: nobody knew the sender when it arrived.
    let alices = a.me().address.account;
    assert_eq!(b.timer(alices).await, Ok(Some(60)));
    b.done(message.id).await.unwrap();
    drop(to_bob);
    soon(b.close()).await.unwrap();
    let b = bob.open().await;
    say(&b, &Destination::Account(alices), "two").await;
    assert_eq!(next_message(&mut to_alice).await.expire_timer, Some(60));
    b.set_timer(&Destination::Account(alices), None).await.unwrap();
    let (event, _) = change(&mut to_alice).await;
    assert!(matches!(event, Event::TimerChanged { seconds: None, .. }), "{event:?}");
    assert_eq!(a.timer(b.me().address.account).await, Ok(None));
}
