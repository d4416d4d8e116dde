//! The task that owns a node: it receives what happens on links, in discovery and from [`Node`] handles,
//! and passes it to the core and to the parts below.
//!
//! ```text
//! links, discovery, Node handles ──► hub ──► core (shh::Node) ──► hub ──► links, archive, streams of envelopes
//!                                     └──► peers, archive, cover, min_work_control: state that no other part touches
//! ```
//!
//! All channels are bounded, and the hub waits for none of its senders: a link that does not take its
//! commands is closed.
//!
//! `shh::Node` does not run in the session loop of `wormhole_kit`. Its links carry packets instead of
//! bytes, and it needs the wall clock for envelopes as well as the monotonic one.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rand_core::OsRng;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep_until, timeout};
use wormhole_whisper::{
    devp2p::{base::DisconnectReason, enode::Enode, key::NodeId},
    shh::{self, Envelope, EnvelopeError, NodeOutput, node::PeerError},
};

use super::archive::Archive;
use super::clock_warning::ClockWarning;
use super::connect_waiters::ConnectWaiters;
use super::cover::CoverTraffic;
use super::data_folder::DataFolder;
use super::envelopes::Broadcast;
use super::link::{self, LinkCommand, LinkContext, LinkEvent};
use super::min_work_control::MinWorkControl;
use super::peers::{LinkDecision, OpenedLink, Peers};
use super::unsent_posts::UnsentPosts;
use super::{MineError, Node};
use crate::recommended_work;

mod command;
mod start;

pub(super) use command::Command;
pub(super) use start::start;

/// The core, and the parts that carry out what it wants.
#[derive(Debug)]
struct Hub {
    core: shh::Node,
    peers: Peers,
    archive: Archive,
    cover: Option<CoverTraffic>,
    min_work_control: MinWorkControl,
    broadcast: Broadcast,
    unsent: UnsentPosts,
    waiters: ConnectWaiters,
    clock_warning: ClockWarning,
    folder: Option<DataFolder>,
    links: Arc<LinkContext>,
    /// Links and the listener end when this is dropped.
    closing: watch::Sender<()>,
    /// Envelopes accepted since the start.
    accepted: u64,
}

/// The channels on which the hub receives.
#[derive(Debug)]
struct Inputs {
    commands: mpsc::Receiver<Command>,
    events: mpsc::Receiver<LinkEvent>,
    discovered: mpsc::Receiver<Enode>,
}

impl Hub {
    /// Runs until a handle stops the node, or the last handle is dropped.
    async fn run(mut self, mut inputs: Inputs) {
        let stopped = loop {
            self.handle_outputs();
            self.dial();
            let deadline = self.deadline();
            tokio::select! {
                command = inputs.commands.recv() => match command {
                    Some(Command::Stop(reply)) => break Some(reply),
                    Some(command) => self.handle_command(command),
                    None => break None,
                },
                Some(event) = inputs.events.recv() => self.handle_link_event(event),
                Some(enode) = inputs.discovered.recv() => {
                    self.peers.discovered(Instant::now(), &enode);
                }
                envelope = next_cover(&mut self.cover) => self.post_cover(envelope),
                () = sleep_until(deadline.into()) => self.handle_timeout(),
            }
        };
        self.stop(inputs.events).await;
        // The caller may have given up.
        let _gone = stopped.map(|reply| reply.send(()));
    }

    fn deadline(&self) -> Instant {
        let cover = self.cover.as_ref().and_then(CoverTraffic::deadline);
        let parts = [self.peers.deadline(), cover];
        parts.into_iter().flatten().fold(self.core.deadline(), Instant::min)
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        self.core.handle_timeout(now, SystemTime::now().into(), &mut OsRng);
        if let Some(work) = self.min_work_control.lower_if_calm(now, self.core.pool().bytes()) {
            self.core.set_min_work(now, work);
        }
        if let Some(cover) = self.cover.as_mut().filter(|cover| cover.is_due(now)) {
            let of_peers = self.core.peers().map(|(_, status)| status.min_work);
            cover.start(recommended_work(self.core.requirements().min_work(), of_peers));
        }
    }

    fn post_cover(&mut self, envelope: Result<Envelope, MineError>) {
        if let Ok(envelope) = envelope {
            let (now, wall) = (Instant::now(), SystemTime::now().into());
            // If it is refused, one cover envelope is missing; that harms nothing.
            let _posted = self.core.post(now, wall, envelope, &mut OsRng);
        }
    }

