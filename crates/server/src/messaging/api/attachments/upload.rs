//! Stores the body of a request as an attachment.

use std::pin::pin;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::future::{Fuse, FusedFuture, FutureExt};
use futures_util::{Stream, StreamExt};
use hyper::StatusCode;
use tokio::time::timeout;
use wormhole_http::Pace;
use wormhole_http::body::BodyError;

use super::{ApiError, MAX_ATTACHMENT, unavailable};
use crate::messaging::blobs::{BlobName, Progress, Upload, UploadError};
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;
use crate::messaging::request_memory::RequestMemory;

/// An upload whose address is valid.
#[derive(Debug)]
pub(super) struct AllowedUpload {
    pub(super) name: BlobName,
    /// The account to which the address was given, as the address names it.
    pub(super) owner: String,
    /// Longest length, in bytes.
    pub(super) max_bytes: usize,
    pub(super) memory: RequestMemory,
}

/// Pieces that have arrived and are not being written yet.
#[derive(Debug, Default)]
struct Batch {
    pieces: Vec<Bytes>,
    bytes: usize,
}

/// The part that has arrived.
struct Arriving<'a> {
    service: &'a Service,
    owner: &'a str,
    /// Bytes that the attachment may still have.
    left: usize,
    /// Bytes that do not count towards the owner's limit yet.
    uncounted: usize,
    pace: Pace,
}

/// Refuses an upload whose announced length is over the limit.
pub(super) fn check_length(bytes: u64) -> Result<(), ApiError> {
    match usize::try_from(bytes) {
        Ok(bytes) if bytes <= MAX_ATTACHMENT => Ok(()),
        Ok(_) | Err(_) => Err(too_large()),
    }
}

/// Stores the pieces of a body, and returns when everything is on the disk. While pieces are being written, others
/// arrive.
pub(super) async fn upload<E>(
    service: &Service,
    AllowedUpload { name, owner, max_bytes, memory }: AllowedUpload,
    body: impl Stream<Item = Result<Bytes, E>>,
) -> Result<(), ApiError> {
    let upload = service.blobs.begin(name).await?;
    receive(service, upload, Incoming { owner, max_bytes, memory }, body).await.map(drop)
}

/// From whom the bytes of an upload come, and how many may come.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) owner: String,
    /// Maximum number of bytes.
    pub(super) max_bytes: usize,
    pub(super) memory: RequestMemory,
}

/// Writes the pieces of a body. Returns how many bytes of the attachment the server has.
pub(super) async fn receive<E>(
    service: &Service,
    upload: Upload,
    Incoming { owner, max_bytes, memory }: Incoming,
    body: impl Stream<Item = Result<Bytes, E>>,
) -> Result<u64, ApiError> {
    let mut body = pin!(body);
    let pace = Pace::new(MAX_DELAY);
    let mut arriving = Arriving { service, owner: &owner, left: max_bytes, uncounted: 0, pace };
    let mut idle = Some(upload);
    let mut writing = pin!(Fuse::terminated());
    let (mut batch, mut writing_bytes, mut has_ended) = (Batch::default(), 0, false);
    loop {
        if let Some(upload) = idle.take_if(|_| batch.bytes > 0) {
            let Batch { pieces, bytes } = std::mem::take(&mut batch);
            writing_bytes = bytes;
            writing.set(upload.write(pieces).fuse());
        }
        tokio::select! {
            written = &mut writing, if !writing.is_terminated() => {
                idle = Some(written?);
                writing_bytes = 0;
            }
            piece = arriving.next(&mut body), if !has_ended && batch.bytes < MAX_BATCH => {
                match piece? {
                    Some(piece) => batch.push(piece),
                    None => has_ended = true,
                }
                memory.resize(batch.bytes.saturating_add(writing_bytes))?;
            }
            else => break,
        }
    }
    match idle {
        Some(upload) => Ok(upload.finish().await?),
        None => Err(unavailable()),
    }
}

impl Batch {
    fn push(&mut self, piece: Bytes) {
        self.bytes = self.bytes.saturating_add(piece.len());
        self.pieces.push(piece);
    }
}

impl Arriving<'_> {
    /// The next piece, if the client sends it fast enough and may store so much.
    async fn next<E>(
        &mut self,
        body: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Bytes>, ApiError> {
        let begun = tokio::time::Instant::now();
        let piece = match timeout(self.pace.left(), body.next()).await {
            Err(_) => return Err(BodyError::TooSlow.into()),
            Ok(Some(Err(_))) => return Err(incomplete()),
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => return Ok(None),
        };
        self.pace.waited(begun.elapsed(), piece.len());
        self.left = self.left.checked_sub(piece.len()).ok_or_else(too_large)?;
        self.uncounted = self.uncounted.saturating_add(piece.len());
        self.count()?;
        Ok(Some(piece))
    }

    /// Counts what has arrived towards the limit of the owner.
    fn count(&mut self) -> Result<(), ApiError> {
        let kib = u32::try_from(self.uncounted / 1024).unwrap_or(u32::MAX);
        self.uncounted %= 1024;
        let limits = &self.service.limits;
        limits
            .spend(Action::AttachmentKib, self.owner, kib, Instant::now())
            .map_err(ApiError::too_many)
    }
}

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Arriving => {
                let message = "this attachment is being uploaded";
                Self::new(StatusCode::CONFLICT, "uploading", message)
            }
            UploadError::Exists => {
                let message = "this attachment is already stored";
                Self::new(StatusCode::CONFLICT, "exists", message)
            }
            UploadError::Full => {
                let message = "the storage for attachments is full";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "full", message)
            }
            UploadError::NotFound => Self::not_found("no such upload; begin again"),
            UploadError::Offset(Progress { offset, .. }) => {
                let message = format!("the server has {offset} bytes of this upload");
                Self::new(StatusCode::CONFLICT, "bad_offset", message)
            }
            UploadError::TooMany => Self::too_many(BUSY),
            UploadError::Io(error) => {
                tracing::warn!(%error, "an attachment is not stored");
                unavailable()
            }
        }
    }
}

fn incomplete() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "incomplete", "the upload is not complete")
}

fn too_large() -> ApiError {
    let message = "an attachment has at most 100 MiB, and a picture of a profile 10 MiB";
    ApiError::new(StatusCode::BAD_REQUEST, "too_large", message)
}

/// Bytes that arrive at most while others are being written.
const MAX_BATCH: usize = 256 << 10;

/// When an account may begin another upload that is uploading as much as it may.
const BUSY: Duration = Duration::from_secs(60);

/// How far a client may be behind 8 KiB per second.
const MAX_DELAY: Duration = Duration::from_secs(60);
