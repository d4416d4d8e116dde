//! Profiles: encrypted names and pictures, which only people with the owner's profile key can read.
//!
//! An account has one version of its profile, and one picture, whose id is a secret: everybody who knows it may download the
//! encrypted picture.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{Router, get, put};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use wormhole_chat::DeviceId;
use wormhole_chat::service::Destination;
use wormhole_http::Response;

use super::attachments::{AvatarForm, fetch_blob};
use super::caller::Caller;
use super::json::{Answer, Base64, Json, Nothing};
use super::{ApiError, Authenticated, ClientAddress, Current};
use crate::messaging::base64;
use crate::messaging::blobs::BlobName;
use crate::messaging::context::Service;
use crate::messaging::random;
use crate::messaging::rate_limits::Action;
use crate::messaging::request_memory::RequestMemory;
use crate::messaging::store::rules::sealed;
use crate::messaging::store::{Account, Avatar, Found, Profile, ReadRows, Rows};

/// The paths of this module.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/profile", put(publish))
        .route("/v1/profile/name/{name}", put(set_name))
        .route("/v1/profile/form/avatar", get(avatar_form))
        .route("/v1/profile/{account}", get(show))
        .route("/v1/profile/{account}/{version}", get(show_version))
        .route("/profiles/{avatar}", get(picture))
}

/// A new version of a profile. Unknown fields are ignored.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewProfile {
    /// 64 hexadecimal digits, derived from the profile key.
    version: String,
    /// Encrypted, in base64.
    #[schema(value_type = Option<String>)]
    name: Option<Base64>,
    #[schema(value_type = Option<String>)]
    about: Option<Base64>,
    #[schema(value_type = Option<String>)]
    about_emoji: Option<Base64>,
    /// Whether there is a picture.
    #[serde(default)]
    avatar: bool,
    /// Whether it is the one that is stored already.
    #[serde(default)]
    same_avatar: bool,
}

/// A profile, as far as the asker may see it. What is not encrypted is known to the server.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownProfile {
    identity_key: Option<String>,
    uuid: String,
    /// Encrypted, in base64, as the other texts; missing if the server has another version.
    name: Option<String>,
    about: Option<String>,
    about_emoji: Option<String>,
    /// The path of the encrypted picture.
    avatar: Option<String>,
    /// HMAC-SHA256 of 32 zeros with the access key, in base64: shows that the server has the right one.
    unidentified_access: Option<String>,
    unrestricted_unidentified_access: bool,
    /// The capabilities of the primary device.
    #[schema(value_type = Object)]
    capabilities: Map<String, Value>,
}

/// Publishes a profile, and replaces the earlier one. If there is a new picture, the answer is a form with which it is
/// uploaded.
#[utoipa::path(
    put, path = "/v1/profile", tag = "profiles", request_body = NewProfile, security(("device" = [])),
    responses(
        (status = 200, description = "the profile is stored; with a new picture, the fields of a form", body = AvatarForm),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "too many changes"),
        (status = 415, description = "the body is malformed"),
        (status = 422, description = "a value has a length that is not permitted"),
    )
)]
pub(super) async fn publish(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
    Json(new): Json<NewProfile>,
) -> Result<Response, ApiError> {
    let keeps_avatar = new.avatar && new.same_avatar;
    let avatar = (new.avatar && !new.same_avatar).then(|| Avatar(random::bytes()));
    let profile = Profile { avatar, ..new.check()? };
    let change = move |stored: Profile| Profile {
        avatar: if keeps_avatar { stored.avatar } else { profile.avatar },
        old_name: stored.old_name,
        ..profile.clone()
    };
    service.change_profile(&found, change).await?;
    Ok(match avatar {
        Some(avatar) => Json(service.avatar_form(&found, avatar)).into_response(),
        None => Json(Nothing {}).into_response(),
    })
}

/// Sets the name in the profile of a client whose profiles have no versions.
#[utoipa::path(
    put, path = "/v1/profile/name/{name}", tag = "profiles", security(("device" = [])),
    params(("name" = String, Path, description = "the encrypted name, in base64 for URLs")),
    responses(
        (status = 200, description = "done", body = Nothing),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "too many changes"),
        (status = 422, description = "the name has a length that is not permitted"),
    )
)]
pub(super) async fn set_name(
    State(service): State<Arc<Service>>,
    Path(name): Path<String>,
    Authenticated(found): Authenticated,
) -> Answer<Nothing> {
    let name = base64::decode(&name).filter(|name| OLD_NAME_LENGTHS.contains(&name.len()));
    let name = name.ok_or_else(|| ApiError::invalid("the name has a wrong length"))?;
    let change = move |stored| Profile { old_name: Some(name.clone()), ..stored };
    service.change_profile(&found, change).await?;
    Ok(Json(Nothing {}))
}

