//! What is said when the command line was typed wrongly, and the help that was asked for.

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::screen;

/// Shows help and versions on standard output (exit 0), everything else on standard error (exit 2),
/// in the words of the parser behind our prefix.
pub(crate) fn show(refusal: &clap::Error) -> ExitCode {
    if !refusal.use_stderr() {
        // A closed pipe is success: `wormhole --help | head -1`.
        let _ = refusal.print();
        return ExitCode::SUCCESS;
    }
    if refusal.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = refusal.print();
    } else {
        let said = refusal.render().to_string();
        screen::complain(said.strip_prefix("error: ").unwrap_or(&said).trim_end(), None);
    }
    ExitCode::from(2)
}
