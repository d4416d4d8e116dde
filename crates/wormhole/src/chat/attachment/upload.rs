//! Uploads a file as a form. Every client can download it: those of 2014 through the address that the server names, later
//! ones by its key. (docs/chat-service.md "Attachments")

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use futures_util::stream::{once, unfold};
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use rand_core::{OsRng, RngCore};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wormhole_chat::{AttachmentKey, AttachmentPlace, AttachmentPointer, attachment_padding};

use super::records::Uploads;
use super::seal::{Checks, ENDED, Piece, SealError, SealingKeys, blob_length, seal};
use super::{PIECES, resume, send_to};
use crate::chat::RequestError;
use crate::chat::error::QueueError;
use crate::chat::service::{PictureForm, Service, UploadForm};
use crate::net::LinkFailure;

/// Encrypts a file and uploads it, or continues an upload of it that was interrupted, perhaps before the program ended.
///
/// # Errors
/// The file cannot be read or is too large, or the server does not take it.
pub(in crate::chat) async fn upload(
    service: &Service,
    uploads: &Uploads,
    path: &Path,
) -> Result<AttachmentPointer, QueueError> {
    let _turn = service.transfer_turn().await;
    let source = Source::open(path, true).await?;
    let claimed = u32::try_from(source.size).ok().filter(|_| source.size <= MAX_FILE);
    let claimed = claimed.ok_or_else(|| QueueError::FileTooLarge(path.to_owned()))?;
    let Uploaded { place, key, digest } = match resume::upload(service, uploads, &source).await? {
        Some(uploaded) => uploaded,
        // The server is older than this way.
        None => upload_form(service, &source).await?,
    };
    let pointer = AttachmentPointer::new(place, key, claimed, digest, content_type(path));
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(AttachmentPointer { file_name, ..pointer })
}

/// The uploaded file.
#[derive(Debug)]
pub(super) struct Uploaded {
    pub(super) place: AttachmentPlace,
    pub(super) key: AttachmentKey,
    pub(super) digest: [u8; 32],
}

/// Uploads a file as a form, which cannot be continued.
async fn upload_form(service: &Service, source: &Source) -> Result<Uploaded, QueueError> {
    let form = service.upload_form().await?;
    let (keys, mut checks) = (SealingKeys::random(), Checks::default());
    let key = keys.key.clone();
    let padded = source.padded;
    let (pieces, receiver) = mpsc::channel(PIECES);
    let file = source.file().await?;
    let size = source.size;
    let sealing = spawn_blocking(move || seal(file, (size, padded), &keys, &mut checks, &pieces));
    let posted = post(service, &form, blob_length(padded), receiver).await;
    let sealed = sealing.await.map_err(|_| source.unreadable(io::ErrorKind::Other))?;
    let digest = match (sealed, posted) {
        // If the file could not be read, the upload has failed because of that.
        (Err(SealError::File(error)), _) if error.kind() != ENDED => {
            return Err(source.unreadable(error.kind()));
        }
        (_, Err(error)) => return Err(error.into()),
        (sealed, Ok(())) => sealed.map_err(|_| source.unreadable(io::ErrorKind::Other))?,
    };
    Ok(Uploaded { place: AttachmentPlace::Id(form.attachment_id), key, digest })
}

/// A file to upload.
#[derive(Debug)]
pub(in crate::chat) struct Source {
    path: PathBuf,
    pub(in crate::chat) size: u64,
    /// Its size with padding.
    pub(super) padded: u64,
    /// When it was changed last, in nanoseconds since 1970.
    modified: u128,
}

impl Source {
    /// A regular file, with padding or without. Others, such as pipes, could block indefinitely.
    pub(in crate::chat) async fn open(path: &Path, is_padded: bool) -> Result<Self, QueueError> {
        let opening = path.to_owned();
        let found = spawn_blocking(move || {
            let path = std::fs::canonicalize(opening)?;
            let metadata = std::fs::metadata(&path)?;
            if !metadata.is_file() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let (size, modified) = (metadata.len(), metadata.modified()?);
            let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            File::open(&path)?;
            let padded = if is_padded { attachment_padding(size).min(MAX_FILE) } else { size };
            let padded = padded.max(size);
            io::Result::Ok(Self { path, size, padded, modified })
        });
        let found = found.await.map_err(io::Error::other).and_then(|found| found);
        found.map_err(|error| QueueError::File(path.to_owned(), error.kind()))
    }

    /// Opens it again.
    pub(in crate::chat) async fn file(&self) -> Result<File, QueueError> {
        let path = self.path.clone();
        let file = spawn_blocking(|| File::open(path)).await.map_err(io::Error::other);
        file.and_then(|file| file).map_err(|error| self.unreadable(error.kind()))
    }

