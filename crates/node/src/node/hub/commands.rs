//! What handles want of the node.

use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use rand_core::OsRng;
use tokio::sync::oneshot;
use wormhole_whisper::{
    devp2p::{base::DisconnectReason, enode::Enode, key::NodeId},
    shh::{Bloom, Envelope, EnvelopeHash, Topic, Work, packet},
};

use super::super::{
    AddPeerError, ArchiveReply, DirectError, PeerInfo, PostError, PostState, Status,
};
use super::{Hub, lock};

/// What a handle wants of the node, and where the answer goes.
#[derive(Debug)]
pub(in super::super) enum Command {
    AddPeer(Enode, oneshot::Sender<Result<bool, AddPeerError>>),
    Connected(NodeId, oneshot::Sender<()>),
    Held(Vec<Topic>, oneshot::Sender<Vec<Envelope>>),
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Post(Envelope, oneshot::Sender<Result<EnvelopeHash, PostError>>),
    PostState(EnvelopeHash, oneshot::Sender<Option<PostState>>),
    RemovePeer(NodeId, oneshot::Sender<bool>),
    RequestArchive(NodeId, Envelope, oneshot::Sender<Result<ArchiveReply, DirectError>>),
    SendDirect(NodeId, Envelope, oneshot::Sender<Result<(), DirectError>>),
    SetInterests(Box<Bloom>, oneshot::Sender<()>),
    SetLight(bool, oneshot::Sender<()>),
    SetMaxEnvelopeBytes(usize, oneshot::Sender<()>),
    SetMinWork(Work, oneshot::Sender<()>),
    Status(oneshot::Sender<Status>),
    Stop(oneshot::Sender<()>),
    Trust(NodeId, oneshot::Sender<bool>),
}

