//! A command line for the other side that can be pasted into a shell as it is.

/// One word, in quotes only where a POSIX shell would need them.
///
/// PowerShell reads single quotes the same way, as long as there is none inside.
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
