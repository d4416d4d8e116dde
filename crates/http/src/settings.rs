//! The settings of a connection, and the limits of every connection.

use std::time::Duration;

/// How a connection is served.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time until the head of a request is complete. It begins when the connection is served, and again after each
    /// response, so it also limits how long a connection may be idle.
    pub head_time: Duration,
    /// How many requests the connection carries.
    pub requests: Requests,
}

/// How many requests a connection carries.
#[derive(Clone, Copy, Debug)]
pub enum Requests {
    /// One after the other, until the client closes the connection, is idle for too long, or asks for its end with
    /// `Connection: close`.
    ///
    /// A client that closes its direction has left, so the answer to its request is dropped, finished or not. There is
    /// no limit for the time of an answer. [`body`](crate::body) limits the time for reading, and
    /// [`WriteTimeout`](crate::WriteTimeout) the time for writing.
    Many,
    /// One. The client may close its direction after the request.
    One {
        /// Time for the request and its response.
        time: Duration,
    },
}

impl Requests {
    /// Size that the buffers for reading and for writing may grow to, in bytes. Larger buffers make longer bodies faster.
    pub(crate) const fn buffer(self) -> usize {
        match self {
            Self::Many => 64 << 10,
            Self::One { .. } => SMALLEST_BUFFER,
        }
    }
}

/// Longest head of a request, in bytes. A longer one is answered with status 431.
pub const MAX_HEAD_BYTES: usize = 8192;

/// Maximum number of header lines of a request. Browsers send about 20. More are answered with status 431.
pub const MAX_HEADERS: usize = 64;

/// The least that hyper allows, in bytes.
const SMALLEST_BUFFER: usize = 8192;
