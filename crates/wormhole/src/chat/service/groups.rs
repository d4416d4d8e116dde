//! The logs of groups, and messages for many recipients. (docs/chat-service.md "Groups")

use data_encoding::BASE64;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request};
use serde::Deserialize;
use wormhole_chat::group::{AccessHashes, GroupAccess, GroupId};
use wormhole_chat::{AccountDevices, AccountId, DeviceId, LeftOut, Response, Timestamp};

use super::{Failure, HttpFailure, MAX_ANSWER, Service, Unconfirmed, check, header, json, read};
use crate::chat::error::{RequestError, ServerFault};
use crate::net::http::HttpResponse;

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

/// The accounts that do not exist any more, and those for which the server has no room now.
#[derive(Deserialize)]
struct SentJson {
    uuids404: Vec<String>,
    /// Servers of others leave it out.
    #[serde(default)]
    uuids413: Vec<String>,
}

impl SentJson {
    /// # Errors
    /// A name of an account is malformed: to ignore it could lose the message for it.
    fn response(&self) -> Result<Response, RequestError> {
        let ids = |texts: &[String]| texts.iter().map(|id| id.parse()).collect::<Result<_, _>>();
        let (gone, full) = (ids(&self.uuids404), ids(&self.uuids413));
        let (Ok(gone), Ok(full)) = (gone, full) else { return Err(ServerFault::Devices.into()) };
        Ok(Response::GroupSent { gone, full })
    }
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
            let entry = BASE64.decode(entry.as_bytes()).map_err(|_| ServerFault::GroupEntry)?;
            Ok((revision, entry))
        });
        let entries = entries.collect::<Result<_, RequestError>>()?;
        Ok(Response::GroupEntries { entries, latest: revision })
    }

    /// Sends a sealed message to all its recipients.
    ///
    /// # Errors
    /// The server has not confirmed that it has the message, but may have it.
    pub(crate) async fn send_to_many(
        &self,
        timestamp: Timestamp,
        message: &[u8],
        left_out: &[(AccountId, LeftOut)],
        is_online: bool,
    ) -> Result<Response, Unconfirmed> {
        let (time, is_urgent) = (timestamp.0, !is_online);
        let mut path =
            format!("/v1/messages/multi_recipient?ts={time}&online={is_online}&urgent={is_urgent}");
        let left_out = left_out.iter().flat_map(|(account, it)| {
            let name = move |device: &DeviceId| format!("{account}.{}", device.number());
            it.devices.iter().map(move |device| format!("{}.{}", name(device), it.revision))
        });
        let left_out: Vec<_> = left_out.take(LeftOut::MAX_IN_GROUP).collect();
        if !left_out.is_empty() {
            path += &format!("&leftOut={}", left_out.join(","));
        }
        let kind = "application/vnd.signal-messenger.mrm";
        let request = self.bytes(Method::PUT, &path, message.to_vec(), kind);
        let request = request.map_err(|why| Unconfirmed { why, may_have_arrived: false })?;
        let response = self.http.request(request, MAX_ANSWER).await.map_err(|failure| {
            let may_have_arrived = !matches!(failure, HttpFailure::NotConnected(_));
            Unconfirmed { why: failure.into(), may_have_arrived }
        })?;
        let is_repeated = response.is_repeated;
        sent_to_many(response).map_err(|why| {
            // Only the service itself knows, not a proxy in front of it.
            let is_vague =
                matches!(why, RequestError::InvalidAnswer(_) | RequestError::Unavailable(_));
            Unconfirmed { why, may_have_arrived: is_vague || is_repeated }
        })
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

/// The answer to a message for many.
fn sent_to_many(response: HttpResponse) -> Result<Response, RequestError> {
    if matches!(response.status, 409 | 410) {
        let accounts: Vec<AccountJson> = read(&response.body)?;
        let accounts = accounts.into_iter().map(AccountJson::devices);
        let accounts = accounts.collect::<Option<Vec<_>>>().ok_or(ServerFault::Devices)?;
        // Without a device there is nothing to change: to encrypt the message again could deliver it twice.
        let names_some = |it: &AccountDevices| {
            !it.missing.is_empty() || !it.extra.is_empty() || !it.stale.is_empty()
        };
        let is_useful = accounts.iter().any(names_some);
        let unavailable = RequestError::Unavailable(response.status);
        return is_useful.then_some(Response::GroupMismatched(accounts)).ok_or(unavailable);
    }
    read::<SentJson>(&check(response)?)?.response()
}

/// Whether the server will never accept the entry.
fn is_final(body: &[u8]) -> bool {
    let failure: Option<Failure> = serde_json::from_slice(body).ok();
    let codes = ["already_joined", "link_used", "not_admin", "too_many_groups", "too_much"];
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

/// The body of a response, as each of those that it could be.
#[cfg(feature = "fuzzing")]
pub(super) fn read_any(body: &[u8]) {
    if let Ok(sent) = read::<SentJson>(body) {
        let _sent = sent.response();
    }
    if let Ok(accounts) = read::<Vec<AccountJson>>(body) {
        let _devices: Option<Vec<_>> = accounts.into_iter().map(AccountJson::devices).collect();
    }
    let _entries = read::<EntriesJson>(body);
    let _conflict = read::<ConflictJson>(body);
}

/// A key of a group.
const ACCESS: HeaderName = HeaderName::from_static("group-access");

/// The hash of the next key of members.
const NEXT_ACCESS: HeaderName = HeaderName::from_static("group-next-access");

/// The hash of the next key of administrators.
const NEXT_ADMIN: HeaderName = HeaderName::from_static("group-next-admin");

/// The hash of the next key of the link.
const NEXT_LINK: HeaderName = HeaderName::from_static("group-next-link");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_without_room_are_not_taken_for_recipients() {
        let id = AccountId::from_bytes([7; 16]);
        let answer = |text: String| read::<SentJson>(text.as_bytes())?.response();
        let sent = answer(format!(r#"{{"uuids404":[],"uuids413":["{id}"]}}"#));
        assert_eq!(sent, Ok(Response::GroupSent { gone: vec![], full: vec![id] }));
        let old = answer(format!(r#"{{"uuids404":["{id}"]}}"#));
        assert_eq!(old, Ok(Response::GroupSent { gone: vec![id], full: vec![] }));
        let malformed = answer(r#"{"uuids404":[],"uuids413":["bob"]}"#.to_owned());
        assert_eq!(malformed, Err(ServerFault::Devices.into()));
    }
}
