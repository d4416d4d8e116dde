//! Settings of an application in the store, and the protection of the store, while the client runs.

use zeroize::Zeroizing;

use super::Client;
use crate::chat::error::{Ended, NotStored};
use crate::chat::store::{Protection, Store};

impl Client {
    /// The value of a setting of the application.
    ///
    /// # Errors
    /// The client has ended, or the store cannot be read.
    pub async fn setting(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Ended> {
        let name = name.to_owned();
        let stored = self.store.run(move |store| store.setting(&name));
        let Some(stored) = stored.await else { return Err(self.wait_for_end().await) };
        Ok(stored?)
    }

    /// Sets a setting of the application, or removes it. When this returns, the change is durable.
    ///
    /// If the returned future is dropped, the setting may be changed or not.
    ///
    /// # Errors
    /// The client has ended, or the name has more than 64 bytes (`SettingNameTooLong`).
    pub async fn set_setting(&self, name: &str, value: Option<&[u8]>) -> Result<(), NotStored> {
        Store::check_setting_name(name).map_err(NotStored::Store)?;
        let (name, value) = (name.to_owned(), value.map(|value| Zeroizing::new(value.to_vec())));
        Ok(self.ask(move |driver, reply| driver.set_setting(name, value, reply)).await?)
    }

    /// Changes what opens the store, like [`Store::set_protection`]. When this returns, only the new protection opens it. Until it
    /// returns, no message is stored or sent: deriving a key from a passphrase takes some tenths of a second, and a locked keyring
    /// may wait five minutes for the user.
    ///
    /// If the returned future is dropped, the change is completed anyway.
    ///
    /// # Errors
    /// The client has ended, the keyring cannot be used, or the store cannot be written. In the last case, the old protection or
    /// the new one opens the store.
    pub async fn set_protection(&self, protection: Protection) -> Result<(), NotStored> {
        let changed = self.store.run(move |store| store.set_protection(&protection)).await;
        let Some(changed) = changed else { return Err(self.wait_for_end().await.into()) };
        changed.map_err(NotStored::Store)
    }
}
