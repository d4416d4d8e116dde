//! The devices of an account: listed, named and removed.

use wormhole::chat::{Connection, DeviceError, DeviceId, Event, RequestError};

use crate::mailbox::Mailbox;
use crate::world::{World, next_event, next_message, say, soon};

fn device(number: u32) -> DeviceId {
    DeviceId::new(number).unwrap()
}

#[tokio::test]
async fn devices_are_listed_with_names_that_only_the_account_can_read() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550811", 0).await;
    let laptop = mailbox.link(&alice, "my laptop").await;
    let devices = alice.account().devices().await.unwrap();
    let shown: Vec<_> =
        devices.iter().map(|it| (it.device, it.name.as_deref(), it.is_this)).collect();
    assert_eq!(shown, [(device(1), None, true), (device(2), Some("my laptop"), false)]);
    assert!(devices.iter().all(|it| it.created.0 > 0 && it.last_seen.0 > 0));
    alice.account().name_device("phone").await.unwrap();
    let devices = laptop.account().devices().await.unwrap();
    assert_eq!((devices[0].name.as_deref(), devices[1].is_this), (Some("phone"), true));
    let too_long = laptop.account().name_device(&"x".repeat(101)).await;
    assert_eq!(too_long, Err(DeviceError::NameTooLong));
    let database = std::fs::read(world.database()).unwrap();
    for name in [&b"my laptop"[..], b"phone"] {
        assert!(!database.windows(name.len()).any(|window| window == name));
    }
}

#[tokio::test]
async fn a_removed_device_reads_nothing_later_and_learns_that_it_is_removed() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550812", "+14155550813"]).await;
    let laptop = mailbox.link(&alice, "laptop").await;
    let (b, l) = (bob.open().await, laptop.open().await);
    say(&b, &alice.destination(), "to both").await;
    let mut at_laptop = l.messages();
    let read = next_message(&mut at_laptop).await;
    l.done(read.id).await.unwrap();

    let refused = laptop.folder.0.join("store");
    assert!(refused.exists());
    alice.account().remove_device(device(2)).await.unwrap();
    let lost =
        |event: &Event| matches!(event, Event::Disconnected(RequestError::CredentialsRefused));
    next_event(&mut at_laptop, lost).await;
    let state = l.connection();
    assert_eq!(state, Connection::Disconnected(RequestError::CredentialsRefused));
    say(&b, &alice.destination(), "to the phone alone").await;
    let a = alice.open().await;
    let mut at_phone = a.messages();
    for text in ["to both", "to the phone alone"] {
        let message = next_message(&mut at_phone).await;
        assert_eq!(message.text.as_deref(), Some(text));
        a.done(message.id).await.unwrap();
    }
    l.close().await.unwrap();
    let listed = laptop.account().devices().await;
    assert_eq!(listed, Err(DeviceError::Request(RequestError::CredentialsRefused)));
}

#[tokio::test]
async fn only_the_primary_device_removes_others_and_it_cannot_be_removed() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550814", 0).await;
    let laptop = mailbox.link(&alice, "laptop").await;
    let tablet = mailbox.link(&alice, "tablet").await;
    let removed = async |person: &crate::world::Person, number| {
        soon(person.account().remove_device(device(number))).await
    };
    assert_eq!(removed(&laptop, 3).await, Err(DeviceError::NotPrimaryDevice));
    for person in [&alice, &laptop] {
        assert_eq!(removed(person, 1).await, Err(DeviceError::PrimaryDevice));
    }
    assert_eq!(removed(&alice, 4).await, Err(DeviceError::NoSuchDevice));
    assert_eq!(removed(&tablet, 3).await, Ok(()));
    assert_eq!(alice.account().devices().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_device_that_is_linked_again_under_the_same_number_gets_messages() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550815", "+14155550816"]).await;
    let laptop = mailbox.link(&alice, "laptop").await;
    let b = bob.open().await;
    say(&b, &alice.destination(), "to the laptop").await;
    alice.account().remove_device(device(2)).await.unwrap();
    let again = mailbox.link(&alice, "laptop").await;
    say(&b, &alice.destination(), "to the new laptop").await;
    let l = again.open().await;
    assert_eq!(l.me().address.device, device(2));
    let message = next_message(&mut l.messages()).await;
    assert_eq!(message.text.as_deref(), Some("to the new laptop"));
    drop(laptop);
}
