//! Options of `receive`.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Deserialize;

use super::{CodeArgs, ConnectionArgs};

/// Options of `receive`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole receive [OPTIONS] [CODE]",
    after_help = "\
Without CODE, wormhole asks for it; Tab completes it. If the name exists, wormhole asks what to do,
or refuses if standard input is not a terminal. An existing FILE of -o FILE is overwritten.
--on-exists changes all this.
With -o -, a directory is written as a ZIP file. A text always goes to standard output, even with
-o FILE.",
    mut_arg("code_length", |option| option.help("Number of words in the code that --allocate makes"))
)]
pub(crate) struct ReceiveArgs {
    /// The code, or a wormhole-transfer: link
    #[arg(value_name = "CODE", conflicts_with_all = ["allocate", "zero_mode"])]
    pub(crate) code: Option<String>,
    /// Words after the code, so that the error can explain the mistake
    #[arg(hide = true)]
    pub(crate) more_words: Vec<String>,
    /// Accept only texts, and refuse files
    #[arg(short = 't', long)]
    pub(crate) only_text: bool,
    #[arg(long, help = "Accept files without asking [env: WORMHOLE_ACCEPT_FILE]")]
    pub(crate) accept_file: bool,
    /// Where to write files: a new name, an existing directory, or - for standard output
    #[arg(short, long, value_name = "FILENAME|DIRNAME")]
    pub(crate) output_file: Option<PathBuf>,
    /// What to do if the name exists
    #[arg(long, value_name = "ACTION")]
    pub(crate) on_exists: Option<OnExists>,
    /// Maximum number of files and directories in a received directory [default: 1000000]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_entries: Option<u64>,
    /// Make a code for the sender, instead of asking for one
    #[arg(short, long)]
    pub(crate) allocate: bool,
    #[command(flatten)]
    pub(crate) code_args: CodeArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// What to do if the offered name exists here.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnExists {
    // Doc comments here would make the short help long.
    Ask,
    Overwrite,
    Rename,
    Refuse,
}
