//! Connects to one node with RLPx over TCP and prints its messages: a manual test with other implementations.
//! Not a Whisper node: it sends a status and optionally one packet.
//!
//! ```text
//! rlpx_peer listen 127.0.0.1:0 [MESSAGES-HEX]
//! rlpx_peer dial 127.0.0.1:30303 NODE-ID-HEX [MESSAGES-HEX]
//! ```

#![expect(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "an example is a driver, not a core"
)]

use std::{
    env,
    error::Error,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use rand_core::OsRng;
use wormhole_kit::Instant;
use wormhole_whisper::devp2p::{
    base::DisconnectReason,
    capability::{Protocol, ProtocolId},
    key::{NodeId, PrivateKey},
    peer::{Config, Peer, PeerOutput},
};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let shh = Protocol::new("shh", 6, 128);
    let config = Config::new(PrivateKey::random(&mut OsRng), vec![shh]);
    match arguments.as_slice() {
        ["listen", address, packet @ ..] => {
            let listener = TcpListener::bind(address)?;
            println!("{} {}", listener.local_addr()?, config.key.public_key().node_id());
            let (link, _) = listener.accept()?;
            run(Peer::accept(config, Instant::now(), &mut OsRng), link, packet)
        }
        ["dial", address, id, packet @ ..] => {
            let id: [u8; 64] =
                HEX.decode(id.as_bytes())?.try_into().map_err(|_| "not a node id")?;
            let link = TcpStream::connect(address)?;
            let remote = NodeId(id).public_key()?;
            run(Peer::dial(config, remote, Instant::now(), &mut OsRng), link, packet)
        }
        _ => Err("usage: rlpx_peer listen ADDRESS | dial ADDRESS NODE-ID [MESSAGES-HEX]".into()),
    }
}

/// Drives the peer for a few seconds.
fn run(mut peer: Peer, mut link: TcpStream, packet: &[&str]) -> Result<(), Box<dyn Error>> {
    link.set_read_timeout(Some(Duration::from_millis(100)))?;
    let end = Instant::now() + Duration::from_secs(5);
    let mut buffer = [0; 4096];
    loop {
        while let Some(output) = peer.poll() {
            match output {
                PeerOutput::Send(bytes) => link.write_all(&bytes)?,
                PeerOutput::Opened { hello, .. } => {
                    println!("opened {:?} {:?}", hello.client_id, hello.capabilities);
                    peer.send(SHH, 0, &STATUS)?;
                    for packet in packet {
                        peer.send(SHH, 1, &HEX.decode(packet.as_bytes())?)?;
                    }
                }
                PeerOutput::Message { code, payload, .. } => {
                    println!("message {code} {}", HEX.encode(&payload));
                }
                PeerOutput::Close => return Ok(()),
            }
        }
        if Instant::now() >= end {
            peer.disconnect(DisconnectReason::Quitting);
        }
        let result = match link.read(&mut buffer) {
            Ok(0) => return Err("connection closed".into()),
            Ok(count) => peer.handle(Instant::now(), buffer.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                peer.handle_timeout(Instant::now())
            }
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = result {
            println!("ended: {error}");
        }
    }
}

/// Our only protocol.
const SHH: ProtocolId = ProtocolId(0);

/// Status of a full node without required work: version 6, work 0, no bloom, not light.
const STATUS: [u8; 5] = [0xc4, 6, 0x80, 0x80, 0x80];
