//! The subchannels: which are open in which direction, how much of their data the application has not processed, and how
//! much each side may send.
//!
//! It knows neither records nor connections. (dilation-protocol.md "L5"; docs/dilation.md "Credit")

mod credit;

use std::collections::BTreeMap;

use credit::{Allowance, Window};

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
    /// Whether each subchannel has credit.
    has_credit: bool,
    /// Bytes of all windows together.
    promised: usize,
    /// Number of subchannels with data that waits for credit.
    waiting: usize,
}

#[derive(Debug, Default)]
struct Subchannel {
    /// The peer's credit; unused in versions without credit.
    window: Window,
    /// Our credit, and the data that wait for more.
    allowance: Allowance,
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

    fn is_over(&self) -> bool {
        let is_sent = self.finished && !self.allowance.is_waiting();
        is_sent && self.peer_finished && self.unprocessed == 0
    }
}

/// The result of an `Open` of the peer.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum PeerOpen {
    /// It is new.
    Accepted(DilationEvent),
    /// Answer with `Close`.
    Rejected,
    /// It was opened before.
    Repeated,
}

/// The result of new credit.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Allowed {
    pub(super) id: SubchannelId,
    /// Data to send now.
    pub(super) data: Vec<Vec<u8>>,
    /// Whether our end of the subchannel waited behind the data.
    pub(super) finishes: bool,
    /// Whether the application may write again.
    pub(super) is_ready: bool,
}

