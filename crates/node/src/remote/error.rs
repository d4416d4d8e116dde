//! Errors of calls to a node in another process.

use std::error::Error as StdError;
use std::io;

use jsonrpsee_client_transport::ws::WsHandshakeError;
use jsonrpsee_core::client::Error as ClientError;
use jsonrpsee_http_client::transport::Error as HttpError;
use tokio_rustls::rustls;

/// Why a call failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RemoteError {
    /// The token contains characters that cannot be sent.
    #[error("the token contains characters that cannot be sent")]
    BadToken,
    /// Not a JSON-RPC URL.
    #[error("not an http://, https://, ws:// or wss:// URL")]
    BadUrl,
    /// The connection was closed.
    #[error("the node has closed the connection")]
    Closed,
    /// Messages arrived faster than they were read; some are lost.
    #[error("messages arrived faster than they were read")]
    Lagged,
    /// The response is invalid.
    #[error("the node sent an invalid response")]
    Malformed,
    /// The node rejected the call. Escape the message before printing it.
    #[error("{message}")]
    Refused {
        /// JSON-RPC error code.
        code: i32,
        /// The node's error message.
        message: String,
    },
    /// The server rejected the request with this HTTP status.
    #[error("HTTP status {0}")]
    Rejected(u16),
    /// No response in time.
    #[error("no answer")]
    TimedOut,
    /// The connection failed.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

impl RemoteError {
    /// Whether the node does not know the method: it may not support Whisper, or not for us.
    pub const fn is_unknown_method(&self) -> bool {
        matches!(self, Self::Refused { code: -32601, .. })
    }

    /// Whether the connection is lost, or the node was restarted. A new connection may help.
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Closed | Self::Lagged | Self::TimedOut => true,
            Self::Unreachable(why) => *why != Unreachable::Tls,
            Self::Rejected(status) => (502..=504).contains(status),
            Self::Refused { message, .. } => message == FILTER_NOT_FOUND,
            Self::BadToken | Self::BadUrl | Self::Malformed => false,
        }
    }

    /// Whether a failed post may succeed on a new connection, to which the keys were added again. A post
    /// that timed out is excluded, because the node may have sent it.
    pub fn may_post_again(&self) -> bool {
        match self {
            Self::Refused { message, .. } => UNKNOWN_KEY.contains(&message.as_str()),
            Self::TimedOut => false,
            Self::BadToken
            | Self::BadUrl
            | Self::Closed
            | Self::Lagged
            | Self::Malformed
            | Self::Rejected(_)
            | Self::Unreachable(_) => self.is_connection_lost(),
        }
    }
}

/// Why the connection failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unreachable {
    /// An error of the network.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// The server does not use HTTP.
    #[error("the program at this address is not an HTTP server")]
    NotHttp,
    /// The TLS handshake failed.
    #[error("its TLS certificate is not trusted, or the TLS handshake failed")]
    Tls,
}

/// Converts an error of the client library.
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

