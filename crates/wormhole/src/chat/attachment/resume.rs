//! Uploads a file with the protocol tus 1.0, so that the upload can be continued. (docs/chat-service.md "Attachments")

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{once, unfold};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use hyper::{Method, Request};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wormhole_chat::AttachmentPlace;

use super::records::{Record, Uploads};
use super::seal::{Checks, ENDED, Piece, SealError, SealingKeys, blob_length, seal};
use super::upload::{MIN_RATE, Source, UPLOAD_TIME, Uploaded};
use super::{PIECES, send_to};
use crate::chat::error::QueueError;
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::service::{Service, UploadProgress};
use crate::net::LinkFailure;
use crate::net::http::{self, HttpBody, StreamedResponse};

/// Uploads a file, or continues an earlier upload. `None` if the server does not know this way.
///
/// # Errors
/// The file cannot be read, or the server has not confirmed that it has everything. What it has stays there for a day.
pub(super) async fn upload(
    service: &Service,
    uploads: &Uploads,
    source: &Source,
) -> Result<Option<Uploaded>, QueueError> {
    let length = blob_length(source.padded);
    let mut file = source.identity();
    let running = uploads.begin(&file);
    if running.is_none() {
        // Two uploads of one file at the same time are two attachments, and only the first one can be continued by another process.
        file = format!("{file} again");
    }
    for _ in 0..2 {
        let known = match uploads.find(&file).await {
            Some(record) => offset(service, &record, length).await?.map(|offset| (record, offset)),
            None => None,
        };
        let (record, offset) = match known {
            Some(known) => known,
            None => match create(service, uploads, file.clone(), length).await? {
                Some(record) => (record, 0),
                None => return Ok(None),
            },
        };
        match send(service, uploads, source, &record, (offset, length)).await? {
            Some(uploaded) => return Ok(Some(uploaded)),
            // The file has changed: everything from the start, with another key.
            None => {
                uploads.forget(&file).await;
                // If this fails, it expires.
                let _removed = exchange(service, &record, Method::DELETE, &record.location).await;
            }
        }
    }
    Err(source.unreadable(io::ErrorKind::InvalidData))
}

/// Begins an upload.
async fn create(
    service: &Service,
    uploads: &Uploads,
    file: String,
    length: u64,
) -> Result<Option<Record>, QueueError> {
    let Some(form) = service.resumable_form(length).await? else { return Ok(None) };
    let location = format!("{}/{}", form.signed_upload_location, form.key);
    let place = (form.key.clone(), location);
    let record = Record::new(file, &SealingKeys::random(), place, form.headers);
    let request = request(&record, Method::POST)?.header(LENGTH, length).body(empty());
    let request = request.map_err(|_| RequestError::Internal)?;
    let response = send_to(service, &form.signed_upload_location, request).await;
    let response = response.map_err(QueueError::from)?;
    if response.status != 201 {
        return Err(refused(&response).into());
    }
    uploads.put(record.clone()).await.ok_or(RequestError::Internal)?;
    Ok(Some(record))
}

/// How much the server has of an upload. `None` if it does not know the upload any more.
async fn offset(
    service: &Service,
    record: &Record,
    length: u64,
) -> Result<Option<u64>, QueueError> {
    let response = exchange(service, record, Method::HEAD, &record.location).await?;
    match response.status {
        200 if number(&response.headers, &LENGTH) == Some(length) => {
            Ok(number(&response.headers, &OFFSET).filter(|offset| *offset <= length))
        }
        413 | 423 | 429 | 500.. => Err(refused(&response).into()),
        _ => Ok(None),
    }
}

