//! Profiles, certificates of senders, and sealed messages. (docs/chat-service.md)
//!
//! Requests with an access key go over connections of their own, so that the server cannot tell from the connection who
//! makes them.

use data_encoding::BASE64;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wormhole_chat::{
    AccessKey, AccountId, DeviceId, LeftOut, ProfileKey, PublicKey, Response, SenderCertificate,
    Timestamp,
};

use super::json::{self, Attributes, SealedJson};
use super::{MAX_ANSWER, Service, Unconfirmed, check, header, read, sent};
use crate::chat::error::{RequestError, ServerFault};
use crate::net::http::HttpFailure;

/// Our profile as the server gets it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewProfileJson {
    pub(crate) version: String,
    #[serde(serialize_with = "write", skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Vec<u8>>,
    #[serde(serialize_with = "write", skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<Vec<u8>>,
    pub(crate) avatar: bool,
    pub(crate) same_avatar: bool,
}

/// A profile as the server shows it, still encrypted.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownProfile {
    #[serde(default, deserialize_with = "bytes")]
    pub(crate) name: Option<Vec<u8>>,
    #[serde(default, deserialize_with = "bytes")]
    pub(crate) about: Option<Vec<u8>>,
    /// The path of the encrypted picture.
    #[serde(default)]
    pub(crate) avatar: Option<String>,
    #[serde(default, deserialize_with = "bytes")]
    unidentified_access: Option<Vec<u8>>,
}

/// The fields of a form that uploads a picture.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PictureForm {
    pub(crate) key: String,
    pub(crate) credential: String,
    pub(crate) acl: String,
    pub(crate) algorithm: String,
    pub(crate) date: String,
    pub(crate) policy: String,
    pub(crate) signature: String,
}

#[derive(Debug, Deserialize)]
struct Certified {
    #[serde(deserialize_with = "bytes")]
    certificate: Option<Vec<u8>>,
}

#[derive(Debug, Deserialize)]
struct Root {
    #[serde(deserialize_with = "bytes")]
    root: Option<Vec<u8>>,
}

impl ShownProfile {
    /// Whether the server has the access key of this profile key.
    pub(crate) fn has_checksum(&self, key: &ProfileKey) -> bool {
        self.unidentified_access.as_deref() == Some(key.access_key().checksum().as_slice())
    }
}

impl Service {
    /// Changes what the server knows about our device and our account.
    pub(crate) async fn set_attributes(&self, attributes: &Attributes) -> Result<(), RequestError> {
        let body = json::write(attributes)?;
        let answer = self.ask(Method::PUT, "/v1/accounts/attributes", Some(body)).await?;
        read(&answer).map(|_: json::Accepted| ())
    }

    /// Publishes our profile. With a new picture, the answer is a form for it.
    pub(crate) async fn put_profile(
        &self,
        profile: &NewProfileJson,
    ) -> Result<Option<PictureForm>, RequestError> {
        let body = json::write(profile)?;
        let answer = self.ask(Method::PUT, "/v1/profile", Some(body)).await?;
        if profile.avatar && !profile.same_avatar {
            return read(&answer).map(Some);
        }
        read(&answer).map(|_: json::Accepted| None)
    }

    /// A version of the profile of an account, asked for with an access key, or else with our credentials.
    pub(crate) async fn profile(
        &self,
        of: AccountId,
        version: &str,
        access: Option<&AccessKey>,
    ) -> Result<ShownProfile, RequestError> {
        let path = format!("/v1/profile/{of}/{version}");
        let Some(access) = access else {
            return read(&self.ask(Method::GET, &path, None).await?);
        };
        let request = self.anonymous(Method::GET, &path, None, access)?;
        read(&check(self.unidentified.request(request, MAX_ANSWER).await?)?)
    }

