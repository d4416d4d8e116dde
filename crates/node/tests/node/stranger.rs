//! A peer that this project's node does not run: the core's `RLPx` on a socket of its own, which
//! says whatever the test wants.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use rand_core::OsRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wormhole_node::{
    devp2p::{
        base::DisconnectReason,
        capability::{Protocol, ProtocolId},
        enode::Enode,
        key::PrivateKey,
        peer::{Config, Peer, PeerError, PeerOutput},
    },
    shh::{Bloom, Work, packet},
};

use super::PATIENCE;

/// Such a peer, connected.
pub(super) struct Stranger {
    peer: Peer,
    pub(super) stream: TcpStream,
    /// What has come while something was said.
    heard: VecDeque<PeerOutput>,
}

impl Stranger {
    /// Calls a node and waits until both have said Hello.
    pub(super) async fn call(node: &Enode) -> Self {
        let peer = dial(node);
        let stream = TcpStream::connect(address(node)).await.unwrap();
        let mut stranger = Self { peer, stream, heard: VecDeque::new() };
        while !matches!(stranger.next().await.unwrap(), PeerOutput::Opened { .. }) {}
        stranger
    }

    /// As [`Stranger::call`], and tells the node what it is.
    pub(super) async fn greet(node: &Enode) -> Self {
        let mut stranger = Self::call(node).await;
        let status = packet::Status::new(Work::NONE, Bloom::FULL, false);
        stranger.say(packet::STATUS, &status.encode()).await;
        stranger
    }

    /// Sends a packet.
    pub(super) async fn say(&mut self, code: u16, body: &[u8]) {
        self.peer.send(ProtocolId(0), code, body).unwrap();
        while let Some(output) = self.peer.poll() {
            if let PeerOutput::Send(bytes) = &output {
                // The node may have had enough.
                let _cut = self.stream.write_all(bytes).await;
            } else {
                self.heard.push_back(output);
            }
        }
    }

    /// The next thing that is not about bytes; what it was told if the link has ended.
    pub(super) async fn next(&mut self) -> Result<PeerOutput, Option<DisconnectReason>> {
        let mut buffer = [0; 4096];
        loop {
            match self.heard.pop_front().or_else(|| self.peer.poll()) {
                Some(PeerOutput::Send(bytes)) => {
                    let _cut = self.stream.write_all(&bytes).await;
                    continue;
                }
                Some(PeerOutput::Close) => return Err(None),
                Some(output) => return Ok(output),
                None => {}
            }
            let read = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("in time");
            let Some(count) = read.ok().filter(|count| *count > 0) else { return Err(None) };
            if let Err(error) = self.peer.handle(Instant::now(), &buffer[..count]) {
                let PeerError::Disconnected(reason) = error else { panic!("{error}") };
                return Err(Some(reason));
            }
        }
    }

    /// Waits until the node ends the link, and tells what it said.
    pub(super) async fn end(mut self) -> Option<DisconnectReason> {
        loop {
            if let Err(reason) = self.next().await {
                return reason;
            }
        }
    }
}

/// A peer that is about to say the first half of the handshake.
pub(super) fn dial(node: &Enode) -> Peer {
    let key = PrivateKey::random(&mut OsRng);
    let config = Config::new(key, vec![Protocol::new("shh", 6, packet::LENGTH)]);
    Peer::dial(config, node.id.public_key().unwrap(), Instant::now(), &mut OsRng)
}

/// Where a node listens.
pub(super) fn address(node: &Enode) -> SocketAddr {
    node.endpoint.unwrap().tcp_address()
}
