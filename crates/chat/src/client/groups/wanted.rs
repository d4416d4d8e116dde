//! Changes that we want to make. Each has an id until the program ends, so that a caller learns what has become of its change, even
//! if another one is equal.

use super::super::{Client, ClientEvent, ClientOutput};
use super::{Group, GroupFailure};
use crate::address::AccountId;
use crate::group::{Basis, GroupChange};

use std::collections::VecDeque;

/// Identifies a change that this device wants to make: [`ClientEvent::ChangeFinished`] reports its outcome.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChangeId(u64);

/// A change that we want to make.
#[derive(Clone, Debug)]
pub(super) struct WantedChange {
    /// `None` if no caller waits for it: it follows from a change of somebody else, or was requested before the program was started.
    pub(super) id: Option<ChangeId>,
    /// The state for which it was requested.
    pub(super) basis: Basis,
    pub(super) change: GroupChange,
}

impl Group {
    /// Wants a change as soon as possible. The limit is for changes of the user: what follows from those of others is added once
    /// for each kind.
    ///
    /// # Errors
    /// Too many changes wait.
    pub(super) fn want(&mut self, wanted: WantedChange) -> Result<(), GroupFailure> {
        if self.wanted.len() >= MAX_WANTED {
            return Err(GroupFailure::TooManyChanges);
        }
        self.wanted.push_back(wanted);
        Ok(())
    }

    /// Whether we want to join with a link.
    pub(super) fn is_joining(&self) -> bool {
        let is_join = |wanted: &WantedChange| matches!(wanted.change, GroupChange::Join { .. });
        !self.is_removed() && self.wanted.iter().any(is_join)
    }

    /// Takes the removals that we want: they remain wanted whatever others say.
    pub(super) fn take_removals(&mut self) -> VecDeque<WantedChange> {
        let wanted = std::mem::take(&mut self.wanted);
        let (removals, others) = wanted.into_iter().partition(WantedChange::is_removal);
        self.wanted = others;
        removals
    }

    /// Whether we want to remove a member, and the server has not accepted that yet. Until then, nothing is encrypted for it.
    pub(super) fn is_removing(&self, account: AccountId) -> bool {
        let is_removal = |change: &GroupChange| matches!(change, GroupChange::Remove { account: it, .. } if *it == account);
        self.wanted.iter().any(|wanted| is_removal(&wanted.change))
    }
}

impl WantedChange {
    const fn is_removal(&self) -> bool {
        matches!(self.change, GroupChange::Remove { .. })
    }
}

impl Client {
    /// A new id for a change.
    pub(super) const fn next_change_id(&mut self) -> ChangeId {
        self.groups.last_change += 1;
        ChangeId(self.groups.last_change)
    }

    /// Reports the outcome of a change to its caller, with the events of the current step.
    pub(super) fn finish_change(
        &mut self,
        id: Option<ChangeId>,
        outcome: Result<(), GroupFailure>,
    ) {
        if let Some(id) = id {
            let event = ClientEvent::ChangeFinished(id, outcome);
            self.groups.events.push(ClientOutput::Event(event));
        }
    }

    /// Reports that the changes of a group are given up together with it.
    pub(super) fn finish_all_changes(&mut self, group: Group) {
        let wanted = group.wanted.into_iter().filter_map(|wanted| wanted.id);
        for id in wanted.chain(group.joining).collect::<Vec<_>>() {
            self.finish_change(Some(id), Err(GroupFailure::Unknown));
        }
    }
}

/// Maximum number of changes of a group that wait, apart from those that follow from changes of others.
pub(super) const MAX_WANTED: usize = 32;
