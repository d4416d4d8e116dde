//! The device that is linked to an account.

use std::sync::atomic::{AtomicBool, Ordering};

use data_encoding::BASE64;
use rand_core::{OsRng, RngCore as _};
use wormhole_chat::service::PhoneNumber;
use wormhole_chat::{
    Address, Identity, KeyPair, LinkMessage, LinkOffer, LinkRefusal, ProvisionMessage,
    seal_device_name,
};
use zeroize::Zeroizing;

use super::copy::Copied;
use super::{APP_ID, CopyError, LinkError, LinkPeerError, give_up, next, send};
use crate::chat::account::{Account, MAX_REGISTRATION_ID, password, service_of};
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::message::Me;
use crate::chat::peer_channel::{MailboxOptions, PERSON_TIMEOUT, PeerChannel};
use crate::chat::profile::OwnProfile;
use crate::chat::server::{Network, Server, ServerUrl};
use crate::chat::service::{Attributes, Service};
use crate::chat::store::{App, PendingLink, Registration, StoreError};
use crate::code::Code;

/// How a device is linked.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LinkOptions {
    /// Where the two devices meet.
    pub mailbox: MailboxOptions,
    /// How the user calls this device. The server cannot read it.
    pub name: Option<String>,
    /// The account must be at this server. `None`: wherever it is.
    pub server: Option<ServerUrl>,
    /// Permits a server on another computer without TLS: see [`Server::allow_plain_http`].
    pub allow_plain_http: bool,
}

/// A device that waits to be linked, under a code. If it is dropped, the code is useless; [`cancel`](Self::cancel) also tells the
/// other device.
#[derive(Debug)]
pub struct LinkGuest {
    account: Account,
    options: LinkOptions,
    channel: PeerChannel,
    /// Whether the primary device has announced a copy of its contacts and its history.
    will_copy: AtomicBool,
}

/// The account that the primary device offers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OfferedAccount {
    /// Its number, according to the primary device.
    pub number: PhoneNumber,
    /// The address of its server.
    pub server: ServerUrl,
    pending: PendingLink,
}

/// A link that was interrupted when the server may have accepted this device already.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct InterruptedLink {
    /// The number of the account.
    pub number: String,
    /// The address of its server.
    pub server: String,
}

impl Account {
    /// Prepares this device to become a device of an account that exists already: it waits under a new code, which the user
    /// passes to [`accept_link`](Self::accept_link) on the primary device of the account. Call [`finish_link`](Self::finish_link)
    /// before: this link replaces one that was interrupted, and the device that the server has perhaps accepted then stays in the
    /// list of the account.
    ///
    /// # Errors
    /// This store has an account already, or cannot be read.
    pub async fn link(&self, options: LinkOptions) -> Result<LinkGuest, LinkError> {
        self.check_unregistered().await?;
        let channel = PeerChannel::open(APP_ID, &options.mailbox, &self.network, None);
        let channel = channel.map_err(LinkPeerError::from)?;
        Ok(LinkGuest { account: self.share(), options, channel, will_copy: AtomicBool::new(false) })
    }

    /// Completes a link that was interrupted when the server may have accepted this device already. `None`: there was none, or
    /// the server has not accepted the device and never will, so that a new code is necessary.
    ///
    /// # Errors
    /// The server cannot be reached, this store has an account already, or cannot be used.
    pub async fn finish_link(&self) -> Result<Option<Me>, LinkError> {
        let Some(pending) = self.store.run(|store| store.pending_link()).await? else {
            return Ok(None);
        };
        self.check_unregistered().await?;
        match self.enter(pending).await {
            Ok(me) => Ok(Some(me)),
            Err(LinkError::Expired | LinkError::TooManyDevices) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The link that [`finish_link`](Self::finish_link) would complete.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn interrupted_link(&self) -> Result<Option<InterruptedLink>, StoreError> {
        let pending = self.store.run(|store| store.pending_link()).await?;
        Ok(pending.map(|PendingLink { registration, .. }| InterruptedLink {
            number: registration.number,
            server: registration.server,
        }))
    }

    /// Gives up a link that was interrupted. If the server has accepted this device already, the primary device lists it, and can
    /// [remove](Self::remove_device) it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn forget_link(&self) -> Result<(), StoreError> {
        self.store.run(|store| store.forget_link()).await
    }

    pub(super) async fn check_unregistered(&self) -> Result<(), LinkError> {
        let registration = self.store.run(|store| store.registration()).await?;
        let is_registered = registration.is_some_and(|it| it.account.is_some());
        if is_registered { Err(LinkError::AlreadyRegistered) } else { Ok(()) }
    }

    /// Stores what was offered, and becomes a device of the account.
    pub(super) async fn enter_new(&self, offered: OfferedAccount) -> Result<Me, LinkError> {
        let stored = offered.pending.clone();
        self.store.run(move |store| store.set_pending_link(&stored)).await?;
        self.enter(offered.pending).await
    }

    /// Asks the server to accept this device, and stores the account.
    async fn enter(&self, pending: PendingLink) -> Result<Me, LinkError> {
        let service = service_as(&pending, &self.network)?;
        let entered = request(&service, &pending).await;
        let device = match entered {
            Ok(device) => device,
            Err(error) => {
                if error.is_final() {
                    // It was never accepted, so nothing is left at the server.
                    self.store.run(|store| store.forget_link()).await?;
                }
                return Err(error);
            }
        };
        let PendingLink { registration, account, identity, profile_key, .. } = pending;
        let address = Address { account, device };
        let registration = Registration { account: Some(address), ..registration };
        let me = Me::from_registration(&registration).ok_or(LinkError::InvalidKeys)?;
        let identity = Identity { pair: identity, registration_id: registration.registration_id };
        let service = service_of(&registration, &self.network)?;
        let profile = profile_key.map(|key| OwnProfile::with_key(key, true));
        self.create(&service, registration, address, identity, profile).await?;
        Ok(me)
    }
}

impl LinkGuest {
    /// Waits until the mailbox server has allocated the code.
    ///
    /// # Errors
    /// The mailbox server cannot be used.
    pub async fn code(&self) -> Result<Code, LinkError> {
        Ok(self.channel.code().await.map_err(LinkPeerError::from)?)
    }

