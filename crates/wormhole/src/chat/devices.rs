//! The devices of an account: listing, naming and removing them. [`link`](super::link) adds one.

use data_encoding::BASE64;
use rand_core::OsRng;
use wormhole_chat::{Client as Core, DeviceId, OwnDeviceList, Response, Timestamp};

use super::account::{Account, now, service_of};
use super::error::{OpenError, RequestError};
use super::service::{ListedDevice, Service};
use super::store::Commit;

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
    /// Whether it is in the signed list of the account's devices. Nothing is sent to others, and people who have this list refuse what
    /// they send: [sign](Account::sign_device) or [remove](Account::remove_device) them.
    pub is_signed: bool,
    /// Differs between devices that have the same number one after the other. This is what the server says, except of this device.
    /// `None`: the server has no signed lists.
    pub registration_id: Option<u32>,
}

/// Why the devices of an account cannot be listed or changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Other devices change the list of the devices at the same time.
    #[error("other devices of the account change the list of devices at the same time")]
    Busy,
    /// The primary device cannot be removed: delete the account.
    #[error("the primary device of an account cannot be removed")]
    PrimaryDevice,
    /// The name is too long.
    #[error("the name is too long: at most {MAX_NAME} bytes are possible")]
    NameTooLong,
    /// The account has no such device.
    #[error("the account has no such device")]
    NoSuchDevice,
    /// The server names another registration id for the device: another one may have its number.
    #[error("the device has the registration id {0} according to the server")]
    OtherRegistrationId(u32),
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
        let signatures = signatures(&service, &core).await?;
        let own = |device: ListedDevice| {
            let found = signatures.iter().find(|it| it.device == device.device);
            OwnDevice::new(device, found, &core)
        };
        Ok(listed.into_iter().map(own).collect())
    }

    /// Adds a device to the signed list of the account's devices: it gets what is written to the account from then on, and others
    /// read what it sends. Each device of our own program signs itself when it is linked. If it is in the list already, others get a list
    /// with a greater revision: this helps if they have seen another list and refuse the newest one.
    ///
    /// Without a registration id, the one that the server names is signed. Returns the one that was signed, `None` if the server has
    /// no lists.
    ///
    /// # Errors
    /// The device is not signed.
    pub async fn sign_device(
        &self,
        device: DeviceId,
        registration_id: Option<u32>,
    ) -> Result<Option<u32>, DeviceError> {
        let (service, _) = self.asking().await?;
        if !service.devices().await?.iter().any(|it| it.device == device) {
            return Err(DeviceError::NoSuchDevice);
        }
        let signed = publish_list(self, &service, &[(device, registration_id)]).await?;
        Ok(signed.first().map(|(_, registration_id)| *registration_id))
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
            Err(RequestError::NotFound) => return Err(DeviceError::NoSuchDevice),
            result => result?,
        }
        if own != device {
            // If this fails, the list names a device that does not exist, until a client of the account is opened again.
            let _later = publish_list(self, &service, &[]).await;
        }
        Ok(())
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
    fn new(listed: ListedDevice, found: Option<&SignatureOf>, core: &Core) -> Self {
        let ListedDevice { device, name, created, last_seen } = listed;
        let name = name.and_then(|name| BASE64.decode(name.as_bytes()).ok());
        Self {
            device,
            name: name.and_then(|name| core.open_device_name(&name)),
            created: Timestamp(created),
            last_seen: Timestamp(last_seen),
            is_this: device == core.address().device,
            is_signed: found.is_none_or(|it| it.is_signed),
            registration_id: found.map(|it| it.registration_id),
        }
    }
}

/// Whether a device is in the signed list.
struct SignatureOf {
    device: DeviceId,
    registration_id: u32,
    is_signed: bool,
}

/// Which devices are signed. Empty if the server has no lists.
async fn signatures(service: &Service, core: &Core) -> Result<Vec<SignatureOf>, RequestError> {
    let Some(shown) = shown_list(service).await? else { return Ok(Vec::new()) };
    let update = core.update_device_list(now(), &shown, &[], &mut OsRng);
    let signature = |it: &wormhole_chat::OwnDevice| {
        let (device, registration_id) = (it.device, it.registration_id);
        let list = update.list.as_ref();
        let is_signed = list.is_none_or(|list| list.has(device, registration_id));
        SignatureOf { device, registration_id, is_signed }
    };
    Ok(shown.devices.iter().map(signature).collect())
}

/// Publishes the list of our devices with these, if it is not the newest one already. Devices without a registration id get the one
/// that the server names. Returns them with their registration ids; none if the server has no lists.
///
/// # Errors
/// The list may not be complete. A client of the account completes it, except for these devices, when it is opened.
pub(super) async fn publish_list(
    account: &Account,
    service: &Service,
    sign: &[(DeviceId, Option<u32>)],
) -> Result<Vec<(DeviceId, u32)>, DeviceError> {
    let (_, mut core) = account.registered().await?;
    for _ in 0..MAX_CONFLICTS {
        let Some(shown) = shown_list(service).await? else { return Ok(Vec::new()) };
        let pairs = pairs_of(sign, &shown)?;
        let update = core.update_device_list(now(), &shown, &pairs, &mut OsRng);
        let is_in = |(device, id): &(DeviceId, u32)| {
            update.list.as_ref().is_some_and(|list| list.has(*device, *id))
        };
        if !pairs.iter().all(is_in) {
            // The server names a device that was removed before.
            return Err(DeviceError::NoSuchDevice);
        }
        let (Some(list), Some(new)) = (update.list, update.publish) else { return Ok(pairs) };
        // The server may show it to others, whatever it answers.
        let mut commit = Commit::default();
        commit.add(core.record_signed_list(&list));
        let written = account.store.run(move |store| store.commit(&commit)).await;
        written.map_err(OpenError::Store)?;
        if service.put_device_list(&new).await? != Response::DeviceListConflict {
            return Ok(pairs);
        }
    }
    Err(DeviceError::Busy)
}

/// The devices with their registration ids.
fn pairs_of(
    sign: &[(DeviceId, Option<u32>)],
    shown: &OwnDeviceList,
) -> Result<Vec<(DeviceId, u32)>, DeviceError> {
    let pairs = sign.iter().map(|(device, registration_id)| {
        let named = shown.devices.iter().find(|it| it.device == *device);
        let named = named.ok_or(DeviceError::NoSuchDevice)?.registration_id;
        match registration_id {
            Some(wanted) if *wanted != named => Err(DeviceError::OtherRegistrationId(named)),
            Some(_) | None => Ok((*device, named)),
        }
    });
    pairs.collect()
}

/// The server's data about our devices. `None` if it does not support lists.
async fn shown_list(service: &Service) -> Result<Option<OwnDeviceList>, RequestError> {
    match service.device_list().await {
        Ok(Response::DeviceList(shown)) => Ok(Some(shown)),
        Ok(_) | Err(RequestError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How often in a row another device may be faster.
const MAX_CONFLICTS: usize = 10;

/// Longest name of a device, in bytes: encrypted, it must fit into what deployed servers accept.
const MAX_NAME: usize = 100;
