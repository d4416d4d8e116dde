//! A request inside of a WebSocket, answered by the HTTP API.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, StatusCode, Uri};
use wormhole_chat::{WebSocketRequest, WebSocketResponse};

use crate::messaging::api::without_trailing_slash;
use crate::messaging::server::{Front, Opener};
use wormhole_http::Response;

/// Answers a request. The client is always the one that opened the socket: headers cannot change that, and all but the
/// content type are ignored. `None` if the client wants no answer.
pub(super) fn answer(
    front: &Arc<Front>,
    opener: &Opener,
    request: WebSocketRequest,
) -> impl Future<Output = Option<WebSocketResponse>> + Send + use<> {
    let (front, id) = (Arc::clone(front), request.id);
    let Opener { principal, address, base } = opener;
    let (principal, address, base) = (principal.clone(), *address, base.clone());
    async move {
        let response = match convert(request) {
            Some(mut request) => {
                request.extensions_mut().insert(principal);
                request.extensions_mut().insert(address);
                request.extensions_mut().insert(base);
                let response = front.routes.answer(request).await;
                summarise(id?, response).await
            }
            None => error(id?, StatusCode::BAD_REQUEST),
        };
        Some(response)
    }
}

/// The request as HTTP. `None` if the method or the path is not valid there.
fn convert(request: WebSocketRequest) -> Option<Request> {
    let uri: Uri = without_trailing_slash(&request.path).parse().ok()?;
    let method: Method = request.verb.parse().ok()?;
    let mut converted = Request::new(Body::from(request.body.unwrap_or_default()));
    *converted.uri_mut() = uri;
    *converted.method_mut() = method;
    let is_type = |name: &str| name.eq_ignore_ascii_case("content-type");
    let content_type = request.headers.iter().find(|(name, _)| is_type(name));
    if let Some((_, value)) = content_type {
        let value = HeaderValue::from_str(value).ok()?;
        converted.headers_mut().insert(CONTENT_TYPE, value);
    }
    Some(converted)
}

/// The answer as a message of the socket.
async fn summarise(id: u64, response: Response) -> WebSocketResponse {
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, MAX_ANSWER).await else {
        return error(id, StatusCode::INTERNAL_SERVER_ERROR);
    };
    let text = |name: HeaderName| {
        let value = parts.headers.get(&name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    WebSocketResponse {
        body: Some(body.to_vec()),
        headers: [CONTENT_TYPE, RETRY_AFTER].into_iter().filter_map(text).collect(),
        ..error(id, parts.status)
    }
}

/// An answer without a body.
fn error(id: u64, status: StatusCode) -> WebSocketResponse {
    let message = status.canonical_reason().unwrap_or("Unknown").to_owned();
    let status = status.as_u16();
    WebSocketResponse { id, status, message: Some(message), body: None, headers: Vec::new() }
}

/// Longest body of an answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;
