//! Wormhole codes: a nameplate, which the server sees, and a password, which it does not
//! (docs/codes.md).
//!
//! [`wormhole`](crate::wormhole) claims the nameplate, and [`spake2`](crate::spake2) turns the code into a key.

use std::{fmt, num::NonZeroU8, str::FromStr};

use rand_core::CryptoRngCore;
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub mod completion;
pub mod review;
pub mod uri;
mod wordlist;

/// A whole code, such as `4-purple-sausages`. Displays as typed; `Debug` hides the password.
///
/// ```
/// use wormhole_magic::code::Code;
///
/// let code: Code = "4-purple-sausages".parse()?;
/// assert_eq!(code.nameplate().as_str(), "4");
/// assert_eq!(code.to_string(), "4-purple-sausages");
/// assert_eq!(format!("{code:?}"), "Code(4-…)");
/// # Ok::<(), wormhole_magic::code::CodeError>(())
/// ```
#[derive(Clone, Eq, PartialEq)]
pub struct Code {
    nameplate: Nameplate,
    password: Password,
}

impl Code {
    /// Combines nameplate and password.
    pub const fn from_parts(nameplate: Nameplate, password: Password) -> Self {
        Self { nameplate, password }
    }

    /// Parses a code as typed, without trimming or changing case.
    ///
    /// # Errors
    /// The text is not a code; ask the user again.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        if text.chars().any(char::is_whitespace) {
            return Err(CodeError::ContainsSpaces(text.to_owned()));
        }
        let (nameplate, password) = text.split_once('-').unwrap_or((text, ""));
        let nameplate = Nameplate::parse(nameplate)?;
        if password.is_empty() && text != Self::ZERO {
            return Err(CodeError::NoPassword(nameplate));
        }
        Ok(Self { nameplate, password: Password::parse(password)? })
    }

    /// The code of zero mode: nameplate 0 and an empty password. The first client that connects is the peer.
    pub const ZERO: &'static str = "0-";

    /// The part that the mailbox server sees.
    pub const fn nameplate(&self) -> &Nameplate {
        &self.nameplate
    }

    /// The part that the mailbox server does not see.
    pub const fn password(&self) -> &Password {
        &self.password
    }

    /// The input of the key exchange: the whole code in NFC (client-protocol.md).
    pub(crate) fn normalized(&self) -> String {
        self.to_string().nfc().collect()
    }
}

impl FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        Self::parse(text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.nameplate, self.password.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({}-…)", self.nameplate)
    }
}

/// The number under which two sides find their mailbox: 1 to 40 ASCII digits.
///
/// ```
/// use wormhole_magic::code::Nameplate;
///
/// assert_eq!(Nameplate::parse("4").unwrap().as_str(), "4");
/// assert!(Nameplate::parse("four").is_err());
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Nameplate(String);

