//! The listener: HTTP/1, connections that become WebSockets, and their limits. hyper reads requests and axum finds the
//! handler; the JSON-RPC dispatch is our own.
//!
//! A connection has no slot of its own before one of its requests was admitted. Until then a newer connection can
//! replace it, so clients that are not admitted cannot keep others out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Request};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::FutureExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use wormhole_kit::network;

use super::access::{AccessDenied, PageOrigin};
use super::connection::stopped;
use super::connection_slots::{ClientConnection, ConnectionSlots};
use super::session::ClientSession;
use super::timeout_stream::{ForcedClose, TimeoutStream};
use super::web_socket::{self, Handshake};
use super::{HttpResponse, RpcServer};
use crate::pending_links::{self, PendingLinks};

impl RpcServer {
    /// Serves HTTP and WebSocket until `stop` ends, then finishes running calls within the drain time of the settings.
    /// Dropping the future closes all connections.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let (running, stopping) = watch::channel(());
        let pending = PendingLinks::default();
        let slots = ConnectionSlots::new(self.settings.max_connections);
        let router = router();
        let (alive, mut over) = mpsc::channel::<()>(1);
        let (patient, impatient) = oneshot::channel::<()>();
        let cut = impatient.shared();
        tokio::pin!(stop);
        loop {
            let (stream, address) = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&listener) => accepted,
            };
            let waiting = pending.enter(address.ip());
            let client = ClientConnection::new(slots.clone(), network(address.ip()), alive.clone());
            let connection = HttpConnection::new(self.clone(), client, stopping.clone());
            tokio::spawn(connection.serve(stream, router.clone(), waiting, cut.clone()));
        }
        drop((running, alive));
        if timeout(self.settings.drain, over.recv()).await.is_err() {
            drop(patient);
            let _all_gone = over.recv().await;
        }
    }
}

/// The handlers of all paths.
fn router() -> Router {
    let answer = async |Extension(connection): Extension<HttpConnection>, request: Request| {
        connection.answer(request).await
    };
    // The health page reveals nothing about the node, so monitors need no token.
    Router::new().route("/health", get("ok\n").fallback(answer)).fallback(answer)
}

/// One connection of a client.
#[derive(Clone)]
struct HttpConnection {
    session: ClientSession,
    client: Arc<ClientConnection>,
    stopping: watch::Receiver<()>,
}

impl HttpConnection {
    fn new(service: RpcServer, client: ClientConnection, stopping: watch::Receiver<()>) -> Self {
        let session = ClientSession::new(service, Some(client.network));
        Self { session, client: Arc::new(client), stopping }
    }

