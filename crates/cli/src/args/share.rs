//! Options of `share`.

use std::path::PathBuf;

use super::ConnectionArgs;

/// Options of `share`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole share [OPTIONS] [CODE] [PATH]...",
    after_help = AFTER_HELP
)]
pub(crate) struct ShareArgs {
    /// Code of the other side, if it has one, then files and directories to offer
    #[arg(value_name = "CODE|PATH")]
    pub(crate) words: Vec<PathBuf>,
    /// Accept everything without asking, except names that begin with a dot
    #[arg(long)]
    pub(crate) accept_all: bool,
    /// Directory for received files
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Maximum number of files and directories in a received directory [default: 1000000]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_entries: Option<u64>,
    /// Number of words in a new code
    #[arg(short, long, value_name = "NUMWORDS", value_parser = super::words)]
    pub(crate) code_length: Option<u8>,
    /// Seconds to wait for the other side if the connection is lost [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400 * 7))]
    pub(crate) patience: Option<u64>,
    /// Show no progress
    #[arg(long)]
    pub(crate) hide_progress: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

const AFTER_HELP: &str = "\
Both sides run `wormhole share`: the first one without a code, and the other one with the code that it prints.
Then each side can offer files and directories until both are done: as arguments, or by typing their paths or
dropping them into the terminal.

While it runs, type:
  PATH      to offer a file or directory
  y or n    to accept or refuse the oldest offer
  done      (or Ctrl-D) when you offer nothing more; it ends when the other side is done, too

If the name of a received file exists, the new file gets a number. A first argument that looks like a code is
one; write such a path as ./7-zip.";
