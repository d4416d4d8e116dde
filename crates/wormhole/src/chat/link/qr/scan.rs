//! The primary device of an account, which has scanned the QR code of a new one.

use std::time::Duration;

use rand_core::OsRng;
use tokio::time::{Instant, sleep};
use wormhole_chat::{Client as Core, DeviceId, ProfileKey, ProvisionMessage};

use super::super::host::{LinkedDevice, Pending, Withdrawal};
use super::super::uri::LinkUri;
use super::super::{AcceptLinkError, LinkPeerError};
use crate::chat::RequestError;
use crate::chat::account::{Account, service_of};
use crate::chat::devices::publish_list;
use crate::chat::store::Registration;

/// A new device whose QR code was scanned. If this is dropped before [`accept`](Self::accept), nothing is linked;
/// [`cancel`](Self::cancel) it if the future of `accept` is dropped.
/// The store of the account stays open until it is dropped.
#[derive(Debug)]
pub struct ScannedDevice {
    account: Account,
    core: Core,
    registration: Registration,
    profile_key: Option<ProfileKey>,
    pending: Pending,
    uri: LinkUri,
}

impl Account {
    /// Prepares to link the device that shows this code. This must be the primary device of the account.
    ///
    /// Ask the user first: the code must be on the screen of the user's own device. The person who made it gets the account.
    ///
    /// # Errors
    /// This store has no account, or another device than the first; the account has no room for another device; or the server
    /// cannot be asked.
    pub async fn scan(&self, uri: LinkUri) -> Result<ScannedDevice, AcceptLinkError> {
        let (registration, core) = self.registered().await?;
        if core.address().device != DeviceId::PRIMARY {
            return Err(AcceptLinkError::NotPrimaryDevice);
        }
        let pending = Pending::new(service_of(&registration, &self.network)?).await?;
        let profile = self.store.run(|store| store.own_profile()).await?;
        let profile_key = profile.map(|profile| profile.key);
        Ok(ScannedDevice { account: self.share(), core, registration, profile_key, pending, uri })
    }
}

impl ScannedDevice {
    /// Gives the account to the new device, and waits until the server has accepted it. The user of the new device is asked, too.
    ///
    /// # Errors
    /// The device is not linked. [`AcceptLinkError::KeyGiven`]: it may have the key of the account.
    pub async fn accept(&self) -> Result<LinkedDevice, AcceptLinkError> {
        let linked = match self.send().await {
            Ok(()) => self.wait().await,
            Err(error) => Err(error),
        };
        match linked {
            Ok(linked) => Ok(linked),
            Err(error) => Err(match self.pending.withdraw().await {
                Some(withdrawal) => AcceptLinkError::KeyGiven { cause: error.into(), withdrawal },
                None => error,
            }),
        }
    }

    async fn send(&self) -> Result<(), AcceptLinkError> {
        let service = &self.pending.service;
        let code = service.provisioning_code().await?;
        let message = self.core.provision(Some(self.registration.number.clone()), code);
        let message = ProvisionMessage { profile_key: self.profile_key.clone(), ..message };
        let sealed = message.seal(self.uri.key(), &mut OsRng);
        let sealed = sealed.map_err(|_| AcceptLinkError::InvalidKeys)?;
        self.pending.set_offered(true);
        match service.send_provisioning(self.uri.address(), &sealed).await {
            Err(RequestError::NotFound) => {
                // It was not delivered.
                self.pending.set_offered(false);
                Err(AcceptLinkError::NotWaiting)
            }
            sent => Ok(sent?),
        }
    }

    /// Waits until the server lists a new device.
    async fn wait(&self) -> Result<LinkedDevice, AcceptLinkError> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let devices = self.pending.service.devices().await?;
            if let Some(device) = self.pending.added(&devices).next() {
                self.pending.set_offered(false);
                return Ok(self.sign(device).await);
            }
            sleep(INTERVAL).await;
        }
        Err(LinkPeerError::Gone.into())
    }

    /// Signs the new device: another program does not know that it must sign itself. If this fails, the user can do it.
    async fn sign(&self, device: DeviceId) -> LinkedDevice {
        let named = self.uri.registration_id();
        let signed = publish_list(&self.account, &self.pending.service, &[(device, named)]).await;
        LinkedDevice::new(device, named, signed)
    }

    /// Gives the link up. Returns what has become of it, if the new device may have got the key of the account, unless
    /// [`accept`](Self::accept) has reported it.
    pub async fn cancel(self) -> Option<Withdrawal> {
        self.pending.withdraw().await
    }
}

/// How long the user of the new device may think.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often the server is asked whether the device is linked.
const INTERVAL: Duration = Duration::from_secs(1);
