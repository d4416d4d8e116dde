//! Attachments: allocated by an account, then uploaded to and downloaded from signed addresses.
//!
//! There are three ways. In that of clients of 2014, the client gets a number and an address for `PUT`. In a later one, which was made
//! for Amazon S3, the client gets the fields of a form for `POST`, and downloads without credentials: the id is a secret
//! in the encrypted message. The third is like the second, but an upload that was interrupted can be continued (`resumable`).

mod download;
mod form;
pub(super) mod resumable;
mod upload;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::IntoResponse;
use axum::routing::{Router, get, post};
use hyper::body::Body as _;
use hyper::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::Timestamp;
use wormhole_http::Response;

use super::json::{Answer, Json, Nothing};
use super::{ApiError, Authenticated, BaseUrl, ClientAddress};
use crate::messaging::blobs::{BlobName, PIECE};
use crate::messaging::context::Service;
use crate::messaging::random;
use crate::messaging::rate_limits::Action;
use crate::messaging::request_memory::RequestMemory;
use crate::messaging::signed_url::Permission;
use crate::messaging::store::{Avatar, Found};
use crate::messaging::store_thread::unix_now;
use download::download;
use form::{Fields, UploadForm};
use upload::{AllowedUpload, check_length, upload};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/attachments", get(allocate))
        .route("/v1/attachments/{id}", get(locate))
        .route("/v2/attachments/form/upload", get(form))
        .route("/attachments", post(upload_form))
        .route("/attachments/{id}", get(fetch).put(store))
        .merge(resumable::routes())
}

/// An address for an upload.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Allocation {
    id: u64,
    /// The id as a string, for clients whose numbers are too small.
    id_string: String,
    location: String,
}

/// An address for a download.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Location {
    location: String,
}

/// The fields of a form for an upload, with the names that Amazon S3 uses.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Form {
    attachment_id: u64,
    attachment_id_string: String,
    key: String,
    credential: String,
    acl: String,
    algorithm: String,
    date: String,
    policy: String,
    signature: String,
}

/// The fields of a form for the picture of a profile.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct AvatarForm {
    /// Also the path for downloads.
    key: String,
    credential: String,
    acl: String,
    algorithm: String,
    date: String,
    policy: String,
    signature: String,
}

/// The parameters that make an address valid.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Signed {
    expires: u64,
    /// For which account an upload is counted. Empty in a download.
    #[serde(default)]
    owner: String,
    signature: String,
}

/// Allocates an attachment.
#[utoipa::path(
    get, path = "/v1/attachments", tag = "attachments", security(("device" = [])),
    responses(
        (status = 200, description = "`PUT` the encrypted file to `location`", body = Allocation),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "too many attachments"),
    )
)]
pub(super) async fn allocate(
    State(service): State<Arc<Service>>,
    Extension(base): Extension<BaseUrl>,
    Authenticated(found): Authenticated,
) -> Answer<Allocation> {
    limit(&service, &found)?;
    let id = random_id();
    let owner = owner(&service, &found);
    let location = location(&service, &base, Permission::Upload, id, &owner);
    Ok(Json(Allocation { id, id_string: id.to_string(), location }))
}

/// Where an attachment can be downloaded.
#[utoipa::path(
    get, path = "/v1/attachments/{id}", tag = "attachments", security(("device" = [])),
    params(("id" = u64, Path, description = "the `id` of the attachment")),
    responses(
        (status = 200, description = "`GET` the encrypted file from `location`", body = Location),
        (status = 401, description = "wrong credentials"),
        (status = 404, description = "no such attachment"),
        (status = 413, description = "too many attachments"),
    )
)]
pub(super) async fn locate(
    State(service): State<Arc<Service>>,
    Extension(base): Extension<BaseUrl>,
    Path(id): Path<String>,
    Authenticated(found): Authenticated,
) -> Answer<Location> {
    limit(&service, &found)?;
    let not_found = || ApiError::not_found("no such attachment");
    let id = parse_id(&id).ok_or_else(not_found)?;
    let location = if service.blobs.exists(BlobName::allocated(id)).await {
        location(&service, &base, Permission::Download, id, "")
    } else if service.blobs.exists(BlobName::of_form(id)).await {
        format!("{}/attachments/{id}", public_url(&service, &base))
    } else {
        return Err(not_found());
    };
    Ok(Json(Location { location }))
}

