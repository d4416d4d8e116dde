//! Measures what a real Whisper node relays: one peer says envelopes of 512 bytes as fast as the node
//! reads them, four others read what it passes on. Prints a name, a number and its unit, as
//! `scripts/bench` reads it. The number is for one core: envelopes by seconds of CPU time that the
//! node took, over its own sockets, with its limits lifted.
//!
//! `cargo run --release -p wormhole-server --example whisper_load` (build the server first)

#![expect(clippy::as_conversions, reason = "counts become averages")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Instant, SystemTime};

use rand_core::{OsRng, RngCore};
use wormhole_node::{
    devp2p::{
        capability::{Protocol, ProtocolId},
        enode::Enode,
        key::PrivateKey,
        peer::{Config, Peer, PeerOutput},
    },
    shh::{
        Bloom, Draft, Envelope, Topic, Work,
        packet::{self, Packet, Status},
    },
};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let node = Node::start()?;
    let mut speaker = Link::open(&node.enode)?;
    let readers: Vec<_> =
        (0..READERS).map(|_| Link::open(&node.enode)).collect::<Result<_, _>>()?;
    let bundles: Vec<_> = (0..RELAYED / BUNDLE).map(|_| bundle()).collect();
    let before = node.cpu_seconds()?;
    let readers: Vec<_> =
        readers.into_iter().map(|link| thread::spawn(move || link.count(RELAYED))).collect();
    for body in bundles {
        speaker.say(packet::MESSAGES, &body)?;
    }
    for reader in readers {
        reader.join().map_err(|_| "a reader panicked")??;
    }
    let rate = f64::from(RELAYED) / (node.cpu_seconds()? - before);
    println!(
        "relay of envelopes of 512 bytes to 4 peers, a real node with sockets: {rate:.0} envelopes/s"
    );
    Ok(())
}

/// Envelopes in one packet. What is in them looks random, so that it does not pack well.
fn bundle() -> Vec<u8> {
    let envelope = || {
        let mut data = vec![0; 512];
        OsRng.fill_bytes(&mut data);
        Draft::new(SystemTime::now().into(), 600, Topic([1, 2, 3, 4]), data).finish(0)
    };
    let all: Vec<_> = (0..BUNDLE).map(|_| envelope()).collect();
    packet::encode_messages(all.iter().map(Envelope::encoded))
}

/// The node, a process of its own; killed when dropped.
struct Node {
    process: Child,
    enode: Enode,
}

impl Node {
    /// Starts the server from the folder of this program.
    fn start() -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let folder = program.ancestors().nth(2).ok_or("no folder of programs")?;
        let mut process = Command::new(folder.join("wormhole-server"))
            .args(["whisper", "--listen", "127.0.0.1:0", "--min-pow", "0"])
            .args(LIMITS)
            .stderr(Stdio::piped())
            .spawn()?;
        let log = BufReader::new(process.stderr.take().ok_or("no log")?);
        let mut lines = log.lines().map_while(Result::ok);
        let url = lines.find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()));
        let enode = url.ok_or("the node did not start").and_then(|url| {
            Enode::parse(&url).map_err(|_| "the node does not say where it listens")
        });
        thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, enode: enode? })
    }

    /// CPU time until now, of all threads.
    fn cpu_seconds(&self) -> Result<f64, Failure> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields = stat.rsplit_once(") ").ok_or("no times")?.1.split(' ');
        let ticks: u32 =
            fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
        Ok(f64::from(ticks) / 100.0)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// A peer of the node.
struct Link {
    peer: Peer,
    stream: TcpStream,
}

impl Link {
    /// Calls the node, and tells it that everything is wanted.
    fn open(node: &Enode) -> Result<Self, Failure> {
        let protocol = Protocol::new(packet::NAME, 6, packet::LENGTH);
        let config = Config::new(PrivateKey::random(&mut OsRng), vec![protocol]);
        let peer = Peer::dial(config, node.id.public_key()?, Instant::now(), &mut OsRng);
        let address = node.endpoint.ok_or("the node does not listen")?.tcp_address();
        let mut link = Self { peer, stream: TcpStream::connect(address)? };
        link.stream.set_nodelay(true)?;
        while !matches!(link.next()?, PeerOutput::Opened { .. }) {}
        link.say(packet::STATUS, &Status::new(Work::NONE, Bloom::FULL, false).encode())?;
        Ok(link)
    }

    fn say(&mut self, code: u16, body: &[u8]) -> Result<(), Failure> {
        self.peer.send(ProtocolId(0), code, body)?;
        while let Some(output) = self.peer.poll() {
            // Whatever the node has said by now is its status.
            if let PeerOutput::Send(bytes) = output {
                self.stream.write_all(&bytes)?;
            }
        }
        Ok(())
    }

    /// The next thing that is not about bytes.
    fn next(&mut self) -> Result<PeerOutput, Failure> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.peer.poll() {
                Some(PeerOutput::Send(bytes)) => self.stream.write_all(&bytes)?,
                Some(PeerOutput::Close) => return Err("the node has parted".into()),
                Some(output) => return Ok(output),
                None => {
                    let count = self.stream.read(&mut buffer)?;
                    self.peer.handle(Instant::now(), buffer.get(..count).unwrap_or_default())?;
                    if count == 0 {
                        return Err("the node has closed the link".into());
                    }
                }
            }
        }
    }

    /// Reads until so many envelopes have come.
    fn count(mut self, wanted: u32) -> Result<(), Failure> {
        let mut seen = 0;
        while seen < wanted as usize {
            if let PeerOutput::Message { code: packet::MESSAGES, payload, .. } = self.next()?
                && let Packet::Messages(envelopes) = Packet::decode(packet::MESSAGES, &payload)?
            {
                seen += envelopes.count();
            }
        }
        Ok(())
    }
}

/// Peers that read.
const READERS: usize = 4;

/// Envelopes that are relayed.
const RELAYED: u32 = 200_000;

/// Envelopes in a packet, as in those of a node.
const BUNDLE: u32 = 500;

/// No limits.
const LIMITS: [&str; 4] =
    ["--peer-messages-per-second", "1000000", "--peer-bytes-per-second", "4000000000"];