impl Hub {
    /// Does what a handle wants.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::AddPeer(enode, reply) => tell(reply, self.add_peer(&enode)),
            Command::Connected(id, reply) => self.await_peer(id, reply),
            Command::Held(topics, reply) => tell(reply, self.node.held(&topics).cloned().collect()),
            Command::Peers(reply) => tell(reply, self.peers()),
            Command::Post(envelope, reply) => tell(reply, self.post(envelope)),
            Command::PostState(hash, reply) => tell(reply, self.post_state(&hash)),
            Command::RemovePeer(id, reply) => tell(reply, self.remove_peer(&id)),
            Command::RequestArchive(id, request, reply) => {
                tell(reply, self.request_archive(id, &request));
            }
            Command::SendDirect(id, envelope, reply) => {
                tell(reply, self.send_direct(id, &envelope));
            }
            Command::SetInterests(bloom, reply) => {
                self.node.set_bloom(Instant::now(), *bloom);
                tell(reply, ());
            }
            Command::SetLight(light, reply) => {
                self.node.set_light(light);
                tell(reply, ());
            }
            Command::SetMaxEnvelopeBytes(bytes, reply) => {
                self.set_max_envelope_bytes(bytes);
                tell(reply, ());
            }
            Command::SetMinWork(work, reply) => {
                self.set_min_work(work);
                tell(reply, ());
            }
            Command::Status(reply) => tell(reply, self.status()),
            // The loop stops before it obeys.
            Command::Stop(reply) => drop(reply),
            Command::Trust(id, reply) => tell(reply, self.trust(id)),
        }
    }

    fn send_direct(&mut self, id: NodeId, envelope: &Envelope) -> Result<(), DirectError> {
        self.ready(&id)?;
        self.node.send_direct(id, envelope);
        Ok(())
    }

    fn add_peer(&mut self, enode: &Enode) -> Result<bool, AddPeerError> {
        if enode.id == self.id {
            return Err(AddPeerError::Ourselves);
        }
        if enode.endpoint.is_none_or(|endpoint| endpoint.tcp == 0) {
            return Err(AddPeerError::NoAddress);
        }
        let connected = self.table.has(&enode.id);
        let added = self.dialler.add_static(Instant::now(), enode, connected);
        let new = added.ok_or(AddPeerError::TooMany)?;
        self.table.exempt(&enode.id);
        lock(&self.blacklist).unban_node(&enode.id);
        Ok(new)
    }

    /// Answers once a peer is connected.
    fn await_peer(&mut self, id: NodeId, reply: oneshot::Sender<()>) {
        self.awaited.retain(|(_, reply)| !reply.is_closed());
        if self.node.peers().any(|(other, _)| *other == id) {
            tell(reply, ());
        } else {
            self.awaited.push((id, reply));
        }
    }

    fn remove_peer(&mut self, id: &NodeId) -> bool {
        let was_static = self.dialler.remove_static(id);
        let connected = self.table.has(id);
        self.dismiss(id, DisconnectReason::Requested);
        was_static || connected
    }

    fn trust(&mut self, id: NodeId) -> bool {
        self.node.trust(id);
        self.table.exempt(&id);
        lock(&self.blacklist).unban_node(&id);
        self.table.has(&id)
    }

    fn post(&mut self, envelope: Envelope) -> Result<EnvelopeHash, PostError> {
        if self.node.waiting() >= MAX_WAITING {
            return Err(PostError::Full);
        }
        let (now, wall) = (Instant::now(), SystemTime::now().into());
        Ok(self.node.post(now, wall, envelope, &mut OsRng)?)
    }

    fn post_state(&self, hash: &EnvelopeHash) -> Option<PostState> {
        match self.node.is_sent(hash) {
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
        self.answers.retain(|(_, _, done)| !done.is_closed());
        if self.answers.len() >= MAX_ANSWERS {
            return Err(DirectError::Busy);
        }
        self.ready(&id)?;
        self.node.request_archive(id, request);
        let (done, answer) = oneshot::channel();
        self.answers.push((id, request.hash(), done));
        Ok(ArchiveReply(answer))
    }

    /// Whether something may be sent to a peer alone.
    fn ready(&self, id: &NodeId) -> Result<(), DirectError> {
        let open = self.node.peers().any(|(other, _)| other == id);
        match self.has_room(id).filter(|_| open) {
            Some(true) => Ok(()),
            Some(false) => Err(DirectError::Busy),
            None => Err(DirectError::NotConnected),
        }
    }

    fn set_max_envelope_bytes(&mut self, bytes: usize) {
        self.node.set_max_size(bytes);
        let longest = self.node.requirements().max_packet();
        self.context.max_message.store(longest, Ordering::Relaxed);
    }

    fn set_min_work(&mut self, work: Work) {
        self.pressure.usual = work;
        self.pressure.raised = false;
        self.node.set_min_work(Instant::now(), work);
    }

    fn status(&self) -> Status {
        let requirements = self.node.requirements();
        Status {
            peers: self.node.peers().count(),
            envelopes: self.node.pool().len(),
            bytes: self.node.pool().bytes(),
            waiting: self.node.waiting(),
            unsent: self.unsent_count,
            min_work: requirements.min_work(),
            max_envelope_bytes: requirements.max_size(),
            max_own_bytes: self.node.max_own_size(),
            bloom: *requirements.bloom(),
            light: self.node.is_light(),
            accepted: self.accepted,
            cut: self.cut,
            banned: lock(&self.blacklist).banned(Instant::now()),
            archived: self.archive.as_ref().map(|served| served.archive.len()),
        }
    }

    fn peers(&self) -> Vec<PeerInfo> {
        let info = |(id, status): (&NodeId, &packet::Status)| {
            let peer = self.table.find(id)?;
            Some(PeerInfo {
                id: *id,
                address: peer.end.address,
                listen_port: peer.hello.listen_port,
                direction: peer.end.direction,
                client: peer.hello.client_id.clone(),
                capabilities: peer.hello.capabilities.clone(),
                connected_for: peer.since.elapsed(),
                is_static: self.dialler.is_static(id),
                trusted: self.node.trusts(id),
                min_work: status.min_work,
                bloom: status.bloom,
                light: status.light,
            })
        };
        self.node.peers().filter_map(info).collect()
    }
}

/// Answers, if whoever asked is still there.
fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    let _unheard = reply.send(answer);
}

/// Own envelopes that wait to leave.
const MAX_WAITING: usize = 1024;

/// Answers of mail servers that are waited for.
const MAX_ANSWERS: usize = 64;