    /// Serves the connection until it is closed, or becomes a WebSocket.
    async fn serve(
        mut self,
        stream: TcpStream,
        router: Router,
        mut waiting: pending_links::PendingSlot,
        cut: ForcedClose,
    ) {
        let (connection, router) = (self.clone(), TowerToHyperService::new(router));
        let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            router.call(request)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS);
        let link = TokioIo::new(TimeoutStream::new(stream, &cut));
        let link = http.serve_connection(link, answer).with_upgrades();
        tokio::pin!(link);
        let Self { client, stopping, .. } = &mut self;
        tokio::select! {
            // An error ends the connection as well.
            _ = &mut link => return,
            () = waiting.evicted() => return,
            // No call is running before a request was admitted.
            () = stopped(stopping) => return,
            () = client.taken() => drop(waiting),
        }
        tokio::select! {
            _ = &mut link => return,
            () = stopped(stopping) => link.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            _ = link => {}
            _ = cut => {}
        }
    }

    /// Responds to one request, if it is admitted.
    async fn answer(self, request: Request) -> HttpResponse {
        let preflight = request.method() == Method::OPTIONS;
        let access = &self.session.service().settings.access;
        let PageOrigin(page) = match access.check(request.uri(), request.headers(), preflight) {
            Ok(page) => page,
            Err(refusal) => return denied(&refusal),
        };
        let mut response = if preflight {
            // A preflight request carries no token, so it gets no connection slot.
            preflight_response(page.is_some())
        } else if self.client.take() {
            self.handle(request).await
        } else {
            plain(StatusCode::SERVICE_UNAVAILABLE, "too many connections\n")
        };
        if let Some(page) = page {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, page);
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
        }
        response
    }

    /// Handles an admitted request.
    async fn handle(self, mut request: Request) -> HttpResponse {
        let settings = &self.session.service().settings;
        match web_socket::handshake(request.method(), request.version(), request.headers()) {
            Handshake::None => {}
            Handshake::Invalid(status, why) => return refused(status, why),
            Handshake::Valid(accept) => {
                self.become_web_socket(&mut request);
                return web_socket::switching(&accept);
            }
        }
        let metrics = settings.metrics.as_ref().filter(|_| request.uri().path() == "/metrics");
        match (request.method(), metrics) {
            (&Method::GET | &Method::HEAD, Some(metrics)) => plain(StatusCode::OK, metrics.0()),
            (&Method::POST, None) if is_json(request.headers()) => self.reply(request).await,
            (&Method::POST, None) => {
                let text = "the header \"Content-Type: application/json\" is missing\n";
                plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
            }
            _ => refused(StatusCode::METHOD_NOT_ALLOWED, "send JSON-RPC requests with POST\n"),
        }
    }

    fn become_web_socket(&self, request: &mut Request) {
        let (service, stopping) = (self.session.service().clone(), self.stopping.clone());
        let (upgrade, client) = (hyper::upgrade::on(request), Arc::clone(&self.client));
        tokio::spawn(async move {
            web_socket::serve(upgrade, service, client.network, stopping).await;
        });
    }

    async fn reply(&self, request: Request) -> HttpResponse {
        let text = match whole(request, self.session.service().settings.max_request_bytes).await {
            Ok(text) => text,
            Err(response) => return response,
        };
        let mut answer = self.session.reply(&text).await.unwrap_or_default();
        if !answer.is_empty() {
            answer.push('\n');
        }
        ([(header::CONTENT_TYPE, JSON)], answer).into_response()
    }
}

/// Reads the body of a request, within limits of size and time.
async fn whole(request: Request, most: u32) -> Result<Bytes, HttpResponse> {
    let body = request.into_body();
    let too_large = || plain(StatusCode::PAYLOAD_TOO_LARGE, "request is too large\n");
    // Refuses at once a body that is announced as too large.
    if body.size_hint().lower() > u64::from(most) {
        return Err(too_large());
    }
    let limit = usize::try_from(most).unwrap_or(usize::MAX);
    match timeout(BODY_TIME, Limited::new(body, limit).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "")),
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "")),
    }
}

/// Whether there is exactly one `Content-Type`, and it is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).into_iter();
    let first = types.next().filter(|_| types.next().is_none());
    let kind = first.and_then(|kind| kind.to_str().ok()?.split(';').next());
    kind.is_some_and(|kind| {
        let kind = kind.trim();
        ["application/json", "application/json-rpc"].iter().any(|it| kind.eq_ignore_ascii_case(it))
    })
}

fn denied(refusal: &AccessDenied) -> HttpResponse {
    let mut response = plain(refusal.status(), refusal.to_string());
    if *refusal == AccessDenied::Token {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// Refuses a request and says what the server supports.
fn refused(status: StatusCode, why: &'static str) -> HttpResponse {
    let mut response = plain(status, why);
    let headers = response.headers_mut();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, OPTIONS, POST"));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

/// The response to a preflight request of a browser.
fn preflight_response(to_a_page: bool) -> HttpResponse {
    let mut response = plain(StatusCode::NO_CONTENT, "");
    if to_a_page {
        let headers = response.headers_mut();
        let (methods, names) = ("POST", "authorization, content-type");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response
}

fn plain(status: StatusCode, text: impl Into<String>) -> HttpResponse {
    (status, text.into()).into_response()
}

/// Accepts the next connection. Errors of single connections are ignored.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Sends small responses at once. Without the option they are only slower.
                let _slower = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Time for the head of a request, and between two requests of a connection.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Longest head of a request, in bytes: the least that hyper allows.
const MAX_HEAD: usize = 8192;

/// Most header lines of a request. Browsers send about 20.
const MAX_HEADERS: usize = 64;

/// Time for the body of a request.
const BODY_TIME: Duration = Duration::from_secs(60);

/// `Content-Type` of responses.
const JSON: &str = "application/json; charset=utf-8";

/// How long accepting pauses when the system is out of descriptors or memory.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
