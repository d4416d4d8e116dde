//! The description of the API, in the format `OpenAPI` 3.1: served at `/openapi.json`, and stored as docs/openapi.json.

use std::sync::LazyLock;

use axum::response::IntoResponse;
use hyper::header::CONTENT_TYPE;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use wormhole_http::Response;

use super::JSON;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Wormhole messaging service",
        version = "1",
        description = "Accounts, keys and encrypted messages for the users of several apps. Every error has a JSON body `{\"error\": CODE, \"message\": TEXT}`. Attachments are uploaded to and downloaded from the addresses that the server returns. See docs/chat-service.md.",
        contact(),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        super::registration::request_code,
        super::registration::confirm_code,
        super::accounts::set_attributes,
        super::accounts::delete_signaling_key,
        super::accounts::set_name,
        super::accounts::whoami,
        super::accounts::delete_account,
        super::push::set_push_id,
        super::push::delete_push_id,
        super::attachments::allocate,
        super::attachments::locate,
        super::attachments::form,
        super::attachments::resumable::resumable_form,
        super::certificates::certify,
        super::certificates::root,
        super::device_list::show,
        super::device_list::put,
        super::devices::list,
        super::devices::request_code,
        super::devices::link,
        super::devices::remove,
        super::profiles::publish,
        super::profiles::set_name,
        super::profiles::avatar_form,
        super::profiles::show,
        super::profiles::show_version,
        super::provisioning::send,
        super::directory::intersect,
        super::directory::look_up,
        super::groups::append,
        super::groups::read,
        super::keys::publish,
        super::keys::count,
        super::keys::publish_signed,
        super::keys::signed,
        super::keys::take,
        super::keepalive,
        super::messages::send,
        super::multi_recipient::send,
        super::messages::fetch,
        super::messages::acknowledge_guid,
        super::messages::acknowledge_sent,
        super::usernames::set,
        super::usernames::remove,
        super::usernames::find,
        super::requests::list,
        super::requests::decide,
        super::requests::report,
    ),
    modifiers(&Credentials),
)]
struct Description;

/// Adds how clients prove who they are.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let device = "the number or the account id, with or without `.DEVICE`, and the password";
        let device = HttpBuilder::new().scheme(HttpAuthScheme::Basic).description(Some(device));
        components.add_security_scheme("device", SecurityScheme::Http(device.build()));
        let access = "the access key of the account, instead of credentials: 16 bytes in base64";
        let access = ApiKeyValue::with_description("Unidentified-Access-Key", access);
        components.add_security_scheme("access", SecurityScheme::ApiKey(ApiKey::Header(access)));
        let app = "the token of the app whose name is in `X-PKG-NAME`; needed unless the account is in the default app";
        let app = ApiKeyValue::with_description("X-PKG-TOKEN", app);
        components.add_security_scheme("app", SecurityScheme::ApiKey(ApiKey::Header(app)));
    }
}

/// The document.
pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, JSON)], DOCUMENT.as_str()).into_response()
}

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| match Description::openapi().to_pretty_json() {
        Ok(json) => json + "\n",
        Err(error) => {
            tracing::error!(%error, "the OpenAPI document cannot be written");
            "{}\n".to_owned()
        }
    });
