//! The primary device of an account, which links others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand_core::OsRng;
use tokio::time::timeout;
use wormhole_chat::{
    Client as Core, DeviceId, LinkMessage, LinkOffer, LinkRefusal, ProfileKey, ProvisionMessage,
    PublicKey,
};
use zeroize::Zeroizing;

use super::copy::Copied;
use super::{APP_ID, AcceptLinkError, CopyError, LinkPeerError, give_up, next, send};
use crate::chat::account::{Account, service_of};
use crate::chat::devices::{DeviceError, publish_list};
use crate::chat::history::HistoryMode;
use crate::chat::peer_channel::{MailboxOptions, PERSON_TIMEOUT, PROGRAM_TIMEOUT, PeerChannel};
use crate::chat::service::{ListedDevice, Service};
use crate::chat::store::Registration;
use crate::code::Code;

/// A link that the primary device accepts. If it is dropped before [`accept`](Self::accept), nothing is linked;
/// [`cancel`](Self::cancel) also tells the new device, and is necessary if the future of `accept` is dropped. The store of the
/// account stays open until it is dropped.
#[derive(Debug)]
pub struct LinkHost {
    account: Account,
    core: Core,
    registration: Registration,
    profile_key: Option<ProfileKey>,
    pending: Pending,
    channel: PeerChannel,
    mailbox: MailboxOptions,
    /// Whether a copy was promised to the new device.
    will_copy: bool,
}

/// The state of a link that was given up when the new device may have got the key of the account already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Withdrawal {
    /// The server has accepted the new device before, under this number. [Remove](Account::remove_device) it, or keep it.
    Linked(DeviceId),
    /// The server has not accepted the new device, and no longer will.
    Revoked,
    /// The server cannot be asked. It may have accepted the new device, or accept it within ten minutes.
    Unknown,
}

/// A device that asks to be linked. It has the same code.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LinkRequest {
    /// How its user calls it. Shorten and escape it before displaying it.
    pub name: Option<String>,
    key: PublicKey,
    can_copy: bool,
}

impl LinkRequest {
    /// Whether the device can take over contacts and the history: [`LinkHost::copy`].
    pub const fn can_copy(&self) -> bool {
        self.can_copy
    }
}

/// A device that was linked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LinkedDevice {
    /// Its number.
    pub device: DeviceId,
    /// Whether this device has signed it. Otherwise the user can do that ([`Account::sign_device`]), unless it signs itself.
    pub is_signed: bool,
    /// The registration id that was signed, if nobody but the server has named it.
    pub believed: Option<u32>,
}

impl LinkedDevice {
    /// A device that has `named` its registration id, and what has become of its signature.
    pub(super) fn new(
        device: DeviceId,
        named: Option<u32>,
        signed: Result<Vec<(DeviceId, u32)>, DeviceError>,
    ) -> Self {
        let is_signed = signed.is_ok();
        let signed = signed.unwrap_or_default().first().map(|(_, id)| *id);
        Self { device, is_signed, believed: signed.filter(|_| named.is_none()) }
    }
}

impl Account {
    /// Links the device that waits under this code to the account. This must be the primary device of the account.
    ///
    /// # Errors
    /// This store has no account, or another device than the first; the account has no room for another device; or the server
    /// cannot be asked. The code can still be used.
    pub async fn accept_link(
        &self,
        code: Code,
        mailbox: &MailboxOptions,
    ) -> Result<LinkHost, AcceptLinkError> {
        let (registration, core) = self.registered().await?;
        if core.address().device != DeviceId::PRIMARY {
            return Err(AcceptLinkError::NotPrimaryDevice);
        }
        let pending = Pending::new(service_of(&registration, &self.network)?).await?;
        let channel = PeerChannel::open(APP_ID, mailbox, &self.network, Some(code));
        let channel = channel.map_err(LinkPeerError::from)?;
        let profile = self.store.run(|store| store.own_profile()).await?;
        let profile_key = profile.map(|profile| profile.key);
        let mailbox = mailbox.clone();
        Ok(LinkHost {
            account: self.share(),
            core,
            registration,
            profile_key,
            pending,
            channel,
            mailbox,
            will_copy: false,
        })
    }
}

impl LinkHost {
    /// Announces that the new device gets a copy of the contacts and the history. Without this, it does not wait for one.
    #[must_use]
    pub fn with_copy(self) -> Self {
        Self { will_copy: true, ..self }
    }

    /// Sends the contacts of this account, and the part of its history that `history` selects, to the new device. It must be linked, and a copy
    /// [announced](Self::with_copy).
    ///
    /// # Errors
    /// Not everything was sent. The device is linked, and keeps what it has got. [`Account::send_copy`] can send it again.
    pub async fn copy(&self, account: &Account, history: HistoryMode) -> Result<Copied, CopyError> {
        account.copy_to(&self.channel, &self.mailbox, history).await
    }

    /// Waits for the new device.
    ///
    /// # Errors
    /// The two sides have not met, or do not fit together.
    pub async fn request(&self) -> Result<LinkRequest, AcceptLinkError> {
        self.channel.met().await.map_err(LinkPeerError::from)?;
        match next(&self.channel, PROGRAM_TIMEOUT).await? {
            LinkMessage::Request { key, name, can_copy } => Ok(LinkRequest { name, key, can_copy }),
            LinkMessage::Copy(_)
            | LinkMessage::Linked { .. }
            | LinkMessage::Offer(_)
            | LinkMessage::Ready(_)
            | LinkMessage::Refused(_) => Err(LinkPeerError::Unexpected.into()),
        }
    }

