//! A service between its start and its first connection.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpListener;

use crate::ServerError;

/// A service whose sockets listen and whose files are open, but that accepts nothing yet.
pub(crate) struct Prepared {
    pub(crate) listening: Vec<Listening>,
    /// Serves until drained.
    pub(crate) run: Pin<Box<dyn Future<Output = Result<(), ServerError>> + Send>>,
    /// What the service still has to write when its drain time is over, as a part of a sentence in the log; it gets
    /// more time for that. `None` if it may be aborted then.
    pub(crate) unwritten: Option<&'static str>,
}

/// A socket that listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Listening {
    /// What clients find there.
    pub(crate) what: &'static str,
    pub(crate) url: String,
    /// `None` if the system does not say.
    pub(crate) address: Option<SocketAddr>,
}

impl Listening {
    /// The address of the listener takes the place of `{}` in `url`.
    pub(crate) fn new(what: &'static str, url: &str, listener: &TcpListener) -> Self {
        let address = listener.local_addr().ok();
        let shown = address.map_or_else(|| "an unknown address".to_owned(), |it| it.to_string());
        Self { what, url: url.replace("{}", &shown), address }
    }

    /// Logs where clients can connect from now on.
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
