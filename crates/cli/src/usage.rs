//! Shows errors of the command line parser, and help.

use std::ffi::OsString;
use std::net::AddrParseError;
use std::num::{ParseFloatError, ParseIntError};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;

use crate::failure::ErrorReport;
use crate::{console, json, screen};

/// Shows help and versions on standard output (exit 0), and errors on standard error with our prefix (exit 2). With
/// `--json`, prints the error as an event, too.
pub(crate) fn show(refusal: &clap::Error, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if !refusal.use_stderr() {
        return show_help(refusal);
    }
    let report = report_of(refusal);
    if refusal.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = refusal.print();
    } else {
        let said = explained(refusal.render().to_string(), refusal);
        screen::show_error(said.strip_prefix("error: ").unwrap_or(&said).trim_end(), None);
    }
    if wants_json(arguments) {
        // If this fails, too, nobody reads our output.
        let _ = console::print_json(&json::error(&report));
    }
    report.exit_code()
}

/// Prints help or a version. A closed pipe is success: `wormhole --help | head -1`.
fn show_help(help: &clap::Error) -> ExitCode {
    match help.print().context("cannot write to standard output") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let report = ErrorReport::of(&error);
            if let Some(message) = &report.message {
                screen::show_error(message, None);
            }
            report.exit_code()
        }
    }
}

/// Explains a value that cannot be parsed. The texts of the standard library and of the parser describe only
/// digits and ranges.
fn explained(text: String, refusal: &clap::Error) -> String {
    let Some(source) = std::error::Error::source(refusal) else { return text };
    let source_text = source.to_string();
    let explanation = if source.is::<ParseIntError>() {
        "expected a whole number".to_owned()
    } else if source.is::<ParseFloatError>() {
        "expected a number, such as 0.2".to_owned()
    } else if source.is::<AddrParseError>() {
        let example = match source_text.contains("socket") {
            true => "an address with a port, such as 127.0.0.1:8545",
            false => "an IP address, such as 192.0.2.7",
        };
        format!("expected {example}")
    } else if let Some((least, most)) =
        source_text.split_once(" is not in ").and_then(|(_, range)| range.split_once(".."))
    {
        match most.trim_start_matches('=') {
            "" | "18446744073709551615" => format!("expected a whole number, at least {least}"),
            most => format!("expected a whole number from {least} to {most}"),
        }
    } else {
        return text;
    };
    text.replacen(&source_text, &explanation, 1)
}

/// Whether `--json` is one of the arguments, which could not be parsed.
fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// The error as a message and a hint.
fn report_of(refusal: &clap::Error) -> ErrorReport {
    let (message, hint) = if refusal.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        ("a command is missing".to_owned(), Some("try `wormhole --help`".to_owned()))
    } else {
        sentence_and_tip(&explained(refusal.render().to_string(), refusal))
    };
    ErrorReport { message: Some(message), hint, exit: 2, is_expected: false }
}

/// The first paragraph of the parser's text, on one line, and its tip.
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
    fn the_text_of_the_parser_becomes_one_line() {
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