    /// Gives the account to the new device, and waits until the server has accepted it. If the returned future is dropped,
    /// [`cancel`](Self::cancel) the link: the new device may have got the account.
    ///
    /// # Errors
    /// The new device has not confirmed that it is linked. [`AcceptLinkError::KeyGiven`]: it may have the key of the account.
    pub async fn accept(&self, request: &LinkRequest) -> Result<LinkedDevice, AcceptLinkError> {
        match self.offer(request).await {
            Ok(linked) => Ok(linked),
            Err(error) => {
                let withdrawal = self.pending.withdraw().await;
                let refused = LinkMessage::Refused(error.refusal());
                let _sent = send(&self.channel, &refused).await;
                Err(match withdrawal {
                    Some(withdrawal) => {
                        AcceptLinkError::KeyGiven { cause: error.into(), withdrawal }
                    }
                    None => error,
                })
            }
        }
    }

    async fn offer(&self, request: &LinkRequest) -> Result<LinkedDevice, AcceptLinkError> {
        let service = &self.pending.service;
        let code = service.provisioning_code().await?;
        let message = self.core.provision(Some(self.registration.number.clone()), code);
        let message = ProvisionMessage { profile_key: self.profile_key.clone(), ..message };
        let offer = self.seal_offer(&message, request)?;
        self.pending.set_offered(true);
        send(&self.channel, &LinkMessage::Offer(offer)).await?;
        let LinkMessage::Linked { device, registration_id } =
            next(&self.channel, PERSON_TIMEOUT).await?
        else {
            return Err(LinkPeerError::Unexpected.into());
        };
        let devices = service.devices().await?;
        if !self.pending.added(&devices).any(|added| added == device) {
            return Err(AcceptLinkError::NotListed);
        }
        self.pending.set_offered(false);
        // It has signed itself, unless it could not reach the server.
        let sign = [(device, registration_id)];
        let signed = publish_list(&self.account, service, &sign).await;
        Ok(LinkedDevice::new(device, registration_id, signed))
    }

    fn seal_offer(
        &self,
        message: &ProvisionMessage,
        request: &LinkRequest,
    ) -> Result<LinkOffer, AcceptLinkError> {
        let envelope = message.seal(&request.key, &mut OsRng);
        let app = self.registration.app.as_ref();
        Ok(LinkOffer {
            envelope: envelope.map_err(|_| AcceptLinkError::InvalidKeys)?,
            server: self.registration.server.clone(),
            app: app.map(|app| (app.name.clone(), Zeroizing::new(app.token.to_string()))),
            will_copy: self.will_copy && request.can_copy,
        })
    }

    /// Tells the new device that it is not linked, and closes the wormhole. Returns what has become of the link, if the new
    /// device may have got the key of the account, unless [`accept`](Self::accept) has reported it.
    pub async fn cancel(self) -> Option<Withdrawal> {
        let withdrawal = self.pending.withdraw().await;
        give_up(self.channel, LinkRefusal::Cancelled).await;
        withdrawal
    }

    /// Closes the wormhole.
    pub async fn close(self) {
        self.channel.close().await;
    }
}

/// A link whose new device may have got the key of the account.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) service: Service,
    /// The devices of the account before.
    listed: Vec<ListedDevice>,
    /// Whether the new device may have got the key of the account, and is not linked.
    has_offered: AtomicBool,
}

impl Pending {
    /// Checks that the account has room for another device.
    pub(super) async fn new(service: Service) -> Result<Self, AcceptLinkError> {
        let listed = service.devices().await?;
        if listed.len() >= MAX_DEVICES {
            return Err(AcceptLinkError::TooManyDevices);
        }
        Ok(Self { service, listed, has_offered: AtomicBool::new(false) })
    }

    pub(super) fn set_offered(&self, has_offered: bool) {
        self.has_offered.store(has_offered, Ordering::Relaxed);
    }

    /// The devices that the account did not have before. Numbers are used again.
    pub(super) fn added(&self, now: &[ListedDevice]) -> impl Iterator<Item = DeviceId> {
        let is_same = |one: &ListedDevice, it: &ListedDevice| {
            (one.device, one.created) == (it.device, it.created)
        };
        let is_new = move |it: &&ListedDevice| !self.listed.iter().any(|one| is_same(one, it));
        now.iter().filter(is_new).map(|it| it.device)
    }

    /// Makes the code of the server useless, if the new device may have got it. `None`: it has not.
    pub(super) async fn withdraw(&self) -> Option<Withdrawal> {
        if !self.has_offered.swap(false, Ordering::Relaxed) {
            return None;
        }
        let withdrawal = timeout(WITHDRAWAL_PATIENCE, self.replace_code()).await;
        Some(withdrawal.ok().and_then(Result::ok).unwrap_or(Withdrawal::Unknown))
    }

    async fn replace_code(&self) -> Result<Withdrawal, AcceptLinkError> {
        // A new code replaces the one that was given away. A full account gets no new code: the new device has used the old one.
        match self.service.provisioning_code().await.map_err(AcceptLinkError::from) {
            Ok(_) | Err(AcceptLinkError::TooManyDevices) => {}
            Err(error) => return Err(error),
        }
        let devices = self.service.devices().await?;
        Ok(self.added(&devices).next().map_or(Withdrawal::Revoked, Withdrawal::Linked))
    }
}

/// How long the server may take to replace a code. The user waits for it after Ctrl-C.
const WITHDRAWAL_PATIENCE: Duration = Duration::from_secs(10);

/// Maximum number of devices of an account, as the server counts them.
const MAX_DEVICES: usize = 6;
