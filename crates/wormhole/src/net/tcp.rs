//! Opens TCP connections: tries every address of a name, of both families, with short delays (RFC
//! 8305).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep_until, timeout};

use wormhole_magic::transit::Permit;

use super::{LinkFailure, permit};

/// Connects to `host`, a name or an address without brackets.
///
/// # Errors
/// The name is unknown, or no address answered within [`CONNECT_TIMEOUT`].
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, LinkFailure> {
    connect_permitted(host, port, Permit::Anywhere, Effort::Once).await
}

/// How often the addresses of a name are tried.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Effort {
    /// Each address once. The system repeats a lost packet after 1, 3 and 7 seconds.
    #[default]
    Once,
    /// Each address again and again while earlier attempts are unanswered, so that a path that comes back is noticed soon.
    Repeated,
}

/// Connects like [`connect`], but not to addresses that `permit` forbids, whichever addresses the
/// name resolves to.
///
/// # Errors
/// The same as [`connect`], or no address is permitted.
pub(crate) async fn connect_permitted(
    host: &str,
    port: u16,
    permit: Permit,
    effort: Effort,
) -> Result<TcpStream, LinkFailure> {
    let addresses = permit::filter(permit, resolve(host, port).await?)?;
    let raced = timeout(CONNECT_TIMEOUT, race(interleave(addresses), effort));
    let stream = raced.await.map_err(|_| LinkFailure::TimedOut)?.map_err(|e| e.kind())?;
    tune(&stream).map_err(|e| e.kind())?;
    Ok(stream)
}

/// Configures a connection that was opened or accepted.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    // All our protocols write complete messages, so delaying small packets would only cost time.
    stream.set_nodelay(true)?;
    // Without keepalive, a program that only waits would never notice that its peer has lost its
    // network. A program that sends checks the acknowledgements instead (`tcp_info.rs`).
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
    let keepalive = keepalive.with_interval(KEEPALIVE_INTERVAL);
    #[cfg(not(windows))]
    let keepalive = keepalive.with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Another handle of the socket, for querying the system after something else has taken the stream.
pub(super) fn duplicate(stream: &TcpStream) -> io::Result<std::net::TcpStream> {
    Ok(SockRef::from(stream).try_clone()?.into())
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, LinkFailure> {
    // A literal address needs no name server, and no thread for the lookup.
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let unknown = || LinkFailure::NameNotFound(host.to_owned());
    let found: Vec<_> = lookup_host((host, port)).await.map_err(|_| unknown())?.collect();
    if found.is_empty() { Err(unknown()) } else { Ok(found) }
}

/// Alternates the address families, starting with that of the first address.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let first_is_v6 = first.is_ipv6();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for address in addresses {
        if address.is_ipv6() == first_is_v6 { one.push(address) } else { other.push(address) }
    }
    let mut other = other.into_iter();
    let mut mixed: Vec<_> =
        one.into_iter().flat_map(|address| [Some(address), other.next()]).flatten().collect();
    mixed.extend(other);
    mixed
}

/// Tries one address after another without waiting for earlier attempts to fail.
async fn race(addresses: Vec<SocketAddr>, effort: Effort) -> io::Result<TcpStream> {
    let mut waiting = addresses.clone().into_iter();
    let mut rounds = if effort == Effort::Repeated { MAX_ROUNDS } else { 1 };
    let mut attempts = FuturesUnordered::new();
    let mut next_start = Instant::now();
    let mut failure = io::ErrorKind::AddrNotAvailable.into();
    let mut more = true;
    while more || !attempts.is_empty() {
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    failure = error;
                    next_start = Instant::now();
                }
            },
            () = sleep_until(next_start), if more => match waiting.next() {
                Some(address) => {
                    attempts.push(TcpStream::connect(address));
                    next_start = Instant::now() + ATTEMPT_DELAY;
                }
                None => {
                    rounds -= 1;
                    more = rounds > 0 && !attempts.is_empty();
                    waiting = addresses.clone().into_iter();
                    next_start = Instant::now() + ROUND_DELAY;
                }
            },
        }
    }
    Err(failure)
}

/// Time limit for all attempts together. Systems give up after one to two minutes, which is too
/// long for a user at a terminal.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Delay between the starts of two attempts (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Additional delay before all addresses are tried again.
const ROUND_DELAY: Duration = Duration::from_millis(250);

/// How often each address is tried in [`Effort::Repeated`].
const MAX_ROUNDS: u32 = 10;

/// Time without data after which the system sends a keepalive probe.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);

/// Time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Number of unanswered probes after which a connection ends; Windows uses its own number.
#[cfg(not(windows))]
const KEEPALIVE_PROBES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_notices_a_peer_that_vanished() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect("127.0.0.1", listener.local_addr().unwrap().port()).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        #[cfg(unix)]
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
    }

    #[test]
    fn the_families_take_turns() {
        let [a, b, c]: [SocketAddr; 3] =
            ["[::1]:1", "[::2]:1", "1.2.3.4:1"].map(|text| text.parse().unwrap());
        assert_eq!(interleave(vec![a, b, c]), [a, c, b]);
        assert_eq!(interleave(vec![c, a, b]), [c, a, b]);
        assert_eq!(interleave(vec![]), []);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_as_soon_as_one_fails() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed_address = closed.local_addr().unwrap();
        drop(closed);
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = vec![closed_address, open.local_addr().unwrap()];
        assert!(race(addresses, Effort::Once).await.is_ok());
        assert_eq!(
            race(vec![closed_address], Effort::Repeated).await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
    }

    #[tokio::test]
    async fn a_name_that_cannot_exist_is_reported_by_name() {
        assert_eq!(
            connect("nobody.invalid", 1).await.map(|_| ()),
            Err(LinkFailure::NameNotFound("nobody.invalid".into()))
        );
    }
}
