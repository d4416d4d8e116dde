//! The caller of a request: a device with credentials, or a client that shows the access key of an account instead
//! (`Unidentified-Access-Key`), so that the server does not learn who it is.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use hyper::http::request;
use wormhole_chat::service::Destination;
use wormhole_kit::wider_network;

use super::{ApiError, Authenticated, ClientAddress, Principal};
use crate::messaging::base64;
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;
use crate::messaging::store::rules::sealed;
use crate::messaging::store::{Access, AccessKey, Account, Found, ReadRows, UnidentifiedCaller};

/// The sender of a request that needs credentials or an access key.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    Device(Arc<Found>),
    Unidentified(UnidentifiedCaller),
}

impl FromRequestParts<Arc<Service>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut request::Parts,
        service: &Arc<Service>,
    ) -> Result<Self, ApiError> {
        let on_socket = parts.extensions.get::<Principal>();
        let has_credentials = match on_socket {
            // A header inside of a socket does not change who asks.
            Some(Principal::Device(_)) => true,
            Some(Principal::Nobody) => false,
            None => parts.headers.contains_key(AUTHORIZATION),
        };
        let has_key = parts.headers.contains_key(&ACCESS_KEY);
        if has_credentials && has_key && on_socket.is_none() {
            let message =
                "send either credentials or an access key: together, they reveal who writes";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message));
        }
        if has_credentials || !has_key {
            let Authenticated(found) = Authenticated::from_request_parts(parts, service).await?;
            return Ok(Self::Device(found));
        }
        let key = read_key(&parts.headers).ok_or_else(ApiError::bad_credentials)?;
        let client = parts.extensions.get().map(|ClientAddress(address)| *address);
        let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        // One customer of a provider may have all networks of a wide one.
        let network = service.limits.network(client).map(|_| wider_network(client.to_canonical()));
        Ok(Self::Unidentified(UnidentifiedCaller { key, network }))
    }
}

/// The access key in the headers, if there is exactly one.
fn read_key(headers: &HeaderMap) -> Option<AccessKey> {
    let mut values = headers.get_all(&ACCESS_KEY).into_iter();
    let value = values.next()?.to_str().ok()?.trim();
    if values.next().is_some() { None } else { base64::decode_array(value).map(AccessKey) }
}

impl Service {
    /// The account for which a client shows the access key.
    ///
    /// # Errors
    /// The key is wrong or there is no such account: the same error for both. Or there were too many such requests.
    pub(super) async fn admit(
        &self,
        stranger: &UnidentifiedCaller,
        destination: &Destination,
    ) -> Result<Account, ApiError> {
        self.limit_strangers(stranger)?;
        let named = destination.clone();
        let find = move |rows: &mut dyn ReadRows| sealed::find(rows, &named);
        let account = self.storage.read(find).await?;
        let is_allowed =
            Access::allow([account.as_ref().map(|account| &account.access)], &stranger.key);
        account.filter(|_| is_allowed).ok_or_else(|| self.refuse(stranger))
    }

    /// Counts a request with an access key. Call it before the database is asked.
    ///
    /// # Errors
    /// There were too many, or too many wrong keys.
    pub(super) fn limit_strangers(&self, stranger: &UnidentifiedCaller) -> Result<(), ApiError> {
        let Some(network) = stranger.network else { return Ok(()) };
        let budget = self.budget();
        let limit = budget.spend(Action::UnidentifiedCaller, network, 1);
        let limit =
            limit.and_then(|()| self.limits.check(Action::WrongAccessKey, network, budget.now));
        limit.map_err(ApiError::too_many)
    }

    /// Counts a wrong access key, and returns the error to answer.
    pub(super) fn refuse(&self, stranger: &UnidentifiedCaller) -> ApiError {
        if let Some(network) = stranger.network {
            // The next request of the network is refused if there are too many.
            let _counted = self.budget().spend(Action::WrongAccessKey, network, 1);
        }
        ApiError::bad_credentials()
    }
}

/// The header with an access key.
pub(in crate::messaging) const ACCESS_KEY: HeaderName =
    HeaderName::from_static("unidentified-access-key");
