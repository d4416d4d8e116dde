//! Accounts: verification codes, registration, attributes and push ids.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Path, State};
use axum::routing::{Router, delete, get, put};
use hyper::HeaderMap;
use hyper::StatusCode;
use wormhole_chat::service::{AppName, PhoneNumber};
use wormhole_chat::{AccountId, DeviceId, Timestamp};

use super::attributes::{
    AccountAttributes, Channel, DeviceName, PushRegistration, Registered, check_name,
    check_push_id, day, parse_channel, parse_code, parse_number,
};
use super::json::{Json, Nothing};
use super::{ApiError, AppCredentials, Authenticated, ClientAddress, Credentials, Current};
use crate::messaging::codes::Transport;
use crate::messaging::limits::Action;
use crate::messaging::secrets;
use crate::messaging::service::Service;
use crate::messaging::store::{
    Account, App, Device, Found, LoginName, NewAccount, NewDevice, PendingCode, PushId, Rows,
    StoreError, TokenHash, VerificationCode,
};

type Answer<T> = Result<Json<T>, ApiError>;

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    // The seed has "acccounts" in one place; clients were written after it.
    let confirm = || put(confirm_code);
    Router::new()
        .route("/v1/accounts/{transport}/code/{number}", get(request_code))
        .route("/v1/accounts/code/{code}", confirm())
        .route("/v1/acccounts/code/{code}", confirm())
        .route("/v1/accounts/attributes", put(set_attributes))
        .route("/v1/accounts/signaling_key", delete(delete_signaling_key))
        .route("/v1/accounts/name", put(set_name))
        .route("/v1/accounts/whoami", get(whoami))
        .route("/v1/accounts/me", get(whoami).delete(delete_account))
        .route("/v1/accounts/{channel}", put(set_push_id).delete(delete_push_id))
}

/// Sends a verification code to a number.
#[utoipa::path(
    get, path = "/v1/accounts/{transport}/code/{number}", tag = "accounts",
    params(
        ("transport" = String, Path, description = "`sms` or `voice`"),
        ("number" = String, Path, description = "the phone number, such as +14155550123"),
    ),
    responses(
        (status = 200, description = "the code was sent", body = Nothing),
        (status = 400, description = "the number is malformed"),
        (status = 413, description = "too many codes were requested"),
        (status = 415, description = "the transport is neither `sms` nor `voice`"),
        (status = 503, description = "the database is not available"),
    )
)]
pub(super) async fn request_code(
    State(service): State<Arc<Service>>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Path((transport, number)): Path<(String, String)>,
) -> Answer<Nothing> {
    let transport = match transport.as_str() {
        "sms" => Transport::Sms,
        "voice" => Transport::Voice,
        _ => {
            let message = "the transport must be sms or voice";
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "bad_transport",
                message,
            ));
        }
    };
    let number = parse_number(&number)?;
    let now = Instant::now();
    let limits = &service.limits;
    limits.spend(Action::CodePerAddress, address, 1, now).map_err(ApiError::too_many)?;
    match transport {
        Transport::Sms => limits.spend(Action::SmsCode, &number, 1, now),
        Transport::Voice => limits
            .spend(Action::VoiceCode, &number, 1, now)
            .and_then(|()| limits.spend(Action::VoiceCodePerDay, &number, 1, now)),
    }
    .map_err(ApiError::too_many)?;
    let code = VerificationCode(secrets::verification_code());
    let recipient = number.clone();
    let store = move |rows: &mut dyn Rows, now: Timestamp| {
        let pending = PendingCode { code, sent: now, attempts: 0 };
        rows.put_pending_code(&number, Some(&pending))
    };
    service.storage.execute(store).await?;
    service.codes.send(transport, &recipient, code.0);
    Ok(Json(Nothing {}))
}

