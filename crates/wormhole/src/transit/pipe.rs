//! The chosen connection as a pipe of records, for any application.
//!
//! Bulk data uses the same connection on its own thread, see [`super::blocking`].

use std::fmt;
use std::future::poll_fn;

use wormhole_magic::transit::record::{MAX_PLAINTEXT, record_length};
use wormhole_magic::transit::{BadRecord, Opener, Role, Sealer, TransitKey};

use super::blocking::BlockingPipe;
use super::path::Path;
use crate::net::{LinkFailure, NetLink, Outbox};

/// A connection to the peer for records: whole encrypted messages, in order.
pub struct Pipe {
    link: NetLink,
    outbox: Outbox,
    sealer: Sealer,
    opener: Opener,
    /// Received bytes of an incomplete record.
    received: Vec<u8>,
    path: Path,
}

impl Pipe {
    pub(super) fn new(
        link: NetLink,
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

    /// Sends a record of at most 16 MiB. If this future is dropped, the rest is sent with the next
    /// record.
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
    /// The record is too long, or the connection is lost.
    pub async fn send_record(&mut self, plaintext: &[u8]) -> Result<(), PipeError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(PipeError::TooLong(plaintext.len()));
        }
        self.outbox.push(self.sealer.seal_to_vec(plaintext)?);
        poll_fn(|cx| self.link.poll_send(cx, &mut self.outbox)).await?;
        Ok(())
    }

    /// Waits for the next record. Dropping this future loses nothing.
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
    /// The peer closed the connection ([`LinkFailure::Closed`]), the connection is lost, or the data was
    /// modified.
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

    /// Closes the connection after everything has been sent.
    pub async fn close(mut self) {
        poll_fn(|cx| self.link.poll_close(cx)).await;
    }

    /// Converts the pipe for a thread that may block.
    ///
    /// # Errors
    /// The system cannot make the socket blocking.
    pub(crate) fn into_blocking(self) -> std::io::Result<BlockingPipe> {
        BlockingPipe::new(self.link, self.sealer, self.opener, self.received)
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a record could not be sent or received. The pipe cannot be used any more.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// The connection is lost.
    #[error(transparent)]
    Link(#[from] LinkFailure),
    /// A record was modified.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// The content is too long for a record.
    #[error("{0} bytes do not fit into one record")]
    TooLong(usize),
}

/// Number of bytes to read at once.
const READ: usize = 64 << 10;
