//! The changes of groups whose handles wait until the server has them.

use std::collections::BTreeMap;

use rand_core::OsRng;
use tokio::sync::{oneshot, watch};
use wormhole_chat::ChangeId;
use wormhole_chat::group::{GroupChange, GroupId, GroupState};

use super::Driver;
use crate::chat::account::now;
use crate::chat::error::GroupError;

/// The result of a change of a group; `None` while it waits.
pub(in crate::chat) type ChangeOutcome = Option<Result<(), GroupError>>;

/// The changes of groups whose handles wait.
#[derive(Debug, Default)]
pub(super) struct GroupChanges {
    waiting: BTreeMap<ChangeId, WaitingChange>,
}

#[derive(Debug)]
struct WaitingChange {
    group: GroupId,
    outcome: watch::Sender<ChangeOutcome>,
}

impl GroupChanges {
    fn add(&mut self, group: GroupId, change: ChangeId) -> watch::Receiver<ChangeOutcome> {
        let (outcome, receiver) = watch::channel(None);
        self.waiting.insert(change, WaitingChange { group, outcome });
        receiver
    }

    /// Passes the outcome of a change to its handle.
    pub(super) fn finish(&mut self, change: ChangeId, outcome: Result<(), GroupError>) {
        if let Some(waiting) = self.waiting.remove(&change) {
            waiting.outcome.send_replace(Some(outcome));
        }
    }

    /// Fails the changes of a group of which we are no longer a member. The client keeps removals, and makes them if we get access
    /// again; nobody should wait for that.
    pub(super) fn fail_all(&mut self, group: GroupId) {
        self.waiting.retain(|_, waiting| {
            let stays = waiting.group != group;
            if !stays {
                waiting.outcome.send_replace(Some(Err(GroupError::NotMember)));
            }
            stays
        });
    }
}

impl Driver {
    /// Requests a change of a group, which depends on its state.
    ///
    /// # Errors
    /// This device does not know the group, or too many of its changes wait.
    pub(in crate::chat) fn change_group(
        &mut self,
        group: GroupId,
        change: impl FnOnce(&GroupState) -> GroupChange,
    ) -> Result<watch::Receiver<ChangeOutcome>, GroupError> {
        let change = change(self.core.group_state(group).ok_or(GroupError::NotFound)?);
        let change = self.core.change_group(now(), group, change, &mut OsRng)?;
        Ok(self.await_change(group, Some(change)))
    }

    /// Waits for the outcome of a change that the client was asked for just now. `None`: there is nothing to change.
    pub(in crate::chat) fn await_change(
        &mut self,
        group: GroupId,
        change: Option<ChangeId>,
    ) -> watch::Receiver<ChangeOutcome> {
        match change {
            Some(change) => self.group_changes.add(group, change),
            None => watch::channel(Some(Ok(()))).1,
        }
    }

    /// Answers when what the client was asked for is durable.
    pub(in crate::chat) fn reply_when_durable(&mut self, reply: oneshot::Sender<()>) {
        self.process_outputs();
        self.commits.reply(reply);
    }
}
