//! Messages: sent to all devices of an account, fetched and acknowledged by each device.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::{Router, delete, get, put};
use hyper::StatusCode;
use wormhole_chat::service::{Destination, Mismatch};
use wormhole_chat::{DeviceId, Envelope, Timestamp};

use super::caller::Caller;
use super::json::{Answer, Json, Nothing};
use super::message_json::{
    MismatchedDevices, Queue, QueuedMessage, SentJson, StaleDevices, Submitted,
};
use super::{ApiError, Authenticated};
use crate::messaging::context::Service;
use crate::messaging::request_memory::RequestMemory;
use crate::messaging::store::{
    Acknowledgement, DeviceKey, Found, MessageName, PageRequest, QueueDelivery, SealedMessages,
    SealedProof, SealedSent, SealedSubmission, Sender, Sent, Submission, UnidentifiedCaller,
};
use wormhole_http::Response;

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/messages", get(fetch))
        .route("/v1/messages/{destination}", put(send))
        .route("/v1/messages/uuid/{guid}", delete(acknowledge_guid))
        .route("/v1/messages/{source}/{timestamp}", delete(acknowledge_sent))
}

/// Sends a message to all devices of an account, or to none. With an access key instead of credentials, the server does not
/// learn who sends it.
#[utoipa::path(
    put, path = "/v1/messages/{destination}", tag = "messages", request_body = Submitted, security(("device" = []), ("access" = [])),
    params(("destination" = String, Path, description = "an account id, a phone number, or NUMBER@APP")),
    responses(
        (status = 200, description = "the message is stored", body = SentJson),
        (status = 400, description = "the destination is malformed"),
        (status = 401, description = "wrong credentials, or with an access key: it is wrong, or there is no such account"),
        (status = 403, description = "the app delivers messages between its own users itself"),
        (status = 404, description = "no such account, or it has no device with keys"),
        (status = 409, description = "the devices are not those of the account", body = MismatchedDevices),
        (status = 410, description = "devices were registered again", body = StaleDevices),
        (status = 413, description = "too many messages"),
        (status = 415, description = "the body is malformed"),
        (status = 422, description = "a value is not allowed"),
    )
)]
pub(super) async fn send(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(destination): Path<String>,
    Json(submitted): Json<Submitted>,
) -> Result<Response, ApiError> {
    let destination: Destination = destination.parse().map_err(ApiError::bad_destination)?;
    if submitted.names_relay() {
        return Err(ApiError::not_found("this server does not forward messages to other servers"));
    }
    let found = match caller {
        Caller::Device(found) => found,
        Caller::Unidentified(stranger) => {
            return send_sealed(&service, stranger, destination, &submitted).await;
        }
    };
    let messages = submitted.messages(false)?;
    let submission = Submission {
        sender: sender(&found),
        destination,
        timestamp: submitted.timestamp()?,
        messages,
        is_partial: submitted.partial,
        left_out: submitted.left_out(),
        is_ephemeral: submitted.online,
        is_urgent: submitted.urgent,
        accepts_answers: submitted.accept,
    };
    let sent = service.storage.send(submission).await?;
    answer(sent).map_err(|error| service.count_stranger(&found, error))
}

/// Sends a message of a client that shows an access key.
async fn send_sealed(
    service: &Service,
    stranger: UnidentifiedCaller,
    destination: Destination,
    submitted: &Submitted,
) -> Result<Response, ApiError> {
    let submission = SealedSubmission {
        proof: SealedProof::Unidentified(stranger),
        destinations: vec![destination],
        messages: SealedMessages::One(submitted.messages(true)?),
        left_out: submitted.left_out().into_iter().map(|it| (None, it)).collect(),
        timestamp: submitted.timestamp()?,
        is_ephemeral: submitted.online,
        is_urgent: submitted.urgent,
    };
    for destination in &submission.destinations {
        service.admit(&stranger, destination).await?;
    }
    match service.storage.send_sealed(submission).await? {
        SealedSent::Stored { devices, .. } => answer(Sent::Stored { needs_sync: false, devices }),
        SealedSent::Mismatched(mismatches) => {
            let mismatch = mismatches.into_iter().next().map(|(_, mismatch)| mismatch);
            answer(mismatch.map_or(Sent::NotFound, Sent::Mismatched))
        }
        SealedSent::Limited(pause) => answer(Sent::Limited(pause)),
        SealedSent::NotFound => answer(Sent::NotFound),
        SealedSent::RefusedIntraApp => answer(Sent::RefusedIntraApp),
        SealedSent::QueueFull => answer(Sent::QueueFull),
        // The key was changed, or the account removed, since the client was admitted.
        SealedSent::Unauthorized | SealedSent::UnknownSender => Err(ApiError::bad_credentials()),
    }
}

pub(super) fn sender(found: &Found) -> Sender {
    Sender {
        account: found.account.clone(),
        device_key: found.device.key,
        device: found.device.columns.number,
        app: found.app.clone(),
    }
}

