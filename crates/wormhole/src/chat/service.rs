//! The HTTP API of the messaging service. (docs/chat-service.md)
//!
//! Each method is one request. Nothing is repeated here, and nothing is stored.

mod json;

use data_encoding::BASE64;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request};
use serde::de::DeserializeOwned;
use wormhole_chat::service::{Destination, PhoneNumber};
use wormhole_chat::{AccountId, Publication, Response, SealedMessage, Timestamp};
use zeroize::Zeroizing;

use super::RequestError;
use super::server::{Network, Server, ServerUrl, Transport};
use crate::net::http::{HttpAnswer, HttpClient, HttpFailure};
use crate::net::{LinkFailure, Route};
use json::{Failure, KeysJson, MessageJson, Mismatched, Stale};

pub(crate) use json::{Allocation, Attributes, KeyCount, Located, Registered, Resolved};

/// A messaging service, asked by one account.
#[derive(Debug)]
pub(crate) struct Service {
    url: ServerUrl,
    route: Route,
    http: HttpClient,
    /// Who asks. Their values are marked as sensitive, so `Debug` does not show them.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Service {
    /// A service that is asked without credentials.
    ///
    /// # Errors
    /// The URL or the name of the app cannot be used.
    pub(crate) fn new(server: &Server, network: &Network) -> Result<Self, RequestError> {
        let route = network.tor.as_ref().map_or_else(Route::default, |tor| tor.route());
        let origin = server.url.origin().ok_or(RequestError::NotAService)?;
        let mut headers = Vec::new();
        if let Some(app) = &server.app {
            headers.push((HeaderName::from_static("x-pkg-name"), header(app.name.as_str())?));
            headers.push((HeaderName::from_static("x-pkg-token"), header(app.token.expose())?));
        }
        let http = HttpClient::new(origin, route.clone());
        Ok(Self { url: server.url.clone(), route, http, headers })
    }

    /// The same service, asked by this user: a number or an account id, perhaps with `.DEVICE`.
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

    /// Asks for a verification code.
    pub(crate) async fn request_code(
        &self,
        number: &PhoneNumber,
        transport: Transport,
    ) -> Result<(), RequestError> {
        let path = format!("/v1/accounts/{}/code/{number}", transport.path());
        read(&self.ask(Method::GET, &path, None).await?).map(|json::Accepted {}| ())
    }

    /// Confirms a verification code of six digits, and so registers the number.
    pub(crate) async fn confirm_code(
        &self,
        code: &str,
        attributes: &Attributes,
    ) -> Result<Registered, RequestError> {
        let path = format!("/v1/accounts/code/{code}");
        read(&self.ask(Method::PUT, &path, Some(json::write(attributes)?)).await?)
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
        read(&self.ask(Method::PUT, "/v2/keys", Some(body)).await?).map(|json::Accepted {}| ())
    }

    /// The keys of all devices of an account.
    pub(crate) async fn bundles(&self, of: &Destination) -> Result<Resolved, RequestError> {
        let path = format!("/v2/keys/{of}/*");
        let bundles: json::Bundles = read(&self.ask(Method::GET, &path, None).await?)?;
        bundles.check().ok_or(RequestError::NotAService)
    }

    /// Sends a message to all devices of an account.
    ///
    /// # Errors
    /// The server does not have the message, and has not said which devices are wrong.
    pub(crate) async fn send(
        &self,
        to: AccountId,
        timestamp: Timestamp,
        messages: &[SealedMessage],
    ) -> Result<Response, RequestError> {
        let body = json::write(&MessageJson::new(timestamp, messages))?;
        let answer = self.exchange(Method::PUT, &format!("/v1/messages/{to}"), Some(body)).await?;
        match answer.status {
            409 => read(&answer.body).map(Mismatched::into),
            410 => read(&answer.body).map(Stale::into),
            // A login page of the network must not count as the service.
            _ => check(answer).and_then(|body| read(&body)).map(|json::Accepted {}| Response::Done),
        }
    }

    /// Allocates an attachment.
    pub(crate) async fn allocate(&self) -> Result<Allocation, RequestError> {
        read(&self.ask(Method::GET, "/v1/attachments", None).await?)
    }

    /// Where an attachment can be downloaded.
    pub(crate) async fn locate(&self, id: u64) -> Result<Located, RequestError> {
        read(&self.ask(Method::GET, &format!("/v1/attachments/{id}"), None).await?)
    }

    /// The address of the WebSocket, and the headers for it.
    pub(crate) fn websocket(&self) -> (String, &[(HeaderName, HeaderValue)]) {
        (self.url.websocket(), &self.headers)
    }

    /// The address of an attachment that was posted with a form.
    pub(crate) fn posted_attachment(&self, key: &str) -> String {
        format!("{}/attachments/{key}", self.url)
    }

    /// How to reach the server.
    pub(crate) const fn route(&self) -> &Route {
        &self.route
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
    ) -> Result<HttpAnswer, RequestError> {
        let mut request = Request::builder().method(method).uri(self.url.path(path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body.unwrap_or_default().into());
        let request = request.map_err(|_| RequestError::NotAService)?;
        Ok(self.http.request(request, MAX_ANSWER).await?)
    }
}

impl From<HttpFailure> for RequestError {
    fn from(failure: HttpFailure) -> Self {
        match failure {
            HttpFailure::Link(failure) => Self::Link(failure),
            HttpFailure::NotHttp | HttpFailure::TooLong => Self::NotAService,
        }
    }
}

impl From<LinkFailure> for RequestError {
    /// A WebSocket that the server has refused is refused with a status.
    fn from(failure: LinkFailure) -> Self {
        if let LinkFailure::NotAWebSocket(status) = failure {
            Self::of_status(status, None, &[])
        } else {
            Self::Link(failure)
        }
    }
}

impl RequestError {
    /// What a status other than success means.
    pub(crate) fn of_status(
        status: u16,
        retry_after: Option<std::time::Duration>,
        body: &[u8],
    ) -> Self {
        match status {
            401 => match serde_json::from_slice::<Failure>(body) {
                Ok(failure) if failure.error == BAD_PACKAGE => Self::AppRefused,
                Ok(_) | Err(_) => Self::CredentialsRefused,
            },
            413 | 429 => Self::TooMany(retry_after.unwrap_or(DEFAULT_PAUSE)),
            500.. => Self::Unavailable(status),
            // Something else than the service answers, such as a proxy or a login page of the network.
            _ if serde_json::from_slice::<Failure>(body).is_err() => Self::NotAService,
            404 => Self::NotFound,
            _ => Self::Refused(status),
        }
    }
}

fn check(answer: HttpAnswer) -> Result<Vec<u8>, RequestError> {
    let HttpAnswer { status, retry_after, body } = answer;
    if (200..300).contains(&status) {
        Ok(body)
    } else {
        Err(RequestError::of_status(status, retry_after, &body))
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, RequestError> {
    serde_json::from_slice(body).map_err(|_| RequestError::NotAService)
}

/// A header that `Debug` does not show.
fn header(value: &str) -> Result<HeaderValue, RequestError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| RequestError::NotAService)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The code of the error for a wrong app.
const BAD_PACKAGE: &str = "bad_package";

/// Longest answer, in bytes: the keys of 127 devices need about 400 KiB.
const MAX_ANSWER: usize = 1 << 20;

/// The pause after too many requests, if the server names none.
const DEFAULT_PAUSE: std::time::Duration = std::time::Duration::from_secs(60);
