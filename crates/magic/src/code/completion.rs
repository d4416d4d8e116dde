//! Completion of a code while it is typed (docs/codes.md "Completion").
//!
//! Pure functions of the typed text; the caller reads keys and asks the server for nameplates.

use std::num::NonZeroU8;

use super::{Nameplate, wordlist};

/// Completions of `typed`, the beginning of a nameplate, among the nameplates that the server lists. Sorted; each
/// ends with a hyphen.
pub fn complete_nameplate(typed: &str, nameplates: &[Nameplate]) -> Vec<String> {
    let matching = nameplates.iter().filter(|nameplate| nameplate.as_str().starts_with(typed));
    let mut all: Vec<_> = matching.map(|nameplate| format!("{nameplate}-")).collect();
    all.sort_unstable();
    all
}

/// Completions of `typed`, the beginning of the words of a code with `words` words. Sorted; all words except
/// the last one end with a hyphen.
///
/// ```
/// use std::num::NonZeroU8;
/// use wormhole_magic::code::completion::complete_words;
///
/// let two = NonZeroU8::new(2).unwrap_or(NonZeroU8::MIN);
/// assert_eq!(complete_words("ar", two), ["armistice-", "article-"]);
/// assert_eq!(complete_words("armistice-ba", two), [
///     "armistice-baboon",
///     "armistice-backfield",
///     "armistice-backward",
///     "armistice-banjo",
/// ]);
/// ```
pub fn complete_words(typed: &str, words: NonZeroU8) -> Vec<String> {
    let (before, word) = match typed.rfind('-') {
        Some(hyphen) => typed.split_at(hyphen + 1),
        None => ("", typed),
    };
    let index = before.matches('-').count();
    let end = if index + 1 < usize::from(words.get()) { "-" } else { "" };
    let matching = wordlist::half(index).iter().filter(|candidate| candidate.starts_with(word));
    let mut all: Vec<_> = matching.map(|candidate| format!("{before}{candidate}{end}")).collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroU8 = NonZeroU8::new(2).unwrap();

    #[test]
    fn nameplates_complete_to_those_the_server_lists() {
        let listed: Vec<_> =
            ["12", "1", "4"].iter().map(|text| Nameplate::parse(text).unwrap()).collect();
        assert_eq!(complete_nameplate("1", &listed), ["1-", "12-"]);
        assert_eq!(complete_nameplate("", &listed), ["1-", "12-", "4-"]);
        assert_eq!(complete_nameplate("5", &listed), Vec::<String>::new());
    }

    #[test]
    fn the_first_word_has_three_syllables_and_expects_another() {
        let all = complete_words("", TWO);
        assert_eq!(all.len(), 256);
        assert!(all.iter().all(|word| word.ends_with('-')));
        assert!(all.contains(&"adroitness-".to_owned()));
    }

    #[test]
    fn the_last_word_has_no_hyphen_after_it() {
        assert_eq!(complete_words("adroitness-aardv", TWO), ["adroitness-aardvark"]);
        let three = NonZeroU8::new(3).unwrap();
        assert_eq!(complete_words("adroitness-aardv", three), ["adroitness-aardvark-"]);
    }

    #[test]
    fn an_unknown_beginning_has_no_completion() {
        assert_eq!(complete_words("qq", TWO), Vec::<String>::new());
        assert_eq!(complete_words("own-words-é", TWO), Vec::<String>::new());
    }
}
