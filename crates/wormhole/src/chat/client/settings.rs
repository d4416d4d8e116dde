//! Settings of the application, which it can also read and write without a client: [`Store`](crate::chat::store::Store).

use zeroize::Zeroizing;

use super::Client;
use crate::chat::error::Ended;
use crate::chat::store::{MAX_SETTING_NAME, StoreError};

impl Client {
    /// The value of a setting.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn setting(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Ended> {
        let name = name.to_owned();
        let stored = self.store.run(move |store| store.setting(&name));
        let Some(stored) = stored.await else { return Err(self.wait_for_end().await) };
        Ok(stored?)
    }

    /// Sets a setting of the application, or removes it.
    ///
    /// # Errors
    /// The client has ended, or the name has more than 64 bytes (`SettingNameTooLong`).
    pub async fn set_setting(&self, name: &str, value: Option<&[u8]>) -> Result<(), Ended> {
        if name.len() > MAX_SETTING_NAME {
            return Err(StoreError::SettingNameTooLong.into());
        }
        let (name, value) = (name.to_owned(), value.map(|value| Zeroizing::new(value.to_vec())));
        self.ask(move |driver, reply| driver.set_setting(name, value, reply)).await
    }
}
