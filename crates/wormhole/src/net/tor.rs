//! Tor: finds a running one by its control port or its SOCKS port, or starts one.
//!
//! The result is a SOCKS port. Tor itself handles circuits and onion services. (control-spec.txt)

mod control;
mod launch;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use wormhole_magic::transit::Permit;

use super::Route;
use super::socks::Proxy;
use super::tcp::Effort;
use control::Control;
use launch::Launched;

/// A Tor proxy.
///
/// ```no_run
/// use wormhole::code::{Config, Wormhole};
/// use wormhole::net::tor::Tor;
///
/// # async fn example() -> Result<(), wormhole::net::tor::TorError> {
/// let wormhole = Wormhole::create(Config { tor: Some(Tor::find().await?), ..Config::default() });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tor {
    proxy: Proxy,
    source: TorSource,
    /// Stops the process that we started when the last copy is dropped.
    _launched: Option<Arc<Launched>>,
}

/// How a Tor was found.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TorSource {
    /// Through its control port.
    ControlPort(ControlPort),
    /// We started it.
    Launched,
    /// A program listens on one of Tor's usual SOCKS ports.
    SocksPort(SocketAddr),
}

impl Tor {
    /// Looks for a running Tor: first at the usual control ports, then at the usual SOCKS ports.
    ///
    /// # Errors
    /// No Tor was found.
    pub async fn find() -> Result<Self, TorError> {
        for port in ControlPort::usual() {
            if let Ok(tor) = Self::at_control_port(port).await {
                return Ok(tor);
            }
        }
        for port in SOCKS_PORTS {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            if let Ok(Ok(_)) = timeout(LOCAL_TIMEOUT, TcpStream::connect(address)).await {
                let source = TorSource::SocksPort(address);
                return Ok(Self { proxy: Proxy(address), source, _launched: None });
            }
        }
        Err(TorError::NotFound)
    }

    /// Queries the Tor behind this control port.
    ///
    /// # Errors
    /// It does not answer, rejects us, or has no SOCKS port.
    pub async fn at_control_port(port: ControlPort) -> Result<Self, TorError> {
        let mut control = Control::connect(&port).await?;
        control.authenticate().await?;
        let proxy = Proxy(control.socks_port().await?);
        Ok(Self { proxy, source: TorSource::ControlPort(port), _launched: None })
    }

    /// Starts our own `tor` process and waits until it has connected to the Tor network, which
    /// takes from seconds to two minutes. It is stopped when the last copy of this value is
    /// dropped.
    ///
    /// # Errors
    /// The program is missing, or does not connect to the Tor network.
    pub async fn launch() -> Result<Self, TorError> {
        let (launched, address) = Launched::start().await?;
        let proxy = Proxy(address);
        Ok(Self { proxy, source: TorSource::Launched, _launched: Some(Arc::new(launched)) })
    }

    /// How it was found.
    pub const fn source(&self) -> &TorSource {
        &self.source
    }

    /// The SOCKS5 port for all connections.
    pub const fn socks_port(&self) -> SocketAddr {
        self.proxy.0
    }

    /// The route for connections through this proxy.
    pub(crate) const fn route(&self) -> Route {
        Route { proxy: Some(self.proxy), permit: Permit::Anywhere, effort: Effort::Once }
    }
}

/// The control port of a Tor: `tcp:HOST:PORT` or `unix:PATH`, as in the reference client.
///
/// ```
/// use wormhole::net::tor::ControlPort;
///
/// let port: ControlPort = "tcp:127.0.0.1:9051".parse()?;
/// assert_eq!(port.to_string(), "tcp:127.0.0.1:9051");
/// assert!("127.0.0.1".parse::<ControlPort>().is_err());
/// # Ok::<(), wormhole::net::tor::TorError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ControlPort {
    /// A TCP port.
    Tcp {
        /// A host name or an address.
        host: String,
        /// The port number.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl ControlPort {
    /// The usual control ports.
    fn usual() -> [Self; 3] {
        let tcp = |port| Self::Tcp { host: Ipv4Addr::LOCALHOST.to_string(), port };
        [Self::Unix(PathBuf::from("/var/run/tor/control")), tcp(9051), tcp(9151)]
    }
}

impl FromStr for ControlPort {
    type Err = TorError;

    fn from_str(text: &str) -> Result<Self, TorError> {
        let bad = || TorError::BadControlPort(text.to_owned());
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        match kind {
            "unix" if !rest.is_empty() => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" => {
                let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
                // Twisted permits the prefixes `host=` and `port=`, and escapes the colons of IPv6.
                let host = host.strip_prefix("host=").unwrap_or(host).replace("\\:", ":");
                let port = port.strip_prefix("port=").unwrap_or(port);
                let host = host.trim_matches(['[', ']']);
                if host.is_empty() {
                    return Err(bad());
                }
                Ok(Self::Tcp { host: host.to_owned(), port: port.parse().map_err(|_| bad())? })
            }
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for ControlPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why Tor cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TorError {
    /// The text is not a valid control port.
    #[error("{0:?} is neither tcp:HOST:PORT nor unix:PATH")]
    BadControlPort(String),
    /// The control port does not answer.
    #[error("Tor's control port {0} does not answer")]
    ControlPortSilent(ControlPort),
    /// The Tor that we started exited, or did not connect to its network in time.
    #[error("Tor could not connect to its network")]
    NoNetwork,
    /// Tor has no SOCKS port over TCP.
    #[error("Tor has no SOCKS port")]
    NoSocksPort,
    /// No Tor is running at the usual ports.
    #[error("no Tor was found on this machine")]
    NotFound,
    /// The program `tor` does not exist or cannot be started.
    #[error("the program tor cannot be started")]
    NotInstalled,
    /// Tor requires a password, or a cookie that we may not read.
    #[error("the control port of Tor requires a password, or a cookie file that you cannot read")]
    AuthenticationFailed,
    /// The program at the control port does not use Tor's control protocol.
    #[error("the program at this address is not a Tor control port")]
    NotTor,
}

/// The usual SOCKS ports: of the system's Tor and of Tor Browser.
const SOCKS_PORTS: [u16; 2] = [9050, 9150];

/// Time limit for connections to a port of this computer.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_ports_are_written_as_twisted_writes_endpoints() {
        let tcp = |host: &str, port| Ok(ControlPort::Tcp { host: host.into(), port });
        assert_eq!("tcp:localhost:9051".parse(), tcp("localhost", 9051));
        assert_eq!("tcp:host=localhost:port=9051".parse(), tcp("localhost", 9051));
        assert_eq!("tcp:[::1]:9051".parse(), tcp("::1", 9051));
        assert_eq!(r"tcp:\:\:1:9051".parse(), tcp("::1", 9051));
        assert_eq!("unix:/run/tor".parse(), Ok(ControlPort::Unix("/run/tor".into())));
        for bad in
            ["", "tcp", "tcp:", "tcp:x", "tcp::1", "tcp:x:y", "tcp:x:70000", "unix:", "ssl:x:1"]
        {
            assert_eq!(bad.parse::<ControlPort>(), Err(TorError::BadControlPort(bad.into())));
        }
    }
}
