//! A new device is linked to an account with a code.

use std::time::Duration;

use rand_core::OsRng;
use wormhole::chat::{
    AcceptLinkError, AccountId, AccountState, DeviceId, LinkError, LinkPeerError, LinkRefusal,
    OpenError, RequestError, Withdrawal,
};
use wormhole::code::{self, AppId, Config, Wormhole};
use wormhole_chat::{KeyPair, LinkMessage, LinkOffer, ProvisionMessage};
use zeroize::Zeroizing;

use crate::kills::{killed, runtime};
use crate::mailbox::{Mailbox, digits};
use crate::proxy::Proxy;
use crate::world::{Folder, Person, World, next_message, register, say, soon};

fn device(number: u32) -> DeviceId {
    DeviceId::new(number).unwrap()
}

/// Somebody without an account.
fn nobody(number: &str) -> Person {
    Person { folder: Folder::new(), number: number.to_owned() }
}

#[tokio::test]
async fn both_devices_of_an_account_receive_and_send_as_the_same_person() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let [alice, bob] = world.register_in_both_apps(["+14155550801", "+14155550802"]).await;
    let (a, b) = (alice.open().await, bob.open().await);
    say(&a, &bob.destination(), "from the phone").await;
    assert_eq!(next_message(&mut b.messages()).await.device, device(1));
    a.close().await.unwrap();
    let laptop = mailbox.link(&alice, "laptop").await;

    let (a, l) = (alice.open().await, laptop.open().await);
    assert_eq!(a.me().address.account, l.me().address.account);
    assert_eq!((l.me().address.device, &l.me().number), (device(2), &a.me().number));
    let mut at_bob = b.messages();
    let first = next_message(&mut at_bob).await;
    b.done(first.id).await.unwrap();
    say(&b, &alice.destination(), "to both").await;
    for client in [&a, &l] {
        let message = next_message(&mut client.messages()).await;
        assert_eq!(message.text.as_deref(), Some("to both"));
    }
    say(&l, &bob.destination(), "from the laptop").await;
    let message = next_message(&mut at_bob).await;
    assert_eq!((message.device, message.from.account), (device(2), a.me().address.account));
    assert!(!message.identity_changed, "all devices have the key of the account");
    assert_eq!(digits(&a, b.me()).await, digits(&l, b.me()).await);
}

#[tokio::test]
async fn an_account_that_cannot_be_linked_says_why_before_the_code_is_used() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550803", 0).await;
    let code = || "4-purple-sausages-are-tasty".parse().unwrap();
    let options = mailbox.mailbox_options();
    let accepted = nobody("+14155550804").account().accept_link(code(), &options).await;
    assert_eq!(accepted.err(), Some(AcceptLinkError::Open(OpenError::NotRegistered)));
    let linked = alice.account().link(mailbox.options("phone")).await;
    assert_eq!(linked.err(), Some(LinkError::AlreadyRegistered));
    for number in 2..=6 {
        let linked = mailbox.link(&alice, "another").await;
        assert_eq!(linked.registration().account.unwrap().device, device(number));
        if number == 2 {
            let accepted = linked.account().accept_link(code(), &options).await;
            assert_eq!(accepted.err(), Some(AcceptLinkError::NotPrimaryDevice));
        }
    }
    let accepted = alice.account().accept_link(code(), &options).await;
    assert_eq!(accepted.err(), Some(AcceptLinkError::TooManyDevices));
}

#[tokio::test]
async fn a_wrong_code_links_nothing() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550805", 0).await;
    let laptop = nobody("");
    let linking = laptop.account().link(mailbox.options("laptop")).await.unwrap();
    let code = soon(linking.code()).await.unwrap();
    let wrong = format!("{}-wrong-words", code.nameplate()).parse().unwrap();
    let acceptance = alice.account().accept_link(wrong, &mailbox.mailbox_options()).await.unwrap();
    let (accepted, linked) =
        soon(async { tokio::join!(acceptance.request(), linking.complete()) }).await;
    let expected = LinkPeerError::Code(code::Error::WrongCode);
    assert_eq!(accepted.err(), Some(expected.clone().into()));
    assert_eq!(linked.err(), Some(expected.into()));
    drop((linking, acceptance));
    assert_eq!(laptop.account().state().await, Ok(AccountState::New));
    assert_eq!(alice.account().devices().await.unwrap().len(), 1);
    assert!(mailbox.try_link(&alice, &laptop, "laptop").await.is_ok());
}

