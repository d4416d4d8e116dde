//! Options of `send`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{CodeArgs, ConnectionArgs};

/// Options of `send`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole send [OPTIONS] [WHAT]...",
    after_help = "\
Without WHAT and --text, wormhole asks for a text. Several paths arrive as one directory. The
argument - sends standard input, of any length. Without --qr and --no-qr, a QR code is shown if the
terminal has room for it."
)]
pub(crate) struct SendArgs {
    /// Files or directories to send, or - for standard input
    #[arg(value_name = "WHAT")]
    pub(crate) what: Vec<PathBuf>,
    /// Text to send instead of a file; - reads it from standard input
    #[arg(long, value_name = "MESSAGE", allow_hyphen_values = true)]
    pub(crate) text: Option<OsString>,
    /// Code to use instead of a new one, such as 4-our-own-words
    #[arg(long, value_name = "CODE", conflicts_with = "zero_mode")]
    pub(crate) code: Option<String>,
    /// Number of receivers; each gets a code of its own
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(1..=50),
        conflicts_with_all = ["code", "zero_mode", "verify", "qr", "listen_port"]
    )]
    pub(crate) to: Option<u8>,
    /// File name for standard input
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Leave out files that cannot be read, instead of failing
    #[arg(long)]
    pub(crate) ignore_unsendable_files: bool,
    #[arg(
        long,
        overrides_with = "no_qr",
        help = "Also show the code as a QR code [env: WORMHOLE_QR]"
    )]
    pub(crate) qr: bool,
    /// Show no QR code
    #[arg(long, overrides_with = "qr")]
    pub(crate) no_qr: bool,
    #[command(flatten)]
    pub(crate) code_args: CodeArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
