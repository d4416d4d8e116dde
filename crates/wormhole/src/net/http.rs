//! An HTTP client for one server: requests with short bodies or files, and responses within limits of size and
//! time. (RFC 9112)
//!
//! It follows no redirects and keeps no cookies, and does not know what the requests mean.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use url::{Host, Url};

use super::{Duplex, LinkFailure, Route, tls};

/// The body of a request.
pub(crate) type HttpBody = UnsyncBoxBody<Bytes, io::Error>;

/// A client of one server. It keeps a few connections open for further requests.
#[derive(Debug)]
pub(crate) struct HttpClient {
    origin: Origin,
    route: Route,
    idle: Mutex<Vec<Idle>>,
}

/// The server that a URL names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    uses_tls: bool,
    /// A name or an address without brackets.
    host: String,
    port: u16,
    /// As the header `Host` has it.
    authority: String,
}

impl Origin {
    /// Whether connections use TLS.
    pub(crate) const fn uses_tls(&self) -> bool {
        self.uses_tls
    }

    /// The server of an `http` or `https` URL; `None` for other URLs.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        let (uses_tls, default_port) = match url.scheme() {
            "http" => (false, 80),
            "https" => (true, 443),
            _ => return None,
        };
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str()?),
            None => url.host_str()?.to_owned(),
        };
        Some(Self { uses_tls, host, port: url.port().unwrap_or(default_port), authority })
    }
}

/// A complete response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    /// How long the server asks us to wait.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
    /// Whether the request was sent before, on a connection that was lost: the server may have executed it twice.
    pub(crate) is_repeated: bool,
}

/// A response whose body has not been read yet. Its connection closes when it is dropped.
#[derive(Debug)]
pub(crate) struct StreamedResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    connection: Connection,
    /// How much longer we wait for the body: each byte adds some time.
    patience: Duration,
}

/// Why a request has no complete response.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum HttpFailure {
    /// The connection was lost.
    Link(LinkFailure),
    /// There was no connection, so the server has not seen the request.
    NotConnected(LinkFailure),
    /// The response is not HTTP.
    NotHttp,
    /// The response exceeds its limit.
    TooLong,
}

impl HttpFailure {
    /// The same failure, while the connection was opened.
    fn before_the_request(self) -> Self {
        match self {
            Self::Link(failure) => Self::NotConnected(failure),
            Self::NotConnected(_) | Self::NotHttp | Self::TooLong => self,
        }
    }
}

impl From<LinkFailure> for HttpFailure {
    fn from(failure: LinkFailure) -> Self {
        Self::Link(failure)
    }
}

/// A connection that waits for a request.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// An open connection and the task that reads from it and writes to it.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<HttpBody>,
    task: AbortHandle,
}

impl Connection {
    async fn over(stream: Box<dyn Duplex>) -> Result<Self, HttpFailure> {
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|error| failure(&error))?;
        // Its errors reach the request.
        let task = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { sender, task })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpClient {
    /// A client that has no connections yet.
    pub(crate) const fn new(origin: Origin, route: Route) -> Self {
        Self { origin, route, idle: Mutex::new(Vec::new()) }
    }

    /// The server.
    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Sends a request and reads a response of at most `limit` bytes. The path of the request must be relative. If a
    /// connection that was idle is lost or the server does not answer on it soon, the request is sent again on a new one, so
    /// executing it twice must do no harm.
    ///
    /// # Errors
    /// There is no complete response in time. The server may have executed the request.
    pub(crate) async fn request(
        &self,
        request: hyper::Request<Bytes>,
        limit: usize,
    ) -> Result<HttpResponse, HttpFailure> {
        let time = REQUEST_TIME + time_for(byte_count(request.body().len()));
        let complete = async {
            let (response, is_repeated) = self.start(request).await?;
            Ok(HttpResponse { is_repeated, ..response.read(self, limit).await? })
        };
        timeout(time, complete).await.map_err(|_| LinkFailure::TimedOut)?
    }

    /// Sends a request like [`HttpClient::request`], but never twice.
    ///
    /// # Errors
    /// There is no complete response in time. The server may have executed the request.
    pub(crate) async fn request_once(
        &self,
        request: hyper::Request<Bytes>,
        limit: usize,
    ) -> Result<HttpResponse, HttpFailure> {
        let time = REQUEST_TIME + time_for(byte_count(request.body().len()));
        let complete = async { self.send(request.map(body)).await?.read(self, limit).await };
        timeout(time, complete).await.map_err(|_| LinkFailure::TimedOut)?
    }

    /// Sends a request, if possible on a connection that is open. Also returns whether it was sent before.
    async fn start(
        &self,
        request: hyper::Request<Bytes>,
    ) -> Result<(StreamedResponse, bool), HttpFailure> {
        let mut was_sent = false;
        while let Some(connection) = self.take_idle() {
            let request = request.clone().map(body);
            match self.exchange(connection, request, REUSED_HEAD_TIME).await {
                Err(HttpFailure::Link(failure)) => {
                    was_sent = true;
                    if failure == LinkFailure::TimedOut {
                        self.close_idle();
                    }
                }
                Err(HttpFailure::NotConnected(_)) => {}
                result => return result.map(|response| (response, was_sent)),
            }
        }
        match self.send(request.map(body)).await {
            Err(HttpFailure::NotConnected(failure)) if was_sent => Err(HttpFailure::Link(failure)),
            result => result.map(|response| (response, was_sent)),
        }
    }

    /// Sends a request on a new connection and waits for the head of the response.
    ///
    /// # Errors
    /// There is no response in time. The server may have executed the request.
    pub(crate) async fn send(
        &self,
        request: hyper::Request<HttpBody>,
    ) -> Result<StreamedResponse, HttpFailure> {
        let opened = timeout(CONNECT_TIME, self.connect()).await;
        let opened = opened.unwrap_or_else(|_| Err(LinkFailure::TimedOut.into()));
        let connection = opened.map_err(HttpFailure::before_the_request)?;
        self.exchange(connection, request, HEAD_TIME).await
    }

    /// Sends a request and waits so long for the head of the response, in addition to the time for the request's body.
    async fn exchange(
        &self,
        mut connection: Connection,
        mut request: hyper::Request<HttpBody>,
        head_time: Duration,
    ) -> Result<StreamedResponse, HttpFailure> {
        let host = HeaderValue::from_str(&self.origin.authority);
        request.headers_mut().insert(HOST, host.map_err(|_| HttpFailure::NotHttp)?);
        let time = head_time + time_for(body_length(&request));
        let response = timeout(time, connection.sender.send_request(request)).await;
        let response = response.map_err(|_| LinkFailure::TimedOut)?;
        let (head, body) = response.map_err(|error| failure(&error))?.into_parts();
        let (status, headers) = (head.status.as_u16(), head.headers);
        Ok(StreamedResponse { status, headers, body, connection, patience: PIECE_TIME })
    }

    async fn connect(&self) -> Result<Connection, HttpFailure> {
        let Origin { uses_tls, host, port, .. } = &self.origin;
        let tcp = self.route.connect(host, *port).await?;
        let stream: Box<dyn Duplex> =
            if *uses_tls { Box::new(tls::connect(host, tcp).await?) } else { Box::new(tcp) };
        Connection::over(stream).await
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|it| it.since.elapsed() < IDLE_TIME && !it.connection.sender.is_closed());
        idle.pop().map(|it| it.connection)
    }

    /// Closes the other idle connections: the network has changed, so they are dead, too.
    fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn put_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}

