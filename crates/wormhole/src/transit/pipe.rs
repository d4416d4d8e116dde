//! The chosen connection as a pipe of records, for any application.
//!
//! Bulk data takes the same connection on a thread of its own, see [`super::blocking`].

use std::fmt;
use std::future::poll_fn;

use wormhole_magic::transit::record::{MAX_PLAINTEXT, record_length};
use wormhole_magic::transit::{BadRecord, Opener, Role, Sealer, TransitKey};

use super::blocking::BlockingPipe;
use super::path::Path;
use crate::net::{Link, LinkFailure, Outbox};

/// A connection to the peer that carries records: whole messages, sealed, in order.
pub struct Pipe {
    link: Link,
    outbox: Outbox,
    sealer: Sealer,
    opener: Opener,
    /// What has come and is not yet a whole record.
    received: Vec<u8>,
    path: Path,
}

impl Pipe {
    pub(super) fn new(
        link: Link,
        role: Role,
        key: &TransitKey,
        received: Vec<u8>,
        path: Path,
    ) -> Self {
        Self {
            link,
            outbox: Outbox::default(),
            sealer: Sealer::new(key, role),
            opener: Opener::new(key, role.peer()),
            received,
            path,
        }
    }

    /// How the two sides are connected.
    pub const fn path(&self) -> &Path {
        &self.path
    }

    /// Sends one record of at most 16 MiB. When this is dropped halfway, the rest goes out with
    /// the next record.
    ///
    /// ```no_run
    /// # use wormhole::transit::{Pipe, PipeError};
    /// # async fn example(mut pipe: Pipe) -> Result<(), PipeError> {
    /// pipe.send_record(b"hello").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The record is too long, or the connection is gone.
    pub async fn send_record(&mut self, plaintext: &[u8]) -> Result<(), PipeError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(PipeError::TooLong(plaintext.len()));
        }
        self.outbox.push(self.sealer.seal_to_vec(plaintext)?);
        poll_fn(|cx| self.link.poll_send(cx, &mut self.outbox)).await?;
        Ok(())
    }

    /// Waits for the next record. Dropping this loses nothing.
    ///
    /// ```no_run
    /// # use wormhole::transit::{Pipe, PipeError};
    /// # async fn example(mut pipe: Pipe) -> Result<(), PipeError> {
    /// while pipe.receive_record().await? != b"bye" {}
    /// pipe.close().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The peer closed the connection ([`LinkFailure::Closed`]), or the connection is gone, or
    /// somebody tampered with it.
    pub async fn receive_record(&mut self) -> Result<Vec<u8>, PipeError> {
        let mut buffer = Vec::with_capacity(READ);
        loop {
            if let Some(length) = record_length(&self.received)?
                && self.received.len() >= length
            {
                let rest = self.received.split_off(length);
                let mut record = std::mem::replace(&mut self.received, rest);
                return Ok(self.opener.open(&mut record)?.to_vec());
            }
            poll_fn(|cx| self.link.poll_receive(cx, &mut buffer)).await?;
            self.received.append(&mut buffer);
        }
    }

    /// Closes the connection once everything is on its way.
    pub async fn close(mut self) {
        poll_fn(|cx| self.link.poll_close(cx)).await;
    }

    /// Takes the pipe to a thread that may block.
    ///
    /// # Errors
    /// The system cannot make the socket block.
    pub(crate) fn into_blocking(self) -> std::io::Result<BlockingPipe> {
        BlockingPipe::new(self.link, self.sealer, self.opener, self.received)
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a record could not be sent or received. The pipe is of no more use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// The connection is gone.
    #[error(transparent)]
    Link(#[from] LinkFailure),
    /// A record was tampered with.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// This is more than a record may carry.
    #[error("{0} bytes do not fit into one record")]
    TooLong(usize),
}

/// Bytes read at once.
const READ: usize = 64 << 10;
