//! Pages for people and monitors.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::{Method, StatusCode};
use wormhole_http::{Request, Response, Routes};

use crate::metrics::Metrics;

/// The pages of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Pages(Routes);

impl Pages {
    /// Creates pages. The response for every other path is `missing`.
    pub(super) fn new(pages: Router, missing: &'static str) -> Self {
        let router = pages.method_not_allowed_fallback(|| async { only_get() }).fallback(
            move |method: Method| async move {
                if matches!(method, Method::GET | Method::HEAD) {
                    (StatusCode::NOT_FOUND, missing).into_response()
                } else {
                    only_get()
                }
            },
        );
        Self(Routes::new(router))
    }

    /// The pages of a service, and those for monitors.
    pub(crate) fn of_service(pages: Router, metrics: Arc<Metrics>) -> Self {
        let monitored = if metrics.has_listener() {
            let elsewhere = (StatusCode::NOT_FOUND, "not found: /metrics is at metrics-listen\n");
            Router::new().route("/health", get(HEALTHY)).route("/metrics", get(elsewhere))
        } else {
            for_monitors(metrics)
        };
        Self::new(pages.merge(monitored), "not found\n")
    }

    /// The response to a request.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        self.0.answer(request).await
    }
}

/// The pages for monitors.
pub(super) fn for_monitors(metrics: Arc<Metrics>) -> Router {
    let metrics = move || {
        let page = metrics.render();
        async move { ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], page) }
    };
    Router::new().route("/health", get(HEALTHY)).route("/metrics", get(metrics))
}

/// Whether monitors request this path. They do so every few seconds, so these requests must not count for the limits of
/// their address.
pub(super) fn is_for_monitors(path: &str) -> bool {
    matches!(path, "/health" | "/metrics")
}

fn only_get() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], "only GET\n").into_response()
}

const HEALTHY: &str = "ok\n";
