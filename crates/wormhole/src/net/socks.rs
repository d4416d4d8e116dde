//! SOCKS5 towards a local proxy such as Tor's (RFC 1928), without authentication.
//!
//! Names go to the proxy unresolved: looking them up here would tell the name server what Tor is
//! meant to hide.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{LinkFailure, tcp};

/// Where a SOCKS5 proxy listens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Proxy(pub(crate) SocketAddr);

/// Why a proxy would not connect us.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SocksRefusal {
    /// It wants a password.
    #[error("it asks for a password")]
    AuthenticationWanted,
    /// It answered with a failure of its own: this code.
    #[error("it failed (code {0})")]
    Failed(u8),
    /// Its rules forbid this address.
    #[error("it does not allow this address")]
    Forbidden,
    /// The name is longer than SOCKS can carry (255 bytes).
    #[error("the name is too long for it")]
    NameTooLong,
    /// It does not speak SOCKS5.
    #[error("it does not speak SOCKS5")]
    NotSocks,
    /// The other end refused.
    #[error("connection refused by the other end")]
    Refused,
    /// The other end, or the network it is in, cannot be reached.
    #[error("the other end cannot be reached")]
    Unreachable,
}

impl Proxy {
    /// Connects to `host`, a name or an address without brackets, through the proxy.
    ///
    /// # Errors
    /// The proxy does not answer, or refuses.
    pub(crate) async fn connect(self, host: &str, port: u16) -> Result<TcpStream, LinkFailure> {
        let mut stream = tcp::connect(&self.0.ip().to_string(), self.0.port()).await?;
        let request = encode_request(host, port)?;
        timeout(CONNECT_TIMEOUT, negotiate(&mut stream, &request))
            .await
            .map_err(|_| LinkFailure::TimedOut)??;
        Ok(stream)
    }
}

/// Writes the request to connect: version, command, reserved, address, port.
fn encode_request(host: &str, port: u16) -> Result<Vec<u8>, SocksRefusal> {
    let mut request = vec![VERSION, 1, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend(address.octets());
        }
        Err(_) => {
            let length = u8::try_from(host.len()).map_err(|_| SocksRefusal::NameTooLong)?;
            request.extend([3, length]);
            request.extend(host.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    Ok(request)
}

async fn negotiate(stream: &mut TcpStream, request: &[u8]) -> Result<(), LinkFailure> {
    write(stream, &[VERSION, 1, NO_AUTHENTICATION]).await?;
    match read::<2>(stream).await? {
        [VERSION, NO_AUTHENTICATION] => {}
        [VERSION, _] => return Err(SocksRefusal::AuthenticationWanted.into()),
        _ => return Err(SocksRefusal::NotSocks.into()),
    }
    write(stream, request).await?;
    let [version, reply, _reserved, kind] = read(stream).await?;
    if version != VERSION {
        return Err(SocksRefusal::NotSocks.into());
    }
    match reply {
        0 => {}
        2 => return Err(SocksRefusal::Forbidden.into()),
        3 | 4 | 6 => return Err(SocksRefusal::Unreachable.into()),
        5 => return Err(SocksRefusal::Refused.into()),
        code => return Err(SocksRefusal::Failed(code).into()),
    }
    // The address the proxy speaks from tells us nothing, but stands in the way.
    let length = match kind {
        1 => 4,
        3 => usize::from(read::<1>(stream).await?[0]),
        4 => 16,
        _ => return Err(SocksRefusal::NotSocks.into()),
    };
    let mut address = vec![0; length + 2];
    stream.read_exact(&mut address).await.map_err(|e| e.kind())?;
    Ok(())
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), LinkFailure> {
    stream.write_all(bytes).await.map_err(|e| e.kind().into())
}

async fn read<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N], LinkFailure> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|e| e.kind())?;
    Ok(bytes)
}

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;

/// How long the proxy may take. Building a way through Tor takes many seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_handed_to_the_proxy_unresolved() {
        assert_eq!(
            encode_request("a.onion", 258),
            Ok(b"\x05\x01\x00\x03\x07a.onion\x01\x02".to_vec())
        );
        assert_eq!(
            encode_request("1.2.3.4", 80),
            Ok(b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50".to_vec())
        );
        assert_eq!(encode_request("::1", 80).map(|request| request.len()), Ok(4 + 16 + 2));
        assert_eq!(encode_request(&"x".repeat(256), 80), Err(SocksRefusal::NameTooLong));
    }

    /// A proxy that reads what is sent and answers with fixed bytes.
    async fn answer(reply: &'static [u8]) -> Result<(), LinkFailure> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy(listener.local_addr().unwrap());
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(reply).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            // The client may hang up early; what it said does not matter here.
            let _ = stream.read_to_end(&mut rest).await;
        };
        let connect = async { proxy.connect("name", 1).await.map(drop) };
        tokio::join!(serve, connect).1
    }

    #[tokio::test]
    async fn each_refusal_of_a_proxy_is_told_apart() {
        for (reply, refusal) in [
            (&b"\x05\xff"[..], SocksRefusal::AuthenticationWanted),
            (b"HTTP/1.1 400", SocksRefusal::NotSocks),
            (b"\x05\x00\x05\x02\x00\x01", SocksRefusal::Forbidden),
            (b"\x05\x00\x05\x04\x00\x01", SocksRefusal::Unreachable),
            (b"\x05\x00\x05\x05\x00\x01", SocksRefusal::Refused),
            (b"\x05\x00\x05\x01\x00\x01", SocksRefusal::Failed(1)),
            (b"\x05\x00\x04\x00\x00\x01", SocksRefusal::NotSocks),
        ] {
            assert_eq!(answer(reply).await, Err(refusal.into()));
        }
        assert_eq!(answer(b"\x05\x00\x05\x00\x00\x03\x02ab\x00\x01").await, Ok(()));
        assert!(answer(b"\x05\x00\x05\x00").await.is_err());
    }
}
