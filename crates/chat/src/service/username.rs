//! The names that accounts choose, so that others reach them without their number.

use std::fmt;
use std::str::FromStr;

/// The name of an account: 3 to 32 of the characters `a` to `z`, `0` to `9`, `_` and `.`, not starting with a digit. A
/// service has each name once.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Username(Box<str>);

impl Username {
    /// The name in lower case, without the `@` that is written before it.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = NotAUsername;

    /// Parses a name without an `@` before it. Upper case is the same as lower case.
    fn from_str(text: &str) -> Result<Self, NotAUsername> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        let has_length = (MIN_USERNAME..=MAX_USERNAME).contains(&text.len());
        let starts_with_digit = text.starts_with(|first: char| first.is_ascii_digit());
        if has_length && !starts_with_digit && text.bytes().all(is_allowed) {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(NotAUsername)
        }
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a name that an account can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not a username: expected {MIN_USERNAME} to {MAX_USERNAME} of the characters a-z, 0-9, underscore and dot, and no digit at the beginning"
)]
pub struct NotAUsername;

/// Shortest name, in bytes.
const MIN_USERNAME: usize = 3;

/// Longest name, in bytes.
const MAX_USERNAME: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_some_plain_characters_in_lower_case() {
        for text in ["bob", "_b1", "b.o_b", &"a".repeat(32)] {
            assert_eq!(text.parse::<Username>().unwrap().to_string(), text);
        }
        assert_eq!("BoB".parse::<Username>().unwrap().as_str(), "bob");
        for bad in ["", "bo", "1bob", "b-b", "b b", "bö1", "@bob", "bob\n", "bob/", &"a".repeat(33)]
        {
            assert_eq!(bad.parse::<Username>(), Err(NotAUsername), "{bad:?}");
        }
    }
}
