//! The logs of groups. (docs/chat-service.md "Groups")
//!
//! The service orders entries that it cannot read. A group has a key for members, one for administrators, and one for its link.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::IntoResponse;
use axum::routing::{Router, get, put};
use hyper::header::HeaderName;
use hyper::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::json::{Answer, Json, Nothing};
use super::{ApiError, Authenticated, Current, body};
use crate::messaging::base64;
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;
use crate::messaging::request_memory::RequestMemory;
use crate::messaging::store::rules::groups::{self, Append, AppendRefusal, MAX_ENTRY};
use crate::messaging::store::{
    Account, Device, GroupId, GroupKeys, ReadRows, Rows, TokenHash, WorkError,
};
use wormhole_http::Response;

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/groups/{id}/entries", get(read))
        .route("/v1/groups/{id}/entries/{revision}", put(append))
}

/// Entries of a group.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Entries {
    entries: Vec<LogEntry>,
    /// The newest revision of the group.
    revision: u32,
}

/// An entry of a group.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct LogEntry {
    revision: u32,
    /// In base64.
    entry: String,
}

/// Another entry was appended before.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct NewestRevision {
    /// The newest revision of the group.
    revision: u32,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EntriesFrom {
    from: u32,
}

/// Appends an entry to the log of a group. Its revision is the next one; revision 0 creates the group, and then the keys of the group
/// are needed instead of `Group-Access`. The key of administrators may replace all keys of the group: then the request has
/// `Group-Next-Access` and `Group-Next-Admin`, and `Group-Next-Link` if the link is enabled. The key of the link permits one entry
/// for each account. A repeated request has no effect and the same answer.
#[utoipa::path(
    put, path = "/v1/groups/{id}/entries/{revision}", tag = "groups", security(("device" = [])),
    params(
        ("id" = String, Path, description = "the id of the group: 16 random bytes as 32 hexadecimal digits"),
        ("revision" = u32, Path, description = "the newest revision plus 1, or 0"),
        ("Group-Access" = Option<String>, Header, description = "a key of the group: 32 bytes in base64"),
        ("Group-Next-Access" = Option<String>, Header, description = "SHA-256 of the key of members after this entry, in base64"),
        ("Group-Next-Admin" = Option<String>, Header, description = "SHA-256 of the key of administrators after this entry"),
        ("Group-Next-Link" = Option<String>, Header, description = "SHA-256 of the key of the link after this entry"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "1 to 262144 bytes"),
    responses(
        (status = 200, description = "the entry is stored", body = Nothing),
        (status = 400, description = "the entry is too long"),
        (status = 401, description = "wrong credentials"),
        (status = 403, description = "the key does not permit this, or the account has created as many groups as it may"),
        (status = 404, description = "no such group, or wrong access key"),
        (status = 409, description = "the revision is not the next one", body = NewestRevision),
        (status = 413, description = "too many entries"),
        (status = 422, description = "the id or the revision is malformed, the entry is empty, or the next keys are malformed or incomplete"),
    )
)]
pub(super) async fn append(
    State(service): State<Arc<Service>>,
    Path((id, revision)): Path<(String, String)>,
    headers: HeaderMap,
    Authenticated(found): Authenticated,
    request: Request,
) -> Result<Response, ApiError> {
    limit_entries(&service, &found.account, &revision)?;
    let entry = body::read(request).await?.to_vec();
    if entry.len() > MAX_ENTRY {
        return Err(ApiError::too_large());
    }
    if entry.is_empty() {
        return Err(ApiError::invalid("the entry is empty"));
    }
    let kib = u32::try_from(entry.len().div_ceil(1024)).unwrap_or(u32::MAX);
    let limit = service.budget().spend(Action::GroupKib, found.account.id, kib);
    limit.map_err(ApiError::too_many)?;
    let append = parse(&id, &revision, &headers, entry)?;
    let work = move |rows: &mut dyn Rows, Current { account, .. }: Current| match append
        .append(rows, &account)
    {
        Ok(()) => Ok(None),
        Err(WorkError::Refused(AppendRefusal::Conflict(latest))) => Ok(Some(latest)),
        Err(error) => Err(error.into()),
    };
    Ok(match service.execute_for(&found, work).await? {
        None => Json(Nothing {}).into_response(),
        Some(revision) => (StatusCode::CONFLICT, Json(NewestRevision { revision })).into_response(),
    })
}

/// Reads entries of a group, the oldest first: at most 512 KiB of them, but at least one if there is any. Only the newest
/// entries are kept.
#[utoipa::path(
    get, path = "/v1/groups/{id}/entries", tag = "groups", security(("device" = [])),
    params(
        ("id" = String, Path, description = "the id of the group: 32 hexadecimal digits"),
        ("from" = Option<u32>, Query, description = "the first revision that is wanted"),
        ("Group-Access" = String, Header, description = "a key of the group: 32 bytes in base64"),
    ),
    responses(
        (status = 200, description = "the entries", body = Entries),
        (status = 400, description = "`from` is malformed"),
        (status = 401, description = "wrong credentials"),
        (status = 404, description = "no such group, or wrong access key"),
        (status = 413, description = "too many requests"),
        (status = 422, description = "the id is malformed"),
    )
)]
pub(super) async fn read(
    State(service): State<Arc<Service>>,
    Extension(memory): Extension<RequestMemory>,
    Path(id): Path<String>,
    from: Result<Query<EntriesFrom>, QueryRejection>,
    headers: HeaderMap,
    Authenticated(found): Authenticated,
) -> Answer<Entries> {
    let malformed = |_| ApiError::new(StatusCode::BAD_REQUEST, "bad_request", "malformed revision");
    let Query(EntriesFrom { from }) = from.map_err(malformed)?;
    let limit = service.budget().spend(Action::GroupRead, found.account.id, 1);
    limit.map_err(ApiError::too_many)?;
    let group = group(&id)?;
    let access = access(&headers).ok_or_else(ApiError::no_group)?;
    memory.resize(PAGE_MEMORY)?;
    let read = move |rows: &mut dyn ReadRows, _: Account, _: Device| {
        groups::read(rows, group, &access, from)
    };
    let page = service.read_for(&found, read).await?.ok_or_else(ApiError::no_group)?;
    let entry =
        |(revision, entry): (u32, Vec<u8>)| LogEntry { revision, entry: base64::encode(&entry) };
    let entries = page.entries.into_iter().map(entry).collect();
    Ok(Json(Entries { entries, revision: page.latest }))
}

