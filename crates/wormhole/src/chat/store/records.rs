//! The values of the application's rows: registration and contacts.
//!
//! A text is its length (4 bytes, big-endian) and its bytes in UTF-8. An optional field is `00`, or `01` and the field.

use std::fmt;

use wormhole_chat::{AccountId, Address, PublicKey};
use wormhole_kit::Reader;
use zeroize::Zeroizing;

use super::StoreError;
use super::state_key::decode_address;
use crate::chat::profile::ContactProfile;

/// How this device is registered.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct Registration {
    /// The address of the server.
    pub server: String,
    /// The app, unless the server has one for clients that do not name it.
    pub app: Option<App>,
    /// The phone number.
    pub number: String,
    /// The password of this device for the server.
    pub password: Zeroizing<String>,
    /// Random: other devices notice with it that this device was registered again. At most 16383.
    pub registration_id: u32,
    /// The account and the device, once the code is confirmed.
    pub account: Option<Address>,
}

/// An app of the server.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub struct App {
    /// Its name, such as `com.example.one`.
    pub name: String,
    /// Its token.
    pub token: Zeroizing<String>,
}

/// A person or a device that the user knows.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "applications create it")]
pub struct Contact {
    /// The account.
    pub account: AccountId,
    /// The phone number, according to the server. Only a hint, for display, unless `is_default` or `is_in_app` is set:
    /// anybody may have put it into a message.
    pub number: Option<String>,
    /// The app, according to the server.
    pub app: Option<String>,
    /// The name that the user chose.
    pub name: Option<String>,
    /// Whether the number without an app led to this account when the server was asked.
    pub is_default: bool,
    /// Whether the number in this app led to this account when the server was asked.
    pub is_in_app: bool,
    /// The identity key whose safety number the user has compared.
    pub verified: Option<PublicKey>,
    /// The profile of the person, if they have shared it.
    pub profile: Option<ContactProfile>,
}

impl fmt::Debug for Registration {
    /// Shows neither the number nor secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, app, account, registration_id: _, number: _, password: _ } = self;
        f.debug_struct("Registration")
            .field("server", server)
            .field("app", app)
            .field("account", account)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for App {
    /// Does not show the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Registration {
    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut value = Zeroizing::new(vec![FORMAT]);
        put_text(&mut value, &self.server);
        put_text(&mut value, &self.number);
        put_text(&mut value, &self.password);
        value.extend(self.registration_id.to_be_bytes());
        value.push(self.app.is_some().into());
        if let Some(app) = &self.app {
            put_text(&mut value, &app.name);
            put_text(&mut value, &app.token);
        }
        value.push(self.account.is_some().into());
        if let Some(Address { account, device }) = self.account {
            value.extend(account.as_bytes());
            value.push(device.number());
        }
        value
    }

    pub(super) fn decode(value: &[u8]) -> Result<Self, StoreError> {
        let mut reader = start(value)?;
        let (server, number) = (read_text(&mut reader)?, read_text(&mut reader)?);
        let password = Zeroizing::new(read_text(&mut reader)?);
        let registration_id = reader.u32_be()?;
        let app = read_optional(&mut reader, |reader| {
            let name = read_text(reader)?;
            Ok(App { name, token: Zeroizing::new(read_text(reader)?) })
        })?;
        let account = read_optional(&mut reader, decode_address)?;
        end(&reader, Self { server, app, number, password, registration_id, account })
    }
}

impl Contact {
    /// Whether the user, and not only the server, has said something about the account.
    pub(in crate::chat) const fn is_known(&self) -> bool {
        self.is_default || self.is_in_app || self.name.is_some() || self.verified.is_some()
    }

    /// Whether the user has said that it is somebody in particular. A number alone does not say that.
    pub(in crate::chat) const fn is_accepted(&self) -> bool {
        self.name.is_some() || self.verified.is_some()
    }

    /// Encodes everything except for the account, which is the key.
    pub(in crate::chat) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut value = Zeroizing::new(vec![FORMAT]);
        for text in [&self.number, &self.app, &self.name] {
            value.push(text.is_some().into());
            text.iter().for_each(|text| put_text(&mut value, text));
        }
        value.push(u8::from(self.is_default) | u8::from(self.is_in_app) << 1);
        value.push(self.verified.is_some().into());
        value.extend(self.verified.iter().flat_map(|key| *key.as_u()));
        self.profile.iter().for_each(|profile| profile.encode(&mut value));
        value
    }

    pub(in crate::chat) fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let account = AccountId::from_bytes(Reader::new(key).array()?);
        let mut reader = start(value)?;
        let number = read_optional(&mut reader, read_text)?;
        let app = read_optional(&mut reader, read_text)?;
        let name = read_optional(&mut reader, read_text)?;
        // Earlier versions wrote only the first bit.
        let (is_default, is_in_app) = match reader.u8()? {
            flags @ 0..=3 => (flags & 1 != 0, flags & 2 != 0),
            _ => return Err(StoreError::Damaged),
        };
        let verified = read_optional(&mut reader, |reader| {
            PublicKey::from_u(reader.array()?).map_err(|_| StoreError::Damaged)
        })?;
        // Earlier versions of this program stored no profile.
        let has_profile = !reader.is_empty();
        let profile = if has_profile { Some(ContactProfile::decode(&mut reader)?) } else { None };
        end(&reader, Self { account, number, app, name, is_default, is_in_app, verified, profile })
    }
}

pub(super) fn start(value: &[u8]) -> Result<Reader<'_>, StoreError> {
    let mut reader = Reader::new(value);
    if reader.u8()? == FORMAT { Ok(reader) } else { Err(StoreError::UnknownFormat) }
}

pub(super) fn end<T>(reader: &Reader<'_>, value: T) -> Result<T, StoreError> {
    if reader.is_empty() { Ok(value) } else { Err(StoreError::Damaged) }
}

pub(super) fn put_text(value: &mut Vec<u8>, text: &str) {
    // Texts here are far shorter than 4 GiB.
    value.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    value.extend(text.as_bytes());
}

pub(super) fn read_text(reader: &mut Reader<'_>) -> Result<String, StoreError> {
    let text = std::str::from_utf8(read_bytes(reader)?);
    text.map(str::to_owned).map_err(|_| StoreError::Damaged)
}

/// Bytes after their length.
pub(super) fn read_bytes<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], StoreError> {
    let length = usize::try_from(reader.u32_be()?).map_err(|_| StoreError::Damaged)?;
    Ok(reader.take(length)?)
}

pub(super) fn read_flag(reader: &mut Reader<'_>) -> Result<bool, StoreError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(StoreError::Damaged),
    }
}

pub(super) fn read_optional<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    if read_flag(reader)? { read(reader).map(Some) } else { Ok(None) }
}

/// First byte of each value.
pub(super) const FORMAT: u8 = 1;