    /// Waits, indefinitely if necessary, until the primary device has used the code.
    ///
    /// # Errors
    /// The two sides have not met, in particular because of a wrong code.
    pub async fn met(&self) -> Result<(), LinkError> {
        Ok(self.channel.met().await.map_err(LinkPeerError::from)?)
    }

    /// Asks the primary device for the account. Nothing is stored yet: show its number to the user, because somebody else may have
    /// used the code to link this device to another account. The primary device waits for three minutes.
    ///
    /// # Errors
    /// The account cannot be used. [`cancel`](Self::cancel) the link.
    pub async fn offer(&self) -> Result<OfferedAccount, LinkError> {
        self.met().await?;
        let offered = self.request().await;
        self.report(offered.as_ref().err()).await;
        offered
    }

    /// Becomes a device of the account. When this returns, the account and its keys are in the store, and the server has accepted
    /// the device. Then [`close`](Self::close) the link. If the returned future is dropped, [`Account::finish_link`] may be
    /// able to complete it.
    ///
    /// # Errors
    /// The device is not linked. [`cancel`](Self::cancel) the link.
    pub async fn accept(&self, offered: OfferedAccount) -> Result<Me, LinkError> {
        let linked = self.account.enter_new(offered).await;
        if let Ok(me) = &linked {
            // If the primary device does not learn it, it can list its devices.
            let registration = self.account.store.run(|store| store.registration()).await;
            let registration_id = registration.ok().flatten().map(|it| it.registration_id);
            let device = me.address.device;
            let linked = LinkMessage::Linked { device, registration_id };
            let _sent = send(&self.channel, &linked).await;
        }
        self.report(linked.as_ref().err()).await;
        linked
    }

    /// [`offer`](Self::offer) and [`accept`](Self::accept), whatever the account is.
    ///
    /// # Errors
    /// Those of both.
    pub async fn complete(&self) -> Result<Me, LinkError> {
        let offered = self.offer().await?;
        self.accept(offered).await
    }

    /// Reports an error to the primary device.
    async fn report(&self, error: Option<&LinkError>) {
        if let Some(error) = error {
            let refused = LinkMessage::Refused(error.refusal());
            let _sent = send(&self.channel, &refused).await;
        }
    }

    /// Takes over the contacts and the history of the primary device, if it has announced that. The history is taken over only if
    /// this store keeps one: [`Account::set_history_mode`]. This device must be [linked](Self::complete).
    ///
    /// # Errors
    /// Not everything has arrived. This device is linked, and keeps what has arrived. [`Account::receive_copy`] can repeat it.
    pub async fn copy(&self) -> Result<Option<Copied>, CopyError> {
        if !self.will_copy.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.account.copy_from(&self.channel, &self.options.mailbox).await.map(Some)
    }

