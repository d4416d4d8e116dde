//! The first device of an account, which links others.

use rand_core::OsRng;
use wormhole_chat::{
    Client as Core, DeviceId, LinkMessage, LinkOffer, LinkRefusal, ProvisionMessage, PublicKey,
};
use zeroize::Zeroizing;

use super::{APP_ID, LinkError, give_up, next, send};
use crate::chat::account::{Account, service_of};
use crate::chat::room::{Meeting, QUICK, Room, SLOW};
use crate::chat::service::Service;
use crate::chat::store::Registration;
use crate::code::Code;

/// A link that the first device accepts. If it is dropped, nothing is linked; [`cancel`](Self::cancel) also tells the new
/// device.
#[derive(Debug)]
pub struct Acceptance {
    core: Core,
    registration: Registration,
    service: Service,
    room: Room,
}

/// A device that asks to be linked. It has the same code.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LinkRequest {
    /// How its user calls it. Shorten and escape it before displaying it.
    pub name: Option<String>,
    key: PublicKey,
}

/// A device that was linked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct LinkedDevice {
    /// Its number.
    pub device: DeviceId,
}

impl Account {
    /// Links the device that waits under this code to the account. This must be the first device of the account.
    ///
    /// # Errors
    /// This store has no account, or another device than the first; the account has no room for another device; or the server
    /// cannot be asked. The code can still be used.
    pub async fn accept_link(
        &self,
        code: Code,
        meeting: &Meeting,
    ) -> Result<Acceptance, LinkError> {
        let (registration, core) = self.registered().await?;
        if core.address().device != DeviceId::PRIMARY {
            return Err(LinkError::NotFirstDevice);
        }
        let service = service_of(&registration, &self.network)?;
        let devices = service.devices().await.map_err(LinkError::of_request)?;
        if devices.len() >= MAX_DEVICES {
            return Err(LinkError::TooManyDevices);
        }
        let room = Room::open(APP_ID, meeting, &self.network, Some(code))?;
        Ok(Acceptance { core, registration, service, room })
    }
}

impl Acceptance {
    /// Waits for the new device.
    ///
    /// # Errors
    /// The two sides have not met, or do not fit together.
    pub async fn request(&self) -> Result<LinkRequest, LinkError> {
        self.room.met().await?;
        match next(&self.room, QUICK).await? {
            LinkMessage::Request { key, name } => Ok(LinkRequest { name, key }),
            LinkMessage::Linked(_) | LinkMessage::Offer(_) | LinkMessage::Refused(_) => {
                Err(LinkError::Unexpected)
            }
        }
    }

    /// Gives the account to the new device, and waits until the server has accepted it.
    ///
    /// # Errors
    /// The new device has not confirmed that it is linked. After [`LinkError::PeerGone`], it may be linked nevertheless:
    /// [list](Account::devices) the devices.
    pub async fn accept(&self, request: &LinkRequest) -> Result<LinkedDevice, LinkError> {
        match self.offer(request).await {
            Ok(device) => Ok(LinkedDevice { device }),
            Err(error) => {
                let refused = LinkMessage::Refused(error.refusal());
                let _told = send(&self.room, &refused).await;
                Err(error)
            }
        }
    }

    async fn offer(&self, request: &LinkRequest) -> Result<DeviceId, LinkError> {
        let code = self.service.provisioning_code().await.map_err(LinkError::of_request)?;
        let message = self.core.provision(Some(self.registration.number.clone()), code);
        let offer = self.sealed(&message, request)?;
        send(&self.room, &LinkMessage::Offer(offer)).await?;
        let LinkMessage::Linked(device) = next(&self.room, SLOW).await? else {
            return Err(LinkError::Unexpected);
        };
        let devices = self.service.devices().await.map_err(LinkError::of_request)?;
        let is_listed = devices.iter().any(|listed| listed.device == device);
        if is_listed { Ok(device) } else { Err(LinkError::NotListed) }
    }

    fn sealed(
        &self,
        message: &ProvisionMessage,
        request: &LinkRequest,
    ) -> Result<LinkOffer, LinkError> {
        let envelope = message.seal(&request.key, &mut OsRng);
        let app = self.registration.app.as_ref();
        Ok(LinkOffer {
            envelope: envelope.map_err(|_| LinkError::InvalidKeys)?,
            server: self.registration.server.clone(),
            app: app.map(|app| (app.name.clone(), Zeroizing::new(app.token.to_string()))),
        })
    }

    /// Tells the new device that it is not linked, and closes the wormhole.
    pub async fn cancel(self) {
        give_up(self.room, LinkRefusal::Cancelled).await;
    }

    /// Closes the wormhole.
    pub async fn close(self) {
        self.room.close().await;
    }
}

/// Most devices of an account, as the server counts them.
const MAX_DEVICES: usize = 6;
