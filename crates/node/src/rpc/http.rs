//! The listener, and which requests of a connection are executed. `wormhole-http` serves the connection and axum finds the
//! handler; the JSON-RPC dispatch is our own.
//!
//! A connection has no slot of its own before one of its requests was admitted. Until then a newer connection can
//! replace it, so clients that are not admitted cannot keep others out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::FutureExt;
use futures_util::future::Shared;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use wormhole_http::handshake::{self, HandshakeError};
use wormhole_http::{Requests, Response, Routes, Settings, Upgraded, WriteTimeout, body};
use wormhole_kit::network;

use super::access::{AccessDenied, PageOrigin};
use super::connection::stopped;
use super::connection_slots::{ClientConnection, ConnectionSlots};
use super::session::ClientSession;
use super::{RpcServer, web_socket};
use crate::pending_links::{PendingLinks, PendingSlot};

impl RpcServer {
    /// Serves HTTP and WebSocket until `stop` ends, then finishes running calls within the drain time of the settings.
    /// Dropping the future closes all connections.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()> + Send) {
        let (running, stopping) = watch::channel(());
        let pending = PendingLinks::default();
        let slots = ConnectionSlots::new(self.settings.max_connections);
        let routes = Routes::new(router());
        let (alive, mut over) = mpsc::channel::<()>(1);
        let (patient, impatient) = oneshot::channel::<()>();
        let forced_close = impatient.shared();
        tokio::pin!(stop);
        loop {
            let (stream, address) = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&listener) => accepted,
            };
            let slot = pending.enter(address.ip());
            let client = ClientConnection::new(slots.clone(), network(address.ip()), alive.clone());
            let connection = HttpConnection::new(self.clone(), client, stopping.clone());
            let served = connection.serve(stream, routes.clone(), slot);
            tokio::spawn(unless_closed(served, forced_close.clone()));
        }
        drop((running, alive));
        if timeout(self.settings.drain, over.recv()).await.is_err() {
            drop(patient);
            let _all_gone = over.recv().await;
        }
    }
}

/// Serves a connection until it ends or is closed by force.
async fn unless_closed(served: impl Future<Output = ()>, forced_close: ForcedClose) {
    tokio::select! {
        () = served => {}
        _ = forced_close => {}
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

/// Completes when all connections are to be closed, whatever they do: its sender is dropped.
type ForcedClose = Shared<oneshot::Receiver<()>>;

/// The stream of a client.
pub(super) type ClientStream = WriteTimeout<TcpStream>;

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

    /// Serves the connection until it is closed.
    async fn serve(self, stream: TcpStream, routes: Routes, slot: PendingSlot) {
        let stream = WriteTimeout::new(stream, WRITE_TIME);
        // Boxed, so that a WebSocket does not need the memory of the requests before it.
        let upgraded = Box::pin(self.serve_requests(stream, routes, slot)).await;
        if let Some(upgraded) = upgraded {
            let service = self.session.service().clone();
            web_socket::serve(upgraded, service, self.client.network, self.stopping.clone()).await;
        }
    }

    /// Serves the connection until it is closed, or becomes a WebSocket.
    async fn serve_requests(
        &self,
        stream: ClientStream,
        routes: Routes,
        mut slot: PendingSlot,
    ) -> Option<Upgraded<ClientStream>> {
        let answer = |mut request: wormhole_http::Request| {
            request.extensions_mut().insert(self.clone());
            routes.answer(request)
        };
        let stop = || stopped(self.stopping.clone());
        let served = wormhole_http::serve(stream, &SETTINGS, stop(), answer);
        tokio::pin!(served);
        tokio::select! {
            upgraded = &mut served => return upgraded,
            () = slot.evicted() => return None,
            // No call is running before a request was admitted.
            () = stop() => return None,
            () = self.client.taken() => drop(slot),
        }
        served.await
    }

    /// Responds to one request, if it is admitted.
    async fn answer(self, request: Request) -> Response {
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
    async fn handle(self, request: Request) -> Response {
        let settings = &self.session.service().settings;
        match handshake::check(&request) {
            Ok(None) => {}
            Ok(Some(accept)) => return accept.into_response(),
            Err(HandshakeError::Method) => return wrong_method("open a WebSocket with GET\n"),
            Err(error) => return error.into_response(),
        }
        let metrics = settings.metrics.as_ref().filter(|_| request.uri().path() == "/metrics");
        match (request.method(), metrics) {
            (&Method::GET | &Method::HEAD, Some(metrics)) => plain(StatusCode::OK, metrics.0()),
            (&Method::POST, None) if is_json(request.headers()) => self.reply(request).await,
            (&Method::POST, None) => {
                let text = "the header \"Content-Type: application/json\" is missing\n";
                plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
            }
            _ => wrong_method("send JSON-RPC requests with POST\n"),
        }
    }

    async fn reply(&self, request: Request) -> Response {
        let most = self.session.service().settings.max_request_bytes;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let text = match body::read(request.into_body(), most, BODY_TIME).await {
            Ok(text) => text,
            Err(error) => return error.into_response(),
        };
        let mut answer = self.session.reply(&text).await.unwrap_or_default();
        if !answer.is_empty() {
            answer.push('\n');
        }
        ([(header::CONTENT_TYPE, JSON)], answer).into_response()
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

fn denied(refusal: &AccessDenied) -> Response {
    let mut response = plain(refusal.status(), refusal.to_string());
    if *refusal == AccessDenied::Token {
        let bearer = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// Refuses the method of a request and says which methods there are.
fn wrong_method(why: &'static str) -> Response {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, why);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, OPTIONS, POST"));
    response
}

/// The response to a preflight request of a browser.
fn preflight_response(to_a_page: bool) -> Response {
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

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
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

/// How each connection is served.
const SETTINGS: Settings =
    Settings { head_time: Duration::from_secs(30), requests: Requests::Many };

/// A client that reads nothing for this long is disconnected.
pub(super) const WRITE_TIME: Duration = Duration::from_secs(30);

/// Time for the body of a request.
const BODY_TIME: Duration = Duration::from_secs(60);

/// `Content-Type` of responses.
const JSON: &str = "application/json; charset=utf-8";

/// How long accepting pauses when the system is out of descriptors or memory.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
