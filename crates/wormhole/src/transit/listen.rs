//! Where the peer can connect to us: one listener for each family, on every address we have.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use wormhole_magic::transit::TcpHint;

use crate::net::tcp::tune;

/// The open listeners, at most one per family.
#[derive(Debug)]
pub(super) struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Listens nowhere.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Listens on `port`, or on one that the system chooses. A family that this machine does not
    /// have is left out.
    pub(super) fn open(port: Option<u16>) -> Result<Self, (u16, io::ErrorKind)> {
        let wanted = port.unwrap_or(0);
        let v4 = listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), wanted));
        let v6 = listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), wanted));
        if let Some(port) = port {
            let taken = |error: &&io::Error| {
                matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
            };
            if let Some(error) = v4.as_ref().err().into_iter().chain(v6.as_ref().err()).find(taken)
            {
                return Err((port, error.kind()));
            }
        }
        Ok(Self(v4.into_iter().chain(v6).collect()))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every address of ours with the port that belongs to its family.
    pub(super) fn hints(&self) -> Vec<TcpHint> {
        let ports: Vec<_> = self.0.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let hint = |address: IpAddr| {
            let socket = ports.iter().find(|socket| socket.is_ipv6() == address.is_ipv6())?;
            Some(TcpHint::new(address.to_string(), socket.port()))
        };
        addresses().into_iter().filter_map(hint).take(MAX_HINTS).collect()
    }

    /// Waits until somebody connects; for ever without listeners.
    pub(super) async fn accept(&self) -> TcpStream {
        poll_fn(|cx| {
            for listener in &self.0 {
                // An error belongs to a connection that is gone again already: look for the next.
                for _ in 0..BACKLOG {
                    match listener.poll_accept(cx) {
                        Poll::Ready(Ok((stream, _))) => {
                            // A connection works without, too.
                            let _kept = tune(&stream);
                            return Poll::Ready(stream);
                        }
                        Poll::Ready(Err(_)) => {}
                        Poll::Pending => break,
                    }
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The other family has a listener of its own, on systems that would share and on those
        // that would not.
        socket.set_only_v6(true)?;
    }
    // On Windows this would let another program take the port over.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The addresses under which others may reach us: all but loopback, unless there is no other.
/// Link-local ones are left out: they mean nothing without the name of the interface.
fn addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let all: Vec<_> = interfaces.into_iter().map(|interface| interface.ip()).collect();
    let reachable: Vec<_> = all.iter().copied().filter(|ip| !is_local(*ip)).collect();
    if reachable.is_empty() {
        all.into_iter().filter(IpAddr::is_loopback).collect()
    } else {
        reachable
    }
}

const fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

/// Connections the system keeps for us until we look.
const BACKLOG: i32 = 128;

/// Addresses told to the peer. A machine full of containers has hundreds, of no use to anybody.
const MAX_HINTS: usize = 32;
