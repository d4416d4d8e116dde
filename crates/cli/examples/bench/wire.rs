//! A TCP proxy that can reset all its connections.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

/// A running proxy. It ends with this process.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    /// Starts a proxy to this server, `host:port`.
    ///
    /// # Errors
    /// There is no free port.
    pub(crate) fn start(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, server) = (listener.local_addr()?, server.to_owned());
        let sockets: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let open = Arc::clone(&sockets);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is gone closes the connection.
                let _gone = TcpStream::connect(&server).and_then(|server| {
                    let both = [client.try_clone()?, server.try_clone()?];
                    open.lock().unwrap_or_else(PoisonError::into_inner).extend(both);
                    pump(client.try_clone()?, server.try_clone()?);
                    pump(server, client);
                    Ok(())
                });
            }
        });
        Ok(Self { address, sockets })
    }

    /// Resets all connections. New ones work.
    pub(crate) fn reset(&self) {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in sockets.drain(..) {
            reset(&socket);
        }
    }
}

/// Ends a connection with a reset, even if other threads hold the socket: connecting it to no address does that.
fn reset(socket: &TcpStream) {
    let nothing = libc::sockaddr { sa_family: libc::sa_family_t::default(), sa_data: [0; 14] };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).unwrap_or_default();
    // SAFETY: the descriptor is open while `socket` is borrowed, and the address is valid for the time of the call.
    #[expect(unsafe_code, reason = "no safe interface resets a socket that others hold, too")]
    let _closed_before = unsafe {
        libc::connect(std::os::fd::AsRawFd::as_raw_fd(socket), &raw const nothing, length)
    };
}

/// Carries one direction until it ends.
fn pump(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if to.write_all(buffer.get(..length).unwrap_or_default()).is_err() {
                break;
            }
        }
        // The other direction may have ended it before.
        let _ended = to.shutdown(Shutdown::Write);
    });
}