    async fn request(&self) -> Result<OfferedAccount, LinkError> {
        let pair = KeyPair::random(&mut OsRng);
        let name = self.options.name.clone();
        send(&self.channel, &LinkMessage::Request { key: *pair.public(), name, can_copy: true })
            .await?;
        let LinkMessage::Offer(offer) = next(&self.channel, PERSON_TIMEOUT).await? else {
            return Err(LinkPeerError::Unexpected.into());
        };
        self.will_copy.store(offer.will_copy, Ordering::Relaxed);
        let message = ProvisionMessage::open(&pair, &offer.envelope);
        let message = message.map_err(|_| LinkError::InvalidKeys)?;
        let pending = self.pending(offer, message)?;
        usable(pending, &self.account.network)
    }

    /// Creates the row that must be stored before the server is asked.
    fn pending(
        &self,
        offer: LinkOffer,
        message: ProvisionMessage,
    ) -> Result<PendingLink, LinkError> {
        let url: ServerUrl = offer.server.parse().map_err(|_| LinkError::InvalidKeys)?;
        if let Some(wanted) = self.options.server.as_ref().filter(|wanted| **wanted != url) {
            return Err(LinkError::OtherServer {
                wanted: wanted.to_string(),
                offered: url.to_string(),
            });
        }
        let server = Server::new(url.clone());
        let server = if self.options.allow_plain_http { server.allow_plain_http() } else { server };
        if !server.is_permitted() {
            return Err(LinkError::PlainHttp(url));
        }
        let app = offer.app.map(|(name, token)| App { name, token });
        let this = (self.options.name.as_deref(), random_registration_id());
        pending_link(&url, app, this, message)
    }

    /// Tells the primary device that this one gives up, and closes the wormhole.
    pub async fn cancel(self) {
        give_up(self.channel, LinkRefusal::Cancelled).await;
    }

    /// Delivers what the primary device must know, and closes the wormhole.
    pub async fn close(self) {
        self.channel.close().await;
    }
}

/// Draws a registration id for a new device.
pub(super) fn random_registration_id() -> u32 {
    OsRng.next_u32() % MAX_REGISTRATION_ID + 1
}

/// Creates the row that must be stored before the server is asked, for a device with this name and registration id.
pub(super) fn pending_link(
    url: &ServerUrl,
    app: Option<App>,
    (name, registration_id): (Option<&str>, u32),
    message: ProvisionMessage,
) -> Result<PendingLink, LinkError> {
    let ProvisionMessage { identity, number, code, account, profile_key, .. } = message;
    let sealed = name.and_then(|it| seal_device_name(it, identity.public(), &mut OsRng));
    Ok(PendingLink {
        registration: Registration {
            server: url.to_string(),
            app,
            number: number.ok_or(LinkError::InvalidKeys)?,
            password: password(),
            registration_id,
            account: None,
        },
        account: account.ok_or(LinkError::InvalidKeys)?,
        identity,
        code: Zeroizing::new(code),
        sealed_name: sealed.unwrap_or_default(),
        profile_key,
    })
}

/// Checks that nothing but the server can refuse the account: what is stored and can never be used would be in the way of every
/// later link.
pub(super) fn usable(pending: PendingLink, network: &Network) -> Result<OfferedAccount, LinkError> {
    let invalid = LinkError::InvalidKeys;
    let number = pending.registration.number.parse().map_err(|_| invalid.clone())?;
    let server = pending.registration.server.parse().map_err(|_| invalid.clone())?;
    let is_code = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let has_code =
        (1..=MAX_CODE).contains(&pending.code.len()) && pending.code.bytes().all(is_code);
    if !has_code || service_as(&pending, network).is_err() {
        return Err(invalid);
    }
    Ok(OfferedAccount { number, server, pending })
}

/// Longest code of the server. Ours have 32 characters.
const MAX_CODE: usize = 128;

/// The service, asked by a device that it has not accepted yet.
fn service_as(pending: &PendingLink, network: &Network) -> Result<Service, LinkError> {
    let registration = &pending.registration;
    let without = Registration { number: pending.account.to_string(), ..registration.clone() };
    Ok(service_of(&without, network)?)
}

async fn request(
    service: &Service,
    pending: &PendingLink,
) -> Result<wormhole_chat::DeviceId, LinkError> {
    let attributes = Attributes {
        name: (!pending.sealed_name.is_empty()).then(|| BASE64.encode(&pending.sealed_name)),
        ..Attributes::new(pending.registration.registration_id)
    };
    let linked = match service.link_device(&pending.code, &attributes).await {
        Ok(linked) => linked,
        // The device does not exist yet, so the credentials cannot be wrong.
        Err(RequestError::CredentialsRefused) => return Err(RequestError::AppRefused.into()),
        Err(error) => return Err(LinkError::from_request(error)),
    };
    let is_right = linked.uuid.is_none_or(|uuid| uuid == pending.account);
    is_right
        .then_some(linked.device)
        .ok_or_else(|| LinkError::Request(ServerFault::OtherAccount.into()))
}
