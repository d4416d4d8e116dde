//! The shell completions and manual pages, made from the same definition as the help.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Args;
use crate::screen;

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
        clap_mangen::Man::new(Args::command()).render(&mut page).context("cannot make the page")?;
        return screen::print(&page).context("cannot print the page");
    };
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Args::command(), directory))
        .with_context(|| format!("cannot write pages into {}", directory.display()))
}
