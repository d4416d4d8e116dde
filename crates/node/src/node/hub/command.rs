//! The requests of [`Node`](crate::Node) handles.

use std::time::{Instant, SystemTime};

use rand_core::OsRng;
use tokio::sync::oneshot;
use wormhole_whisper::{
    devp2p::{base::DisconnectReason, enode::Enode, key::NodeId},
    shh::{Bloom, Envelope, EnvelopeHash, Topic, Work},
};

use super::Hub;
use crate::{AddPeerError, ArchiveReply, DirectError, PeerInfo, PostError, PostState, Status};

/// A request of a handle, and where the answer goes.
#[derive(Debug)]
pub(in crate::node) enum Command {
    AddPeer(Enode, oneshot::Sender<Result<bool, AddPeerError>>),
    WaitConnected(NodeId, oneshot::Sender<()>),
    PoolEnvelopes(Vec<Topic>, oneshot::Sender<Vec<Envelope>>),
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Post(Envelope, oneshot::Sender<Result<EnvelopeHash, PostError>>),
    PostState(EnvelopeHash, oneshot::Sender<Option<PostState>>),
    RemovePeer(NodeId, oneshot::Sender<bool>),
    RequestArchive(NodeId, Envelope, oneshot::Sender<Result<ArchiveReply, DirectError>>),
    SendDirect(NodeId, Envelope, oneshot::Sender<Result<(), DirectError>>),
    SetBloom(Box<Bloom>, oneshot::Sender<()>),
    SetLight(bool, oneshot::Sender<()>),
    SetMaxEnvelopeBytes(usize, oneshot::Sender<()>),
    SetMinWork(Work, oneshot::Sender<()>),
    Status(oneshot::Sender<Status>),
    Stop(oneshot::Sender<()>),
    Trust(NodeId, oneshot::Sender<bool>),
}

impl Hub {
    /// Executes a request of a handle.
    pub(super) fn handle_command(&mut self, command: Command) {
        match command {
            Command::AddPeer(enode, reply) => {
                answer(reply, self.peers.add_static(Instant::now(), &enode));
            }
            Command::WaitConnected(id, reply) => self.wait_connected(id, reply),
            Command::PoolEnvelopes(topics, reply) => {
                answer(reply, self.core.pool_envelopes(&topics).cloned().collect());
            }
            Command::Peers(reply) => answer(reply, self.peers()),
            Command::Post(envelope, reply) => answer(reply, self.post(envelope)),
            Command::PostState(hash, reply) => answer(reply, self.post_state(&hash)),
            Command::RemovePeer(id, reply) => answer(reply, self.remove_peer(&id)),
            Command::RequestArchive(id, request, reply) => {
                answer(reply, self.request_archive(id, &request));
            }
            Command::SendDirect(id, envelope, reply) => {
                answer(reply, self.send_direct(id, &envelope));
            }
            Command::SetBloom(bloom, reply) => {
                self.core.set_bloom(Instant::now(), *bloom);
                answer(reply, ());
            }
            Command::SetLight(light, reply) => {
                self.core.set_light(light);
                answer(reply, ());
            }
            Command::SetMaxEnvelopeBytes(bytes, reply) => {
                self.core.set_max_size(bytes);
                self.links.set_max_message(self.core.requirements().max_packet());
                answer(reply, ());
            }
            Command::SetMinWork(work, reply) => {
                self.min_work_control.set_usual(work);
                self.core.set_min_work(Instant::now(), work);
                answer(reply, ());
            }
            Command::Status(reply) => answer(reply, self.status()),
            // The loop of the hub handles it.
            Command::Stop(reply) => drop(reply),
            Command::Trust(id, reply) => answer(reply, self.trust(id)),
        }
    }

    fn send_direct(&mut self, id: NodeId, envelope: &Envelope) -> Result<(), DirectError> {
        self.check_can_send(&id)?;
        self.core.send_direct(id, envelope);
        Ok(())
    }

    /// Answers once a peer has sent its status.
    fn wait_connected(&mut self, id: NodeId, reply: oneshot::Sender<()>) {
        if self.core.peers().any(|(other, _)| *other == id) {
            answer(reply, ());
        } else {
            self.waiters.add(id, reply);
        }
    }

    fn remove_peer(&mut self, id: &NodeId) -> bool {
        let was_static = self.peers.remove_static(id);
        let was_connected = self.disconnect(id, DisconnectReason::Requested);
        was_static || was_connected
    }

    fn trust(&mut self, id: NodeId) -> bool {
        self.core.trust(id);
        self.peers.exempt(&id);
        self.peers.contains(&id)
    }

    fn post(&mut self, envelope: Envelope) -> Result<EnvelopeHash, PostError> {
        if self.core.waiting() >= MAX_WAITING {
            return Err(PostError::Full);
        }
        let (now, wall) = (Instant::now(), SystemTime::now().into());
        Ok(self.core.post(now, wall, envelope, &mut OsRng)?)
    }

    fn post_state(&self, hash: &EnvelopeHash) -> Option<PostState> {
        match self.core.is_sent(hash) {
            Some(true) => Some(PostState::Sent),
            Some(false) => Some(PostState::Waiting),
            None => self.unsent.contains(hash).then_some(PostState::Expired),
        }
    }

    fn request_archive(
        &mut self,
        id: NodeId,
        request: &Envelope,
    ) -> Result<ArchiveReply, DirectError> {
        self.archive.can_request()?;
        self.check_can_send(&id)?;
        self.core.request_archive(id, request);
        Ok(self.archive.requested(id, request.hash()))
    }

    /// Checks that a packet can be sent to one peer now.
    fn check_can_send(&self, id: &NodeId) -> Result<(), DirectError> {
        let has_status = self.core.peers().any(|(other, _)| other == id);
        match self.peers.has_room(id).filter(|_| has_status) {
            Some(true) => Ok(()),
            Some(false) => Err(DirectError::Busy),
            None => Err(DirectError::NotConnected),
        }
    }

    fn status(&self) -> Status {
        let requirements = self.core.requirements();
        Status {
            peers: self.core.peers().count(),
            envelopes: self.core.pool().len(),
            bytes: self.core.pool().bytes(),
            waiting: self.core.waiting(),
            unsent: self.unsent.count(),
            min_work: requirements.min_work(),
            max_envelope_bytes: requirements.max_size(),
            max_own_bytes: self.core.max_own_size(),
            bloom: *requirements.bloom(),
            light: self.core.is_light(),
            accepted: self.accepted,
            misbehaved: self.peers.misbehaved(),
            banned: self.peers.banned(Instant::now()),
            archived: self.archive.len(),
        }
    }

    fn peers(&self) -> Vec<PeerInfo> {
        let peers = self.core.peers();
        let info = |(id, status)| self.peers.info(id, status, self.core.trusts(id));
        peers.filter_map(info).collect()
    }
}

/// Answers a request, unless the caller has given up.
fn answer<T>(reply: oneshot::Sender<T>, answer: T) {
    let _gone = reply.send(answer);
}

/// Maximum number of own envelopes that wait to be sent.
const MAX_WAITING: usize = 1024;
