//! The directory: which of the numbers in a client's address book are registered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::routing::{Router, get, put};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::directory_token;

use super::json::{Answer, Json};
use super::{ApiError, Authenticated, ClientAddress};
use crate::messaging::base64;
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;
use crate::messaging::store::{Account, Device, ReadRows, StoreError};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/directory/tokens", put(intersect))
        .route("/v1/directory/{token}", get(look_up))
}

/// The numbers of a client's address book: the first 10 bytes of SHA-1 of each number, in base64.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(super) struct Tokens {
    pub(super) contacts: Vec<String>,
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
    /// The apps in which the number is registered, as far as its owner shows them.
    apps: Vec<String>,
    #[serde(flatten)]
    abilities: Abilities,
}

/// The capabilities of a contact, according to its primary device. Fields that are false are omitted.
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
        (status = 400, description = "a token is malformed, or there are more than 50,000"),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "too many numbers were looked up"),
        (status = 415, description = "the body is malformed"),
    )
)]
pub(super) async fn intersect(
    State(service): State<Arc<Service>>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    Authenticated(found): Authenticated,
    Json(Tokens { contacts }): Json<Tokens>,
) -> Answer<Contacts> {
    if contacts.len() > MAX_TOKENS {
        return Err(ApiError::too_large());
    }
    let tokens = parse_tokens(&contacts)?;
    limit(&service, &found.account, client, contacts.len())?;
    let contacts = find(&service, tokens).await?;
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
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    Path(token): Path<String>,
    Authenticated(found): Authenticated,
) -> Answer<Contact> {
    let token = parse_token(&token)?;
    limit(&service, &found.account, client, 1)?;
    let contacts = find(&service, BTreeSet::from([token])).await?;
    let contact = contacts.into_iter().next();
    contact.map(Json).ok_or_else(|| ApiError::not_found("the number is not registered"))
}

/// Limits how many numbers an account looks up, and how often clients of one network ask.
pub(super) fn limit(
    service: &Service,
    requester: &Account,
    client: IpAddr,
    tokens: usize,
) -> Result<(), ApiError> {
    let budget = service.budget();
    let limit = budget.spend_of_network(Action::ContactPerNetwork, client, 1);
    limit.map_err(ApiError::too_many)?;
    let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
    budget.spend(Action::Contact, requester.id, tokens).map_err(ApiError::too_many)
}

/// Reads in steps, so that other requests do not wait for all of them. Each number is read once.
async fn find(service: &Service, tokens: BTreeSet<[u8; 10]>) -> Result<Vec<Contact>, ApiError> {
    let tokens: Vec<[u8; 10]> = tokens.into_iter().collect();
    let mut contacts = Contacts { contacts: Vec::new() };
    for step in tokens.chunks(STEP) {
        let step = step.to_vec();
        let read = move |rows: &mut dyn ReadRows| {
            let accounts = rows.accounts_with_tokens(&step)?.into_iter();
            let with_abilities = accounts.map(|account| {
                let abilities = Abilities::from_devices(&rows.devices(account.key)?);
                Ok((account, abilities))
            });
            with_abilities.collect::<Result<Vec<_>, StoreError>>()
        };
        contacts.add(service.storage.read(read).await?);
    }
    Ok(contacts.contacts)
}

impl Contacts {
    /// Adds accounts; those of one number become one contact.
    fn add(&mut self, accounts: Vec<(Account, Abilities)>) {
        let mut contacts: BTreeMap<[u8; 10], Contact> = BTreeMap::new();
        for (account, abilities) in accounts {
            let token = directory_token(account.number.as_str());
            let contact = contacts.entry(token).or_insert_with(|| Contact {
                token: base64::encode_key(&token),
                apps: Vec::new(),
                abilities: Abilities::default(),
            });
            contact.apps.extend(account.shows_app.then(|| account.app_name.to_string()));
            contact.abilities.add(abilities);
        }
        self.contacts.extend(contacts.into_values());
    }
}

impl Abilities {
    fn from_devices(devices: &[Device]) -> Self {
        let attributes = devices.first().map(|device| device.columns.attributes.as_str());
        attributes.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }

    const fn add(&mut self, other: Self) {
        self.voice |= other.voice;
        self.video |= other.video;
        self.supports_sms |= other.supports_sms;
    }
}

/// The tokens of a request, each once.
pub(super) fn parse_tokens(contacts: &[String]) -> Result<BTreeSet<[u8; 10]>, ApiError> {
    contacts.iter().map(|text| parse_token(text)).collect()
}

fn parse_token(text: &str) -> Result<[u8; 10], ApiError> {
    let malformed = || ApiError::new(StatusCode::BAD_REQUEST, "bad_token", "malformed token");
    base64::decode_array(text).ok_or_else(malformed)
}

/// Numbers that are read at once.
const STEP: usize = 200;

/// Maximum number of numbers in a request.
const MAX_TOKENS: usize = 50_000;
