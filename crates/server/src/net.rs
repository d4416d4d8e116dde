//! Listening sockets, byte streams with or without TLS, output buffers, and the process's limit on open
//! files.

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
/// Port 0 picks a free port. `[::]` also accepts IPv4.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // A restart must not wait for old connections in TIME_WAIT.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bind().map_err(|error| ServerError::Listen { address, reason: error.to_string() })
}

/// Accepts the next connection; skips errors of single connections.
///
/// Without free file descriptors, it waits instead of looping.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // Send small frames at once; without this option they are only slower.
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

/// Whether an error only concerns the connection that was being accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Raises the soft limit on open files to the hard one, because each connection is a file.
pub(crate) fn raise_file_limit() -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(())
}

/// Connections that may wait to be accepted, so that a burst of clients after a restart is not refused.
const BACKLOG: i32 = 4096;

/// Pause when the system is out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
