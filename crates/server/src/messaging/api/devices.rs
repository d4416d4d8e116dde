//! The devices of an account, and codes with which others are linked to it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Path, State};
use axum::routing::{Router, get, put};
use data_encoding::HEXLOWER;
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use wormhole_chat::{DeviceId, Timestamp};

use super::attributes::AccountAttributes;
use super::auth::parse_device;
use super::json::{Answer, Json, Nothing};
use super::{ApiError, Authenticated, ClientAddress, Credentials, Current};
use crate::messaging::context::Service;
use crate::messaging::login_attempt::{LoginAttempt, remember_new_device};
use crate::messaging::random;
use crate::messaging::rate_limits::Action;
use crate::messaging::store::rules::linking::{self, Evidence, Link, LinkRefusal, LinkedDevice};
use crate::messaging::store::{Account, Device, ReadRows, Rows, TokenHash, WorkError};
use crate::messaging::store_thread::unix_now;

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/devices", get(list))
        .route("/v1/devices/provisioning/code", get(request_code))
        // A code for `PUT`, a number for `DELETE`.
        .route("/v1/devices/{device}", put(link).delete(remove))
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

/// A code for another device.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceCode {
    verification_code: String,
}

/// A device that was linked.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Linked {
    device_id: u8,
    /// The id of the account.
    uuid: String,
}

impl From<Device> for ListedDevice {
    fn from(Device { columns: device, .. }: Device) -> Self {
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
    let read = |rows: &mut dyn ReadRows, account: Account, _: Device| rows.devices(account.key);
    let devices = service.read_for(&found, read).await?;
    Ok(Json(Devices { devices: devices.into_iter().map(ListedDevice::from).collect() }))
}

/// Requests a code with which another device can be linked to the account. It replaces an earlier one. Only the primary device
/// may do that.
#[utoipa::path(
    get, path = "/v1/devices/provisioning/code", tag = "devices", security(("device" = [])),
    responses(
        (status = 200, description = "the code, which is valid once and for 10 minutes", body = DeviceCode),
        (status = 401, description = "wrong credentials, or not the primary device"),
        (status = 411, description = "the account has as many devices as it may have"),
        (status = 413, description = "too many codes"),
    )
)]
pub(super) async fn request_code(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<DeviceCode> {
    if found.device.columns.number != DeviceId::PRIMARY {
        return Err(ApiError::primary_device_only());
    }
    let limit = service.budget().spend(Action::AllocateDevice, found.account.id, 1);
    limit.map_err(ApiError::too_many)?;
    let code = HEXLOWER.encode(&random::bytes::<16>());
    let hash = TokenHash::of(&[], code.as_bytes());
    let work = move |rows: &mut dyn Rows, Current { account, now, .. }| {
        linking::put_code(rows, &account, hash, now).map_err(WorkError::into)
    };
    service.execute_for(&found, work).await?;
    Ok(Json(DeviceCode { verification_code: code }))
}

/// Links the device that sends this to an account, with the code that the primary device has got. The credentials are those of
/// the new device: the number or the account id without `.DEVICE`, and a new random password. If the answer was lost, the same
/// request gets it again.
#[utoipa::path(
    put, path = "/v1/devices/{device}", tag = "devices",
    params(("device" = String, Path, description = "the code, as the primary device got it")),
    request_body = AccountAttributes,
    security(("device" = []), ("device" = [], "app" = [])),
    responses(
        (status = 200, description = "the device is linked", body = Linked),
        (status = 401, description = "the credentials or the app's token are missing or malformed"),
        (status = 403, description = "the code is wrong, expired or used, or there is no such account"),
        (status = 411, description = "the account has as many devices as it may have"),
        (status = 413, description = "too many attempts"),
        (status = 415, description = "the body is malformed"),
        (status = 422, description = "an attribute has a value that is not allowed"),
    )
)]
pub(super) async fn link(
    State(service): State<Arc<Service>>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Path(code): Path<String>,
    headers: HeaderMap,
    Json(attributes): Json<AccountAttributes>,
) -> Answer<Linked> {
    let credentials = Credentials::from_headers(&headers).ok_or_else(ApiError::bad_credentials)?;
    let Credentials { name, device: DeviceId::PRIMARY, password } = &credentials else {
        return Err(ApiError::bad_credentials());
    };
    let attributes = attributes.check()?;
    let link = Link {
        code: TokenHash::of(&[], code.as_bytes()),
        name: name.clone(),
        app: service.claimed_app(&headers)?,
        device: attributes.new_device(DeviceId::PRIMARY, password),
        password: password.clone(),
    };
    let linked = service.link(Arc::new(link), &credentials, address).await?;
    let LinkedDevice { account, number } = linked;
    remember_new_device(&service.limits, &account, number, password, address);
    Ok(Json(Linked { device_id: number.number(), uuid: account.id.to_string() }))
}

