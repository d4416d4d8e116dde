//! A new device is linked to an account with a QR code, over the service.

use wormhole::chat::{AcceptLinkError, AccountState, DeviceId, LinkError, LinkUri};
use wormhole_chat::KeyPair;

use crate::world::{Folder, Person, World, next_message, say, soon};

/// Somebody without an account.
fn nobody() -> Person {
    Person { folder: Folder::new(), number: String::new() }
}

#[tokio::test]
async fn a_device_whose_qr_code_is_scanned_is_a_device_of_the_account() {
    let world = World::new().await;
    let [alice, bob] = world.register_in_both_apps(["+14155550861", "+14155550862"]).await;
    let laptop = nobody();
    let linking = laptop.account().link_by_qr(world.server(0), Some("laptop".to_owned())).await;
    let mut linking = linking.unwrap();
    let uri: LinkUri = linking.uri().to_older_text().parse().unwrap();
    assert_eq!(&uri, linking.uri());
    let scanned = alice.account().scan(uri).await.unwrap();
    let link = async {
        let offered = linking.offer().await.unwrap();
        assert_eq!(offered.number.as_str(), alice.number);
        linking.accept(offered).await.unwrap()
    };
    let (accepted, me) = soon(async { tokio::join!(scanned.accept(), link) }).await;
    let device = DeviceId::new(2).unwrap();
    assert_eq!((accepted.unwrap().device, me.address.device), (device, device));
    drop((linking, scanned));
    let listed = alice.account().devices().await.unwrap();
    assert_eq!(
        listed.iter().map(|it| it.name.as_deref()).collect::<Vec<_>>(),
        [None, Some("laptop")]
    );

    let (laptop, b) = (laptop.open().await, bob.open().await);
    say(&b, &alice.destination(), "to both").await;
    let message = next_message(&mut laptop.messages()).await;
    assert_eq!(message.text.as_deref(), Some("to both"));
    say(&laptop, &bob.destination(), "from the laptop").await;
    assert_eq!(next_message(&mut b.messages()).await.device, device);
}

#[tokio::test]
async fn a_qr_code_that_nobody_shows_any_more_gives_nothing_away() {
    let world = World::new().await;
    let alice = world.register("+14155550863", 0).await;
    let key = *KeyPair::random(&mut rand_core::OsRng).public();
    let uri = LinkUri::new("AAAAAAAAAAAAAAAAAAAAAA", key).unwrap();
    let scanned = alice.account().scan(uri).await.unwrap();
    assert_eq!(soon(scanned.accept()).await.err(), Some(AcceptLinkError::NotWaiting));
    assert_eq!(scanned.cancel().await, None);
    let linked = alice.account().link_by_qr(world.server(0), None).await;
    assert_eq!(linked.err(), Some(LinkError::AlreadyRegistered));
}

#[tokio::test]
async fn attack_13_a_qr_code_that_is_used_by_a_stranger_links_nothing_without_the_user() {
    let world = World::new().await;
    let mallory = world.register("+14155550864", 0).await;
    let laptop = nobody();
    let mut linking = laptop.account().link_by_qr(world.server(0), None).await.unwrap();
    let scanned = mallory.account().scan(linking.uri().clone()).await.unwrap();
    let accepting = tokio::spawn(async move { scanned.accept().await });
    let offered = soon(linking.offer()).await.unwrap();
    assert_eq!(offered.number.as_str(), mallory.number, "the user sees whose account it is");
    drop((offered, linking));
    assert_eq!(laptop.account().state().await, Ok(AccountState::New));
    accepting.abort();
    assert!(accepting.await.is_err(), "it would still wait for the device");
    assert_eq!(mallory.account().devices().await.unwrap().len(), 1);
}
