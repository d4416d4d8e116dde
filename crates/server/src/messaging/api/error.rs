//! Errors of the API: a status code and a JSON object `{"error": CODE, "message": TEXT}`.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::IntoResponse;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use wormhole_chat::service::NotADestination;

use super::JSON;
use crate::messaging::store::{StoreError, WorkError};
use wormhole_http::Response;

/// A request that is not executed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::messaging) struct ApiError {
    status: StatusCode,
    /// Never changes, so that programs can compare it.
    code: &'static str,
    /// For people.
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// An error with this status code.
    pub(in crate::messaging) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// The credentials are missing or wrong. Does not say which, so that nobody can find out who has an account.
    pub(in crate::messaging) fn bad_credentials() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bad_credentials", "missing or wrong credentials")
    }

    /// The app's name or token is missing or wrong.
    pub(in crate::messaging) fn bad_package() -> Self {
        let message = "X-PKG-NAME or X-PKG-TOKEN is missing or wrong";
        Self::new(StatusCode::UNAUTHORIZED, "bad_package", message)
    }

    /// The body is not the JSON that this request needs.
    pub(in crate::messaging) fn bad_json(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_json", reason)
    }

    /// Only the primary device may do this.
    pub(in crate::messaging) fn primary_device_only() -> Self {
        let message = "only the primary device may do this";
        Self::new(StatusCode::UNAUTHORIZED, "primary_device", message)
    }

    /// A code is wrong.
    pub(in crate::messaging) fn wrong_code() -> Self {
        let message = "the verification code is wrong, expired or already used";
        Self::new(StatusCode::FORBIDDEN, "bad_code", message)
    }

    /// The path names no account.
    pub(in crate::messaging) fn bad_destination(error: NotADestination) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_destination", error.to_string())
    }

    /// The query of the path is malformed.
    pub(in crate::messaging) fn bad_query() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", "malformed query")
    }

    /// The database is not available.
    pub(in crate::messaging) fn unavailable() -> Self {
        let message = "the database is not available; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// A verification code could not be sent.
    pub(in crate::messaging) fn not_sent() -> Self {
        let message = "the code could not be sent; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// A value has the right type, but is not allowed.
    pub(in crate::messaging) fn invalid(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", reason)
    }

    /// Whether the credentials are the reason.
    pub(in crate::messaging) fn is_unauthorized(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Whether there is no such thing.
    pub(in crate::messaging) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// There is no such thing.
    pub(in crate::messaging) fn not_found(message: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// The body is longer than any valid one. Not 413: that means "too many requests".
    pub(in crate::messaging) fn too_large() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "too_large", "the body is too long")
    }

    /// Too many requests. The status is 413, which all clients know. (docs/chat-service.md "Limits")
    pub(in crate::messaging) fn too_many(retry_after: Duration) -> Self {
        let message = "too many requests; try again later";
        let error = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "rate_limited", message);
        Self { retry_after: Some(retry_after), ..error }
    }
}

impl From<StoreError> for ApiError {
    fn from(_: StoreError) -> Self {
        Self::unavailable()
    }
}

impl<R: Into<Self>> From<WorkError<R>> for ApiError {
    fn from(error: WorkError<R>) -> Self {
        match error {
            WorkError::Refused(refusal) => refusal.into(),
            WorkError::Store(error) => error.into(),
        }
    }
}

impl ApiError {
    /// The status, the JSON, and the value of `Retry-After`, in seconds.
    pub(in crate::messaging) fn into_parts(self) -> (StatusCode, String, Option<String>) {
        let body = serde_json::json!({ "error": self.code, "message": self.message });
        let seconds = |pause: Duration| format!("{}", pause.as_secs_f64().ceil());
        (self.status, body.to_string(), self.retry_after.map(seconds))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, body, retry_after) = self.into_parts();
        let mut response = (status, [(CONTENT_TYPE, JSON)], body).into_response();
        if let Some(value) = retry_after.and_then(|seconds| HeaderValue::from_str(&seconds).ok()) {
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        response
    }
}
