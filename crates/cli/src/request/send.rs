//! A checked request to send.

use std::ffi::OsStr;
use std::num::NonZeroU8;
use std::path::PathBuf;

use anyhow::Result;
use wormhole::code::Code;
use wormhole::transfer::{PeerName, Settings};

use super::{DisplayOptions, Servers, apply};
use crate::args::{GlobalArgs, SendArgs};
use crate::config::Config;
use crate::failure::Failure;
use crate::{environment, printable};

/// A checked request to send.
#[derive(Debug)]
pub(crate) struct SendRequest {
    /// The data to send.
    pub(crate) what: What,
    /// Settings of the transfer.
    pub(crate) settings: Settings,
    /// The servers, for the command that is shown for the other side.
    pub(crate) servers: Servers,
    /// Whether there is no code.
    pub(crate) zero_mode: bool,
    /// Whether to show a QR code.
    pub(crate) qr: Qr,
    /// The number of receivers, with `--to`.
    pub(crate) receivers: Option<NonZeroU8>,
    /// Options of the output.
    pub(crate) display: DisplayOptions,
}

/// What to send, before anything is opened or read.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum What {
    /// Files and directories.
    Paths(Vec<PathBuf>),
    /// Standard input as a stream with this name.
    Stream(String),
    /// This text.
    Text(String),
    /// Standard input as a text.
    TextFromInput,
    /// The text that the user types at a prompt.
    TextFromPrompt,
}

/// Whether to show a QR code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Qr {
    /// The user wants it.
    Always,
    /// On a terminal with enough space.
    WhereItFits,
    /// The user does not want it.
    Never,
}

impl SendRequest {
    /// Checks the options, and completes them from the environment and the configuration.
    ///
    /// # Errors
    /// They contradict each other, or a value is invalid.
    pub(crate) fn new(args: SendArgs, global: &GlobalArgs, config: &Config) -> Result<Self> {
        let servers = Servers::new(global, config)?;
        let mut settings = servers.settings()?;
        apply(&mut settings, &args.code_args, &args.connection, config);
        settings.ignore_unsendable = args.ignore_unsendable_files;
        let zero_mode = args.code_args.zero_mode;
        if args.to.is_some() && settings.verify {
            return Err(Failure::usage("--to cannot be used with verification strings")
                .hint("the configuration file has verify = true: send to one receiver at a time")
                .into());
        }
        let typed = args.code.as_deref().or_else(|| zero_mode.then_some(Code::ZERO));
        settings.code = typed.map(|typed| super::code(typed, &mut settings)).transpose()?;
        Ok(Self {
            qr: Qr::new(&args, config)?,
            receivers: args.to.and_then(NonZeroU8::new),
            display: DisplayOptions::new(&args.code_args, config)?,
            what: What::new(args)?,
            settings,
            servers,
            zero_mode,
        })
    }
}

impl What {
    fn new(args: SendArgs) -> Result<Self> {
        let is_dash = |path: &PathBuf| path.as_os_str() == "-";
        let is_stream = args.what.len() == 1 && args.what.iter().all(is_dash);
        if args.name.is_some() && !is_stream {
            return Err(Failure::usage("--name is for standard input (-)").into());
        }
        if let (Some(_), Some(path)) = (&args.text, args.what.first()) {
            let path = printable::path(path);
            return Err(Failure::usage(format!("--text and '{path}' cannot be sent together"))
                .hint("send them one after the other, or put the text into a file")
                .into());
        }
        if let Some(name) = &args.name
            && let Err(why) = PeerName::new(name.as_str()).to_file_name()
        {
            let name = printable::line(name);
            return Err(
                Failure::usage(format!("--name '{name}' is not a valid file name: {why}")).into()
            );
        }
        match args.text {
            Some(text) if text == OsStr::new("-") => Ok(Self::TextFromInput),
            Some(text) => text.into_string().map(Self::Text).map_err(|_| {
                Failure::usage("the text is not valid Unicode").hint("send it as a file").into()
            }),
            None if args.what.is_empty() => Ok(Self::TextFromPrompt),
            None if is_stream => {
                Ok(Self::Stream(args.name.unwrap_or_else(|| STREAM_NAME.to_owned())))
            }
            None if args.what.iter().any(is_dash) => {
                Err(Failure::usage("standard input (-) cannot be sent together with files")
                    .hint("send a file called - as ./-")
                    .into())
            }
            None => Ok(Self::Paths(args.what)),
        }
    }
}

impl Qr {
    fn new(args: &SendArgs, config: &Config) -> Result<Self> {
        let wanted = match (args.qr, args.no_qr) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => environment::flag("WORMHOLE_QR")?.or(config.qr),
        };
        Ok(wanted.map_or(Self::WhereItFits, |yes| if yes { Self::Always } else { Self::Never }))
    }
}

/// The default name of standard input.
const STREAM_NAME: &str = "stdin";