/// Registers the number with the code that it received.
#[utoipa::path(
    put, path = "/v1/accounts/code/{code}", tag = "accounts",
    params(("code" = String, Path, description = "the code, six digits with or without a hyphen")),
    request_body = AccountAttributes,
    security(("device" = []), ("device" = [], "app" = [])),
    responses(
        (status = 200, description = "the account exists and has this device", body = Registered),
        (status = 401, description = "the credentials or the app's token are missing or malformed"),
        (status = 403, description = "the code is wrong, expired or used"),
        (status = 413, description = "too many attempts"),
        (status = 415, description = "the body is malformed"),
        (status = 417, description = "the number is registered, and the server does not allow a second registration"),
        (status = 422, description = "an attribute has a value that is not allowed"),
    )
)]
pub(super) async fn confirm_code(
    State(service): State<Arc<Service>>,
    Path(code): Path<String>,
    headers: HeaderMap,
    Json(attributes): Json<AccountAttributes>,
) -> Answer<Registered> {
    let credentials = Credentials::from_headers(&headers).ok_or_else(ApiError::bad_credentials)?;
    let LoginName::Number(number) = credentials.name else {
        return Err(ApiError::bad_credentials());
    };
    if credentials.device != DeviceId::PRIMARY {
        return Err(ApiError::bad_credentials());
    }
    let limit = service.limits.spend(Action::ConfirmCode, &number, 1, Instant::now());
    limit.map_err(ApiError::too_many)?;
    let salt = secrets::random();
    let registration = Registration {
        code: parse_code(&code).map(VerificationCode),
        number,
        app: AppCredentials::from_headers(&headers)?,
        default_app: service.settings.default_app.clone(),
        rejects_registered: service.settings.rejects_registered,
        id: secrets::account_id(),
        is_discoverable: attributes.discoverable_by_phone_number,
        device: attributes.device(TokenHash::of(&salt, credentials.password.as_bytes()), salt)?,
    };
    let register = move |rows: &mut dyn Rows, now: Timestamp| registration.register(rows, now);
    let account = service.storage.execute(register).await??;
    Ok(Json(Registered::new(&account)))
}

/// A request to confirm a code.
struct Registration {
    /// `None` if the text is not a code.
    code: Option<VerificationCode>,
    number: PhoneNumber,
    app: Option<AppCredentials>,
    default_app: Option<AppName>,
    rejects_registered: bool,
    /// The id of the account if it is new.
    id: AccountId,
    device: NewDevice,
    /// Whether others find the account with its number, if the client says so.
    is_discoverable: Option<bool>,
}

impl Registration {
    /// Uses up the code and creates the account, or replaces its devices.
    fn register(
        &self,
        rows: &mut dyn Rows,
        now: Timestamp,
    ) -> Result<Result<Account, ApiError>, StoreError> {
        let name = self.app.as_ref().map(|app| &app.name).or(self.default_app.as_ref());
        let app = name.map(|name| rows.app(name)).transpose()?.flatten();
        let is_allowed = |app: &App| self.app.as_ref().is_none_or(|given| given.match_app(app));
        let Some(app) = app.filter(is_allowed) else { return Ok(Err(ApiError::bad_package())) };
        if !self.use_code(rows, now)? {
            let message = "the verification code is wrong, expired or already used";
            return Ok(Err(ApiError::new(StatusCode::FORBIDDEN, "bad_code", message)));
        }
        let accounts = rows.accounts_of(&self.number)?;
        let account = match accounts.iter().find(|account| account.app == app.key) {
            Some(_) if self.rejects_registered => {
                let message = "the number is already registered";
                return Ok(Err(ApiError::new(
                    StatusCode::EXPECTATION_FAILED,
                    "registered",
                    message,
                )));
            }
            Some(account) => {
                for device in rows.devices(account.key)? {
                    rows.delete_device(device.key)?;
                }
                let is_discoverable = self.is_discoverable.unwrap_or(account.is_discoverable);
                let account =
                    Account { identity: None, is_discoverable, verified: now, ..account.clone() };
                rows.update_account(&account)?;
                account
            }
            None => rows.insert_account(&NewAccount {
                id: self.id,
                app: app.key,
                number: self.number.clone(),
                is_default: accounts.is_empty(),
                is_discoverable: self.is_discoverable.unwrap_or(true),
                shows_app: false,
                created: now,
            })?,
        };
        let device = NewDevice { created: now, last_seen: day(now), ..self.device.clone() };
        rows.insert_device(account.key, &device)?;
        Ok(Ok(account))
    }

