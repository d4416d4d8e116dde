//! The HTTP API of the messaging service. (docs/chat-service.md)
//!
//! Each method is one request. Nothing is repeated here, and nothing is stored.

mod devices;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod groups;
mod json;
mod profiles;
mod requests;

use data_encoding::BASE64;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use wormhole_chat::service::{Destination, PhoneNumber};
use wormhole_chat::{
    AccountId, DeviceCiphertext, LeftOut, PublicKey, Publication, Response, Timestamp,
};
use zeroize::Zeroizing;

use super::error::{RequestError, ServerFault};
use super::server::{Network, Server, ServerUrl, Transport};
use crate::net::http::{HttpClient, HttpFailure, HttpResponse};
use crate::net::{LinkFailure, Route};
use json::{Failure, KeysJson, MessageJson, Mismatched, Stale};

pub(crate) use profiles::{NewProfileJson, PictureForm, ShownProfile};

pub(crate) use json::{
    Attributes, DeviceMessage, KeyCount, ListedDevice, Located, Registered, Resolved,
    ResumableForm, UploadForm,
};
pub(crate) use requests::Action;

/// A messaging service, asked by one account.
#[derive(Debug)]
pub(crate) struct Service {
    url: ServerUrl,
    route: Route,
    http: HttpClient,
    /// For requests that do not say who makes them.
    unidentified: HttpClient,
    /// The credentials. Their values are marked as sensitive, so `Debug` does not show them.
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Limits the uploads and downloads of attachments that run at the same time.
    transfers: Semaphore,
    /// How far the upload is that has progressed last.
    upload: watch::Sender<UploadProgress>,
}

/// How far an upload of an attached file is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct UploadProgress {
    /// Bytes that were sent, encrypted and padded.
    pub sent: u64,
    /// Bytes to send in total.
    pub total: u64,
}

impl Service {
    /// A service that is asked without credentials.
    ///
    /// # Errors
    /// The URL or the name of the app cannot be used.
    pub(crate) fn new(server: &Server, network: &Network) -> Result<Self, RequestError> {
        let route = network.tor.as_ref().map_or_else(Route::default, |tor| tor.route());
        let origin = server.url.origin().ok_or(RequestError::Internal)?;
        let mut headers = Vec::new();
        if let Some(app) = &server.app {
            headers.push((HeaderName::from_static("x-pkg-name"), header(app.name.as_str())?));
            headers.push((HeaderName::from_static("x-pkg-token"), header(app.token.expose())?));
        }
        let http = HttpClient::new(origin.clone(), route.clone());
        let unidentified = HttpClient::new(origin, route.clone());
        let transfers = Semaphore::new(MAX_TRANSFERS);
        let url = server.url.clone();
        let upload = watch::Sender::default();
        Ok(Self { url, route, http, unidentified, headers, transfers, upload })
    }

    /// Adds the credentials of this user: a number or an account id, perhaps with `.DEVICE`.
    ///
    /// # Errors
    /// The password cannot be in a header.
    pub(crate) fn with_credentials(
        mut self,
        user: &str,
        password: &str,
    ) -> Result<Self, RequestError> {
        let both = Zeroizing::new(format!("{user}:{password}"));
        let value = Zeroizing::new(format!("Basic {}", BASE64.encode(both.as_bytes())));
        self.headers.push((AUTHORIZATION, header(&value)?));
        Ok(self)
    }

    /// How far the upload is that has progressed last.
    pub(crate) const fn upload_progress(&self) -> &watch::Sender<UploadProgress> {
        &self.upload
    }

    /// Asks for a verification code.
    pub(crate) async fn request_code(
        &self,
        number: &PhoneNumber,
        transport: Transport,
    ) -> Result<(), RequestError> {
        let path = format!("/v1/accounts/{}/code/{number}", transport.path());
        let request = self.request(Method::GET, &path, None)?;
        // Each request sends a code, so it is not repeated.
        let response = self.http.request_once(request, MAX_ANSWER).await;
        let checked = response.map_err(RequestError::from).and_then(check);
        let accepted = checked.and_then(|body| read(&body).map(|_: json::Accepted| ()));
        accepted.map_err(RequestError::at_first_contact)
    }

    /// Confirms a verification code of six digits, and so registers the number.
    pub(crate) async fn confirm_code(
        &self,
        code: &str,
        attributes: &Attributes,
    ) -> Result<Registered, RequestError> {
        let path = format!("/v1/accounts/code/{code}");
        let request = self.request(Method::PUT, &path, Some(json::write(attributes)?))?;
        // A code can be used only once, so the request is not repeated.
        read(&check(self.http.request_once(request, MAX_ANSWER).await?)?)
    }

    /// Our account.
    pub(crate) async fn whoami(&self) -> Result<Registered, RequestError> {
        read(&self.ask(Method::GET, "/v1/accounts/whoami", None).await?)
    }

    /// How many one-time prekeys the server has left.
    pub(crate) async fn key_count(&self) -> Result<KeyCount, RequestError> {
        read(&self.ask(Method::GET, "/v2/keys", None).await?)
    }

