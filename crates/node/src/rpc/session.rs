//! One client: executes its requests and writes the responses.
//!
//! The transport is elsewhere: see [`http`](super::http) and [`connection`](super::connection).

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::jsonrpc::{self, Id, Message, Method, RESPONSE_TOO_LARGE, Request};
use super::subscribe::{SUBSCRIBE, Subscriptions, UNSUBSCRIBE};
use super::{RpcError, RpcResult, RpcServer, refused};
use crate::scheduler::Requester;

/// One client, while its connection is open.
#[derive(Clone, Debug)]
pub(super) struct ClientSession {
    service: RpcServer,
    requester: Requester,
    /// `None` on transports that cannot push messages.
    subscriptions: Option<Subscriptions>,
}

impl ClientSession {
    /// A client from this network; `None` for a client on the Unix socket.
    pub(super) fn new(service: RpcServer, network: Option<std::net::IpAddr>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let connection = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { service, requester: Requester { network, connection }, subscriptions: None }
    }

    /// Allows the client to subscribe.
    #[must_use]
    pub(super) fn with_subscriptions(mut self, subscriptions: Subscriptions) -> Self {
        self.subscriptions = Some(subscriptions);
        self
    }

    pub(super) const fn service(&self) -> &RpcServer {
        &self.service
    }

    /// Executes a message of the client and returns the response. Notifications have none. Dropping the
    /// future cancels the work.
    pub(super) async fn reply(&self, text: &[u8]) -> Option<String> {
        match Message::read(text, MAX_BATCH) {
            Err(error) => Some(jsonrpc::response(Id::NULL, Err(&error))),
            Ok(Message::Single(Request::Call(id, method))) if method.name == SUBSCRIBE => {
                self.subscribe(id, &method).await
            }
            Ok(Message::Single(request)) => self.execute(request).await,
            Ok(Message::Batch(requests)) => self.execute_batch(requests).await,
        }
    }

    async fn execute(&self, request: Request<'_>) -> Option<String> {
        match request {
            Request::Call(id, method) => {
                let outcome = self.call(&method).await.map(|result| result.to_string());
                Some(jsonrpc::response(id, outcome.as_deref()))
            }
            Request::Invalid(id) => Some(jsonrpc::response(id, Err(&RpcError::invalid_request()))),
            Request::Notification(method) => {
                // A notification has no response, not even an error.
                let _outcome = self.call(&method).await;
                None
            }
        }
    }

    /// Executes a batch in order. Calls beyond the size limit of the response fail without being
    /// executed.
    async fn execute_batch(&self, requests: Vec<Request<'_>>) -> Option<String> {
        let mut responses = String::from("[");
        for request in requests {
            let response = if let Request::Call(id, _) = &request
                && responses.len() > MAX_RESPONSE
            {
                let error = RpcError::new(RESPONSE_TOO_LARGE, "response too large");
                Some(jsonrpc::response(*id, Err(&error)))
            } else {
                self.execute(request).await
            };
            if let Some(response) = response {
                if responses.len() > 1 {
                    responses.push(',');
                }
                responses.push_str(&response);
            }
        }
        responses.push(']');
        (responses.len() > 2).then_some(responses)
    }

    async fn call(&self, method: &Method<'_>) -> RpcResult {
        match (&*method.name, &self.subscriptions) {
            (SUBSCRIBE | UNSUBSCRIBE, None) => Err(refused("notifications not supported")),
            (SUBSCRIBE, Some(_)) => Err(refused("notifications not supported in a batch")),
            (UNSUBSCRIBE, Some(subscriptions)) => {
                subscriptions.end(method.params).map(|()| Value::Bool(true))
            }
            (name, _) => self.service.answer(self.requester, name, method.params).await,
        }
    }

    /// Starts a subscription. The response with its id is sent before its first message.
    async fn subscribe(&self, id: Id<'_>, method: &Method<'_>) -> Option<String> {
        let begun = match &self.subscriptions {
            None => Err(refused("notifications not supported")),
            Some(subscriptions) => {
                let respond = |name: &str| jsonrpc::response(id, Ok(&format!("\"{name}\"")));
                subscriptions.begin(&self.service, self.requester, method.params, respond).await
            }
        };
        begun.err().map(|error| jsonrpc::response(id, Err(&error)))
    }
}

/// Maximum number of requests in a batch.
const MAX_BATCH: usize = 100;

/// Once the responses to a batch have this size in bytes, its remaining calls fail.
const MAX_RESPONSE: usize = 16 * 1024 * 1024;
