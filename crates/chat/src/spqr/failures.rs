//! Messages that show that an exchange cannot be completed (Double Ratchet, revision 3; docs/chat-protocol.md "Post-quantum ratchet").

/// The latest authentic messages whose part of the exchange was wrong, identified by their MACs. A message that is delivered
/// again does not count again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Failures(Vec<[u8; MAC]>);

impl Failures {
    /// Adds a message.
    pub(super) fn add(&mut self, mac: [u8; MAC]) {
        if !self.is_final() && !self.0.contains(&mac) {
            self.0.push(mac);
        }
    }

    /// A message was right. Changes nothing if the exchange has failed for good.
    pub(super) fn forget(&mut self) {
        if !self.is_final() {
            self.0.clear();
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the exchange has failed for good.
    pub(super) const fn is_final(&self) -> bool {
        self.0.len() >= MAX
    }

    /// Their MACs, for storage.
    pub(super) fn macs(&self) -> &[[u8; MAC]] {
        &self.0
    }
}

/// So many messages in a row show that the exchange has failed.
pub(super) const MAX: usize = 3;

/// Length of a MAC.
pub(super) const MAC: usize = 8;
