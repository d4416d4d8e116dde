//! Names with which others reach an account without its number. (docs/chat-service.md "Usernames")

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::routing::{Router, put};
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wormhole_chat::service::Username;

use super::directory::limit;
use super::json::{Answer, Json, Nothing};
use super::{ApiError, Authenticated, ClientAddress, Current};
use crate::messaging::context::Service;
use crate::messaging::store::rules::usernames::{NameRefusal, choose};
use crate::messaging::store::{ReadRows, Rows, WorkError};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    let name = put(set).delete(remove).get(find);
    Router::new().route("/v1/accounts/username/{name}", name)
}

/// The account that has a name.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct NamedAccount {
    /// The id of the account.
    uuid: String,
}

/// Gives the account a name instead of its previous one.
#[utoipa::path(
    put, path = "/v1/accounts/username/{name}", tag = "accounts", security(("device" = [])),
    params(("name" = String, Path, description = "3 to 32 of the characters a-z, 0-9, `_` and `.`, not starting with a digit; upper case is the same as lower case")),
    responses(
        (status = 200, description = "the account has the name", body = Nothing),
        (status = 401, description = "wrong credentials"),
        (status = 409, description = "another account has the name"),
        (status = 413, description = "too many changes"),
        (status = 422, description = "the name is not allowed"),
    )
)]
pub(super) async fn set(
    State(service): State<Arc<Service>>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    Path(name): Path<String>,
    Authenticated(found): Authenticated,
) -> Answer<Nothing> {
    let name = parse(&name)?;
    // A client that tries names finds out which are taken.
    limit(&service, &found.account, client, 1)?;
    let work = move |rows: &mut dyn Rows, Current { account, .. }: Current| {
        choose(rows, &account, Some(&name)).map_err(WorkError::into)
    };
    service.write_for(&found, work).await?;
    Ok(Json(Nothing {}))
}

/// Removes a name of the account. Another account may choose it then.
#[utoipa::path(
    delete, path = "/v1/accounts/username/{name}", tag = "accounts", security(("device" = [])),
    params(("name" = String, Path, description = "the name")),
    responses(
        (status = 200, description = "the account does not have the name", body = Nothing),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "too many changes"),
        (status = 422, description = "the name is not allowed"),
    )
)]
pub(super) async fn remove(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    Authenticated(found): Authenticated,
) -> Answer<Nothing> {
    let name = parse(&name)?;
    let work = move |rows: &mut dyn Rows, Current { account, .. }: Current| {
        if rows.username(account.key)?.as_ref() == Some(&name) {
            choose(rows, &account, None).map_err(WorkError::into)?;
        }
        Ok(Json(Nothing {}))
    };
    service.write_for(&found, work).await
}

/// Finds the account that has a name.
#[utoipa::path(
    get, path = "/v1/accounts/username/{name}", tag = "accounts", security(("device" = [])),
    params(("name" = String, Path, description = "the name")),
    responses(
        (status = 200, description = "the account", body = NamedAccount),
        (status = 401, description = "wrong credentials"),
        (status = 404, description = "no account has the name"),
        (status = 413, description = "too many names were looked up"),
        (status = 422, description = "no account can have this name"),
    )
)]
pub(super) async fn find(
    State(service): State<Arc<Service>>,
    Extension(ClientAddress(client)): Extension<ClientAddress>,
    Path(name): Path<String>,
    Authenticated(found): Authenticated,
) -> Answer<NamedAccount> {
    let name = parse(&name)?;
    limit(&service, &found.account, client, 1)?;
    let read = move |rows: &mut dyn ReadRows| rows.account_with_name(&name);
    let account = service.storage.read(read).await?;
    let account = account.ok_or_else(|| ApiError::not_found("no account has this name"))?;
    Ok(Json(NamedAccount { uuid: account.id.to_string() }))
}

fn parse(name: &str) -> Result<Username, ApiError> {
    name.parse().map_err(|error| ApiError::invalid(format!("{error}")))
}

impl From<NameRefusal> for ApiError {
    fn from(refusal: NameRefusal) -> Self {
        match refusal {
            NameRefusal::Taken => {
                Self::new(StatusCode::CONFLICT, "taken", "another account has this name")
            }
        }
    }
}
