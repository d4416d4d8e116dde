//! Prekeys: published by a device, and taken by others that start a session with it.
//!
//! One path has two shapes of body and answer. That of clients of 2014 has unsigned keys and a key of last resort;
//! later clients sign one key and may add post-quantum keys. An answer has both shapes, so each client finds its own.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{Router, get, put};
use wormhole_chat::DeviceId;
use wormhole_chat::service::Destination;

use super::auth::parse_device;
use super::caller::Caller;
use super::json::{Answer, Json, Nothing};
use super::key_json::{Bundles, KeyCount, PublishedKeys, SignedKeyJson, identity_of};
use super::{ApiError, Authenticated, Current};
use crate::messaging::context::Service;
use crate::messaging::store::rules::keys::{self as rules, KeysRefusal};
use crate::messaging::store::{
    Account, Asker, BundleReply, BundleRequest, Device, KeySet, ReadRows, Requester, Rows,
    WorkError,
};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v2/keys", put(publish).get(count))
        .route("/v2/keys/signed", put(publish_signed).get(signed))
        .route("/v2/keys/{destination}", get(take_of_primary))
        .route("/v2/keys/{destination}/{device}", get(take))
}

/// Publishes the keys of a device. The one-time keys of each kind in the body replace those published earlier.
#[utoipa::path(
    put, path = "/v2/keys", tag = "keys", request_body = PublishedKeys, security(("device" = [])),
    responses(
        (status = 200, description = "the keys are published", body = Nothing),
        (status = 401, description = "wrong credentials"),
        (status = 415, description = "the body is malformed"),
        (status = 422, description = "a key or a signature is invalid"),
    )
)]
pub(super) async fn publish(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    Json(published): Json<PublishedKeys>,
) -> Answer<Nothing> {
    // Checking two hundred keys takes long, also if one of them is invalid.
    service.limit_writes(&found)?;
    let identity = published.identity()?;
    let keys = published.check(&identity)?;
    let identity = identity.encode().to_vec();
    let work = move |rows: &mut dyn Rows, Current { account, device, .. }| {
        rules::publish(rows, account, &device, &identity, &keys).map_err(WorkError::into)?;
        Ok(Json(Nothing {}))
    };
    service.execute_for(&found, work).await
}

/// How many one-time keys are left.
#[utoipa::path(
    get, path = "/v2/keys", tag = "keys", security(("device" = [])),
    responses((status = 200, description = "the numbers", body = KeyCount), (status = 401, description = "wrong credentials"))
)]
pub(super) async fn count(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<KeyCount> {
    let read = |rows: &mut dyn ReadRows, _: Account, device: Device| rows.count_keys(device.key);
    let [count, pq_count] = service.read_for(&found, read).await?;
    Ok(Json(KeyCount { count, pq_count }))
}

/// Replaces the signed prekey.
#[utoipa::path(
    put, path = "/v2/keys/signed", tag = "keys", request_body = SignedKeyJson, security(("device" = [])),
    responses(
        (status = 200, description = "the key is published", body = Nothing),
        (status = 422, description = "the account has no identity key yet, or the signature is invalid"),
    )
)]
pub(super) async fn publish_signed(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    Json(key): Json<SignedKeyJson>,
) -> Answer<Nothing> {
    service.limit_writes(&found)?;
    // A WebSocket may be older than the identity key.
    let read = |_: &mut dyn ReadRows, account: Account, _: Device| Ok(account.identity);
    let encoded = service.read_for(&found, read).await?;
    let identity = encoded.as_deref().and_then(identity_of);
    let identity = identity.ok_or_else(|| ApiError::invalid("publish an identity key first"))?;
    let keys = KeySet { signed: Some(key.check_curve(&identity)?), ..KeySet::default() };
    let work = move |rows: &mut dyn Rows, Current { account, device, .. }| {
        let published = rules::publish_checked(rows, &account, &device, encoded.as_deref(), &keys);
        published.map_err(WorkError::into)?;
        Ok(Json(Nothing {}))
    };
    service.execute_for(&found, work).await
}

/// The signed prekey of the device that asks.
#[utoipa::path(
    get, path = "/v2/keys/signed", tag = "keys", security(("device" = [])),
    responses((status = 200, description = "the key", body = SignedKeyJson), (status = 404, description = "the device has no signed prekey"))
)]
pub(super) async fn signed(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<SignedKeyJson> {
    let read = |rows: &mut dyn ReadRows, _: Account, device: Device| rows.signed_key(device.key);
    let key = service.read_for(&found, read).await?;
    let key = key.ok_or_else(|| ApiError::not_found("no signed prekey is published"))?;
    Ok(Json(SignedKeyJson::from(&key)))
}

/// The keys of an account's primary device.
pub(super) async fn take_of_primary(
    state: State<Arc<Service>>,
    caller: Caller,
    Path(destination): Path<String>,
) -> Answer<Bundles> {
    take(state, caller, Path((destination, DeviceId::PRIMARY.number().to_string()))).await
}

/// Takes keys with which sessions with an account's devices can be started.
#[utoipa::path(
    get, path = "/v2/keys/{destination}/{device}", tag = "keys", security(("device" = []), ("access" = [])),
    params(
        ("destination" = String, Path, description = "an account id, a phone number, or NUMBER@APP"),
        ("device" = String, Path, description = "the number of a device, or `*` for all"),
    ),
    responses(
        (status = 200, description = "the keys", body = Bundles),
        (status = 400, description = "the destination is malformed"),
        (status = 401, description = "wrong credentials, or with an access key: it is wrong, or there is no such account"),
        (status = 404, description = "no such account, or no such device with keys"),
        (status = 413, description = "keys of this device were requested too often"),
    )
)]
pub(super) async fn take(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path((destination, device)): Path<(String, String)>,
) -> Answer<Bundles> {
    let destination: Destination = destination.parse().map_err(ApiError::bad_destination)?;
    let not_found = || ApiError::not_found("no such account, or no such device with keys");
    let device = match device.as_str() {
        "*" => None,
        number => Some(parse_device(number).ok_or_else(not_found)?),
    };
    let asker = match &caller {
        Caller::Device(found) => {
            Asker::Device(Requester { account: found.account.key, device: found.device.key })
        }
        Caller::Unidentified(stranger) => {
            service.admit(stranger, &destination).await?;
            Asker::Unidentified(*stranger)
        }
    };
    let request = BundleRequest { asker, destination, device };
    match service.storage.take_bundle(request).await? {
        BundleReply::Bundle(bundle) => Bundles::new(&bundle).map(Json).ok_or_else(not_found),
        BundleReply::Limited(pause) => Err(ApiError::too_many(pause)),
        BundleReply::NotFound => Err(match &caller {
            Caller::Device(found) => service.count_stranger(found, not_found()),
            Caller::Unidentified(_) => not_found(),
        }),
        BundleReply::Unauthorized | BundleReply::UnknownRequester => {
            Err(ApiError::bad_credentials())
        }
    }
}

impl From<KeysRefusal> for ApiError {
    fn from(refusal: KeysRefusal) -> Self {
        Self::invalid(match refusal {
            KeysRefusal::IdentityChanged => "the identity key has just changed",
            KeysRefusal::OtherIdentity => "the identity key is not that of the account",
        })
    }
}
