//! Listens for the peer: one listener per address family, on all addresses of this computer.

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
pub(crate) struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// No listeners.
    pub(crate) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Listens on `port`, or on a port chosen by the system. Families that this computer does not support are
    /// skipped.
    pub(crate) fn open(port: Option<u16>) -> Result<Self, (u16, io::ErrorKind)> {
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

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All our addresses with the port of their family.
    pub(crate) fn hints(&self) -> Vec<TcpHint> {
        let ports: Vec<_> = self.0.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        let hint = |address: IpAddr| {
            let socket = ports.iter().find(|socket| socket.is_ipv6() == address.is_ipv6())?;
            Some(TcpHint::new(address.to_string(), socket.port()))
        };
        addresses().into_iter().filter_map(hint).take(MAX_HINTS).collect()
    }

    /// Waits for a connection; indefinitely without listeners.
    pub(crate) async fn accept(&self) -> TcpStream {
        poll_fn(|cx| {
            for listener in &self.0 {
                // An error concerns a connection that has already ended: try the next one.
                for _ in 0..BACKLOG {
                    match listener.poll_accept(cx) {
                        Poll::Ready(Ok((stream, _))) => {
                            // The connection works without these options.
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
        // The other family has its own listener, whether or not the system would share
        // this one.
        socket.set_only_v6(true)?;
    }
    // On Windows this option would let another program take over the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Our addresses for the peer: all except loopback ones, unless there are no others. Link-local ones are omitted,
/// because they need the name of the interface.
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

/// Maximum number of connections that the system queues for us.
const BACKLOG: i32 = 128;

/// Maximum number of addresses for the peer. A machine with many containers has hundreds of useless ones.
const MAX_HINTS: usize = 32;
