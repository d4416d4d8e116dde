//! A safety number as words, which two people can read to each other more easily than digits
//! (docs/chat-protocol.md "Fingerprints and safety numbers").
//!
//! Words and digits say the same: each half of the number, 30 digits, is a number of 13 bytes, and each byte is a word.

use wormhole_magic::code::{bytes_of, words_of};

/// The words for the digits of a safety number: two halves of 13 words. `None` if there are not 60 digits.
pub(super) fn words(digits: &str) -> Option<[Vec<&'static str>; 2]> {
    let (first, second) = digits.split_at_checked(HALF_DIGITS)?;
    Some([half_words(first)?, half_words(second)?])
}

/// The digits that were typed as digits or as words. Spaces and case do not matter.
pub(super) fn digits(typed: &str) -> Option<String> {
    let digits: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    if digits.len() == 2 * HALF_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Some(digits);
    }
    let words: Vec<_> = typed.split_whitespace().collect();
    let (first, second) = words.split_at_checked(HALF_WORDS)?;
    Some(half_digits(first)? + &half_digits(second)?)
}

fn half_words(digits: &str) -> Option<Vec<&'static str>> {
    let is_half = digits.len() == HALF_DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number: u128 = digits.parse().ok().filter(|_| is_half)?;
    let bytes = number.to_be_bytes();
    Some(words_of(bytes.get(bytes.len() - HALF_WORDS..)?).collect())
}

fn half_digits(words: &[&str]) -> Option<String> {
    let bytes = bytes_of(words.iter().copied()).filter(|bytes| bytes.len() == HALF_WORDS)?;
    let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let digits = format!("{number:0HALF_DIGITS$}");
    (digits.len() == HALF_DIGITS).then_some(digits)
}

/// Digits of one side.
const HALF_DIGITS: usize = 30;

/// Words of one side: the bytes of a number of 30 digits.
const HALF_WORDS: usize = 13;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn words_and_digits_say_the_same(number in "[0-9]{60}") {
            let words = words(&number).unwrap().concat().join(" ");
            prop_assert_eq!(digits(&words), Some(number.clone()));
            prop_assert_eq!(digits(&number), Some(number));
        }

        #[test]
        fn another_text_is_refused_or_has_sixty_digits(typed in "\\PC{0,200}") {
            prop_assert!(digits(&typed).is_none_or(|digits| digits.len() == 60));
        }
    }

    #[test]
    fn swapped_missing_and_too_great_words_are_refused() {
        let mut halves = words(&"0123456789".repeat(6)).unwrap().concat();
        halves.swap(3, 4);
        assert_eq!(digits(&halves.join(" ")), None);
        halves.swap(3, 4);
        assert!(digits(&halves.join("  ").to_uppercase()).is_some());
        assert_eq!(digits(&halves[..25].join(" ")), None);
        // More than 30 digits.
        let too_great = words_of(&[255; 13]).collect::<Vec<_>>();
        assert_eq!(digits(&[too_great.clone(), too_great].concat().join(" ")), None);
        assert_eq!(words("123"), None);
    }
}
