//! Uploads that can be continued, with the protocol tus 1.0 and its extensions `creation`, `creation-with-upload` and
//! `termination`, as Signal's clients use it for their store number 3. (docs/chat-service.md "Attachments")
//!
//! The client gets an address and headers. The headers prove that the account may upload one attachment, so nobody else can
//! continue it.

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::map_response;
use axum::response::IntoResponse;
use axum::routing::{Router, get, options, post};
use data_encoding::BASE64;
use futures_util::StreamExt;
use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wormhole_chat::Timestamp;
use wormhole_http::Response;

use super::upload::{Incoming, check_length, receive};
use super::{
    ApiError, Authenticated, BaseUrl, MAX_ATTACHMENT, limit, not_allowed, owner, parse_id,
    public_url, random_id,
};
use crate::messaging::api::json::{Answer, Json};
use crate::messaging::blobs::{BlobName, MAX_PARTIAL, PartialName, Progress, UploadError};
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;
use crate::messaging::request_memory::RequestMemory;
use crate::messaging::signed_url::Permission;
use crate::messaging::store_thread::unix_now;

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    let one = options(describe).head(progress).patch(append).delete(remove);
    Router::new()
        .route(PATH, options(describe).merge(post(create)))
        .route(&format!("{PATH}/{{id}}"), one)
        .layer(map_response(with_version))
        .route("/v4/attachments/form/upload", get(resumable_form))
}

/// Where and how to upload an attachment, so that the upload can be continued.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::messaging::api) struct ResumableForm {
    /// The number of the store, which says how to upload: 3 is tus.
    cdn: u32,
    /// Also the id of the attachment.
    key: String,
    /// Headers that each request of the upload must have.
    headers: ResumableHeaders,
    /// `POST` begins the upload; `/` and the key are added to it for what follows.
    signed_upload_location: String,
}

/// Headers of the requests of an upload.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::messaging::api) struct ResumableHeaders {
    /// Valid for a day, and for this upload only.
    #[serde(rename = "Authorization")]
    authorization: String,
    #[serde(rename = "Upload-Metadata")]
    metadata: String,
}

/// The headers with which a client begins an upload.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::messaging::api) struct Wanted {
    upload_length: Option<u64>,
}

/// Allocates an attachment whose upload can be continued, with the protocol tus 1.0.
#[utoipa::path(
    get, path = "/v4/attachments/form/upload", tag = "attachments", security(("device" = [])),
    params(("uploadLength" = Option<u64>, Query, description = "the length of the encrypted file in bytes")),
    responses(
        (status = 200, description = "where to upload it", body = ResumableForm),
        (status = 400, description = "the file is too long, or `uploadLength` is malformed"),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "too many attachments"),
    )
)]
pub(in crate::messaging::api) async fn resumable_form(
    State(service): State<Arc<Service>>,
    Extension(base): Extension<BaseUrl>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    Authenticated(found): Authenticated,
) -> Answer<ResumableForm> {
    let Query(wanted) = wanted.map_err(|_| ApiError::bad_query())?;
    check_length(wanted.upload_length.unwrap_or_default())?;
    limit(&service, &found)?;
    let (id, owner) = (random_id(), owner(&service, &found));
    let life = u64::try_from(MAX_PARTIAL.as_millis()).unwrap_or(u64::MAX);
    let expires = Timestamp(unix_now().0.saturating_add(life));
    let name = BlobName::of_form(id);
    let signature = service.blobs.key.sign(Permission::Resume, name.as_str(), expires, &owner);
    let key = id.to_string();
    let metadata = format!("filename {}", BASE64.encode(key.as_bytes()));
    let authorization = format!("Bearer {owner}.{}.{signature}", expires.0);
    Ok(Json(ResumableForm {
        cdn: STORE,
        key,
        headers: ResumableHeaders { authorization, metadata },
        signed_upload_location: format!("{}{PATH}", public_url(&service, &base)),
    }))
}

/// The extensions that the server supports.
async fn describe() -> Response {
    let headers = [
        (VERSION, HeaderValue::from_static(TUS)),
        (EXTENSION, HeaderValue::from_static("creation,creation-with-upload,termination")),
        (MAX_SIZE, MAX_ATTACHMENT.into()),
    ];
    answer(StatusCode::NO_CONTENT, headers)
}

/// Begins an upload, perhaps with its first bytes.
async fn create(
    State(service): State<Arc<Service>>,
    Extension(base): Extension<BaseUrl>,
    Extension(memory): Extension<RequestMemory>,
    request: Request,
) -> Result<Response, ApiError> {
    check_version(request.headers())?;
    let key = metadata_key(request.headers()).ok_or_else(not_allowed)?;
    let name = allowed(&service, request.headers(), &key)?;
    let length = number(request.headers(), &LENGTH)?;
    check_length(length)?;
    if length == 0 {
        return Err(ApiError::invalid("an attachment has at least one byte"));
    }
    service.blobs.create_partial(name.clone(), length).await?;
    let mut offset = 0;
    if has_bytes(request.headers()) {
        let owner = credential(request.headers()).ok_or_else(not_allowed)?.owner;
        offset = write(&service, (name, owner), 0, memory, request).await?;
    }
    let location = format!("{}{PATH}/{key}", public_url(&service, &base));
    let location = HeaderValue::from_str(&location).map_err(|_| not_allowed())?;
    Ok(answer(StatusCode::CREATED, [(LOCATION, location), (OFFSET, offset.into())]))
}

