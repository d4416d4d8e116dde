//! New devices that get the key of an account and are not linked, or link themselves nevertheless.

use data_encoding::BASE64;
use rand_core::OsRng;
use wormhole::chat::{
    AcceptLinkError, Address, DeviceError, DeviceId, Event, LinkHost, LinkPeerError, LinkRefusal,
    LinkRequest, LinkedDevice, Withdrawal,
};
use wormhole::code::{AppId, Config, Wormhole};
use wormhole_chat::{KemPreKey, KeyPair, LinkMessage, ProvisionMessage, SignedPreKey, Timestamp};

use crate::mailbox::Mailbox;
use crate::world::{Person, World, next_event, next_message, say, soon};

/// A new device that does not do what it should.
struct Stranger {
    wormhole: Wormhole,
}

/// A primary device, a new one, and the request of the new one.
struct Link {
    world: World,
    _mailbox: Mailbox,
    alice: Person,
    acceptance: Option<LinkHost>,
    request: LinkRequest,
    stranger: Stranger,
    pair: KeyPair,
}

impl Stranger {
    async fn send(&self, message: &LinkMessage) {
        self.wormhole.send_message(message.encode().to_vec()).await.unwrap();
    }

    /// The keys of the account, with the code of the server.
    async fn offer(&self, pair: &KeyPair) -> ProvisionMessage {
        let bytes = soon(self.wormhole.receive_message()).await.unwrap();
        let message = LinkMessage::decode(&bytes).unwrap();
        let offer = if let LinkMessage::Offer(offer) = message { Some(offer) } else { None };
        ProvisionMessage::open(pair, &offer.unwrap().envelope).unwrap()
    }
}

impl Link {
    async fn start(number: &str) -> Self {
        let (world, mailbox) = (World::new().await, Mailbox::start().await);
        let alice = world.register(number, 0).await;
        let wormhole = Wormhole::create(Config {
            app_id: AppId::new("wormholeim.org/chat/link-device"),
            servers: mailbox.mailbox_options().servers,
            ..Config::default()
        });
        wormhole.allocate_code(2.try_into().unwrap()).unwrap();
        let code = soon(wormhole.code()).await.unwrap();
        let acceptance =
            alice.account().accept_link(code, &mailbox.mailbox_options()).await.unwrap();
        let (stranger, pair) = (Stranger { wormhole }, KeyPair::random(&mut OsRng));
        stranger
            .send(&LinkMessage::Request { key: *pair.public(), name: None, can_copy: false })
            .await;
        let request = soon(acceptance.request()).await.unwrap();
        let acceptance = Some(acceptance);
        Self { world, _mailbox: mailbox, alice, acceptance, request, stranger, pair }
    }

    /// The primary device gives the account to the new one.
    async fn accept(&self) -> Result<LinkedDevice, AcceptLinkError> {
        self.acceptance.as_ref().unwrap().accept(&self.request).await
    }

    /// The user of the primary device cancels.
    async fn cancel(&mut self) -> Option<Withdrawal> {
        soon(self.acceptance.take().unwrap().cancel()).await
    }

    /// The primary device accepts, and the new one answers the offer with this message. Returns the keys, too.
    async fn answer(
        &self,
        message: LinkMessage,
    ) -> (Result<LinkedDevice, AcceptLinkError>, ProvisionMessage) {
        let stranger = async {
            let offer = self.stranger.offer(&self.pair).await;
            self.stranger.send(&message).await;
            offer
        };
        soon(async { tokio::join!(self.accept(), stranger) }).await
    }

    /// The status of the server's answer if the new device uses the code that it has got.
    async fn link_with(&self, offer: &ProvisionMessage) -> u16 {
        let login = format!("{}:a random password", offer.account.unwrap());
        let path = format!("/v1/devices/{}", offer.code);
        let body = r#"{"registrationId":77,"fetchesMessages":true}"#;
        self.world.put_as(&BASE64.encode(login.as_bytes()), &path, body).await
    }

    async fn numbers(&self) -> Vec<u8> {
        let devices = self.alice.account().devices().await.unwrap();
        devices.iter().map(|device| device.device.number()).collect()
    }
}

fn key_given(cause: AcceptLinkError, withdrawal: Withdrawal) -> AcceptLinkError {
    AcceptLinkError::KeyGiven { cause: cause.into(), withdrawal }
}

#[tokio::test]
async fn a_new_device_that_gives_up_with_the_key_cannot_use_the_code_any_more() {
    let mut link = Link::start("+14155550861").await;
    let (accepted, offer) = link.answer(LinkMessage::Refused(LinkRefusal::Cancelled)).await;
    let cause = AcceptLinkError::Peer(LinkPeerError::Refused(LinkRefusal::Cancelled));
    assert_eq!(accepted, Err(key_given(cause, Withdrawal::Revoked)));
    assert_eq!(link.link_with(&offer).await, 403);
    assert_eq!(link.cancel().await, None, "it was reported");
    assert_eq!(link.numbers().await, [1]);
}

#[tokio::test]
async fn a_new_device_that_names_the_number_of_another_one_is_not_linked() {
    let link = Link::start("+14155550862").await;
    let (accepted, offer) =
        link.answer(LinkMessage::Linked { device: DeviceId::PRIMARY, registration_id: None }).await;
    assert_eq!(accepted, Err(key_given(AcceptLinkError::NotListed, Withdrawal::Revoked)));
    assert_eq!(link.link_with(&offer).await, 403);
}

