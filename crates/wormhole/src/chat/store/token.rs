//! The token of the app, which its operator can replace.

use zeroize::Zeroizing;

use super::{Commit, Registration, Store, StoreError};
use crate::chat::server::Token;

impl Store {
    /// Replaces the token of the app in which the number is registered, or is being registered. Returns false if there is no
    /// registration, or if it is in the default app of the server, which needs no token.
    ///
    /// # Errors
    /// The store is damaged, or cannot be read or written.
    pub fn set_token(&mut self, token: &Token) -> Result<bool, StoreError> {
        let Some(registration) = self.registration()? else { return Ok(false) };
        let Some(mut app) = registration.app.clone() else { return Ok(false) };
        app.token = Zeroizing::new(token.expose().to_owned());
        let registration = Some(Registration { app: Some(app), ..registration });
        self.commit(&Commit { registration, ..Commit::default() })?;
        Ok(true)
    }
}
