//! A node of the Whisper network: peers over TCP, discovery over UDP, an archive on disk.
//!
//! The protocols are [`devp2p`] and [`shh`], without I/O. A [`Node`] reads no message: it accepts,
//! passes on and hands out envelopes; whoever has keys tries them on what comes out of
//! [`Node::envelopes`] (`shh::filter`).
//!
//! ```text
//!  Node (handle) ──► hub: the one task that owns shh::Node, and knows all links
//!                     ├── link: one task per link (RLPx)     ├── dialler: whom to call, when
//!                     ├── door: the listener                 ├── reputation: whom not to
//!                     ├── finder: discovery over UDP         └── heard: who listens
//!                     ├── archive: a thread with SQLite
//!                     └── memory: what a restart must not lose
//!  mine: work, on threads of its own                         cover: envelopes that mean nothing
//! ```
//!
//! Two nodes on this machine:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::{Duration, SystemTime};
//! use wormhole_node::{Heard, Node, Settings, shh::{Draft, Topic, Work}};
//!
//! let alice = Node::start(Settings::loopback()).await?;
//! let mut settings = Settings::loopback();
//! settings.static_peers = vec![alice.enode()];
//! let bob = Node::start(settings).await?;
//!
//! let mut heard = alice.envelopes();
//! let draft = Draft::new(SystemTime::now().into(), 50, Topic::of_word("room"), vec![7; 256]);
//! let target = Some(Work::DEFAULT_MINIMUM);
//! let hash = bob.post(wormhole_node::mine(draft, target, Duration::from_secs(60)).await?).await?;
//! let Some(Heard::Envelope { envelope, .. }) = heard.next().await else { panic!() };
//! assert_eq!(envelope.hash(), hash);
//! bob.stop().await;
//! alice.stop().await;
//! # Ok(())
//! # }
//! ```

use std::sync::Arc;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rand_core::OsRng;
use tokio::sync::{mpsc, oneshot};
use wormhole_kit::Secret;
pub use wormhole_kit::UnixTime;
pub use wormhole_whisper::{devp2p, shh};
use wormhole_whisper::{
    devp2p::{
        enode::Enode,
        key::{NodeId, PrivateKey},
    },
    shh::{Bloom, Envelope, EnvelopeHash, Topic, Work},
};
use zeroize::Zeroizing;

mod archive;
mod budget;
mod catch_up;
mod cover;
pub mod desk;
mod dialler;
mod door;
mod draft;
mod error;
mod finder;
mod found;
mod heard;
mod hub;
mod link;
mod memory;
mod mine;
mod net;
mod pending;
#[cfg(feature = "remote")]
pub mod remote;
mod reputation;
mod request;
#[cfg(feature = "rpc")]
pub mod rpc;
mod settings;
mod status;
mod turns;

pub use catch_up::{CatchUpError, CaughtUp, Missed, catch_up};
pub use draft::usual_work;
pub use error::{
    AddPeerError, ArchiveDone, ArchiveError, DirectError, MineError, PostError, StartError, Stopped,
};
use heard::Audience;
pub use heard::{Envelopes, Heard};
use hub::Command;
pub use mine::mine;
pub use request::request;
pub use settings::{ArchiveSettings, Cover, Settings};
pub use status::{Direction, PeerInfo, PostState, Status};

/// A running node. Clones are handles to the same one; it stops with the last of them, or when told
/// to.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: mpsc::Sender<Command>,
    audience: Audience,
    enode: Enode,
}

