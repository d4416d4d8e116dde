//! Accounts: attributes, and their end.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{Router, delete, get, put};
use wormhole_chat::DeviceId;

use super::attributes::{AccountAttributes, DeviceName, Registered, check_name};
use super::json::{Answer, Json, Nothing};
use super::{ApiError, Authenticated, Current};
use crate::messaging::context::Service;
use crate::messaging::store::rules::registration;
use crate::messaging::store::{Account, Device, DeviceColumns, Found, ReadRows, Rows};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/accounts/attributes", put(set_attributes))
        .route("/v1/accounts/signaling_key", delete(delete_signaling_key))
        .route("/v1/accounts/name", put(set_name))
        .route("/v1/accounts/whoami", get(whoami))
        .route("/v1/accounts/me", get(whoami).delete(delete_account))
}

/// Changes the attributes of a device.
#[utoipa::path(
    put, path = "/v1/accounts/attributes", tag = "accounts",
    request_body = AccountAttributes, security(("device" = [])),
    responses(
        (status = 200, description = "done", body = Nothing),
        (status = 401, description = "wrong credentials"),
        (status = 415, description = "the body is malformed"),
        (status = 422, description = "an attribute has a value that is not allowed"),
    )
)]
pub(super) async fn set_attributes(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    Json(attributes): Json<AccountAttributes>,
) -> Answer<Nothing> {
    let attributes = attributes.check()?;
    let work = move |rows: &mut dyn Rows, current: Current| {
        let Current { mut account, device: Device { key, columns: mut device, .. }, .. } = current;
        let is_primary = device.number == DeviceId::PRIMARY;
        let mut is_changed = is_primary && attributes.directory.apply_to(&mut account);
        // All devices have the profile key from which the access key is derived.
        is_changed |= attributes.access.apply_to(&mut account.access);
        if is_changed {
            rows.update_account(&account)?;
        }
        attributes.apply_to_device(&mut device);
        rows.update_device(key, &device)?;
        Ok(Json(Nothing {}))
    };
    service.write_for(&found, work).await
}

/// From now on, envelopes for this device are not encrypted with its signaling key.
#[utoipa::path(
    delete, path = "/v1/accounts/signaling_key", tag = "accounts", security(("device" = [])),
    responses((status = 200, description = "done", body = Nothing), (status = 401, description = "wrong credentials"))
)]
pub(super) async fn delete_signaling_key(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<Nothing> {
    service.change_device(&found, |device| device.signaling_key = None).await
}

/// Sets the name of the device, which its owner has encrypted.
#[utoipa::path(
    put, path = "/v1/accounts/name", tag = "accounts", request_body = DeviceName, security(("device" = [])),
    responses((status = 200, description = "done", body = Nothing), (status = 422, description = "the name is too long"))
)]
pub(super) async fn set_name(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    Json(DeviceName { device_name }): Json<DeviceName>,
) -> Answer<Nothing> {
    let name = check_name(device_name)?;
    service.change_device(&found, move |device| device.name = Some(name.clone())).await
}

/// The account of the device that asks.
#[utoipa::path(
    get, path = "/v1/accounts/whoami", tag = "accounts", security(("device" = [])),
    responses((status = 200, description = "the account", body = Registered), (status = 401, description = "wrong credentials"))
)]
pub(super) async fn whoami(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<Registered> {
    let read = |rows: &mut dyn ReadRows, account: Account, _: Device| {
        let username = rows.username(account.key)?;
        Ok(Registered::new(&account, username.as_ref()))
    };
    Ok(Json(service.read_for(&found, read).await?))
}

/// Deletes the account with its keys and messages. Only its primary device may do that.
#[utoipa::path(
    delete, path = "/v1/accounts/me", tag = "accounts", security(("device" = [])),
    responses(
        (status = 200, description = "the account does not exist any more", body = Nothing),
        (status = 401, description = "wrong credentials, or not the primary device"),
    )
)]
pub(super) async fn delete_account(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<Nothing> {
    if found.device.columns.number != DeviceId::PRIMARY {
        return Err(ApiError::primary_device_only());
    }
    let work = move |rows: &mut dyn Rows, Current { account, .. }| {
        registration::delete_account(rows, &account)?;
        Ok(Json(Nothing {}))
    };
    service.execute_for(&found, work).await
}

impl Service {
    /// Changes a device as it is now: another request may have changed it since this one was authenticated.
    pub(super) async fn change_device(
        &self,
        found: &Arc<Found>,
        mut change: impl FnMut(&mut DeviceColumns) + Send + 'static,
    ) -> Answer<Nothing> {
        let work = move |rows: &mut dyn Rows, Current { device, .. }| {
            let Device { key, columns: mut device, .. } = device;
            change(&mut device);
            rows.update_device(key, &device)?;
            Ok(Json(Nothing {}))
        };
        self.write_for(found, work).await
    }
}
