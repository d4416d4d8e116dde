//! A request inside of a WebSocket, answered by the HTTP API.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::response::Parts;
use hyper::{Method, StatusCode, Uri};
use wormhole_chat::{MAX_FRAME, WebSocketRequest, WebSocketResponse};

use super::Opener;
use crate::messaging::api::{ACCESS_KEY, ApiError, GROUP_KEYS, JSON, without_trailing_slash};
use crate::messaging::context::Api;
use crate::messaging::request_memory::RequestMemory;

/// Answers a request. The client is always the one that opened the socket: headers cannot change that, and all but
/// the content type and access keys are ignored. `None` if the client wants no answer.
pub(super) fn answer(
    api: &Arc<Api>,
    opener: &Opener,
    memory: RequestMemory,
    request: WebSocketRequest,
) -> impl Future<Output = Option<WebSocketResponse>> + Send + use<> {
    let (api, id) = (Arc::clone(api), request.id);
    let Opener { principal, address, base, .. } = opener;
    let (principal, address, base) = (principal.clone(), *address, base.clone());
    async move {
        let Some(mut request) = convert(request) else {
            let message = "invalid method, path or content type";
            return refuse(id, ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message));
        };
        request.extensions_mut().insert(principal);
        request.extensions_mut().insert(address);
        request.extensions_mut().insert(base);
        // Until the answer waits for the client.
        request.extensions_mut().insert(memory.clone());
        let (parts, body) = api.routes.answer(request).await.into_parts();
        let id = id?;
        match to_bytes(body, MAX_ANSWER).await {
            Ok(body) => Some(summarise(id, &parts, body.to_vec())),
            Err(_) => {
                refuse(Some(id), ApiError::new(StatusCode::BAD_REQUEST, "too_large", TOO_LONG))
            }
        }
    }
}

/// The answer to a request that is not executed, if the client wants one.
pub(super) fn refuse(id: Option<u64>, error: ApiError) -> Option<WebSocketResponse> {
    let (status, body, retry_after) = error.into_parts();
    let content_type = (CONTENT_TYPE.as_str().to_owned(), JSON.to_owned());
    let pause = retry_after.map(|seconds| (RETRY_AFTER.as_str().to_owned(), seconds));
    let headers = [Some(content_type), pause].into_iter().flatten().collect();
    Some(response(id?, status, headers, body.into_bytes()))
}

/// The request as HTTP. `None` if the method or the path is not valid there.
fn convert(request: WebSocketRequest) -> Option<Request> {
    let uri: Uri = without_trailing_slash(&request.path).parse().ok()?;
    let method: Method = request.verb.parse().ok()?;
    let mut converted = Request::new(Body::from(request.body.unwrap_or_default()));
    *converted.uri_mut() = uri;
    *converted.method_mut() = method;
    for name in [CONTENT_TYPE, ACCESS_KEY].into_iter().chain(GROUP_KEYS) {
        let is_same = |given: &str| given.eq_ignore_ascii_case(name.as_str());
        if let Some((_, value)) = request.headers.iter().find(|(given, _)| is_same(given)) {
            let value = HeaderValue::from_str(value).ok()?;
            converted.headers_mut().insert(name, value);
        }
    }
    Some(converted)
}

/// The answer as a message of the socket.
fn summarise(id: u64, parts: &Parts, body: Vec<u8>) -> WebSocketResponse {
    let text = |name: HeaderName| {
        let value = parts.headers.get(&name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    let headers = [CONTENT_TYPE, RETRY_AFTER].into_iter().filter_map(text).collect();
    response(id, parts.status, headers, body)
}

fn response(
    id: u64,
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
) -> WebSocketResponse {
    let message = status.canonical_reason().unwrap_or("Unknown").to_owned();
    let status = status.as_u16();
    WebSocketResponse { id, status, message: Some(message), body: Some(body), headers }
}

const TOO_LONG: &str = "the answer is too long for a WebSocket: ask for less, or over HTTP";

/// Longest body of an answer, in bytes: a client refuses a longer frame.
const MAX_ANSWER: usize = MAX_FRAME - 4096;
