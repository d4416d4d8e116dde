//! The HTTP API: paths, JSON and status codes. (docs/chat-service.md)
//!
//! Requests inside of a WebSocket go through the same router.

mod accounts;
mod app;
mod attachments;
mod attributes;
mod auth;
mod body;
mod caller;
mod certificates;
mod device_list;
mod devices;
mod directory;
mod error;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod groups;
mod json;
mod key_json;
mod keys;
mod message_json;
mod messages;
mod multi_recipient;
mod openapi;
mod profiles;
mod provisioning;
mod push;
mod registration;
mod requests;
mod usernames;

use std::sync::Arc;

use std::borrow::Cow;
use std::net::IpAddr;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::map_response;
use axum::response::IntoResponse;
use axum::routing::get;

pub(super) use app::AppProof;
pub(super) use auth::{Authenticated, Credentials, Current, Principal};
pub(super) use caller::ACCESS_KEY;
pub(super) use certificates::Issuer;
pub(super) use error::ApiError;
pub(super) use groups::GROUP_KEYS;
pub(super) use messages::Fetching;
pub(super) use provisioning::MAX_PROVISIONING_MESSAGE;

use hyper::header::{ALLOW, CONTENT_TYPE, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::{StatusCode, Uri};

use json::{Json, Nothing};

use super::context::Service;
use wormhole_http::Response;

/// The address of the client, or its proxy's report of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// The scheme and the host with which the client has reached the service, such as `https://example.org`.
#[derive(Clone, Debug)]
pub(super) struct BaseUrl(pub(super) Arc<str>);

/// All paths.
pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .merge(accounts::routes())
        .merge(attachments::routes())
        .merge(certificates::routes())
        .merge(device_list::routes())
        .merge(devices::routes())
        .merge(directory::routes())
        .merge(groups::routes())
        .merge(keys::routes())
        .merge(messages::routes())
        .merge(multi_recipient::routes())
        .merge(profiles::routes())
        .merge(provisioning::routes())
        .merge(push::routes())
        .merge(registration::routes())
        .merge(requests::routes())
        .merge(usernames::routes())
        .route("/v1/keepalive", get(keepalive))
        .route("/openapi.json", get(openapi::document))
        .fallback(|| async { ApiError::not_found("no such path") })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(map_response(with_json_error))
        // `body` has the limits of all bodies but attachments.
        .layer(DefaultBodyLimit::disable())
        .with_state(service)
}

/// The answer, in which an error of a library is JSON like all others.
pub(super) async fn with_json_error(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|value| value == JSON);
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let code = if status.is_server_error() { "internal" } else { "bad_request" };
    let message = status.canonical_reason().unwrap_or("the request is not valid");
    let mut error = ApiError::new(status, code, message).into_response();
    for name in [ALLOW, UPGRADE, SEC_WEBSOCKET_VERSION] {
        if let Some(value) = response.headers().get(&name) {
            error.headers_mut().insert(name, value.clone());
        }
    }
    error
}

/// A path of the API without a slash at its end. Clients differ in whether they write one.
pub(super) fn without_trailing_slash(path_and_query: &str) -> Cow<'_, str> {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    match (path.strip_suffix('/'), query) {
        (None | Some(""), _) => Cow::Borrowed(path_and_query),
        (Some(path), None) => Cow::Borrowed(path),
        (Some(path), Some(query)) => Cow::Owned(format!("{path}?{query}")),
    }
}

/// Removes the slash at the end of the path of a request.
pub(super) fn remove_trailing_slash(uri: &mut Uri) {
    let shortened = uri.path_and_query().map(|it| without_trailing_slash(it.as_str()));
    if let Some(shortened) = shortened.and_then(|shortened| shortened.parse().ok()) {
        *uri = shortened;
    }
}

/// Answers, so that a client knows that its connection works.
#[utoipa::path(
    get, path = "/v1/keepalive", tag = "connection",
    responses((status = 200, description = "the connection works", body = Nothing))
)]
async fn keepalive() -> Json<Nothing> {
    Json(Nothing {})
}

async fn method_not_allowed() -> Response {
    let message = "this path has other methods";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "bad_method", message).into_response()
}

/// The content type of every answer. With a `charset` parameter, deployed clients do not recognise it.
pub(super) const JSON: &str = "application/json";

/// Longest body of a request, in bytes. Attachments have their own limit.
const MAX_BODY: usize = 1 << 20;
