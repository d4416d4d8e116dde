//! The signed list of an account's devices. (docs/chat-service.md "Device list")

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::{AccountId, DeviceList};

use super::json::{Answer, Base64, Json, Nothing, Number};
use super::{ApiError, Authenticated, Current};
use crate::messaging::base64;
use crate::messaging::context::Service;
use crate::messaging::store::rules::device_list::{ListRefusal, replace};
use crate::messaging::store::{Account, Device, ReadRows, Rows, StoredDeviceList, WorkError};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new().route("/v1/devices/list", get(show).put(put))
}

/// A list that replaces another one.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct NewList {
    /// The revision of the list that it replaces; `null` if the account has no list.
    #[schema(value_type = Option<u64>)]
    previous: Option<Number>,
    /// Its own revision, from 1 to 2^53 - 1.
    #[schema(value_type = u64)]
    revision: Number,
    /// The signed list, at most 4096 bytes.
    #[schema(value_type = String)]
    list: Base64,
}

/// The newest list of an account; `null` twice if the account has no list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct NewestList {
    revision: Option<u64>,
    list: Option<String>,
}

/// The newest list of the account that asks, and its devices.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct OwnList {
    #[serde(flatten)]
    newest: NewestList,
    devices: Vec<ExistingDevice>,
}

/// A device that exists.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ExistingDevice {
    id: u8,
    registration_id: u32,
    /// Whether it has published keys.
    has_keys: bool,
}

/// The newest list of the devices of the account, and the devices that exist.
#[utoipa::path(
    get, path = "/v1/devices/list", tag = "devices", security(("device" = [])),
    responses((status = 200, description = "the list", body = OwnList), (status = 401, description = "wrong credentials"))
)]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<OwnList> {
    let read = |rows: &mut dyn ReadRows, account: Account, _: Device| {
        let devices = rows.devices(account.key)?;
        Ok((account.device_list, devices))
    };
    let (list, devices) = service.read_for(&found, read).await?;
    let devices = devices.into_iter().map(|device| ExistingDevice {
        id: device.columns.number.number(),
        registration_id: device.columns.registration_id,
        has_keys: device.has_keys,
    });
    Ok(Json(OwnList { newest: list.as_ref().into(), devices: devices.collect() }))
}

/// Stores a list of the devices of the account, which replaces the one with the revision `previous`. The server reads
/// its revision and account alone: those who get it with the keys of the account check its signature. The same list again is accepted.
#[utoipa::path(
    put, path = "/v1/devices/list", tag = "devices", request_body = NewList, security(("device" = [])),
    responses(
        (status = 200, description = "the list is stored", body = Nothing),
        (status = 401, description = "wrong credentials"),
        (status = 409, description = "the account has another list than `previous`", body = NewestList),
        (status = 413, description = "too many changes"),
        (status = 415, description = "the body is malformed"),
        (status = 422, description = "the list is malformed, too long, or that of another account, or a revision is not allowed or not its own"),
    )
)]
pub(super) async fn put(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    Json(new): Json<NewList>,
) -> Result<Response, ApiError> {
    let (previous, of, list) = new.check()?;
    let work = move |rows: &mut dyn Rows, Current { account, .. }: Current| match replace(
        rows,
        account,
        previous,
        (of, list.clone()),
    ) {
        Ok(()) => Ok(None),
        Err(WorkError::Refused(ListRefusal::Conflict(newest))) => Ok(Some(newest)),
        Err(WorkError::Refused(ListRefusal::OtherAccount)) => {
            Err(WorkError::Refused(ApiError::invalid("the list is that of another account")))
        }
        Err(WorkError::Store(error)) => Err(WorkError::Store(error)),
    };
    Ok(match service.write_for(&found, work).await? {
        None => Json(Nothing {}).into_response(),
        Some(newest) => {
            (StatusCode::CONFLICT, Json(NewestList::from(newest.as_ref()))).into_response()
        }
    })
}

impl NewList {
    /// The revision that it replaces, the account that it names, and the list.
    pub(super) fn check(self) -> Result<(Option<i64>, AccountId, StoredDeviceList), ApiError> {
        let revision = |Number(number): Number| {
            let is_allowed = (1..=DeviceList::MAX_REVISION).contains(&number);
            let number = i64::try_from(number).ok().filter(|_| is_allowed);
            number.ok_or_else(|| ApiError::invalid("a revision is not allowed"))
        };
        let previous = self.previous.map(revision).transpose()?;
        let Base64(list) = self.list;
        if list.is_empty() || list.len() > DeviceList::MAX_BYTES {
            return Err(ApiError::invalid("expected a list of 1 to 4096 bytes"));
        }
        let named = DeviceList::read_unverified(&list)
            .map_err(|_| ApiError::invalid("expected a signed list of devices"))?;
        if named.revision != self.revision.0 {
            return Err(ApiError::invalid("the list has another revision"));
        }
        let stored = StoredDeviceList { revision: revision(self.revision)?, list: list.into() };
        Ok((previous, named.account, stored))
    }
}

impl From<Option<&StoredDeviceList>> for NewestList {
    fn from(list: Option<&StoredDeviceList>) -> Self {
        Self {
            revision: list.map(|list| list.revision.unsigned_abs()),
            list: list.map(|list| base64::encode_key(&list.list)),
        }
    }
}