/// Allocates an attachment that is uploaded as a form. The file is posted to `/attachments/` together with the other
/// fields, and downloaded from `/attachments/KEY`.
#[utoipa::path(
    get, path = "/v2/attachments/form/upload", tag = "attachments", security(("device" = [])),
    responses(
        (status = 200, description = "the fields of the form", body = Form),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "too many attachments"),
    )
)]
pub(super) async fn form(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<Form> {
    limit(&service, &found)?;
    let id = random_id();
    let form = signed_form(&service, &found, id.to_string(), &BlobName::of_form(id));
    let AvatarForm { key, credential, acl, algorithm, date, policy, signature } = form;
    let (attachment_id, attachment_id_string) = (id, id.to_string());
    Ok(Json(Form {
        attachment_id,
        attachment_id_string,
        key,
        credential,
        acl,
        algorithm,
        date,
        policy,
        signature,
    }))
}

impl Service {
    /// The form for the picture of a profile.
    pub(super) fn avatar_form(&self, found: &Found, avatar: Avatar) -> AvatarForm {
        signed_form(
            self,
            found,
            format!("{AVATARS}{}", avatar.to_text()),
            &BlobName::avatar(avatar),
        )
    }
}

fn signed_form(service: &Service, found: &Found, key: String, name: &BlobName) -> AvatarForm {
    let (expires, owner) = (expiry(), owner(service, found));
    let signature = service.blobs.key.sign(Permission::Upload, name.as_str(), expires, &owner);
    AvatarForm {
        key,
        credential: owner,
        acl: "private".into(),
        algorithm: "WORMHOLE-HMAC-SHA256".into(),
        date: expires.0.to_string(),
        policy: expires.0.to_string(),
        signature,
    }
}

/// Stores an attachment, once.
pub(super) async fn store(
    State(service): State<Arc<Service>>,
    Extension(memory): Extension<RequestMemory>,
    Path(id): Path<String>,
    signed: Result<Query<Signed>, QueryRejection>,
    request: Request,
) -> Result<Json<Nothing>, ApiError> {
    let name = BlobName::allocated(parse_id(&id).ok_or_else(not_allowed)?);
    let Query(signed) = signed.map_err(|_| not_allowed())?;
    check(&service, Permission::Upload, &name, &signed)?;
    check_length(request.body().size_hint().lower())?;
    let allowed = AllowedUpload { name, owner: signed.owner, max_bytes: MAX_ATTACHMENT, memory };
    upload(&service, allowed, request.into_body().into_data_stream()).await?;
    Ok(Json(Nothing {}))
}

/// Stores an attachment that is sent as a form. The file must be the last field.
pub(super) async fn upload_form(
    State(service): State<Arc<Service>>,
    Extension(memory): Extension<RequestMemory>,
    request: Request,
) -> Result<Json<Nothing>, ApiError> {
    let mut form = UploadForm::new(request).await?;
    let (mut fields, deadline, in_file) =
        (Fields::default(), form.deadline(), Arc::clone(&form.in_file));
    loop {
        let field = form.next().await?;
        if field.name() != Some("file") {
            fields.read(field, deadline).await?;
            continue;
        }
        in_file.store(true, Ordering::Relaxed);
        let Fields { key, credential, policy, signature } = fields;
        let (name, max_bytes) = uploaded(&service, &key).await?;
        let expires = policy.parse().map_err(|_| not_allowed())?;
        let signed = Signed { expires, owner: credential, signature };
        check(&service, Permission::Upload, &name, &signed)?;
        let allowed = AllowedUpload { name, owner: signed.owner, max_bytes, memory };
        upload(&service, allowed, field).await?;
        return Ok(Json(Nothing {}));
    }
}

/// Returns the object that the key in a form means, and its maximum length in bytes.
async fn uploaded(service: &Service, key: &str) -> Result<(BlobName, usize), ApiError> {
    let Some(avatar) = key.strip_prefix(AVATARS) else {
        let id = parse_id(key).ok_or_else(not_allowed)?;
        return Ok((BlobName::of_form(id), MAX_ATTACHMENT));
    };
    let avatar = Avatar::parse(avatar).ok_or_else(not_allowed)?;
    // One that was replaced meanwhile would be stored for nothing.
    let is_used = service.storage.read(move |rows| rows.has_avatar(avatar)).await?;
    is_used.then(|| (BlobName::avatar(avatar), MAX_AVATAR)).ok_or_else(not_allowed)
}

/// Sends a file that everybody who knows its name may download.
pub(super) async fn fetch_blob(
    service: &Service,
    name: BlobName,
    memory: &RequestMemory,
    address: IpAddr,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    memory.resize(PIECE)?;
    download(service, name, address, headers).await.map(IntoResponse::into_response)
}

/// Sends an attachment, or a part of it. Without a signature, only one that was uploaded as a form.
pub(super) async fn fetch(
    State(service): State<Arc<Service>>,
    Extension(memory): Extension<RequestMemory>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Path(id): Path<String>,
    query: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = parse_id(&id).ok_or_else(|| ApiError::not_found("no such attachment"))?;
    let is_signed = query.query().is_some_and(|query| query.contains("signature="));
    let name = if is_signed {
        let name = BlobName::allocated(id);
        let signed = Query::try_from_uri(&query).map_err(|_| not_allowed())?;
        let Query(signed) = signed;
        check(&service, Permission::Download, &name, &signed)?;
        name
    } else {
        let name = BlobName::of_form(id);
        // Does not tell whether there is an allocated one.
        let exists = service.blobs.exists(name.clone()).await;
        exists.then_some(name).ok_or_else(not_allowed)?
    };
    fetch_blob(&service, name, &memory, address, &headers).await
}

/// Positive as a signed number: some languages have no others.
fn random_id() -> u64 {
    u64::from_be_bytes(random::bytes()) >> 1
}

/// Parses an id as the server writes it.
fn parse_id(text: &str) -> Option<u64> {
    let id: u64 = text.parse().ok()?;
    (id.to_string() == text).then_some(id)
}

fn limit(service: &Service, found: &Found) -> Result<(), ApiError> {
    let account = found.account.id;
    service.limits.spend(Action::Attachment, account, 1, Instant::now()).map_err(ApiError::too_many)
}

/// The account, without revealing it to others who see the address.
fn owner(service: &Service, found: &Found) -> String {
    service.blobs.key.pseudonym(found.account.id.as_bytes())
}

fn location(
    service: &Service,
    base: &BaseUrl,
    permission: Permission,
    id: u64,
    owner: &str,
) -> String {
    let (name, expires) = (BlobName::allocated(id), expiry());
    let signature = service.blobs.key.sign(permission, name.as_str(), expires, owner);
    let base = public_url(service, base);
    let owner = if owner.is_empty() { String::new() } else { format!("&owner={owner}") };
    format!("{base}/attachments/{id}?expires={}{owner}&signature={signature}", expires.0)
}

/// The URL under which clients reach the service.
fn public_url<'a>(service: &'a Service, base: &'a BaseUrl) -> &'a str {
    service.settings.public_url.as_deref().unwrap_or(&base.0)
}

fn check(
    service: &Service,
    permission: Permission,
    name: &BlobName,
    Signed { expires, owner, signature }: &Signed,
) -> Result<(), ApiError> {
    let (key, expires) = (&service.blobs.key, Timestamp(*expires));
    let is_allowed =
        unix_now() < expires && key.allows(permission, name.as_str(), expires, owner, signature);
    if is_allowed { Ok(()) } else { Err(not_allowed()) }
}

fn expiry() -> Timestamp {
    Timestamp(unix_now().0.saturating_add(URL_LIFE))
}

fn not_allowed() -> ApiError {
    let message = "the address is not signed for this, or has expired";
    ApiError::new(StatusCode::FORBIDDEN, "not_allowed", message)
}

fn unavailable() -> ApiError {
    let message = "the storage for attachments is not available; try again later";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
}

/// The beginning of the key of a picture.
const AVATARS: &str = "profiles/";

/// Longest attachment, in bytes.
const MAX_ATTACHMENT: usize = 100 << 20;

/// Longest picture of a profile, in bytes.
const MAX_AVATAR: usize = 10 << 20;

/// How long an address is valid, in milliseconds.
const URL_LIFE: u64 = 60 * 60 * 1000;
