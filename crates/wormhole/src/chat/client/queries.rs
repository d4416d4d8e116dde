//! The states of a client: an application can query them at any time, also if it has missed events.

use wormhole_chat::Timestamp;

use super::Client;
use crate::chat::error::Ended;
use crate::chat::message::{
    CancelOutcome, Connection, FailedMessage, IdentityChange, KeyState, OutboxMessage,
};

impl Client {
    /// Whether the client is connected to its server.
    pub fn connection(&self) -> Connection {
        self.signals.connection.borrow().clone()
    }

    /// Whether the server has our prekeys. It may refuse them, for example if the app's token was revoked.
    pub fn key_state(&self) -> KeyState {
        self.signals.keys.borrow().clone()
    }

    /// The messages that the server does not have yet, and why they wait, oldest first.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn outbox(&self) -> Result<Vec<OutboxMessage>, Ended> {
        self.query(|driver| driver.outbox().list()).await
    }

    /// Removes a message from the outbox, so that it is not sent. What it says is lost; files that were uploaded for it expire at
    /// the server. If the message is being sent, this waits for the answer of the server, for a minute or two at most.
    ///
    /// When this returns, the result is durable. Everybody who watches the message learns it, too: [`DeliveryError::Cancelled`]. A
    /// message whose files are still being uploaded is not in the outbox yet: drop the future of [`send`](Self::send).
    ///
    /// If the returned future is dropped, the message may be cancelled or not.
    ///
    /// # Errors
    /// The client has ended.
    ///
    /// [`DeliveryError::Cancelled`]: crate::chat::DeliveryError::Cancelled
    pub async fn cancel(&self, message: Timestamp) -> Result<CancelOutcome, Ended> {
        self.ask(move |driver, reply| driver.cancel(message, reply)).await
    }

    /// Waits until the server has what is for the other devices of our account, and what is for groups or about them. Returns at
    /// once if there is nothing. While the server cannot be reached, it waits; what is left is sent later.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn synced(&self) -> Result<(), Ended> {
        let mut syncs = self.signals.syncs.subscribe();
        tokio::select! {
            _ = syncs.wait_for(|waiting| *waiting == 0) => Ok(()),
            ended = self.wait_for_end() => Err(ended),
        }
    }

    /// The messages that can never be sent, oldest first. They stay here until they are [forgotten](Self::forget_failed).
    ///
    /// # Errors
    /// The client has ended.
    pub async fn failed(&self) -> Result<Vec<FailedMessage>, Ended> {
        let Some(failed) = self.store.run(|store| store.failed()).await else {
            return Err(self.wait_for_end().await);
        };
        Ok(failed?)
    }

    /// The user knows that this message has failed, or the application has stored that. Does nothing if there is no such
    /// message.
    ///
    /// If the returned future is dropped, the message may be forgotten or not.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn forget_failed(&self, message: Timestamp) -> Result<(), Ended> {
        self.ask(move |driver, reply| driver.forget(message, reply)).await
    }

    /// The identity keys that have changed, and wait for the user to accept or refuse them.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn identity_changes(&self) -> Result<Vec<IdentityChange>, Ended> {
        let changes = self.query(|driver| driver.core().identity_changes().collect::<Vec<_>>());
        let changes = changes.await?.into_iter().filter_map(|(account, keys)| {
            let (accepted, changed) = (keys.accepted, keys.changed?);
            Some(IdentityChange { account, accepted, changed })
        });
        Ok(changes.collect())
    }
}