impl Service {
    /// Links a device. A right code is never refused, however many wrong ones others have entered. A wrong one is found out
    /// without a transaction that others wait for.
    async fn link(
        &self,
        link: Arc<Link>,
        credentials: &Credentials,
        address: IpAddr,
    ) -> Result<LinkedDevice, ApiError> {
        let reader = Arc::clone(&link);
        let find = move |rows: &mut dyn ReadRows| match reader.find(rows, unix_now()) {
            Ok((_, evidence)) => Ok(Ok(evidence)),
            Err(WorkError::Refused(refusal)) => Ok(Err(refusal)),
            Err(WorkError::Store(error)) => Err(error),
        };
        let found = self.storage.read(find).await?;
        if found != Ok(Evidence::Code) {
            self.limit_guess(found, credentials, address)?;
        }
        let work = move |rows: &mut dyn Rows, now: Timestamp| link.link(rows, now);
        Ok(self.storage.decide(work).await?)
    }

    /// Limits attempts without a right code: each may be a guess of the password of a linked device. So if there were too many,
    /// the answer is the same for a right password.
    ///
    /// # Errors
    /// The attempt is refused, or there were too many.
    fn limit_guess(
        &self,
        found: Result<Evidence, LinkRefusal>,
        credentials: &Credentials,
        address: IpAddr,
    ) -> Result<(), ApiError> {
        let now = Instant::now();
        let attempt = LoginAttempt::new(&self.limits, credentials, address, now);
        attempt.check().map_err(ApiError::too_many)?;
        let limit = match found {
            Ok(_) => self.limits.check_network(Action::LinkDevice, address, now),
            Err(_) => self.limits.spend_of_network(Action::LinkDevice, address, 1, now),
        };
        limit.map_err(ApiError::too_many)?;
        if let Err(refusal) = found {
            attempt.failed();
            return Err(refusal.into());
        }
        Ok(())
    }
}

/// Removes a device with its keys and messages. The primary device may remove any other one, and each device itself. The
/// primary device is removed together with the account.
#[utoipa::path(
    delete, path = "/v1/devices/{device}", tag = "devices", security(("device" = [])),
    params(("device" = u32, Path, description = "the number of the device")),
    responses(
        (status = 200, description = "the device does not exist any more", body = Nothing),
        (status = 401, description = "wrong credentials, or another device than the first"),
        (status = 403, description = "the primary device cannot be removed alone"),
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
    let own = found.device.columns.number;
    if own != DeviceId::PRIMARY && own != number {
        return Err(ApiError::primary_device_only());
    }
    if number == DeviceId::PRIMARY {
        let message = "the primary device is removed together with the account";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "primary_device", message));
    }
    let work = move |rows: &mut dyn Rows, Current { account, .. }| {
        linking::remove_device(rows, &account, number).map_err(WorkError::into)?;
        Ok(Json(Nothing {}))
    };
    service.execute_for(&found, work).await
}

impl From<LinkRefusal> for ApiError {
    fn from(refusal: LinkRefusal) -> Self {
        match refusal {
            LinkRefusal::NoSuchDevice => Self::not_found("no such device"),
            LinkRefusal::TooManyDevices => {
                let message = "the account has as many devices as it may have";
                Self::new(StatusCode::LENGTH_REQUIRED, "too_many_devices", message)
            }
            LinkRefusal::WrongApp => Self::bad_package(),
            LinkRefusal::WrongCode => Self::wrong_code(),
        }
    }
}
