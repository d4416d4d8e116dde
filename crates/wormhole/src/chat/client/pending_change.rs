//! A change of a group, until the server has it.

use tokio::sync::{oneshot, watch};
use wormhole_chat::group::GroupId;

use super::Client;
use crate::chat::driver::{ChangeOutcome, Driver};
use crate::chat::error::{Ended, GroupError};

/// A change of a group that this account wants to make. Dropping this does not cancel the change.
#[derive(Debug)]
pub struct PendingChange {
    group: GroupId,
    outcome: watch::Receiver<ChangeOutcome>,
    ended: watch::Receiver<Option<Ended>>,
}

impl PendingChange {
    /// The group.
    pub const fn group(&self) -> GroupId {
        self.group
    }

    /// Waits until the server has the change, or somebody else has made the same change. Also waits while the server cannot be
    /// reached, and until the keys that the change needs have arrived. Can be called again: it then returns the same.
    ///
    /// # Errors
    /// The change is not possible, or the client has ended. In the latter case, the change is made when the client is opened again.
    pub async fn on_server(&mut self) -> Result<(), GroupError> {
        if let Ok(outcome) = self.outcome.wait_for(Option::is_some).await
            && let Some(outcome) = outcome.clone()
        {
            return outcome;
        }
        let ended = self.ended.wait_for(Option::is_some).await;
        Err(ended.ok().and_then(|ended| ended.clone()).unwrap_or(Ended::Closed).into())
    }
}

impl Client {
    /// Requests a change of a group, and waits until the request is durable.
    pub(super) async fn request_change(
        &self,
        request: impl FnOnce(
            &mut Driver,
        ) -> Result<(GroupId, watch::Receiver<ChangeOutcome>), GroupError>
        + Send
        + 'static,
    ) -> Result<PendingChange, GroupError> {
        let (reply, durable) = oneshot::channel();
        let requested = self.query(move |driver| {
            let requested = request(driver)?;
            driver.reply_when_durable(reply);
            Ok::<_, GroupError>(requested)
        });
        let (group, outcome) = requested.await??;
        if durable.await.is_err() {
            return Err(self.wait_for_end().await.into());
        }
        Ok(PendingChange { group, outcome, ended: self.signals.ended.subscribe() })
    }
}
