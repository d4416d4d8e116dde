//! Makes text of the peer safe to show on a terminal.
//!
//! A file name or a text can contain escape sequences that move the cursor, or characters that reverse the reading
//! direction, so that `gpj.exe` looks like `exe.jpg`. They are shown escaped. The SDK makes names safe for the disk.

use std::fmt::Write as _;
use std::path::Path;

use wormhole::is_deceptive;

/// A path without control characters.
pub(crate) fn path(path: &Path) -> String {
    escaped(&path.to_string_lossy(), |_| false)
}

/// A text of several lines without control characters, except for line ends and tabs.
pub(crate) fn text(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// Text of the peer or of a server as part of our message: one line, of bounded length.
pub(crate) fn line(words: &str) -> String {
    let flat = |c: char| if c.is_whitespace() { ' ' } else { c };
    let mut line: String = words.trim().chars().map(flat).take(MAX_LINE + 1).collect();
    if let Some((end, _)) = line.char_indices().nth(MAX_LINE) {
        line.truncate(end);
        line.push_str("...");
    }
    text(&line)
}

/// The same JSON, with control characters as JSON escapes.
pub(crate) fn json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_deceptive(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if keep(c) || !is_deceptive(c) {
            out.push(c);
        } else if c.is_ascii_control() {
            out.extend(c.escape_default());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        }
    }
    out
}

/// Maximum number of characters of such a text.
const MAX_LINE: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_are_one_line_of_bounded_length() {
        assert_eq!(
            line("no\n\nError: your disk\tis full\x1b[m"),
            "no  Error: your disk is full\\u{1b}[m"
        );
        for endless in ["é".repeat(5000), "é ".repeat(5000)] {
            assert_eq!(line(&endless).chars().count(), MAX_LINE + 3);
        }
    }

    #[test]
    fn json_says_the_same_without_what_a_terminal_obeys() {
        let value = serde_json::json!({"a": "\u{9b}31m\u{7f}\u{202e}\u{e0001} \u{1b}é\n"});
        let safe = json(&value.to_string());
        assert!(!safe.chars().any(is_deceptive), "{safe}");
        assert!(safe.contains("\\u009b") && safe.contains('é'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }

    #[test]
    fn ordinary_names_stay_as_they_are() {
        assert_eq!(path(Path::new("photo of Zoë.jpg")), "photo of Zoë.jpg");
    }

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(path(Path::new("a\x1b[2Jb\r\n")), "a\\u{1b}[2Jb\\r\\n");
    }

    #[test]
    fn a_reversed_ending_is_made_visible() {
        assert_eq!(path(Path::new("photo\u{202e}gpj.exe")), "photo\\u{202e}gpj.exe");
    }

    #[test]
    fn c1_controls_are_escaped_too() {
        assert_eq!(text("a\u{9b}31m"), "a\\u{9b}31m");
    }

    #[test]
    fn a_text_keeps_its_lines() {
        assert_eq!(text("one\n\ttwo\x07\n"), "one\n\ttwo\\u{7}\n");
    }
}
