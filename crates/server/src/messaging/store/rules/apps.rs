//! Decides whether a client may use an app.

use wormhole_chat::service::AppName;

use crate::messaging::store::{App, ReadRows, StoreError, TokenHash};

/// An app's name and token, as a client has sent them.
#[derive(Debug)]
pub(in crate::messaging) struct AppCredentials {
    pub(in crate::messaging) name: AppName,
    pub(in crate::messaging) token: TokenHash,
}

/// The app in which a client without an account wants one.
#[derive(Debug)]
pub(in crate::messaging) struct ClaimedApp {
    pub(in crate::messaging) credentials: Option<AppCredentials>,
    /// The app of clients without credentials.
    pub(in crate::messaging) default: Option<AppName>,
}

impl AppCredentials {
    /// Whether the token is one of the app's.
    pub(in crate::messaging) fn match_app(&self, app: &App) -> bool {
        let matches = app.tokens.iter().map(|token| token.matches(&self.token));
        // All tokens are compared, so that the time does not depend on which one matches.
        self.name == app.name && matches.fold(false, |any, one| any | one)
    }
}

impl ClaimedApp {
    /// The app, if the client may use it.
    pub(in crate::messaging) fn find(
        &self,
        rows: &mut dyn ReadRows,
    ) -> Result<Option<App>, StoreError> {
        let name = self.credentials.as_ref().map(|given| &given.name).or(self.default.as_ref());
        let app = name.map(|name| rows.app(name)).transpose()?.flatten();
        let is_allowed = |app: &App| self.credentials.as_ref().is_none_or(|it| it.match_app(app));
        Ok(app.filter(is_allowed))
    }
}
