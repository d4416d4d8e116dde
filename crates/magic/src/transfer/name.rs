//! File names from the peer: displayed escaped, and used only if this system supports them.
//!
//! Names inside a zip are paths, see [`super::zip`].

use std::borrow::Cow;
use std::fmt;

use wormhole_kit::{is_bidi_control, is_deceptive};

/// A file or folder name as the peer sent it. Its `Display` escapes it, so that a name cannot move the cursor, hide
/// its extension or start a new line.
///
/// ```
/// use wormhole_magic::transfer::PeerName;
///
/// assert_eq!(PeerName::new("photo.jpg").to_file_name(), Ok("photo.jpg"));
/// assert!(PeerName::new("../.bashrc").to_file_name().is_err());
/// assert_eq!(PeerName::new("../.bashrc").to_safe_name(), ".._.bashrc");
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerName(String);

impl PeerName {
    /// Creates a name from any string.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// The original name, to send it to a peer. Do not display it or open a file with it.
    pub fn as_sent(&self) -> &str {
        &self.0
    }

    /// The name for a file to be created in a folder on this system. It may contain control characters where the
    /// system allows them: display the [`PeerName`], which escapes them.
    ///
    /// # Errors
    /// It is a path, or this system does not allow the name. Let the user choose another name,
    /// such as [`PeerName::to_safe_name`], or reject the offer.
    pub fn to_file_name(&self) -> Result<&str, UnsafeName> {
        check(&self.0, cfg!(windows)).map(|()| self.0.as_str())
    }

    /// The name if this system allows it, otherwise a similar one: forbidden characters become `_`, and a long name
    /// is shortened before its extension.
    pub fn to_safe_name(&self) -> Cow<'_, str> {
        match self.to_file_name() {
            Ok(name) => Cow::Borrowed(name),
            Err(_) => Cow::Owned(replacement(&self.0, cfg!(windows))),
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(MAX_SHOWN) {
            if is_deceptive(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        if self.0.chars().nth(MAX_SHOWN).is_some() { f.write_str("…") } else { Ok(()) }
    }
}

/// Why a name cannot be used for a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsafeName {
    /// `.` or `..`.
    #[error("it is the name of a folder (. or ..)")]
    Dots,
    /// The name is empty.
    #[error("it is empty")]
    Empty,
    /// A forbidden character: NUL, and on Windows control characters and `<>:"|?*`.
    #[error("it contains a character that is not allowed in names")]
    ForbiddenCharacter,
    /// On Windows only: a device, or a name that ends with a dot or a space.
    #[error("it is reserved on Windows")]
    Reserved,
    /// A path separator.
    #[error("it is a path, not a name")]
    Separator,
    /// Longer than 255 bytes.
    #[error("it is longer than 255 bytes")]
    TooLong,
}

/// Checks the rules of all systems for a path component, and those of Windows if `windows` is set.
pub(super) fn check(name: &str, windows: bool) -> Result<(), UnsafeName> {
    if name.is_empty() {
        Err(UnsafeName::Empty)
    } else if name == "." || name == ".." {
        Err(UnsafeName::Dots)
    } else if name.contains('/') || windows && name.contains('\\') {
        Err(UnsafeName::Separator)
    } else if name.chars().any(|c| is_forbidden(c, windows)) {
        Err(UnsafeName::ForbiddenCharacter)
    } else if name.len() > MAX_NAME {
        Err(UnsafeName::TooLong)
    } else if windows && is_reserved_on_windows(name) {
        Err(UnsafeName::Reserved)
    } else {
        Ok(())
    }
}

fn is_forbidden(c: char, windows: bool) -> bool {
    c == '\0' || windows && (c.is_ascii_control() || "<>:\"|?*".contains(c))
}

/// A valid name similar to an invalid one. It is not the peer's name any more, so characters that need escaping are
/// replaced as well.
fn replacement(name: &str, windows: bool) -> String {
    let separates = |c| c == '/' || windows && c == '\\';
    let bad =
        |c: char| separates(c) || is_forbidden(c, windows) || c.is_control() || is_bidi_control(c);
    let mut safe: String = name.chars().map(|c| if bad(c) { '_' } else { c }).collect();
    if windows {
        let kept = safe.trim_end_matches(['.', ' ']).len();
        let dropped = safe.split_off(kept);
        safe.extend(dropped.chars().map(|_| '_'));
    }
    if safe.is_empty() || safe == "." || safe == ".." {
        safe = "unnamed".to_owned();
    }
    if windows && is_reserved_on_windows(&safe) {
        safe.insert(0, '_');
    }
    if safe.len() > MAX_NAME {
        let (stem, extension) = split_extension(&safe);
        safe = join_name(stem, "", extension);
    }
    safe
}

/// Splits a name at its last dot, unless that is the first character or more than 32 bytes follow, which is not a
/// usual extension.
pub fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= MAX_EXTENSION => name.split_at(at),
        _ => (name, ""),
    }
}

/// A name of at most 255 bytes from `stem`, `middle` and `end`: the stem is shortened to whole characters if
/// necessary.
///
/// ```
/// use wormhole_magic::transfer::name::join_name;
///
/// assert_eq!(join_name("photo", " (1)", ".jpg"), "photo (1).jpg");
/// assert_eq!(join_name(&"ü".repeat(200), " and 3 more", "").len(), 255);
/// ```
pub fn join_name(stem: &str, middle: &str, end: &str) -> String {
    let mut kept = stem.len().min(MAX_NAME.saturating_sub(middle.len() + end.len()));
    while !stem.is_char_boundary(kept) {
        kept -= 1;
    }
    [stem.get(..kept).unwrap_or_default(), middle, end].concat()
}