    /// Opens the links that are due.
    fn dial(&mut self) {
        while let Some((id, address)) = self.peers.next_dial(Instant::now()) {
            let link = self.links.next_id();
            tokio::spawn(link::dial(Arc::clone(&self.links), link, id, address));
        }
    }

    fn handle_link_event(&mut self, event: LinkEvent) {
        let (now, wall) = (Instant::now(), SystemTime::now().into());
        match event {
            LinkEvent::Opened(opened) => self.link_opened(now, opened),
            LinkEvent::Packet { link, code, body, permit } => {
                if let Some(id) = self.peers.peer_of(link) {
                    self.core.handle(now, wall, id, code, &body);
                }
                drop(permit);
            }
            LinkEvent::MessagesSent(link) => {
                if let Some(id) = self.peers.peer_of(link) {
                    self.core.sent(now, wall, id);
                }
            }
            LinkEvent::Ended { link, info, reason } => {
                let trusted = info.id.is_some_and(|id| self.core.trusts(&id));
                let peer = self.peers.link_ended(now, link, &info, &reason, trusted);
                if let Some(id) = peer {
                    self.peer_gone(&id);
                }
            }
        }
    }

    fn link_opened(&mut self, now: Instant, opened: OpenedLink) {
        let (id, network) = (opened.hello.id, opened.info.network());
        match self.peers.link_opened(now, opened, self.core.trusts(&id)) {
            LinkDecision::Rejected => return,
            LinkDecision::Replaced => self.peer_gone(&id),
            LinkDecision::Accepted => {}
        }
        self.core.connected(now, id, Some(network));
    }

    /// Tells the other parts that a peer is not connected any more.
    fn peer_gone(&mut self, id: &NodeId) {
        self.core.disconnected(id);
        self.archive.peer_gone(id);
    }

    /// Executes all pending outputs of the core.
    fn handle_outputs(&mut self) {
        while let Some(output) = self.core.poll() {
            let now = Instant::now();
            match output {
                NodeOutput::Send { peer, code, body } => {
                    self.send_command(&peer, LinkCommand::Send { code, body });
                }
                NodeOutput::Opened(id) => self.waiters.notify(&id),
                NodeOutput::Disconnect { peer, error } => self.peer_failed(now, &peer, &error),
                NodeOutput::Deliver { envelope, direct } => self.deliver(&envelope, direct),
                NodeOutput::ArchiveRequest { peer, request } => {
                    self.answer_archive_request(&peer, &request);
                }
                NodeOutput::ArchiveComplete { peer, request, last } => {
                    self.archive.completed(peer, request, last);
                }
                NodeOutput::ClockMayBeWrong => {
                    self.clock_warning
                        .log(now, "envelopes of most peers appear to be from the future");
                }
                NodeOutput::Flooded => {
                    let demanded = self.core.requirements().min_work();
                    let raised = self.min_work_control.flooded(now, demanded);
                    raised.into_iter().for_each(|work| self.core.set_min_work(now, work));
                }
                NodeOutput::PoolFull => {
                    let demanded = self.core.requirements().min_work();
                    let raised = self.min_work_control.pool_full(now, demanded);
                    raised.into_iter().for_each(|work| self.core.set_min_work(now, work));
                }
                NodeOutput::Unsent(hash) => self.unsent.add(hash, self.core.peers().count()),
            }
        }
    }

    /// Sends a command to the link of a peer. A peer that does not read is disconnected.
    fn send_command(&mut self, id: &NodeId, command: LinkCommand) {
        if self.peers.send_command(id, command) {
            self.peer_gone(id);
        }
    }

