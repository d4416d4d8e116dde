//! Connections through a local SOCKS5 proxy such as Tor's, with `tokio-socks` (RFC 1928).
//!
//! The proxy resolves names. If we resolved them here, the name server would learn which hosts
//! Tor should hide.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{Error, IntoTargetAddr};

use super::{LinkFailure, tcp};

/// The address of a SOCKS5 proxy that needs no password.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Proxy(pub(crate) SocketAddr);

/// Why a proxy did not open a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SocksRefusal {
    /// The proxy requires a password.
    #[error("it requires a password")]
    AuthenticationWanted,
    /// The proxy reported a failure with this code.
    #[error("a general failure (SOCKS5 code {0})")]
    Failed(u8),
    /// The rules of the proxy forbid this address.
    #[error("it does not allow this address")]
    Forbidden,
    /// The name is longer than SOCKS permits (255 bytes).
    #[error("the name is too long for the proxy")]
    NameTooLong,
    /// The program at the proxy's address does not use SOCKS5.
    #[error("the answer is not SOCKS5")]
    NotSocks,
    /// The host refused the connection.
    #[error("the destination refused the connection")]
    Refused,
    /// The proxy answered with a code that SOCKS5 does not define.
    #[error("it gave an unknown answer")]
    UnknownAnswer,
    /// The host or its network cannot be reached.
    #[error("the destination cannot be reached")]
    Unreachable,
}

impl Proxy {
    /// Connects to `host`, a name or an address without brackets, through the proxy.
    ///
    /// # Errors
    /// The proxy does not answer, or refuses the connection.
    pub(crate) async fn connect(self, host: &str, port: u16) -> Result<TcpStream, LinkFailure> {
        let target = (host, port).into_target_addr().map_err(|_| SocksRefusal::NameTooLong)?;
        // This opens the TCP connection itself, to set a time limit and keepalive.
        let stream = tcp::connect(&self.0.ip().to_string(), self.0.port()).await?;
        let connecting = Socks5Stream::connect_with_socket(stream, target);
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        connected.map_err(|_| LinkFailure::TimedOut)?.map(Socks5Stream::into_inner).map_err(failure)
    }
}

/// Translates an error of `tokio-socks`.
fn failure(error: Error) -> LinkFailure {
    let refusal = match error {
        Error::Io(error) => return error.kind().into(),
        Error::AuthorizationRequired | Error::NoAcceptableAuthMethods => {
            SocksRefusal::AuthenticationWanted
        }
        Error::ConnectionNotAllowedByRuleset => SocksRefusal::Forbidden,
        Error::NetworkUnreachable | Error::HostUnreachable | Error::TtlExpired => {
            SocksRefusal::Unreachable
        }
        Error::ConnectionRefused => SocksRefusal::Refused,
        Error::GeneralSocksServerFailure => SocksRefusal::Failed(1),
        Error::CommandNotSupported => SocksRefusal::Failed(7),
        Error::AddressTypeNotSupported => SocksRefusal::Failed(8),
        Error::UnknownAuthMethod => SocksRefusal::UnknownAnswer,
        Error::InvalidReservedByte
        | Error::InvalidResponseVersion
        | Error::InvalidTargetAddress(_)
        | Error::UnknownAddressType => SocksRefusal::NotSocks,
        // Errors of other commands, of passwords and of SOCKS4. None of them can occur here.
        Error::IdentdAuthFailure
        | Error::InvalidAuthValues(_)
        | Error::InvalidUserIdAuthFailure
        | Error::ParseError(_)
        | Error::PasswordAuthFailure(_)
        | Error::ProxyServerUnreachable
        | Error::UnknownError => SocksRefusal::NotSocks,
    };
    refusal.into()
}

