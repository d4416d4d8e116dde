//! Puts the messages of one side into the order in which they were sent, each once.
//!
//! It sees them opened; who sent them is not its concern. (client-protocol.md)

use std::collections::BTreeMap;

use super::error::PeerMisbehaved;

/// What the name of a message says about its place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Comes before all numbers.
    Version,
    /// Messages of the application, from 0.
    Number(u64),
    /// Of a later version of the protocol, or of dilation, which we did not offer.
    Unknown,
}

impl Phase {
    /// Reads a name.
    pub(super) fn parse(name: &str) -> Self {
        if name == "version" {
            return Self::Version;
        }
        // One way to write each number, or two names would claim the same place.
        match name.parse::<u64>() {
            Ok(number) if number.to_string() == name => Self::Number(number),
            Ok(_) | Err(_) => Self::Unknown,
        }
    }
}

/// The messages that came before their turn.
#[derive(Debug, Default)]
pub(super) struct Order {
    version: Option<Vec<u8>>,
    version_came: bool,
    /// The number of the next message.
    next: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
    waiting_bytes: usize,
}

impl Order {
    /// Whether this message, or another with its name, came before.
    pub(super) fn has(&self, phase: Phase) -> bool {
        match phase {
            Phase::Version => self.version_came,
            Phase::Number(number) => number < self.next || self.waiting.contains_key(&number),
            Phase::Unknown => false,
        }
    }

    /// Takes a message in. A message it has, or does not know the place of, changes nothing.
    pub(super) fn put(&mut self, phase: Phase, message: Vec<u8>) -> Result<(), PeerMisbehaved> {
        if self.has(phase) {
            return Ok(());
        }
        match phase {
            Phase::Version => {
                self.version_came = true;
                self.version = Some(message);
            }
            Phase::Number(number) => {
                if number - self.next > MAX_GAP {
                    return Err(PeerMisbehaved::PhaseMissing(self.next));
                }
                self.waiting_bytes += message.len();
                if self.waiting_bytes > MAX_WAITING {
                    return Err(PeerMisbehaved::TooMuchOutOfTurn);
                }
                self.waiting.insert(number, message);
            }
            Phase::Unknown => {}
        }
        Ok(())
    }

    /// Hands out the message whose turn it is.
    pub(super) fn next(&mut self) -> Option<(Phase, Vec<u8>)> {
        if let Some(version) = self.version.take() {
            return Some((Phase::Version, version));
        }
        if !self.version_came {
            return None;
        }
        let message = self.waiting.remove(&self.next)?;
        let phase = Phase::Number(self.next);
        self.next += 1;
        self.waiting_bytes -= message.len();
        Some((phase, message))
    }
}

/// Farthest that a message may be ahead. Servers in use keep messages in order, so any gap at all
/// comes from messages that are added twice after a lost link.
const MAX_GAP: u64 = 256;

/// Most bytes kept for want of an earlier message.
const MAX_WAITING: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(order: &mut Order) -> Vec<Phase> {
        std::iter::from_fn(|| order.next()).map(|(phase, _)| phase).collect()
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_of_messages_comes_out_in_order_and_once(
            arrivals in Just((0..20_u64).chain(0..20).collect::<Vec<_>>()).prop_shuffle(),
            version_at in 0..40_usize,
        ) {
            let mut order = Order::default();
            let mut out = Vec::new();
            for (at, number) in arrivals.into_iter().enumerate() {
                if at == version_at {
                    order.put(Phase::Version, vec![]).unwrap();
                }
                order.put(Phase::Number(number), vec![1]).unwrap();
                out.extend(drain(&mut order));
            }
            let expected: Vec<_> =
                std::iter::once(Phase::Version).chain((0..20).map(Phase::Number)).collect();
            prop_assert_eq!(out, expected);
            prop_assert_eq!(order.waiting_bytes, 0);
        }
    }

    #[test]
    fn a_number_has_one_way_to_be_written() {
        assert_eq!(Phase::parse("0"), Phase::Number(0));
        assert_eq!(Phase::parse("18446744073709551615"), Phase::Number(u64::MAX));
        for name in
            ["", "00", "+1", "-1", "1 ", "１", "dilate-0", "Version", "18446744073709551616"]
        {
            assert_eq!(Phase::parse(name), Phase::Unknown, "{name}");
        }
    }

    #[test]
    fn a_message_far_ahead_is_an_error_that_names_the_missing_one() {
        let mut order = Order::default();
        assert_eq!(order.put(Phase::Number(MAX_GAP), vec![]), Ok(()));
        let ahead = order.put(Phase::Number(MAX_GAP + 1), vec![]);
        assert_eq!(ahead, Err(PeerMisbehaved::PhaseMissing(0)));
        assert!(order.put(Phase::Number(u64::MAX), vec![]).is_err());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut order = Order::default();
        assert_eq!(order.put(Phase::Number(1), vec![0; MAX_WAITING]), Ok(()));
        let more = order.put(Phase::Number(2), vec![0]);
        assert_eq!(more, Err(PeerMisbehaved::TooMuchOutOfTurn));
    }
}
