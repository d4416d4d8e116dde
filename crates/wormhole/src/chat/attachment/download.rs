//! Downloads a file. After a lost connection, and after the program was killed, it continues where it was.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONTENT_RANGE, RANGE};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use wormhole_chat::{
    AttachmentError as CipherError, AttachmentOpener, AttachmentPlace, AttachmentPointer,
    Client as Core, attachment_padding,
};
use zeroize::Zeroizing;

use super::partial::Partial;
use super::seal::blob_length;
use super::{PIECES, send_to};
use crate::chat::direct::{self, FileName};
use crate::chat::error::AttachmentError;
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::service::Service;
use crate::net::LinkFailure;
use crate::net::http::{self, StreamedResponse, time_for};
use crate::transfer::OnExists;
use crate::transfer::disk::{DiskError, Part, PartFile};

/// A piece of the blob.
#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// Everything has arrived.
    End,
    /// The rest can never arrive.
    Useless,
}

/// Downloads a file to `target`, and reports how many bytes of the blob have arrived. If the returned future is dropped, there is no
/// file at `target`, but what has arrived stays in the directory `partials`, and the next download continues there.
///
/// # Errors
/// There is no file at `target`.
pub(in crate::chat) async fn download(
    service: &Service,
    pointer: &AttachmentPointer,
    to: &Destination<'_>,
    progress: &watch::Sender<u64>,
) -> Result<PathBuf, AttachmentError> {
    let _turn = service.transfer_turn().await;
    let (has_begun, result) = attempt(service, pointer, to, progress).await;
    match result {
        // The part of an earlier download may be damaged, for example after a power failure.
        Err(AttachmentError::NotAuthentic) if has_begun && !direct::is_direct(&pointer.place) => {
            attempt(service, pointer, to, progress).await.1
        }
        result => result,
    }
}

/// Where a file is saved.
#[derive(Clone, Copy, Debug)]
pub(in crate::chat) struct Destination<'a> {
    pub(in crate::chat) target: &'a Path,
    pub(in crate::chat) on_exists: OnExists,
    /// The directory for downloads that have not ended.
    pub(in crate::chat) partials: &'a Path,
}

/// Downloads a file. Also returns whether it has continued an earlier download.
async fn attempt(
    service: &Service,
    pointer: &AttachmentPointer,
    to: &Destination<'_>,
    progress: &watch::Sender<u64>,
) -> (bool, Result<PathBuf, AttachmentError>) {
    let Destination { target, on_exists, partials } = *to;
    if direct::is_direct(&pointer.place) && pointer.digest.is_none() {
        return (false, Err(AttachmentError::NotAuthentic));
    }
    let (file, folder) = (pointer.clone(), partials.to_owned());
    let opened = spawn_blocking(move || {
        if direct::is_direct(&file.place) {
            let folder = folder.with_file_name(direct::FOLDER);
            direct::open_whole(&folder, FileName::from_key(&file.key))
        } else {
            Partial::open(&folder, &file)
        }
    });
    let opened = opened.await;
    let partial = match opened.map_err(io::Error::other) {
        Ok(Ok(partial)) => partial,
        // It came to another device, or was saved before.
        Ok(Err(error))
            if direct::is_direct(&pointer.place) && error.kind() == io::ErrorKind::NotFound =>
        {
            return (false, Err(AttachmentError::Expired));
        }
        Ok(Err(error)) | Err(error) => return (false, Err(failed(partials, error.kind()))),
    };
    let has_begun = partial.len() > 0;
    let arrived = partial.len();
    progress.send_if_modified(|known| std::mem::replace(known, arrived) != arrived);
    let (pieces, receiver) = mpsc::channel(PIECES);
    let (file, path) = (pointer.clone(), target.to_owned());
    let writing = spawn_blocking(move || write(&file, &path, on_exists, partial, receiver));
    let limit = limit_for(pointer.size);
    let time = TOTAL_TIME + time_for(limit);
    let fetching = async {
        match (direct::is_direct(&pointer.place), arrived) {
            (false, _) => fetch(service, pointer, limit, progress, &pieces).await,
            // It is empty, and useless.
            (true, 0) => Err(AttachmentError::Expired),
            // It was whole before the message was sent.
            (true, _) => finish(&pieces).await,
        }
    };
    let fetched = timeout(time, fetching).await;
    let fetched =
        fetched.unwrap_or_else(|_| Err(RequestError::Connection(LinkFailure::TimedOut).into()));
    if matches!(fetched, Err(AttachmentError::Expired | AttachmentError::TooLarge)) {
        // The part that has arrived is useless.
        let _ended = pieces.send(Piece::Useless).await;
    }
    drop(pieces);
    let written = writing.await.unwrap_or_else(|_| Err(failed(target, io::ErrorKind::Other)));
    // If the file could not be written, the download has ended because of that.
    let result = match (written, fetched) {
        (Ok(Some(path)), _) => Ok(path),
        (Err(error), _) | (Ok(None), Err(error)) => Err(error),
        (Ok(None), Ok(())) => Err(AttachmentError::NotAuthentic),
    };
    (has_begun, result)
}

