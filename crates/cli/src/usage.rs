//! What is said when the command line was typed wrongly, and the help that was asked for.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::failure::ErrorReport;
use crate::{console, json, screen};

/// Shows help and versions on standard output (exit 0), everything else on standard error (exit 2),
/// in the words of the parser behind our prefix. With `--json` the error is an event, too.
pub(crate) fn show(refusal: &clap::Error, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if !refusal.use_stderr() {
        // A closed pipe is success: `wormhole --help | head -1`.
        let _ = refusal.print();
        return ExitCode::SUCCESS;
    }
    let report = report_of(refusal);
    if refusal.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = refusal.print();
    } else {
        let said = refusal.render().to_string();
        screen::show_error(said.strip_prefix("error: ").unwrap_or(&said).trim_end(), None);
    }
    if wants_json(arguments) {
        // Nobody is left to tell if this fails.
        let _ = console::print_json(&json::error(&report));
    }
    report.exit_code()
}

/// Whether `--json` is among the arguments: they could not be parsed, so this is only a look.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// The error as one sentence and one hint.
fn report_of(refusal: &clap::Error) -> ErrorReport {
    let (message, hint) = if refusal.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        ("a command is missing".to_owned(), Some("try `wormhole --help`".to_owned()))
    } else {
        sentence_and_tip(&refusal.render().to_string())
    };
    ErrorReport { message: Some(message), hint, exit: 2, is_expected: false }
}

/// The first paragraph of what the parser says, on one line, and the tip that it gives.
fn sentence_and_tip(said: &str) -> (String, Option<String>) {
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let (first, rest) = said.split_once("\n\n").unwrap_or((said, ""));
    let tip = rest.lines().find_map(|line| line.trim_start().strip_prefix("tip: "));
    let words: Vec<_> = first.split_whitespace().collect();
    (words.join(" "), tip.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_wanted(arguments: &[&str]) -> bool {
        wants_json(arguments.iter().map(OsString::from))
    }

    #[test]
    fn json_is_wanted_wherever_the_option_is_and_nowhere_behind_two_hyphens() {
        assert!(is_wanted(&["wormhole", "--json", "send", "--foo"]));
        assert!(is_wanted(&["wormhole", "receive", "--json"]));
        assert!(!is_wanted(&["wormhole", "send", "--", "--json"]));
        assert!(!is_wanted(&["wormhole", "send", "json"]));
    }

    #[test]
    fn what_the_parser_says_becomes_one_line() {
        let said = "error: unexpected argument '--foo' found\n\n  tip: a similar argument exists: \
                    '--fo'\n\nUsage: wormhole";
        let expected = ("unexpected argument '--foo' found", "a similar argument exists: '--fo'");
        let (message, tip) = sentence_and_tip(said);
        assert_eq!((message.as_str(), tip.as_deref()), (expected.0, Some(expected.1)));
        let said = "error: the following required arguments were not provided:\n  <CODE>\n\nUsage";
        let (message, tip) = sentence_and_tip(said);
        assert_eq!(message, "the following required arguments were not provided: <CODE>");
        assert_eq!(tip, None);
    }
}
