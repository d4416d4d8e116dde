//! Finds the app of a client: `X-PKG-NAME` and `X-PKG-TOKEN`, or the default app.

use hyper::header::HeaderMap;
use wormhole_chat::service::AppName;

use super::ApiError;
use crate::messaging::context::Service;
use crate::messaging::store::rules::apps::{AppCredentials, ClaimedApp};
use crate::messaging::store::{App, TokenHash};

impl AppCredentials {
    /// Reads the headers of 2014, or those of the Platform API with the same meaning. `None` if the request has neither.
    ///
    /// # Errors
    /// They are incomplete, malformed or sent twice.
    pub(in crate::messaging) fn from_headers(
        headers: &HeaderMap,
    ) -> Result<Option<Self>, ApiError> {
        let value = |names: [&str; 2]| {
            let mut values = names.into_iter().flat_map(|name| headers.get_all(name));
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some(value), None) => {
                    value.to_str().map(Some).map_err(|_| ApiError::bad_package())
                }
                (Some(_), Some(_)) => Err(ApiError::bad_package()),
            }
        };
        match (value(["x-pkg-name", "x-app-id"])?, value(["x-pkg-token", "x-app-token"])?) {
            (None, None) => Ok(None),
            (Some(name), Some(token)) => {
                let name = name.parse().map_err(|_| ApiError::bad_package())?;
                Ok(Some(Self { name, token: TokenHash::of(&[], token.as_bytes()) }))
            }
            _ => Err(ApiError::bad_package()),
        }
    }
}

/// How a client proves that it may use an app.
#[derive(Debug)]
pub(in crate::messaging) enum AppProof {
    /// By the app's name and token.
    Credentials(AppCredentials),
    /// Not at all, where the API of 2014 has no headers and clients cannot send any: any app that has a valid token.
    NotNeeded,
    /// It names none, so it uses the default app.
    Default,
}

impl AppProof {
    /// The headers if there are any, and else this.
    pub(in crate::messaging) fn from_headers(
        headers: &HeaderMap,
        otherwise: Self,
    ) -> Result<Self, ApiError> {
        Ok(AppCredentials::from_headers(headers)?.map_or(otherwise, Self::Credentials))
    }

    pub(super) const fn name(&self) -> Option<&AppName> {
        match self {
            Self::Credentials(credentials) => Some(&credentials.name),
            Self::NotNeeded | Self::Default => None,
        }
    }
}

impl Service {
    /// Whether a client may use an app.
    pub(super) fn accepts(&self, proof: &AppProof, app: &App) -> bool {
        let is_default = self.settings.default_app.as_ref() == Some(&app.name);
        match proof {
            AppProof::Credentials(credentials) => credentials.match_app(app),
            AppProof::Default => is_default,
            AppProof::NotNeeded => is_default || !app.tokens.is_empty(),
        }
    }

    /// The app in which a client without an account wants one.
    ///
    /// # Errors
    /// The headers are incomplete, malformed or sent twice.
    pub(super) fn claimed_app(&self, headers: &HeaderMap) -> Result<ClaimedApp, ApiError> {
        let credentials = AppCredentials::from_headers(headers)?;
        Ok(ClaimedApp { credentials, default: self.settings.default_app.clone() })
    }
}
