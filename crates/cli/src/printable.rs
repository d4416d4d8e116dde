//! Words from the peer, made safe to show on a terminal.
//!
//! A file name or a text may hold escape sequences that move the cursor, or marks that reverse the
//! reading direction so that `gpj.exe` reads `exe.jpg`. They are shown, not obeyed. This does not
//! make a name safe to create on disk; the SDK does.

use std::fmt::Write as _;
use std::path::Path;

/// A path as it is, except for what a terminal would obey.
pub(crate) fn path(path: &Path) -> String {
    escaped(&path.to_string_lossy(), |_| false)
}

/// A text of several lines: line ends and tabs stay, the rest of what a terminal would obey is
/// written out.
pub(crate) fn text(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if keep(c) || !(c.is_control() || is_invisible(c)) {
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

/// Characters that change how others look, or cannot be seen at all: bidirectional controls,
/// separators and zero-width ones (Unicode TR 36 "Bidirectional Text Spoofing").
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