/// Fetches the blob, with several requests if necessary.
async fn fetch(
    service: &Service,
    pointer: &AttachmentPointer,
    limit: u64,
    progress: &watch::Sender<u64>,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), AttachmentError> {
    let mut attempt = 0;
    loop {
        let before = *progress.borrow();
        match fetch_rest(service, pointer, limit, progress, pieces).await {
            Err(AttachmentError::Request(error)) if error.may_retry() => {
                if *progress.borrow() > before.saturating_add(MIN_PROGRESS) {
                    attempt = 0;
                }
                if attempt >= MAX_ATTEMPTS {
                    return Err(error.into());
                }
                let pause = error.retry_after().unwrap_or_else(|| Core::pause(attempt));
                sleep(pause.min(MAX_PAUSE)).await;
                attempt += 1;
            }
            Err(AttachmentError::Request(RequestError::NotFound)) => {
                return Err(AttachmentError::Expired);
            }
            result => return result,
        }
    }
}

/// Fetches what follows the bytes that have arrived.
async fn fetch_rest(
    service: &Service,
    pointer: &AttachmentPointer,
    limit: u64,
    progress: &watch::Sender<u64>,
    pieces: &mpsc::Sender<Piece>,
) -> Result<(), AttachmentError> {
    let mut received = *progress.borrow();
    let location = locate(service, &pointer.place).await?;
    let mut request = Request::get("/");
    if received > 0 {
        request = request.header(RANGE, format!("bytes={received}-"));
    }
    let request = request.body(http::body(Bytes::new())).map_err(|_| RequestError::Internal)?;
    let mut response = send_to(service, &location, request).await?;
    let mut skip = match response.status {
        200 => received,
        206 if starts_at(&response, received) => 0,
        206 => return Err(RequestError::from(ServerFault::FileRange).into()),
        // The connection was lost after the last byte.
        416 if received > 0 => return finish(pieces).await,
        status => {
            return Err(RequestError::from_storage_status(status, response.retry_after()).into());
        }
    };
    while let Some(mut piece) = response.piece().await.map_err(RequestError::from)? {
        let skipped = piece.len().min(usize::try_from(skip).unwrap_or(usize::MAX));
        let piece = piece.split_off(skipped);
        skip -= u64::try_from(skipped).unwrap_or(skip);
        received += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        progress.send_replace(received);
        if received > limit {
            return Err(AttachmentError::TooLarge);
        }
        // If the thread has ended, its result says why.
        if !piece.is_empty() && pieces.send(Piece::Bytes(piece)).await.is_err() {
            return Ok(());
        }
    }
    finish(pieces).await
}

/// The longest blob that is read for a file of this size. Other programs add less padding than we do, or up to twice as much.
fn limit_for(size: Option<u32>) -> u64 {
    let expected = size.map(|size| blob_length(attachment_padding(size.into())));
    expected.map_or(MAX_BLOB, |expected| expected.saturating_mul(2).min(MAX_BLOB))
}

async fn finish(pieces: &mpsc::Sender<Piece>) -> Result<(), AttachmentError> {
    // If the thread has ended, its result says why.
    let _ended = pieces.send(Piece::End).await;
    Ok(())
}

fn starts_at(response: &StreamedResponse, position: u64) -> bool {
    let range = response.headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {position}-")))
}

async fn locate(service: &Service, place: &AttachmentPlace) -> Result<String, AttachmentError> {
    match place {
        AttachmentPlace::Id(id) => Ok(service.locate(*id).await?.location),
        AttachmentPlace::Key(_, key) => {
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if key.len() <= MAX_KEY && key.bytes().all(is_safe) {
                Ok(service.posted_attachment(key))
            } else {
                Err(AttachmentError::Expired)
            }
        }
    }
}

