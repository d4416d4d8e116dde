//! Message requests: what an account decides about those who write to it. (docs/chat-service.md "Message requests")

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::routing::{Router, get, post, put};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::{AccountId, Timestamp};

use super::json::{Answer, Base64, Json, Nothing, Number};
use super::{ApiError, Authenticated, Current};
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;
use crate::messaging::store::rules::consent::{
    self, Decision, DecisionRefusal, MAX_BLOCKED, MAX_REQUESTS, Reported,
};
use crate::messaging::store::{
    Account, Consent, ConsentState, Device, Found, ReadRows, Rows, StoreError, WorkError,
};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/requests", get(list))
        .route("/v1/requests/{uuid}", put(decide))
        .route("/v1/messages/report/{source}/{guid}", post(report))
}

/// Those who wait for a decision, and those who are blocked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Requests {
    requests: Vec<RequestJson>,
}

/// Somebody who has written to the account.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct RequestJson {
    /// The id of the sender's account.
    uuid: String,
    app: String,
    number: String,
    /// `pending` or `blocked`.
    state: &'static str,
    /// Milliseconds since 1970.
    since: u64,
    /// Messages that were delivered while the request was pending.
    messages: u32,
}

/// A decision about somebody.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct DecisionJson {
    action: ActionJson,
    /// Of a report: the id of the message.
    guid: Option<String>,
    #[serde(flatten)]
    report: ReportJson,
}

/// A decision of the account.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum ActionJson {
    Accept,
    Block,
    Delete,
    Report,
}

/// Proof that the service has delivered a message.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ReportJson {
    /// `serverTimestamp` of the message.
    #[schema(value_type = Option<u64>)]
    server_timestamp: Option<Number>,
    /// SHA-256 of the decoded `content` of the message, or of its `body` if it has no content.
    #[schema(value_type = Option<String>)]
    content_hash: Option<Base64>,
    /// `reportSpamToken` of the message.
    #[schema(value_type = Option<String>)]
    token: Option<Base64>,
}

/// The requests that wait for a decision, and the blocked accounts: the newest 1,000 and 2,000 of them.
#[utoipa::path(
    get, path = "/v1/requests", tag = "requests", security(("device" = [])),
    responses(
        (status = 200, description = "the requests", body = Requests),
        (status = 401, description = "wrong credentials"),
    )
)]
pub(super) async fn list(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<Requests> {
    service.limit_writes(&found)?;
    let read = |rows: &mut dyn ReadRows, account: Account, _: Device| {
        let mut all = rows.consents_of(account.key, ConsentState::Pending, MAX_REQUESTS)?;
        let max = u32::try_from(MAX_BLOCKED).unwrap_or(u32::MAX);
        all.extend(rows.consents_of(account.key, ConsentState::Blocked, max)?);
        Ok::<_, StoreError>(all)
    };
    let all = service.read_for(&found, read).await?;
    Ok(Json(Requests { requests: all.into_iter().map(RequestJson::new).collect() }))
}

/// Decides about those who have written to the account, or will. They do not notice it.
#[utoipa::path(
    put, path = "/v1/requests/{uuid}", tag = "requests", security(("device" = [])),
    params(("uuid" = String, Path, description = "the id of the other account")),
    request_body = DecisionJson,
    responses(
        (status = 200, description = "the decision is stored", body = Nothing),
        (status = 401, description = "wrong credentials"),
        (status = 403, description = "the account has blocked as many others as it may"),
        (status = 404, description = "no such account, or the own one"),
        (status = 413, description = "too many decisions or reports"),
        (status = 415, description = "the body is malformed"),
        (status = 422, description = "the service has not delivered the reported message"),
    )
)]
pub(super) async fn decide(
    State(service): State<Arc<Service>>,
    Path(uuid): Path<String>,
    Authenticated(found): Authenticated,
    Json(decision): Json<DecisionJson>,
) -> Answer<Nothing> {
    let not_found = || ApiError::not_found("no such account");
    let other: AccountId = uuid.parse().map_err(|_| not_found())?;
    execute(&service, &found, other, decision.check()?).await
}

