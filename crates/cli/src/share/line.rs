//! What the user types while a session runs.

use std::path::{Path, PathBuf};

/// A line.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum TypedLine {
    /// Nothing.
    Empty,
    /// Accept or refuse the offer with this number, or the one that was asked about.
    Answer(bool, Option<u64>),
    /// Nothing more is offered.
    Done,
    /// Offer these.
    Paths(Vec<PathBuf>),
}

impl TypedLine {
    /// Reads a line: a word, one path, or several paths with quotes, as terminals write files that are dropped into them.
    pub(super) fn parse(typed: &str) -> Self {
        let typed = typed.trim();
        if let Some((word, number)) = typed.split_once(' ')
            && let (Some(accepts), Ok(id)) = (answer(word), number.trim().parse())
        {
            return Self::Answer(accepts, Some(id));
        }
        if let Some(accepts) = answer(typed) {
            return Self::Answer(accepts, None);
        }
        match typed.to_ascii_lowercase().as_str() {
            "" => Self::Empty,
            "done" => Self::Done,
            _ if Path::new(typed).exists() => Self::Paths(vec![typed.into()]),
            _ => Self::Paths(words(typed).into_iter().map(PathBuf::from).collect()),
        }
    }
}

fn answer(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(true),
        "n" | "no" => Some(false),
        _ => None,
    }
}

/// The words of a line, without the quotes and backslashes of POSIX shells.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(characters.next()),
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_dropped_into_the_terminal_are_separate_paths() {
        assert_eq!(words("a.txt"), ["a.txt"]);
        assert_eq!(words(r"'/home/me/a b' /c\ d  '/it'\''s'"), ["/home/me/a b", "/c d", "/it's"]);
        assert_eq!(words(r#""a \" b" "c\\""#), [r#"a " b"#, r"c\"]);
        assert_eq!(words("'' x"), ["", "x"]);
    }

    #[test]
    fn some_words_are_not_paths() {
        assert_eq!(TypedLine::parse(" Y "), TypedLine::Answer(true, None));
        assert_eq!(TypedLine::parse("no"), TypedLine::Answer(false, None));
        assert_eq!(TypedLine::parse("y 12"), TypedLine::Answer(true, Some(12)));
        assert_eq!(
            (TypedLine::parse("done"), TypedLine::parse(" ")),
            (TypedLine::Done, TypedLine::Empty)
        );
        assert_eq!(TypedLine::parse("./y"), TypedLine::Paths(vec!["./y".into()]));
        assert_eq!(TypedLine::parse("a b"), TypedLine::Paths(vec!["a".into(), "b".into()]));
    }
}
