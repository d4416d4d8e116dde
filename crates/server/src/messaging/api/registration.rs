//! Verification codes, and the registration of numbers with them.
//!
//! Whoever asks for codes or guesses them is limited by number and network, so that an attacker elsewhere does not keep
//! the owner of a number from registering.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::routing::{Router, get, put};
use hyper::HeaderMap;
use hyper::StatusCode;
use wormhole_chat::service::{AppName, PhoneNumber};
use wormhole_chat::{AccountId, DeviceId, Timestamp};
use wormhole_kit::network;

use super::attributes::{AccountAttributes, Attributes, Registered, day, parse_code, parse_number};
use super::json::{Json, Nothing};
use super::{ApiError, AppCredentials, ClientAddress, Credentials};
use crate::messaging::codes::Transport;
use crate::messaging::limits::{Action, Budget};
use crate::messaging::secrets;
use crate::messaging::service::Service;
use crate::messaging::store::{
    Account, App, LoginName, NewAccount, NewDevice, PendingCode, Rows, StoreError, VerificationCode,
};

type Answer<T> = Result<Json<T>, ApiError>;

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    // The specification of 2014 has "acccounts" in one place; clients were written after it.
    let confirm = || put(confirm_code);
    Router::new()
        .route("/v1/accounts/{transport}/code/{number}", get(request_code))
        .route("/v1/accounts/code/{code}", confirm())
        .route("/v1/acccounts/code/{code}", confirm())
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
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(ApiError::new(status, "bad_transport", message));
        }
    };
    let number = parse_number(&number)?;
    limit_requests(&service.budget(), transport, &number, address).map_err(ApiError::too_many)?;
    // Goes on if the client leaves: whoever has used up an attempt gets a code.
    let sent = tokio::spawn(async move { service.send_code(transport, number).await });
    sent.await.map_err(|_| StoreError("the request was not executed".into()))??;
    Ok(Json(Nothing {}))
}

fn limit_requests(
    budget: &Budget,
    transport: Transport,
    number: &PhoneNumber,
    address: IpAddr,
) -> Result<(), Duration> {
    if let Some(network) = budget.limits.network(address) {
        budget.spend(Action::CodePerNetwork, network, 1)?;
    }
    let actions = match transport {
        Transport::Sms => [Action::SmsCode, Action::SmsCodePerDay],
        Transport::Voice => [Action::VoiceCode, Action::VoiceCodePerDay],
    };
    actions.into_iter().try_for_each(|action| budget.spend(action, number, 1))
}

impl Service {
    /// Sends a code.
    async fn send_code(&self, transport: Transport, number: PhoneNumber) -> Result<(), ApiError> {
        let (new, recipient) = (VerificationCode(secrets::verification_code()), number.clone());
        let store = move |rows: &mut dyn Rows, now: Timestamp| choose(rows, &number, new, now);
        let code = self.storage.execute(store).await?;
        self.codes.send(transport, &recipient, code).map_err(|_| ApiError::not_sent())
    }
}

/// Chooses the code that is sent. While an earlier one is valid, it is sent again: a stranger who asks for a code does
/// not make the owner's useless, and gets no more attempts to guess one.
fn choose(
    rows: &mut dyn Rows,
    number: &PhoneNumber,
    new: VerificationCode,
    now: Timestamp,
) -> Result<VerificationCode, StoreError> {
    let earlier = rows.pending_code(number)?.filter(|code| code.is_valid(now));
    let new = PendingCode { code: new, sent: now, attempts: 0 };
    let pending = earlier.map_or(new, |earlier| PendingCode { sent: now, ..earlier });
    rows.put_pending_code(number, Some(&pending))?;
    Ok(pending.code)
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
    Extension(ClientAddress(address)): Extension<ClientAddress>,
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
    let guesses = Guesses { budget: service.budget(), address };
    guesses.spend(&number).map_err(ApiError::too_many)?;
    let attributes = attributes.check()?;
    let registration = Registration {
        code: parse_code(&code).map(VerificationCode),
        guesses,
        app: AppCredentials::from_headers(&headers)?,
        default_app: service.settings.default_app.clone(),
        rejects_registered: service.settings.rejects_registered,
        id: secrets::account_id(),
        device: attributes.new_device(DeviceId::PRIMARY, &credentials.password),
        attributes,
        number,
    };
    let register = move |rows: &mut dyn Rows, now: Timestamp| registration.register(rows, now);
    let account = service.storage.execute(register).await??;
    Ok(Json(Registered::new(&account)))
}

/// The limits of those who enter codes.
struct Guesses {
    budget: Budget,
    address: IpAddr,
}

impl Guesses {
    /// Counts an attempt, right or wrong.
    fn spend(&self, number: &PhoneNumber) -> Result<(), Duration> {
        self.budget.spend(Action::ConfirmCode, (number, network(self.address)), 1)
    }

