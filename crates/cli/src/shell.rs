//! Quotes command lines, so that they can be pasted into a shell.

/// One word, in quotes only if a POSIX shell needs them.
///
/// PowerShell reads single quotes in the same way, unless there is one inside.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// All words, quoted and joined.
pub(crate) fn join<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_need_no_quotes() {
        let line =
            join(["wormhole", "--relay-url=wss://h:4000/v1", "receive", "4-purple-sausages"]);
        assert_eq!(line, "wormhole --relay-url=wss://h:4000/v1 receive 4-purple-sausages");
    }

    #[test]
    fn what_a_shell_would_read_is_quoted() {
        assert_eq!(quote("a b;$(rm)"), "'a b;$(rm)'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("ws://h/?a&b"), "'ws://h/?a&b'");
    }
}