    /// Downloads an encrypted picture.
    pub(crate) async fn picture(&self, path: &str) -> Result<Vec<u8>, RequestError> {
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/".contains(&byte);
        if !path.starts_with("profiles/") || !path.bytes().all(is_safe) {
            return Err(ServerFault::FileAddress.into());
        }
        let request = Request::get(self.url.path(&format!("/{path}"))).body(Bytes::new());
        let request = request.map_err(|_| RequestError::Internal)?;
        check(self.unidentified.request(request, MAX_PICTURE).await?)
    }

    /// A certificate that says who we are, without our number.
    pub(crate) async fn certificate(&self) -> Result<SenderCertificate, RequestError> {
        let path = "/v1/certificate/delivery?includeE164=false";
        let Certified { certificate } = read(&self.ask(Method::GET, path, None).await?)?;
        let certificate = certificate.and_then(|bytes| SenderCertificate::decode(&bytes).ok());
        certificate.ok_or_else(|| ServerFault::Certificate.into())
    }

    /// The key that all certificates can be traced to.
    pub(crate) async fn root(&self) -> Result<PublicKey, RequestError> {
        let Root { root } = read(&self.ask(Method::GET, "/v1/certificate/root", None).await?)?;
        let root = root.and_then(|bytes| PublicKey::decode(&bytes).ok());
        root.ok_or_else(|| ServerFault::Certificate.into())
    }

    /// Sends a sealed message, so that the server does not learn who has sent it. The parts are devices, their registration
    /// ids, and what they get.
    ///
    /// # Errors
    /// As for [`Service::send`]. `CredentialsRefused`: the access key is wrong.
    pub(crate) async fn send_sealed(
        &self,
        to: AccountId,
        timestamp: Timestamp,
        parts: &[(DeviceId, u32, Vec<u8>)],
        left_out: Option<&LeftOut>,
        is_online: bool,
        access: &AccessKey,
    ) -> Result<Response, Unconfirmed> {
        let path = format!("/v1/messages/{to}");
        let request = json::write(&SealedJson::new(timestamp, parts, left_out, is_online))
            .and_then(|body| self.anonymous(Method::PUT, &path, Some(body), access));
        let request = request.map_err(|why| Unconfirmed { why, may_have_arrived: false })?;
        let response = self.unidentified.request(request, MAX_ANSWER).await;
        let response = response.map_err(|failure| {
            let may_have_arrived = !matches!(failure, HttpFailure::NotConnected(_));
            Unconfirmed { why: failure.into(), may_have_arrived }
        })?;
        let is_repeated = response.is_repeated;
        sent(response).map_err(|why| {
            let is_vague =
                matches!(why, RequestError::InvalidAnswer(_) | RequestError::Unavailable(_));
            Unconfirmed { why, may_have_arrived: is_vague || is_repeated }
        })
    }

    /// A request that does not say who makes it.
    fn anonymous(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        access: &AccessKey,
    ) -> Result<Request<Bytes>, RequestError> {
        let key = header(&BASE64.encode(access.expose()))?;
        let request = Request::builder().method(method).uri(self.url.path(path));
        let mut request = request.header("unidentified-access-key", key);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(body.unwrap_or_default().into());
        request.map_err(|_| RequestError::Internal)
    }
}

fn write<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes.as_deref().unwrap_or_default()))
}

/// Bytes in base64; null or malformed ones are missing.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| BASE64.decode(text.as_bytes()).ok()))
}

/// The body of a response, as each of those that it could be.
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(body: &[u8]) {
    let key = ProfileKey::from_secret(wormhole_kit::Secret::new([7; 32]));
    if let Ok(shown) = read::<ShownProfile>(body) {
        let _same = shown.has_checksum(&key);
        let _name = shown.name.map(|name| key.open(&name));
    }
    let _form = read::<PictureForm>(body);
    if let Ok(Certified { certificate: Some(bytes) }) = read(body) {
        let _certificate = SenderCertificate::decode(&bytes);
    }
    if let Ok(Root { root: Some(bytes) }) = read(body) {
        let _root = PublicKey::decode(&bytes);
    }
}

/// Longest encrypted picture, in bytes.
const MAX_PICTURE: usize = 10 << 20;
