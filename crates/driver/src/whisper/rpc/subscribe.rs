//! `shh_subscribe`: messages as they come, over links that stay.

use jsonrpsee_server::types::SubscriptionId;
use jsonrpsee_server::types::error::{INVALID_PARAMS_CODE, METHOD_NOT_FOUND_CODE};
use jsonrpsee_server::{IdProvider, PendingSubscriptionSink, RpcModule};
use rand_core::{OsRng, RngCore};
use serde_json::value::to_raw_value;
use zeroize::Zeroizing;

use super::super::desk::Subscription;
use super::super::hex;
use super::arguments::Arguments;
use super::{ErrorObjectOwned, Service, filters, refused, reply};

/// The method that begins a subscription, the one that ends it, and what comes in between.
pub(super) const SUBSCRIBE: &str = "shh_subscribe";
pub(super) const UNSUBSCRIBE: &str = "shh_unsubscribe";
pub(super) const EVENT: &str = "shh_subscription";

/// The methods that jsonrpsee knows; all others are answered before it is asked.
pub(super) fn module(service: &Service) -> RpcModule<Service> {
    let mut module = RpcModule::new(service.clone());
    let begin = async |params: jsonrpsee_server::types::Params<'static>,
                       pending,
                       service: std::sync::Arc<Service>,
                       _| {
        match begin(&service, params.as_str()).await {
            Ok(subscription) => carry(subscription, pending).await,
            Err(error) => PendingSubscriptionSink::reject(pending, error).await,
        }
    };
    // The names are registered once.
    let _registered = module.register_subscription(SUBSCRIBE, EVENT, UNSUBSCRIBE, begin);
    module
}

/// Begins what the arguments ask for.
pub(super) async fn begin(
    service: &Service,
    params: Option<&str>,
) -> Result<Subscription, ErrorObjectOwned> {
    let error = |code, text: String| ErrorObjectOwned::owned(code, text, None::<()>);
    let arguments = Arguments::parse(params, 2)?;
    let kind: Zeroizing<String> = arguments.at(0).map_err(|_| {
        error(INVALID_PARAMS_CODE, "expected subscription name as first argument".into())
    })?;
    if kind.as_str() != "messages" {
        let kind: String = kind.chars().take(super::MAX_NAME).collect();
        let text = format!("no \"{kind}\" subscription in shh namespace");
        return Err(error(METHOD_NOT_FOUND_CODE, text));
    }
    let wanted = filters::criteria(&service.desk, &arguments.at(1)?, true)?;
    service.desk.subscribe(wanted).await.map_err(|error| refused(error.to_string()))
}

/// Hands messages on until nobody wants them any more.
async fn carry(mut subscription: Subscription, pending: PendingSubscriptionSink) {
    let Ok(sink) = pending.accept().await else { return };
    loop {
        let messages = tokio::select! {
            () = sink.closed() => return,
            messages = subscription.next() => messages,
        };
        let Some(messages) = messages else { return };
        for message in messages {
            let Ok(event) = to_raw_value(&reply::message(&message)) else { return };
            if sink.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// A name for a subscription: random, so that nobody guesses that of another.
pub(super) fn new_id() -> String {
    let mut bytes = [0; 16];
    OsRng.fill_bytes(&mut bytes);
    hex(&bytes)
}

/// Names subscriptions as go-ethereum does.
#[derive(Debug)]
pub(super) struct Names;

impl IdProvider for Names {
    fn next_id(&self) -> SubscriptionId<'static> {
        SubscriptionId::Str(new_id().into())
    }
}