impl Nameplate {
    /// Parses a nameplate.
    ///
    /// # Errors
    /// The text is empty, too long, or contains anything except the digits 0 to 9.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits || text.len() > MAX_NAMEPLATE_DIGITS {
            return Err(CodeError::NameplateNotNumeric(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nameplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The secret part of a code. `Debug` does not print it; it is wiped from memory on drop.
///
/// ```
/// use wormhole_magic::code::Password;
///
/// let password = Password::parse("purple-sausages").unwrap();
/// assert_eq!(password.expose(), "purple-sausages");
/// assert_eq!(format!("{password:?}"), "Password(…)");
/// ```
#[derive(Clone, Eq, PartialEq, Zeroize, ZeroizeOnDrop)]
pub struct Password(String);

impl Password {
    /// Parses a password as typed. Words outside the word list are allowed.
    ///
    /// # Errors
    /// The text contains white space or is too long.
    pub fn parse(text: &str) -> Result<Self, CodeError> {
        if text.chars().any(char::is_whitespace) {
            return Err(CodeError::ContainsSpaces(text.to_owned()));
        }
        if text.len() > MAX_PASSWORD {
            return Err(CodeError::PasswordTooLong(text.len()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Chooses `words` random words of 8 bits each, beginning with a three-syllable one.
    pub fn random(words: NonZeroU8, rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = vec![0; usize::from(words.get())];
        rng.fill_bytes(&mut bytes);
        let password = Self(words_of(&bytes).collect::<Vec<_>>().join("-"));
        bytes.zeroize();
        password
    }

    /// The words, joined by hyphens. Keep them secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// Spells bytes as words, one for each byte, as [`Password::random`] does.
pub fn words_of(bytes: &[u8]) -> impl Iterator<Item = &'static str> {
    let word = |(index, byte): (usize, &u8)| wordlist::half(index).get(usize::from(*byte)).copied();
    bytes.iter().enumerate().filter_map(word)
}

/// The bytes that [`words_of`] has spelled, whatever case the words have. `None` if a word is wrong, or at the wrong position.
pub fn bytes_of<'a>(words: impl Iterator<Item = &'a str>) -> Option<Vec<u8>> {
    let byte = |(index, word): (usize, &str)| {
        let position = wordlist::half(index).iter().position(|it| it.eq_ignore_ascii_case(word))?;
        u8::try_from(position).ok()
    };
    words.enumerate().map(byte).collect()
}

/// Why a text is not a code. The messages quote what the user typed, so show them only to the user.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// White space somewhere in the code.
    #[error("code {0:?} contains spaces")]
    ContainsSpaces(String),
    /// The part before the first hyphen is not 1 to 40 ASCII digits.
    #[error("{}", describe_number(.0))]
    NameplateNotNumeric(String),
    /// Nothing follows the nameplate.
    #[error("code is incomplete: the words after the number {0} are missing")]
    NoPassword(Nameplate),
    /// The part after the nameplate is too long: this many bytes.
    #[error("code is too long ({0} bytes)")]
    PasswordTooLong(usize),
}

/// Why the text before the first hyphen is not a number. Word processors replace hyphens with dashes that look alike.
fn describe_number(text: &str) -> String {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let other_dash = |c: char| {
        matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}')
    };
    if rest.len() < text.len() && rest.starts_with(other_dash) {
        format!("{text:?} has no hyphen (-) after its number, but another kind of dash")
    } else {
        format!("{text:?} is not a number: a code begins with a number")
    }
}

/// The mailbox server rejects longer ones (server-protocol.md).
const MAX_NAMEPLATE_DIGITS: usize = 40;

/// In bytes. Our limit: enough for any sentence, but not for a file that was pasted by mistake.
const MAX_PASSWORD: usize = 1024;

#[cfg(test)]
mod tests {
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    #[test]
    fn a_code_keeps_what_was_typed() {
        for text in ["4-purple-sausages", "0-", "12-Own Words".replace(' ', "-").as_str(), "7-é"] {
            assert_eq!(Code::parse(text).map(|code| code.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn spaces_anywhere_are_refused() {
        for text in ["4-purple sausages", " 4-purple", "4-purple\n", "4-\u{a0}x"] {
            assert_eq!(Code::parse(text), Err(CodeError::ContainsSpaces(text.to_owned())));
        }
    }

    #[test]
    fn a_nameplate_is_up_to_40_ascii_digits() {
        let longest = "9".repeat(40);
        assert!(Nameplate::parse(&longest).is_ok());
        for text in ["", "x", "4a", "-4", "٤", "4\n", &"9".repeat(41)] {
            let refused = Err(CodeError::NameplateNotNumeric(text.to_owned()));
            assert_eq!(Nameplate::parse(text), refused);
        }
    }

    #[test]
    fn a_code_without_words_is_refused_unless_it_is_zero_mode() {
        let nameplate = Nameplate::parse("4").unwrap();
        assert_eq!(Code::parse("4"), Err(CodeError::NoPassword(nameplate.clone())));
        assert_eq!(Code::parse("4-"), Err(CodeError::NoPassword(nameplate)));
        assert!(Code::parse(Code::ZERO).is_ok());
    }

    #[test]
    fn an_endless_password_is_refused() {
        let text = format!("4-{}", "x".repeat(1025));
        assert_eq!(Code::parse(&text), Err(CodeError::PasswordTooLong(1025)));
    }

    #[test]
    fn random_words_alternate_and_start_with_three_syllables() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for words in 1..=5 {
            let password = Password::random(NonZeroU8::new(words).unwrap(), &mut rng);
            let halves = [wordlist::THREE_SYLLABLES, wordlist::TWO_SYLLABLES];
            let mut count = 0;
            for (word, half) in password.expose().split('-').zip(halves.iter().cycle()) {
                assert!(half.contains(&word), "{word} stands in the wrong half");
                count += 1;
            }
            assert_eq!(count, words);
        }
    }

    #[test]
    fn words_spell_bytes_and_swapped_words_are_noticed() {
        let bytes: Vec<u8> = (0..=255).collect();
        let words: Vec<_> = words_of(&bytes).collect();
        assert_eq!(bytes_of(words.iter().copied()), Some(bytes));
        let shouted = [words[0].to_uppercase(), words[1].to_owned()];
        assert_eq!(bytes_of(shouted.iter().map(String::as_str)), Some(vec![0, 1]));
        assert_eq!(bytes_of([words[1], words[0]].into_iter()), None);
        assert_eq!(bytes_of(["wormhole"].into_iter()), None);
    }

    #[test]
    fn debug_output_hides_the_password() {
        let code = Code::parse("4-purple-sausages").unwrap();
        assert_eq!(format!("{code:?} {:?}", code.password()), "Code(4-…) Password(…)");
    }
}
