//! A sealed message for many accounts, uploaded once.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::IntoResponse;
use axum::routing::{Router, put};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::service::{Destination, Mismatch};
use wormhole_chat::{AccountId, DeviceId, MultiRecipientMessage};
use wormhole_http::Response;

use super::auth::parse_device;
use super::caller::Caller;
use super::json::Json;
use super::message_json::{MismatchedDevices, StaleDevices, check_timestamp};
use super::messages::{QUEUE_FULL_PAUSE, intra_app, sender};
use super::{ApiError, body};
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;
use crate::messaging::store::{LeftOut, SealedMessages, SealedProof, SealedSent, SealedSubmission};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new().route("/v1/messages/multi_recipient", put(send))
}

/// How a message is sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MultiQuery {
    ts: u64,
    #[serde(default)]
    left_out: String,
    #[serde(default)]
    online: bool,
    #[serde(default = "yes")]
    urgent: bool,
}

/// The message is stored.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct SentToMany {
    /// Accounts that do not exist, or have no device that can receive messages.
    uuids404: Vec<String>,
    /// Accounts that have no room now, or must accept the sender first: send it to them again later.
    uuids413: Vec<String>,
}

/// An account with other devices than the message names.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct MismatchedAccount {
    uuid: String,
    devices: MismatchedDevices,
}

/// An account with devices that were registered again.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct StaleAccount {
    uuid: String,
    devices: StaleDevices,
}

/// Sends a sealed message to all devices of many accounts, if it names exactly their devices. Otherwise, sends nothing.
#[utoipa::path(
    put, path = "/v1/messages/multi_recipient", tag = "messages",
    request_body(content = Vec<u8>, content_type = "application/vnd.signal-messenger.mrm", description = "version 0x23, as in docs/chat-protocol.md"),
    security(("device" = []), ("access" = [])),
    params(
        ("ts" = u64, Query, description = "the time of the message, in milliseconds since 1970"),
        ("leftOut" = Option<String>, Query, description = "devices that are left out on purpose, as `ACCOUNT_ID.DEVICE.REVISION`, separated by commas; at most 64. The revision is that of the newest list of the account"),
        ("online" = Option<bool>, Query, description = "whether only devices that are connected get the message"),
        ("urgent" = Option<bool>, Query, description = "whether the message may wake a device; true if it is missing"),
    ),
    responses(
        (status = 200, description = "the message is stored", body = SentToMany),
        (status = 400, description = "the query is malformed, or both credentials and an access key were sent"),
        (status = 401, description = "the access key is not the XOR of those of all recipients, or a recipient does not exist, or wrong credentials"),
        (status = 403, description = "the app delivers messages between its own users itself"),
        (status = 409, description = "the devices are not those of these accounts", body = Vec<MismatchedAccount>),
        (status = 410, description = "devices were registered again", body = Vec<StaleAccount>),
        (status = 413, description = "too many messages"),
        (status = 415, description = "the content type is another one"),
        (status = 422, description = "the message is malformed or too long for so many devices"),
    )
)]
pub(super) async fn send(
    State(service): State<Arc<Service>>,
    caller: Caller,
    query: Result<Query<MultiQuery>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Query(MultiQuery { ts, left_out, online, urgent }) =
        query.map_err(|_| ApiError::bad_query())?;
    check_content_type(&request)?;
    let proof = limit(&service, &caller)?;
    let message = MultiRecipientMessage::decode(&body::read(request).await?)
        .map_err(|error| ApiError::invalid(error.to_string()))?;
    let destinations = message.recipients().map(|(account, _)| Destination::Account(account));
    let submission = SealedSubmission {
        proof,
        destinations: destinations.collect(),
        messages: SealedMessages::Many(message),
        left_out: devices_of(&left_out).ok_or_else(ApiError::bad_query)?,
        timestamp: check_timestamp(ts)?,
        is_ephemeral: online,
        is_urgent: urgent,
    };
    if submission.destinations.is_empty() || submission.stored_bytes() > MAX_BYTES {
        return Err(ApiError::invalid("the message has no recipients, or is too long for so many"));
    }
    answer(&service, &caller, service.storage.send_sealed(submission).await?)
}

