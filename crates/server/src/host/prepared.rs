//! A service that is ready to accept its first connection.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpListener;

use crate::ServerError;

/// A service whose sockets listen and whose files are open, but that accepts no connections yet.
pub(crate) struct Prepared {
    pub(crate) listening: Vec<Listening>,
    /// Serves until the server has drained.
    pub(crate) run: Pin<Box<dyn Future<Output = Result<(), ServerError>> + Send>>,
    /// The log message if the service could not write all its data in time. A service with such a message gets
    /// additional time after the drain time; a service with `None` is aborted.
    pub(crate) unwritten: Option<&'static str>,
}

/// A socket that listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Listening {
    /// The service at this socket, for the log.
    pub(crate) what: &'static str,
    pub(crate) url: String,
    /// `None` if the system reports an error.
    pub(crate) address: Option<SocketAddr>,
}

impl Listening {
    /// Creates the log entry of a listener. `{}` in `url` is replaced by its address.
    pub(crate) fn new(what: &'static str, url: &str, listener: &TcpListener) -> Self {
        let address = listener.local_addr().ok();
        let shown = address.map_or_else(|| "an unknown address".to_owned(), |it| it.to_string());
        Self { what, url: url.replace("{}", &shown), address }
    }

    /// Logs the address at which clients can connect.
    pub(crate) fn announce(&self) {
        tracing::info!("{} listening on {}", self.what, self.url);
    }
}

impl Prepared {
    /// A service that may be aborted once its drain time is over.
    pub(crate) fn new(
        listening: Vec<Listening>,
        run: impl Future<Output = Result<(), ServerError>> + Send + 'static,
    ) -> Self {
        Self { listening, run: Box::pin(run), unwritten: None }
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("listening", &self.listening).finish_non_exhaustive()
    }
}
