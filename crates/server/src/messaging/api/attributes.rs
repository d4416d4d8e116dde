//! The JSON of accounts, and the checks of its values.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use wormhole_chat::service::{PhoneNumber, Username};
use wormhole_chat::{DeviceId, Timestamp};

use super::ApiError;
use super::json::{Base64, Number};
use crate::messaging::random;
use crate::messaging::store::rules::registration::DirectoryChoice;
use crate::messaging::store::{AccessChoice, AccessKey, Account, DeviceColumns, TokenHash};

/// The attributes of a device, in the words of its client. Unknown fields are ignored.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AccountAttributes {
    /// 52 bytes in base64: envelopes for this device are encrypted with it.
    #[schema(value_type = Option<String>)]
    signaling_key: Option<Base64>,
    /// Chosen at random when the client is installed: 1 to 16383. Without one, the server chooses.
    #[schema(value_type = Option<u32>)]
    registration_id: Option<Number>,
    /// Whether the client opens a WebSocket to fetch its messages. New devices that do not say so do.
    fetches_messages: Option<bool>,
    /// The name of the device, usually encrypted.
    name: Option<String>,
    supports_sms: Option<bool>,
    voice: Option<bool>,
    video: Option<bool>,
    capabilities: Option<Map<String, Value>>,
    /// 16 bytes in base64: clients that show this key may send to the account without credentials.
    #[schema(value_type = Option<String>)]
    unidentified_access_key: Option<Base64>,
    /// Whether everybody may do so, without the right key. New accounts that do not say so do not allow it.
    unrestricted_unidentified_access: Option<bool>,
    /// Whether others find the account with its number. New accounts that do not say so are found.
    discoverable_by_phone_number: Option<bool>,
    /// Whether others who find the account learn in which app it is. New accounts that do not say so show nothing.
    show_app_in_directory: Option<bool>,
}

/// The new attributes of a device and its account. Fields that the client has left out stay as they are.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    registration_id: Option<u32>,
    signaling_key: Option<Vec<u8>>,
    name: Option<String>,
    fetches_messages: Option<bool>,
    /// The attributes that other clients see, as a JSON object.
    shown: String,
    /// Whether the client has said what it can do.
    has_capabilities: bool,
    pub(super) directory: DirectoryChoice,
    pub(super) access: AccessChoice,
}

/// The name of a device.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceName {
    pub(super) device_name: String,
}

/// How a device is woken.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PushRegistration {
    pub(super) apn_registration_id: Option<String>,
    pub(super) voip_registration_id: Option<String>,
    pub(super) gcm_registration_id: Option<String>,
    /// Whether the client also opens a WebSocket.
    pub(super) web_socket_channel: Option<bool>,
}

/// An account.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Registered {
    /// The id of the account.
    uuid: String,
    number: String,
    /// The app of the account.
    app: String,
    /// The name that the account has chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// Always false: the server has no storage service.
    storage_capable: bool,
}

/// How a device is woken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Channel {
    Apn,
    Gcm,
}

impl AccountAttributes {
    /// The attributes, once each is checked.
    ///
    /// # Errors
    /// A value is not allowed.
    pub(super) fn check(&self) -> Result<Attributes, ApiError> {
        let id = self.registration_id.unwrap_or_default().to_u32();
        let id = id.filter(|id| *id <= MAX_REGISTRATION_ID);
        let id = id.ok_or_else(|| ApiError::invalid("registrationId must be at most 16383"))?;
        let signaling_key = self.signaling_key.as_ref().map(|Base64(key)| key.clone());
        let signaling_key = signaling_key.filter(|key| !key.is_empty());
        if signaling_key.as_ref().is_some_and(|key| key.len() != SIGNALING_KEY) {
            return Err(ApiError::invalid("signalingKey must have 52 bytes"));
        }
        let access_key = self.unidentified_access_key.as_ref().map(|Base64(key)| key.as_slice());
        let access_key = access_key.filter(|key| !key.is_empty()).map(<[u8; 16]>::try_from);
        let access_key = access_key
            .transpose()
            .map_err(|_| ApiError::invalid("unidentifiedAccessKey must have 16 bytes"))?;
        Ok(Attributes {
            // Clients do not compare 0, which some of them send by chance.
            registration_id: Some(id).filter(|id| *id > 0),
            signaling_key,
            name: self.name.clone().map(check_name).transpose()?,
            fetches_messages: self.fetches_messages,
            shown: self.shown()?,
            has_capabilities: self.capabilities.is_some(),
            directory: DirectoryChoice {
                is_discoverable: self.discoverable_by_phone_number,
                shows_app: self.show_app_in_directory,
            },
            access: AccessChoice {
                key: access_key.map(AccessKey),
                is_unrestricted: self.unrestricted_unidentified_access,
            },
        })
    }