    /// Replaces our published keys.
    pub(crate) async fn publish(&self, keys: &Publication) -> Result<(), RequestError> {
        let body = json::write(&KeysJson::from(keys))?;
        read(&self.ask(Method::PUT, "/v2/keys", Some(body)).await?).map(|_: json::Accepted| ())
    }

    /// The keys of all devices of an account.
    pub(crate) async fn bundles(&self, of: &Destination) -> Result<Resolved, RequestError> {
        let path = format!("/v2/keys/{of}/*");
        let bundles: json::Bundles = read(&self.ask(Method::GET, &path, None).await?)?;
        bundles.check().ok_or_else(|| ServerFault::Keys.into())
    }

    /// The signed prekey that the server hands out for us. `None` if it is missing or malformed.
    pub(crate) async fn published_key(&self) -> Result<Option<(u32, PublicKey)>, RequestError> {
        let key: json::PublishedKey = read(&self.ask(Method::GET, "/v2/keys/signed", None).await?)?;
        Ok(key.check())
    }

    /// Sends a message to all devices of an account.
    ///
    /// # Errors
    /// The server has not confirmed that it has the message, and has not said which devices are wrong.
    pub(crate) async fn send(
        &self,
        to: AccountId,
        timestamp: Timestamp,
        messages: &[DeviceCiphertext],
        left_out: Option<&LeftOut>,
        is_online: bool,
        wants_answers: bool,
    ) -> Result<Response, Unconfirmed> {
        let message = MessageJson::new(timestamp, messages, left_out, is_online, wants_answers);
        self.submit(to, &message).await
    }

    /// Sends a message to one device of an account. The others get nothing.
    ///
    /// # Errors
    /// As for [`Service::send`].
    pub(crate) async fn send_to_device(
        &self,
        to: AccountId,
        timestamp: Timestamp,
        message: &DeviceMessage,
    ) -> Result<Response, Unconfirmed> {
        self.submit(to, &MessageJson::to_device(timestamp, message)).await
    }

    async fn submit(&self, to: AccountId, message: &MessageJson) -> Result<Response, Unconfirmed> {
        let path = format!("/v1/messages/{to}");
        let request =
            json::write(message).and_then(|body| self.request(Method::PUT, &path, Some(body)));
        let request = request.map_err(|why| Unconfirmed { why, may_have_arrived: false })?;
        let response = self.http.request(request, MAX_ANSWER).await.map_err(|failure| {
            let may_have_arrived = !matches!(failure, HttpFailure::NotConnected(_));
            Unconfirmed { why: failure.into(), may_have_arrived }
        })?;
        let is_repeated = response.is_repeated;
        sent(response).map_err(|why| {
            // Only the service itself knows, not a proxy in front of it.
            let is_vague =
                matches!(why, RequestError::InvalidAnswer(_) | RequestError::Unavailable(_));
            Unconfirmed { why, may_have_arrived: is_vague || is_repeated }
        })
    }

    /// Allocates an attachment that is posted as a form to [`Service::posted_attachments`].
    pub(crate) async fn upload_form(&self) -> Result<UploadForm, RequestError> {
        read(&self.ask(Method::GET, "/v2/attachments/form/upload", None).await?)
    }