/// Allocates a new picture, and removes the earlier one. It is uploaded as a form, like an attachment.
#[utoipa::path(
    get, path = "/v1/profile/form/avatar", tag = "profiles", security(("device" = [])),
    responses(
        (status = 200, description = "the fields of the form", body = AvatarForm),
        (status = 401, description = "wrong credentials"),
        (status = 413, description = "too many changes"),
    )
)]
pub(super) async fn avatar_form(
    State(service): State<Arc<Service>>,
    Authenticated(found): Authenticated,
) -> Answer<AvatarForm> {
    let avatar = Avatar(random::bytes());
    let change = move |stored| Profile { avatar: Some(avatar), ..stored };
    service.change_profile(&found, change).await?;
    Ok(Json(service.avatar_form(&found, avatar)))
}

/// The profile of a client whose profiles have no versions.
#[utoipa::path(
    get, path = "/v1/profile/{account}", tag = "profiles", security(("device" = []), ("access" = [])),
    params(("account" = String, Path, description = "an account id, a phone number, or NUMBER@APP")),
    responses(
        (status = 200, description = "the profile", body = ShownProfile),
        (status = 400, description = "the account is malformed"),
        (status = 401, description = "wrong credentials, or with an access key: it is wrong, or there is no such account"),
        (status = 404, description = "no such account"),
        (status = 413, description = "too many requests"),
    )
)]
pub(super) async fn show(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path(account): Path<String>,
) -> Answer<ShownProfile> {
    service.show_profile(&caller, &account, None).await
}

/// A version of a profile.
#[utoipa::path(
    get, path = "/v1/profile/{account}/{version}", tag = "profiles", security(("device" = []), ("access" = [])),
    params(
        ("account" = String, Path, description = "an account id, a phone number, or NUMBER@APP"),
        ("version" = String, Path, description = "64 hexadecimal digits"),
    ),
    responses(
        (status = 200, description = "the profile; without its texts if the server has another version", body = ShownProfile),
        (status = 400, description = "the account is malformed"),
        (status = 401, description = "wrong credentials, or with an access key: it is wrong, or there is no such account"),
        (status = 404, description = "no such account"),
        (status = 413, description = "too many requests"),
        (status = 422, description = "the version is malformed"),
    )
)]
pub(super) async fn show_version(
    State(service): State<Arc<Service>>,
    caller: Caller,
    Path((account, version)): Path<(String, String)>,
) -> Answer<ShownProfile> {
    service.show_profile(&caller, &account, Some(check_version(&version)?)).await
}

/// Sends an encrypted picture.
pub(super) async fn picture(
    State(service): State<Arc<Service>>,
    Extension(memory): Extension<RequestMemory>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Path(avatar): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let avatar = Avatar::parse(&avatar).ok_or_else(|| ApiError::not_found("no such picture"))?;
    fetch_blob(&service, BlobName::avatar(avatar), &memory, address, &headers).await
}

impl NewProfile {
    /// The profile without its picture, once each value is checked.
    pub(super) fn check(&self) -> Result<Profile, ApiError> {
        Ok(Profile {
            version: Some(check_version(&self.version)?),
            name: check_length(self.name.as_ref(), &NAME_LENGTHS)?,
            about: check_length(self.about.as_ref(), &ABOUT_LENGTHS)?,
            emoji: check_length(self.about_emoji.as_ref(), &EMOJI_LENGTHS)?,
            old_name: None,
            avatar: None,
        })
    }
}

/// Encrypted values have few lengths, so that they show little. An empty one is missing.
fn check_length(value: Option<&Base64>, lengths: &[usize]) -> Result<Option<Vec<u8>>, ApiError> {
    match value {
        Some(Base64(bytes)) if bytes.is_empty() => Ok(None),
        Some(Base64(bytes)) if lengths.contains(&bytes.len()) => Ok(Some(bytes.clone())),
        Some(_) => Err(ApiError::invalid("a value of the profile has a wrong length")),
        None => Ok(None),
    }
}

