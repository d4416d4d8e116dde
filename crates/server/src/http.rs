//! The HTTP front of the mailbox, the relay and the monitor: hyper reads a request and writes the response, axum finds
//! the page. The JSON-RPC server of the Whisper node has its own, in `wormhole-node`.
//!
//! A connection carries one request. Then it is closed, or it becomes a WebSocket: hyper returns the socket, and the
//! service continues with the frames of [`websocket`]. The frame decoder is our own, because a library keeps buffers
//! for each connection, and most connections are idle.

mod acceptor;
pub(crate) mod handshake;
mod monitor;
mod pages;
pub(crate) mod websocket;

use std::convert::Infallible;
use std::sync::OnceLock;
use std::time::Duration;

use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};

pub(crate) use acceptor::{AcceptedWebSocket, WebSocketAcceptor};
pub(crate) use monitor::Monitor;
pub(crate) use pages::Pages;

use crate::net::Stream;

/// A request whose body nobody has read yet.
pub(crate) type Request = hyper::Request<Incoming>;

/// A response with any body.
pub(crate) use axum::response::Response;

/// A connection that is not HTTP any more.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) stream: Stream,
    /// What the client sent directly after its request.
    pub(crate) early: Vec<u8>,
}

/// Serves one request, within limits of size and time. Returns the connection if the response was
/// `101 Switching Protocols`; otherwise the connection is closed.
pub(crate) async fn serve_request<F>(
    stream: Stream,
    answer: impl Fn(Request) -> F,
) -> Option<Upgraded>
where
    F: Future<Output = Response>,
{
    let switched = OnceLock::new();
    let service = service_fn(|mut request: Request| {
        let upgrade = hyper::upgrade::on(&mut request);
        // Proxies and this server must agree on which host a request is for. (RFC 9112, section 3.2)
        let answer = names_one_host(&request).then(|| answer(request));
        let switched = &switched;
        async move {
            let mut response = match answer {
                Some(answer) => answer.await,
                None => (StatusCode::BAD_REQUEST, NO_HOST).into_response(),
            };
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                // A connection carries one request, so nothing else sets it.
                let _first = switched.set(upgrade);
            } else {
                // hyper's `keep_alive(false)` would add this to a response that switches protocols as well.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .title_case_headers(true)
        .half_close(true);
    let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::time::timeout(EXCHANGE_TIME, connection).await.ok()?.ok()?;
    let parts = switched.into_inner()?.await.ok()?.downcast::<TokioIo<Stream>>().ok()?;
    Some(Upgraded { stream: parts.io.into_inner(), early: parts.read_buf.to_vec() })
}

/// Whether the request has exactly one `Host`; HTTP/1.0 allows it to have none.
fn names_one_host(request: &Request) -> bool {
    match request.headers().get_all(HOST).iter().count() {
        0 => request.version() < Version::HTTP_11,
        count => count == 1,
    }
}

const NO_HOST: &str = "an HTTP/1.1 request needs exactly one Host header\n";

/// Time for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// Time for a request and its response.
const EXCHANGE_TIME: Duration = Duration::from_secs(20);

/// Longest head of a request, in bytes: the least that hyper allows.
const MAX_HEAD: usize = 8192;

/// Most header lines of a request. Browsers send about 20.
const MAX_HEADERS: usize = 64;
