//! The devices of an account.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{Router, delete, get};
use serde::Serialize;
use utoipa::ToSchema;
use wormhole_chat::DeviceId;

use super::auth::parse_device;
use super::json::{Json, Nothing};
use super::{ApiError, Authenticated, Current};
use crate::messaging::service::Service;
use crate::messaging::store::{Device, ReadRows, Rows};

type Answer<T> = Result<Json<T>, ApiError>;

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new().route("/v1/devices", get(list)).route("/v1/devices/{device}", delete(remove))
}

/// The devices of an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Devices {
    devices: Vec<ListedDevice>,
}

/// A device of an account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ListedDevice {
    id: u8,
    /// Usually encrypted.
    name: Option<String>,
    /// Milliseconds since 1970.
    created: u64,
    /// The day, in milliseconds since 1970.
    last_seen: u64,
}

impl From<Device> for ListedDevice {
    fn from(Device { device, .. }: Device) -> Self {
        Self {
            id: device.number.number(),
            name: device.name,
            created: device.created.0,
            last_seen: device.last_seen.0,
        }
    }
}

/// The devices of the account that asks.
#[utoipa::path(
    get, path = "/v1/devices", tag = "devices", security(("device" = [])),
    responses((status = 200, description = "the devices", body = Devices), (status = 401, description = "wrong credentials"))
)]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<Devices> {
    let read = |rows: &mut dyn ReadRows, Current { account, .. }| rows.devices(account.key);
    let devices = service.read_for(&found, read).await?;
    Ok(Json(Devices { devices: devices.into_iter().map(ListedDevice::from).collect() }))
}

/// Removes a device with its keys and messages. The first device may remove any other one, and each device itself. The
/// first device is removed together with the account.
#[utoipa::path(
    delete, path = "/v1/devices/{device}", tag = "devices", security(("device" = [])),
    params(("device" = u32, Path, description = "the number of the device")),
    responses(
        (status = 200, description = "the device does not exist any more", body = Nothing),
        (status = 401, description = "wrong credentials, or another device than the first"),
        (status = 403, description = "the first device cannot be removed alone"),
        (status = 404, description = "no such device"),
    )
)]
pub(super) async fn remove(
    State(service): State<Arc<Service>>,
    Path(device): Path<String>,
    Authenticated(found): Authenticated,
) -> Answer<Nothing> {
    let not_found = || ApiError::not_found("no such device");
    let number = parse_device(&device).ok_or_else(not_found)?;
    let own = found.device.device.number;
    if own != DeviceId::PRIMARY && own != number {
        return Err(ApiError::first_device_only());
    }
    if number == DeviceId::PRIMARY {
        let message = "the first device is removed together with the account";
        return Err(ApiError::new(hyper::StatusCode::FORBIDDEN, "first_device", message));
    }
    let work = move |rows: &mut dyn Rows, Current { account, .. }| {
        let devices = rows.devices(account.key)?;
        let Some(device) = devices.iter().find(|it| it.device.number == number) else {
            return Ok(Err(not_found()));
        };
        rows.delete_device(device.key).map(|()| Ok(Json(Nothing {})))
    };
    service.execute_for(&found, work).await
}
