//! A node: the handle to it, and below it the parts of the running node.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use wormhole_whisper::{
    devp2p::{enode::Enode, key::NodeId},
    shh::{Bloom, Envelope, EnvelopeHash, Topic, Work},
};

mod archive;
mod clock_warning;
mod connect_waiters;
mod cover;
mod data_folder;
mod discovery;
pub(crate) mod draft;
mod envelopes;
mod error;
mod hub;
mod link;
mod listener;
mod min_work_control;
mod net;
mod peers;
mod read_limits;
mod settings;
mod status;
mod unsent_posts;

pub use archive::{
    ArchiveQuery, ArchiveReply, ArchiveResult, FetchArchiveError, archive_request, fetch_archive,
};
pub use envelopes::{EnvelopeEvent, Envelopes};
pub use error::{
    AddPeerError, ArchiveComplete, ArchiveError, DirectError, MineError, PostError, StartError,
    Stopped,
};
pub use settings::{ArchiveSettings, Cover, Settings};
pub use status::{Direction, PeerInfo, Status};

use crate::post_state::PostState;
use envelopes::Broadcast;
use hub::Command;

/// A handle to a running node. Clones are handles to the same node. It stops when the last one is dropped, or
/// with [`Node::stop`].
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
    fn new(commands: mpsc::Sender<Command>, broadcast: Broadcast, enode: Enode) -> Self {
        Self { inner: Inner { commands, broadcast, enode }.into() }
    }

    /// Starts a node in the background of the current tokio runtime.
    ///
    /// # Errors
    /// The settings cannot be used. Nothing is running then.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        hub::start(settings).await
    }

    /// The address of the node for other nodes. It has no endpoint if the node does not listen.
    pub fn enode(&self) -> Enode {
        self.inner.enode
    }

    /// The id of the node.
    pub fn id(&self) -> NodeId {
        self.inner.enode.id
    }

    /// Posts an envelope. It is sent after a random delay, once there are enough peers
    /// (`shh::node::Privacy`).
    ///
    /// # Errors
    /// It was refused, and is not sent.
    pub async fn post(&self, envelope: Envelope) -> Result<EnvelopeHash, PostError> {
        self.request(|reply| Command::Post(envelope, reply)).await?
    }

    /// Whether an envelope that was posted here has been sent. `None` if the node does not know it, for
    /// example because it expired after it was sent.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn post_state(&self, hash: EnvelopeHash) -> Result<Option<PostState>, Stopped> {
        self.request(|reply| Command::PostState(hash, reply)).await
    }

    /// The envelopes in the pool that have one of these topics.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn pool_envelopes(&self, topics: Vec<Topic>) -> Result<Vec<Envelope>, Stopped> {
        self.request(|reply| Command::PoolEnvelopes(topics, reply)).await
    }

    /// All envelopes that the node accepts from now on, including those that are posted here.
    pub fn envelopes(&self) -> Envelopes {
        self.inner.broadcast.subscribe()
    }

    /// Sets the work that envelopes must have, and tells all peers.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_min_work(&self, work: Work) -> Result<(), Stopped> {
        self.request(|reply| Command::SetMinWork(work, reply)).await
    }

    /// Sets the largest envelope to accept, in bytes. The highest value is
    /// [`MAX_SIZE_LIMIT`](wormhole_whisper::shh::requirements::MAX_SIZE_LIMIT).
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_max_envelope_bytes(&self, bytes: usize) -> Result<(), Stopped> {
        self.request(|reply| Command::SetMaxEnvelopeBytes(bytes, reply)).await
    }

    /// Sets the topics that this node wants to receive, and tells all peers.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_bloom_filter(&self, bloom: Bloom) -> Result<(), Stopped> {
        self.request(|reply| Command::SetBloom(Box::new(bloom), reply)).await
    }

    /// Turns light mode on or off. A light node forwards only its own envelopes. Peers learn the mode when
    /// they connect, and not later.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn set_light(&self, light: bool) -> Result<(), Stopped> {
        self.request(|reply| Command::SetLight(light, reply)).await
    }

    /// The status of the node.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn status(&self) -> Result<Status, Stopped> {
        self.request(Command::Status).await
    }

    /// The connected peers.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn peers(&self) -> Result<Vec<PeerInfo>, Stopped> {
        self.request(Command::Peers).await
    }

    /// Adds a static peer: the node dials it now, and again whenever its link is lost. Returns whether it is
    /// new.
    ///
    /// # Errors
    /// It cannot be dialled.
    pub async fn add_peer(&self, enode: Enode) -> Result<bool, AddPeerError> {
        self.request(|reply| Command::AddPeer(enode, reply)).await?
    }

    /// Waits until a peer is connected and has sent its status.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn wait_connected(&self, id: NodeId) -> Result<(), Stopped> {
        self.request(|reply| Command::WaitConnected(id, reply)).await
    }

    /// Disconnects a peer and stops dialling it. Returns whether it was connected or static.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn remove_peer(&self, id: NodeId) -> Result<bool, Stopped> {
        self.request(|reply| Command::RemovePeer(id, reply)).await
    }

    /// Accepts direct messages of this node from now on. Returns whether it is connected, which is not
    /// required.
    ///
    /// # Errors
    /// The node has stopped.
    pub async fn trust(&self, id: NodeId) -> Result<bool, Stopped> {
        self.request(|reply| Command::Trust(id, reply)).await
    }

    /// Sends an envelope directly to one peer, which does not forward it. The peer accepts it only if it
    /// trusts this node.
    ///
    /// # Errors
    /// Nothing was sent.
    pub async fn send_direct(&self, peer: NodeId, envelope: Envelope) -> Result<(), DirectError> {
        self.request(|reply| Command::SendDirect(peer, envelope, reply)).await?
    }

    /// Sends a request to a mail server. Trust it first, because it sends the reply as direct envelopes. Some
    /// mail servers never say that the reply is complete.
    ///
    /// # Errors
    /// Nothing was sent.
    pub async fn request_archive(
        &self,
        peer: NodeId,
        request: Envelope,
    ) -> Result<ArchiveReply, DirectError> {
        self.request(|reply| Command::RequestArchive(peer, request, reply)).await?
    }

    /// Stops the node: disconnects all peers, and saves what the next start needs. Calls of other handles fail
    /// afterwards.
    pub async fn stop(self) {
        // It may have stopped already.
        let _stopped = self.request(Command::Stop).await;
    }

    async fn request<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(command(reply)).await.map_err(|_| Stopped)?;
        answer.await.map_err(|_| Stopped)
    }
}
