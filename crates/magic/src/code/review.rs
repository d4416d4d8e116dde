//! Finds typing mistakes in a code, so that the user can correct them before the code is used.
//!
//! A code with any words is valid (docs/codes.md "Layout of a code"), so nothing is rejected here. This module
//! finds likely mistakes in a code from the word list, and what was probably meant.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

use super::wordlist::half;
use super::{Code, Nameplate};

/// A likely mistake in a code.
///
/// It contains words of the code, which are secret: `Debug` hides them.
#[derive(Clone, Eq, PartialEq)]
pub enum Mistake {
    /// The nameplate starts with a zero. Servers do not allocate such numbers.
    LeadingZero(Nameplate),
    /// A word is missing: there are two hyphens in a row, or one at the end.
    MissingWord,
    /// All words are in the list, but two adjacent ones are swapped.
    SwappedWords,
    /// A word that cannot be at its position: another one is missing before it.
    WrongPosition(String),
    /// The words are separated by another character, such as a dash inserted by a word processor.
    WrongSeparator,
    /// A word that is not in the list, and the most similar one from the list.
    UnknownWord {
        /// The word as it was typed.
        word: String,
        /// The most similar word for this position, if any is similar.
        nearest: Option<&'static str>,
    },
}

impl fmt::Debug for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeadingZero(_) => "LeadingZero",
            Self::MissingWord => "MissingWord",
            Self::SwappedWords => "SwappedWords",
            Self::WrongPosition(_) => "WrongPosition(…)",
            Self::WrongSeparator => "WrongSeparator",
            Self::UnknownWord { .. } => "UnknownWord { … }",
        })
    }
}

/// The result of checking a code.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Review {
    /// Likely mistakes; empty for every code from the word list.
    pub mistakes: Vec<Mistake>,
    /// The code that was probably meant.
    pub suggestion: Option<Code>,
}

impl Code {
    /// Checks a code for typing mistakes.
    ///
    /// ```
    /// use wormhole_magic::code::Code;
    ///
    /// let review = Code::parse("7-gutarist-revenge").unwrap().review();
    /// assert_eq!(review.mistakes.len(), 1);
    /// assert_eq!(review.suggestion.unwrap().to_string(), "7-guitarist-revenge");
    /// assert!(Code::parse("7-guitarist-revenge").unwrap().review().mistakes.is_empty());
    /// ```
    pub fn review(&self) -> Review {
        if self.password.expose().is_empty() {
            return Review::default();
        }
        if let Some(review) = self.review_separators() {
            return review;
        }
        let mut mistakes = Vec::new();
        let nameplate = without_zeros(self.nameplate.as_str());
        if nameplate != self.nameplate.as_str() {
            mistakes.push(Mistake::LeadingZero(self.nameplate.clone()));
        }
        let typed: Vec<_> = self.password.expose().split('-').take(MAX_WORDS).collect();
        let (mut found, words) = review_words(&typed);
        mistakes.append(&mut found);
        let words = words.map(|words| format!("{nameplate}-{}", words.join("-")));
        let suggestion = words.and_then(|text| Self::parse(&text).ok());
        let suggestion = suggestion.filter(|_| !mistakes.is_empty());
        Review { mistakes, suggestion }
    }

    /// Finds separators other than hyphens, if that explains more words.
    fn review_separators(&self) -> Option<Review> {
        let text = self.to_string();
        let tidy = normalized(&text);
        if tidy.matches('-').count() <= text.matches('-').count() {
            return None;
        }
        let meant = Self::parse(&tidy).ok()?;
        let suggestion = meant.review().best_suggestion(meant)?;
        Some(Review { mistakes: vec![Mistake::WrongSeparator], suggestion: Some(suggestion) })
    }
}

impl Review {
    /// The suggestion, or `reviewed` if it has no mistakes.
    fn best_suggestion(self, reviewed: Code) -> Option<Code> {
        if self.mistakes.is_empty() { Some(reviewed) } else { self.suggestion }
    }
}

/// The code that was probably meant by a text that is not a valid code: with spaces or dashes instead of hyphens,
/// full-width digits, or quotation marks.
///
/// ```
/// use wormhole_magic::code::review::guess_code;
///
/// let code = guess_code("“7 – Guitarist – Revenge”").unwrap();
/// assert_eq!(code.to_string(), "7-guitarist-revenge");
/// assert_eq!(guess_code("what?"), None);
/// ```
pub fn guess_code(typed: &str) -> Option<Code> {
    if typed.len() > MAX_TYPED {
        return None;
    }
    let code = Code::parse(&normalized(typed)).ok()?;
    let review = code.review();
    let words_are_unknown = review.suggestion.is_none() && !review.mistakes.is_empty();
    if words_are_unknown { Some(code) } else { review.best_suggestion(code) }
}

