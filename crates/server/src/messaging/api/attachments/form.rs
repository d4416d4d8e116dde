//! An attachment that is sent as a form: some short fields, and the file as the last one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::Field;
use axum::extract::{FromRequest, Multipart, Request};
use futures_util::Stream;
use hyper::StatusCode;
use tokio::time::{Instant, timeout_at};
use wormhole_http::body::BodyError;

use super::ApiError;

/// A form that is being read.
#[derive(Debug)]
pub(super) struct UploadForm {
    form: Multipart,
    /// Set when the file has begun.
    pub(super) in_file: Arc<AtomicBool>,
    /// Fields that the form may still have.
    left: usize,
    /// When the file must have begun.
    deadline: Instant,
}

/// The fields before the file. Those that are missing are empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) key: String,
    pub(super) credential: String,
    pub(super) policy: String,
    pub(super) signature: String,
}

/// The body of a form. The decoder keeps what it cannot decode yet, so this ends if the file does not begin soon.
struct Limited {
    body: BodyDataStream,
    in_file: Arc<AtomicBool>,
    /// Bytes that have arrived before the file.
    bytes: usize,
    /// Whether the decoder has not looked at the last piece yet.
    is_new: bool,
}

impl UploadForm {
    /// The form in the body of a request.
    pub(super) async fn new(request: Request) -> Result<Self, ApiError> {
        let in_file = Arc::new(AtomicBool::new(false));
        let request = request.map(|body| {
            let (body, in_file) = (body.into_data_stream(), Arc::clone(&in_file));
            Body::from_stream(Limited { body, in_file, bytes: 0, is_new: false })
        });
        let form = Multipart::from_request(request, &()).await.map_err(|_| bad_form())?;
        Ok(Self { form, in_file, left: MAX_FIELDS, deadline: Instant::now() + FIELDS_TIME })
    }

    /// The next field.
    pub(super) async fn next(&mut self) -> Result<Field<'_>, ApiError> {
        self.left = self.left.checked_sub(1).ok_or_else(bad_form)?;
        let field = timeout_at(self.deadline, self.form.next_field()).await;
        field.map_err(|_| BodyError::TooSlow)?.map_err(|_| bad_form())?.ok_or_else(bad_form)
    }

    /// When the file must have begun.
    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl Fields {
    /// Reads a field before the file.
    pub(super) async fn read(
        &mut self,
        field: Field<'_>,
        deadline: Instant,
    ) -> Result<(), ApiError> {
        let name = field.name().unwrap_or_default().to_owned();
        let text = timeout_at(deadline, text(field)).await.map_err(|_| BodyError::TooSlow)??;
        match name.as_str() {
            "key" => self.key = text,
            "policy" => self.policy = text,
            "x-amz-credential" => self.credential = text,
            "x-amz-signature" => self.signature = text,
            _ => {}
        }
        Ok(())
    }
}

/// Reads a short text.
async fn text(mut field: Field<'_>) -> Result<String, ApiError> {
    let mut text = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|_| bad_form())? {
        if text.len().saturating_add(piece.len()) > MAX_FIELD {
            return Err(bad_form());
        }
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).map_err(|_| bad_form())
}

impl Stream for Limited {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The decoder reads as much as it gets, so it gets one piece at a time.
        if std::mem::take(&mut self.is_new) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let in_file = self.in_file.load(Ordering::Relaxed);
        if !in_file && self.bytes >= MAX_BYTES_BEFORE_FILE {
            return Poll::Ready(Some(Err(axum::Error::new(BodyError::TooLarge))));
        }
        let piece = ready!(Pin::new(&mut self.body).poll_next(cx));
        if let Some(Ok(piece)) = &piece {
            self.is_new = true;
            self.bytes = self.bytes.saturating_add(piece.len());
        }
        Poll::Ready(piece)
    }
}

fn bad_form() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad_form", "the form is malformed or has no file")
}

/// Maximum number of fields of a form. Clients send nine.
const MAX_FIELDS: usize = 20;

/// Longest text in a field, in bytes.
const MAX_FIELD: usize = 4096;

/// Bytes after which the file must begin. The last piece may be longer.
const MAX_BYTES_BEFORE_FILE: usize = 64 << 10;

/// Time until the file begins.
const FIELDS_TIME: Duration = Duration::from_secs(60);
