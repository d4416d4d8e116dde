//! Uploads a file as a form. Every client can download it: those of 2014 through the address that the server names, later
//! ones by its key. (docs/chat-service.md "Attachments")

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use futures_util::stream::{once, unfold};
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use rand_core::{OsRng, RngCore};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wormhole_chat::{
    AttachmentKey, AttachmentPlace, AttachmentPointer, AttachmentSealer, attachment_padding,
};
use zeroize::Zeroizing;

use super::{PIECES, send_to};
use crate::chat::RequestError;
use crate::chat::error::SendError;
use crate::chat::service::{PictureForm, Service, UploadForm};
use crate::net::LinkFailure;

/// Encrypts a file and uploads it. Each call uses another key, so a failed upload can be repeated.
///
/// # Errors
/// The file cannot be read or is too large, or the server does not take it.
pub(in crate::chat) async fn upload(
    service: &Service,
    path: &Path,
) -> Result<AttachmentPointer, SendError> {
    let _turn = service.transfer_turn().await;
    let unreadable = |kind| SendError::File(path.to_owned(), kind);
    let opening = path.to_owned();
    let opened = spawn_blocking(move || open(&opening)).await;
    let opened = opened.map_err(|_| unreadable(io::ErrorKind::Other))?;
    let (file, size) = opened.map_err(|error| unreadable(error.kind()))?;
    let claimed = u32::try_from(size).ok().filter(|_| size <= MAX_FILE);
    let claimed = claimed.ok_or_else(|| SendError::FileTooLarge(path.to_owned()))?;
    let form = service.upload_form().await?;
    let key = AttachmentKey::random(&mut OsRng);
    let padded = attachment_padding(size).min(MAX_FILE);
    let (pieces, receiver) = mpsc::channel(PIECES);
    let sealing_key = key.clone();
    let sealing = spawn_blocking(move || seal(file, size, padded, &sealing_key, &pieces));
    let posted = post(service, &form, blob_length(padded), receiver).await;
    let sealed = sealing.await.map_err(|_| unreadable(io::ErrorKind::Other))?;
    let digest = match (sealed, posted) {
        // If the file could not be read, the upload has failed because of that.
        (Err(error), _) if error.kind() != ENDED => return Err(unreadable(error.kind())),
        (_, Err(error)) => return Err(error.into()),
        (sealed, Ok(())) => sealed.map_err(|error| unreadable(error.kind()))?,
    };
    let place = AttachmentPlace::Id(form.attachment_id);
    let pointer = AttachmentPointer::new(place, key, claimed, digest, content_type(path));
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(AttachmentPointer { file_name, ..pointer })
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

/// Opens a regular file. Others, such as pipes, could block for ever.
fn open(path: &Path) -> io::Result<(File, u64)> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

type Piece = io::Result<Bytes>;

async fn post(
    service: &Service,
    form: &UploadForm,
    length: u64,
    pieces: mpsc::Receiver<Piece>,
) -> Result<(), RequestError> {
    let Envelope { head, tail, content_type } = Envelope::of(form);
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
    let response = response.map_err(|_| RequestError::Link(LinkFailure::TimedOut))??;
    match response.status {
        200..300 => Ok(()),
        status => Err(RequestError::of_storage(status, response.retry_after())),
    }
}

/// What a form has before and after the file. (RFC 7578)
struct Envelope {
    head: String,
    tail: String,
    content_type: String,
}

impl Envelope {
    fn of(form: &UploadForm) -> Self {
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

/// Encrypts a file with zeros up to `padded` bytes. Returns the digest of the whole blob.
fn seal(
    mut file: File,
    size: u64,
    padded: u64,
    key: &AttachmentKey,
    pieces: &mpsc::Sender<Piece>,
) -> io::Result<[u8; 32]> {
    let sealed = seal_pieces(&mut file, size, padded, key, &mut |piece| {
        pieces.blocking_send(Ok(piece.into())).map_err(|_| ENDED.into())
    });
    if sealed.is_err() {
        // Ends the upload. If it has ended already, nobody listens.
        let _gone = pieces.blocking_send(Err(ENDED.into()));
    }
    sealed
}

fn seal_pieces(
    file: &mut impl Read,
    size: u64,
    padded: u64,
    key: &AttachmentKey,
    send: &mut dyn FnMut(Vec<u8>) -> io::Result<()>,
) -> io::Result<[u8; 32]> {
    let mut blob = Vec::with_capacity(PIECE + ROOM);
    let mut sealer = AttachmentSealer::new(key, &mut OsRng, &mut blob);
    let mut plaintext = Zeroizing::new(vec![0; PIECE]);
    // A file that grows meanwhile is sent as it was.
    let mut left = size;
    while left > 0 {
        let length = plaintext.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let piece = plaintext.get_mut(..length).unwrap_or_default();
        file.read_exact(piece)?;
        sealer.update(piece, &mut blob);
        send(std::mem::replace(&mut blob, Vec::with_capacity(PIECE + ROOM)))?;
        left -= u64::try_from(length).unwrap_or(left);
    }
    plaintext.fill(0);
    let mut left = padded.saturating_sub(size);
    while left > 0 {
        let length = plaintext.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        sealer.update(plaintext.get(..length).unwrap_or_default(), &mut blob);
        send(std::mem::replace(&mut blob, Vec::with_capacity(PIECE + ROOM)))?;
        left -= u64::try_from(length).unwrap_or(left);
    }
    let digest = sealer.finish(&mut blob);
    send(blob)?;
    Ok(digest)
}

/// Length of the encrypted file: IV, whole blocks, MAC.
pub(super) const fn blob_length(padded: u64) -> u64 {
    16 + (padded / 16 + 1) * 16 + 32
}

/// The MIME type that other clients expect for a file name.
fn content_type(path: &Path) -> &'static str {
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

/// The upload has ended, so nothing more is read.
const ENDED: io::ErrorKind = io::ErrorKind::BrokenPipe;

/// The MIME type of an encrypted file.
const OCTETS: &str = "application/octet-stream";

/// Longest file, in bytes, with its padding: the blob has at most 100 MiB.
const MAX_FILE: u64 = (100 << 20) - 64;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Bytes of a blob that do not depend on its length.
const ROOM: usize = 64;

/// Time limit for the answer to an upload, in addition to the time for its bytes.
const UPLOAD_TIME: Duration = Duration::from_secs(60);

/// The slowest upload that is allowed, in bytes per second.
const MIN_RATE: u64 = 4 << 10;

#[cfg(test)]
mod tests {
    use wormhole_chat::AttachmentOpener;

    use super::*;

    #[test]
    fn the_blob_has_the_announced_length_and_its_recipient_can_open_it() {
        for size in [0, 1, 15, 16, 541, 542, 10_000, PIECE + 1, 3 * PIECE] {
            let file: Vec<u8> = (0..size).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
            let (size, key) = (u64::try_from(size).unwrap(), AttachmentKey::random(&mut OsRng));
            let padded = attachment_padding(size);
            let mut blob = Vec::new();
            let digest = seal_pieces(&mut file.as_slice(), size, padded, &key, &mut |piece| {
                blob.extend(piece);
                Ok(())
            });
            assert_eq!(u64::try_from(blob.len()).unwrap(), blob_length(padded), "{size}");
            let (mut opener, mut plaintext) = (AttachmentOpener::new(&key), Vec::new());
            opener.update(&blob, &mut plaintext);
            opener.finish(Some(&digest.unwrap()), &mut plaintext).unwrap();
            assert_eq!(u64::try_from(plaintext.len()).unwrap(), padded);
            assert!(plaintext.starts_with(&file));
        }
    }

    #[test]
    fn a_file_that_becomes_shorter_is_not_sent() {
        let key = AttachmentKey::random(&mut OsRng);
        let sealed = seal_pieces(&mut &b"short"[..], 6, 541, &key, &mut |_| Ok(()));
        assert_eq!(sealed.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
