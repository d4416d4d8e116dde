//! Puts the messages of the peer into the order in which they were sent, each once.
//!
//! It handles decrypted messages of one side. The phase distinguishes three kinds: `version`, the application's
//! messages (`0`, `1`, ..) and dilation messages (`dilate-0`, `dilate-1`, ..). The two numbered kinds are ordered
//! independently of each other. (client-protocol.md, dilation-protocol.md)

use std::collections::BTreeMap;

use super::error::PeerMisbehaved;

/// The kind and number of a message, according to its phase.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// The version message, which comes first.
    Version,
    /// A message of the application, numbered from 0.
    Number(u64),
    /// A dilation message, numbered from 0.
    Dilation(u64),
    /// An unknown phase.
    Unknown,
}

impl Phase {
    /// Parses a phase.
    pub(super) fn parse(name: &str) -> Self {
        if name == "version" {
            return Self::Version;
        }
        match name.strip_prefix("dilate-") {
            Some(number) => parse_number(number).map_or(Self::Unknown, Self::Dilation),
            None => parse_number(name).map_or(Self::Unknown, Self::Number),
        }
    }
}

/// Parses a number. Only one spelling is valid, so that phases are unique.
fn parse_number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

/// The received messages that wait for earlier ones.
#[derive(Debug, Default)]
pub(super) struct MessageOrder {
    version: Option<Vec<u8>>,
    has_version: bool,
    numbered: Sequence<MAX_WAITING>,
    dilation: Sequence<MAX_DILATION_WAITING>,
}

impl MessageOrder {
    /// Whether this message, or another with the same phase, has arrived before.
    pub(super) fn has(&self, phase: Phase) -> bool {
        match phase {
            Phase::Version => self.has_version,
            Phase::Number(number) => self.numbered.has(number),
            Phase::Dilation(number) => self.dilation.has(number),
            Phase::Unknown => false,
        }
    }

    /// Stores a message until its turn. A duplicate, or a message of an unknown phase, is dropped.
    pub(super) fn put(&mut self, phase: Phase, message: Vec<u8>) -> Result<(), PeerMisbehaved> {
        match phase {
            Phase::Version if self.has_version => Ok(()),
            Phase::Version => {
                self.has_version = true;
                self.version = Some(message);
                Ok(())
            }
            Phase::Number(number) => self.numbered.put(number, message),
            Phase::Dilation(number) => self.dilation.put(number, message),
            Phase::Unknown => Ok(()),
        }
    }

    /// Returns the next message that is in order.
    pub(super) fn next(&mut self) -> Option<(Phase, Vec<u8>)> {
        if let Some(version) = self.version.take() {
            return Some((Phase::Version, version));
        }
        if !self.has_version {
            return None;
        }
        if let Some((number, message)) = self.dilation.next() {
            return Some((Phase::Dilation(number), message));
        }
        let (number, message) = self.numbered.next()?;
        Some((Phase::Number(number), message))
    }
}

/// Numbered messages of one kind, of which at most `LIMIT` bytes may wait for an earlier message.
#[derive(Debug, Default)]
struct Sequence<const LIMIT: usize> {
    /// The number of the next message.
    next: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
    waiting_bytes: usize,
}

impl<const LIMIT: usize> Sequence<LIMIT> {
    fn has(&self, number: u64) -> bool {
        number < self.next || self.waiting.contains_key(&number)
    }

    fn put(&mut self, number: u64, message: Vec<u8>) -> Result<(), PeerMisbehaved> {
        if self.has(number) {
            return Ok(());
        }
        if number - self.next > MAX_GAP {
            return Err(PeerMisbehaved::PhaseMissing(self.next));
        }
        if self.waiting_bytes + message.len() > LIMIT {
            return Err(PeerMisbehaved::TooManyEarlyMessages);
        }
        self.waiting_bytes += message.len();
        self.waiting.insert(number, message);
        Ok(())
    }

    fn next(&mut self) -> Option<(u64, Vec<u8>)> {
        let message = self.waiting.remove(&self.next)?;
        let number = self.next;
        self.next += 1;
        self.waiting_bytes -= message.len();
        Some((number, message))
    }
}

/// Maximum gap in the numbers. Servers keep messages in order, so gaps only occur when messages are repeated after a
/// lost connection.
const MAX_GAP: u64 = 256;

/// Bytes of the application's messages that may wait for an earlier message.
const MAX_WAITING: usize = 32 << 20;

/// Bytes of dilation messages that may wait for an earlier one. Each contains only a few hints.
const MAX_DILATION_WAITING: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(order: &mut MessageOrder) -> Vec<Phase> {
        std::iter::from_fn(|| order.next()).map(|(phase, _)| phase).collect()
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_of_messages_comes_out_in_order_and_once(
            arrivals in Just((0..20_u64).chain(0..20).collect::<Vec<_>>()).prop_shuffle(),
            version_at in 0..40_usize,
        ) {
            let mut order = MessageOrder::default();
            let mut out = Vec::new();
            for (at, number) in arrivals.into_iter().enumerate() {
                if at == version_at {
                    order.put(Phase::Version, vec![]).unwrap();
                }
                order.put(Phase::Number(number), vec![1]).unwrap();
                order.put(Phase::Dilation(number), vec![1]).unwrap();
                out.extend(drain(&mut order));
            }
            prop_assert_eq!(out[0], Phase::Version);
            for kind in [Phase::Number, Phase::Dilation] {
                let expected: Vec<_> = (0..20).map(kind).collect();
                let found: Vec<_> =
                    out.iter().copied().filter(|phase| expected.contains(phase)).collect();
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(order.numbered.waiting_bytes, 0);
            prop_assert_eq!(order.dilation.waiting_bytes, 0);
        }
    }

    #[test]
    fn a_number_has_one_valid_spelling() {
        assert_eq!(Phase::parse("0"), Phase::Number(0));
        assert_eq!(Phase::parse("18446744073709551615"), Phase::Number(u64::MAX));
        assert_eq!(Phase::parse("dilate-0"), Phase::Dilation(0));
        assert_eq!(Phase::parse("dilate-17"), Phase::Dilation(17));
        for name in [
            "",
            "00",
            "+1",
            "-1",
            "1 ",
            "１",
            "Version",
            "18446744073709551616",
            "dilate-",
            "dilate-00",
            "dilate--1",
            "dilate-+1",
            "DILATE-0",
            "dilate-0 ",
        ] {
            assert_eq!(Phase::parse(name), Phase::Unknown, "{name}");
        }
    }

    #[test]
    fn a_message_far_ahead_is_an_error_that_names_the_missing_one() {
        for kind in [Phase::Number, Phase::Dilation] {
            let mut order = MessageOrder::default();
            assert_eq!(order.put(kind(MAX_GAP), vec![]), Ok(()));
            let ahead = order.put(kind(MAX_GAP + 1), vec![]);
            assert_eq!(ahead, Err(PeerMisbehaved::PhaseMissing(0)));
            assert!(order.put(kind(u64::MAX), vec![]).is_err());
        }
    }

    #[test]
    fn the_bytes_that_wait_for_an_earlier_message_are_limited() {
        let number: fn(u64) -> Phase = Phase::Number;
        let limits = [(number, MAX_WAITING), (Phase::Dilation, MAX_DILATION_WAITING)];
        for (kind, limit) in limits {
            let mut order = MessageOrder::default();
            assert_eq!(order.put(kind(1), vec![0; limit]), Ok(()));
            let more = order.put(kind(2), vec![0]);
            assert_eq!(more, Err(PeerMisbehaved::TooManyEarlyMessages));
        }
    }
}
