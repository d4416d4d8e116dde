//! A stream of the messages that a node decrypts for us.
//!
//! Over a WebSocket the node sends them; over HTTP they are polled.

use std::collections::VecDeque;
use std::time::Duration;

use jsonrpsee_core::client::{Subscription, SubscriptionClientT as _, SubscriptionCloseReason};
use jsonrpsee_core::params::ArrayParams;
use serde_json::Value;
use tokio::time::sleep;

use super::{RemoteError, RemoteMessage, RemoteNode, Transport, error};

/// A stream of messages.
#[derive(Debug)]
pub struct MessageStream {
    remote: RemoteNode,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// The node sends them.
    Pushed(Subscription<Value>),
    /// They are polled from this filter.
    Polled { filter: String, waiting: VecDeque<Value> },
}

impl MessageStream {
    pub(super) async fn start(remote: &RemoteNode, criteria: Value) -> Result<Self, RemoteError> {
        let source = match &*remote.transport {
            Transport::Http(_) => {
                let filter = remote.call("shh_newMessageFilter", [criteria]).await?;
                Source::Polled { filter, waiting: VecDeque::new() }
            }
            Transport::WebSocket(client) => {
                let mut params = ArrayParams::new();
                for argument in [Value::from("messages"), criteria] {
                    params.insert(argument).map_err(|_| RemoteError::Malformed)?;
                }
                let subscribed = client.subscribe("shh_subscribe", params, "shh_unsubscribe").await;
                Source::Pushed(subscribed.map_err(error::of_client)?)
            }
        };
        Ok(Self { remote: remote.clone(), source })
    }

    /// Waits for the next message. Cancelling may lose a message that is being polled.
    ///
    /// # Errors
    /// The stream has ended: the node is gone, or messages were read too slowly.
    pub async fn next(&mut self) -> Result<RemoteMessage, RemoteError> {
        let value = match &mut self.source {
            Source::Pushed(subscription) => match subscription.next().await {
                Some(value) => value.map_err(|_| RemoteError::Malformed)?,
                None => {
                    return Err(match subscription.close_reason() {
                        Some(SubscriptionCloseReason::Lagged) => RemoteError::Lagged,
                        _ => RemoteError::Closed,
                    });
                }
            },
            Source::Polled { filter, waiting } => loop {
                if let Some(value) = waiting.pop_front() {
                    break value;
                }
                let arguments = [Value::from(filter.as_str())];
                let more: Vec<Value> = self.remote.call("shh_getFilterMessages", arguments).await?;
                if more.is_empty() {
                    sleep(POLL).await;
                }
                waiting.extend(more);
            },
        };
        RemoteMessage::from_json(&value)
    }

    /// Ends the stream and deletes its filter on the node.
    ///
    /// # Errors
    /// The node is gone.
    pub async fn stop(self) -> Result<(), RemoteError> {
        match self.source {
            Source::Pushed(subscription) => {
                subscription.unsubscribe().await.map_err(error::of_client)
            }
            Source::Polled { filter, .. } => {
                let arguments = [Value::from(filter)];
                let _deleted: bool = self.remote.call("shh_deleteMessageFilter", arguments).await?;
                Ok(())
            }
        }
    }
}

/// Time between two polls, as in go-ethereum's own subscriptions.
const POLL: Duration = Duration::from_millis(250);