/// Normalises a text: hyphens between its parts, plain lower-case characters.
fn normalized(text: &str) -> String {
    let plain: String = text.nfkc().filter(|c| !is_invisible(*c)).collect();
    let is_edge = |c: char| is_separator(c) || QUOTES.contains(c) || ",;:!?.".contains(c);
    let lower = plain.trim_matches(is_edge).to_lowercase();
    let parts: Vec<_> = lower.split(is_separator).filter(|part| !part.is_empty()).collect();
    let joined = parts.join("-");
    let zeros = joined.len() - without_zeros(&joined).len();
    joined.get(zeros..).unwrap_or_default().to_owned()
}

/// The text without leading zeros.
fn without_zeros(text: &str) -> &str {
    let rest = text.trim_start_matches('0');
    if rest.starts_with(|c: char| c.is_ascii_digit()) { rest } else { text }
}

/// Checks each word. Also returns the corrected words if all corrections are clear.
fn review_words(typed: &[&str]) -> (Vec<Mistake>, Option<Vec<String>>) {
    if let Some(words) = reordered(typed) {
        return (vec![Mistake::SwappedWords], Some(words));
    }
    let mut mistakes = Vec::new();
    let mut meant = Some(Vec::new());
    for (index, word) in typed.iter().copied().enumerate() {
        if half(index).contains(&word) {
            meant.iter_mut().for_each(|words| words.push(word.to_owned()));
            continue;
        }
        let (mistake, nearest) = mistake(index, word);
        mistakes.push(mistake);
        meant = meant.zip(nearest).map(|(mut words, nearest)| {
            words.push(nearest.to_owned());
            words
        });
    }
    (mistakes, meant)
}

/// The mistake in a word that the list does not have at this position.
fn mistake(index: usize, word: &str) -> (Mistake, Option<&'static str>) {
    if word.is_empty() {
        return (Mistake::MissingWord, None);
    }
    if half(index + 1).contains(&word) {
        return (Mistake::WrongPosition(word.to_owned()), None);
    }
    let nearest = nearest(index, word);
    (Mistake::UnknownWord { word: word.to_owned(), nearest }, nearest)
}

/// The words with adjacent ones swapped, if that puts all of them in the right position.
fn reordered(typed: &[&str]) -> Option<Vec<String>> {
    let fits = |words: &[&str]| words.iter().enumerate().all(|(at, it)| half(at).contains(it));
    if fits(typed) {
        return None;
    }
    let mut words = typed.to_owned();
    for (pair, index) in words.chunks_exact_mut(2).zip((0..).step_by(2)) {
        if let [first, second] = pair
            && half(index).contains(second)
            && half(index + 1).contains(first)
        {
            std::mem::swap(first, second);
        }
    }
    fits(&words).then(|| words.into_iter().map(str::to_owned).collect())
}

/// The most similar word for this position.
fn nearest(index: usize, typed: &str) -> Option<&'static str> {
    let typed: String = typed.nfkc().filter(|c| !is_invisible(*c)).collect();
    let typed = typed.to_lowercase();
    let length = typed.chars().count();
    if length > MAX_WORD {
        return None;
    }
    let distances = half(index).iter().map(|word| (strsim::osa_distance(word, &typed), *word));
    let (distance, word) = distances.min()?;
    (distance <= length.div_ceil(4).min(MAX_DISTANCE)).then_some(word)
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || c == '_' || DASHES.contains(c)
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{fe0e}'..='\u{fe0f}' | '\u{feff}')
}

/// Characters that are used instead of a hyphen, after NFKC.
const DASHES: &str = "-\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{2015}\u{2212}\u{2e3a}\u{2e3b}~";

/// Quotation marks.
const QUOTES: &str = "\"'`<>\u{ab}\u{bb}\u{2018}\u{2019}\u{201a}\u{201c}\u{201d}\u{201e}";

/// Maximum characters of a text to check; longer ones are not a code with mistakes.
const MAX_TYPED: usize = 400;

/// Maximum words to check: as many as a new code can have.
const MAX_WORDS: usize = 32;

/// Maximum letters of a word to compare with the list: the longest one has 11.
const MAX_WORD: usize = 16;

