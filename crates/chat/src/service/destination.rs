//! The recipient of a message, as clients write it in a path.

use std::fmt;
use std::str::FromStr;

use super::number::PhoneNumber;
use super::username::Username;
use crate::address::AccountId;

/// The recipient of a message or the owner of requested keys.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Destination {
    /// The account with this id.
    Account(AccountId),
    /// The account that the owner of this number uses by default.
    Number(PhoneNumber),
    /// The account of this number in this app.
    NumberInApp(PhoneNumber, AppName),
    /// The account that has chosen this name.
    Username(Username),
}

impl FromStr for Destination {
    type Err = NotADestination;

    /// Parses an account id, a phone number, `NUMBER@APP`, or `@USERNAME`.
    fn from_str(text: &str) -> Result<Self, NotADestination> {
        if let Some(name) = text.strip_prefix('@') {
            return name.parse().map(Self::Username).map_err(|_| NotADestination);
        }
        if let Some((number, app)) = text.split_once('@') {
            let number = number.parse().map_err(|_| NotADestination)?;
            return app
                .parse()
                .map(|app| Self::NumberInApp(number, app))
                .map_err(|_| NotADestination);
        }
        if text.starts_with('+') {
            return text.parse().map(Self::Number).map_err(|_| NotADestination);
        }
        text.parse().map(Self::Account).map_err(|_| NotADestination)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "{account}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::NumberInApp(number, app) => write!(f, "{number}@{app}"),
            Self::Username(name) => write!(f, "@{name}"),
        }
    }
}

/// The name of an app, usually its package name, such as `com.example.chat`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AppName(Box<str>);

impl AppName {
    /// The name.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = NotAnAppName;

    fn from_str(text: &str) -> Result<Self, NotAnAppName> {
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let has_length = (1..=MAX_APP_NAME).contains(&text.len());
        if has_length && text.bytes().all(is_allowed) {
            Ok(Self(text.into()))
        } else {
            Err(NotAnAppName)
        }
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is neither an account id, nor a phone number, nor `NUMBER@APP`, nor `@USERNAME`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not a destination: expected an account id, a phone number such as +14155550123, NUMBER@APP, or @USERNAME"
)]
pub struct NotADestination;

/// The text is not the name of an app.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not an app name: expected 1 to {MAX_APP_NAME} letters, digits, dots, hyphens and underscores"
)]
pub struct NotAnAppName;

/// Longest name of an app, in bytes.
const MAX_APP_NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_an_id_a_number_or_a_number_in_an_app() {
        let id = "9d0652a3-dcc3-4d11-975f-74d61598733f";
        for text in [id, "+14155550123", "+14155550123@com.example.chat", "@com.example"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        let with_id = format!("{id}@com.example.chat");
        for bad in [
            "",
            "+",
            "@",
            "@1bob",
            "@bob@com.example",
            "14155550123",
            "+14155550123@",
            "+14155550123@a/b",
            &with_id,
        ] {
            assert_eq!(bad.parse::<Destination>(), Err(NotADestination), "{bad:?}");
        }
    }

    #[test]
    fn an_app_name_has_no_separators_of_paths_and_headers() {
        assert!("com.example.Chat_2-beta".parse::<AppName>().is_ok());
        assert!("a".repeat(128).parse::<AppName>().is_ok());
        for bad in ["", "a b", "a/b", "a:b", "a@b", "ä", "a\n", &"a".repeat(129)] {
            assert_eq!(bad.parse::<AppName>(), Err(NotAnAppName), "{bad:?}");
        }
    }
}