/// Sends what the server does not have. `None` if what it has belongs to another content.
async fn send(
    service: &Service,
    uploads: &Uploads,
    source: &Source,
    record: &Record,
    (offset, length): (u64, u64),
) -> Result<Option<Uploaded>, QueueError> {
    let (Some(keys), Some(digests)) = (record.keys(), record.digests()) else { return Ok(None) };
    let (storing, name) = (uploads.clone(), record.file.clone());
    let store = move |digest| storing.add_digest(&name, digest);
    let mut checks = Checks { digests, skip: offset, store: Some(Box::new(store)) };
    let file = source.file().await?;
    let sizes = (source.size, source.padded);
    let (pieces, receiver) = mpsc::channel(PIECES);
    let key = keys.key.clone();
    let sealing = spawn_blocking(move || seal(file, sizes, &keys, &mut checks, &pieces));
    let sent = patch(service, record, (offset, length), receiver).await;
    let sealed = sealing.await.map_err(|_| source.unreadable(io::ErrorKind::Other))?;
    let digest = match (sealed, sent) {
        (Err(SealError::Changed), _) => return Ok(None),
        // If the file could not be read, the upload has failed because of that.
        (Err(SealError::File(error)), _) if error.kind() != ENDED => {
            return Err(source.unreadable(error.kind()));
        }
        (_, Err(error)) => return Err(error.into()),
        (sealed, Ok(())) => sealed.map_err(|_| source.unreadable(io::ErrorKind::Other))?,
    };
    let place = match record.name.parse() {
        Ok(id) => AttachmentPlace::Id(id),
        Err(_) => AttachmentPlace::Key(STORE, record.name.clone()),
    };
    Ok(Some(Uploaded { place, key, digest }))
}

/// Appends the pieces, which are what follows the offset.
async fn patch(
    service: &Service,
    record: &Record,
    (offset, length): (u64, u64),
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<(), RequestError> {
    // The request begins when the first piece is ready: what the server has is checked before.
    let Some(first) = pieces.recv().await else { return Ok(()) };
    let first = first.map_err(|_| RequestError::Connection(LinkFailure::Closed))?;
    let pieces = unfold(pieces, async |mut pieces| {
        let piece: Piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let (progress, mut sent) = (service.upload_progress().clone(), offset);
    let body = once(async { io::Result::Ok(first) }).chain(pieces).inspect(move |piece| {
        let bytes = piece.as_ref().map_or(0, Bytes::len);
        sent = sent.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        progress.send_replace(UploadProgress { sent, total: length });
    });
    let body = StreamBody::new(body.map(|piece| piece.map(Frame::data)));
    let rest = length.saturating_sub(offset);
    let request = request(record, Method::PATCH)?
        .header(OFFSET, offset)
        .header(CONTENT_LENGTH, rest)
        .header(CONTENT_TYPE, "application/offset+octet-stream")
        .body(body.boxed_unsync())
        .map_err(|_| RequestError::Internal)?;
    let time = UPLOAD_TIME + Duration::from_secs(rest / MIN_RATE);
    let response = timeout(time, send_to(service, &record.location, request)).await;
    let response = response.map_err(|_| RequestError::Connection(LinkFailure::TimedOut))??;
    match response.status {
        204 if number(&response.headers, &OFFSET) == Some(length) => Ok(()),
        // Something else has happened to the upload: the next attempt asks first.
        204 | 409 => Err(RequestError::Unavailable(response.status)),
        _ => Err(refused(&response)),
    }
}

async fn exchange(
    service: &Service,
    record: &Record,
    method: Method,
    location: &str,
) -> Result<StreamedResponse, RequestError> {
    let request = request(record, method)?.body(empty()).map_err(|_| RequestError::Internal)?;
    send_to(service, location, request).await
}

fn request(record: &Record, method: Method) -> Result<hyper::http::request::Builder, RequestError> {
    let mut request = Request::builder().method(method).uri("/").header(RESUMABLE, "1.0.0");
    let headers = request.headers_mut().ok_or(RequestError::Internal)?;
    for (name, value) in &record.headers {
        let name: HeaderName = name.parse().map_err(|_| ServerFault::FileAddress)?;
        let mut value: hyper::header::HeaderValue =
            value.parse().map_err(|_| ServerFault::FileAddress)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(request)
}

fn empty() -> HttpBody {
    http::body(Bytes::new())
}

/// Returns the error for an answer other than success.
fn refused(response: &StreamedResponse) -> RequestError {
    match response.status {
        // The server is still busy with a request whose connection was lost.
        423 => RequestError::Unavailable(423),
        status => RequestError::from_storage_status(status, response.retry_after()),
    }
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// The number of the store whose protocol this is.
const STORE: u32 = 3;

const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