impl StreamedResponse {
    /// Reads the whole body, at most `limit` bytes.
    async fn read(self, client: &HttpClient, limit: usize) -> Result<HttpResponse, HttpFailure> {
        let (status, retry_after) = (self.status, self.retry_after());
        let read = Limited::new(self.body, limit).collect().await;
        let body = read.map_err(|error| match error.downcast_ref::<hyper::Error>() {
            Some(error) => failure(error),
            None if error.is::<LengthLimitError>() => HttpFailure::TooLong,
            None => HttpFailure::NotHttp,
        })?;
        client.put_back(self.connection);
        let body = body.to_bytes().to_vec();
        Ok(HttpResponse { status, retry_after, body, is_repeated: false })
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection is lost, or the body arrives too slowly.
    pub(crate) async fn piece(&mut self) -> Result<Option<Bytes>, HttpFailure> {
        loop {
            let start = Instant::now();
            let frame = timeout(self.patience, self.body.frame()).await;
            let Some(frame) = frame.map_err(|_| LinkFailure::TimedOut)? else { return Ok(None) };
            let frame = frame.map_err(|error| failure(&error))?;
            let patience = self.patience.saturating_sub(start.elapsed());
            // Ignores headers at the end of the body.
            if let Ok(data) = frame.into_data() {
                self.patience = PIECE_TIME.min(patience + time_for(byte_count(data.len())));
                return Ok(Some(data));
            }
            self.patience = patience;
        }
    }

    /// How long the server asks us to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers)
    }
}

/// The time that this many bytes may take.
pub(crate) fn time_for(bytes: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1000) / MIN_RATE)
}

/// The length of a request's body, if it is known.
fn body_length(request: &hyper::Request<HttpBody>) -> u64 {
    let header = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = header.and_then(|length| length.parse().ok());
    announced.unwrap_or_else(|| request.body().size_hint().lower())
}

fn byte_count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A body in memory.
pub(crate) fn body(bytes: Bytes) -> HttpBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn failure(error: &hyper::Error) -> HttpFailure {
    // The connection was closed before the request was written.
    let link = if error.is_canceled() { HttpFailure::NotConnected } else { HttpFailure::Link };
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(error) = inner.downcast_ref::<io::Error>() {
            return link(error.kind().into());
        }
        source = inner.source();
    }
    if error.is_parse() { HttpFailure::NotHttp } else { link(LinkFailure::Closed) }
}

/// `Retry-After` in seconds. The other form, a date, is rare, and then the caller chooses the pause.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// Time limit for a request, from the connection to the end of the response, in addition to the time for its body.
const REQUEST_TIME: Duration = Duration::from_secs(60);

/// Time limit for opening a connection, with TLS.
const CONNECT_TIME: Duration = Duration::from_secs(30);

/// Time limit for the head of a response, in addition to the time for the body of the request.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// The same on a connection that was idle. It may be dead without a sign, such as after a change of the network; then there
/// must be time left for a new connection.
const REUSED_HEAD_TIME: Duration = Duration::from_secs(5);

/// Time limit for the next piece of a long body. It is shorter after slow pieces: in the long run, each byte must not take
/// longer than [`MIN_RATE`] permits.
const PIECE_TIME: Duration = Duration::from_secs(60);

/// The slowest transfer that is accepted, in bytes per second.
const MIN_RATE: u64 = 4 << 10;

/// How long a connection is kept without requests. Servers close theirs after a minute or more.
const IDLE_TIME: Duration = Duration::from_secs(50);

/// Maximum number of connections that are kept without requests.
const MAX_IDLE: usize = 4;

/// Longest pause that a server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests;
