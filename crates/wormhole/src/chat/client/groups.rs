//! The groups of an account: creating one, joining one, and listing them.

use rand_core::OsRng;
use wormhole_chat::group::{GroupId, GroupLink, GroupState};
use wormhole_chat::{Client as Core, GroupDelay, Membership};

use super::{Client, Group, PendingChange};
use crate::chat::account::{Account, now};
use crate::chat::error::{Ended, GroupError, OpenError};

/// A group, as this device knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Identifies the group.
    pub id: GroupId,
    /// The membership of our account.
    pub membership: Membership,
    /// Its state after the last change that was read; `None` before the first.
    pub state: Option<GroupState>,
    /// Whether changes of ours wait for the server.
    pub is_changing: bool,
    /// Whether there may be changes that were not read yet.
    pub is_reading: bool,
    /// Why messages to the group wait, if they do.
    pub delay: Option<GroupDelay>,
}

impl GroupInfo {
    /// All groups of a device.
    fn all(core: &Core) -> Vec<Self> {
        core.groups().map(|id| Self::new(core, id)).collect()
    }

    pub(super) fn new(core: &Core, id: GroupId) -> Self {
        Self {
            id,
            membership: core.group_membership(id).unwrap_or(Membership::Outside),
            state: core.group_state(id).cloned(),
            is_changing: core.is_changing_group(id),
            is_reading: core.is_reading_group(id),
            delay: core.group_delay(id),
        }
    }
}

impl Account {
    /// Like [`Client::groups`], as they were when a client was last open.
    ///
    /// # Errors
    /// The account is not registered, or the store cannot be read.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>, OpenError> {
        let (_, core) = self.registered().await?;
        Ok(GroupInfo::all(&core))
    }
}

impl Client {
    /// Creates a group with this account as its only member. It exists once the server has it:
    /// [`PendingChange::on_server`] waits for that, and [`PendingChange::group`] is its id.
    ///
    /// # Errors
    /// The client has ended, or the title is invalid.
    pub async fn create_group(&self, title: &str) -> Result<PendingChange, GroupError> {
        let (title, app) = (title.to_owned(), self.me.app.clone());
        self.request_change(move |driver| {
            let created = driver.core_mut().create_group(now(), &title, app, &mut OsRng)?;
            let (id, change) = created;
            Ok((id, driver.await_change(id, Some(change))))
        })
        .await
    }

    /// Joins a group with a link: [`PendingChange::on_server`] waits until this account is a member.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn join_group(&self, link: GroupLink) -> Result<PendingChange, GroupError> {
        self.request_change(move |driver| {
            let (id, change) = driver.core_mut().join_group(now(), &link, &mut OsRng);
            Ok((id, driver.await_change(id, change)))
        })
        .await
    }

    /// All groups.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn groups(&self) -> Result<Vec<GroupInfo>, Ended> {
        self.query(|driver| GroupInfo::all(driver.core())).await
    }

    /// A handle of the group with this id, which may be unknown to this device.
    pub fn group(&self, id: GroupId) -> Group {
        Group::new(self.clone(), id)
    }
}