impl Subchannels {
    pub(super) const fn new(
        role: DilationRole,
        expected: Option<Vec<String>>,
        has_credit: bool,
    ) -> Self {
        Self {
            role,
            open: BTreeMap::new(),
            newest_theirs: 0,
            theirs: 0,
            next_ours: 0,
            expected,
            unprocessed: 0,
            full: 0,
            has_credit,
            promised: 0,
            waiting: 0,
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
            self.insert(SubchannelId::Ours(number));
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
        self.insert(id);
        Ok(PeerOpen::Accepted(DilationEvent::Opened { id, subprotocol }))
    }

    fn insert(&mut self, id: SubchannelId) {
        let subchannel = Subchannel::default();
        if self.has_credit {
            self.promised += subchannel.window.left();
        }
        self.open.insert(id, subchannel);
    }

    /// Data for a subchannel. It is dropped if nobody reads it.
    pub(super) fn on_data(
        &mut self,
        wire: u32,
        data: Vec<u8>,
    ) -> Result<Option<DilationEvent>, DilationViolation> {
        let id = self.id(wire);
        let Some(subchannel) = self.open.get_mut(&id) else { return Ok(None) };
        if self.has_credit && !subchannel.window.take(data.len()) {
            return Err(DilationViolation::BeyondCredit(wire));
        }
        if subchannel.peer_finished || subchannel.ignored || data.is_empty() {
            if self.has_credit {
                self.promised -= data.len();
            }
            return Ok(None);
        }
        let was_full = subchannel.is_full();
        subchannel.unprocessed += data.len();
        self.unprocessed += data.len();
        self.full += usize::from(!was_full && subchannel.is_full());
        Ok(Some(DilationEvent::Data(id, data)))
    }

    /// The additional credit for the peer on a subchannel, now that it has used or the application has processed
    /// something: the number on the wire, and bytes.
    pub(super) fn grant(&mut self, id: SubchannelId) -> Option<(u32, u32)> {
        let wire = self.wire(id)?;
        let pool = MAX_UNPROCESSED_TOGETHER.saturating_sub(self.promised);
        let subchannel =
            self.open.get_mut(&id).filter(|it| self.has_credit && !it.peer_finished)?;
        let bytes = subchannel.window.grow(subchannel.unprocessed, pool);
        self.promised += bytes;
        u32::try_from(bytes).ok().filter(|bytes| *bytes > 0).map(|bytes| (wire, bytes))
    }

    /// Like [`grant`](Self::grant), after data for this number on the wire. The peer may send to a subchannel that we have
    /// rejected, until it knows.
    pub(super) fn grant_after_data(&mut self, wire: u32, length: usize) -> Option<(u32, u32)> {
        let id = self.id(wire);
        if self.open.contains_key(&id) {
            return self.grant(id);
        }
        let bytes = u32::try_from(length).ok().filter(|bytes| self.has_credit && *bytes > 0);
        bytes.map(|bytes| (wire, bytes))
    }

    /// The peer allows us more. Returns data that waited for that, and whether nothing waits any more.
    pub(super) fn on_credit(&mut self, wire: u32, bytes: u32) -> Option<Allowed> {
        let id = self.id(wire);
        let subchannel = self.open.get_mut(&id)?;
        let was_waiting = subchannel.allowance.is_waiting();
        let had_credit = subchannel.allowance.has_credit();
        let data = subchannel.allowance.add(bytes);
        let is_ready = subchannel.allowance.has_credit();
        let finishes = was_waiting && subchannel.finished && !subchannel.allowance.is_waiting();
        if was_waiting && !subchannel.allowance.is_waiting() {
            self.waiting -= 1;
        }
        self.forget_if_over(id);
        Some(Allowed { id, data, finishes, is_ready: is_ready && !had_credit })
    }

    /// The part of this data that we may send now. The rest is kept until the peer allows it.
    pub(super) fn allow(&mut self, id: SubchannelId, data: Vec<u8>) -> Vec<u8> {
        match self.open.get_mut(&id) {
            Some(subchannel) if self.has_credit => {
                let was_waiting = subchannel.allowance.is_waiting();
                let now = subchannel.allowance.take(data);
                self.waiting += usize::from(!was_waiting && subchannel.allowance.is_waiting());
                now
            }
            Some(_) | None => data,
        }
    }

    /// Whether the version of the connection has credit.
    pub(super) const fn uses_credit(&self) -> bool {
        self.has_credit
    }

    /// Whether we may send data on a subchannel at once.
    pub(super) fn has_credit(&self, id: SubchannelId) -> bool {
        let allows = |subchannel: &Subchannel| subchannel.allowance.has_credit();
        !self.has_credit || self.open.get(&id).is_none_or(allows)
    }

    /// Whether data of a subchannel waits for credit.
    pub(super) fn is_waiting(&self, id: SubchannelId) -> bool {
        self.open.get(&id).is_some_and(|subchannel| subchannel.allowance.is_waiting())
    }

    /// Whether data of any subchannel waits for credit.
    pub(super) const fn are_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// The peer sends no more on a subchannel.
    pub(super) fn on_close(&mut self, wire: u32) -> Option<DilationEvent> {
        let id = self.id(wire);
        let subchannel = self.open.get_mut(&id)?;
        if std::mem::replace(&mut subchannel.peer_finished, true) {
            return None;
        }
        if self.has_credit {
            self.promised -= subchannel.window.close();
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
        if self.has_credit {
            self.promised -= bytes;
        }
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
        self.has_credit || (self.full == 0 && self.has_reserve())
    }

    /// Whether more can be received if that is necessary, although some subchannel has too much data.
    pub(super) const fn has_reserve(&self) -> bool {
        self.has_credit || self.unprocessed < MAX_UNPROCESSED_TOGETHER
    }

    fn forget_if_over(&mut self, id: SubchannelId) {
        if self.open.get(&id).is_some_and(Subchannel::is_over) {
            self.open.remove(&id);
            self.theirs -= usize::from(matches!(id, SubchannelId::Theirs(_)));
        }
    }
}

pub use credit::INITIAL_CREDIT;

/// Maximum data of a subchannel in bytes that the application has not processed. With credit, this is the largest window.
/// Without, nothing is read from the connection then.
pub const MAX_UNPROCESSED: usize = 4 << 20;

/// Maximum data of all subchannels together in bytes that the application has not processed. With credit, each subchannel
/// may have [`INITIAL_CREDIT`] in addition.
const MAX_UNPROCESSED_TOGETHER: usize = 64 << 20;

/// Maximum number of subchannels that the peer may have open.
pub const MAX_THEIRS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn leader() -> Subchannels {
        Subchannels::new(DilationRole::Leader, None, false)
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
        let mut theirs = Subchannels::new(DilationRole::Follower, None, false);
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
        assert_eq!(subchannels.on_data(6, vec![1]), Ok(None));
        assert_eq!(subchannels.on_data(1, vec![1]), Ok(None));
        let data = DilationEvent::Data(id, vec![1]);
        assert_eq!(subchannels.on_data(4, vec![1]), Ok(Some(data)));
        assert_eq!(subchannels.on_close(4), Some(DilationEvent::Finished(id)));
        assert_eq!(subchannels.on_close(4), None);
        assert_eq!(subchannels.on_data(4, vec![2]), Ok(None));
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
            assert!(subchannels.on_data(wire, vec![0; MAX_UNPROCESSED]).is_ok());
            SubchannelId::Theirs(wire)
        });
        assert!(!subchannels.has_room());
        subchannels.consume(ids[0], 1);
        assert!(!subchannels.has_room());
        subchannels.ignore(ids[1]);
        assert!(subchannels.has_room());
        assert_eq!(subchannels.on_data(4, vec![1]), Ok(None));
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
        let mut subchannels =
            Subchannels::new(DilationRole::Leader, Some(vec!["echo".into()]), false);
        assert_eq!(subchannels.on_open(2, "other".into()), Ok(PeerOpen::Rejected));
        assert!(matches!(subchannels.on_open(4, "echo".into()), Ok(PeerOpen::Accepted(_))));
    }

    fn with_credit() -> Subchannels {
        let mut subchannels = Subchannels::new(DilationRole::Leader, None, true);
        assert!(subchannels.on_open(2, "echo".into()).is_ok());
        subchannels
    }

    #[test]
    fn a_window_grows_while_the_application_reads_and_the_sum_is_limited() {
        let mut subchannels = with_credit();
        let id = SubchannelId::Theirs(2);
        let mut left = INITIAL_CREDIT;
        for _ in 0..1000 {
            assert!(subchannels.on_data(2, vec![0; left.min(60_000)]).is_ok());
            let read = left.min(60_000);
            left -= read;
            subchannels.consume(id, read);
            if let Some((wire, bytes)) = subchannels.grant(id) {
                assert_eq!(wire, 2);
                left += usize::try_from(bytes).unwrap();
            }
            assert!((1..=MAX_UNPROCESSED).contains(&left));
            assert_eq!(subchannels.promised, left);
        }
        assert!(left > MAX_UNPROCESSED / 2);
        let beyond = subchannels.on_data(2, vec![0; left + 1]);
        assert_eq!(beyond, Err(DilationViolation::BeyondCredit(2)));
        assert!(subchannels.on_close(2).is_some() && subchannels.finish(id));
        assert!(subchannels.open.is_empty());
        assert_eq!(subchannels.promised, 0);
    }

    #[test]
    fn many_subchannels_share_the_memory_but_each_one_can_go_on() {
        let mut subchannels = with_credit();
        for wire in (2..=2 * 1024).step_by(2) {
            let _repeated = subchannels.on_open(wire, "echo".into());
            let id = SubchannelId::Theirs(wire);
            for _ in 0..20 {
                let left = subchannels.open[&id].window.left();
                assert!(left > 0);
                assert!(subchannels.on_data(wire, vec![0; left]).is_ok());
                subchannels.consume(id, left);
                subchannels.grant(id);
            }
        }
        let longest = MAX_UNPROCESSED_TOGETHER + MAX_THEIRS * INITIAL_CREDIT;
        assert!((MAX_UNPROCESSED_TOGETHER..=longest).contains(&subchannels.promised));
    }

    #[test]
    fn data_waits_for_credit_and_the_end_waits_for_the_data() {
        let mut subchannels = with_credit();
        let id = SubchannelId::Theirs(2);
        let sent = subchannels.allow(id, vec![1; INITIAL_CREDIT + 5]);
        assert_eq!(sent.len(), INITIAL_CREDIT);
        assert!(!subchannels.has_credit(id) && subchannels.are_waiting());
        assert!(subchannels.allow(id, vec![2; 3]).is_empty());
        assert!(subchannels.finish(id));
        let allowed = subchannels.on_credit(2, 6).unwrap();
        assert_eq!(allowed.data, [vec![1; 5], vec![2; 1]]);
        assert!(!allowed.finishes && !allowed.is_ready);
        let allowed = subchannels.on_credit(2, 100).unwrap();
        assert_eq!(allowed.data, [vec![2; 2]]);
        assert!(allowed.finishes && allowed.is_ready && !subchannels.are_waiting());
        assert_eq!(subchannels.on_credit(4, 100), None);
    }

    #[test]
    fn data_for_a_rejected_subchannel_is_refunded() {
        let mut subchannels = with_credit();
        assert_eq!(subchannels.on_data(4, vec![1; 10]), Ok(None));
        assert_eq!(subchannels.grant_after_data(4, 10), Some((4, 10)));
        let mut ged = leader();
        assert_eq!(ged.grant_after_data(4, 10), None);
    }
}
