//! `shh_subscribe`: pushes messages to clients on WebSockets and the Unix socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_core::{OsRng, RngCore};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::arguments::{Arguments, only};
use super::jsonrpc::{INVALID_PARAMS, METHOD_NOT_FOUND, event};
use super::{RpcError, RpcServer, filters, format, refused};
use crate::hex;
use crate::messaging::Subscription;
use crate::scheduler::Requester;

/// The methods that start and end a subscription, and the one of its notifications.
pub(super) const SUBSCRIBE: &str = "shh_subscribe";
pub(super) const UNSUBSCRIBE: &str = "shh_unsubscribe";
const EVENT: &str = "shh_subscription";

/// The subscriptions of one connection. Dropping the last clone ends them.
#[derive(Clone, Debug)]
pub(super) struct Subscriptions {
    out: mpsc::Sender<String>,
    /// Dropping a sender ends its subscription.
    open: Arc<Mutex<BTreeMap<String, oneshot::Sender<()>>>>,
}

impl Subscriptions {
    /// No subscriptions yet. Their messages will go to this queue.
    pub(super) fn new(out: mpsc::Sender<String>) -> Self {
        Self { out, open: Arc::default() }
    }

    /// Starts the subscription that the arguments describe, after queueing the response to the call.
    pub(super) async fn begin(
        &self,
        service: &RpcServer,
        requester: Requester,
        params: Option<&str>,
        respond: impl FnOnce(&str) -> String,
    ) -> Result<(), RpcError> {
        if self.lock().len() >= MAX_SUBSCRIPTIONS {
            let text =
                format!("too many subscriptions: the limit is {MAX_SUBSCRIPTIONS} per connection");
            return Err(refused(text));
        }
        let subscription = create(service, requester, params).await?;
        let (id, (alive, over)) = (new_id(), oneshot::channel());
        self.lock().insert(id.clone(), alive);
        // If the client has disconnected, nobody needs the response.
        let _gone = self.out.send(respond(&id)).await;
        tokio::spawn(forward(id, subscription, self.out.clone(), over));
        Ok(())
    }

    /// Ends the subscription that the arguments name.
    pub(super) fn end(&self, params: Option<&str>) -> Result<(), RpcError> {
        let id: Zeroizing<String> = only(params)?;
        let ended = self.lock().remove(id.as_str());
        ended.map(drop).ok_or_else(|| refused("subscription not found"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, oneshot::Sender<()>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates the subscription that the arguments describe.
async fn create(
    service: &RpcServer,
    requester: Requester,
    params: Option<&str>,
) -> Result<Subscription, RpcError> {
    let arguments = Arguments::parse(params, 2)?;
    let kind: Zeroizing<String> = arguments.at(0).map_err(|_| {
        RpcError::new(INVALID_PARAMS, "expected subscription name as first argument")
    })?;
    if kind.as_str() != "messages" {
        let kind: String = kind.chars().take(super::MAX_NAME).collect();
        let text = format!("no \"{kind}\" subscription in shh namespace");
        return Err(RpcError::new(METHOD_NOT_FOUND, text));
    }
    let id = filters::add(service, requester, &arguments.at(1)?, true).await?;
    Ok(service.messenger.subscribe_to(id))
}

/// Forwards messages until the subscription or the connection ends.
async fn forward(
    id: String,
    mut subscription: Subscription,
    out: mpsc::Sender<String>,
    mut over: oneshot::Receiver<()>,
) {
    loop {
        let messages = tokio::select! {
            _ = &mut over => return,
            () = out.closed() => return,
            messages = subscription.next() => messages,
        };
        let Some(messages) = messages else { return };
        for message in messages {
            let params = json!({ "subscription": id, "result": format::message(&message) });
            let sent = tokio::select! {
                _ = &mut over => return,
                sent = out.send(event(EVENT, &params.to_string())) => sent,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

/// Creates a random subscription id in go-ethereum's format. Clients cannot guess each other's ids.
fn new_id() -> String {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    hex(&bytes)
}

/// Maximum number of subscriptions of one connection.
const MAX_SUBSCRIPTIONS: usize = 256;
