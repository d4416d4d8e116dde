//! The URI in the QR code of a new device: the address at which it waits, and its key.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD};
use wormhole_chat::{KeyPair, PublicKey, provisioning_address};

/// The content of the QR code of a new device, such as `sgnl://linkdevice?uuid=…&pub_key=…`.
///
/// Anybody who sees it can send the device an account, and anybody who shows it gets one. It does not prove whose device it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LinkUri {
    address: String,
    key: PublicKey,
    registration_id: Option<u32>,
}

impl LinkUri {
    /// The code of a device that waits at this address of the service, with this key. `None` if the address is malformed.
    pub fn new(address: &str, key: PublicKey) -> Option<Self> {
        let address = is_address(address).then(|| address.to_owned())?;
        Some(Self { address, key, registration_id: None })
    }

    /// The same with the registration id that the device will have.
    pub const fn with_registration_id(mut self, registration_id: u32) -> Self {
        self.registration_id = Some(registration_id);
        self
    }

    /// The code of a device that has got its address from the service. `body` is that of the request `PUT /v1/address`. `None` if it
    /// is malformed.
    pub(crate) fn from_address(body: &[u8], pair: &KeyPair) -> Option<Self> {
        Self::new(&provisioning_address(body)?, *pair.public())
    }

    /// Where the device waits. It has only characters that a path of a URL can contain.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The key with which the message for the device is encrypted.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The registration id that the device will have. `None`: its program does not say so.
    pub const fn registration_id(&self) -> Option<u32> {
        self.registration_id
    }

    /// The spelling of earlier programs: `tsdevice:/?uuid=…&pub_key=…`.
    pub fn to_older_text(&self) -> String {
        format!("{OLDER}?{}", self.query())
    }

    fn query(&self) -> String {
        let key = BASE64.encode(&self.key.encode());
        let key = key.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let id = self.registration_id.map(|id| format!("&{REGISTRATION_ID}={id}"));
        let id = id.unwrap_or_default();
        format!("uuid={}&pub_key={key}{id}", self.address.replace('=', "%3D"))
    }
}

impl fmt::Display for LinkUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NEWER}?{}", self.query())
    }
}

/// The text is not the QR code of a new device.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not the QR code of a new device: expected a text such as sgnl://linkdevice?uuid=…&pub_key=…"
)]
#[non_exhaustive]
pub struct NotALinkUri;

impl FromStr for LinkUri {
    type Err = NotALinkUri;

    /// Reads both spellings. Unknown parameters are ignored, because later programs may add some.
    fn from_str(text: &str) -> Result<Self, NotALinkUri> {
        let text = text.trim();
        let (start, query) = text.split_once('?').ok_or(NotALinkUri)?;
        let starts = [NEWER, "sgnl://linkdevice/", OLDER, "tsdevice:", "tsdevice://"];
        let is_known = starts.iter().any(|known| start.eq_ignore_ascii_case(known));
        if text.len() > MAX_TEXT || !is_known {
            return Err(NotALinkUri);
        }
        let value = |name: &str| {
            let mut values = query.split('&').filter_map(|pair| pair.split_once('='));
            values.find(|(it, _)| *it == name).and_then(|(_, value)| unescape(value))
        };
        let key = value("pub_key").and_then(|key| read_key(&key)).ok_or(NotALinkUri)?;
        let address = value("uuid").ok_or(NotALinkUri)?;
        let registration_id = value(REGISTRATION_ID).map(|text| text.parse());
        let registration_id = registration_id.transpose().map_err(|_| NotALinkUri)?;
        let uri = Self::new(&address, key).ok_or(NotALinkUri)?;
        Ok(Self { registration_id, ..uri })
    }
}

fn is_address(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
    (1..=MAX_ADDRESS).contains(&text.len()) && text.bytes().all(is_part)
}

fn read_key(text: &str) -> Option<PublicKey> {
    // A program that does not escape `+` gets a space.
    let text = text.replace(' ', "+");
    let encodings = [BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD];
    let mut bytes = encodings.iter().filter_map(|it| it.decode(text.as_bytes()).ok());
    PublicKey::decode(&bytes.next()?).ok()
}

/// Replaces `%XX`. `None` if that is malformed, or if the result is not text.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(if byte == b'%' {
            hex(bytes.next()?)? << 4 | hex(bytes.next()?)?
        } else {
            byte
        });
    }
    String::from_utf8(plain).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Specific to this project. Other programs ignore it.
const REGISTRATION_ID: &str = "registration_id";

const NEWER: &str = "sgnl://linkdevice";

const OLDER: &str = "tsdevice:/";

/// Longest text that is read, in bytes.
const MAX_TEXT: usize = 1024;

/// Longest address, in bytes. Ours have 22.
const MAX_ADDRESS: usize = 64;

#[cfg(test)]
mod tests {
    use wormhole_kit::Secret;

    use super::*;

    fn pair() -> KeyPair {
        wormhole_chat::PrivateKey::from_secret(&Secret::new([5; 32])).into()
    }

    #[test]
    fn both_spellings_are_read_as_they_were_written() {
        let body = b"\x0a\x16abcdefgh-jklmnopqr_tuv";
        let uri = LinkUri::from_address(body, &pair()).unwrap();
        assert_eq!((uri.address(), uri.key()), ("abcdefgh-jklmnopqr_tuv", pair().public()));
        assert_eq!(uri.to_string().parse(), Ok(uri.clone()));
        assert_eq!(uri.to_older_text().parse(), Ok(uri.clone()));
        let key = BASE64.encode(&pair().public().encode());
        let text =
            format!("sgnl://linkdevice?capabilities=backup4&pub_key={key}&uuid={}", uri.address());
        assert_eq!(text.parse(), Ok(uri.clone()));
        let uri = uri.with_registration_id(4321);
        for text in [uri.to_string(), uri.to_older_text()] {
            assert!(text.ends_with("&registration_id=4321"), "{text}");
            assert_eq!(text.parse(), Ok(uri.clone()));
        }
    }

    #[test]
    fn what_is_not_the_code_of_a_device_is_refused() {
        let uri = LinkUri::new("abc", *pair().public()).unwrap().to_string();
        let no_key = "sgnl://linkdevice?uuid=abc";
        let other = uri.replace("linkdevice", "signal.group");
        let bad_key = uri.replace("pub_key=", "pub_key=AA");
        let path = uri.replace("uuid=abc", "uuid=..%2Faccounts");
        let cut = format!("{uri}%");
        let no_number = format!("{uri}&registration_id=-1");
        let long = format!("{uri}&x={}", "x".repeat(2000));
        for text in ["", "7-guitarist", no_key, &other, &bad_key, &path, &cut, &no_number, &long] {
            assert_eq!(text.parse::<LinkUri>(), Err(NotALinkUri), "{text}");
        }
        assert_eq!(LinkUri::from_address(b"\x0a\x02a", &pair()), None);
        assert_eq!(LinkUri::from_address(b"", &pair()), None);
    }
}
