//! A message in the outbox, until the server has it.

use tokio::sync::watch;
use wormhole_chat::{AccountId, Timestamp};

use crate::chat::error::NotSent;
use crate::chat::message::Progress;

/// A message in the outbox. Dropping this does not stop it from being sent.
#[derive(Debug)]
pub struct SentMessage {
    timestamp: Timestamp,
    to: AccountId,
    progress: watch::Receiver<Progress>,
    /// Whether the state was returned.
    is_reported: bool,
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
            match progress {
                Progress::OnServer => return Ok(()),
                Progress::NotSent(why @ NotSent::Failed(_)) => return Err(why),
                Progress::NotSent(why) => {
                    if !std::mem::replace(&mut self.is_reported, true) {
                        return Err(why);
                    }
                }
                Progress::Delayed(_) | Progress::Waiting => {}
            }
            self.progress.changed().await.map_err(|_| NotSent::Ended)?;
            self.is_reported = false;
        }
    }
}