fn answer(sent: Sent) -> Result<Response, ApiError> {
    let numbers = |devices: Vec<DeviceId>| devices.into_iter().map(DeviceId::number).collect();
    match sent {
        Sent::Stored { needs_sync, .. } => Ok(Json(SentJson { needs_sync }).into_response()),
        Sent::Mismatched(Mismatch::Devices { missing, extra }) => {
            let body = MismatchedDevices {
                missing_devices: numbers(missing),
                extra_devices: numbers(extra),
            };
            Ok((StatusCode::CONFLICT, Json(body)).into_response())
        }
        Sent::Mismatched(Mismatch::Stale(devices)) => {
            let body = StaleDevices { stale_devices: numbers(devices) };
            Ok((StatusCode::GONE, Json(body)).into_response())
        }
        Sent::Limited(pause) => Err(ApiError::too_many(pause)),
        Sent::NotFound => Err(ApiError::not_found(
            "no such account, or it has no device that can receive messages",
        )),
        Sent::RefusedIntraApp => Err(intra_app()),
        Sent::QueueFull => Err(ApiError::too_many(QUEUE_FULL_PAUSE)),
        Sent::UnknownSender => Err(ApiError::bad_credentials()),
    }
}

/// The next messages of the device's queue. They stay there until they are acknowledged.
#[utoipa::path(
    get, path = "/v1/messages", tag = "messages", security(("device" = [])),
    responses(
        (status = 200, description = "the oldest messages", body = Queue),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "another request of this device is not answered yet"),
    )
)]
pub(super) async fn fetch(
    State(service): State<Arc<Service>>,
    Extension(memory): Extension<RequestMemory>,
    Authenticated(found): Authenticated,
) -> Answer<Queue> {
    memory.resize(PAGE_MEMORY)?;
    let _turn = service.fetching.begin(found.device.key)?;
    let request = PageRequest {
        device: found.device.key,
        after: i64::MIN,
        max_messages: MAX_PAGE_MESSAGES,
        max_bytes: MAX_PAGE_BYTES,
    };
    let delivery = service.storage.messages(request).await?;
    let QueueDelivery { page, .. } = delivery.ok_or_else(ApiError::bad_credentials)?;
    let (mut messages, more) = (Vec::new(), page.has_more);
    for (position, bytes) in page.messages {
        match Envelope::decode(&bytes) {
            Ok(envelope) => messages.push(QueuedMessage::from(envelope)),
            Err(error) => {
                // It would stay the first of the queue indefinitely.
                tracing::error!(%error, "a stored envelope cannot be read, and is removed");
                acknowledge(&service, &found, MessageName::Position(position)).await?;
            }
        }
    }
    Ok(Json(Queue { messages, more }))
}

/// Removes a message from the device's queue.
#[utoipa::path(
    delete, path = "/v1/messages/uuid/{guid}", tag = "messages", security(("device" = [])),
    params(("guid" = String, Path, description = "the `guid` of the message")),
    responses((status = 200, description = "the message is not in the queue any more", body = Nothing), (status = 400, description = "malformed guid"))
)]
pub(super) async fn acknowledge_guid(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    Path(guid): Path<String>,
) -> Answer<Nothing> {
    let guid: wormhole_chat::AccountId = guid.parse().map_err(|_| bad_request("malformed guid"))?;
    acknowledge(&service, &found, MessageName::Guid(*guid.as_bytes())).await
}

/// Removes a message from the device's queue.
#[utoipa::path(
    delete, path = "/v1/messages/{source}/{timestamp}", tag = "messages", security(("device" = [])),
    params(
        ("source" = String, Path, description = "the number or the account id of the sender"),
        ("timestamp" = u64, Path, description = "the `timestamp` of the message"),
    ),
    responses((status = 200, description = "the message is not in the queue any more", body = Nothing), (status = 400, description = "malformed timestamp"))
)]
pub(super) async fn acknowledge_sent(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    Path((source, timestamp)): Path<(String, String)>,
) -> Answer<Nothing> {
    let timestamp = timestamp.parse().map_err(|_| bad_request("malformed timestamp"))?;
    acknowledge(&service, &found, MessageName::Sent(source, Timestamp(timestamp))).await
}

async fn acknowledge(service: &Service, found: &Found, message: MessageName) -> Answer<Nothing> {
    let acknowledgement = Acknowledgement { device: found.device.key, message };
    service.storage.acknowledge(acknowledgement).await?;
    Ok(Json(Nothing {}))
}

/// Devices whose queues are being fetched over HTTP, each once: an answer may have half a mebibyte.
#[derive(Debug, Default)]
pub(in crate::messaging) struct Fetching(Mutex<HashSet<DeviceKey>>);

/// Ends the fetching when it is dropped.
struct Fetch<'a>(&'a Fetching, DeviceKey);

impl Fetching {
    fn begin(&self, device: DeviceKey) -> Result<Fetch<'_>, ApiError> {
        let is_first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(device);
        is_first.then(|| Fetch(self, device)).ok_or_else(|| ApiError::too_many(FETCH_PAUSE))
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        let Self(Fetching(devices), device) = self;
        devices.lock().unwrap_or_else(PoisonError::into_inner).remove(device);
    }
}

/// The app of sender and recipient delivers this message itself.
pub(super) fn intra_app() -> ApiError {
    let message = "this app delivers messages between its own users itself";
    ApiError::new(StatusCode::FORBIDDEN, "intra_app", message)
}

fn bad_request(message: &'static str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

/// When a sender may try again after the recipient's queue was full.
pub(super) const QUEUE_FULL_PAUSE: std::time::Duration = std::time::Duration::from_secs(60);

/// When a device may fetch its messages again while another request does it.
const FETCH_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// Maximum number of messages in one answer.
const MAX_PAGE_MESSAGES: u32 = 100;

/// Bytes of envelopes after which an answer ends. As JSON, it must fit into a frame of a WebSocket.
const MAX_PAGE_BYTES: usize = 512 << 10;

/// Memory for an answer, in bytes.
const PAGE_MEMORY: usize = 1 << 20;
