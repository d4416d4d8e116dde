//! The capabilities that two nodes share, and their message codes (rlpx.md "Capability Messaging").
//!
//! Both sides sort the shared capabilities by name and assign consecutive code ranges, starting with
//! [`FIRST_CODE`]. So the code of a message depends on the pair of nodes.

use std::ops::Range;

/// Name and version of a capability, as in Hello: `shh/6`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Capability {
    /// Short name, compared byte by byte.
    pub name: String,
    /// Version; the highest common version is used.
    pub version: u32,
}

/// A capability that we support.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Protocol {
    /// Name and version.
    pub capability: Capability,
    /// Number of message codes, as defined by the protocol.
    pub length: u16,
}

impl Protocol {
    /// Creates a protocol.
    pub fn new(name: impl Into<String>, version: u32, length: u16) -> Self {
        Self { capability: Capability { name: name.into(), version }, length }
    }
}

/// Index of a protocol in our list.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProtocolId(pub usize);

/// The shared protocols of two nodes, with their code ranges.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shared {
    /// In the order of their consecutive ranges.
    ranges: Vec<(ProtocolId, Range<u64>)>,
}

impl Shared {
    /// Finds the shared protocols: the highest common version for each name.
    pub fn new(ours: &[Protocol], theirs: &[Capability]) -> Self {
        let mut common: Vec<_> = ours
            .iter()
            .enumerate()
            .filter(|(_, protocol)| theirs.contains(&protocol.capability))
            .collect();
        common.sort_by_key(|(_, protocol)| {
            (&protocol.capability.name, std::cmp::Reverse(protocol.capability.version))
        });
        common.dedup_by_key(|(_, protocol)| &protocol.capability.name);
        let mut next = FIRST_CODE;
        let ranges = common.into_iter().map(|(place, protocol)| {
            let start = next;
            next = start.saturating_add(protocol.length.into());
            (ProtocolId(place), start..next)
        });
        Self { ranges: ranges.collect() }
    }

    /// The shared protocols, sorted by name.
    pub fn protocols(&self) -> impl Iterator<Item = ProtocolId> {
        self.ranges.iter().map(|(id, _)| *id)
    }

    /// Whether there are no shared protocols.
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The protocol and its own code for the message code `wire`, if any protocol has it.
    pub fn resolve(&self, wire: u64) -> Option<(ProtocolId, u16)> {
        let (id, range) = self.ranges.iter().find(|(_, range)| range.contains(&wire))?;
        let code = u16::try_from(wire.checked_sub(range.start)?).ok()?;
        Some((*id, code))
    }

    /// The message code for `code` of a protocol. `None` if the protocol is not shared or has no such
    /// code.
    pub fn wire_code(&self, protocol: ProtocolId, code: u16) -> Option<u64> {
        let (_, range) = self.ranges.iter().find(|(id, _)| *id == protocol)?;
        Some(range.start.saturating_add(code.into())).filter(|wire| range.contains(wire))
    }
}

/// First message code after the base protocol.
pub const FIRST_CODE: u64 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Vec<Protocol> {
        vec![
            Protocol::new("waku", 1, 128),
            Protocol::new("shh", 6, 128),
            Protocol::new("eth", 63, 17),
            Protocol::new("eth", 64, 17),
        ]
    }

    fn theirs(list: &[(&str, u32)]) -> Vec<Capability> {
        let capability = |(name, version): &(&str, u32)| Protocol::new(*name, *version, 0);
        list.iter().map(capability).map(|protocol| protocol.capability).collect()
    }

    #[test]
    fn a_protocol_alone_starts_at_0x10() {
        let shared = Shared::new(&ours(), &theirs(&[("shh", 6)]));
        assert_eq!(shared.resolve(0x10), Some((ProtocolId(1), 0)));
        assert_eq!(shared.resolve(0x10 + 127), Some((ProtocolId(1), 127)));
        assert_eq!(shared.wire_code(ProtocolId(1), 127), Some(0x10 + 127));
    }

    #[test]
    fn ranges_follow_the_names_whatever_the_order_of_the_lists() {
        let theirs = theirs(&[("waku", 1), ("les", 2), ("eth", 64), ("shh", 6)]);
        let shared = Shared::new(&ours(), &theirs);
        let order: Vec<_> = shared.protocols().collect();
        assert_eq!(order, [ProtocolId(3), ProtocolId(1), ProtocolId(0)]);
        assert_eq!(shared.wire_code(ProtocolId(1), 0), Some(0x10 + 17));
        assert_eq!(shared.wire_code(ProtocolId(0), 0), Some(0x10 + 17 + 128));
    }

    #[test]
    fn only_the_highest_common_version_is_spoken() {
        let both = Shared::new(&ours(), &theirs(&[("eth", 63), ("eth", 64), ("eth", 65)]));
        assert_eq!(both.protocols().collect::<Vec<_>>(), [ProtocolId(3)]);
        let old = Shared::new(&ours(), &theirs(&[("eth", 62), ("eth", 63)]));
        assert_eq!(old.protocols().collect::<Vec<_>>(), [ProtocolId(2)]);
        assert_eq!(old.wire_code(ProtocolId(3), 0), None);
    }

    #[test]
    fn codes_outside_every_range_mean_nothing() {
        let shared = Shared::new(&ours(), &theirs(&[("shh", 6)]));
        assert_eq!(shared.resolve(0x0f), None);
        assert_eq!(shared.resolve(0x10 + 128), None);
        assert_eq!(shared.resolve(u64::MAX), None);
        assert_eq!(shared.wire_code(ProtocolId(1), 128), None);
        assert!(Shared::new(&ours(), &theirs(&[("shh", 5), ("SHH", 6)])).is_empty());
    }
}
