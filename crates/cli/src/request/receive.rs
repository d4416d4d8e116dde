//! A checked request to receive.

use std::iter;

use anyhow::Result;
use wormhole::code::Code;
use wormhole::transfer::{CodeSource, Settings};

use super::output::{Output, check_stdout};
use super::{DisplayOptions, Servers, apply, asks_a_person};
use crate::args::{GlobalArgs, OnExists, ReceiveArgs};
use crate::config::Config;
use crate::failure::Failure;
use crate::{environment, shell};

/// A checked request to receive.
#[derive(Debug)]
pub(crate) struct ReceiveRequest {
    /// The source of the code.
    pub(crate) code: CodeSource,
    /// Settings of the transfer.
    pub(crate) settings: Settings,
    /// The servers, for the command that is shown for the other side.
    pub(crate) servers: Servers,
    /// Whether files are refused.
    pub(crate) only_text: bool,
    /// Whether files are accepted without asking.
    pub(crate) accept_file: bool,
    /// The place for files.
    pub(crate) output: Output,
    /// What to do if the name exists.
    pub(crate) on_exists: OnExists,
    /// Why no file can be received, though a text can.
    pub(crate) warning: Option<Failure>,
    /// Options of the output.
    pub(crate) display: DisplayOptions,
}

impl ReceiveRequest {
    /// Checks the options, and completes them from the environment and the configuration.
    ///
    /// # Errors
    /// They contradict each other, or a value is invalid.
    pub(crate) fn new(args: ReceiveArgs, global: &GlobalArgs, config: &Config) -> Result<Self> {
        if args.code_args.code_length.is_some() && !args.allocate {
            return Err(Failure::usage("--code-length needs --allocate")
                .hint("without --allocate, the sender's program makes the code")
                .into());
        }
        let servers = Servers::new(global, config)?;
        let mut settings = servers.settings()?;
        apply(&mut settings, &args.code_args, &args.connection, config);
        settings.max_entries = args.max_entries.or(config.max_entries);
        let output = Output::new(args.output_file.as_deref(), config);
        if output == Output::Stdout && global.json {
            return Err(Failure::usage("--json and -o - cannot both use standard output").into());
        }
        // A text needs standard output.
        check_stdout()?;
        let code = source(&args, &mut settings)?;
        let (on_exists, accept_file) = (on_exists(&args, config), accept_file(&args, config)?);
        let checked = if args.only_text { Ok(()) } else { output.check(on_exists) };
        // If the user did not choose the directory, perhaps only a text will come.
        let is_chosen = accept_file || args.output_file.is_some() || config.download_dir.is_some();
        let warning = match checked {
            Err(failure) if is_chosen => return Err(failure.into()),
            checked => checked.err(),
        };
        Ok(Self {
            code,
            on_exists,
            warning,
            display: DisplayOptions::new(&args.code_args, config)?,
            only_text: args.only_text,
            accept_file,
            output,
            settings,
            servers,
        })
    }
}

/// Whether files are accepted without asking.
fn accept_file(args: &ReceiveArgs, config: &Config) -> Result<bool> {
    if args.accept_file {
        return Ok(true);
    }
    let set = environment::flag("WORMHOLE_ACCEPT_FILE")?;
    Ok(set.or(config.accept_file).unwrap_or(false))
}

fn source(args: &ReceiveArgs, settings: &mut Settings) -> Result<CodeSource> {
    if args.code_args.zero_mode {
        return Ok(CodeSource::Code(super::code(Code::ZERO, settings)?));
    }
    match &args.code {
        None if args.allocate => Ok(CodeSource::Allocate),
        None => Ok(CodeSource::Input),
        Some(code) if args.more_words.is_empty() => {
            Ok(CodeSource::Code(super::code(code, settings)?))
        }
        Some(code) => Err(too_many(code, &args.more_words).into()),
    }
}

/// The error for several codes: exit status 1, as in the Python command line. Most often they are one code with
/// spaces instead of hyphens.
fn too_many(first: &str, more: &[String]) -> Failure {
    let words: Vec<&str> = iter::once(first).chain(more.iter().map(String::as_str)).collect();
    let (count, list) = (words.len(), words.join(", "));
    let message = format!("pass either no code or just one code; you passed {count}: {list}");
    let joined = words.join("-");
    let is_one = words.iter().skip(1).all(|word| !word.starts_with(|c: char| c.is_ascii_digit()));
    if is_one && Code::parse(&joined).is_ok() {
        return Failure::new(message).hint(format!("did you mean {}?", shell::quote(&joined)));
    }
    Failure::new(message)
}

/// With `-o`, an existing file is replaced, as in the Python command line. Otherwise the user is asked; without a
/// terminal, the offer is refused.
fn on_exists(args: &ReceiveArgs, config: &Config) -> OnExists {
    args.on_exists
        .or_else(|| args.output_file.is_some().then_some(OnExists::Overwrite))
        .or(config.on_exists)
        .unwrap_or_else(|| if asks_a_person() { OnExists::Ask } else { OnExists::Refuse })
}