/// How many bytes the server has.
async fn progress(
    State(service): State<Arc<Service>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_version(&headers)?;
    let name = allowed(&service, &headers, &key)?;
    let Progress { length, offset } = service.blobs.progress(name).await.map_err(locked)?;
    let no_store = HeaderValue::from_static("no-store");
    let headers = [(OFFSET, offset.into()), (LENGTH, length.into()), (CACHE_CONTROL, no_store)];
    Ok(answer(StatusCode::OK, headers))
}

/// Appends bytes to an upload.
async fn append(
    State(service): State<Arc<Service>>,
    Extension(memory): Extension<RequestMemory>,
    Path(key): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    check_version(request.headers())?;
    let name = allowed(&service, request.headers(), &key)?;
    if !has_bytes(request.headers()) {
        let message = "the content type must be application/offset+octet-stream";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_type", message));
    }
    let offset = number(request.headers(), &OFFSET)?;
    let owner = credential(request.headers()).ok_or_else(not_allowed)?.owner;
    let offset = write(&service, (name, owner), offset, memory, request).await?;
    Ok(answer(StatusCode::NO_CONTENT, [(OFFSET, offset.into())]))
}

/// Gives up an upload.
async fn remove(
    State(service): State<Arc<Service>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check_version(&headers)?;
    let name = allowed(&service, &headers, &key)?;
    service.blobs.remove_partial(name).await.map_err(locked)?;
    Ok(answer(StatusCode::NO_CONTENT, []))
}

/// Writes the body of a request at this offset. Returns how many bytes the server has then.
async fn write(
    service: &Service,
    (name, owner): (PartialName, String),
    offset: u64,
    memory: RequestMemory,
    request: Request,
) -> Result<u64, ApiError> {
    let upload = service.blobs.resume(name, offset).await.map_err(locked)?;
    let left = upload.left();
    if request.body().size_hint().lower() > left {
        return Err(ApiError::too_large());
    }
    let interrupted = Box::pin(upload.interrupted());
    let body = Body::into_data_stream(request.into_body()).take_until(interrupted);
    let max_bytes = usize::try_from(left).unwrap_or(MAX_ATTACHMENT);
    receive(service, upload, Incoming { owner, max_bytes, memory }, body).await
}

/// The account to which an address was given, and until when it is valid.
struct Credential {
    owner: String,
    expires: Timestamp,
    signature: String,
}

fn credential(headers: &HeaderMap) -> Option<Credential> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let mut parts = value.splitn(3, '.');
    let owner = parts.next()?.to_owned();
    let expires = Timestamp(parts.next()?.parse().ok()?);
    Some(Credential { owner, expires, signature: parts.next()?.to_owned() })
}

/// The upload, if the headers allow it and the account does not do this too often.
fn allowed(service: &Service, headers: &HeaderMap, key: &str) -> Result<PartialName, ApiError> {
    let id = parse_id(key).ok_or_else(not_allowed)?;
    let Credential { owner, expires, signature } = credential(headers).ok_or_else(not_allowed)?;
    let name = PartialName::new(&owner, id).ok_or_else(not_allowed)?;
    let blob = name.blob();
    let keys = &service.blobs.key;
    let is_allowed = unix_now() < expires
        && keys.allows(Permission::Resume, blob.as_str(), expires, &owner, &signature);
    let name = is_allowed.then_some(name).ok_or_else(not_allowed)?;
    let limits = &service.limits;
    let spent = limits.spend(Action::AttachmentPart, &owner, 1, Instant::now());
    spent.map_err(ApiError::too_many)?;
    Ok(name)
}

/// The key in the metadata, which the address of a new upload does not have.
fn metadata_key(headers: &HeaderMap) -> Option<String> {
    let metadata = headers.get(METADATA)?.to_str().ok()?;
    let mut pairs = metadata.split(',').filter_map(|pair| pair.trim().split_once(' '));
    let (_, key) = pairs.find(|(name, _)| *name == "filename")?;
    String::from_utf8(BASE64.decode(key.as_bytes()).ok()?).ok()
}

fn check_version(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.get(RESUMABLE).is_some_and(|version| version == TUS) {
        return Ok(());
    }
    let message = "the header Tus-Resumable must be 1.0.0";
    Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "bad_version", message))
}

fn has_bytes(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/offset+octet-stream")
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, ApiError> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let number = value.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = number.and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        let message = format!("the header {name} is missing or not a number");
        ApiError::new(StatusCode::BAD_REQUEST, "bad_request", message)
    })
}

/// Another request writes the same upload.
fn locked(error: UploadError) -> ApiError {
    match error {
        UploadError::Arriving => {
            let message = "another request writes this upload";
            ApiError::new(StatusCode::LOCKED, "uploading", message)
        }
        UploadError::Exists
        | UploadError::Full
        | UploadError::Io(_)
        | UploadError::NotFound
        | UploadError::Offset(_)
        | UploadError::TooMany => error.into(),
    }
}

fn answer<const N: usize>(status: StatusCode, headers: [(HeaderName, HeaderValue); N]) -> Response {
    let mut response = (status, Body::empty()).into_response();
    response.headers_mut().extend(headers);
    response
}

/// Every answer names the version of the protocol, also those with errors.
async fn with_version(mut response: Response) -> Response {
    response.headers_mut().insert(RESUMABLE, HeaderValue::from_static(TUS));
    response
}

/// Where uploads begin.
const PATH: &str = "/attachments/resumable";

/// The version of the protocol.
const TUS: &str = "1.0.0";

/// The number with which clients of Signal choose this protocol.
const STORE: u32 = 3;

const EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const VERSION: HeaderName = HeaderName::from_static("tus-version");