/// Whether Windows treats this name as a device, or would change it.
fn is_reserved_on_windows(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let device = match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        _ => stem
            .strip_prefix("COM")
            .or_else(|| stem.strip_prefix("LPT"))
            .is_some_and(|port| matches!(port, "¹" | "²" | "³") || one_digit(port)),
    };
    device || name.ends_with(['.', ' '])
}

fn one_digit(text: &str) -> bool {
    matches!(text.as_bytes(), [digit] if digit.is_ascii_digit())
}

/// Maximum size of a name in bytes: the limit of most file systems.
const MAX_NAME: usize = 255;

/// Maximum size of an extension that is kept when a name is shortened, in bytes, including its dot.
const MAX_EXTENSION: usize = 33;

/// Maximum number of displayed characters.
const MAX_SHOWN: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> Option<UnsafeName> {
        check(name, false).err()
    }

    fn refused_on_windows(name: &str) -> Option<UnsafeName> {
        check(name, true).err()
    }

    #[test]
    fn ordinary_names_are_kept() {
        for name in ["a", "photo.jpg", "-rf", "with space", "häßlich 日本.txt", ".profile", "comma"]
        {
            assert_eq!(PeerName::new(name).to_file_name(), Ok(name));
            assert_eq!(PeerName::new(name).to_safe_name(), name);
            assert_eq!(refused_on_windows(name), None);
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for refused in [refused, refused_on_windows] {
            assert_eq!(refused(""), Some(UnsafeName::Empty));
            assert_eq!(refused("."), Some(UnsafeName::Dots));
            assert_eq!(refused(".."), Some(UnsafeName::Dots));
            assert_eq!(refused("/etc/passwd"), Some(UnsafeName::Separator));
            assert_eq!(refused("../../x"), Some(UnsafeName::Separator));
            assert_eq!(refused("a\0b"), Some(UnsafeName::ForbiddenCharacter));
            assert_eq!(refused(&"x".repeat(256)), Some(UnsafeName::TooLong));
            assert_eq!(refused(&"x".repeat(255)), None);
        }
        assert_eq!(refused_on_windows("..\\x"), Some(UnsafeName::Separator));
        assert_eq!(refused_on_windows("C:x"), Some(UnsafeName::ForbiddenCharacter));
    }

    #[test]
    fn what_only_windows_cannot_hold_is_refused_only_there() {
        for (name, why) in [
            ("a:b", UnsafeName::ForbiddenCharacter),
            ("what?", UnsafeName::ForbiddenCharacter),
            ("a\nb", UnsafeName::ForbiddenCharacter),
            ("back\\slash", UnsafeName::Separator),
            ("aux.c", UnsafeName::Reserved),
            ("R.E.M.", UnsafeName::Reserved),
            ("CON", UnsafeName::Reserved),
            ("nul", UnsafeName::Reserved),
            ("COM1", UnsafeName::Reserved),
            ("lpt9.log", UnsafeName::Reserved),
            ("con .txt", UnsafeName::Reserved),
            ("space ", UnsafeName::Reserved),
        ] {
            assert_eq!(refused(name), None, "{name}");
            assert_eq!(refused_on_windows(name), Some(why), "{name}");
        }
        for name in ["CONSOLE", "COM10", "nullable", "com", "photo\u{202e}gpj.exe"] {
            assert_eq!(refused_on_windows(name), None, "{name}");
        }
    }

    #[test]
    fn a_replacement_resembles_the_name_and_can_be_created() {
        for (name, here, on_windows) in [
            ("", "unnamed", "unnamed"),
            (".", "unnamed", "_"),
            ("..", "unnamed", "__"),
            ("../../.bashrc", ".._.._.bashrc", ".._.._.bashrc"),
            ("/etc/passwd", "_etc_passwd", "_etc_passwd"),
            ("a\0b\u{1b}[2J\u{202e}", "a_b_[2J_", "a_b_[2J_"),
            ("a/b:c\\d", "a_b:c\\d", "a_b_c_d"),
            ("x/aux.c", "x_aux.c", "x_aux.c"),
            ("aux.c", "aux.c", "_aux.c"),
            ("R.E.M.", "R.E.M.", "R.E.M_"),
        ] {
            assert_eq!(replacement(name, false), here, "{name:?}");
            assert_eq!(replacement(name, true), on_windows, "{name:?}");
        }
        let long = format!("{}.tar.gz", "ü".repeat(200));
        for windows in [false, true] {
            let safe = replacement(&long, windows);
            assert!(safe.len() >= 254 && safe.ends_with("ü.gz"), "{safe}");
            for name in [&long, &format!("a.{}", "b".repeat(300)), "...", "con ", "a/ "] {
                let safe = replacement(name, windows);
                assert_eq!(check(&safe, windows), Ok(()), "{name:?}: {safe:?}");
            }
        }
    }

    #[test]
    fn a_name_made_of_parts_has_at_most_255_bytes() {
        assert_eq!(join_name("a", " and 3 more", ""), "a and 3 more");
        for stem in ["n".repeat(255), "ü".repeat(127), "日".repeat(85)] {
            for middle in [" (1)", " (999)", " and 1234567 more"] {
                let name = join_name(&stem, middle, ".txt");
                assert!(name.len() > 251 && name.len() <= 255 && name.ends_with(".txt"), "{name}");
            }
        }
    }

    #[test]
    fn a_name_is_shown_escaped_and_cut() {
        let shown = |name: &str| PeerName::new(name).to_string();
        assert_eq!(shown("a b é"), "a b é");
        assert_eq!(shown("a\u{1b}[2J\n\u{202e}"), "a\\u{1b}[2J\\u{a}\\u{202e}");
        assert_eq!(shown(&"x".repeat(300)).chars().count(), 256);
    }
}