/// Reports a message to the operator of the service, and blocks its sender.
#[utoipa::path(
    post, path = "/v1/messages/report/{source}/{guid}", tag = "requests", security(("device" = [])),
    params(
        ("source" = String, Path, description = "the account id of the sender"),
        ("guid" = String, Path, description = "the `guid` of the message"),
    ),
    request_body = ReportJson,
    responses(
        (status = 200, description = "the report is stored", body = Nothing),
        (status = 401, description = "wrong credentials"),
        (status = 403, description = "the account has blocked as many others as it may"),
        (status = 404, description = "no such account, or the own one"),
        (status = 413, description = "too many decisions or reports"),
        (status = 415, description = "the body is malformed"),
        (status = 422, description = "the service has not delivered this message"),
    )
)]
pub(super) async fn report(
    State(service): State<Arc<Service>>,
    Path((source, guid)): Path<(String, String)>,
    Authenticated(found): Authenticated,
    Json(report): Json<ReportJson>,
) -> Answer<Nothing> {
    let other = source.parse().map_err(|_| ApiError::not_found("no such account"))?;
    execute(&service, &found, other, report.check(&guid)?).await
}

async fn execute(
    service: &Service,
    found: &Arc<Found>,
    other: AccountId,
    decision: Decision,
) -> Answer<Nothing> {
    if matches!(decision, Decision::Report { .. }) {
        let limit = service.budget().spend(Action::Report, found.account.id, 1);
        limit.map_err(ApiError::too_many)?;
    }
    let work = move |rows: &mut dyn Rows, Current { account, now, .. }: Current| {
        consent::decide(rows, &account, other, &decision, now).map_err(WorkError::into)
    };
    let decided = service.write_for(found, work).await;
    decided.map_err(|error| service.count_stranger(found, error))?;
    Ok(Json(Nothing {}))
}

impl RequestJson {
    fn new((account, Consent { state, since, messages }): (Account, Consent)) -> Self {
        let state = match state {
            ConsentState::Accepted => "accepted",
            ConsentState::Blocked => "blocked",
            ConsentState::Pending => "pending",
        };
        let (app, number) = (account.app_name.to_string(), account.number.to_string());
        Self { uuid: account.id.to_string(), app, number, state, since: since.0, messages }
    }
}

impl DecisionJson {
    /// The decision.
    ///
    /// # Errors
    /// A report is not complete.
    pub(super) fn check(self) -> Result<Decision, ApiError> {
        let Self { action, guid, report } = self;
        Ok(match action {
            ActionJson::Accept => Decision::Accept,
            ActionJson::Block => Decision::Block,
            ActionJson::Delete => Decision::Delete,
            ActionJson::Report => report.check(&guid.unwrap_or_default())?,
        })
    }
}

impl ReportJson {
    /// A report of the message with this id.
    ///
    /// # Errors
    /// It is not complete.
    pub(super) fn check(&self, guid: &str) -> Result<Decision, ApiError> {
        let array = |bytes: &Option<Base64>| bytes.as_ref()?.0.as_slice().try_into().ok();
        let guid: Option<AccountId> = guid.parse().ok();
        let report = || {
            let message = Reported {
                guid: *guid?.as_bytes(),
                accepted: Timestamp(self.server_timestamp?.0),
                content: array(&self.content_hash)?,
            };
            Some(Decision::Report { message, token: array(&self.token)? })
        };
        report().ok_or_else(|| {
            ApiError::invalid("a report needs guid, serverTimestamp, contentHash and token")
        })
    }
}

impl From<DecisionRefusal> for ApiError {
    fn from(refusal: DecisionRefusal) -> Self {
        match refusal {
            DecisionRefusal::NotFound => Self::not_found("no such account"),
            DecisionRefusal::TooManyBlocked => {
                let message = "the account has blocked as many others as it may";
                Self::new(StatusCode::FORBIDDEN, "too_many_blocked", message)
            }
            DecisionRefusal::WrongToken => {
                Self::invalid("the service has not delivered this message to this account")
            }
        }
    }
}
