//! The logs of groups, and messages for many recipients. (docs/chat-service.md "Groups")

use data_encoding::BASE64;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request};
use serde::Deserialize;
use wormhole_chat::group::{AccessHashes, GroupAccess, GroupId};
use wormhole_chat::{AccountDevices, AccountId, DeviceId, Response, SenderCertificate, Timestamp};

use super::{Failure, MAX_ANSWER, Service, check, header, json, read};
use crate::chat::RequestError;

/// A certificate for our device.
#[derive(Deserialize)]
struct CertificateJson {
    certificate: String,
}

/// Entries of a log.
#[derive(Deserialize)]
struct EntriesJson {
    entries: Vec<EntryJson>,
    revision: u64,
}

#[derive(Deserialize)]
struct EntryJson {
    revision: u64,
    entry: String,
}

/// The last entry of a log.
#[derive(Deserialize)]
struct ConflictJson {
    revision: u64,
}

/// The accounts that do not exist any more.
#[derive(Deserialize)]
struct SentJson {
    uuids404: Vec<String>,
}

/// The wrong devices of an account.
#[derive(Deserialize)]
struct AccountJson {
    uuid: String,
    devices: DevicesJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DevicesJson {
    #[serde(default)]
    missing_devices: Vec<u32>,
    #[serde(default)]
    extra_devices: Vec<u32>,
    #[serde(default)]
    stale_devices: Vec<u32>,
}

impl Service {
    /// Adds an entry to the log of a group.
    pub(crate) async fn append_group_entry(
        &self,
        (group, revision): (GroupId, u64),
        access: &GroupAccess,
        next: Option<AccessHashes>,
        entry: &[u8],
    ) -> Result<Response, RequestError> {
        let path = format!("/v1/groups/{group}/entries/{revision}");
        let mut request =
            self.bytes(Method::PUT, &path, entry.to_vec(), "application/octet-stream")?;
        let headers = request.headers_mut();
        headers.insert(ACCESS, header(&BASE64.encode(access.expose()))?);
        if let Some(next) = next {
            headers.insert(NEXT_ACCESS, header(&BASE64.encode(&next.member))?);
            headers.insert(NEXT_ADMIN, header(&BASE64.encode(&next.admin))?);
            if let Some(link) = next.link {
                headers.insert(NEXT_LINK, header(&BASE64.encode(&link))?);
            }
        }
        let response = self.http.request(request, MAX_ANSWER).await?;
        if response.status == 409 {
            let conflict: ConflictJson = read(&response.body)?;
            return Ok(Response::GroupConflict { latest: conflict.revision });
        }
        if response.status == 403 && is_final(&response.body) {
            return Ok(Response::Refused);
        }
        read(&check(response)?).map(|_: json::Accepted| Response::Done)
    }

    /// Fetches entries of the log of a group.
    pub(crate) async fn group_entries(
        &self,
        group: GroupId,
        access: &GroupAccess,
        from: u64,
    ) -> Result<Response, RequestError> {
        let path = format!("/v1/groups/{group}/entries?from={from}");
        let mut request = self.request(Method::GET, &path, None)?;
        request.headers_mut().insert(ACCESS, header(&BASE64.encode(access.expose()))?);
        let response = self.http.request(request, MAX_ANSWER).await?;
        let EntriesJson { entries, revision } = read(&check(response)?)?;
        let entries = entries.into_iter().map(|EntryJson { revision, entry }| {
            let entry = BASE64.decode(entry.as_bytes()).map_err(|_| RequestError::NotAService)?;
            Ok((revision, entry))
        });
        let entries = entries.collect::<Result<_, RequestError>>()?;
        Ok(Response::GroupEntries { entries, latest: revision })
    }

    /// Fetches a certificate for our device.
    pub(crate) async fn group_certificate(&self) -> Result<Response, RequestError> {
        let certificate: CertificateJson =
            read(&self.ask(Method::GET, "/v1/certificate/delivery", None).await?)?;
        let bytes = BASE64.decode(certificate.certificate.as_bytes());
        let bytes = bytes.map_err(|_| RequestError::NotAService)?;
        let certificate =
            SenderCertificate::decode(&bytes).map_err(|_| RequestError::NotAService)?;
        Ok(Response::Certificate(Box::new(certificate)))
    }

    /// Sends a sealed message to all its recipients.
    pub(crate) async fn send_to_many(
        &self,
        timestamp: Timestamp,
        message: &[u8],
    ) -> Result<Response, RequestError> {
        let path =
            format!("/v1/messages/multi_recipient?ts={}&online=false&urgent=true", timestamp.0);
        let kind = "application/vnd.signal-messenger.mrm";
        let request = self.bytes(Method::PUT, &path, message.to_vec(), kind)?;
        let response = self.http.request(request, MAX_ANSWER).await?;
        if matches!(response.status, 409 | 410) {
            let accounts: Vec<AccountJson> = read(&response.body)?;
            let accounts = accounts.into_iter().map(AccountJson::devices);
            let accounts = accounts.collect::<Option<Vec<_>>>().ok_or(RequestError::NotAService)?;
            // Without a device there is nothing to change: to encrypt the message again could deliver it twice.
            let names_some = |it: &AccountDevices| {
                !it.missing.is_empty() || !it.extra.is_empty() || !it.stale.is_empty()
            };
            let is_useful = accounts.iter().any(names_some);
            let unavailable = RequestError::Unavailable(response.status);
            return is_useful.then_some(Response::GroupMismatched(accounts)).ok_or(unavailable);
        }
        let sent: SentJson = read(&check(response)?)?;
        let gone = sent.uuids404.iter().filter_map(|id| id.parse().ok());
        Ok(Response::GroupSent { gone: gone.collect() })
    }

    /// A request with a body that is not JSON.
    fn bytes(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        kind: &'static str,
    ) -> Result<Request<hyper::body::Bytes>, RequestError> {
        let mut request = self.request(method, path, Some(body))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Ok(request)
    }
}

/// Whether the server will never accept the entry.
fn is_final(body: &[u8]) -> bool {
    let failure: Option<Failure> = serde_json::from_slice(body).ok();
    let codes = ["already_joined", "link_used", "not_admin", "too_many_groups"];
    failure.is_some_and(|failure| codes.contains(&failure.error.as_str()))
}

impl AccountJson {
    fn devices(self) -> Option<AccountDevices> {
        let ids = |numbers: Vec<u32>| numbers.into_iter().filter_map(DeviceId::new).collect();
        let account: AccountId = self.uuid.parse().ok()?;
        Some(AccountDevices {
            account,
            missing: ids(self.devices.missing_devices),
            extra: ids(self.devices.extra_devices),
            stale: ids(self.devices.stale_devices),
        })
    }
}

/// A key of a group.
const ACCESS: HeaderName = HeaderName::from_static("group-access");

/// The hash of the next key of members.
const NEXT_ACCESS: HeaderName = HeaderName::from_static("group-next-access");

/// The hash of the next key of administrators.
const NEXT_ADMIN: HeaderName = HeaderName::from_static("group-next-admin");

/// The hash of the next key of the link.
const NEXT_LINK: HeaderName = HeaderName::from_static("group-next-link");
