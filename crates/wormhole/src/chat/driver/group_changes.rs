//! The changes of groups whose handles wait until the server has them.
//!
//! The client reports a change that was made or is not possible. It does not report a change that became superfluous, because
//! somebody else has made the same one: such a change has ended when the group has no changes that wait.

use std::collections::BTreeMap;

use rand_core::OsRng;
use tokio::sync::{oneshot, watch};
use wormhole_chat::group::{GroupChange, GroupId, GroupState};
use wormhole_chat::{AccountId, Client as Core, GroupEvent, Membership};

use super::Driver;
use crate::chat::account::now;
use crate::chat::error::GroupError;

/// The result of a change of a group; `None` while it waits.
pub(in crate::chat) type ChangeOutcome = Option<Result<(), GroupError>>;

/// The changes of groups whose handles wait.
#[derive(Debug, Default)]
pub(super) struct GroupChanges {
    /// The changes of each group, in the order in which the client makes them.
    waiting: BTreeMap<GroupId, Vec<WaitingChange>>,
}

#[derive(Debug)]
struct WaitingChange {
    change: GroupChange,
    outcome: watch::Sender<ChangeOutcome>,
}

impl GroupChanges {
    fn add(&mut self, group: GroupId, change: GroupChange) -> watch::Receiver<ChangeOutcome> {
        let (outcome, receiver) = watch::channel(None);
        self.waiting.entry(group).or_default().push(WaitingChange { change, outcome });
        receiver
    }

    /// Handles an event of a group.
    pub(super) fn handle(&mut self, us: AccountId, group: GroupId, event: &GroupEvent) {
        match event {
            GroupEvent::Changed(author, made) if *author == us => {
                self.finish(group, made, Ok(()));
            }
            GroupEvent::ChangeFailed(change, why) => {
                self.finish(group, change, Err((*why).into()));
            }
            GroupEvent::Removed => {
                for waiting in self.waiting.remove(&group).into_iter().flatten() {
                    waiting.finish(Err(GroupError::NotMember));
                }
            }
            GroupEvent::Accepted(_)
            | GroupEvent::Changed(..)
            | GroupEvent::Invited(_)
            | GroupEvent::NotSent(..)
            | GroupEvent::NotSentTo(..)
            | GroupEvent::PartlySent(_)
            | GroupEvent::Sent(_)
            | _ => {}
        }
    }

    /// Finishes the first change that became this one.
    fn finish(&mut self, group: GroupId, made: &GroupChange, outcome: Result<(), GroupError>) {
        let Some(waiting) = self.waiting.get_mut(&group) else { return };
        if let Some(first) = waiting.iter().position(|waiting| is_same(&waiting.change, made)) {
            waiting.remove(first).finish(outcome);
        }
        if waiting.is_empty() {
            self.waiting.remove(&group);
        }
    }

    /// Finishes the changes of groups that have no changes that wait. All events of the client must have been handled.
    pub(super) fn finish_superfluous(&mut self, core: &Core) {
        self.waiting.retain(|group, waiting| {
            let membership = core.group_membership(*group);
            if core.is_changing_group(*group) || membership == Some(Membership::Unread) {
                return true;
            }
            let is_inside = matches!(membership, Some(Membership::Member | Membership::Invited));
            for waiting in std::mem::take(waiting) {
                let leaves =
                    matches!(waiting.change, GroupChange::Leave { .. } | GroupChange::Decline);
                let is_done = is_inside != leaves;
                waiting.finish(if is_done { Ok(()) } else { Err(GroupError::NotMember) });
            }
            false
        });
    }
}

impl WaitingChange {
    fn finish(self, outcome: Result<(), GroupError>) {
        self.outcome.send_replace(Some(outcome));
    }
}

/// Whether the client makes `made` when it was asked for `wanted`: it adapts a change to those of others.
fn is_same(wanted: &GroupChange, made: &GroupChange) -> bool {
    match (wanted, made) {
        // People who were invited meanwhile are left out.
        (GroupChange::Invite(wanted), GroupChange::Invite(made)) => {
            made.keys().all(|account| wanted.contains_key(account))
        }
        (
            GroupChange::Remove { account: wanted, .. },
            GroupChange::Remove { account: made, .. },
        ) => wanted == made,
        // A group is created once, and entered once at a time.
        (GroupChange::Accept { .. }, GroupChange::Accept { .. })
        | (GroupChange::Create { .. }, GroupChange::Create { .. })
        | (GroupChange::Join { .. }, GroupChange::Join { .. }) => true,
        (wanted, made) => wanted == made,
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
        self.core.change_group(now(), group, change.clone(), &mut OsRng)?;
        Ok(self.await_change(group, change))
    }

    /// Waits for the outcome of a change that the client was asked for just now.
    pub(in crate::chat) fn await_change(
        &mut self,
        group: GroupId,
        change: GroupChange,
    ) -> watch::Receiver<ChangeOutcome> {
        self.group_changes.add(group, change)
    }

    /// Answers when what the client was asked for is durable.
    pub(in crate::chat) fn reply_when_durable(&mut self, reply: oneshot::Sender<()>) {
        self.process_outputs();
        self.commits.reply(reply);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use wormhole_chat::GroupFailure;
    use wormhole_chat::group::{GroupId, Role};

    use super::*;

    fn account(number: u8) -> AccountId {
        AccountId::from_bytes([number; 16])
    }

    fn outcome(receiver: &mut watch::Receiver<ChangeOutcome>) -> ChangeOutcome {
        let changed = receiver.wait_for(Option::is_some).now_or_never()?;
        changed.unwrap().clone()
    }

    #[test]
    fn a_change_of_somebody_else_does_not_finish_ours() {
        let (group, us) = (GroupId::from_bytes([1; 16]), account(1));
        let mut changes = GroupChanges::default();
        let change = GroupChange::SetRole { account: account(2), role: Role::Admin };
        let mut ours = changes.add(group, change.clone());
        changes.handle(us, group, &GroupEvent::Changed(account(3), change.clone()));
        changes.handle(us, GroupId::from_bytes([2; 16]), &GroupEvent::Changed(us, change.clone()));
        assert_eq!(outcome(&mut ours), None);
        changes.handle(us, group, &GroupEvent::Changed(us, change));
        assert_eq!(outcome(&mut ours), Some(Ok(())));
    }

    #[test]
    fn equal_changes_finish_one_after_the_other() {
        let (group, us) = (GroupId::from_bytes([1; 16]), account(1));
        let mut changes = GroupChanges::default();
        let change = |number| GroupChange::Invite([(account(number), None)].into());
        let invited = [(account(2), None), (account(3), None)].into();
        let mut both = changes.add(group, GroupChange::Invite(invited));
        let mut again = changes.add(group, change(2));
        // Somebody else has invited one of them meanwhile.
        changes.handle(us, group, &GroupEvent::Changed(us, change(2)));
        assert_eq!((outcome(&mut both), outcome(&mut again)), (Some(Ok(())), None));
        let failed = GroupEvent::ChangeFailed(change(2), GroupFailure::Refused);
        changes.handle(us, group, &failed);
        assert_eq!(outcome(&mut again), Some(Err(GroupError::ServerRefused)));
    }
}