/// Finds the cause inside an error of the transport.
fn of_transport(error: &(dyn StdError + 'static)) -> RemoteError {
    causes(error).find_map(reason).unwrap_or_else(|| Unreachable::NotHttp.into())
}

/// Converts one cause.
fn reason(cause: &(dyn StdError + 'static)) -> Option<RemoteError> {
    if let Some(HttpError::Rejected { status_code }) = cause.downcast_ref() {
        return Some(RemoteError::Rejected(*status_code));
    }
    if cause.is::<rustls::Error>() {
        return Some(Unreachable::Tls.into());
    }
    if let Some(error) = cause.downcast_ref() {
        return Some(of_io(error));
    }
    // `source` does not return the inner error.
    match cause.downcast_ref()? {
        WsHandshakeError::Io(error) | WsHandshakeError::ResolutionFailed(error) => {
            Some(of_io(error))
        }
        WsHandshakeError::Rejected { status_code }
        | WsHandshakeError::Redirected { status_code, .. } => {
            Some(RemoteError::Rejected(*status_code))
        }
        WsHandshakeError::Timeout(_) => Some(RemoteError::TimedOut),
        WsHandshakeError::CertificateStore(_) => Some(Unreachable::Tls.into()),
        WsHandshakeError::NoAddressFound(_)
        | WsHandshakeError::Transport(_)
        | WsHandshakeError::Url(_) => None,
    }
}

/// Converts an I/O error, which may contain a TLS error.
fn of_io(error: &io::Error) -> RemoteError {
    let inside = error.get_ref();
    if inside.is_some_and(|inside| inside.is::<rustls::Error>()) {
        return Unreachable::Tls.into();
    }
    match (inside.and_then(|inside| inside.downcast_ref()), error.kind()) {
        (Some(inside), _) => of_io(inside),
        (None, io::ErrorKind::TimedOut) => RemoteError::TimedOut,
        (None, kind) => Unreachable::Io(kind).into(),
    }
}

fn causes<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The error text of go-ethereum for a filter that the node does not have.
const FILTER_NOT_FOUND: &str = "filter not found";

/// The error texts of go-ethereum for a key that the node does not have: a symmetric key, and a key pair.
const UNKNOWN_KEY: [&str; 2] = ["non-existent key ID", "invalid id"];

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::{RemoteNode, RemoteUrl};
    use super::*;

    /// The error of a call to a server that sends this text to each client, and then nothing.
    async fn called(scheme: &str, says: &'static str) -> RemoteError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let someone = async {
            let mut links = Vec::new();
            loop {
                let (mut transport, _) = listener.accept().await.unwrap();
                let mut heard = [0; 2048];
                let _gone = transport.read(&mut heard).await;
                let _gone = transport.write_all(says.as_bytes()).await;
                if says.is_empty() {
                    links.push(transport);
                }
            }
        };
        tokio::select! {
            error = call(scheme, port) => error,
            () = someone => unreachable!(),
        }
    }

    async fn call(scheme: &str, port: u16) -> RemoteError {
        let url = RemoteUrl::parse(&format!("{scheme}://127.0.0.1:{port}")).unwrap();
        match RemoteNode::connect(&url, None).await {
            Ok(remote) => remote.version().await.unwrap_err(),
            Err(error) => error,
        }
    }

    #[tokio::test]
    async fn each_kind_of_connection_failure_has_its_own_error() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        // The last of its kind wants certificates of the system before it calls anyone.
        for scheme in ["http", "https", "ws"] {
            let refused = Unreachable::Io(io::ErrorKind::ConnectionRefused);
            assert_eq!(call(scheme, free).await, refused.into(), "{scheme}");
        }
        for scheme in ["http", "ws"] {
            let unauthorized = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
            assert_eq!(called(scheme, unauthorized).await, RemoteError::Rejected(401), "{scheme}");
            let nonsense = "220 mail.example ESMTP\r\n";
            assert_eq!(called(scheme, nonsense).await, Unreachable::NotHttp.into(), "{scheme}");
        }
        for scheme in ["https", "wss"] {
            let plain = "HTTP/1.1 400 Bad Request\r\n\r\n";
            assert_eq!(called(scheme, plain).await, Unreachable::Tls.into(), "{scheme}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_times_out() {
        for scheme in ["http", "https", "ws"] {
            assert_eq!(called(scheme, "").await, RemoteError::TimedOut, "{scheme}");
        }
    }

    #[test]
    fn a_restarted_node_is_recognised_by_the_errors_of_go_ethereum() {
        let refused =
            |message: &str| RemoteError::Refused { code: -32000, message: message.into() };
        for (error, lost, again) in [
            (RemoteError::Closed, true, true),
            (RemoteError::TimedOut, true, false),
            (RemoteError::Rejected(503), true, true),
            (RemoteError::Rejected(401), false, false),
            (Unreachable::Tls.into(), false, false),
            (Unreachable::Io(io::ErrorKind::ConnectionRefused).into(), true, true),
            (refused("filter not found"), true, false),
            (refused("non-existent key ID"), false, true),
            (refused("invalid id"), false, true),
            (refused("message rejected, PoW too low"), false, false),
        ] {
            assert_eq!(error.is_connection_lost(), lost, "{error:?}");
            assert_eq!(error.may_post_again(), again, "{error:?}");
        }
    }
}
