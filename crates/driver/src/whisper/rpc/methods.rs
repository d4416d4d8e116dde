//! Between jsonrpsee and the service: every call and every call of a batch goes to
//! [`Service::answer`], but subscriptions, which are jsonrpsee's.

use std::fmt;

use jsonrpsee_server::middleware::rpc::{
    Batch, BatchEntry, MethodResponse, Notification, Request, RpcServiceT,
};
use jsonrpsee_server::{BatchResponseBuilder, ResponsePayload};
use serde_json::Value;

use super::subscribe::{SUBSCRIBE, UNSUBSCRIBE};
use super::{Service, refused};

/// Answers in place of what jsonrpsee would look up.
#[derive(Clone)]
pub(super) struct Methods<S> {
    pub(super) subscriptions: S,
    pub(super) service: Service,
}

impl<S> fmt::Debug for Methods<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Methods").finish_non_exhaustive()
    }
}

impl<S> Methods<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    async fn one(self, request: Request<'_>) -> MethodResponse {
        if matches!(request.method.as_ref(), SUBSCRIBE | UNSUBSCRIBE) {
            return self.subscribe(request).await;
        }
        let params = request.params.as_ref().map(|params| params.get());
        match self.service.answer(&request.method, params).await {
            Ok(value) => {
                let payload = ResponsePayload::success(value);
                MethodResponse::response(request.id, payload, MAX_RESPONSE)
            }
            Err(error) => MethodResponse::error(request.id, error),
        }
    }

    /// Lets jsonrpsee begin or end a subscription, where there can be any.
    async fn subscribe(self, request: Request<'_>) -> MethodResponse {
        if request.extensions().get::<Stays>().is_none() {
            return MethodResponse::error(request.id, refused("notifications not supported"));
        }
        let end = (request.method == UNSUBSCRIBE).then(|| request.id.clone());
        let response = self.subscriptions.call(request).await;
        match end {
            Some(id) if says_no(&response) => {
                MethodResponse::error(id, refused("subscription not found"))
            }
            _ => response,
        }
    }

    /// One after the other, as they stand.
    async fn all(self, batch: Batch<'_>) -> MethodResponse {
        let mut responses = BatchResponseBuilder::new_with_limit(MAX_RESPONSE);
        let mut notified = false;
        for entry in batch {
            let response = match entry {
                // It would be answered twice.
                Ok(BatchEntry::Call(request)) if request.method == SUBSCRIBE => {
                    let error = refused("notifications not supported in a batch");
                    MethodResponse::error(request.id, error)
                }
                Ok(BatchEntry::Call(request)) => self.clone().one(request).await,
                Ok(BatchEntry::Notification(_)) => {
                    notified = true;
                    continue;
                }
                Err(error) => {
                    let (error, id) = error.into_parts();
                    MethodResponse::error(id, error)
                }
            };
            if let Err(too_long) = responses.append(response) {
                return too_long;
            }
        }
        if responses.is_empty() && notified {
            return MethodResponse::notification();
        }
        MethodResponse::from_batch(responses.finish())
    }
}

/// Whether a response has the result `false`.
fn says_no(response: &MethodResponse) -> bool {
    let response: Result<Value, _> = serde_json::from_str(response.as_json().get());
    response.is_ok_and(|response| response.get("result") == Some(&Value::Bool(false)))
}

impl<S> RpcServiceT for Methods<S>
where
    S: RpcServiceT<MethodResponse = MethodResponse> + Clone + Send + Sync + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.clone().one(request)
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        self.clone().all(batch)
    }

    /// Nobody hears what comes of a notification, so nothing is done.
    fn notification<'a>(
        &self,
        _notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        std::future::ready(MethodResponse::notification())
    }
}

/// Marks requests of links that stay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stays;

/// Bytes of a response, or of all responses to a batch.
pub(super) const MAX_RESPONSE: usize = 64 * 1024 * 1024;
