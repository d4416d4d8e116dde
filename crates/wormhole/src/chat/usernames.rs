//! How others find the account: its username, and whether the directory contains its number.

use wormhole_chat::DeviceId;
use wormhole_chat::service::Username;

use super::account::{Account, service_of};
use super::driver::CAPABILITY;
use super::error::{NameError, OpenError};
use super::service::Service;

impl Account {
    /// The username of the account.
    ///
    /// # Errors
    /// This store has no account, or the server cannot be asked.
    pub async fn username(&self) -> Result<Option<Username>, NameError> {
        let (service, _) = self.named().await?;
        Ok(service.username().await?)
    }

    /// Gives the account a username instead of its previous one. Others can write to `@NAME` then.
    ///
    /// # Errors
    /// Somebody else has the name, or the server cannot be asked.
    pub async fn set_username(&self, name: &Username) -> Result<(), NameError> {
        let (service, _) = self.named().await?;
        if service.set_username(name).await? { Ok(()) } else { Err(NameError::Taken) }
    }

    /// Removes the username of the account. Returns it. Somebody else can choose it then.
    ///
    /// # Errors
    /// This store has no account, or the server cannot be asked.
    pub async fn remove_username(&self) -> Result<Option<Username>, NameError> {
        let (service, _) = self.named().await?;
        let name = service.username().await?;
        if let Some(name) = &name {
            service.remove_username(name).await?;
        }
        Ok(name)
    }

    /// Says whether others who know the number find the account in the directory. They can write to the number in any case.
    ///
    /// # Errors
    /// This is not the primary device, or the server cannot be asked.
    pub async fn set_discoverable(&self, is_discoverable: bool) -> Result<(), NameError> {
        let (service, device) = self.named().await?;
        if device != DeviceId::PRIMARY {
            return Err(NameError::NotPrimaryDevice);
        }
        // The request replaces what the server knows about this device.
        let known = self.store.run(|store| store.setting(CAPABILITY)).await;
        let has_requests = known.map_err(OpenError::from)?.is_some_and(|known| *known == [1]);
        Ok(service.set_capabilities(has_requests, Some(is_discoverable)).await?)
    }

    async fn named(&self) -> Result<(Service, DeviceId), NameError> {
        let (registration, core) = self.registered().await?;
        let service = service_of(&registration, &self.network).map_err(OpenError::Store)?;
        Ok((service, core.address().device))
    }
}
