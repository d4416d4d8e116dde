//! The shell completions and manual pages, made from the same definition as the help.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use clap::builder::Resettable;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::{self, Args};
use crate::{printable, screen};

/// Prints the completion script for a shell.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "wormhole", &mut script);
    screen::print(&script).context("cannot write to standard output")
}

/// Prints the manual page of the program, or writes one page per command into a directory, which is created if it
/// is missing.
///
/// # Errors
/// A page cannot be written.
pub(crate) fn manual(directory: Option<&Path>) -> Result<()> {
    let Some(directory) = directory else {
        let page = page(pages()).context("cannot make the page")?;
        return screen::print(&page).context("cannot write to standard output");
    };
    let place = printable::path(directory);
    let written = fs::create_dir_all(directory).and_then(|()| write_pages(pages(), directory));
    let count = written.with_context(|| format!("cannot write pages into {place}"))?;
    screen::print(format!("Wrote {count} manual pages into {place}\n").as_bytes())
        .context("cannot write to standard output")
}

/// Writes the page of a command and those of its subcommands. Returns their number.
fn write_pages(mut command: Command, directory: &Path) -> io::Result<usize> {
    command.build();
    let mut count = 1;
    for subcommand in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        count += write_pages(subcommand.clone(), directory)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    fs::write(directory.join(format!("{name}.1")), page(command)?)?;
    Ok(count)
}

/// One page, with the text below the options as it is in the help: examples keep their lines.
fn page(mut command: Command) -> io::Result<Vec<u8>> {
    let extra = command.get_after_help().map(ToString::to_string);
    command = command.after_help(Resettable::Reset);
    let man = clap_mangen::Man::new(command);
    let mut page = Vec::new();
    man.render(&mut page)?;
    if let Some(extra) = extra {
        let lines: Vec<_> = extra.lines().map(roff_line).collect();
        page.extend(format!(".SH NOTES\n.nf\n{}\n.fi\n", lines.join("\n")).bytes());
    }
    Ok(page)
}

/// A line of text as the formatter of manual pages reads it.
fn roff_line(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

/// The commands that have a page: all but `help`.
fn pages() -> Command {
    args::hide_unused_options(name_subcommands(Args::command()))
}

/// Names the argument for a subcommand COMMAND, as the help does.
fn name_subcommands(command: Command) -> Command {
    command
        .disable_help_subcommand(true)
        .subcommand_value_name("COMMAND")
        .mut_subcommands(name_subcommands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_in_a_manual_page_keep_their_lines() {
        let page = String::from_utf8(page(pages()).unwrap()).unwrap();
        let (_, notes) = page.split_once(".SH NOTES\n.nf\n").unwrap();
        assert!(notes.contains("\n  wormhole receive 7\\-guitarist\\-revenge\n"), "{notes}");
        assert!(notes.ends_with("\n.fi\n"), "{notes}");
    }
}
