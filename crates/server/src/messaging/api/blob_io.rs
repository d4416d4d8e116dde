//! The content of attachments, between a connection and a thread that reads or writes the file.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::multipart::Field;
use axum::response::IntoResponse;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use hyper::StatusCode;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wormhole_http::Response;

use super::ApiError;
use crate::messaging::blobs::{BlobName, UploadError, send_part};
use crate::messaging::service::Service;

/// Stores the pieces of a body under this name, and returns when everything is on the disk.
pub(super) async fn upload<E>(
    service: &Service,
    name: BlobName,
    body: impl Stream<Item = Result<Bytes, E>>,
) -> Result<(), ApiError> {
    let mut body = pin!(body);
    let (sender, receiver) = mpsc::channel(PIECES);
    let blobs = Arc::clone(&service.blobs);
    let writing = tokio::task::spawn_blocking(move || blobs.store(&name, receiver));
    let mut left = MAX_ATTACHMENT;
    loop {
        let piece = match timeout(PIECE_TIME, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(piece))) => Some(piece),
            // The thread gets no final `None`, so it knows that the upload is not complete.
            Ok(Some(Err(_))) | Err(_) => return Err(incomplete()),
        };
        left = left.checked_sub(piece.as_ref().map_or(0, Bytes::len)).ok_or_else(too_large)?;
        let is_last = piece.is_none();
        // If the thread has ended, its result says why.
        if sender.send(piece).await.is_err() || is_last {
            break;
        }
    }
    drop(sender);
    match writing.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(UploadError::Exists)) => {
            let message = "this attachment is already stored";
            Err(ApiError::new(StatusCode::CONFLICT, "exists", message))
        }
        Ok(Err(UploadError::Full)) => {
            let message = "the storage for attachments is full";
            Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "full", message))
        }
        Ok(Err(error @ (UploadError::Incomplete | UploadError::Io(_)))) => {
            tracing::warn!(%error, "an attachment is not stored");
            Err(unavailable())
        }
        Err(error) => {
            tracing::error!(%error, "an attachment is not stored");
            Err(unavailable())
        }
    }
}

/// Reads a short text of a form.
pub(super) async fn form_text(mut field: Field<'_>) -> Result<String, ApiError> {
    let bad =
        || ApiError::new(StatusCode::BAD_REQUEST, "bad_form", "a field of the form is malformed");
    let mut text = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|_| bad())? {
        if text.len() + piece.len() > MAX_FIELD {
            return Err(bad());
        }
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).map_err(|_| bad())
}

/// Sends an attachment, or the part of it that `Range` names. (RFC 9110, section 14.2)
pub(super) async fn download(
    service: &Service,
    name: BlobName,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let blobs = Arc::clone(&service.blobs);
    let opened = tokio::task::spawn_blocking(move || blobs.read(&name)).await;
    let (file, length) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ApiError::not_found("no such attachment"));
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "an attachment cannot be read");
            return Err(unavailable());
        }
        Err(error) => {
            tracing::error!(%error, "an attachment cannot be read");
            return Err(unavailable());
        }
    };
    let range = headers
        .get(RANGE)
        .and_then(|value| value.to_str().ok())
        .map(|text| parse_range(text, length));
    let (status, start, end) = match range {
        None | Some(Range::Whole) => (StatusCode::OK, 0, length),
        Some(Range::Part(start, end)) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(Range::Outside) => {
            let headers = [(CONTENT_RANGE, format!("bytes */{length}"))];
            let message = "the attachment is shorter than the range";
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad_range", message);
            return Ok((headers, error).into_response());
        }
    };
    let (sender, receiver) = mpsc::channel(PIECES);
    // Ends with the file, or when the connection has gone.
    drop(tokio::task::spawn_blocking(move || send_part(file, start, end - start, &sender)));
    let pieces = unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, (end - start).to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let mut response = (status, headers, Body::from_stream(pieces)).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{length}", end.saturating_sub(1));
        if let Ok(range) = range.parse() {
            response.headers_mut().insert(CONTENT_RANGE, range);
        }
    }
    Ok(response)
}

/// The part of a file that a client wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Range {
    /// Nothing of it exists.
    Outside,
    /// From the first position up to, and without, the second.
    Part(u64, u64),
    /// Everything, also if the header is malformed or names several parts.
    Whole,
}

fn parse_range(text: &str, length: u64) -> Range {
    let Some((first, last)) =
        text.trim().strip_prefix("bytes=").and_then(|part| part.split_once('-'))
    else {
        return Range::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= length => Range::Outside,
        (Ok(first), Ok(last)) if first <= last => {
            Range::Part(first, last.saturating_add(1).min(length))
        }
        (Ok(first), Err(_)) if last.is_empty() => Range::Part(first, length),
        (Err(_), Ok(0)) if first.is_empty() => Range::Outside,
        (Err(_), Ok(last)) if first.is_empty() => Range::Part(length.saturating_sub(last), length),
        _ => Range::Whole,
    }
}

fn incomplete() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "incomplete", "the upload is not complete")
}

fn too_large() -> ApiError {
    let message = "an attachment has at most 100 MiB";
    ApiError::new(StatusCode::BAD_REQUEST, "too_large", message)
}

fn unavailable() -> ApiError {
    let message = "the storage for attachments is not available; try again later";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
}

/// Longest attachment, in bytes.
const MAX_ATTACHMENT: usize = 100 << 20;

/// Longest text in a field of a form, in bytes.
const MAX_FIELD: usize = 4096;

/// Pieces that wait for the other side.
const PIECES: usize = 4;

/// Time for one piece of an upload.
const PIECE_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let cases = [
            ("bytes=0-99", Range::Part(0, 100)),
            ("bytes=0-0", Range::Part(0, 1)),
            ("bytes=50-", Range::Part(50, 100)),
            ("bytes=90-200", Range::Part(90, 100)),
            ("bytes=-10", Range::Part(90, 100)),
            ("bytes=-200", Range::Part(0, 100)),
            ("bytes=100-", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=5-2", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("items=0-1", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=18446744073709551615-", Range::Outside),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_range(text, 100), expected, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Range::Outside);
    }
}
