//! Characters that must not be displayed in untrusted text.
//!
//! One table for names, errors and messages. The code that displays a text must escape it.

/// Whether this character reorders the text around it: `photo\u{202e}gpj.exe` reads as
/// `photoexe.jpg` (Unicode TR 36 "Bidirectional Text Spoofing").
pub fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a terminal interprets this character, or a reader cannot see it: control characters, characters that reorder
/// text, line separators and some without width.
///
/// ```
/// let shown: String = "photo\u{202e}gpj.exe"
///     .chars()
///     .map(|c| if wormhole_kit::is_deceptive(c) { '?' } else { c })
///     .collect();
/// assert_eq!(shown, "photo?gpj.exe");
/// ```
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || is_bidi_control(c)
        || matches!(
            c,
            '\u{ad}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200d}'
                | '\u{2028}'
                | '\u{2029}'
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
    fn what_reorders_text_is_deceptive_and_letters_are_not() {
        assert!(
            (0..=0x10_ffff)
                .filter_map(char::from_u32)
                .all(|c| !is_bidi_control(c) || is_deceptive(c))
        );
        assert!("photo of Zoë, größe 日本 ١٢".chars().all(|c| !is_deceptive(c)));
        assert!("\u{1b}\u{9b}\n\u{ad}\u{202e}\u{2069}\u{200d}\u{feff}".chars().all(is_deceptive));
    }
}
