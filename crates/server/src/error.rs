//! Errors that stop the servers.

/// Why the servers could not start, or stopped.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum ServerError {
    /// A database cannot be copied.
    #[error("backup of {path}: {reason}")]
    Backup {
        /// The file.
        path: String,
        /// The problem.
        reason: String,
    },
    /// A database cannot be used.
    #[error("database {path}: {reason}")]
    Database {
        /// The file.
        path: String,
        /// The problem.
        reason: String,
    },
    /// Nothing can be imported.
    #[error("cannot import: {0}")]
    Import(&'static str),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// As configured.
        address: std::net::SocketAddr,
        /// The error of the system.
        reason: String,
    },
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(String),
    /// The runtime or a signal handler cannot be set up.
    #[error("cannot start: {0}")]
    System(String),
    /// The certificate or its key cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The Whisper node cannot run with its configuration.
    #[error("whisper: {0}")]
    Whisper(String),
}
