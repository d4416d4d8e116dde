//! How a device is woken: the ids that push services have assigned.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{Router, put};

use super::Authenticated;
use super::attributes::{Channel, PushRegistration, check_push_id, parse_channel};
use super::json::{Answer, Json, Nothing};
use crate::messaging::context::Service;
use crate::messaging::store::{DeviceColumns, PushId};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new().route("/v1/accounts/{channel}", put(set_push_id).delete(delete_push_id))
}

/// Sets how the device is woken. Clients call the second channel `gcm`, `gms` or `fcm`.
#[utoipa::path(
    put, path = "/v1/accounts/{channel}", tag = "accounts", request_body = PushRegistration, security(("device" = [])),
    params(("channel" = String, Path, description = "`apn`, `gcm`, `gms` or `fcm`")),
    responses(
        (status = 200, description = "done", body = Nothing),
        (status = 401, description = "wrong credentials"),
        (status = 404, description = "unknown channel"),
        (status = 415, description = "the body is malformed"),
        (status = 422, description = "the id is missing or too long"),
    )
)]
pub(super) async fn set_push_id(
    State(service): State<Arc<Service>>,
    Path(channel): Path<String>,
    Authenticated(found): Authenticated,
    Json(registration): Json<PushRegistration>,
) -> Answer<Nothing> {
    let (push, fetches_messages) = match parse_channel(&channel)? {
        Channel::Apn => {
            let id = check_push_id(registration.apn_registration_id)?;
            let voip =
                registration.voip_registration_id.map(Some).map(check_push_id).transpose()?;
            (PushId::Apn { id, voip }, true)
        }
        Channel::Gcm => {
            let id = check_push_id(registration.gcm_registration_id)?;
            (PushId::Gcm(id), registration.web_socket_channel.unwrap_or(true))
        }
    };
    let change = move |device: &mut DeviceColumns| {
        device.push = Some(push.clone());
        device.fetches_messages = fetches_messages;
    };
    service.change_device(&found, change).await
}

/// The device is not woken any more.
#[utoipa::path(
    delete, path = "/v1/accounts/{channel}", tag = "accounts", security(("device" = [])),
    params(("channel" = String, Path, description = "`apn`, `gcm`, `gms` or `fcm`")),
    responses((status = 200, description = "done", body = Nothing), (status = 404, description = "unknown channel"))
)]
pub(super) async fn delete_push_id(
    State(service): State<Arc<Service>>,
    Path(channel): Path<String>,
    Authenticated(found): Authenticated,
) -> Answer<Nothing> {
    let channel = parse_channel(&channel)?;
    let change = move |device: &mut DeviceColumns| {
        device.push = match (channel, device.push.take()) {
            (Channel::Apn, Some(PushId::Apn { .. })) | (Channel::Gcm, Some(PushId::Gcm(_))) => None,
            (_, other) => other,
        };
    };
    service.change_device(&found, change).await
}
