//! The numbers of received records: each record counts once, in order, on whichever connection it arrives.
//!
//! (dilation-protocol.md "L3")

use super::error::DilationViolation;

/// The numbers of received records.
#[derive(Debug)]
pub(super) struct Inbound {
    /// The number of the next new record.
    next: u64,
    /// Whether the peer waits for an acknowledgement.
    owes_ack: bool,
}

impl Inbound {
    /// The first record has this number.
    pub(super) const fn starting_at(next: u64) -> Self {
        Self { next, owes_ack: false }
    }

    /// Handles the number of a record. Returns whether the record is new: one that the peer repeats after a lost
    /// connection is only acknowledged again.
    pub(super) fn on_number(&mut self, number: u32) -> Result<bool, DilationViolation> {
        let got = u64::from(number);
        if got > self.next {
            return Err(DilationViolation::Gap { expected: self.next, got: number });
        }
        self.owes_ack = true;
        let is_new = got == self.next;
        self.next += u64::from(is_new);
        Ok(is_new)
    }

    /// The number to acknowledge, which includes all earlier ones.
    pub(super) fn take_ack(&mut self) -> Option<u32> {
        if !std::mem::take(&mut self.owes_ack) {
            return None;
        }
        u32::try_from(self.next.checked_sub(1)?).ok()
    }

    /// A new connection: what was lost with the old one may have been an acknowledgement. The peer repeats its records
    /// then, which are acknowledged again.
    pub(super) const fn restart(&mut self) {
        self.owes_ack = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_record_is_not_new_and_a_missing_one_is_an_error() {
        let mut inbound = Inbound::starting_at(0);
        assert_eq!(inbound.take_ack(), None);
        assert_eq!(inbound.on_number(0), Ok(true));
        assert_eq!(inbound.on_number(1), Ok(true));
        assert_eq!(inbound.take_ack(), Some(1));
        assert_eq!(inbound.take_ack(), None);
        assert_eq!(inbound.on_number(0), Ok(false));
        assert_eq!(inbound.take_ack(), Some(1));
        let gap = DilationViolation::Gap { expected: 2, got: 3 };
        assert_eq!(inbound.on_number(3), Err(gap));
    }

    #[test]
    fn no_number_follows_the_last_one() {
        let mut inbound = Inbound::starting_at(u64::from(u32::MAX));
        assert_eq!(inbound.on_number(u32::MAX), Ok(true));
        assert_eq!(inbound.on_number(u32::MAX), Ok(false));
        assert_eq!(inbound.take_ack(), Some(u32::MAX));
    }
}
