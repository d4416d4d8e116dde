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
    let [alice, bob] = world.register_in_both_apps(["+14155550821", "+14155550822"]).await;
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
    let [alice, bob] = world.register_in_both_apps(["+14155550823", "+14155550824"]).await;
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
    let [alice, bob] = world.register_in_both_apps(["+14155550825", "+14155550826"]).await;
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

#[tokio::test]
async fn a_decision_about_an_identity_key_is_made_on_all_devices() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550871", "+14155550872"]).await;
    let laptop = mailbox.link(&alice, "laptop").await;
    let (a, l, b) = (alice.open().await, laptop.open().await, bob.open().await);
    say(&b, &alice.destination(), "before").await;
    for client in [&a, &l] {
        take(client).await;
    }
    let account = b.me().address.account;
    b.close().await.unwrap();
    // Bob installs his program again.
    let bob = world.register("+14155550872", 1).await;
    let b = bob.open().await;
    assert_eq!(b.me().address.account, account);
    say(&b, &alice.destination(), "after").await;
    for client in [&a, &l] {
        assert!(take(client).await.identity_changed);
    }
    let number = a.safety_number(account).await.unwrap();
    assert!(number.is_new);
    a.verify_safety_number(account, &number.digits).await.unwrap();
    a.accept_identity(account, number.key).await.unwrap();
    // The laptop can write to Bob, once it has learned that.
    let accepted = async {
        loop {
            let known = l.safety_number(account).await.unwrap();
            if !known.is_new && known.accepted.is_none() && known.key == number.key {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(accepted).await;
    say(&l, &bob.destination(), "from the laptop").await;
    assert_eq!(take(&b).await.text.as_deref(), Some("from the laptop"));
}
