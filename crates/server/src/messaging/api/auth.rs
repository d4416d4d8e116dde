//! Who sends a request: `Authorization: Basic` for the device, `X-PKG-NAME` and `X-PKG-TOKEN` for its app.

use axum::extract::FromRequestParts;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request;
use std::sync::Arc;
use wormhole_chat::service::AppName;
use wormhole_chat::{DeviceId, Timestamp};
use zeroize::Zeroizing;

use super::ApiError;
use super::attributes::day;
use crate::messaging::base64;
use crate::messaging::service::Service;
use crate::messaging::storage::unix_now;
use crate::messaging::store::{
    Account, App, Device, Found, Login, LoginName, Rows, StoreError, TokenHash,
};

/// The device that sent a request.
#[derive(Clone, Debug)]
pub(in crate::messaging) struct Authenticated(pub(in crate::messaging) Arc<Found>);

/// Who opened the WebSocket on which a request arrived. A header inside of a request cannot change it.
#[derive(Clone, Debug)]
pub(in crate::messaging) enum Principal {
    Device(Arc<Found>),
    /// A client without credentials.
    Nobody,
}

/// What a client shows to prove who it is.
#[derive(Debug)]
pub(in crate::messaging) struct Credentials {
    pub(in crate::messaging) name: LoginName,
    pub(in crate::messaging) device: DeviceId,
    pub(in crate::messaging) password: Zeroizing<String>,
}

/// An app's name and token, as headers have them.
#[derive(Debug)]
pub(in crate::messaging) struct AppCredentials {
    pub(in crate::messaging) name: AppName,
    token: TokenHash,
}

impl Credentials {
    /// Parses the value of `Authorization`. The word `Basic` may be missing, as in the seed's attachment requests.
    pub(in crate::messaging) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(AUTHORIZATION).into_iter();
        let value = values.next()?.to_str().ok()?.trim();
        if values.next().is_some() {
            return None;
        }
        let encoded = match value.split_once(' ') {
            Some((scheme, encoded)) if scheme.eq_ignore_ascii_case("basic") => encoded.trim(),
            Some(_) => return None,
            None => value,
        };
        let decoded = Zeroizing::new(String::from_utf8(base64::decode(encoded)?).ok()?);
        let (user, password) = decoded.split_once(':')?;
        Self::parse(user, password)
    }

    /// Parses a user name, `NUMBER` or `ACCOUNT`, with or without `.DEVICE`.
    pub(in crate::messaging) fn parse(user: &str, password: &str) -> Option<Self> {
        let (name, device) = match user.split_once('.') {
            Some((name, device)) => (name, parse_device(device)?),
            None => (user, DeviceId::PRIMARY),
        };
        let name = if name.starts_with('+') {
            LoginName::Number(name.parse().ok()?)
        } else {
            LoginName::Account(name.parse().ok()?)
        };
        (!password.is_empty() && password.len() <= MAX_PASSWORD).then(|| Self {
            name,
            device,
            password: Zeroizing::new(password.to_owned()),
        })
    }
}

/// Parses one to three digits without a sign or a zero in front.
pub(in crate::messaging) fn parse_device(text: &str) -> Option<DeviceId> {
    let is_number =
        text.len() <= 3 && !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { DeviceId::new(text.parse().ok()?) } else { None }
}

impl AppCredentials {
    /// Reads the headers of the seed, or those of the Platform API with the same meaning. `None` if there are none.
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

    /// Whether the token is one of the app's.
    pub(in crate::messaging) fn match_app(&self, app: &App) -> bool {
        let matches = app.tokens.iter().map(|token| token.matches(&self.token));
        // All tokens are compared, so that the time does not depend on which one matches.
        self.name == app.name && matches.fold(false, |any, one| any | one)
    }
}

impl Service {
    /// Finds the device with these credentials, in the app with these credentials if there are any.
    ///
    /// # Errors
    /// Either is wrong, or the database is not available.
    pub(in crate::messaging) async fn authenticate(
        &self,
        credentials: Credentials,
        app: Option<AppCredentials>,
    ) -> Result<Arc<Found>, ApiError> {
        let Credentials { name, device, password } = credentials;
        let login = Login { name, device, app: app.as_ref().map(|app| app.name.clone()) };
        let candidates = self.storage.find(login).await?;
        let found = candidates.into_iter().find(|found| {
            let stored = &found.device.device;
            stored.password.matches(&TokenHash::of(&stored.salt, password.as_bytes()))
        });
        let found = found.ok_or_else(ApiError::bad_credentials)?;
        if app.is_some_and(|app| !app.match_app(&found.app)) {
            return Err(ApiError::bad_package());
        }
        self.see(&found).await?;
        Ok(Arc::new(found))
    }

    /// Records that a device was seen today, once a day.
    async fn see(&self, found: &Found) -> Result<(), ApiError> {
        let (device, today) = (found.device.key, day(unix_now()));
        if found.device.device.last_seen < today {
            self.storage.execute(move |rows, _| rows.see_device(device, today)).await?;
        }
        Ok(())
    }
}

/// The rows of a device that has sent a request, in a transaction that executes it.
#[derive(Debug)]
pub(in crate::messaging) struct Current {
    pub(in crate::messaging) account: Account,
    pub(in crate::messaging) device: Device,
}

impl Service {
    /// Reads and writes rows for a device that has sent a request.
    ///
    /// # Errors
    /// The device was removed since it was authenticated, the work returned an error, or the database is not
    /// available.
    pub(in crate::messaging) async fn execute_for<T: Send + 'static>(
        &self,
        found: &Arc<Found>,
        mut work: impl FnMut(&mut dyn Rows, Current) -> Result<Result<T, ApiError>, StoreError>
        + Send
        + 'static,
    ) -> Result<T, ApiError> {
        let found = Arc::clone(found);
        let work = move |rows: &mut dyn Rows, _: Timestamp| match found.current(rows)? {
            Some((account, device)) => work(rows, Current { account, device }),
            None => Ok(Err(ApiError::bad_credentials())),
        };
        self.storage.execute(work).await?
    }
}

impl FromRequestParts<Arc<Service>> for Authenticated {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut request::Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        match parts.extensions.get::<Principal>() {
            Some(Principal::Device(found)) => return Ok(Self(Arc::clone(found))),
            Some(Principal::Nobody) => return Err(ApiError::bad_credentials()),
            None => {}
        }
        let credentials =
            Credentials::from_headers(&parts.headers).ok_or_else(ApiError::bad_credentials)?;
        let app = AppCredentials::from_headers(&parts.headers)?;
        service.authenticate(credentials, app).await.map(Self)
    }
}

/// Longest password, in bytes. Clients generate 16 to 24 characters.
const MAX_PASSWORD: usize = 256;