    /// The attributes that other clients see, as a JSON object.
    fn shown(&self) -> Result<String, ApiError> {
        let mut shown = Map::new();
        let flags =
            [("voice", self.voice), ("video", self.video), ("supportsSms", self.supports_sms)];
        for (name, _) in flags.into_iter().filter(|(_, flag)| *flag == Some(true)) {
            shown.insert(name.to_owned(), Value::Bool(true));
        }
        if let Some(capabilities) = &self.capabilities {
            shown.insert("capabilities".to_owned(), Value::Object(capabilities.clone()));
        }
        let shown = Value::Object(shown).to_string();
        if shown.len() > MAX_ATTRIBUTES {
            return Err(ApiError::invalid("the capabilities are too long"));
        }
        Ok(shown)
    }
}

impl Attributes {
    /// The columns of a new device with this password. The time is missing.
    pub(super) fn new_device(&self, number: DeviceId, password: &str) -> DeviceColumns {
        let salt = random::bytes();
        let mut device = DeviceColumns {
            number,
            password: TokenHash::of(&salt, password.as_bytes()),
            salt,
            registration_id: random::registration_id(),
            signaling_key: None,
            name: None,
            fetches_messages: true,
            push: None,
            attributes: String::new(),
            created: Timestamp(0),
            last_seen: Timestamp(0),
        };
        self.apply_to_device(&mut device);
        device
    }

    /// Changes a device.
    pub(super) fn apply_to_device(&self, device: &mut DeviceColumns) {
        let attributes = self.clone();
        device.attributes = if attributes.has_capabilities {
            attributes.shown
        } else {
            with_capabilities(attributes.shown, &device.attributes)
        };
        device.registration_id = attributes.registration_id.unwrap_or(device.registration_id);
        device.signaling_key = attributes.signaling_key.or_else(|| device.signaling_key.take());
        device.name = attributes.name.or_else(|| device.name.take());
        device.fetches_messages = attributes.fetches_messages.unwrap_or(device.fetches_messages);
    }
}

impl Registered {
    /// The account as the client sees it.
    pub(super) fn new(account: &Account, username: Option<&Username>) -> Self {
        Self {
            uuid: account.id.to_string(),
            number: account.number.to_string(),
            app: account.app_name.to_string(),
            username: username.map(ToString::to_string),
            storage_capable: false,
        }
    }
}

/// The attributes that other clients see, with the capabilities that a device had before.
fn with_capabilities(shown: String, before: &str) -> String {
    let before: Option<Map<String, Value>> = serde_json::from_str(before).ok();
    let capabilities = before.and_then(|mut before| before.remove("capabilities"));
    match (serde_json::from_str::<Map<String, Value>>(&shown), capabilities) {
        (Ok(mut all), Some(capabilities)) => {
            all.insert("capabilities".to_owned(), capabilities);
            Value::Object(all).to_string()
        }
        _ => shown,
    }
}

/// Parses the number of a path.
pub(super) fn parse_number(text: &str) -> Result<PhoneNumber, ApiError> {
    text.parse()
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "bad_number", format!("{error}")))
}

/// Parses a code as it is displayed: six digits, perhaps with hyphens or spaces.
pub(super) fn parse_code(text: &str) -> Option<u32> {
    let is_separator = |c: char| matches!(c, '-' | ' ');
    let digits: String = text.chars().filter(|c| !is_separator(*c)).collect();
    let is_code = digits.len() == CODE_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_code { digits.parse().ok() } else { None }
}

/// Parses the name of a push channel.
pub(super) fn parse_channel(text: &str) -> Result<Channel, ApiError> {
    match text {
        "apn" => Ok(Channel::Apn),
        "gcm" | "gms" | "fcm" => Ok(Channel::Gcm),
        _ => Err(ApiError::not_found("unknown push channel: use apn or gcm")),
    }
}