/// Limits how often an account appends entries and creates groups.
fn limit_entries(service: &Service, account: &Account, revision: &str) -> Result<(), ApiError> {
    let budget = service.budget();
    budget.spend(Action::GroupEntry, account.id, 1).map_err(ApiError::too_many)?;
    if revision == "0" {
        budget.spend(Action::GroupCreation, account.id, 1).map_err(ApiError::too_many)?;
    }
    Ok(())
}

fn parse(
    id: &str,
    revision: &str,
    headers: &HeaderMap,
    entry: Vec<u8>,
) -> Result<Append, ApiError> {
    let is_number = revision.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = is_number && (revision == "0" || !revision.starts_with('0'));
    let revision = Some(revision).filter(|_| is_plain).and_then(|text| text.parse().ok());
    let malformed = || ApiError::invalid("the revision must be a number without leading zeros");
    let revision = revision.ok_or_else(malformed)?;
    let group = group(id)?;
    let next = next_keys(headers)?;
    // A new group has no key yet.
    let access = match (revision, next) {
        (0, None) => return Err(ApiError::invalid("Group-Next-Access is missing")),
        (0, Some(first)) => first.member,
        _ => access(headers).ok_or_else(ApiError::no_group)?,
    };
    Ok(Append { group, revision, access, next, entry })
}

fn group(id: &str) -> Result<GroupId, ApiError> {
    let malformed = || ApiError::invalid("the id of a group has 32 hexadecimal digits");
    GroupId::parse(id).ok_or_else(malformed)
}

/// The keys after the entry, if it replaces them.
fn next_keys(headers: &HeaderMap) -> Result<Option<GroupKeys>, ApiError> {
    let hash = |name: HeaderName| {
        let value = headers.get(&name);
        let malformed = || ApiError::invalid(format!("{name} must have 32 bytes in base64"));
        let hash = value.map(|value| value.to_str().ok().and_then(base64::decode_array));
        hash.map(|hash| hash.map(TokenHash).ok_or_else(malformed)).transpose()
    };
    match (hash(NEXT_ACCESS)?, hash(NEXT_ADMIN)?, hash(NEXT_LINK)?) {
        (None, None, None) => Ok(None),
        (Some(member), Some(admin), link) => Ok(Some(GroupKeys { member, admin, link })),
        _ => Err(ApiError::invalid("Group-Next-Access and Group-Next-Admin replace all keys")),
    }
}

/// The hash of the key that the client shows.
fn access(headers: &HeaderMap) -> Option<TokenHash> {
    let key: [u8; 32] = base64::decode_array(headers.get(ACCESS)?.to_str().ok()?)?;
    Some(TokenHash::of(&[], &key))
}

impl ApiError {
    /// The group does not exist, or the access key is wrong: the answer does not show which.
    fn no_group() -> Self {
        Self::not_found("no such group, or wrong access key")
    }
}

impl From<AppendRefusal> for ApiError {
    fn from(refusal: AppendRefusal) -> Self {
        let forbidden = |code, message| Self::new(StatusCode::FORBIDDEN, code, message);
        match refusal {
            AppendRefusal::AlreadyJoined => {
                forbidden("already_joined", "the link permits one entry of each account")
            }
            AppendRefusal::LinkUsed => {
                forbidden("link_used", "the link was used too often: ask for a new one")
            }
            AppendRefusal::NotAdmin => {
                forbidden("not_admin", "only the key of administrators permits to replace keys")
            }
            AppendRefusal::Conflict(_) => {
                Self::new(StatusCode::CONFLICT, "conflict", "another entry was appended before")
            }
            AppendRefusal::NotFound => Self::no_group(),
            AppendRefusal::TooMuch => {
                forbidden("too_much", "an eighth of the log are entries of the account already")
            }
            AppendRefusal::TooManyGroups => {
                forbidden("too_many_groups", "the account has created as many groups as it may")
            }
        }
    }
}

/// The headers of a request that have keys of a group.
pub(in crate::messaging) const GROUP_KEYS: [HeaderName; 4] =
    [ACCESS, NEXT_ACCESS, NEXT_ADMIN, NEXT_LINK];

/// Contains a key of a group.
const ACCESS: HeaderName = HeaderName::from_static("group-access");

/// Contains SHA-256 of the next key of members.
const NEXT_ACCESS: HeaderName = HeaderName::from_static("group-next-access");

/// Contains SHA-256 of the next key of administrators.
const NEXT_ADMIN: HeaderName = HeaderName::from_static("group-next-admin");

/// Contains SHA-256 of the next key of the link.
const NEXT_LINK: HeaderName = HeaderName::from_static("group-next-link");

/// Memory for an answer, in bytes.
const PAGE_MEMORY: usize = 1 << 20;