    /// Allocates an attachment of this length whose upload can be continued. `None` if the server cannot do that.
    pub(crate) async fn resumable_form(
        &self,
        length: u64,
    ) -> Result<Option<ResumableForm>, RequestError> {
        let path = format!("/v4/attachments/form/upload?uploadLength={length}");
        match self.ask(Method::GET, &path, None).await {
            Ok(answer) => Ok(Some(read(&answer)?).filter(ResumableForm::is_usable)),
            Err(RequestError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where an attachment can be downloaded.
    pub(crate) async fn locate(&self, id: u64) -> Result<Located, RequestError> {
        read(&self.ask(Method::GET, &format!("/v1/attachments/{id}"), None).await?)
    }

    /// The address of the WebSocket, and the headers for it.
    pub(crate) fn websocket(&self) -> (String, &[(HeaderName, HeaderValue)]) {
        (self.url.websocket(), &self.headers)
    }

    /// The address of the WebSocket for a device that waits to be linked, and the headers for it.
    pub(crate) fn provisioning_websocket(&self) -> (String, &[(HeaderName, HeaderValue)]) {
        (self.url.provisioning_websocket(), &self.headers)
    }

    /// The address of an attachment that was posted with a form.
    pub(crate) fn posted_attachment(&self, key: &str) -> String {
        format!("{}/attachments/{key}", self.url)
    }

    /// The address to which forms with attachments are posted.
    pub(crate) fn posted_attachments(&self) -> String {
        format!("{}/attachments/", self.url)
    }

    /// How to reach the server.
    pub(crate) const fn route(&self) -> &Route {
        &self.route
    }

    /// Waits until another upload or download may start. The next one may start when the result is dropped.
    pub(crate) async fn transfer_turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.transfers.acquire().await.ok()
    }

    /// The client without credentials.
    pub(crate) const fn http(&self) -> &HttpClient {
        &self.http
    }

    /// The body of a successful answer.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, RequestError> {
        check(self.exchange(method, path, body).await?)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<HttpResponse, RequestError> {
        Ok(self.http.request(self.request(method, path, body)?, MAX_ANSWER).await?)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Request<Bytes>, RequestError> {
        let mut request = Request::builder().method(method).uri(self.url.path(path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body.unwrap_or_default().into());
        request.map_err(|_| RequestError::Internal)
    }
}

/// The server has not confirmed that it has a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Unconfirmed {
    pub(crate) why: RequestError,
    /// Whether the server may have the message anyway.
    pub(crate) may_have_arrived: bool,
}

impl From<HttpFailure> for RequestError {
    fn from(failure: HttpFailure) -> Self {
        match failure {
            HttpFailure::Link(failure) | HttpFailure::NotConnected(failure) => {
                Self::Connection(failure)
            }
            HttpFailure::NotHttp | HttpFailure::TooLong => ServerFault::Format.into(),
        }
    }
}

impl From<LinkFailure> for RequestError {
    /// A WebSocket that the server has refused is refused with a status.
    fn from(failure: LinkFailure) -> Self {
        if let LinkFailure::NotAWebSocket(status) = failure {
            Self::from_status(status, None, &[])
        } else {
            Self::Connection(failure)
        }
    }
}

impl RequestError {
    /// Returns the error for a status of a storage for attachments, other than success. It gets no credentials from us, and the
    /// body of its response is not read.
    pub(crate) fn from_storage_status(
        status: u16,
        retry_after: Option<std::time::Duration>,
    ) -> Self {
        match status {
            404 | 410 => Self::NotFound,
            413 | 429 => Self::TooMany(retry_after.unwrap_or(DEFAULT_PAUSE)),
            507 => Self::StorageFull,
            500.. => Self::Unavailable(status),
            _ => Self::Refused(status),
        }
    }

    /// Returns the error for a status other than success.
    pub(crate) fn from_status(
        status: u16,
        retry_after: Option<std::time::Duration>,
        body: &[u8],
    ) -> Self {
        let code = serde_json::from_slice::<Failure>(body).ok().map(|failure| failure.error);
        match status {
            413 | 429 => Self::TooMany(retry_after.unwrap_or(DEFAULT_PAUSE)),
            500.. => Self::Unavailable(status),
            _ => match (status, code.as_deref()) {
                // Something else than the service answers, such as a proxy or a login page of the network.
                (_, None) => ServerFault::Format.into(),
                (401, Some("bad_package")) => Self::AppRefused,
                // Only what the service itself says is final.
                (401, Some("bad_credentials")) => Self::CredentialsRefused,
                (404, Some("not_found")) => Self::NotFound,
                (403, Some("intra_app")) => Self::IntraApp,
                (400, Some("bad_destination" | "too_large")) | (422, Some("invalid")) => {
                    Self::Invalid(status)
                }
                (_, Some(_)) => Self::Refused(status),
            },
        }
    }
}

/// Reads the response to a message.
///
/// # Errors
/// The server does not have the message, and has not said which devices are wrong.
fn sent(response: HttpResponse) -> Result<Response, RequestError> {
    let status = response.status;
    let devices = match status {
        409 => read(&response.body).map(|devices: Mismatched| devices.into())?,
        410 => read(&response.body).map(|devices: Stale| devices.into())?,
        // Another program, such as a login page of the network, must not count as the service.
        _ => {
            let accepted: json::Accepted = read(&check(response)?)?;
            let needs_sync = accepted.get("needsSync").and_then(serde_json::Value::as_bool);
            let sent = needs_sync.map(|needs_sync| Response::Sent { needs_sync });
            return sent.ok_or_else(|| ServerFault::Format.into());
        }
    };
    let names_none = matches!(&devices, Response::Stale(stale) if stale.is_empty())
        || matches!(&devices, Response::Mismatched { missing, extra } if missing.is_empty() && extra.is_empty());
    // Without a device there is nothing to change: to encrypt the message again could deliver it twice.
    if names_none { Err(RequestError::Unavailable(status)) } else { Ok(devices) }
}

fn check(response: HttpResponse) -> Result<Vec<u8>, RequestError> {
    let HttpResponse { status, retry_after, body, is_repeated: _ } = response;
    if (200..300).contains(&status) {
        Ok(body)
    } else {
        Err(RequestError::from_status(status, retry_after, &body))
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RequestError> {
    serde_json::from_slice(body).map_err(|_| ServerFault::Format.into())
}

/// A header that `Debug` does not show.
fn header(value: &str) -> Result<HeaderValue, RequestError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| RequestError::Internal)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Maximum number of uploads and downloads at the same time. Others wait for their turn: each needs a thread, and the store needs one, too.
const MAX_TRANSFERS: usize = 4;

/// Longest answer, in bytes: the keys of 127 devices need about 400 KiB.
const MAX_ANSWER: usize = 1 << 20;

/// The pause after too many requests, if the server names none.
const DEFAULT_PAUSE: std::time::Duration = std::time::Duration::from_secs(60);

#[cfg(test)]
mod tests;
