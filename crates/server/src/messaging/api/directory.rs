//! The directory: which of the numbers in a client's address book are registered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::routing::{Router, get, put};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::directory_token;

use super::json::Json;
use super::{ApiError, Authenticated};
use crate::messaging::base64;
use crate::messaging::limits::Action;
use crate::messaging::service::Service;
use crate::messaging::store::{Account, Device, Rows};

type Answer<T> = Result<Json<T>, ApiError>;

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/directory/tokens", put(intersect))
        .route("/v1/directory/{token}", get(look_up))
}

/// The numbers of a client's address book: the first 10 bytes of SHA-1 of each number, in base64.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct Tokens {
    contacts: Vec<String>,
}

/// The numbers that are registered.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Contacts {
    contacts: Vec<Contact>,
}

/// A registered number.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Contact {
    token: String,
    /// The apps in which the number is registered.
    apps: Vec<String>,
    #[serde(flatten)]
    abilities: Abilities,
}

/// What a contact can do, as its primary device says. Fields that are false are omitted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Abilities {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    voice: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    video: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    supports_sms: bool,
}

/// Looks up many numbers. The answer has only those that are registered and want to be found.
#[utoipa::path(
    put, path = "/v1/directory/tokens", tag = "directory", request_body = Tokens, security(("device" = [])),
    responses(
        (status = 200, description = "the registered numbers", body = Contacts),
        (status = 400, description = "a token is malformed"),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "too many numbers were looked up"),
        (status = 415, description = "the body is malformed"),
    )
)]
pub(super) async fn intersect(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    Json(Tokens { contacts }): Json<Tokens>,
) -> Answer<Contacts> {
    let tokens = contacts.iter().map(|text| parse_token(text)).collect::<Result<Vec<_>, _>>()?;
    let contacts = find(&service, &found.account, tokens).await?;
    Ok(Json(Contacts { contacts }))
}

/// Looks up one number.
#[utoipa::path(
    get, path = "/v1/directory/{token}", tag = "directory", security(("device" = [])),
    params(("token" = String, Path, description = "the first 10 bytes of SHA-1 of the number, in base64")),
    responses(
        (status = 200, description = "the number is registered", body = Contact),
        (status = 400, description = "the token is malformed"),
        (status = 404, description = "the number is not registered"),
    )
)]
pub(super) async fn look_up(
    State(service): State<Arc<Service>>,
    Path(token): Path<String>,
    Authenticated(found): Authenticated,
) -> Answer<Contact> {
    let contacts = find(&service, &found.account, vec![parse_token(&token)?]).await?;
    let contact = contacts.into_iter().next();
    contact.map(Json).ok_or_else(|| ApiError::not_found("the number is not registered"))
}

async fn find(
    service: &Service,
    asker: &Account,
    tokens: Vec<[u8; 10]>,
) -> Result<Vec<Contact>, ApiError> {
    let amount = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    let limit = service.limits.spend(Action::Contact, asker.id, amount, Instant::now());
    limit.map_err(ApiError::too_many)?;
    let accounts =
        service.storage.execute(move |rows, _| rows.accounts_with_tokens(&tokens)).await?;
    let abilities = abilities(service, &accounts).await?;
    let mut contacts: BTreeMap<[u8; 10], Contact> = BTreeMap::new();
    for (account, abilities) in accounts.iter().zip(abilities) {
        let token = directory_token(account.number.as_str());
        let contact = contacts.entry(token).or_insert_with(|| Contact {
            token: base64::encode_key(&token),
            apps: Vec::new(),
            abilities: Abilities::default(),
        });
        contact.apps.push(account.app_name.to_string());
        contact.abilities.add(abilities);
    }
    Ok(contacts.into_values().collect())
}

/// What each account can do. In steps, so that other requests do not wait for all of them.
async fn abilities(service: &Service, accounts: &[Account]) -> Result<Vec<Abilities>, ApiError> {
    let mut all = Vec::new();
    for step in accounts.chunks(STEP) {
        let keys: Vec<_> = step.iter().map(|account| account.key).collect();
        let read = move |rows: &mut dyn Rows, _| {
            keys.iter().map(|key| Ok(Abilities::of(&rows.devices(*key)?))).collect()
        };
        let step: Vec<Abilities> = service.storage.execute(read).await?;
        all.extend(step);
    }
    Ok(all)
}

impl Abilities {
    fn of(devices: &[Device]) -> Self {
        let attributes = devices.first().map(|device| device.device.attributes.as_str());
        attributes.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    const fn add(&mut self, other: Self) {
        self.voice |= other.voice;
        self.video |= other.video;
        self.supports_sms |= other.supports_sms;
    }
}

fn parse_token(text: &str) -> Result<[u8; 10], ApiError> {
    let malformed = || ApiError::new(StatusCode::BAD_REQUEST, "bad_token", "malformed token");
    base64::decode_array(text).ok_or_else(malformed)
}

/// Accounts whose devices are read at once.
const STEP: usize = 200;