    /// Whether the code is right. A right code is removed, a wrong one counted.
    fn use_code(&self, rows: &mut dyn Rows, now: Timestamp) -> Result<bool, StoreError> {
        let Some(mut pending) = rows.pending_code(&self.number)? else { return Ok(false) };
        let is_valid = now.since(pending.sent) < CODE_LIFE && pending.attempts < MAX_ATTEMPTS;
        let matches = self.code.is_some_and(|code| code.matches(pending.code));
        if is_valid && !matches {
            pending.attempts += 1;
            rows.put_pending_code(&self.number, Some(&pending))?;
            return Ok(false);
        }
        rows.put_pending_code(&self.number, None)?;
        Ok(is_valid)
    }
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
    let stored = &found.device.device;
    let changed = attributes.device(stored.password, stored.salt)?;
    if let (DeviceId::PRIMARY, Some(is_discoverable)) =
        (stored.number, attributes.discoverable_by_phone_number)
    {
        let work = move |rows: &mut dyn Rows, Current { account, .. }| {
            rows.update_account(&Account { is_discoverable, ..account }).map(Ok)
        };
        service.execute_for(&found, work).await?;
    }
    let change = move |device: &mut NewDevice| {
        *device = NewDevice {
            number: device.number,
            push: device.push.take(),
            created: device.created,
            last_seen: device.last_seen,
            ..changed.clone()
        };
    };
    service.change_device(&found, change).await
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
pub(super) async fn whoami(Authenticated(found): Authenticated) -> Json<Registered> {
    Json(Registered::new(&found.account))
}

/// Deletes the account with its keys and messages. Only its first device may do that.
#[utoipa::path(
    delete, path = "/v1/accounts/me", tag = "accounts", security(("device" = [])),
    responses(
        (status = 200, description = "the account does not exist any more", body = Nothing),
        (status = 401, description = "wrong credentials, or not the first device"),
    )
)]
pub(super) async fn delete_account(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<Nothing> {
    if found.device.device.number != DeviceId::PRIMARY {
        return Err(ApiError::bad_credentials());
    }
    let work = move |rows: &mut dyn Rows, Current { account, .. }| {
        rows.delete_account(account.key)?;
        // Another account of the number receives what is sent to the bare number.
        let mut others = rows.accounts_of(&account.number)?;
        if let (true, Some(next)) = (account.is_default, others.first_mut()) {
            next.is_default = true;
            rows.update_account(next)?;
        }
        Ok(Ok(Json(Nothing {})))
    };
    service.execute_for(&found, work).await
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
    let change = move |device: &mut NewDevice| {
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
    let change = move |device: &mut NewDevice| {
        device.push = match (channel, device.push.take()) {
            (Channel::Apn, Some(PushId::Apn { .. })) | (Channel::Gcm, Some(PushId::Gcm(_))) => None,
            (_, other) => other,
        };
    };
    service.change_device(&found, change).await
}

impl Service {
    /// Changes a device as it is now: another request may have changed it since this one was authenticated.
    async fn change_device(
        &self,
        found: &Arc<Found>,
        mut change: impl FnMut(&mut NewDevice) + Send + 'static,
    ) -> Answer<Nothing> {
        let work = move |rows: &mut dyn Rows, Current { device, .. }| {
            let Device { key, mut device, .. } = device;
            change(&mut device);
            rows.update_device(key, &device).map(|()| Ok(Json(Nothing {})))
        };
        self.execute_for(found, work).await
    }
}

/// How long a code is valid, in milliseconds.
const CODE_LIFE: u64 = 10 * 60 * 1000;

/// How many wrong codes may be entered before a code is useless.
const MAX_ATTEMPTS: u32 = 5;