/// The devices in a list of `ACCOUNT_ID.DEVICE.REVISION`. `None`: it is malformed, or too long.
fn devices_of(list: &str) -> Option<Vec<(Option<AccountId>, LeftOut)>> {
    let names = list.split(',').filter(|name| !name.is_empty());
    let device = |name: &str| {
        let (account, device) = name.split_once('.')?;
        let (device, revision) = device.split_once('.')?;
        let devices = [parse_device(device)?].into();
        Some((Some(account.parse().ok()?), LeftOut { revision: revision.parse().ok()?, devices }))
    };
    let devices: Vec<_> = names.take(MAX_LEFT_OUT + 1).map(device).collect::<Option<_>>()?;
    (devices.len() <= MAX_LEFT_OUT).then_some(devices)
}

fn check_content_type(request: &Request) -> Result<(), ApiError> {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if value.is_some_and(|value| value.eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Ok(());
    }
    let message = "the content type must be application/vnd.signal-messenger.mrm";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_type", message))
}

/// Counts a request, before its body is read.
fn limit(service: &Service, caller: &Caller) -> Result<SealedProof, ApiError> {
    let budget = service.budget();
    match caller {
        Caller::Device(found) => {
            let limit = budget.spend(Action::MessageToMany, found.account.id, 1);
            limit.map_err(ApiError::too_many)?;
            Ok(SealedProof::Device(Box::new(sender(found))))
        }
        Caller::Unidentified(stranger) => {
            service.limit_strangers(stranger)?;
            let spend = |network| budget.spend(Action::MessageToMany, network, 1);
            stranger.network.map_or(Ok(()), spend).map_err(ApiError::too_many)?;
            Ok(SealedProof::Unidentified(*stranger))
        }
    }
}

fn answer(service: &Service, caller: &Caller, sent: SealedSent) -> Result<Response, ApiError> {
    match sent {
        SealedSent::Stored { unknown, full, .. } => {
            count_strangers(service, caller, unknown.len());
            let texts = |ids: Vec<AccountId>| ids.iter().map(ToString::to_string).collect();
            let body = SentToMany { uuids404: texts(unknown), uuids413: texts(full) };
            Ok(Json(body).into_response())
        }
        SealedSent::Mismatched(mismatches) => Ok(mismatched(mismatches)),
        SealedSent::Limited(pause) => Err(ApiError::too_many(pause)),
        SealedSent::NotFound => Err(ApiError::not_found("no such account")),
        SealedSent::RefusedIntraApp => Err(intra_app()),
        SealedSent::QueueFull => Err(ApiError::too_many(QUEUE_FULL_PAUSE)),
        SealedSent::Unauthorized => Err(match caller {
            Caller::Device(_) => ApiError::bad_credentials(),
            Caller::Unidentified(stranger) => service.refuse(stranger),
        }),
        SealedSent::UnknownSender => Err(ApiError::bad_credentials()),
    }
}

/// A list of accounts that do not exist counts as a search in the directory.
fn count_strangers(service: &Service, caller: &Caller, unknown: usize) {
    if let (Caller::Device(found), Ok(amount @ 1..)) = (caller, u32::try_from(unknown)) {
        // If there were too many, the next search is refused.
        let _counted = service.budget().spend(Action::Contact, found.account.id, amount);
    }
}

/// 409 if the list of devices of any account is wrong, and otherwise 410.
fn mismatched(mismatches: Vec<(AccountId, Mismatch)>) -> Response {
    let numbers = |devices: Vec<DeviceId>| devices.into_iter().map(DeviceId::number).collect();
    let (mut wrong, mut stale) = (Vec::new(), Vec::new());
    for (account, mismatch) in mismatches {
        let uuid = account.to_string();
        match mismatch {
            Mismatch::Devices { missing, extra } => {
                let (missing_devices, extra_devices) = (numbers(missing), numbers(extra));
                let devices = MismatchedDevices { missing_devices, extra_devices };
                wrong.push(MismatchedAccount { uuid, devices });
            }
            Mismatch::Stale(devices) => {
                let devices = StaleDevices { stale_devices: numbers(devices) };
                stale.push(StaleAccount { uuid, devices });
            }
        }
    }
    if wrong.is_empty() {
        (StatusCode::GONE, Json(stale)).into_response()
    } else {
        (StatusCode::CONFLICT, Json(wrong)).into_response()
    }
}

const fn yes() -> bool {
    true
}

/// The content type of a message to many.
const MEDIA_TYPE: &str = "application/vnd.signal-messenger.mrm";

/// Maximum number of devices that a message leaves out.
const MAX_LEFT_OUT: usize = 64;

/// Maximum number of bytes that all devices together get: a message is stored once for each of them.
const MAX_BYTES: usize = 32 << 20;