    /// Whether another wrong code would be allowed.
    fn check(&self, number: &PhoneNumber) -> Result<(), Duration> {
        let Budget { limits, now } = &self.budget;
        limits.check(Action::WrongCode, number, *now)?;
        let from_network = (number, network(self.address));
        limits.check(Action::WrongCodeFromNetwork, from_network, *now)?;
        let network = limits.network(self.address);
        network.map_or(Ok(()), |it| limits.check(Action::WrongCodePerNetwork, it, *now))
    }

    /// Counts a wrong code.
    fn count(&self, number: &PhoneNumber) {
        let from_network = (number, network(self.address));
        let counted = [
            self.budget.spend(Action::WrongCode, number, 1),
            self.budget.spend(Action::WrongCodeFromNetwork, from_network, 1),
            self.budget.limits.network(self.address).map_or(Ok(()), |network| {
                self.budget.spend(Action::WrongCodePerNetwork, network, 1)
            }),
        ];
        debug_assert!(counted.iter().all(Result::is_ok), "they were checked before");
    }
}

/// A request to confirm a code.
struct Registration {
    /// `None` if the text is not a code.
    code: Option<VerificationCode>,
    guesses: Guesses,
    number: PhoneNumber,
    app: Option<AppCredentials>,
    default_app: Option<AppName>,
    rejects_registered: bool,
    /// The id of the account if it is new.
    id: AccountId,
    device: NewDevice,
    attributes: Attributes,
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
        if let Err(error) = self.use_code(rows, now)? {
            return Ok(Err(error));
        }
        let accounts = rows.accounts_of(&self.number)?;
        let is_default = accounts.iter().find(|account| account.is_default).is_none_or(|default| {
            u128::from(now.since(default.verified)) > TRUST_IN_NUMBER.as_millis()
        });
        let account = match accounts.into_iter().find(|account| account.app == app.key) {
            Some(_) if self.rejects_registered => return Ok(Err(registered())),
            Some(account) => self.renew(rows, account, is_default, now)?,
            None => rows.insert_account(&NewAccount {
                id: self.id,
                app: app.key,
                number: self.number.clone(),
                is_default,
                is_discoverable: self.attributes.is_discoverable.unwrap_or(true),
                shows_app: self.attributes.shows_app.unwrap_or(false),
                created: now,
            })?,
        };
        let device = NewDevice { created: now, last_seen: day(now), ..self.device.clone() };
        rows.insert_device(account.key, &device)?;
        Ok(Ok(account))
    }

    /// Removes the devices of an account whose number was verified again. What its owner has decided about the
    /// directory stays, unless the request says something else.
    fn renew(
        &self,
        rows: &mut dyn Rows,
        mut account: Account,
        is_default: bool,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        for device in rows.devices(account.key)? {
            rows.delete_device(device.key)?;
        }
        self.attributes.apply_to_account(&mut account);
        account.identity = None;
        account.is_default |= is_default;
        account.verified = now;
        rows.update_account(&account)?;
        Ok(account)
    }

    /// Checks the code. A right one is removed, a wrong one counted.
    fn use_code(
        &self,
        rows: &mut dyn Rows,
        now: Timestamp,
    ) -> Result<Result<(), ApiError>, StoreError> {
        let Some(pending) = rows.pending_code(&self.number)? else { return Ok(Err(bad_code())) };
        if let Err(pause) = self.guesses.check(&self.number) {
            return Ok(Err(ApiError::too_many(pause)));
        }
        if !pending.is_valid(now) {
            return Ok(Err(bad_code()));
        }
        if self.code.is_some_and(|code| code.matches(pending.code)) {
            rows.put_pending_code(&self.number, None)?;
            return Ok(Ok(()));
        }
        self.guesses.count(&self.number);
        let attempts = pending.attempts + 1;
        rows.put_pending_code(&self.number, Some(&PendingCode { attempts, ..pending }))?;
        Ok(Err(bad_code()))
    }
}

impl PendingCode {
    /// Whether the number can be registered with it.
    const fn is_valid(&self, now: Timestamp) -> bool {
        now.since(self.sent) < CODE_LIFE && self.attempts < MAX_ATTEMPTS
    }
}

fn bad_code() -> ApiError {
    let message = "the verification code is wrong, expired or already used";
    ApiError::new(StatusCode::FORBIDDEN, "bad_code", message)
}

fn registered() -> ApiError {
    let message = "the number is already registered";
    ApiError::new(StatusCode::EXPECTATION_FAILED, "registered", message)
}

/// How long a code is valid after it was last sent, in milliseconds.
const CODE_LIFE: u64 = 10 * 60 * 1000;

/// How many wrong codes may be entered before a code is useless.
const MAX_ATTEMPTS: u32 = 10;

/// How long messages to a bare number go to the account that was verified first. A number that is registered in another
/// app later may have another owner by then: operators give numbers to other people after some months.
const TRUST_IN_NUMBER: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
