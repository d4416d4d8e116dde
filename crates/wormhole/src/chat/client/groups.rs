//! Groups, as an application uses them.

use rand_core::OsRng;
use wormhole_chat::group::{GroupChange, GroupId, GroupLink, GroupState, LinkPassword};
use wormhole_chat::{Client as Core, Content, DataMessage, GroupFailure, Membership, Timestamp};

use super::Client;
use crate::chat::account::{Account, now};
use crate::chat::error::{Ended, OpenError};

/// A group, as this device knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Identifies the group.
    pub id: GroupId,
    /// What our account is in it.
    pub membership: Membership,
    /// Its state after the last change that was read; `None` before the first.
    pub state: Option<GroupState>,
    /// Whether changes of ours wait for the server.
    pub is_changing: bool,
}

impl GroupInfo {
    /// All groups of a device.
    fn all(core: &Core) -> Vec<Self> {
        let info = |id| Self {
            id,
            membership: core.group_membership(id).unwrap_or(Membership::Outside),
            state: core.group_state(id).cloned(),
            is_changing: core.is_changing_group(id),
        };
        core.groups().map(info).collect()
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
    /// Creates a group with this account as its only member. It exists once the server has it.
    ///
    /// # Errors
    /// The client has ended, or the title is invalid.
    pub async fn create_group(&self, title: &str) -> Result<Result<GroupId, GroupFailure>, Ended> {
        let title = title.to_owned();
        let app = self.me.app.clone();
        self.query(move |driver| {
            driver.core_mut().create_group(now(), &title, (app, None), &mut OsRng)
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

    /// Changes a group as soon as possible: see [`GroupChange`]. [`Event::Group`](crate::chat::Event::Group) reports the result.
    ///
    /// # Errors
    /// The client has ended, or there is no such group.
    pub async fn change_group(
        &self,
        group: GroupId,
        change: GroupChange,
    ) -> Result<Result<(), GroupFailure>, Ended> {
        self.query(move |driver| driver.core_mut().change_group(now(), group, change, &mut OsRng))
            .await
    }

    /// Joins a group with a link.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn join_group(&self, link: GroupLink) -> Result<GroupId, Ended> {
        self.query(move |driver| driver.core_mut().join_group(now(), &link, &mut OsRng)).await
    }

    /// Forgets a group of which this account is not a member.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn forget_group(&self, group: GroupId) -> Result<(), Ended> {
        self.query(move |driver| driver.core_mut().forget_group(group)).await
    }

    /// The link with which people join a group; `None` if it is disabled.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn group_link(&self, group: GroupId) -> Result<Option<GroupLink>, Ended> {
        self.query(move |driver| driver.core().group_link(group)).await
    }

    /// A password for a link, or for the next one when somebody is removed.
    pub fn new_link_password() -> LinkPassword {
        LinkPassword::random(&mut OsRng)
    }

    /// Sends a text to all members of a group; [`send`](Self::send) can do more. When this returns, it is in the outbox, but may not be durable yet:
    /// [`GroupEvent::Accepted`](crate::chat::GroupEvent::Accepted) says when it is.
    ///
    /// # Errors
    /// The client has ended, or this account is not a member.
    pub async fn send_to_group(
        &self,
        group: GroupId,
        text: &str,
    ) -> Result<Result<Timestamp, GroupFailure>, Ended> {
        let data = DataMessage { body: Some(text.to_owned()), ..DataMessage::default() };
        let content = Content::Data(Box::new(data));
        self.query(move |driver| {
            driver.core_mut().send_to_group(now(), group, &content, &mut OsRng)
        })
        .await
    }
}
