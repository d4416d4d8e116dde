//! A handle of one group: its state, and the changes that this account can make to it.

use std::collections::BTreeMap;

use rand_core::OsRng;
use wormhole_chat::AccountId;
use wormhole_chat::group::{GroupChange, GroupId, GroupLink, GroupState, LinkPassword, Role};

use super::{Client, GroupInfo, PendingChange};
use crate::chat::error::{Ended, GroupError};

/// A group, and the changes that this account can make to it. [`Client::group`] creates it.
///
/// Each change is made as soon as the server and the changes of others permit it: the returned [`PendingChange`] waits for that.
/// When a method returns, the change survives a crash, and is made when a client of this account is connected.
///
/// ```no_run
/// # async fn example(client: wormhole::chat::Client, bob: wormhole::chat::AccountId) -> Result<(), wormhole::chat::GroupError> {
/// let mut created = client.create_group("Walks").await?;
/// created.on_server().await?;
/// let walks = client.group(created.group());
/// walks.invite([bob]).await?.on_server().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Group {
    client: Client,
    id: GroupId,
}

impl Group {
    pub(super) const fn new(client: Client, id: GroupId) -> Self {
        Self { client, id }
    }

    /// Identifies the group.
    pub const fn id(&self) -> GroupId {
        self.id
    }

    /// The group, as this device knows it; `None` if it does not.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn info(&self) -> Result<Option<GroupInfo>, Ended> {
        let id = self.id;
        self.client
            .query(move |driver| {
                let core = driver.core();
                core.group_membership(id).map(|_| GroupInfo::new(core, id))
            })
            .await
    }

    /// The link with which people join the group; `None` if it is disabled.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn invite_link(&self) -> Result<Option<GroupLink>, Ended> {
        let id = self.id;
        self.client.query(move |driver| driver.core().group_link(id)).await
    }

    /// Accepts the invitation of this account.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn accept_invitation(&self) -> Result<PendingChange, GroupError> {
        let app = self.client.me().app.clone();
        self.change(move |_| GroupChange::Accept { app }).await
    }

    /// Declines the invitation of this account.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn decline_invitation(&self) -> Result<PendingChange, GroupError> {
        self.change(|_| GroupChange::Decline).await
    }

    /// Invites accounts. Only administrators can.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn invite(
        &self,
        accounts: impl IntoIterator<Item = AccountId> + Send,
    ) -> Result<PendingChange, GroupError> {
        let invited: BTreeMap<_, _> = accounts.into_iter().map(|account| (account, None)).collect();
        self.change(move |_| GroupChange::Invite(invited)).await
    }

    /// Removes a member or an invitation, and replaces the keys and the link of the group. Only administrators can.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn remove(&self, account: AccountId) -> Result<PendingChange, GroupError> {
        self.change(move |state| {
            let password = state.link.is_some().then(|| LinkPassword::random(&mut OsRng));
            GroupChange::Remove { account, password }
        })
        .await
    }

    /// Leaves the group. The last administrator must name a member who becomes administrator instead.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn leave(&self, successor: Option<AccountId>) -> Result<PendingChange, GroupError> {
        self.change(move |_| GroupChange::Leave { successor }).await
    }

    /// Sets the title, of 1 to 128 bytes. Only administrators can.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn set_title(&self, title: &str) -> Result<PendingChange, GroupError> {
        let title = title.to_owned();
        self.change(move |state| {
            let description = state.description.clone();
            GroupChange::Describe { title, description }
        })
        .await
    }

    /// Sets the description, of at most 1024 bytes; `None` removes it. Only administrators can.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn set_description(
        &self,
        description: Option<&str>,
    ) -> Result<PendingChange, GroupError> {
        let description = description.map(str::to_owned);
        self.change(move |state| GroupChange::Describe { title: state.title.clone(), description })
            .await
    }

    /// Sets the role of a member. Only administrators can.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn set_role(
        &self,
        account: AccountId,
        role: Role,
    ) -> Result<PendingChange, GroupError> {
        self.change(move |_| GroupChange::SetRole { account, role }).await
    }

    /// Enables the link with which people join, unless it is enabled already. Only administrators can.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn enable_link(&self) -> Result<PendingChange, GroupError> {
        self.change(|state| {
            // The password that the group has already changes nothing.
            let password = state.link.clone();
            GroupChange::SetLink(Some(password.unwrap_or_else(new_password)))
        })
        .await
    }

    /// Replaces the link with which people join, or enables it: an earlier link is no longer valid. Only administrators can.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn reset_link(&self) -> Result<PendingChange, GroupError> {
        self.change(|_| GroupChange::SetLink(Some(new_password()))).await
    }

    /// Disables the link with which people join. Only administrators can.
    ///
    /// # Errors
    /// The change is not waiting for the server.
    pub async fn disable_link(&self) -> Result<PendingChange, GroupError> {
        self.change(|_| GroupChange::SetLink(None)).await
    }

    /// Removes a group from this device, if this account is not a member.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn forget(&self) -> Result<(), Ended> {
        let id = self.id;
        self.client.query(move |driver| driver.core_mut().forget_group(id)).await
    }

    async fn change(
        &self,
        change: impl FnOnce(&GroupState) -> GroupChange + Send + 'static,
    ) -> Result<PendingChange, GroupError> {
        let id = self.id;
        self.client.request_change(move |driver| Ok((id, driver.change_group(id, change)?))).await
    }
}

fn new_password() -> LinkPassword {
    LinkPassword::random(&mut OsRng)
}
