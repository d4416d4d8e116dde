//! A wire between clients and the relay, which a test cuts in different ways.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the wire does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wire {
    /// It forwards everything.
    Up,
    /// All links are reset, and then new ones work.
    Reset,
    /// All links are closed in the usual way, and then new ones work.
    Close,
    /// Nothing arrives any more, in either direction, and new links hang.
    Silent,
}

/// A running wire. It ends with the runtime of the test.
pub(crate) struct CutWire {
    pub(crate) address: SocketAddr,
    state: watch::Sender<Wire>,
}

impl CutWire {
    /// Starts a wire to this server.
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = watch::Sender::new(Wire::Up);
        let states = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, states.subscribe()));
            }
        });
        Self { address, state }
    }

    /// Cuts all links in this way; `Silent` lasts for `pause`.
    pub(crate) async fn cut(&self, how: Wire, pause: Duration) {
        self.state.send_replace(how);
        if how == Wire::Silent {
            tokio::time::sleep(pause).await;
            self.state.send_replace(Wire::Up);
        }
    }
}

async fn forward(client: TcpStream, server: SocketAddr, mut state: watch::Receiver<Wire>) {
    state.wait_for(|state| *state != Wire::Silent).await.unwrap();
    state.borrow_and_update();
    let Ok(server) = TcpStream::connect(server).await else { return };
    let sockets = [SockRef::from(&client).try_clone(), SockRef::from(&server).try_clone()];
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (one, two) = (state.clone(), state.clone());
    let cut = async {
        // What was announced before this link does not concern it.
        while state.changed().await.is_ok() {
            let how = *state.borrow_and_update();
            if matches!(how, Wire::Reset | Wire::Close) {
                return how;
            }
        }
        Wire::Close
    };
    tokio::select! {
        () = pump(&mut from_client, &mut to_server, one) => {}
        () = pump(&mut from_server, &mut to_client, two) => {}
        how = cut => {
            if how == Wire::Reset {
                for socket in sockets.into_iter().flatten() {
                    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
                }
            }
        }
    }
}

/// Forwards one direction, except while the wire is silent.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut state: watch::Receiver<Wire>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if state.wait_for(|state| *state != Wire::Silent).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}
