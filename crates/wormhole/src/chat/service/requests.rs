//! Requests about people: message requests, usernames, and what the directory shows. (docs/chat-service.md)

use data_encoding::BASE64;
use hyper::Method;
use serde::{Deserialize, Serialize};
use wormhole_chat::AccountId;
use wormhole_chat::service::Username;

use super::{Service, json, read};
use crate::chat::error::{RequestError, ServerFault};
use crate::chat::store::Evidence;

/// A decision about somebody.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    Accept,
    Block,
    Delete,
    Report(&'a Evidence),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DecisionJson {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    report: Option<ReportJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportJson {
    guid: String,
    server_timestamp: u64,
    content_hash: String,
    token: String,
}

/// The capabilities of our device, and whether the directory shows the account.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CapabilitiesJson {
    capabilities: Capabilities,
    #[serde(skip_serializing_if = "Option::is_none")]
    discoverable_by_phone_number: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Capabilities {
    message_requests: bool,
}

#[derive(Deserialize)]
struct NameJson {
    #[serde(default)]
    username: Option<String>,
}

impl Service {
    /// Tells the server what we have decided about an account. Can be repeated.
    pub(crate) async fn decide(
        &self,
        about: AccountId,
        action: Action<'_>,
    ) -> Result<(), RequestError> {
        let (action, report) = match action {
            Action::Accept => ("accept", None),
            Action::Block => ("block", None),
            Action::Delete => ("delete", None),
            Action::Report(evidence) => ("report", Some(ReportJson::from_evidence(evidence))),
        };
        let body = json::write(&DecisionJson { action, report })?;
        let path = format!("/v1/requests/{about}");
        read(&self.ask(Method::PUT, &path, Some(body)).await?).map(|_: json::Accepted| ())
    }

    /// Says whether our device knows message requests and, if given, whether others find the account with its number.
    pub(crate) async fn set_capabilities(
        &self,
        message_requests: bool,
        discoverable_by_phone_number: Option<bool>,
    ) -> Result<(), RequestError> {
        let capabilities = Capabilities { message_requests };
        let body = json::write(&CapabilitiesJson { capabilities, discoverable_by_phone_number })?;
        let path = "/v1/accounts/attributes";
        read(&self.ask(Method::PUT, path, Some(body)).await?).map(|_: json::Accepted| ())
    }

    /// The username of our account.
    pub(crate) async fn username(&self) -> Result<Option<Username>, RequestError> {
        let found: NameJson = read(&self.ask(Method::GET, "/v1/accounts/whoami", None).await?)?;
        let name = found.username.map(|name| name.parse()).transpose();
        name.map_err(|_| ServerFault::Username.into())
    }

    /// The account that has a username.
    pub(crate) async fn account_of(&self, name: &Username) -> Result<AccountId, RequestError> {
        let path = format!("/v1/accounts/username/{name}");
        let found: json::Registered = read(&self.ask(Method::GET, &path, None).await?)?;
        Ok(found.uuid)
    }

    /// Gives our account a username. False if another account has it.
    pub(crate) async fn set_username(&self, name: &Username) -> Result<bool, RequestError> {
        let path = format!("/v1/accounts/username/{name}");
        let answer = self.exchange(Method::PUT, &path, None).await?;
        if answer.status == 409 {
            return Ok(false);
        }
        read(&super::check(answer)?).map(|_: json::Accepted| true)
    }

    /// Removes the username of our account.
    pub(crate) async fn remove_username(&self, name: &Username) -> Result<(), RequestError> {
        let path = format!("/v1/accounts/username/{name}");
        read(&self.ask(Method::DELETE, &path, None).await?).map(|_: json::Accepted| ())
    }
}

impl ReportJson {
    fn from_evidence(evidence: &Evidence) -> Self {
        Self {
            guid: AccountId::from_bytes(evidence.guid).to_string(),
            server_timestamp: evidence.accepted.0,
            content_hash: BASE64.encode(&evidence.content),
            token: BASE64.encode(&evidence.token),
        }
    }
}
