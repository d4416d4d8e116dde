//! Performs one request: sends it to the service, sealed if possible, and reads the answer.

use std::sync::Arc;

use wormhole_chat::service::Destination;
use wormhole_chat::{AccountId, Request, RequestId, Response};

use super::{Finished, Lane, sent_by};
use crate::chat::driver::sealing::{SealedTarget, Sealing};
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::service::{DeviceMessage, Service, Unconfirmed};

/// How a request reaches the server.
pub(super) struct Way {
    pub(super) service: Arc<Service>,
    pub(super) sealing: Arc<Sealing>,
    pub(super) target: Option<SealedTarget>,
}

/// Makes a request.
pub(super) async fn perform(way: Way, lane: Lane, id: RequestId, request: Request) -> Finished {
    let message = sent_by(&request);
    let answered = answer(&way, request).await;
    let may_have_arrived = answered.as_ref().is_err_and(|error| error.may_have_arrived);
    let result = answered.map_err(|error| error.why);
    Finished { message, may_have_arrived, ..Finished::new(lane, id, result) }
}

async fn answer(way: &Way, request: Request) -> Result<Response, Unconfirmed> {
    let Way { service, sealing, target } = way;
    let result = match request {
        Request::Send { to, timestamp, messages, left_out, is_online, wants_answers } => {
            let parts = (&*messages, left_out.as_ref());
            if let Some(target) = target
                && let Some(sent) =
                    sealing.send(service, to, timestamp, parts, is_online, target).await
            {
                return sent;
            }
            let (messages, left_out) = parts;
            return service.send(to, timestamp, messages, left_out, is_online, wants_answers).await;
        }
        Request::SendToDevice { to, registration_id, timestamp, kind, bytes } => {
            let message = DeviceMessage { device: to.device, registration_id, kind, bytes };
            return service.send_to_device(to.account, timestamp, &message).await;
        }
        Request::Bundles(account) => keys(service, account).await,
        Request::Publish(keys) => service.publish(&keys).await.map(|()| Response::Done),
        Request::DeviceList => unless_unknown(service.device_list().await),
        Request::PublishDeviceList(new) => unless_unknown(service.put_device_list(&new).await),
        Request::AppendGroupEntry { group, revision, access, next, entry } => {
            service.append_group_entry((group, revision), &access, next, &entry).await
        }
        Request::GroupEntries { group, access, from } => {
            service.group_entries(group, &access, from).await
        }
        Request::Certificate => {
            let certificate = sealing.certificate(service).await;
            certificate.map(|certificate| Response::Certificate(Box::new(certificate)))
        }
        Request::SendGroup { timestamp, message, left_out, is_online } => {
            let sent = service.send_to_many(timestamp, &message, &left_out, is_online).await;
            // Nothing depends on it, so it must not make messages wait.
            return if is_online { sent.or(Ok(Response::Done)) } else { sent };
        }
    };
    result.map_err(|why| Unconfirmed { why, may_have_arrived: false })
}

/// A server of another kind has no lists of devices, and may refuse a path that it does not know in any way.
pub(super) fn unless_unknown(
    result: Result<Response, RequestError>,
) -> Result<Response, RequestError> {
    match result {
        Err(RequestError::NotFound) => Ok(Response::NotFound),
        Err(
            RequestError::Invalid(_) | RequestError::Refused(_) | RequestError::Unavailable(501),
        ) => Ok(Response::Refused),
        result => result,
    }
}

/// The keys of an account.
async fn keys(service: &Service, account: AccountId) -> Result<Response, RequestError> {
    let resolved = service.bundles(&Destination::Account(account)).await?;
    let is_right = resolved.account == account;
    let response = Response::Bundles(resolved.bundles, resolved.list);
    is_right.then_some(response).ok_or_else(|| ServerFault::OtherAccount.into())
}
