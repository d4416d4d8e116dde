//! The subchannels: which are open in which direction, and how much of their data the application has not processed.
//!
//! It knows neither records nor connections. (dilation-protocol.md "L5")

use std::collections::BTreeMap;

use super::error::DilationViolation;
use super::event::{DilationEvent, SubchannelId};
use super::keys::DilationRole;

/// The subchannels of a dilated connection.
#[derive(Debug)]
pub(super) struct Subchannels {
    role: DilationRole,
    open: BTreeMap<SubchannelId, Subchannel>,
    /// The largest number that the peer has opened.
    newest_theirs: u32,
    /// Number of open subchannels of the peer.
    theirs: usize,
    /// The smallest number that we have not opened.
    next_ours: u32,
    expected: Option<Vec<String>>,
    /// Data that the application has not processed, of all subchannels together.
    unprocessed: usize,
    /// Number of subchannels with too much such data.
    full: usize,
}

#[derive(Debug, Default)]
struct Subchannel {
    /// We send no more.
    finished: bool,
    /// The peer sends no more.
    peer_finished: bool,
    /// The application does not read.
    ignored: bool,
    unprocessed: usize,
}

impl Subchannel {
    const fn is_full(&self) -> bool {
        self.unprocessed >= MAX_UNPROCESSED
    }

    const fn is_over(&self) -> bool {
        self.finished && self.peer_finished && self.unprocessed == 0
    }
}

/// What follows from an `Open` of the peer.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum PeerOpen {
    /// It is new.
    Accepted(DilationEvent),
    /// Answer with `Close`.
    Rejected,
    /// It was opened before.
    Repeated,
}

impl Subchannels {
    pub(super) const fn new(role: DilationRole, expected: Option<Vec<String>>) -> Self {
        Self {
            role,
            open: BTreeMap::new(),
            newest_theirs: 0,
            theirs: 0,
            next_ours: 0,
            expected,
            unprocessed: 0,
            full: 0,
        }
    }

    /// The number of a subchannel on the wire; `None` if the application has opened more than there are numbers.
    pub(super) fn wire(&self, id: SubchannelId) -> Option<u32> {
        match id {
            SubchannelId::Ours(number) => {
                number.checked_mul(2)?.checked_add(self.role.first_subchannel())
            }
            SubchannelId::Theirs(number) => Some(number),
        }
    }

    /// The subchannel with this number on the wire.
    fn id(&self, wire: u32) -> SubchannelId {
        if self.is_theirs(wire) {
            SubchannelId::Theirs(wire)
        } else {
            SubchannelId::Ours(wire.saturating_sub(self.role.first_subchannel()) / 2)
        }
    }

    const fn is_theirs(&self, wire: u32) -> bool {
        wire % 2 == self.role.peer().first_subchannel() % 2
    }

    /// We open a subchannel. Returns whether its number is new.
    pub(super) fn open(&mut self, number: u32) -> bool {
        let is_new = number >= self.next_ours;
        if is_new {
            self.next_ours = number.saturating_add(1);
            self.open.insert(SubchannelId::Ours(number), Subchannel::default());
        }
        is_new
    }

    /// The peer opens a subchannel. Its numbers only grow, so that closed ones need no memory.
    pub(super) fn on_open(
        &mut self,
        wire: u32,
        subprotocol: String,
    ) -> Result<PeerOpen, DilationViolation> {
        if wire == 0 || !self.is_theirs(wire) {
            return Err(DilationViolation::ForeignSubchannel(wire));
        }
        if wire <= self.newest_theirs {
            return Ok(PeerOpen::Repeated);
        }
        self.newest_theirs = wire;
        let unexpected =
            self.expected.as_ref().is_some_and(|expected| !expected.contains(&subprotocol));
        if unexpected || self.theirs >= MAX_THEIRS {
            return Ok(PeerOpen::Rejected);
        }
        self.theirs += 1;
        let id = SubchannelId::Theirs(wire);
        self.open.insert(id, Subchannel::default());
        Ok(PeerOpen::Accepted(DilationEvent::Opened { id, subprotocol }))
    }

    /// Data for a subchannel. It is dropped if nobody reads it.
    pub(super) fn on_data(&mut self, wire: u32, data: Vec<u8>) -> Option<DilationEvent> {
        let id = self.id(wire);
        let subchannel = self.open.get_mut(&id)?;
        if subchannel.peer_finished || subchannel.ignored || data.is_empty() {
            return None;
        }
        let was_full = subchannel.is_full();
        subchannel.unprocessed += data.len();
        self.unprocessed += data.len();
        self.full += usize::from(!was_full && subchannel.is_full());
        Some(DilationEvent::Data(id, data))
    }

    /// The peer sends no more on a subchannel.
    pub(super) fn on_close(&mut self, wire: u32) -> Option<DilationEvent> {
        let id = self.id(wire);
        let subchannel = self.open.get_mut(&id)?;
        if std::mem::replace(&mut subchannel.peer_finished, true) {
            return None;
        }
        self.forget_if_over(id);
        Some(DilationEvent::Finished(id))
    }

    /// Whether we may still send on a subchannel.
    pub(super) fn is_writable(&self, id: SubchannelId) -> bool {
        self.open.get(&id).is_some_and(|subchannel| !subchannel.finished)
    }

    /// We send no more. Returns whether that is new.
    pub(super) fn finish(&mut self, id: SubchannelId) -> bool {
        let is_new = self.is_writable(id);
        if let Some(subchannel) = self.open.get_mut(&id) {
            subchannel.finished = true;
            self.forget_if_over(id);
        }
        is_new
    }

