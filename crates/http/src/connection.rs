//! Serves one connection with hyper, and hands over its stream if it becomes a WebSocket.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::OnceLock;

use axum::response::IntoResponse;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::{MAX_HEAD_BYTES, MAX_HEADERS, Request, Requests, Response, Settings};

/// A connection after the response `101 Switching Protocols`.
#[derive(Debug)]
pub struct Upgraded<S> {
    /// The stream that was served.
    pub stream: S,
    /// Bytes that the client sent directly after its request.
    pub early: Vec<u8>,
}

/// Serves a connection: answers its requests, one after the other, within limits of size and time.
///
/// When `stop` completes, no further request is read. A request that is being answered gets its response before the
/// connection is closed; dropping the future closes it at once. A request without exactly one `Host` header gets status
/// 400 instead of an answer; one of HTTP/1.0 needs none.
///
/// Returns the stream if an answer was `101 Switching Protocols`, usually from [`handshake`](crate::handshake). Otherwise
/// the connection is closed, and errors are not reported: the client learns about them from the response or the end of
/// the connection.
pub async fn serve<S, F>(
    stream: S,
    settings: &Settings,
    stop: impl Future<Output = ()>,
    answer: impl Fn(Request) -> F,
) -> Option<Upgraded<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response>,
{
    let upgrade = OnceLock::new();
    let (answer, upgrade_of_answer) = (&answer, &upgrade);
    let service = service_fn(move |request| async move {
        let mut response = respond(request, answer, upgrade_of_answer).await;
        let is_last = matches!(settings.requests, Requests::One { .. });
        // hyper's `keep_alive(false)` would add this to a response that switches protocols as well.
        if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok::<_, Infallible>(response)
    });
    let connection = builder(settings).serve_connection(TokioIo::new(stream), service);
    let serving = async {
        let mut connection = pin!(connection.with_upgrades());
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stop => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match settings.requests {
        Requests::Many => serving.await.ok()?,
        Requests::One { time } => timeout(time, serving).await.ok()?.ok()?,
    }
    let parts = upgrade.into_inner()?.await.ok()?.downcast::<TokioIo<S>>().ok()?;
    Some(Upgraded { stream: parts.io.into_inner(), early: parts.read_buf.to_vec() })
}

/// The limits, as hyper needs them.
fn builder(settings: &Settings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_time)
        .max_header_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .max_buf_size(settings.requests.buffer())
        .half_close(matches!(settings.requests, Requests::One { .. }))
        .title_case_headers(true);
    builder
}

/// The response to one request. Keeps its `upgrade` if the response switches protocols.
async fn respond<F: Future<Output = Response>>(
    mut request: Request,
    answer: impl Fn(Request) -> F,
    upgrade: &OnceLock<OnUpgrade>,
) -> Response {
    // Proxies and this server must agree on which host a request is for. (RFC 9112, section 3.2)
    if !names_one_host(&request) {
        return (StatusCode::BAD_REQUEST, NO_HOST).into_response();
    }
    let requested = hyper::upgrade::on(&mut request);
    let response = answer(request).await;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // hyper reads no request after this one, so nothing else sets it.
        let _first = upgrade.set(requested);
    }
    response
}

/// Whether the request has exactly one `Host`; HTTP/1.0 allows it to have none.
fn names_one_host(request: &Request) -> bool {
    match request.headers().get_all(HOST).iter().count() {
        0 => request.version() < Version::HTTP_11,
        count => count == 1,
    }
}

const NO_HOST: &str = "an HTTP/1.1 request needs exactly one Host header\n";
