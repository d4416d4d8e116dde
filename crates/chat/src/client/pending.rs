//! The requests that have no response yet.

use std::collections::{BTreeMap, BTreeSet};

use super::exchange::RequestId;
use super::retries::MessageName;
use crate::address::{AccountId, Address};
use crate::group::GroupId;
use crate::time::Timestamp;

/// The purpose of a request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Purpose {
    Bundles(AccountId),
    Send(Timestamp),
    Publish,
    /// A message that could not be decrypted is asked for.
    Ask(MessageName),
    /// A message is sent again to one device.
    Resend((Address, Timestamp)),
    Certificate,
    GroupLog(GroupId),
    /// Something for the connected members of a group.
    GroupOnline(GroupId),
    GroupSend(Timestamp),
    /// The list of our devices.
    OwnList,
    PublishList,
}

/// The requests that have no response yet, by their ids and by their purposes.
#[derive(Debug, Default)]
pub(super) struct PendingRequests {
    purposes: BTreeMap<RequestId, Purpose>,
    ids: BTreeSet<(Purpose, RequestId)>,
}

impl PendingRequests {
    pub(super) fn insert(&mut self, id: RequestId, purpose: Purpose) {
        self.purposes.insert(id, purpose);
        self.ids.insert((purpose, id));
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Option<Purpose> {
        let purpose = self.purposes.remove(&id)?;
        self.ids.remove(&(purpose, id));
        Some(purpose)
    }

    /// Whether a request with this purpose has no response yet.
    pub(super) fn has(&self, purpose: Purpose) -> bool {
        let first = (purpose, RequestId(0));
        self.ids.range(first..).next().is_some_and(|(next, _)| *next == purpose)
    }

    /// Whether the keys of any account are requested.
    pub(super) fn has_bundles(&self) -> bool {
        // Their purpose is the first in order.
        let first = self.ids.first();
        first.is_some_and(|(purpose, _)| matches!(purpose, Purpose::Bundles(_)))
    }

    /// Ignores the responses to all requests with this purpose.
    pub(super) fn forget(&mut self, purpose: Purpose) {
        self.purposes.retain(|_, it| *it != purpose);
        self.ids.retain(|(it, _)| *it != purpose);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_is_pending_until_all_its_requests_have_responses() {
        let mut pending = PendingRequests::default();
        let send = |number| Purpose::Send(Timestamp(number));
        for (id, purpose) in [(1, send(7)), (2, Purpose::Publish), (3, Purpose::Publish)] {
            pending.insert(RequestId(id), purpose);
        }
        assert!(pending.has(send(7)) && !pending.has(send(6)) && !pending.has(send(8)));
        assert_eq!(pending.remove(RequestId(2)), Some(Purpose::Publish));
        assert!(pending.has(Purpose::Publish));
        assert_eq!(pending.remove(RequestId(3)), Some(Purpose::Publish));
        assert!(!pending.has(Purpose::Publish));
        assert_eq!(pending.remove(RequestId(3)), None);
        pending.insert(RequestId(4), send(8));
        pending.forget(send(8));
        assert!(!pending.has(send(8)) && pending.has(send(7)));
        assert_eq!(pending.remove(RequestId(4)), None);
        pending.clear();
        assert!(!pending.has(send(7)));
    }
}