impl Node {
    /// Starts a node, in the background of the present tokio runtime.
    ///
    /// # Errors
    /// The settings ask for what cannot be had; nothing is left running.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        hub::start(settings).await
    }

    /// The node as others can call it. Without an endpoint if it does not listen.
    pub fn enode(&self) -> Enode {
        self.inner.enode
    }

    /// The name of the node.
    pub fn id(&self) -> NodeId {
        self.inner.enode.id
    }

    /// Takes in an envelope of our own. It leaves after a random delay, once there are enough
    /// peers (`shh::node::Darkness`).
    ///
    /// # Errors
    /// It was not taken, and nobody has seen it.
    pub async fn post(&self, envelope: Envelope) -> Result<EnvelopeHash, PostError> {
        self.ask(|reply| Command::Post(envelope, reply)).await?
    }

    /// How far an envelope that was posted here has come. `None` if the node does not know it (any more),
    /// for example because it expired after it was sent.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn post_state(&self, hash: EnvelopeHash) -> Result<Option<PostState>, Stopped> {
        self.ask(|reply| Command::PostState(hash, reply)).await
    }

    /// The envelopes with these topics that the node holds now.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn held(&self, topics: Vec<Topic>) -> Result<Vec<Envelope>, Stopped> {
        self.ask(|reply| Command::Held(topics, reply)).await
    }

    /// All envelopes that the node accepts from now on, its own included.
    pub fn envelopes(&self) -> Envelopes {
        self.inner.audience.listen()
    }

    /// Asks for this much work of envelopes, and tells all peers.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_min_work(&self, work: Work) -> Result<(), Stopped> {
        self.ask(|reply| Command::SetMinWork(work, reply)).await
    }

    /// Takes envelopes of up to this many bytes, at most
    /// [`MAX_SIZE_LIMIT`](shh::requirements::MAX_SIZE_LIMIT).
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_max_envelope_bytes(&self, bytes: usize) -> Result<(), Stopped> {
        self.ask(|reply| Command::SetMaxEnvelopeBytes(bytes, reply)).await
    }

    /// Asks for these topics only, and tells all peers.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_interests(&self, bloom: Bloom) -> Result<(), Stopped> {
        self.ask(|reply| Command::SetInterests(Box::new(bloom), reply)).await
    }

    /// Passes on only what we say ourselves from now on, or everything again. Peers are told when
    /// they connect, and not again.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_light(&self, light: bool) -> Result<(), Stopped> {
        self.ask(|reply| Command::SetLight(light, reply)).await
    }

    /// How the node is.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn status(&self) -> Result<Status, Stopped> {
        self.ask(Command::Status).await
    }

    /// Who is connected.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Stopped> {
        self.ask(Command::Peers).await
    }

    /// Calls a node, now and whenever its link is lost. Returns whether it is new.
    ///
    /// # Errors
    /// It cannot be called.
    pub async fn add_peer(&self, enode: Enode) -> Result<bool, AddPeerError> {
        self.ask(|reply| Command::AddPeer(enode, reply)).await?
    }

    /// Waits until a node is connected; returns at once if it is.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn connected(&self, id: NodeId) -> Result<(), Stopped> {
        self.ask(|reply| Command::Connected(id, reply)).await
    }

    /// Parts with a node and calls it no more. Returns whether there was anything to part with.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn remove_peer(&self, id: NodeId) -> Result<bool, Stopped> {
        self.ask(|reply| Command::RemovePeer(id, reply)).await
    }

    /// Looks at what this node sends to us alone from now on. Returns whether it is connected;
    /// it need not be.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn trust(&self, id: NodeId) -> Result<bool, Stopped> {
        self.ask(|reply| Command::Trust(id, reply)).await
    }

    /// Sends an envelope to one peer alone, past the pool. Only a peer that trusts us looks at it.
    ///
    /// # Errors
    /// Nothing was sent.
    pub async fn send_direct(&self, peer: NodeId, envelope: Envelope) -> Result<(), DirectError> {
        self.ask(|reply| Command::SendDirect(peer, envelope, reply)).await?
    }

    /// Sends a request to a mail server, which should be trusted: the answers come as direct
    /// envelopes. Not every mail server says when it is done.
    ///
    /// # Errors
    /// Nothing was sent.
    pub async fn request_archive(
        &self,
        peer: NodeId,
        request: Envelope,
    ) -> Result<Answer, DirectError> {
        self.ask(|reply| Command::RequestArchive(peer, request, reply)).await?
    }

    /// Stops: parts with all peers, and keeps what a restart needs. Other handles are of no more
    /// use.
    pub async fn stop(self) {
        // Who has stopped already is just as well.
        let _stopped = self.ask(Command::Stop).await;
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(command(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Draws a key pair.
pub fn new_key() -> PrivateKey {
    PrivateKey::random(&mut OsRng)
}

/// Reads a private key from its 64 hexadecimal digits; `None` if they are none.
pub fn private_key(digits: &str) -> Option<PrivateKey> {
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map(Zeroizing::new).ok()?;
    let bytes: [u8; 32] = bytes.as_slice().try_into().ok()?;
    PrivateKey::from_secret(&Secret::new(bytes)).ok()
}

/// The secret word in the text of a file, a password or a token: its first line, with all blanks but
/// without the line's end. `None` if there is nothing on it.
///
/// ```
/// assert_eq!(wormhole_node::secret_word("let me in\nand others\n"), Some("let me in"));
/// ```
pub fn secret_word(text: &str) -> Option<&str> {
    text.lines().next().filter(|line| !line.is_empty())
}

/// `0x` and hexadecimal digits, as people and JSON-RPC have them.
pub fn hex(bytes: &[u8]) -> String {
    format!("0x{}", HEXLOWER.encode(bytes))
}

/// The answer of a mail server, while it comes.
#[derive(Debug)]
pub struct Answer(oneshot::Receiver<ArchiveDone>);

impl Answer {
    /// Waits until the server says that it is done. All that it sent before is in
    /// [`Node::envelopes`] then.
    ///
    /// # Errors
    /// It will not say so any more.
    pub async fn done(self) -> Result<ArchiveDone, ArchiveError> {
        self.0.await.map_err(|_| ArchiveError::PeerGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_word_is_the_first_line_as_it_stands() {
        for (text, word) in [
            ("hush", Some("hush")),
            (" let me in \nsecond\n", Some(" let me in ")),
            ("hush\r\n", Some("hush")),
            ("", None),
            ("\nhush\n", None),
            ("\r\n", None),
        ] {
            assert_eq!(secret_word(text), word, "{text:?}");
        }
    }
}
