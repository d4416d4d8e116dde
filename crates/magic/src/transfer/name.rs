//! Names chosen by the peer: safe to show, and safe to create or refused.
//!
//! Not the names inside a zip (those are paths, see [`super::zip`]).

use std::fmt;

use wormhole_kit::{is_bidi_control, is_deceptive};

/// A file or folder name as the peer sent it. Prints escaped: a name cannot move the cursor, hide
/// its ending or start a new line.
///
/// ```
/// use wormhole_magic::transfer::PeerName;
///
/// assert_eq!(PeerName::new("photo.jpg").to_file_name(), Ok("photo.jpg"));
/// assert!(PeerName::new("../.bashrc").to_file_name().is_err());
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerName(String);

impl PeerName {
    /// Takes any string.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// What was sent, for putting it on the wire. Do not show it and do not open it.
    pub fn as_sent(&self) -> &str {
        &self.0
    }

    /// The name as one that may be created inside a folder, on any system.
    ///
    /// # Errors
    /// The name says where to go instead of what to be called, or no system should have a file of
    /// that name. Let the user choose another one, or refuse the offer.
    pub fn to_file_name(&self) -> Result<&str, UnsafeName> {
        check_component(&self.0)?;
        if self.0.chars().any(|c| c.is_control() || is_bidi_control(c)) {
            return Err(UnsafeName::ControlCharacter);
        }
        if self.0.contains(['\\', ':']) {
            return Err(UnsafeName::Separator);
        }
        if is_reserved_on_windows(&self.0) {
            return Err(UnsafeName::Reserved);
        }
        Ok(&self.0)
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

/// Why a name is not used as a file name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsafeName {
    /// A control character, or one that changes the direction of text.
    #[error("it contains a control character")]
    ControlCharacter,
    /// `.` or `..`.
    #[error("it names a folder above")]
    Dots,
    /// Nothing at all.
    #[error("it is empty")]
    Empty,
    /// A device on Windows, or ends with a dot or a space.
    #[error("it is reserved on Windows")]
    Reserved,
    /// A path separator or a drive letter.
    #[error("it is a path, not a name")]
    Separator,
    /// Longer than 255 bytes.
    #[error("it is longer than 255 bytes")]
    TooLong,
}

/// Checks what every system demands of one component of a path.
pub(super) fn check_component(name: &str) -> Result<(), UnsafeName> {
    if name.is_empty() {
        Err(UnsafeName::Empty)
    } else if name == "." || name == ".." {
        Err(UnsafeName::Dots)
    } else if name.contains('/') {
        Err(UnsafeName::Separator)
    } else if name.contains('\0') {
        Err(UnsafeName::ControlCharacter)
    } else if name.len() > MAX_NAME {
        Err(UnsafeName::TooLong)
    } else {
        Ok(())
    }
}

/// Whether Windows takes this name for a device, or would change it on creation.
pub(super) fn is_reserved_on_windows(name: &str) -> bool {
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

/// Bytes of a name: the limit of nearly every file system.
const MAX_NAME: usize = 255;

/// Characters of a name that are shown.
const MAX_SHOWN: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str) -> Option<UnsafeName> {
        PeerName::new(name).to_file_name().err()
    }

    #[test]
    fn ordinary_names_are_kept() {
        for name in ["a", "photo.jpg", "-rf", "with space", "häßlich 日本.txt", ".profile", "comma"]
        {
            assert_eq!(PeerName::new(name).to_file_name(), Ok(name));
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        assert_eq!(refused(""), Some(UnsafeName::Empty));
        assert_eq!(refused("."), Some(UnsafeName::Dots));
        assert_eq!(refused(".."), Some(UnsafeName::Dots));
        assert_eq!(refused("/etc/passwd"), Some(UnsafeName::Separator));
        assert_eq!(refused("../../x"), Some(UnsafeName::Separator));
        assert_eq!(refused("..\\x"), Some(UnsafeName::Separator));
        assert_eq!(refused("C:x"), Some(UnsafeName::Separator));
        assert_eq!(refused("a\0b"), Some(UnsafeName::ControlCharacter));
        assert_eq!(refused("a\nb"), Some(UnsafeName::ControlCharacter));
        assert_eq!(refused("photo\u{202e}gpj.exe"), Some(UnsafeName::ControlCharacter));
        assert_eq!(refused(&"x".repeat(256)), Some(UnsafeName::TooLong));
        assert_eq!(refused(&"x".repeat(255)), None);
    }

    #[test]
    fn devices_of_windows_are_refused() {
        for name in ["CON", "nul", "aux.txt", "COM1", "lpt9.log", "con .txt", "dot.", "space "] {
            assert_eq!(refused(name), Some(UnsafeName::Reserved), "{name}");
        }
        for name in ["CONSOLE", "COM10", "nullable", "com"] {
            assert_eq!(refused(name), None, "{name}");
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