/// Checks the name of a device.
pub(super) fn check_name(name: String) -> Result<String, ApiError> {
    if name.len() <= MAX_NAME { Ok(name) } else { Err(ApiError::invalid("the name is too long")) }
}

/// Checks the id that a push service has assigned.
pub(super) fn check_push_id(id: Option<String>) -> Result<String, ApiError> {
    match id {
        Some(id) if (1..=MAX_PUSH_ID).contains(&id.len()) => Ok(id),
        _ => Err(ApiError::invalid("the registration id is missing or too long")),
    }
}

const CODE_DIGITS: usize = 6;

/// Registration ids have 14 bits.
const MAX_REGISTRATION_ID: u32 = 0x3fff;

/// Length of a signaling key, in bytes.
const SIGNALING_KEY: usize = 52;

/// Longest name of a device, in bytes. Encrypted names have 225.
const MAX_NAME: usize = 512;

/// Longest push id, in bytes. Google's have about 160.
const MAX_PUSH_ID: usize = 4096;

/// Longest JSON of what other clients see, in bytes.
const MAX_ATTRIBUTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_as_it_is_displayed() {
        for text in ["123456", "123-456", "123 456"] {
            assert_eq!(parse_code(text), Some(123_456));
        }
        for bad in ["", "12345", "1234567", "12345a", "+12345", "１２３４５６"] {
            assert_eq!(parse_code(bad), None, "{bad}");
        }
    }

    #[test]
    fn attributes_of_old_and_new_clients_are_read() {
        let read = |json: &str| {
            let attributes: AccountAttributes = serde_json::from_str(json).unwrap();
            attributes.check().map(|checked| checked.new_device(DeviceId::PRIMARY, "password"))
        };
        // The form of clients of 2014, in which the id is text.
        let old = read(r#"{"signalingKey":"","supportsSms":false,"registrationId":"14"}"#).unwrap();
        assert_eq!(
            (old.registration_id, old.signaling_key, old.attributes.as_str()),
            (14, None, "{}")
        );
        // The form of the npm client.
        let npm = read(
            r#"{"supportsSms":false,"fetchesMessages":true,"registrationId":16383,
                "unrestrictedUnidentifiedAccess":false,"capabilities":{"uuid":true}}"#,
        );
        assert_eq!(npm.unwrap().attributes, r#"{"capabilities":{"uuid":true}}"#);
        assert!(read(r#"{"registrationId":16384}"#).is_err());
        // Without an id, or with one that clients do not compare, the server chooses one.
        for none in ["{}", r#"{"registrationId":0}"#] {
            assert!((1..=16380).contains(&read(none).unwrap().registration_id), "{none}");
        }
        assert!(read(r#"{"registrationId":1,"signalingKey":"AAAA"}"#).is_err());
        let long = format!(r#"{{"registrationId":1,"name":"{}"}}"#, "x".repeat(513));
        assert!(read(&long).is_err());
    }

    #[test]
    fn what_a_client_does_not_say_stays() {
        let read = |json: &str| -> Attributes {
            serde_json::from_str::<AccountAttributes>(json).unwrap().check().unwrap()
        };
        let key = "A".repeat(69) + "A";
        let all = format!(
            r#"{{"registrationId":7,"name":"n","fetchesMessages":false,"signalingKey":"{key}"}}"#
        );
        let mut device = read(&all).new_device(DeviceId::PRIMARY, "password");
        let before = device.clone();
        read("{}").apply_to_device(&mut device);
        assert_eq!(device, before);
        let capabilities = r#"{"capabilities":{"messageRequests":true}}"#;
        read(capabilities).apply_to_device(&mut device);
        read(r#"{"voice":true}"#).apply_to_device(&mut device);
        let both = r#"{"capabilities":{"messageRequests":true},"voice":true}"#;
        assert_eq!(device.attributes, both);
        read(r#"{"capabilities":{}}"#).apply_to_device(&mut device);
        assert_eq!(device.attributes, r#"{"capabilities":{}}"#);
        read(r#"{"registrationId":8,"name":"m","fetchesMessages":true}"#)
            .apply_to_device(&mut device);
        assert_eq!((device.registration_id, device.fetches_messages), (8, true));
        assert_eq!(
            (device.name.as_deref(), &device.signaling_key),
            (Some("m"), &before.signaling_key)
        );
    }
}
