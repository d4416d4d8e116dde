//! New devices that get the key of an account and are not linked, or link themselves nevertheless.

use data_encoding::BASE64;
use rand_core::OsRng;
use wormhole::chat::{
    DeviceId, LinkError, LinkHost, LinkRefusal, LinkRequest, LinkedDevice, Withdrawal,
};
use wormhole::code::{AppId, Config, Wormhole};
use wormhole_chat::{KeyPair, LinkMessage, ProvisionMessage};

use crate::mailbox::Mailbox;
use crate::world::{Person, World, soon};

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
    async fn accept(&self) -> Result<LinkedDevice, LinkError> {
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
    ) -> (Result<LinkedDevice, LinkError>, ProvisionMessage) {
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

fn key_given(cause: LinkError, withdrawal: Withdrawal) -> LinkError {
    LinkError::KeyGiven { cause: cause.into(), withdrawal }
}

#[tokio::test]
async fn a_new_device_that_gives_up_with_the_key_cannot_use_the_code_any_more() {
    let mut link = Link::start("+14155550861").await;
    let (accepted, offer) = link.answer(LinkMessage::Refused(LinkRefusal::Cancelled)).await;
    let cause = LinkError::PeerRefused(LinkRefusal::Cancelled);
    assert_eq!(accepted, Err(key_given(cause, Withdrawal::Revoked)));
    assert_eq!(link.link_with(&offer).await, 403);
    assert_eq!(link.numbers().await, [1]);
    assert_eq!(link.cancel().await, None, "it was reported");
}

#[tokio::test]
async fn a_new_device_that_names_the_number_of_another_one_is_not_linked() {
    let link = Link::start("+14155550862").await;
    let (accepted, offer) = link.answer(LinkMessage::Linked(DeviceId::PRIMARY)).await;
    assert_eq!(accepted, Err(key_given(LinkError::NotListed, Withdrawal::Revoked)));
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
    let link = Link::start("+14155550864").await;
    let stranger = async {
        let offer = link.stranger.offer(&link.pair).await;
        assert_eq!(link.link_with(&offer).await, 200);
        link.stranger.send(&LinkMessage::Refused(LinkRefusal::Other)).await;
    };
    let (accepted, ()) = soon(async { tokio::join!(link.accept(), stranger) }).await;
    let second = DeviceId::new(2).unwrap();
    let cause = LinkError::PeerRefused(LinkRefusal::Other);
    assert_eq!(accepted, Err(key_given(cause, Withdrawal::Linked(second))));
    assert_eq!(link.numbers().await, [1, 2]);
}
