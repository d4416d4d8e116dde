//! Verification codes, and the registration of numbers with them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, State};
use axum::routing::{Router, get, put};
use hyper::HeaderMap;
use hyper::StatusCode;
use wormhole_chat::service::PhoneNumber;
use wormhole_chat::{DeviceId, Timestamp};
use wormhole_kit::wider_network;

use super::attributes::{AccountAttributes, Registered, parse_code, parse_number};
use super::json::{Answer, Json, Nothing};
use super::{ApiError, ClientAddress, Credentials};
use crate::messaging::codes::Transport;
use crate::messaging::context::Service;
use crate::messaging::login_attempt::remember_new_device;
use crate::messaging::random;
use crate::messaging::rate_limits::{Action, Budget};
use crate::messaging::store::rules::codes::Guesses;
use crate::messaging::store::rules::registration::{
    Registration, RegistrationRefusal, choose_code,
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
    let sent = tokio::spawn(async move { service.send_code(transport, number, address).await });
    sent.await.map_err(|_| StoreError("the request was not executed".into()))??;
    Ok(Json(Nothing {}))
}

/// Limits how many codes are sent to a number. When they are used up, each network still gets two a day, up to 20 for all
/// networks together: one stranger must not keep the owner from registering.
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
    // Every code counts for the network. One customer of a provider may have all networks of a wide one.
    let from_network = budget.spend(Action::ExtraCode, (number, wider_network(address)), 1);
    shared_codes(budget, actions, number).or_else(|pause| {
        from_network
            .and_then(|()| budget.spend(Action::ExtraCodePerNumber, number, 1))
            .map_err(|_| pause)
    })
}

/// Takes a code out of those of a number, which all networks share.
///
/// # Errors
/// They are used up. Returns the time until there is one; nothing is taken.
fn shared_codes(
    budget: &Budget,
    actions: [Action; 2],
    number: &PhoneNumber,
) -> Result<(), Duration> {
    actions.iter().try_for_each(|action| budget.limits.check(*action, number, budget.now))?;
    actions.iter().try_for_each(|action| budget.spend(*action, number, 1))
}

impl Service {
    /// Sends a code.
    async fn send_code(
        &self,
        transport: Transport,
        number: PhoneNumber,
        asker: IpAddr,
    ) -> Result<(), ApiError> {
        let (new, recipient) = (VerificationCode(random::verification_code()), number.clone());
        let store =
            move |rows: &mut dyn Rows, now: Timestamp| choose_code(rows, &number, asker, new, now);
        let code = self.storage.execute(store).await?;
        self.codes.send(transport, &recipient, code).map_err(|_| ApiError::not_sent())
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
    let guesses = Guesses { budget: service.budget(), address };
    guesses.spend(Action::ConfirmCode, &number).map_err(ApiError::too_many)?;
    let attributes = attributes.check()?;
    let registration = Registration {
        code: parse_code(&code).map(VerificationCode),
        guesses,
        app: service.claimed_app(&headers)?,
        rejects_registered: service.settings.rejects_registered,
        id: random::account_id(),
        device: attributes.new_device(DeviceId::PRIMARY, &password),
        directory: attributes.directory,
        number,
    };
    let register = move |rows: &mut dyn Rows, now: Timestamp| registration.register(rows, now);
    let account = service.storage.decide(register).await?;
    remember_new_device(&service.limits, &account, DeviceId::PRIMARY, &password, address);
    Ok(Json(Registered::new(&account)))
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::messaging::rate_limits::RateLimits;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Requests codes for one number.
    struct Requests(Budget);

    impl Requests {
        fn new() -> Self {
            Self(Budget { limits: RateLimits::new(false).into(), now: Instant::now() })
        }

        fn is_sent(&self, transport: Transport, network: &str) -> bool {
            let number = "+14155550101".parse().unwrap();
            limit_requests(&self.0, transport, &number, network.parse().unwrap()).is_ok()
        }
    }

    #[test]
    fn one_network_gets_what_the_number_may_get() {
        let mut requests = Requests::new();
        let sent = |requests: &Requests| {
            (0..10).filter(|_| requests.is_sent(Transport::Sms, "192.0.2.1")).count()
        };
        assert_eq!(sent(&requests), 2);
        requests.0.now += MINUTE;
        assert_eq!(sent(&requests), 2);
        let mut calls = 0;
        for _ in 0..30 {
            requests.0.now += 2 * MINUTE;
            calls += usize::from(requests.is_sent(Transport::Voice, "192.0.2.1"));
        }
        assert_eq!(calls, 10);
    }

    #[test]
    fn a_network_that_has_used_up_the_codes_of_a_number_does_not_keep_its_owner_out() {
        let mut requests = Requests::new();
        let stranger = |number: u32| format!("2001:db8:1:{number:x}::1");
        for number in 0..120 {
            requests.is_sent(Transport::Sms, &stranger(number));
            requests.is_sent(Transport::Voice, &stranger(number));
            requests.0.now += MINUTE / 2;
        }
        for transport in [Transport::Sms, Transport::Voice] {
            assert!(!requests.is_sent(transport, &stranger(1000)));
            assert!(requests.is_sent(transport, "192.0.2.1"), "{transport}");
        }
        // The owner has got two codes. More would be sent to everybody.
        assert!(!requests.is_sent(Transport::Voice, "192.0.2.1"));
    }

    #[test]
    fn codes_in_addition_to_those_of_the_number_have_a_limit_for_all_networks() {
        let requests = Requests::new();
        let ask = |number: u32| requests.is_sent(Transport::Sms, &format!("198.51.100.{number}"));
        assert_eq!((0..100).filter(|number| ask(*number)).count(), 2 + 20);
    }
}
