//! The program: parses the command line and executes it.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{self, Action, Settings};
use crate::{ServerError, allocator, backup, console, host, logging, mailbox, messaging, net};

/// Runs the program `wormhole-server` with these arguments, the first of which is its name. Returns the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let settings = match config::read(arguments) {
        Ok(Action::Serve(settings)) => settings,
        Ok(Action::App(command)) => return report(messaging::run_app_command(&command)),
        Ok(Action::Reports(command)) => return report(messaging::run_report_command(&command)),
        Ok(Action::Print(text)) => return report(Ok(text)),
        Ok(Action::Backup(settings, target)) => return report(backup::run(&settings, &target)),
        Ok(Action::Import(settings, source)) => return report(import(&settings, &source)),
        Err(error) => return error.exit(),
    };
    allocator::configure();
    logging::start(settings.common.log, &settings.common.log_level);
    if let Err(error) = net::raise_file_limit() {
        tracing::warn!(%error, "could not raise the limit on open files");
    }
    match host::serve(settings) {
        Ok(()) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => report(Err(error)),
    }
}

/// Prints the result of a command, or its error.
fn report(result: Result<String, ServerError>) -> ExitCode {
    match result.and_then(|text| console::print(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::print_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Imports a database of the Python mailbox server.
fn import(settings: &Settings, source: &Path) -> Result<String, ServerError> {
    let Some(mailbox) = settings.service::<mailbox::Config>() else {
        let reason = "the mailbox server is disabled; set enabled = true in [mailbox], or use --mailbox true";
        return Err(ServerError::Import(reason));
    };
    let (imported, target) = mailbox::import(mailbox, source)?;
    Ok(format!(
        "imported {} nameplates, {} mailboxes and {} messages into {}\n",
        imported.nameplates,
        imported.mailboxes,
        imported.messages,
        target.display(),
    ))
}