#[tokio::test]
async fn a_side_that_cancels_or_wants_another_server_tells_the_other_one() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550806", 0).await;
    let laptop = nobody("");
    let linking = laptop.account().link(mailbox.options("laptop")).await.unwrap();
    let code = soon(linking.code()).await.unwrap();
    let acceptance = alice.account().accept_link(code, &mailbox.mailbox_options()).await.unwrap();
    let accept = async {
        assert_eq!(acceptance.request().await.unwrap().name.as_deref(), Some("laptop"));
        assert_eq!(acceptance.cancel().await, None);
    };
    let ((), linked) = soon(async { tokio::join!(accept, linking.complete()) }).await;
    assert_eq!(linked.err(), Some(LinkError::Peer(LinkPeerError::Refused(LinkRefusal::Cancelled))));
    drop(linking);

    let mut options = mailbox.options("laptop");
    options.server = Some("https://chat.example.org".parse().unwrap());
    let linking = laptop.account().link(options).await.unwrap();
    let code = soon(linking.code()).await.unwrap();
    let acceptance = alice.account().accept_link(code, &mailbox.mailbox_options()).await.unwrap();
    let accept = async { acceptance.accept(&acceptance.request().await.unwrap()).await };
    let (accepted, linked) = soon(async { tokio::join!(accept, linking.complete()) }).await;
    let cause = AcceptLinkError::Peer(LinkPeerError::Refused(LinkRefusal::OtherServer)).into();
    assert_eq!(
        accepted.err(),
        Some(AcceptLinkError::KeyGiven { cause, withdrawal: Withdrawal::Revoked })
    );
    assert!(matches!(linked, Err(LinkError::OtherServer { .. })), "{linked:?}");
    drop(acceptance);
    assert_eq!(alice.account().devices().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_device_that_was_stopped_when_the_server_had_accepted_it_completes_the_link() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let proxy = Proxy::start(world.address).await;
    let alice = register("+14155550807", &world.server_at(proxy.address, 0)).await;
    let laptop = nobody("");
    proxy.lose_answer_to("PUT /v1/devices/");
    let linked = mailbox.try_link(&alice, &laptop, "laptop").await;
    assert!(matches!(linked, Err(LinkError::Request(RequestError::Connection(_)))), "{linked:?}");
    assert_eq!(laptop.account().state().await, Ok(AccountState::New));
    let unreachable = laptop.account().finish_link().await;
    assert!(matches!(unreachable, Err(LinkError::Request(_))), "{unreachable:?}");

    proxy.open();
    let me = laptop.account().finish_link().await.unwrap().unwrap();
    assert_eq!(me.address.device, device(2));
    let devices = alice.account().devices().await.unwrap();
    assert_eq!(devices[1].name.as_deref(), Some("laptop"));
    assert_eq!(laptop.account().finish_link().await, Ok(None));
    assert!(matches!(laptop.account().state().await, Ok(AccountState::Registered(_))));
    assert_eq!(devices.len(), 2);
}

#[tokio::test]
async fn a_link_that_the_server_never_saw_is_forgotten() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let proxy = Proxy::start(world.address).await;
    let alice = register("+14155550808", &world.server_at(proxy.address, 0)).await;
    let laptop = nobody("");
    proxy.lose_answer_to("PUT /v1/devices/");
    assert!(mailbox.try_link(&alice, &laptop, "laptop").await.is_err());
    proxy.open();
    alice.account().remove_device(device(2)).await.unwrap();
    assert_eq!(laptop.account().finish_link().await, Ok(None));
    assert_eq!(
        mailbox.try_link(&alice, &laptop, "laptop").await.unwrap().address.device,
        device(2)
    );
}

#[tokio::test]
async fn a_link_that_was_interrupted_can_be_given_up() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let proxy = Proxy::start(world.address).await;
    let alice = register("+14155550809", &world.server_at(proxy.address, 0)).await;
    let laptop = nobody("");
    proxy.lose_answer_to("PUT /v1/devices/");
    assert!(mailbox.try_link(&alice, &laptop, "laptop").await.is_err());
    let interrupted = laptop.account().interrupted_link().await.unwrap().unwrap();
    assert_eq!(interrupted.number, alice.number);
    assert_eq!(interrupted.server, format!("http://{}", proxy.address));
    assert!(laptop.account().finish_link().await.is_err(), "the server cannot be reached");
    laptop.account().forget_link().await.unwrap();
    assert_eq!(laptop.account().interrupted_link().await, Ok(None));
    assert_eq!(laptop.account().finish_link().await, Ok(None));
    proxy.open();
    let linked = mailbox.try_link(&alice, &laptop, "laptop").await.unwrap();
    assert_eq!(linked.address.device, device(3), "the server has accepted the first attempt");
}

