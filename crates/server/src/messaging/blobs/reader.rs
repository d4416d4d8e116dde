//! Reads a stored attachment, or a part of it, in pieces.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;

use super::{BlobName, Blobs};

/// A stored attachment, or a part of it, that is being read.
#[derive(Debug)]
pub(in crate::messaging) struct BlobReader {
    blobs: Arc<Blobs>,
    file: File,
    /// Where the next piece begins, unless it is where the previous one ended.
    start: Option<u64>,
    left: u64,
    spare: Spare,
}

/// The buffer of the last piece, after the client has read it. Using it again is faster than new memory, which the
/// kernel has to map and clear.
#[derive(Clone, Debug, Default)]
struct Spare(Arc<Mutex<Option<Vec<u8>>>>);

/// A piece, whose buffer is used again.
struct Piece {
    buffer: Vec<u8>,
    spare: Spare,
}

impl Blobs {
    /// Opens an attachment, and returns its length.
    ///
    /// # Errors
    /// The attachment does not exist, or cannot be read.
    pub(in crate::messaging) async fn read(
        self: &Arc<Self>,
        name: BlobName,
    ) -> io::Result<(BlobReader, u64)> {
        self.run(move |blobs| {
            let file = File::open(blobs.path(&name))?;
            let length = file.metadata()?.len();
            let (blobs, spare) = (Arc::clone(blobs), Spare::default());
            Ok((BlobReader { blobs, file, start: None, left: length, spare }, length))
        })
        .await?
    }
}

impl BlobReader {
    /// Reads only this part.
    pub(in crate::messaging) fn part(self, start: u64, length: u64) -> Self {
        Self { start: Some(start), left: length, ..self }
    }

    /// The next piece, and the rest; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read, or became shorter.
    pub(in crate::messaging) async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let size = usize::try_from(self.left).unwrap_or(PIECE).min(PIECE);
        if size == 0 {
            return Ok(None);
        }
        let blobs = Arc::clone(&self.blobs);
        blobs
            .run(move |_| {
                if let Some(start) = self.start.take() {
                    self.file.seek(SeekFrom::Start(start))?;
                }
                let mut buffer = self.spare.take();
                buffer.resize(size, 0);
                self.file.read_exact(&mut buffer)?;
                self.left = self.left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
                let piece = Piece { buffer, spare: self.spare.clone() };
                Ok(Some((Bytes::from_owner(piece), self)))
            })
            .await?
    }
}

impl Spare {
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        *self.spare.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(buffer);
    }
}

/// Bytes that are read from a file at once.
pub(in crate::messaging) const PIECE: usize = 256 << 10;
