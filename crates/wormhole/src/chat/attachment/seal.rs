//! Encrypts a file, piece by piece, on a blocking thread. The same keys give the same bytes, so an upload can be continued; a
//! digest after every few MiB shows whether the file is still the same.

use std::fs::File;
use std::io::{self, Read};

use hyper::body::Bytes;
use rand_core::{OsRng, RngCore};
use tokio::sync::mpsc;
use wormhole_chat::{AttachmentKey, AttachmentSealer};
use zeroize::Zeroizing;

/// A piece of an encrypted file.
pub(in crate::chat) type Piece = io::Result<Bytes>;

/// The keys of an encrypted file: with its content, they decide all its bytes.
#[derive(Clone, Debug)]
pub(in crate::chat) struct SealingKeys {
    pub(in crate::chat) key: AttachmentKey,
    pub(in crate::chat) iv: [u8; 16],
}

impl SealingKeys {
    pub(in crate::chat) fn random() -> Self {
        let mut iv = [0; 16];
        OsRng.fill_bytes(&mut iv);
        Self { key: AttachmentKey::random(&mut OsRng), iv }
    }
}

/// Stores the digest of a piece.
type StoreDigest = Box<dyn FnMut([u8; 32]) -> io::Result<()> + Send>;

/// The part that an earlier upload has sent.
#[derive(Default)]
pub(in crate::chat) struct Checks {
    /// SHA-256 of the encrypted file up to the end of each part that may have been sent.
    pub(in crate::chat) digests: Vec<[u8; 32]>,
    /// Bytes that the server has, which are not sent again.
    pub(in crate::chat) skip: u64,
    /// Stores the digest of the next part, before it is sent. Without it, nothing is stored.
    pub(in crate::chat) store: Option<StoreDigest>,
}

/// Why a file could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub(in crate::chat) enum SealError {
    /// The part at the server belongs to another content.
    #[error("the file has changed")]
    Changed,
    #[error(transparent)]
    File(#[from] io::Error),
}

/// Encrypts a file of `size` bytes with zeros up to `padded`. Returns the digest of the whole blob.
pub(in crate::chat) fn seal(
    mut file: File,
    (size, padded): (u64, u64),
    keys: &SealingKeys,
    checks: &mut Checks,
    pieces: &mpsc::Sender<Piece>,
) -> Result<[u8; 32], SealError> {
    let sealed = seal_pieces(&mut file, (size, padded), keys, checks, &mut |piece| {
        pieces.blocking_send(Ok(piece)).map_err(|_| ENDED.into())
    });
    if sealed.is_err() {
        // Ends the upload. If it has ended already, nobody listens.
        let _gone = pieces.blocking_send(Err(ENDED.into()));
    }
    sealed
}

/// Pieces that are not sent yet, because their part is not complete and its digest is not stored.
struct Parts<'a> {
    checks: &'a mut Checks,
    send: &'a mut dyn FnMut(Bytes) -> io::Result<()>,
    held: Vec<Vec<u8>>,
    /// Number of complete parts.
    count: usize,
}

impl Parts<'_> {
    /// Adds a piece of the current part.
    fn add(&mut self, piece: Vec<u8>, digest: impl FnOnce() -> [u8; 32]) -> Result<(), SealError> {
        self.held.push(piece);
        if self.held.len() < PART { Ok(()) } else { self.end(digest()) }
    }

    /// Checks or stores the digest of the current part, which is complete.
    fn end(&mut self, digest: [u8; 32]) -> Result<(), SealError> {
        match self.checks.digests.get(self.count) {
            Some(known) if *known != digest => return Err(SealError::Changed),
            Some(_) => {}
            // The server cannot have more than what we were going to send.
            None if self.checks.skip > 0 => return Err(SealError::Changed),
            None => {
                if let Some(store) = &mut self.checks.store {
                    store(digest)?;
                }
            }
        }
        self.count += 1;
        for piece in self.held.drain(..) {
            let skipped = piece.len().min(usize::try_from(self.checks.skip).unwrap_or(usize::MAX));
            self.checks.skip -= u64::try_from(skipped).unwrap_or(self.checks.skip);
            if skipped < piece.len() {
                (self.send)(Bytes::from(piece).slice(skipped..))?;
            }
        }
        Ok(())
    }
}