    /// The application has processed data.
    pub(super) fn consume(&mut self, id: SubchannelId, bytes: usize) {
        let Some(subchannel) = self.open.get_mut(&id) else { return };
        let was_full = subchannel.is_full();
        let bytes = bytes.min(subchannel.unprocessed);
        subchannel.unprocessed -= bytes;
        self.unprocessed -= bytes;
        self.full -= usize::from(was_full && !subchannel.is_full());
        self.forget_if_over(id);
    }

    /// The application reads no more.
    pub(super) fn ignore(&mut self, id: SubchannelId) {
        if let Some(subchannel) = self.open.get_mut(&id) {
            subchannel.ignored = true;
            self.consume(id, usize::MAX);
        }
    }

    /// Whether the application has processed enough to receive more.
    pub(super) const fn has_room(&self) -> bool {
        self.full == 0 && self.has_reserve()
    }

    /// Whether more can be received if that is necessary, although some subchannel has too much data.
    pub(super) const fn has_reserve(&self) -> bool {
        self.unprocessed < MAX_UNPROCESSED_TOGETHER
    }

    fn forget_if_over(&mut self, id: SubchannelId) {
        if self.open.get(&id).is_some_and(Subchannel::is_over) {
            self.open.remove(&id);
            self.theirs -= usize::from(matches!(id, SubchannelId::Theirs(_)));
        }
    }
}

/// Maximum data of a subchannel in bytes that the application has not processed: then nothing is read from the connection.
/// The protocol has no flow control for single subchannels.
pub const MAX_UNPROCESSED: usize = 4 << 20;

/// Maximum data of all subchannels together in bytes that the application has not processed.
const MAX_UNPROCESSED_TOGETHER: usize = 64 << 20;

/// Maximum number of subchannels that the peer may have open.
pub const MAX_THEIRS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn leader() -> Subchannels {
        Subchannels::new(DilationRole::Leader, None)
    }

    #[test]
    fn numbers_belong_to_the_side_that_opens() {
        let mut ours = leader();
        assert!(ours.open(0) && ours.open(1) && !ours.open(1));
        assert_eq!(ours.wire(SubchannelId::Ours(1)), Some(3));
        assert_eq!(ours.id(3), SubchannelId::Ours(1));
        assert_eq!(ours.id(0x8000_0000), SubchannelId::Theirs(0x8000_0000));
        assert_eq!(ours.wire(SubchannelId::Ours(u32::MAX)), None);
        for wire in [0, 1, 3] {
            let refused = ours.on_open(wire, "echo".into());
            assert_eq!(refused, Err(DilationViolation::ForeignSubchannel(wire)));
        }
        let mut theirs = Subchannels::new(DilationRole::Follower, None);
        assert!(theirs.on_open(2, "echo".into()).is_err());
        assert!(matches!(theirs.on_open(1, "echo".into()), Ok(PeerOpen::Accepted(_))));
        assert_eq!(theirs.wire(SubchannelId::Ours(0)), Some(2));
    }

    #[test]
    fn repeated_opens_and_data_for_closed_or_unknown_subchannels_are_ignored() {
        let mut subchannels = leader();
        let id = SubchannelId::Theirs(4);
        let opened = DilationEvent::Opened { id, subprotocol: "echo".into() };
        assert_eq!(subchannels.on_open(4, "echo".into()), Ok(PeerOpen::Accepted(opened)));
        assert_eq!(subchannels.on_open(4, "echo".into()), Ok(PeerOpen::Repeated));
        assert_eq!(subchannels.on_open(2, "echo".into()), Ok(PeerOpen::Repeated));
        assert_eq!(subchannels.on_data(6, vec![1]), None);
        assert_eq!(subchannels.on_data(1, vec![1]), None);
        assert_eq!(subchannels.on_data(4, vec![1]), Some(DilationEvent::Data(id, vec![1])));
        assert_eq!(subchannels.on_close(4), Some(DilationEvent::Finished(id)));
        assert_eq!(subchannels.on_close(4), None);
        assert_eq!(subchannels.on_data(4, vec![2]), None);
        assert!(subchannels.finish(id) && !subchannels.finish(id));
        assert_eq!(subchannels.open.len(), 1);
        subchannels.consume(id, 1);
        assert!(subchannels.open.is_empty());
    }

    #[test]
    fn a_subchannel_that_nobody_reads_stops_the_connection_until_it_is_read_or_ignored() {
        let mut subchannels = leader();
        let ids = [2, 4].map(|wire| {
            assert!(subchannels.on_open(wire, "echo".into()).is_ok());
            subchannels.on_data(wire, vec![0; MAX_UNPROCESSED]);
            SubchannelId::Theirs(wire)
        });
        assert!(!subchannels.has_room());
        subchannels.consume(ids[0], 1);
        assert!(!subchannels.has_room());
        subchannels.ignore(ids[1]);
        assert!(subchannels.has_room());
        assert_eq!(subchannels.on_data(4, vec![1]), None);
        assert_eq!(subchannels.unprocessed, MAX_UNPROCESSED - 1);
    }

    #[test]
    fn a_hundred_thousand_opens_and_unexpected_subprotocols_are_rejected() {
        let mut subchannels = leader();
        let mut rejected = 0;
        for number in 1..=100_000 {
            let opened = subchannels.on_open(number * 2, "echo".into()).unwrap();
            rejected += usize::from(opened == PeerOpen::Rejected);
        }
        assert_eq!(rejected, 100_000 - MAX_THEIRS);
        assert_eq!(subchannels.open.len(), MAX_THEIRS);
        let mut subchannels = Subchannels::new(DilationRole::Leader, Some(vec!["echo".into()]));
        assert_eq!(subchannels.on_open(2, "other".into()), Ok(PeerOpen::Rejected));
        assert!(matches!(subchannels.on_open(4, "echo".into()), Ok(PeerOpen::Accepted(_))));
    }
}
