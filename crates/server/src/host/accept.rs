//! The accept loop of every listener.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net;

/// Accepts connections until draining begins, and then stops listening.
///
/// `serve` decides at once whether to serve a connection: `None` closes it. The returned future runs as one of the
/// `tasks`, which can be awaited together.
pub(crate) async fn accept<F, T>(
    listener: TcpListener,
    draining: CancellationToken,
    tasks: TaskTracker,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr) -> Option<T> + Send,
    T: Future<Output = ()> + Send + 'static,
{
    loop {
        let (stream, address) = tokio::select! {
            () = draining.cancelled() => return,
            accepted = net::accept(&listener) => accepted,
        };
        if let Some(connection) = serve(stream, address) {
            tasks.spawn(connection);
        }
    }
}
