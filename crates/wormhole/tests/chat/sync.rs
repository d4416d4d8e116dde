//! What one device of an account sends reaches the others.

use wormhole::chat::{Client, Message, ReceivedMessage};

use crate::mailbox::Mailbox;
use crate::world::{World, next_message, say, soon};

/// The next message, which is then done.
pub(crate) async fn take(client: &Client) -> ReceivedMessage {
    let message = next_message(&mut client.messages()).await;
    client.done(message.id).await.unwrap();
    message
}

#[tokio::test]
async fn a_message_of_one_device_is_shown_on_the_others_with_its_recipient() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550821", 0).await;
    let bob = world.register("+14155550822", 1).await;
    let laptop = mailbox.link(&alice, "laptop").await;
    let tablet = mailbox.link(&alice, "tablet").await;
    let (a, b) = (alice.open().await, bob.open().await);
    let mut sent = a.send(&bob.destination(), Message::text("from the phone")).await.unwrap();
    soon(sent.on_server()).await.unwrap();
    soon(a.synced()).await.unwrap();
    assert_eq!(a.outbox().await.unwrap(), []);
    for device in [&laptop, &tablet] {
        let client = device.open().await;
        let message = take(&client).await;
        let to = message.sent_to.unwrap();
        assert_eq!(
            (to.account, to.number.as_deref()),
            (sent.to().account().unwrap(), Some("+14155550822"))
        );
        assert_eq!(message.text.as_deref(), Some("from the phone"));
        assert_eq!(message.timestamp, sent.timestamp());
        assert_eq!(message.device, a.me().address.device);
        assert_eq!(message.from.account, a.me().address.account);
        say(&client, &bob.destination(), "from another device").await;
        soon(client.synced()).await.unwrap();
        client.close().await.unwrap();
    }
    for text in ["from the phone", "from another device", "from another device"] {
        let message = take(&b).await;
        assert_eq!((message.text.as_deref(), message.sent_to), (Some(text), None));
    }
    for _ in 0..2 {
        let message = take(&a).await;
        assert_eq!(message.text.as_deref(), Some("from another device"));
        assert!(message.sent_to.is_some());
    }
}

#[tokio::test]
async fn what_was_sent_while_the_own_devices_change_reaches_those_that_remain() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550823", 0).await;
    let bob = world.register("+14155550824", 1).await;
    let laptop = mailbox.link(&alice, "laptop").await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "one").await;
    soon(a.synced()).await.unwrap();
    let account = a.close().await.unwrap();
    // The server answers the next transcript with 410: another device has the number of the first laptop.
    account.remove_device(laptop.registration().account.unwrap().device).await.unwrap();
    drop(account);
    let second = mailbox.link(&alice, "second laptop").await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "two").await;
    soon(a.synced()).await.unwrap();
    let s = second.open().await;
    assert_eq!(take(&s).await.text.as_deref(), Some("two"));
    s.close().await.unwrap();
    // And without another device: nothing is left, and nothing has failed.
    let account = a.close().await.unwrap();
    account.remove_device(second.registration().account.unwrap().device).await.unwrap();
    drop(account);
    let a = alice.open().await;
    say(&a, &bob.destination(), "three").await;
    soon(a.synced()).await.unwrap();
    assert_eq!(a.failed().await.unwrap(), []);
    let b = bob.open().await;
    for text in ["one", "two", "three"] {
        assert_eq!(take(&b).await.text.as_deref(), Some(text));
    }
}

#[tokio::test]
async fn a_transcript_that_waits_survives_the_end_of_the_client_and_is_not_in_the_outbox() {
    let (mut world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550825", 0).await;
    let bob = world.register("+14155550826", 1).await;
    let laptop = mailbox.link(&alice, "laptop").await;
    let a = alice.open().await;
    say(&a, &bob.destination(), "one").await;
    a.close().await.unwrap();
    world.stop().await;
    assert_eq!(alice.account().outbox().await.unwrap().len(), 0);
    world.start().await;
    let a = alice.open().await;
    soon(a.synced()).await.unwrap();
    assert_eq!(take(&laptop.open().await).await.text.as_deref(), Some("one"));
}
