//! Messages to devices that wait to be linked to an account. (docs/chat-service.md "Linking a device")
//!
//! Such a device opens a WebSocket, gets an address, and shows it to the owner of the account together with a key. The first
//! device sends one message to this address; the server cannot read it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{Router, get, put};
use serde::Deserialize;
use utoipa::ToSchema;
use wormhole_chat::Timestamp;

use super::json::{Answer, Base64, Json, Nothing};
use super::{ApiError, Authenticated, keepalive};
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;
use crate::messaging::store::rules::linking;
use crate::messaging::store::{ProvisioningAddress, Rows};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/provisioning/{address}", put(send))
        .route("/v1/keepalive/provisioning", get(keepalive))
}

/// A message for a device that waits.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct ProvisioningMessage {
    /// Encrypted for the device, at most 16 KiB.
    #[schema(value_type = String)]
    body: Base64,
}

/// Sends the device that waits at an address the message with which it is linked. It gets one.
#[utoipa::path(
    put, path = "/v1/provisioning/{address}", tag = "devices", security(("device" = [])),
    params(("address" = String, Path, description = "the address that the device shows")),
    request_body = ProvisioningMessage,
    responses(
        (status = 200, description = "the device gets the message", body = Nothing),
        (status = 400, description = "the message is too long"),
        (status = 401, description = "wrong credentials"),
        (status = 404, description = "no device waits there"),
        (status = 413, description = "too many messages"),
        (status = 415, description = "the body is malformed"),
    )
)]
pub(super) async fn send(
    State(service): State<Arc<Service>>,
    Path(address): Path<String>,
    Authenticated(found): Authenticated,
    Json(ProvisioningMessage { body: Base64(message) }): Json<ProvisioningMessage>,
) -> Answer<Nothing> {
    let limit = service.budget().spend(Action::Provisioning, found.account.id, 1);
    limit.map_err(ApiError::too_many)?;
    if message.len() > MAX_PROVISIONING_MESSAGE {
        return Err(ApiError::too_large());
    }
    let not_found = || ApiError::not_found("no device waits there");
    let address = ProvisioningAddress::parse(&address).ok_or_else(not_found)?;
    let work = move |rows: &mut dyn Rows, now: Timestamp| {
        linking::send_provisioning(rows, address, &message, now)
    };
    if !service.storage.execute_shared(work).await? {
        return Err(not_found());
    }
    service.sockets.notify_address(address);
    Ok(Json(Nothing {}))
}

/// Longest message, in bytes. Those of clients have less than 1 KiB.
pub(in crate::messaging) const MAX_PROVISIONING_MESSAGE: usize = 16 << 10;
