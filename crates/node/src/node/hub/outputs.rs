//! What the node of the core wants done.

use std::time::{Duration, Instant, SystemTime};

use wormhole_kit::UnixTime;
use wormhole_whisper::{
    devp2p::{base::DisconnectReason, key::NodeId},
    shh::{
        Envelope, EnvelopeHash, NodeOutput, Refusal, Work, archive::ArchiveRequest, node::PeerError,
    },
};

use super::super::ArchiveComplete;
use super::super::link::LinkCommand;
use super::{Hub, Pressure};

impl Hub {
    /// Does it all.
    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.node.poll() {
            match output {
                NodeOutput::Send { peer, code, body } => {
                    self.send_command(&peer, LinkCommand::Send { code, body });
                }
                NodeOutput::Opened(id) => {
                    for (_, reply) in self.awaited.extract_if(.., |(awaited, _)| *awaited == id) {
                        // Nobody may wait for it any more.
                        let _unheard = reply.send(());
                    }
                }
                NodeOutput::Disconnect { peer, error } => self.cut(&peer, &error),
                NodeOutput::Deliver { envelope, direct } => self.deliver(&envelope, direct),
                NodeOutput::ArchiveRequest { peer, request } => self.answer(&peer, &request),
                NodeOutput::ArchiveComplete { peer, request, last } => {
                    let wanted =
                        |(from, hash, _): &mut (NodeId, _, _)| *from == peer && *hash == request;
                    for (_, _, done) in self.answers.extract_if(.., wanted) {
                        // Nobody may wait for it any more.
                        let _unheard = done.send(ArchiveComplete { last });
                    }
                }
                NodeOutput::ClockDoubted => {
                    self.doubt_clock(Instant::now(), "envelopes of most peers come too early");
                }
                NodeOutput::Flooded => self.press(Instant::now(), MOST_PRESSURE),
                NodeOutput::PoolFull => self.press(Instant::now(), f64::INFINITY),
                NodeOutput::Unsent(hash) => self.report_unsent(hash),
            }
        }
    }

    /// Logs that no peer received a message that was posted here, and remembers it for `post_state`.
    fn report_unsent(&mut self, hash: EnvelopeHash) {
        self.unsent_count = self.unsent_count.saturating_add(1);
        if self.unsent.len() >= MAX_UNSENT {
            self.unsent.pop_front();
        }
        self.unsent.push_back(hash);
        match self.node.peers().count() {
            0 => tracing::warn!(
                "a message posted here expired before it could be sent: this node has no peers; \
                 name one with --peer, or look for some with --bootnode"
            ),
            peers => tracing::warn!(
                peers,
                "a message posted here expired before it could be sent: no peer took it"
            ),
        }
    }

    /// The core has parted with a peer.
    fn cut(&mut self, peer: &NodeId, error: &PeerError) {
        if let Some(connected) = self.table.find(peer) {
            let end = connected.end;
            if matches!(error, PeerError::BothLight | PeerError::NoStatusInTime(_)) {
                tracing::debug!(%peer, %error, "peer is of no use");
            } else if matches!(
                error,
                PeerError::OversizedPacket { .. }
                    | PeerError::InvalidEnvelope(Refusal::TooLarge { .. })
            ) {
                tracing::debug!(%peer, %error, "peer says too much at once");
            } else if matches!(error, PeerError::InvalidEnvelope(it) if it.depends_on_clock()) {
                self.doubt_clock(Instant::now(), &format!("peer {peer}: {error}"));
            } else if matches!(error, PeerError::InvalidEnvelope(Refusal::NotWanted(_))) {
                // The error's own words would name a topic.
                self.blame(Some(*peer), &end, &"invalid envelope: topic was not asked for");
            } else {
                self.blame(Some(*peer), &end, error);
            }
        }
        self.dismiss(peer, DisconnectReason::SubprotocolError);
    }

    /// Somebody's clock is wrong, maybe ours: nobody is banned for that. Says so, but not more often than
    /// anyone would like to read it.
    fn doubt_clock(&mut self, now: Instant, reason: &str) {
        let lately = |said: Instant| now.saturating_duration_since(said) < CLOCK_INTERVAL;
        if self.clock_doubted.is_some_and(lately) {
            tracing::debug!(reason, "our clock or another is wrong");
        } else {
            self.clock_doubted = Some(now);
            tracing::warn!(reason, "our clock or another is wrong");
        }
    }

    fn deliver(&mut self, envelope: &Envelope, direct: bool) {
        self.broadcast.publish(envelope, direct);
        if direct {
            return;
        }
        self.accepted = self.accepted.saturating_add(1);
        if let Some(cover) = &mut self.cover {
            cover.model.record(envelope);
        }
        if let Some(served) = &mut self.archive {
            let lost = !served.archive.keep(envelope);
            if lost && !served.losing {
                tracing::warn!("envelopes come faster than the archive takes them");
            }
            served.losing = lost;
        }
    }

    /// Answers a request to the archive, if it opens and is not from long ago.
    fn answer(&mut self, peer: &NodeId, envelope: &Envelope) {
        let Some(served) = &self.archive else { return };
        let age = UnixTime::from(SystemTime::now()).as_secs_f64() - f64::from(envelope.expiry());
        if age > MAX_LATE {
            return;
        }
        match ArchiveRequest::open(envelope, &served.settings.key, served.settings.min_work) {
            Ok((request, _)) if self.has_room(peer) == Some(true) => {
                let (hash, request) = (envelope.hash(), Box::new(request));
                self.send_command(peer, LinkCommand::ArchiveReply { hash, request });
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%peer, %error, "archive request is not answered"),
        }
    }

    /// Asks for more work, because the pool is full or more comes than peers may be told, but for no
    /// more than `most` times as much as otherwise.
    fn press(&mut self, now: Instant, most: f64) {
        if self.pressure.has_changed_within(now, PRESS_INTERVAL) {
            return;
        }
        let usual = self.pressure.usual.max(Work::DEFAULT_MINIMUM).as_f64();
        let present = self.node.requirements().min_work().as_f64();
        let work = Work::new((2.0 * present).max(Work::DEFAULT_MINIMUM.as_f64()));
        if let Some(work) = work.filter(|work| work.as_f64() <= most * usual) {
            tracing::warn!(
                work = work.as_f64(),
                "more envelopes come than are borne: more work is asked for"
            );
            self.node.set_min_work(now, work);
            self.pressure.raised = true;
            self.pressure.changed = Some(now);
        }
    }

    /// Asks for no more work than usual once there is room again.
    pub(super) fn relax(&mut self, now: Instant) {
        let calm = !self.pressure.has_changed_within(now, CALM);
        if self.pressure.raised && calm && self.node.pool().bytes() < self.pool_bytes / 2 {
            self.node.set_min_work(now, self.pressure.usual);
            self.pressure.raised = false;
            self.pressure.changed = Some(now);
        }
    }
}

impl Pressure {
    fn has_changed_within(&self, now: Instant, time: Duration) -> bool {
        self.changed.is_some_and(|changed| now.saturating_duration_since(changed) < time)
    }
}

/// Seconds after its expiry from which on a request is not answered any more.
const MAX_LATE: f64 = 20.0;

/// How many unsent messages are remembered.
const MAX_UNSENT: usize = 1024;

/// Time between two warnings about clocks.
const CLOCK_INTERVAL: Duration = Duration::from_secs(60);

/// Time between two rises of the work that is asked for: peers are told, and have ten seconds.
const PRESS_INTERVAL: Duration = Duration::from_secs(20);

/// How many times as much work as otherwise is asked for in a flood that the pool bears. More would
/// shut out who makes ordinary messages, and a flood of small envelopes that die soon costs little.
const MOST_PRESSURE: f64 = 8.0;

/// Time that a rise lasts at least.
const CALM: Duration = Duration::from_secs(60);
