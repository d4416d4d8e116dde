//! The handle to a running node, and the parts of the node.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use wormhole_whisper::{
    devp2p::{enode::Enode, key::NodeId},
    shh::{Bloom, Envelope, EnvelopeHash, Topic, Work},
};

mod archive;
mod archive_request;
mod cover;
mod data_folder;
mod discovery;
pub(crate) mod draft;
mod envelopes;
mod error;
mod fetch_archive;
mod hub;
mod link;
mod listener;
mod net;
mod peers;
mod read_limits;
mod settings;
mod status;

pub use archive_request::request;
pub use envelopes::{EnvelopeEvent, Envelopes};
pub use error::{
    AddPeerError, ArchiveComplete, ArchiveError, DirectError, MineError, PostError, StartError,
    Stopped,
};
pub use fetch_archive::{ArchiveQuery, ArchiveResult, FetchArchiveError, fetch_archive};
pub use settings::{ArchiveSettings, Cover, Settings};
pub use status::{Direction, PeerInfo, Status};

use crate::post_state::PostState;
use envelopes::Broadcast;
use hub::Command;

/// A running node. Clones are handles to the same one; it stops with the last of them, or when told
/// to.
#[derive(Clone, Debug)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: mpsc::Sender<Command>,
    broadcast: Broadcast,
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

    /// The node as others can call it. Without an endpoint if it does not subscribe.
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
        self.inner.broadcast.subscribe()
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

    /// Appearance at what this node sends to us alone from now on. Returns whether it is connected;
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
    ) -> Result<ArchiveReply, DirectError> {
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

/// The answer of a mail server, while it comes.
#[derive(Debug)]
pub struct ArchiveReply(oneshot::Receiver<ArchiveComplete>);

impl ArchiveReply {
    /// Waits until the server says that it is done. All that it sent before is in
    /// [`Node::envelopes`] then.
    ///
    /// # Errors
    /// It will not say so any more.
    pub async fn done(self) -> Result<ArchiveComplete, ArchiveError> {
        self.0.await.map_err(|_| ArchiveError::PeerGone)
    }
}
