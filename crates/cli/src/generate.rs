//! The shell completions and manual pages, made from the same definition as the help.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::{self, Args};
use crate::{printable, screen};

/// Prints the completion script for a shell.
///
/// # Errors
/// Standard output does not take it.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "wormhole", &mut script);
    screen::print(&script).context("cannot print the script")
}

/// Prints the manual page of the whole program, or writes one page per command into a directory,
/// which is made if it is missing.
///
/// # Errors
/// A page cannot be written.
pub(crate) fn manual(directory: Option<&Path>) -> Result<()> {
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(pages()).render(&mut page).context("cannot make the page")?;
        return screen::print(&page).context("cannot print the page");
    };
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(pages(), directory))
        .with_context(|| format!("cannot write pages into {}", directory.display()))?;
    let place = printable::path(directory);
    screen::print(format!("Wrote {} manual pages into {place}\n", count(&pages())).as_bytes())
        .context("cannot write to standard output")
}

/// What has a page: every command but `help`.
fn pages() -> Command {
    args::tidy(name_places(Args::command()))
}

/// Calls the place of a command COMMAND in each synopsis, as the help does.
fn name_places(command: Command) -> Command {
    command
        .disable_help_subcommand(true)
        .subcommand_value_name("COMMAND")
        .mut_subcommands(name_places)
}

fn count(command: &Command) -> usize {
    1 + command.get_subcommands().map(count).sum::<usize>()
}
