//! A message in the outbox, until the server has it.

use tokio::sync::watch;
use wormhole_chat::{AccountId, PublicKey, Timestamp};

use crate::chat::RequestError;
use crate::chat::error::NotSent;

/// A message in the outbox. Dropping this does not stop it from being sent.
#[derive(Debug)]
pub struct SentMessage {
    timestamp: Timestamp,
    to: AccountId,
    progress: watch::Receiver<Progress>,
    /// Whether the state was returned.
    is_reported: bool,
}

/// What has become of a message in the outbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// The recipient has a new identity key, which the user has not accepted.
    Blocked(PublicKey),
    /// It was removed from the outbox.
    Failed(wormhole_chat::SendError),
    /// The server has it.
    OnServer,
    /// The server does not accept us.
    Refused(RequestError),
    /// It waits, or is being sent.
    #[default]
    Waiting,
}

impl SentMessage {
    pub(super) const fn new(
        timestamp: Timestamp,
        to: AccountId,
        progress: watch::Receiver<Progress>,
    ) -> Self {
        Self { timestamp, to, progress, is_reported: false }
    }

    /// Identifies the message among those that we have sent.
    pub const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The recipient.
    pub const fn to(&self) -> AccountId {
        self.to
    }

    /// What has become of it so far.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until the server has the message for all devices of the recipient.
    ///
    /// # Errors
    /// The message cannot be sent, or not now. Unless it has failed, it is still in the outbox, and this can be called again to
    /// wait for a change.
    pub async fn on_server(&mut self) -> Result<(), NotSent> {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            let result = match progress {
                Progress::Blocked(key) => Err(NotSent::IdentityChanged(key)),
                Progress::Failed(error) => return Err(error.into()),
                Progress::OnServer => return Ok(()),
                Progress::Refused(error) => Err(NotSent::Refused(error)),
                Progress::Waiting => Ok(()),
            };
            if result.is_err() && !std::mem::replace(&mut self.is_reported, true) {
                return result;
            }
            self.progress.changed().await.map_err(|_| NotSent::Ended)?;
            self.is_reported = false;
        }
    }
}
