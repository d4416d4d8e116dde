//! Listening sockets, byte streams with or without TLS and what waits for them, and the process's
//! limit on open files.

mod outgoing;
mod progress;
mod stream;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

pub(crate) use outgoing::Outgoing;
pub(crate) use progress::Progress;
#[cfg(test)]
pub(crate) use progress::{PACE, PATIENCE};
pub(crate) use stream::Stream;
pub(crate) use tls::Tls;
#[cfg(test)]
pub(crate) use tls::testing;

use crate::ServerError;

/// Starts listening.
///
/// Port 0 picks a free port. `[::]` takes IPv4 as well.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // A restart must not wait for the old links to leave TIME_WAIT.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bind().map_err(|error| ServerError::Listen { address, reason: error.to_string() })
}

/// Accepts the next connection; errors that concern one connection alone are skipped.
///
/// Out of file descriptors, it waits until some are free instead of spinning.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Small frames go out at once; failing that, they are only slower.
                let _ = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether only the connection that was being accepted is affected.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Raises the soft limit on open files to the hard one: a link is a file.
pub(crate) fn raise_file_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}

/// Links that may wait to be accepted. A burst of clients after a restart must not be refused.
const BACKLOG: i32 = 4096;

/// How long accepting pauses when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
