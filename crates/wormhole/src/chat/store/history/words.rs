//! The words of texts, as they are compared: lower case, without accents, compatible characters alike.
//!
//! A word ends at a space or a punctuation mark. Each character of a script without spaces between words, and each symbol such
//! as 😀, is a word of its own.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// The words that somebody searches for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Query {
    /// The parts between spaces and punctuation marks.
    runs: Vec<String>,
    /// The words in them. A message must have words that begin with each of them.
    words: BTreeSet<String>,
}

impl Query {
    /// A query for messages with all words of a text. `None` if it has no words.
    pub(super) fn new(text: &str) -> Option<Self> {
        let text: String = text.chars().take(MAX_QUERY).collect();
        let runs = runs(&text);
        let words: BTreeSet<_> = runs.iter().flat_map(|run| split(run)).collect();
        (!words.is_empty()).then_some(Self { runs, words })
    }

    /// Beginnings of words that a message must have.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Whether a text has all words.
    pub(super) fn matches(&self, text: &str) -> bool {
        let found = runs(text);
        self.runs.iter().all(|wanted| {
            let begins = |run: &String| split(run).iter().any(|word| starts(word, wanted));
            if wanted.chars().any(is_alone) {
                found.iter().any(|run| run.contains(wanted.as_str()))
            } else {
                found.iter().any(begins)
            }
        })
    }
}

fn starts(word: &str, wanted: &str) -> bool {
    let wanted = wanted.char_indices().nth(MAX_WORD).map_or(wanted, |(end, _)| &wanted[..end]);
    word.starts_with(wanted)
}

/// The words of a text.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    runs(text).into_iter().flat_map(|run| split(&run))
}

/// The parts between spaces and punctuation marks.
fn runs(text: &str) -> Vec<String> {
    let mut runs = Vec::new();
    let mut run = String::new();
    for c in text.nfkd().flat_map(char::to_lowercase).filter(|c| !is_accent(*c)) {
        if c.is_alphanumeric() || is_combining_mark(c) || is_alone(c) {
            run.push(c);
        } else if !run.is_empty() {
            runs.push(std::mem::take(&mut run));
        }
    }
    runs.extend(Some(run).filter(|run| !run.is_empty()));
    runs
}

/// The words in a run, each with at most `MAX_WORD` characters.
fn split(run: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in run.split_inclusive(is_alone) {
        let alone = part.chars().next_back().filter(|c| is_alone(*c));
        let word: String = part.chars().filter(|c| !is_alone(*c)).take(MAX_WORD).collect();
        words.extend(Some(word).filter(|word| !word.is_empty()));
        words.extend(alone.map(String::from));
    }
    words
}

/// Accents of Latin, Greek and Cyrillic letters, which people leave out when they search.
const fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// Characters that are words of their own.
const fn is_alone(c: char) -> bool {
    matches!(c,
        // Thai and Lao, Burmese, Khmer.
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        // Symbols.
        | '\u{2600}'..='\u{27bf}' | '\u{1f000}'..='\u{1faff}'
        // Kana, and Chinese characters.
        | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Characters of a word that count.
const MAX_WORD: usize = 32;

/// Characters of a query that count.
const MAX_QUERY: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(query: &str, text: &str) -> bool {
        let query = Query::new(query).unwrap();
        // The words of a segment must not exclude a message that matches.
        let words: Vec<_> = words(text).collect();
        let is_possible = query.words().all(|it| words.iter().any(|word| word.starts_with(it)));
        assert!(is_possible || !query.matches(text), "{query:?} {text}");
        query.matches(text)
    }

    #[test]
    fn case_accents_and_compatible_characters_make_no_difference() {
        assert!(finds("UBER", "Wir fahren über Köln") && finds("köln", "KOLN"));
        assert!(finds("ｆｕｌｌ fi", "full ﬁsh") && finds("ёлка", "Елка") && finds("İ", "i"));
        assert!(!finds("über", "unter"));
    }

    #[test]
    fn all_words_must_begin_as_the_query_says() {
        assert!(finds("tom mee", "Meet me tomorrow."));
        assert!(!finds("row", "tomorrow") && !finds("tom dinner", "tomorrow"));
        let long = "a".repeat(100);
        assert!(finds(&long, &format!("b {long}")));
    }

    #[test]
    fn scripts_without_spaces_and_symbols_are_found() {
        assert!(finds("明天", "我们明天见") && !finds("天明", "我们明天见"));
        assert!(finds("😀", "hi😀") && finds("한국", "한국어") && finds("हिन्दी", "मैं हिन्दी"));
        assert!(!finds("है", "हो"));
    }

    #[test]
    fn a_text_without_words_is_no_query() {
        for text in ["", " \n", "?!…", "\u{301}"] {
            assert_eq!(Query::new(text), None, "{text:?}");
        }
    }
}