    /// The core refuses to talk to a peer any longer.
    fn peer_failed(&mut self, now: Instant, peer: &NodeId, error: &PeerError) {
        if let Some(info) = self.peers.link_info(peer) {
            match error {
                PeerError::BothLight | PeerError::NoStatusInTime(_) => {
                    tracing::debug!(%peer, %error, "disconnecting a peer that cannot exchange messages with this node");
                }
                PeerError::OversizedPacket { .. }
                | PeerError::InvalidEnvelope(EnvelopeError::TooLarge { .. }) => {
                    tracing::debug!(%peer, %error, "packet is too large");
                }
                PeerError::InvalidEnvelope(refusal) if refusal.depends_on_clock() => {
                    self.clock_warning.log(now, &format!("peer {peer}: {error}"));
                }
                PeerError::InvalidEnvelope(_)
                | PeerError::Malformed(_)
                | PeerError::NoStatus(_) => {
                    let trusted = self.core.trusts(peer);
                    // The error itself would name a topic.
                    let topic = "invalid envelope: topic is not in our bloom filter";
                    let names_topic =
                        matches!(error, PeerError::InvalidEnvelope(EnvelopeError::NotWanted(_)));
                    let error: &dyn std::fmt::Display = if names_topic { &topic } else { error };
                    self.peers.record_fault(now, Some(*peer), &info, error, trusted);
                }
            }
        }
        self.disconnect(peer, DisconnectReason::SubprotocolError);
    }

    /// Disconnects a peer. Returns whether it was connected.
    fn disconnect(&mut self, id: &NodeId, reason: DisconnectReason) -> bool {
        let was_connected = self.peers.disconnect(id, reason);
        if was_connected {
            self.peer_gone(id);
        }
        was_connected
    }

    /// Delivers an envelope that the core has accepted to subscribers; unless it is a direct one, also to the
    /// cover traffic model and the archive.
    fn deliver(&mut self, envelope: &Envelope, direct: bool) {
        self.broadcast.publish(envelope, direct);
        if direct {
            return;
        }
        self.accepted = self.accepted.saturating_add(1);
        if let Some(cover) = &mut self.cover {
            cover.record(envelope);
        }
        self.archive.keep(envelope);
    }

    /// Lets the link of a peer answer a request from the archive.
    fn answer_archive_request(&mut self, peer: &NodeId, envelope: &Envelope) {
        let Some(request) = self.archive.open_request(peer, envelope) else { return };
        if self.peers.has_room(peer) == Some(true) {
            let (hash, request) = (envelope.hash(), Box::new(request));
            self.send_command(peer, LinkCommand::AnswerArchiveRequest { hash, request });
        }
    }

    /// Writes what the next start needs, and disconnects all peers at the same time: the process may be
    /// ended before the last link is closed.
    async fn stop(mut self, mut events: mpsc::Receiver<LinkEvent>) {
        self.peers.disconnect_all(DisconnectReason::Quitting);
        let Self { core, peers, links, closing, broadcast, folder, archive, .. } = self;
        drop((peers, links, closing));
        let saved = spawn_blocking(move || {
            let saved = folder.as_ref().map_or(Ok(()), |folder| folder.save(core.records()));
            if let Err(error) = saved {
                tracing::warn!(%error, "cannot save envelopes for the next start");
            }
            folder
        });
        let links_ended = async { while events.recv().await.is_some() {} };
        let (folder, ended) = tokio::join!(saved, timeout(CLOSE_TIME, links_ended));
        if ended.is_err() {
            tracing::debug!("some links have not ended in time");
        }
        broadcast.close();
        archive.close().await;
        // Unlocks the folder only when nothing is written any more.
        drop(folder);
    }
}

/// Waits for the next cover envelope; forever without cover traffic.
async fn next_cover(cover: &mut Option<CoverTraffic>) -> Result<Envelope, MineError> {
    match cover {
        Some(cover) => cover.envelope().await,
        None => std::future::pending().await,
    }
}

/// Time for all links to end.
const CLOSE_TIME: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::start::Stored;
    use super::*;

    #[tokio::test]
    async fn what_the_next_start_needs_is_saved_before_the_last_link_has_ended() {
        let path = std::env::temp_dir().join(format!("wormhole-{}-hub", std::process::id()));
        let settings = Settings { data: Some(path.clone()), ..Settings::loopback() };
        let stored = Stored::load(&settings).unwrap();
        let (hub, events) = Hub::new(stored, &settings, None, Broadcast::default());
        // A link holds this as long as it is open.
        let link = Arc::clone(&hub.links);
        let stopping = tokio::spawn(hub.stop(events));
        let saved = async {
            while !path.join("pool").exists() {
                tokio::task::yield_now().await;
            }
        };
        timeout(CLOSE_TIME, saved).await.expect("before the links are given up");
        drop(link);
        stopping.await.unwrap();
        std::fs::remove_dir_all(path).unwrap();
    }
}