fn check_version(version: &str) -> Result<String, ApiError> {
    let is_version = version.len() == VERSION && version.bytes().all(|it| it.is_ascii_hexdigit());
    let invalid = || ApiError::invalid("a version has 64 hexadecimal digits");
    is_version.then(|| version.to_ascii_lowercase()).ok_or_else(invalid)
}

impl Service {
    /// Changes a profile, and removes a picture that is not part of it any more.
    async fn change_profile(
        &self,
        found: &Arc<Found>,
        change: impl Fn(Profile) -> Profile + Send + 'static,
    ) -> Result<(), ApiError> {
        let work = move |rows: &mut dyn Rows, Current { account, .. }| {
            let stored = rows.profile(account.key)?.unwrap_or_default();
            let old = stored.avatar;
            let new = change(stored);
            rows.put_profile(account.key, Some(&new))?;
            Ok(old.filter(|old| Some(*old) != new.avatar))
        };
        let replaced = self.write_for(found, work).await?;
        if let Some(avatar) = replaced {
            self.blobs.remove(BlobName::avatar(avatar)).await;
        }
        Ok(())
    }

    async fn show_profile(
        &self,
        caller: &Caller,
        account: &str,
        version: Option<String>,
    ) -> Answer<ShownProfile> {
        let destination: Destination = account.parse().map_err(ApiError::bad_destination)?;
        match caller {
            Caller::Device(found) => {
                let limit = self.budget().spend(Action::Profile, found.account.id, 1);
                limit.map_err(ApiError::too_many)?;
            }
            Caller::Unidentified(stranger) => drop(self.admit(stranger, &destination).await?),
        }
        let read = move |rows: &mut dyn ReadRows| {
            let Some(account) = sealed::find(rows, &destination)? else { return Ok(None) };
            let profile = rows.profile(account.key)?.unwrap_or_default();
            let devices = rows.devices(account.key)?;
            let first = devices.iter().find(|it| it.columns.number == DeviceId::PRIMARY);
            let attributes = first.map_or("", |device| &device.columns.attributes);
            Ok(Some(ShownProfile::new(&account, profile, version.as_deref(), attributes)))
        };
        let shown = self.storage.read(read).await?;
        shown.map(Json).ok_or_else(|| match caller {
            Caller::Device(found) => {
                self.count_stranger(found, ApiError::not_found("no such account"))
            }
            Caller::Unidentified(_) => ApiError::bad_credentials(),
        })
    }
}

impl ShownProfile {
    /// The profile that clients see who ask for this version; `None`: for the profile without one.
    fn new(account: &Account, profile: Profile, version: Option<&str>, attributes: &str) -> Self {
        let is_same = profile.version.as_deref() == version;
        let name = if version.is_none() { profile.old_name } else { profile.name };
        let shown =
            |bytes: Option<Vec<u8>>| bytes.filter(|_| is_same).map(|bytes| base64::encode(&bytes));
        let name = if version.is_none() { name.map(|it| base64::encode(&it)) } else { shown(name) };
        let has_texts = version.is_some();
        let attributes: Value = serde_json::from_str(attributes).unwrap_or_default();
        let capabilities = attributes.get("capabilities").and_then(Value::as_object);
        Self {
            identity_key: account.identity.as_deref().map(base64::encode_key),
            uuid: account.id.to_string(),
            name,
            about: shown(profile.about).filter(|_| has_texts),
            about_emoji: shown(profile.emoji).filter(|_| has_texts),
            avatar: profile
                .avatar
                .filter(|_| is_same)
                .map(|it| format!("profiles/{}", it.to_text())),
            unidentified_access: account.access.key.map(|key| base64::encode(&key.checksum())),
            unrestricted_unidentified_access: account.access.is_unrestricted,
            capabilities: capabilities.cloned().unwrap_or_default(),
        }
    }
}

/// Digits of a version.
const VERSION: usize = 64;

/// Lengths of encrypted names, in bytes.
const NAME_LENGTHS: [usize; 2] = [81, 285];

/// The limit for clients whose profiles have no versions.
const OLD_NAME_LENGTHS: [usize; 3] = [54, 81, 285];

/// Lengths of encrypted texts about the owner, in bytes.
const ABOUT_LENGTHS: [usize; 3] = [156, 282, 540];

/// Length of an encrypted emoji, in bytes.
const EMOJI_LENGTHS: [usize; 1] = [60];
