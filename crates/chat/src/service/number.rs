//! Phone numbers in the international format.

use std::fmt;
use std::str::FromStr;

/// A phone number in the format E.164, such as `+14155550123`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct PhoneNumber(Box<str>);

impl PhoneNumber {
    /// The number with its plus sign.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = NotAPhoneNumber;

    /// Parses a plus sign and 10 to 15 digits. In countries with short numbers, 6 to 9 digits after the country code
    /// are enough.
    fn from_str(text: &str) -> Result<Self, NotAPhoneNumber> {
        let digits = text.strip_prefix('+').ok_or(NotAPhoneNumber)?;
        let has_only_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        let has_country = !digits.starts_with('0');
        let is_short = digits.len() >= COUNTRY_CODE + SHORT_DIGITS
            && SHORT_COUNTRIES.iter().any(|country| digits.starts_with(country));
        let has_length = (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len()) || is_short;
        if has_only_digits && has_country && has_length && digits.len() <= MAX_DIGITS {
            Ok(Self(text.into()))
        } else {
            Err(NotAPhoneNumber)
        }
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows no digits, so that numbers do not appear in logs.
impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber(…)")
    }
}

/// The text is not a phone number such as `+14155550123`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "not a phone number: expected a plus sign, the country code and the number, such as +14155550123"
)]
pub struct NotAPhoneNumber;

/// Fewest digits of most numbers, with the country code.
const MIN_DIGITS: usize = 10;

/// Maximum number of digits of a number, with the country code. (E.164, section 6)
const MAX_DIGITS: usize = 15;

/// Countries whose numbers have six digits: Faroe Islands, Equatorial Guinea, New Caledonia, French Polynesia.
const SHORT_COUNTRIES: [&str; 4] = ["298", "240", "687", "689"];

/// Digits of the country codes above.
const COUNTRY_CODE: usize = 3;

/// Digits of the numbers there.
const SHORT_DIGITS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_a_plus_sign_a_country_and_10_to_15_digits() {
        for good in ["+14155550123", "+1234567890", "+123456789012345", "+298123456", "+6891234567"]
        {
            assert_eq!(good.parse::<PhoneNumber>().unwrap().as_str(), good);
        }
        let bad = [
            "",
            "+",
            "14155550123",
            "+0123456789",
            "+123456789",
            "+1234567890123456",
            "+29812345",
            "+1415555012x",
            "+1 4155550123",
            " +14155550123",
            "+14155550123\n",
            "+１４１５５５５０１２３",
            "++14155550123",
            "+2981234567890123",
        ];
        for bad in bad {
            assert_eq!(bad.parse::<PhoneNumber>(), Err(NotAPhoneNumber), "{bad:?}");
        }
    }

    #[test]
    fn the_debug_form_has_no_digits() {
        let number: PhoneNumber = "+14155550123".parse().unwrap();
        assert!(!format!("{number:?}").contains(|c: char| c.is_ascii_digit()));
    }
}
