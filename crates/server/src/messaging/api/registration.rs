//! Verification codes, and the registration of numbers with them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::routing::{Router, get, put};
use hyper::HeaderMap;
use hyper::StatusCode;
use wormhole_chat::{DeviceId, Timestamp};

use super::attributes::{AccountAttributes, Registered, parse_code, parse_number};
use super::json::{Answer, Json, Nothing};
use super::{ApiError, ClientAddress, Credentials};
use crate::messaging::code_requests::{CodeRequest, Permission};
use crate::messaging::codes::Transport;
use crate::messaging::context::Service;
use crate::messaging::login_attempt::remember_new_device;
use crate::messaging::random;
use crate::messaging::rate_limits::Action;
use crate::messaging::store::rules::codes::Guesses;
use crate::messaging::store::rules::registration::{
    ChosenCode, Registration, RegistrationRefusal, choose_code,
};
use crate::messaging::store::{LoginName, Rows, StoreError, VerificationCode};

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
        (status = 200, description = "the code was sent, now or within the last ten minutes", body = Nothing),
        (status = 400, description = "the number is malformed"),
        (status = 401, description = "the app's name or token is missing or wrong"),
        (status = 413, description = "too many codes were requested"),
        (status = 415, description = "the transport is neither `sms` nor `voice`"),
        (status = 503, description = "the database is not available"),
    )
)]
pub(super) async fn request_code(
    State(service): State<Arc<Service>>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Path((transport, number)): Path<(String, String)>,
    headers: HeaderMap,
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
    let (number, app) = (parse_number(&number)?, service.claimed_app(&headers)?);
    let request = CodeRequest { transport, number, client: address };
    request.count_for_network(&service.budget()).map_err(ApiError::too_many)?;
    // A code costs the operator money, and could not be used. Nor does such a request use up the codes of the number.
    let app = service.storage.read(move |rows| app.find(rows)).await?;
    app.ok_or_else(ApiError::bad_package)?;
    let permission = request.permit(&service.budget()).map_err(ApiError::too_many)?;
    // Continues if the client disconnects: a used-up attempt always sends a code.
    let sent = tokio::spawn(async move { service.send_code(request, permission).await });
    sent.await.map_err(|_| StoreError::NotExecuted)??;
    Ok(Json(Nothing {}))
}

impl Service {
    /// Sends a code, unless the last one suffices.
    async fn send_code(
        &self,
        request: CodeRequest,
        permission: Permission,
    ) -> Result<(), ApiError> {
        let sent = self.choose_and_send(&request, permission).await;
        sent.inspect_err(|_| request.not_sent(&self.limits))
    }

    async fn choose_and_send(
        &self,
        request: &CodeRequest,
        permission: Permission,
    ) -> Result<(), ApiError> {
        let (new, asker) = (VerificationCode(random::verification_code()), request.client);
        let number = request.number.clone();
        let store =
            move |rows: &mut dyn Rows, now: Timestamp| choose_code(rows, &number, asker, new, now);
        let ChosenCode { code, is_new } = self.storage.execute(store).await?;
        if permission == Permission::NewCode && !is_new {
            return Ok(());
        }
        let sent = self.codes.send(request.transport, &request.number, code);
        sent.map_err(|_| ApiError::not_sent())
    }
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
    let Credentials { name: LoginName::Number(number), device: DeviceId::PRIMARY, password } =
        credentials
    else {
        return Err(ApiError::bad_credentials());
    };
    // A malformed code is no attempt: a mistake in a client must not use up the attempts of the owner.
    let code = parse_code(&code).map(VerificationCode).ok_or_else(ApiError::wrong_code)?;
    let (attributes, app) = (attributes.check()?, service.claimed_app(&headers)?);
    let guesses = Guesses { budget: service.budget(), address };
    guesses.spend(Action::ConfirmCode, &number).map_err(ApiError::too_many)?;
    let registration = Registration {
        code,
        guesses,
        app,
        rejects_registered: service.settings.rejects_registered,
        id: random::account_id(),
        device: attributes.new_device(DeviceId::PRIMARY, &password),
        directory: attributes.directory,
        access: attributes.access,
        number,
    };
    let register = move |rows: &mut dyn Rows, now: Timestamp| registration.register(rows, now);
    let account = service.storage.decide(register).await?;
    remember_new_device(&service.limits, &account, DeviceId::PRIMARY, &password, address);
    Ok(Json(Registered::new(&account, None)))
}

impl From<RegistrationRefusal> for ApiError {
    fn from(refusal: RegistrationRefusal) -> Self {
        match refusal {
            RegistrationRefusal::Limited(pause) => Self::too_many(pause),
            RegistrationRefusal::Registered => {
                let message = "the number is already registered";
                Self::new(StatusCode::EXPECTATION_FAILED, "registered", message)
            }
            RegistrationRefusal::WrongApp => Self::bad_package(),
            RegistrationRefusal::WrongCode => Self::wrong_code(),
        }
    }
}