fn seal_pieces(
    file: &mut impl Read,
    (size, padded): (u64, u64),
    keys: &SealingKeys,
    checks: &mut Checks,
    send: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> Result<[u8; 32], SealError> {
    let mut parts = Parts { checks, send, held: Vec::new(), count: 0 };
    let mut blob = Vec::with_capacity(PIECE + ROOM);
    let mut sealer = AttachmentSealer::with_iv(&keys.key, keys.iv, &mut blob);
    let mut plaintext = Zeroizing::new(vec![0; PIECE]);
    // A file that grows meanwhile is sent as it was.
    for (is_file, mut left) in [(true, size), (false, padded.saturating_sub(size))] {
        if !is_file {
            plaintext.fill(0);
        }
        while left > 0 {
            let length = plaintext.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece = plaintext.get_mut(..length).unwrap_or_default();
            if is_file {
                file.read_exact(piece)?;
            }
            sealer.update(piece, &mut blob);
            let piece = std::mem::replace(&mut blob, Vec::with_capacity(PIECE + ROOM));
            parts.add(piece, || sealer.digest_so_far())?;
            left -= u64::try_from(length).unwrap_or(left);
        }
    }
    let digest = sealer.finish(&mut blob);
    parts.held.push(blob);
    parts.end(digest)?;
    Ok(digest)
}

/// Length of the encrypted file: IV, whole blocks, MAC.
pub(in crate::chat) const fn blob_length(padded: u64) -> u64 {
    16 + (padded / 16 + 1) * 16 + 32
}

/// The upload has ended, so nothing more is read.
pub(in crate::chat) const ENDED: io::ErrorKind = io::ErrorKind::BrokenPipe;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Pieces of a part: 2 MiB, which are held in memory until their digest is stored.
const PART: usize = 32;

/// Bytes of a blob that do not depend on its length.
const ROOM: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use wormhole_chat::{AttachmentOpener, attachment_padding};

    use super::*;

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|byte| u8::try_from(byte % 251).unwrap()).collect()
    }

    /// Seals a file, and returns the digest and what is sent.
    fn sealed(
        file: &[u8],
        keys: &SealingKeys,
        checks: &mut Checks,
    ) -> Result<([u8; 32], Vec<u8>), SealError> {
        let size = u64::try_from(file.len()).unwrap();
        let mut sent = Vec::new();
        let sizes = (size, attachment_padding(size));
        let digest = seal_pieces(&mut &*file, sizes, keys, checks, &mut |piece| {
            sent.extend_from_slice(&piece);
            Ok(())
        })?;
        Ok((digest, sent))
    }

    #[test]
    fn the_blob_has_the_announced_length_and_its_recipient_can_open_it() {
        for size in [0, 1, 15, 16, 541, 542, 10_000, PIECE + 1, 3 * PIECE] {
            let (file, keys) = (content(size), SealingKeys::random());
            let (digest, blob) = sealed(&file, &keys, &mut Checks::default()).unwrap();
            let padded = attachment_padding(u64::try_from(size).unwrap());
            assert_eq!(u64::try_from(blob.len()).unwrap(), blob_length(padded), "{size}");
            let (mut opener, mut plaintext) = (AttachmentOpener::new(&keys.key), Vec::new());
            opener.update(&blob, &mut plaintext);
            opener.finish(Some(&digest), &mut plaintext).unwrap();
            assert_eq!(u64::try_from(plaintext.len()).unwrap(), padded);
            assert!(plaintext.starts_with(&file));
        }
    }

    #[test]
    fn a_file_that_becomes_shorter_is_not_sent() {
        let keys = SealingKeys::random();
        let sealed =
            seal_pieces(&mut &b"short"[..], (6, 541), &keys, &mut Checks::default(), &mut |_| {
                Ok(())
            });
        let SealError::File(error) = sealed.unwrap_err() else { panic!("another error") };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_upload_continues_at_any_byte_only_if_the_file_is_the_same() {
        const SIZE: usize = 5 << 20;
        let (file, keys) = (content(SIZE), SealingKeys::random());
        let digests = Arc::new(Mutex::new(Vec::new()));
        let stored = Arc::clone(&digests);
        let store = move |digest| {
            stored.lock().unwrap().push(digest);
            Ok(())
        };
        let mut checks = Checks { store: Some(Box::new(store)), ..Checks::default() };
        let (digest, blob) = sealed(&file, &keys, &mut checks).unwrap();
        let digests = digests.lock().unwrap().clone();
        assert_eq!((digests.len(), digests.last()), (3, Some(&digest)));
        for (skip, known) in [(0, 0), (1, 1), (2 << 20, 1), (3 << 20, 2), (blob.len(), 3)] {
            let checks = || Checks {
                digests: digests[..known].to_vec(),
                skip: u64::try_from(skip).unwrap(),
                store: None,
            };
            let (again, rest) = sealed(&file, &keys, &mut checks()).unwrap();
            assert!(again == digest && rest == blob[skip..], "{skip}");
            if skip > 0 {
                let mut changed = file.clone();
                changed[(skip - 1).min(SIZE - 1)] ^= 1;
                let found = sealed(&changed, &keys, &mut checks());
                assert!(matches!(found, Err(SealError::Changed)), "{skip}");
                // A server that claims to have what was never sent.
                let mut lie = Checks { digests: digests[..known - 1].to_vec(), ..checks() };
                assert!(matches!(sealed(&file, &keys, &mut lie), Err(SealError::Changed)));
            }
        }
    }
}