#[tokio::test]
async fn a_link_that_is_cancelled_after_the_offer_is_withdrawn() {
    let mut link = Link::start("+14155550863").await;
    let offer = tokio::select! {
        accepted = link.accept() => panic!("{accepted:?}"),
        offer = link.stranger.offer(&link.pair) => offer,
    };
    assert_eq!(link.cancel().await, Some(Withdrawal::Revoked));
    assert_eq!(link.link_with(&offer).await, 403);
    assert_eq!(link.numbers().await, [1]);
}

#[tokio::test]
async fn a_new_device_that_links_itself_and_says_otherwise_is_reported() {
    let mut link = Link::start("+14155550864").await;
    let stranger = async {
        let offer = link.stranger.offer(&link.pair).await;
        assert_eq!(link.link_with(&offer).await, 200);
        link.stranger.send(&LinkMessage::Refused(LinkRefusal::Other)).await;
    };
    let (accepted, ()) = soon(async { tokio::join!(link.accept(), stranger) }).await;
    let second = DeviceId::new(2).unwrap();
    let cause = AcceptLinkError::Peer(LinkPeerError::Refused(LinkRefusal::Other));
    assert_eq!(accepted, Err(key_given(cause, Withdrawal::Linked(second))));
    link.acceptance = None;
    assert_eq!(link.numbers().await, [1, 2]);
}

#[tokio::test]
async fn attack_9_a_device_that_nobody_has_signed_is_shown_and_gets_nothing_until_it_is_signed() {
    let mut link = Link::start("+14155550865").await;
    let stranger = async {
        let offer = link.stranger.offer(&link.pair).await;
        assert_eq!(link.link_with(&offer).await, 200);
        link.stranger.send(&LinkMessage::Refused(LinkRefusal::Other)).await;
        offer
    };
    let (_, offer) = soon(async { tokio::join!(link.accept(), stranger) }).await;
    link.acceptance = None;
    link.publish_keys(&offer).await;
    assert_eq!(link.are_signed().await, [true, false]);

    let (alice, second) = (&link.alice, DeviceId::new(2).unwrap());
    let bob = link.world.register("+14155550866", 1).await;
    let b = bob.open().await;
    let mut at_bob = b.messages();
    for text in ["to the phone", "alone"] {
        say(&b, &alice.destination(), text).await;
    }
    let is_unsigned = |event: &Event| matches!(event, Event::UnsignedDevice { .. });
    let shown = next_event(&mut at_bob, is_unsigned).await;
    let account = offer.account.unwrap();
    assert_eq!(shown, Event::UnsignedDevice { device: Address { account, device: second } });
    assert_eq!(link.queue_of_second(&offer).await, 0);
    // The user's own device says it, too.
    let a = alice.open().await;
    let mut at_alice = a.messages();
    next_event(&mut at_alice, is_unsigned).await;
    a.close().await.unwrap();

    let missing = soon(alice.account().sign_device(DeviceId::new(5).unwrap(), None)).await;
    assert_eq!(missing, Err(DeviceError::NoSuchDevice));
    soon(alice.account().sign_device(second, None)).await.unwrap();
    assert_eq!(link.are_signed().await, [true, true]);
    say(&b, &alice.destination(), "to both").await;
    assert_eq!(link.queue_of_second(&offer).await, 1);
    let a = alice.open().await;
    let mut at_alice = a.messages();
    for text in ["to the phone", "alone", "to both"] {
        let message = next_message(&mut at_alice).await;
        assert_eq!(message.text.as_deref(), Some(text));
        a.done(message.id).await.unwrap();
    }
}

impl Link {
    /// The second device publishes keys as a program that knows no lists.
    async fn publish_keys(&self, offer: &ProvisionMessage) {
        let (identity, mut rng) = (&offer.identity, OsRng);
        let signed = SignedPreKey::random(1, identity, Timestamp(1), &mut rng);
        let kem = KemPreKey::random(1, true, identity, Timestamp(1), &mut rng);
        let key = |id: u32, key: &[u8], signature: &[u8]| {
            let (key, signature) = (BASE64.encode(key), BASE64.encode(signature));
            format!(r#"{{"keyId":{id},"publicKey":"{key}","signature":"{signature}"}}"#)
        };
        let body = format!(
            r#"{{"identityKey":"{}","signedPreKey":{},"preKeys":[],"pqLastResortPreKey":{}}}"#,
            BASE64.encode(&identity.public().encode()),
            key(1, &signed.pair.public().encode(), &signed.signature.0),
            key(1, &kem.pair.public().encode(), &kem.signature.0),
        );
        assert_eq!(self.world.put_as(&second_login(offer), "/v2/keys", &body).await, 200);
    }

    /// The number of messages that wait for the second device.
    async fn queue_of_second(&self, offer: &ProvisionMessage) -> i64 {
        let database = rusqlite::Connection::open(self.world.database()).unwrap();
        let sql = "SELECT count(*) FROM messages m JOIN devices d ON d.key = m.device
            JOIN accounts a ON a.key = d.account WHERE a.id = ? AND d.number = 2";
        let id = offer.account.unwrap();
        database.query_row(sql, [id.as_bytes()], |row| row.get(0)).unwrap()
    }

    async fn are_signed(&self) -> Vec<bool> {
        let devices = self.alice.account().devices().await.unwrap();
        devices.iter().map(|device| device.is_signed).collect()
    }
}

fn second_login(offer: &ProvisionMessage) -> String {
    BASE64.encode(format!("{}.2:a random password", offer.account.unwrap()).as_bytes())
}
