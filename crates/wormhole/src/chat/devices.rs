//! The devices of an account: listing, naming and removing them. [`link`](super::link) adds one.

use data_encoding::BASE64;
use rand_core::OsRng;
use wormhole_chat::{Client as Core, DeviceId, Timestamp};

use super::account::{Account, service_of};
use super::error::{OpenError, RequestError};
use super::service::{ListedDevice, Service};

/// A device of our account.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OwnDevice {
    /// Its number. The primary device has 1.
    pub device: DeviceId,
    /// How its user calls it. `None` if it has no name, or one that is not encrypted for the account.
    pub name: Option<String>,
    /// When it was linked or registered, according to the server.
    pub created: Timestamp,
    /// The day on which the server has seen it last.
    pub last_seen: Timestamp,
    /// Whether it is this device.
    pub is_this: bool,
}

/// Why the devices of an account cannot be listed or changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The primary device cannot be removed: delete the account.
    #[error("the primary device of an account cannot be removed")]
    PrimaryDevice,
    /// The name is too long.
    #[error("the name is too long: at most {MAX_NAME} bytes are possible")]
    NameTooLong,
    /// The account has no such device.
    #[error("the account has no such device")]
    NoSuchDevice,
    /// Only the primary device of an account can remove others.
    #[error("only the primary device of the account can remove others")]
    NotPrimaryDevice,
    /// The account cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Account {
    /// The devices of the account, in the order of their numbers.
    ///
    /// # Errors
    /// This store has no account, or the server cannot be asked.
    pub async fn devices(&self) -> Result<Vec<OwnDevice>, DeviceError> {
        let (service, core) = self.asking().await?;
        let mut listed = service.devices().await?;
        listed.sort_unstable_by_key(|device| device.device);
        Ok(listed.into_iter().map(|device| OwnDevice::new(device, &core)).collect())
    }

    /// Removes a device. The server deletes what waits for it, and it cannot read anything that is sent from then on. The first
    /// device can remove each other one, and each other one itself.
    ///
    /// # Errors
    /// The device is not removed.
    pub async fn remove_device(&self, device: DeviceId) -> Result<(), DeviceError> {
        let (service, core) = self.asking().await?;
        let own = core.address().device;
        if device == DeviceId::PRIMARY {
            return Err(DeviceError::PrimaryDevice);
        }
        if own != DeviceId::PRIMARY && own != device {
            return Err(DeviceError::NotPrimaryDevice);
        }
        match service.remove_device(device).await {
            Err(RequestError::NotFound) => Err(DeviceError::NoSuchDevice),
            result => Ok(result?),
        }
    }

    /// Sets the name of this device. The server cannot read it.
    ///
    /// # Errors
    /// The name is not set.
    pub async fn name_device(&self, name: &str) -> Result<(), DeviceError> {
        if name.len() > MAX_NAME {
            return Err(DeviceError::NameTooLong);
        }
        let (service, core) = self.asking().await?;
        let sealed = core.seal_device_name(name, &mut OsRng).ok_or(RequestError::Internal)?;
        Ok(service.name_device(&BASE64.encode(&sealed)).await?)
    }

    async fn asking(&self) -> Result<(Service, Core), DeviceError> {
        let (registration, core) = self.registered().await?;
        let service = service_of(&registration, &self.network).map_err(OpenError::Store)?;
        Ok((service, core))
    }
}

impl OwnDevice {
    fn new(listed: ListedDevice, core: &Core) -> Self {
        let ListedDevice { device, name, created, last_seen } = listed;
        let name = name.and_then(|name| BASE64.decode(name.as_bytes()).ok());
        Self {
            device,
            name: name.and_then(|name| core.open_device_name(&name)),
            created: Timestamp(created),
            last_seen: Timestamp(last_seen),
            is_this: device == core.address().device,
        }
    }
}

/// Longest name of a device, in bytes: encrypted, it must fit into what deployed servers accept.
const MAX_NAME: usize = 100;
