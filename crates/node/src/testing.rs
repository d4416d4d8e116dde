//! A peer for tests of nodes, here and in other crates. It runs the protocol core `devp2p::peer` on a TCP socket,
//! and sends whatever the test wants. It panics where a test should fail.
//!
//! It exists only with the feature `testing`. It is not part of the public interface and changes
//! without notice.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_core::OsRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wormhole_whisper::{
    devp2p::{
        base::DisconnectReason,
        capability::{Protocol, ProtocolId},
        enode::Enode,
        key::PrivateKey,
        peer::{Config, Peer, PeerError, PeerOutput},
    },
    shh::{Bloom, Work, packet},
};

/// A connected peer that sends what a test tells it to.
#[derive(Debug)]
pub struct TestPeer {
    peer: Peer,
    /// The connection, for tests that send bytes of their own.
    pub stream: TcpStream,
    /// Outputs that occurred while something was sent.
    outputs: VecDeque<PeerOutput>,
}

impl TestPeer {
    /// Connects to a node and waits until both have sent Hello.
    pub async fn connect(node: &Enode) -> Self {
        let stream = TcpStream::connect(tcp_address(node)).await.unwrap();
        let mut peer = Self { peer: dial(node), stream, outputs: VecDeque::new() };
        while !matches!(peer.next().await.unwrap(), PeerOutput::Opened { .. }) {}
        peer
    }

    /// Connects like [`TestPeer::connect`], and sends the Whisper status packet.
    pub async fn connect_with_status(node: &Enode) -> Self {
        let mut peer = Self::connect(node).await;
        let status = packet::Status::new(Work::NONE, Bloom::FULL, false);
        peer.send(packet::STATUS, &status.encode()).await;
        peer
    }

    /// Sends a Whisper packet.
    pub async fn send(&mut self, code: u16, body: &[u8]) {
        self.peer.send(ProtocolId(0), code, body).unwrap();
        while let Some(output) = self.peer.poll() {
            if let PeerOutput::Send(bytes) = &output {
                // The node may have disconnected already.
                let _disconnected = self.stream.write_all(bytes).await;
            } else {
                self.outputs.push_back(output);
            }
        }
    }

    /// The next output other than bytes to send.
    ///
    /// # Errors
    /// The link has ended, for the reason that the node gave, if it gave one.
    pub async fn next(&mut self) -> Result<PeerOutput, Option<DisconnectReason>> {
        let mut buffer = [0; 4096];
        loop {
            match self.outputs.pop_front().or_else(|| self.peer.poll()) {
                Some(PeerOutput::Send(bytes)) => {
                    let _disconnected = self.stream.write_all(&bytes).await;
                    continue;
                }
                Some(PeerOutput::Close) => return Err(None),
                Some(output) => return Ok(output),
                None => {}
            }
            let read = timeout(TIMEOUT, self.stream.read(&mut buffer)).await.expect("in time");
            let Some(count) = read.ok().filter(|count| *count > 0) else { return Err(None) };
            let bytes = buffer.get(..count).unwrap_or_default();
            if let Err(error) = self.peer.handle(Instant::now(), bytes) {
                let PeerError::Disconnected(reason) = error else { panic!("{error}") };
                return Err(Some(reason));
            }
        }
    }

    /// Waits until the node disconnects. Returns the reason that it gave, if it gave one.
    pub async fn disconnected(mut self) -> Option<DisconnectReason> {
        loop {
            if let Err(reason) = self.next().await {
                return reason;
            }
        }
    }
}

/// The `RLPx` session of a new peer, before the first half of the handshake is sent.
pub fn dial(node: &Enode) -> Peer {
    let key = PrivateKey::random(&mut OsRng);
    let config = Config::new(key, vec![Protocol::new("shh", 6, packet::LENGTH)]);
    Peer::dial(config, node.id.public_key().unwrap(), Instant::now(), &mut OsRng)
}

/// The TCP address of a node.
pub fn tcp_address(node: &Enode) -> SocketAddr {
    node.endpoint.unwrap().tcp_address()
}

/// Time limit for everything that a test waits for.
const TIMEOUT: Duration = Duration::from_secs(60);