    /// Differs if it is another file, or may have changed.
    pub(in crate::chat) fn identity(&self) -> String {
        let hash = Sha256::new_with_prefix("wormhole upload")
            .chain_update(self.size.to_be_bytes())
            .chain_update(self.modified.to_be_bytes())
            .chain_update(self.path.as_os_str().as_encoded_bytes());
        HEXLOWER.encode(&hash.finalize())
    }

    pub(in crate::chat) fn unreadable(&self, kind: io::ErrorKind) -> QueueError {
        QueueError::File(self.path.clone(), kind)
    }
}

/// Uploads an encrypted picture of a profile.
///
/// # Errors
/// The server does not take it.
pub(in crate::chat) async fn post_picture(
    service: &Service,
    form: &PictureForm,
    picture: Vec<u8>,
) -> Result<(), RequestError> {
    let form = form.clone();
    let form = UploadForm {
        attachment_id: 0,
        key: form.key,
        credential: form.credential,
        acl: form.acl,
        algorithm: form.algorithm,
        date: form.date,
        policy: form.policy,
        signature: form.signature,
    };
    let length = u64::try_from(picture.len()).unwrap_or(u64::MAX);
    let (pieces, receiver) = mpsc::channel(PIECES);
    // There is room for it.
    let _sent = pieces.try_send(Ok(picture.into()));
    drop(pieces);
    post(service, &form, length, receiver).await
}

async fn post(
    service: &Service,
    form: &UploadForm,
    length: u64,
    pieces: mpsc::Receiver<Piece>,
) -> Result<(), RequestError> {
    let Envelope { head, tail, content_type } = Envelope::from_form(form);
    let around = u64::try_from(head.len() + tail.len()).unwrap_or(u64::MAX);
    let pieces = unfold(pieces, async |mut pieces| {
        let piece: Piece = pieces.recv().await?;
        Some((piece, pieces))
    });
    let text = |text: String| once(async { io::Result::Ok(Bytes::from(text)) });
    let body = text(head).chain(pieces).chain(text(tail)).map(|piece| piece.map(Frame::data));
    let request = Request::post("/")
        .header(CONTENT_LENGTH, length.saturating_add(around))
        .header(CONTENT_TYPE, content_type)
        .body(StreamBody::new(body).boxed_unsync())
        .map_err(|_| RequestError::Internal)?;
    let time = UPLOAD_TIME + Duration::from_secs(length / MIN_RATE);
    let response = timeout(time, send_to(service, &service.posted_attachments(), request)).await;
    let response = response.map_err(|_| RequestError::Connection(LinkFailure::TimedOut))??;
    match response.status {
        200..300 => Ok(()),
        status => Err(RequestError::from_storage_status(status, response.retry_after())),
    }
}

/// The parts of a form before and after the file. (RFC 7578)
struct Envelope {
    head: String,
    tail: String,
    content_type: String,
}

impl Envelope {
    fn from_form(form: &UploadForm) -> Self {
        // Cannot be in the file, because nobody knows it before.
        let mut boundary = [0; 24];
        OsRng.fill_bytes(&mut boundary);
        let boundary = HEXLOWER.encode(&boundary);
        let part =
            |name| format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"");
        let fields = [
            ("key", form.key.as_str()),
            ("x-amz-credential", &form.credential),
            ("acl", &form.acl),
            ("x-amz-algorithm", &form.algorithm),
            ("x-amz-date", &form.date),
            ("policy", &form.policy),
            ("x-amz-signature", &form.signature),
            ("Content-Type", OCTETS),
        ];
        let field = |(name, value)| format!("{}\r\n\r\n{value}\r\n", part(name));
        let fields: String = fields.into_iter().map(field).collect();
        let file = part("file");
        let head = format!("{fields}{file}; filename=\"file\"\r\nContent-Type: {OCTETS}\r\n\r\n");
        let content_type = format!("multipart/form-data; boundary={boundary}");
        Self { head, tail: format!("\r\n--{boundary}--\r\n"), content_type }
    }
}

/// The MIME type that other clients expect for a file name.
pub(in crate::chat) fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().map(|it| it.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("gif") => "image/gif",
        Some("jpeg" | "jpg") => "image/jpeg",
        Some("m4a") => "audio/mp4",
        Some("mp3") => "audio/mpeg",
        Some("mp4") => "video/mp4",
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("txt") => "text/plain",
        Some("webp") => "image/webp",
        _ => OCTETS,
    }
}

/// The MIME type of an encrypted file.
const OCTETS: &str = "application/octet-stream";

/// Longest file, in bytes, with its padding: the blob has at most 100 MiB.
pub(in crate::chat) const MAX_FILE: u64 = (100 << 20) - 64;

/// Time limit for the answer to an upload, in addition to the time for its bytes.
pub(super) const UPLOAD_TIME: Duration = Duration::from_secs(60);

/// The slowest upload that is allowed, in bytes per second.
pub(super) const MIN_RATE: u64 = 4 << 10;
