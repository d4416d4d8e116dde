//! Authentication of requests: `Authorization: Basic` for the device, and the headers of its app.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::http::request;
use wormhole_chat::{DeviceId, Timestamp};
use zeroize::Zeroizing;

use super::{ApiError, AppProof, ClientAddress};
use crate::messaging::base64;
use crate::messaging::context::Service;
use crate::messaging::login_attempt::LoginAttempt;
use crate::messaging::rate_limits::Action;
use crate::messaging::store::rules::day;
use crate::messaging::store::{
    Account, Device, Found, Login, LoginName, ReadRows, Rows, StoreError, TokenHash, WorkError,
};
use crate::messaging::store_thread::unix_now;

/// The device that sent a request.
#[derive(Clone, Debug)]
pub(in crate::messaging) struct Authenticated(pub(in crate::messaging) Arc<Found>);

/// The client that opened the WebSocket on which a request arrived. A header inside of a request cannot change it.
#[derive(Clone, Debug)]
pub(in crate::messaging) enum Principal {
    Device(Arc<Found>),
    /// A client without credentials.
    Nobody,
}

/// The credentials of a client.
pub(in crate::messaging) struct Credentials {
    pub(in crate::messaging) name: LoginName,
    pub(in crate::messaging) device: DeviceId,
    pub(in crate::messaging) password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Parses the value of `Authorization`. The word `Basic` may be missing, as in the attachment requests of clients of 2014.
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

impl Service {
    /// Finds the device with these credentials, in the app with these credentials.
    ///
    /// # Errors
    /// Either is wrong, there were too many wrong passwords, or the database is not available.
    pub(in crate::messaging) async fn authenticate(
        &self,
        credentials: Credentials,
        app: &AppProof,
        client: IpAddr,
    ) -> Result<Arc<Found>, ApiError> {
        let Credentials { name, device, password } = &credentials;
        let attempt = LoginAttempt::new(&self.limits, &credentials, client, Instant::now());
        attempt.check().map_err(ApiError::too_many)?;
        let login = Login { name: name.clone(), device: *device, app: app.name().cloned() };
        let candidates = self.storage.find(login).await?;
        let mut matching = candidates.into_iter().filter(|found| {
            let stored = &found.device.columns;
            stored.password.matches(&TokenHash::of(&stored.salt, password.as_bytes()))
        });
        let Some(first) = matching.next() else {
            attempt.failed();
            return Err(ApiError::bad_credentials());
        };
        attempt.succeeded(&first.account.number);
        // The same password may be used in several apps.
        let mut matching = [first].into_iter().chain(matching);
        let found = matching.find(|found| self.accepts(app, &found.app));
        let found = found.ok_or_else(ApiError::bad_package)?;
        self.see(&found).await?;
        Ok(Arc::new(found))
    }

    /// The device of an open WebSocket as it is now.
    ///
    /// # Errors
    /// It does not exist any more, it may not use its app any more, or the database is not available.
    pub(in crate::messaging) async fn check_again(
        &self,
        found: &Found,
        app: &AppProof,
    ) -> Result<Arc<Found>, ApiError> {
        let name = LoginName::Account(found.account.id);
        let login = Login { name, device: found.device.columns.number, app: None };
        let candidates = self.storage.find(login).await?;
        let same = candidates.into_iter().find(|it| it.device.key == found.device.key);
        let same = same.ok_or_else(ApiError::bad_credentials)?;
        if !self.accepts(app, &same.app) {
            return Err(ApiError::bad_package());
        }
        self.see(&same).await?;
        Ok(Arc::new(same))
    }

    /// Records that a device was seen today, once a day.
    async fn see(&self, found: &Found) -> Result<(), ApiError> {
        let (device, today) = (found.device.key, day(unix_now()));
        if found.device.columns.last_seen < today {
            self.storage.execute(move |rows, _| rows.record_last_seen(device, today)).await?;
        }
        Ok(())
    }
}

impl Service {
    /// Counts a request for an account that does not exist as a search in the directory, so that nobody finds out faster
    /// in this way which numbers are registered. Returns the error to answer.
    pub(in crate::messaging) fn count_stranger(&self, found: &Found, error: ApiError) -> ApiError {
        if !error.is_not_found() {
            return error;
        }
        let limit = self.budget().spend(Action::Contact, found.account.id, 1);
        limit.map_or_else(ApiError::too_many, |()| error)
    }
}

/// The rows of a device that has sent a request, in a transaction that executes it.
#[derive(Debug)]
pub(in crate::messaging) struct Current {
    pub(in crate::messaging) account: Account,
    pub(in crate::messaging) device: Device,
    /// The time of the transaction.
    pub(in crate::messaging) now: Timestamp,
}

/// The result of work for a device that has sent a request.
pub(in crate::messaging) type Worked<T> = Result<T, WorkError<ApiError>>;

impl Service {
    /// Reads and writes rows for a device that has sent a request.
    ///
    /// # Errors
    /// The device was removed since it was authenticated, the work returned an error, or the database is not
    /// available.
    pub(in crate::messaging) async fn execute_for<T: Send + 'static>(
        &self,
        found: &Arc<Found>,
        mut work: impl FnMut(&mut dyn Rows, Current) -> Worked<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let found = Arc::clone(found);
        let work = move |rows: &mut dyn Rows, now: Timestamp| match found.current(rows)? {
            Some((account, device)) => work(rows, Current { account, device, now }),
            None => Err(WorkError::Refused(ApiError::bad_credentials())),
        };
        Ok(self.storage.decide(work).await?)
    }

    /// Executes a request that only reads.
    pub(in crate::messaging) async fn read_for<T: Send + 'static>(
        &self,
        found: &Arc<Found>,
        mut read: impl FnMut(&mut dyn ReadRows, Account, Device) -> Result<T, StoreError>
        + Send
        + 'static,
    ) -> Result<T, ApiError> {
        let found = Arc::clone(found);
        let read = move |rows: &mut dyn ReadRows| match found.current(rows)? {
            Some((account, device)) => read(rows, account, device).map(Some),
            None => Ok(None),
        };
        self.storage.read(read).await?.ok_or_else(ApiError::bad_credentials)
    }

    /// Executes a request in which a device describes itself. The number of such requests is limited.
    pub(in crate::messaging) async fn write_for<T: Send + 'static>(
        &self,
        found: &Arc<Found>,
        work: impl FnMut(&mut dyn Rows, Current) -> Worked<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.limit_writes(found)?;
        self.execute_for(found, work).await
    }

    /// Counts a request that writes what the device says about itself. Call it before anything that needs much time.
    ///
    /// # Errors
    /// There were too many.
    pub(in crate::messaging) fn limit_writes(&self, found: &Found) -> Result<(), ApiError> {
        let limit = self.limits.spend(Action::Write, found.device.key, 1, Instant::now());
        limit.map_err(ApiError::too_many)
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
        // The requests for attachments of clients of 2014 have no headers.
        let is_attachment = parts.uri.path().starts_with("/v1/attachments");
        let otherwise = if is_attachment { AppProof::NotNeeded } else { AppProof::Default };
        let app = AppProof::from_headers(&parts.headers, otherwise)?;
        let client = parts.extensions.get().map(|ClientAddress(address)| *address);
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        service.authenticate(credentials, &app, client).await.map(Self)
    }
}

/// Longest password, in bytes. Clients generate 16 to 24 characters.
const MAX_PASSWORD: usize = 256;