/// The time limit for the proxy's answer. Tor needs many seconds to build a circuit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Connects to `host` through a proxy that sends `reply`. Returns the result, and the request
    /// that the proxy received after the greeting.
    async fn connect(
        host: &str,
        port: u16,
        reply: &'static [u8],
    ) -> (Result<(), LinkFailure>, Vec<u8>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy(listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(reply).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut received = Vec::new();
            // The client may disconnect early.
            let _ = stream.read_to_end(&mut received).await;
            assert_eq!(received[..3], [5, 1, 0], "offers no authentication, and nothing else");
            received.split_off(3)
        };
        let connect = async { proxy.connect(host, port).await.map(drop) };
        let (received, result) = tokio::join!(serve, connect);
        (result, received)
    }

    const ACCEPTED: &[u8] = b"\x05\x00\x05\x00\x00\x03\x02ab\x00\x01";

    #[tokio::test]
    async fn names_are_handed_to_the_proxy_unresolved() {
        for (host, port, request) in [
            ("a.onion", 258, &b"\x05\x01\x00\x03\x07a.onion\x01\x02"[..]),
            ("1.2.3.4", 80, b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50"),
            ("::1", 80, b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50"),
        ] {
            assert_eq!(connect(host, port, ACCEPTED).await, (Ok(()), request.to_vec()));
        }
        // The longest name; the proxy is not even contacted for a longer one.
        assert_eq!(connect(&"x".repeat(255), 80, ACCEPTED).await.0, Ok(()));
        let nobody = Proxy(SocketAddr::from(([127, 0, 0, 1], 1)));
        let too_long = nobody.connect(&"x".repeat(256), 80).await.map(drop);
        assert_eq!(too_long, Err(SocksRefusal::NameTooLong.into()));
    }

    #[tokio::test]
    async fn each_refusal_of_a_proxy_is_distinguished() {
        for (reply, refusal) in [
            (&b"\x05\xff"[..], SocksRefusal::AuthenticationWanted),
            (b"\x05\x02", SocksRefusal::AuthenticationWanted),
            (b"\x05\x01", SocksRefusal::UnknownAnswer),
            (b"HTTP/1.1 400", SocksRefusal::NotSocks),
            (b"\x05\x00HTTP", SocksRefusal::NotSocks),
            (b"\x05\x00\x05\x01\x00\x01", SocksRefusal::Failed(1)),
            (b"\x05\x00\x05\x02\x00\x01", SocksRefusal::Forbidden),
            (b"\x05\x00\x05\x03\x00\x01", SocksRefusal::Unreachable),
            (b"\x05\x00\x05\x04\x00\x01", SocksRefusal::Unreachable),
            (b"\x05\x00\x05\x05\x00\x01", SocksRefusal::Refused),
            (b"\x05\x00\x05\x06\x00\x01", SocksRefusal::Unreachable),
            (b"\x05\x00\x05\x07\x00\x01", SocksRefusal::Failed(7)),
            (b"\x05\x00\x05\x08\x00\x01", SocksRefusal::Failed(8)),
            (b"\x05\x00\x05\xf0\x00\x01", SocksRefusal::UnknownAnswer),
            (b"\x05\x00\x04\x00\x00\x01", SocksRefusal::NotSocks),
            (b"\x05\x00\x05\x00\x00\x09", SocksRefusal::NotSocks),
            // A bound address that is not text.
            (b"\x05\x00\x05\x00\x00\x03\x01\xff\x00\x01", SocksRefusal::NotSocks),
        ] {
            assert_eq!(connect("name", 1, reply).await.0, Err(refusal.into()), "{reply:?}");
        }
        for end in 0..ACCEPTED.len() {
            let cut = connect("name", 1, &ACCEPTED[..end]).await.0;
            assert!(matches!(cut, Err(LinkFailure::Io(_))), "{end} {cut:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_proxy_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy(listener.local_addr().unwrap());
        let result = proxy.connect("name", 1).await.map(drop);
        assert_eq!(result, Err(LinkFailure::TimedOut));
    }
}