#[tokio::test]
async fn an_account_that_can_never_be_used_is_not_stored() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let laptop = nobody("");
    let token = |text: &str| Some(("com.one".to_owned(), Zeroizing::new(text.to_owned())));
    for (number, code, app) in [
        ("a number", "code", None),
        ("+14155550810", "a/code", None),
        ("+14155550810", "", None),
        ("+14155550810", "code", token("a\ntoken")),
    ] {
        let linking = laptop.account().link(mailbox.options("laptop")).await.unwrap();
        let first = Wormhole::create(Config {
            app_id: AppId::new("wormholeim.org/chat/link-device"),
            servers: mailbox.mailbox_options().servers,
            ..Config::default()
        });
        first.set_code(soon(linking.code()).await.unwrap()).unwrap();
        let message = ProvisionMessage {
            identity: KeyPair::random(&mut OsRng),
            number: Some(number.to_owned()),
            code: code.to_owned(),
            user_agent: None,
            profile_key: None,
            read_receipts: None,
            account: Some(AccountId::from_bytes([7; 16])),
        };
        let offer = async {
            let request = LinkMessage::decode(&first.receive_message().await.unwrap()).unwrap();
            let LinkMessage::Request { key, .. } = request else { panic!("{request:?}") };
            let envelope = message.seal(&key, &mut OsRng).unwrap();
            let server = format!("http://{}", world.address);
            let offer = LinkMessage::Offer(LinkOffer { envelope, server, app, will_copy: false });
            first.send_message(offer.encode().to_vec()).await.unwrap();
        };
        let ((), linked) = soon(async { tokio::join!(offer, linking.complete()) }).await;
        assert_eq!(linked.err(), Some(LinkError::InvalidKeys), "{number} {code}");
        drop(linking);
        assert_eq!(laptop.account().interrupted_link().await, Ok(None));
    }
}

#[tokio::test]
async fn a_new_device_sees_the_account_before_anything_is_stored() {
    let (world, mailbox) = (World::new().await, Mailbox::start().await);
    let alice = world.register("+14155550811", 0).await;
    let laptop = nobody("");
    let linking = laptop.account().link(mailbox.options("laptop")).await.unwrap();
    let code = soon(linking.code()).await.unwrap();
    let acceptance = alice.account().accept_link(code, &mailbox.mailbox_options()).await.unwrap();
    let accept = async { acceptance.accept(&acceptance.request().await.unwrap()).await };
    let look = async {
        let offered = linking.offer().await.unwrap();
        assert_eq!(offered.number.to_string(), alice.number);
        assert_eq!(offered.server.to_string(), format!("http://{}", world.address));
        linking.cancel().await;
    };
    let (accepted, ()) = soon(async { tokio::join!(accept, look) }).await;
    let cause = AcceptLinkError::Peer(LinkPeerError::Refused(LinkRefusal::Cancelled)).into();
    let withdrawal = Withdrawal::Revoked;
    assert_eq!(accepted.err(), Some(AcceptLinkError::KeyGiven { cause, withdrawal }));
    drop(acceptance);
    assert_eq!(laptop.account().interrupted_link().await, Ok(None));
    assert_eq!(alice.account().devices().await.unwrap().len(), 1);
}

#[test]
fn whoever_is_killed_at_any_moment_no_device_is_half_linked() {
    let servers = runtime();
    let (world, mailbox) = servers.block_on(async { (World::new().await, Mailbox::start().await) });
    for round in 0..4 {
        let alice = servers.block_on(world.register(&format!("+1415555085{round}"), 0));
        let laptop = nobody("");
        for _ in 0..4 {
            let life = runtime();
            // As every command does: first what was interrupted, then a new link.
            let link = async {
                if laptop.account().finish_link().await == Ok(None) {
                    drop(mailbox.try_link(&alice, &laptop, "laptop").await);
                }
            };
            life.block_on(killed(link, 300));
            life.shutdown_timeout(Duration::from_secs(10));
        }
        servers.block_on(async {
            // The next command first completes what was interrupted.
            let finished = laptop.account().finish_link().await;
            match finished {
                Ok(Some(_)) | Err(LinkError::AlreadyRegistered) => {}
                Ok(None) => match mailbox.try_link(&alice, &laptop, "laptop").await {
                    Ok(_) | Err(LinkError::AlreadyRegistered) => {}
                    Err(error) => panic!("{error}"),
                },
                Err(error) => panic!("{error}"),
            }
            assert_eq!(laptop.open().await.me().address.device, device(2));
            assert_eq!(alice.account().devices().await.unwrap().len(), 2);
        });
    }
}
