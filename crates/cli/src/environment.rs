//! Reads environment variables, with the values that the Python command line accepts.
//!
//! An empty variable counts as not set.

use std::env;
use std::ffi::OsString;

use crate::failure::Failure;

/// The text of a variable; `None` if it is not set.
///
/// # Errors
/// It is not Unicode.
pub(crate) fn text(name: &str) -> Result<Option<String>, Failure> {
    let Some(value) = env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let unreadable = |_: OsString| Failure::usage(format!("{name} is not valid Unicode"));
    value.into_string().map(Some).map_err(unreadable)
}

/// A variable with yes or no; `None` if it is not set.
///
/// # Errors
/// It is neither.
pub(crate) fn flag(name: &str) -> Result<Option<bool>, Failure> {
    text(name)?.map(|value| truth(name, &value)).transpose()
}

/// Parses yes or no, as Click does.
fn truth(name: &str, value: &str) -> Result<bool, Failure> {
    match value.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
        "0" | "false" | "f" | "no" | "n" | "off" | "" => Ok(false),
        _ => Err(Failure::usage(format!("{name} is neither yes nor no: {value:?}"))
            .hint("use 1, true, t, yes, y or on; or 0, false, f, no, n or off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yes_and_no_are_the_words_that_click_knows_in_any_case() {
        let words = [
            (true, ["1", "true", "t", "yes", "y", "on", "TRUE", "T", "Yes", "Y", "oN", " on\n"]),
            (false, ["0", "false", "f", "no", "n", "off", "False", "F", "NO", "N", "Off", "  "]),
        ];
        for (expected, words) in words {
            for word in words {
                assert_eq!(truth("WORMHOLE_QR", word), Ok(expected), "{word:?}");
            }
        }
    }

    #[test]
    fn any_other_word_is_wrong_usage_that_names_the_variable_and_the_word() {
        for word in ["banana", "2", "-1", "yes please", "tr", "ja", "1.0", "\u{1b}[2J"] {
            let report =
                crate::failure::ErrorReport::of(&truth("WORMHOLE_QR", word).unwrap_err().into());
            assert_eq!(report.exit, 2, "{word:?}");
            let message = report.message.unwrap();
            assert_eq!(message, format!("WORMHOLE_QR is neither yes nor no: {word:?}"));
        }
    }

    #[test]
    fn a_variable_that_is_not_set_says_nothing() {
        assert_eq!(text("WORMHOLE_NO_SUCH_VARIABLE"), Ok(None));
        assert_eq!(flag("WORMHOLE_NO_SUCH_VARIABLE"), Ok(None));
    }
}