/// Collects the pieces, and decrypts them into a private file with a temporary name, which gets its name when everything is
/// checked. `None` if the pieces end too early: then they are kept.
fn write(
    pointer: &AttachmentPointer,
    target: &Path,
    on_exists: OnExists,
    mut partial: Partial,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<Option<PathBuf>, AttachmentError> {
    // Now, because the name may be taken.
    let part = Part::file(target, on_exists)?;
    loop {
        match pieces.blocking_recv() {
            None => return Ok(None),
            Some(Piece::Bytes(piece)) => {
                partial.append(&piece).map_err(|error| failed(target, error.kind()))?;
            }
            Some(Piece::End) => break,
            Some(Piece::Useless) => {
                partial.remove();
                return Ok(None);
            }
        }
    }
    let saved = decrypt(pointer, target, part, &mut partial);
    if !matches!(saved, Err(AttachmentError::WriteFailed(..) | AttachmentError::Exists(_))) {
        partial.remove();
    }
    saved.map(Some)
}

/// Decrypts the whole blob.
fn decrypt(
    pointer: &AttachmentPointer,
    target: &Path,
    mut part: PartFile,
    partial: &mut Partial,
) -> Result<PathBuf, AttachmentError> {
    let mut opener = AttachmentOpener::new(&pointer.key);
    let mut plaintext = Zeroizing::new(Vec::new());
    let mut left = pointer.size.map_or(u64::MAX, u64::from);
    let copied = partial.read(|piece| {
        opener.update(piece, &mut plaintext);
        append(&mut part.file, &mut plaintext, &mut left).map_err(io::Error::from)
    });
    copied.map_err(|error| failed(target, error.kind()))?;
    opener.finish(pointer.digest.as_ref(), &mut plaintext)?;
    append(&mut part.file, &mut plaintext, &mut left).map_err(|kind| failed(target, kind))?;
    if pointer.size.is_some() && left > 0 {
        return Err(AttachmentError::NotAuthentic);
    }
    let (path, _) = part.complete(None)?;
    Ok(path)
}

/// Writes the plaintext, without the padding after the first `left` bytes.
fn append(file: &mut File, plaintext: &mut Vec<u8>, left: &mut u64) -> Result<(), io::ErrorKind> {
    let length = plaintext.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
    let written = file.write_all(plaintext.get(..length).unwrap_or_default());
    *left -= u64::try_from(length).unwrap_or(*left);
    plaintext.clear();
    written.map_err(|error| error.kind())
}

fn failed(path: &Path, kind: io::ErrorKind) -> AttachmentError {
    AttachmentError::WriteFailed(path.to_owned(), kind)
}

impl From<CipherError> for AttachmentError {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::NotAuthentic => Self::NotAuthentic,
        }
    }
}

impl From<DiskError> for AttachmentError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Exists(path) => Self::Exists(path),
            DiskError::Write { path, error } => Self::WriteFailed(path, error.kind()),
            // These concern folders.
            DiskError::TooManyEntries(_) | DiskError::TooManyFolders(_) | DiskError::Zip(_) => {
                Self::WriteFailed(PathBuf::new(), io::ErrorKind::Other)
            }
        }
    }
}

/// Longest blob, in bytes. Servers limit it to about 100 MiB.
pub(in crate::chat) const MAX_BLOB: u64 = 128 << 20;

/// Longest key of a place, in bytes.
const MAX_KEY: usize = 256;

/// Time limit for a download, in addition to the time for its bytes.
const TOTAL_TIME: Duration = Duration::from_secs(600);

/// Longest pause before another request, whatever the server asks for: somebody waits for the file.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Bytes that a request must give, or it counts as failed.
const MIN_PROGRESS: u64 = 64 << 10;

/// How many requests may fail one after the other.
const MAX_ATTEMPTS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claimed_size_limits_what_is_read() {
        assert_eq!(limit_for(Some(1)), 2 * blob_length(541));
        assert!(limit_for(Some(1 << 20)) < 3 << 20);
        assert_eq!((limit_for(Some(u32::MAX)), limit_for(None)), (MAX_BLOB, MAX_BLOB));
    }
}