/// Maximum wrong letters in a long word.
const MAX_DISTANCE: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn review(text: &str) -> Review {
        Code::parse(text).unwrap().review()
    }

    fn suggested(text: &str) -> Option<String> {
        review(text).suggestion.map(|code| code.to_string())
    }

    fn unknown(word: &str, nearest: Option<&'static str>) -> Mistake {
        Mistake::UnknownWord { word: word.to_owned(), nearest }
    }

    #[test]
    fn codes_of_the_list_raise_no_doubt() {
        for text in ["7-guitarist-revenge", "12-adroitness", "4-armistice-baboon-zulu", "0-"] {
            let looked_at = Code::parse(text).unwrap();
            let is_listed = !text.contains("zulu");
            assert_eq!(looked_at.review() == Review::default(), is_listed, "{text}");
        }
    }

    #[test]
    fn a_mistyped_word_is_named_with_the_nearest_of_its_position() {
        let found = review("7-gutarist-revenge");
        assert_eq!(found.mistakes, [unknown("gutarist", Some("guitarist"))]);
        assert_eq!(suggested("7-gutarist-revenge").as_deref(), Some("7-guitarist-revenge"));
        assert_eq!(suggested("7-guitarist-revnege").as_deref(), Some("7-guitarist-revenge"));
    }

    #[test]
    fn capitals_and_wide_letters_are_the_nearest_word_itself() {
        assert_eq!(suggested("7-Guitarist-REVENGE").as_deref(), Some("7-guitarist-revenge"));
        assert_eq!(
            suggested("7-ｇｕｉｔａｒｉｓｔ-revenge").as_deref(),
            Some("7-guitarist-revenge")
        );
    }

    #[test]
    fn words_that_resemble_none_have_no_suggestion() {
        assert_eq!(review("4-xq-yz").mistakes, [unknown("xq", None), unknown("yz", None)]);
        assert_eq!(suggested("4-xq-revenge"), None);
        assert_eq!(suggested(&format!("4-{}", "x".repeat(1000))), None);
    }

    #[test]
    fn swapped_words_are_put_in_order() {
        assert_eq!(review("7-revenge-guitarist").mistakes, [Mistake::SwappedWords]);
        assert_eq!(suggested("7-revenge-guitarist").as_deref(), Some("7-guitarist-revenge"));
    }

    #[test]
    fn a_dropped_word_is_noticed() {
        assert_eq!(review("4-own_words").mistakes, [unknown("own_words", None)]);
        assert_eq!(review("7-revenge").mistakes, [Mistake::WrongPosition("revenge".to_owned())]);
        assert_eq!(review("7-guitarist-").mistakes, [Mistake::MissingWord]);
        assert_eq!(suggested("7-guitarist-"), None);
    }

    #[test]
    fn zeros_before_the_nameplate_are_left_out() {
        let nameplate = Nameplate::parse("007").unwrap();
        assert_eq!(review("007-guitarist-revenge").mistakes, [Mistake::LeadingZero(nameplate)]);
        assert_eq!(suggested("007-guitarist-revenge").as_deref(), Some("7-guitarist-revenge"));
        assert_eq!(review("0-guitarist-revenge"), Review::default());
    }

    #[test]
    fn a_dash_between_words_is_a_hyphen() {
        for text in ["7-guitarist–revenge", "7-guitarist_revenge", "7-Guitarist—revenge"] {
            assert_eq!(review(text).mistakes, [Mistake::WrongSeparator], "{text}");
            assert_eq!(suggested(text).as_deref(), Some("7-guitarist-revenge"), "{text}");
        }
    }

    #[test]
    fn invalid_codes_are_corrected_if_the_correction_is_clear() {
        for text in [
            "7–guitarist–revenge",
            "7 guitarist revenge",
            "７-guitarist-revenge",
            " 7-guitarist-revenge.",
            "«07 - Guitarist - Revnege»",
            "7\u{200b}-guitarist\u{ad}-revenge\u{feff}",
        ] {
            let code = guess_code(text).map(|code| code.to_string());
            assert_eq!(code.as_deref(), Some("7-guitarist-revenge"), "{text}");
        }
        assert_eq!(
            guess_code("4 our own").map(|code| code.to_string()).as_deref(),
            Some("4-our-own")
        );
        for text in ["", "guitarist-revenge", "7", "0", "-", &"7 ".repeat(300)] {
            assert_eq!(guess_code(text), None, "{text}");
        }
    }

    #[test]
    fn debug_output_hides_the_words() {
        let text = format!("{:?}", review("7-secret-words"));
        assert!(!text.contains("secret") && !text.contains("words"), "{text}");
    }
}
