//! Why a node in another process did not do what it was asked to.

use std::error::Error as StdError;
use std::io;

use jsonrpsee_core::client::Error as ClientError;
use jsonrpsee_http_client::transport::Error as HttpError;
use tokio_rustls::rustls;

/// Why a call did not succeed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The token cannot be sent.
    #[error("the token has characters that cannot be sent")]
    BadToken,
    /// Not an address at which a node could be.
    #[error("not an http://, https://, ws:// or wss:// address")]
    BadUrl,
    /// The link was lost.
    #[error("the node has closed the link")]
    Closed,
    /// We did not keep up with the messages that came; some are lost.
    #[error("messages came faster than they were read")]
    Lagged,
    /// The answer is not what was asked for.
    #[error("the node gives an answer of the wrong form")]
    Malformed,
    /// The node says no, in these words. To be quoted before they are printed.
    #[error("{message}")]
    Refused {
        /// JSON-RPC's number for the reason.
        code: i32,
        /// The node's words.
        message: String,
    },
    /// Whoever answers does not let us speak JSON-RPC, with this HTTP status.
    #[error("HTTP status {0}")]
    Rejected(u16),
    /// No answer in time.
    #[error("no answer")]
    TimedOut,
    /// There is no link to it.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl RemoteError {
    /// Whether the node does not know the method: it may not speak Whisper, or not to us.
    pub const fn is_unknown_method(&self) -> bool {
        matches!(self, Self::Refused { code: -32601, .. })
    }
}

/// Why there is no link.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// The network, or the other machine, says no.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// The name or the port leads to nothing that speaks HTTP.
    #[error("it cannot be spoken to")]
    NotHttp,
    /// No TLS came about.
    #[error("no trusted TLS")]
    Tls,
}

/// What an error of the library means.
pub(super) fn of_client(error: ClientError) -> RemoteError {
    match error {
        ClientError::Call(refusal) => {
            let message = refusal.message().to_owned();
            RemoteError::Refused { code: refusal.code(), message }
        }
        ClientError::RequestTimeout => RemoteError::TimedOut,
        ClientError::RestartNeeded(_) | ClientError::ServiceDisconnect => RemoteError::Closed,
        ClientError::Transport(error) => of_transport(error.as_ref()),
        ClientError::Custom(_)
        | ClientError::EmptyBatchRequest(_)
        | ClientError::HttpNotImplemented
        | ClientError::InvalidRequestId(_)
        | ClientError::InvalidSubscriptionId
        | ClientError::ParseError(_)
        | ClientError::RegisterMethod(_) => RemoteError::Malformed,
    }
}

/// Finds the reason somewhere inside an error of a transport.
fn of_transport(error: &(dyn StdError + 'static)) -> RemoteError {
    let causes = || causes(error);
    for cause in causes() {
        if let Some(HttpError::Rejected { status_code }) = cause.downcast_ref() {
            return RemoteError::Rejected(*status_code);
        }
        // The WebSocket's reason is in its words alone: its type is not passed on.
        if let Some((_, status)) = cause.to_string().split_once("rejected with status code: ")
            && let Ok(status) = status.trim().parse()
        {
            return RemoteError::Rejected(status);
        }
    }
    if causes().any(holds_tls) {
        return Unreachable::Tls.into();
    }
    let io = causes().find_map(|cause| cause.downcast_ref::<io::Error>());
    let said = error.to_string();
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => RemoteError::TimedOut,
        Some(kind) => Unreachable::Io(kind).into(),
        None if said.contains("imeout") => RemoteError::TimedOut,
        None if said.contains("refused") => {
            Unreachable::Io(io::ErrorKind::ConnectionRefused).into()
        }
        None => Unreachable::NotHttp.into(),
    }
}

fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn holds_tls(cause: &(dyn StdError + 'static)) -> bool {
    let inside = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.is::<rustls::Error>() || inside.is_some_and(|inside| inside.is::<rustls::Error>())
}
