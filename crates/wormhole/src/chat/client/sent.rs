//! A message in the outbox, until the server has it.

use tokio::sync::watch;
use wormhole_chat::Timestamp;

use crate::chat::Conversation;
use crate::chat::error::DeliveryError;
use crate::chat::message::Progress;

/// A message in the outbox. Dropping this does not stop it from being sent.
#[derive(Debug)]
pub struct SentMessage {
    timestamp: Timestamp,
    to: Conversation,
    progress: watch::Receiver<Progress>,
    /// Why the message is not sent, as it was returned.
    reported: Option<DeliveryError>,
}

impl SentMessage {
    pub(super) const fn new(
        timestamp: Timestamp,
        to: Conversation,
        progress: watch::Receiver<Progress>,
    ) -> Self {
        Self { timestamp, to, progress, reported: None }
    }

    /// Identifies the message among those that we have sent.
    pub const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The recipient.
    pub const fn to(&self) -> Conversation {
        self.to
    }

    /// Its progress so far.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Waits until the server has the message for all devices of the recipient, or of all members of the group. Also waits while the server cannot be reached: see
    /// [`DeliveryError::may_retry`].
    ///
    /// # Errors
    /// The message cannot be sent, or not now. Unless it has failed or was cancelled, it is still in the outbox, and this can be
    /// called again to wait for a change.
    pub async fn on_server(&mut self) -> Result<(), DeliveryError> {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            match progress {
                Progress::OnServer => return Ok(()),
                Progress::NotSent(why @ (DeliveryError::Cancelled | DeliveryError::Failed(_))) => {
                    return Err(why);
                }
                Progress::NotSent(why) => {
                    if !why.may_retry() && self.reported.as_ref() != Some(&why) {
                        self.reported = Some(why.clone());
                        return Err(why);
                    }
                }
                Progress::Waiting => {}
            }
            self.progress.changed().await.map_err(|_| DeliveryError::Ended)?;
            self.reported = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::chat::{AccountId, RequestError};

    #[test]
    fn each_reason_that_differs_from_the_last_one_is_reported() {
        let (sender, receiver) = watch::channel(Progress::Waiting);
        let mut sent =
            SentMessage::new(Timestamp(1), AccountId::from_bytes([1; 16]).into(), receiver);
        assert_eq!(sent.on_server().now_or_never(), None);
        for error in [RequestError::AppRefused, RequestError::CredentialsRefused] {
            let refused = DeliveryError::Delayed(error);
            sender.send_replace(Progress::NotSent(refused.clone()));
            assert_eq!(sent.on_server().now_or_never(), Some(Err(refused)));
            assert_eq!(sent.on_server().now_or_never(), None);
        }
        // This passes by itself.
        sender.send_replace(Progress::NotSent(DeliveryError::Delayed(RequestError::Unavailable(
            503,
        ))));
        assert_eq!(sent.on_server().now_or_never(), None);
        sender.send_replace(Progress::OnServer);
        assert_eq!(sent.on_server().now_or_never(), Some(Ok(())));
    }
}
