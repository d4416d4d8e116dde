//! The options of every command, and from them the help, manual pages and completions.
//!
//! `request.rs` checks and completes them. It also reads the environment, because the parser treats an empty variable
//! as set. Names, short forms and environment variables are those of the Python 0.24 command line
//! (docs/command-line.md).

use std::path::PathBuf;

use clap::{ArgAction, ColorChoice, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::screen;

pub(crate) mod chat;
mod code;
mod connection;
mod forward;
mod receive;
mod send;
mod share;
mod ssh;
mod whisper;

pub(crate) use code::{CodeArgs, DEBUG_MACHINES};
pub(crate) use connection::{ConnectionArgs, TorArgs};
pub(crate) use forward::ForwardArgs;
pub(crate) use receive::{OnExists, ReceiveArgs};
pub(crate) use send::SendArgs;
pub(crate) use share::ShareArgs;
pub(crate) use ssh::{AcceptArgs, InviteArgs, SshArgs, SshCommand};
pub(crate) use whisper::{
    ArchiveArgs, ChatArgs, MessageArgs, NodeArgs, PasswordArgs, PeersArgs, PostArgs, ReadingArgs,
    RpcArgs, WatchArgs, WhisperArgs, WhisperCommand,
};

/// Send files, directories, texts and streams to another computer with a short code
#[derive(Debug, Parser)]
#[command(
    name = "wormhole",
    version,
    max_term_width = 100,
    args_override_self = true,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_flag = true,
    after_help = AFTER_HELP
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Parses the number of words of a code.
fn words(typed: &str) -> Result<u8, String> {
    let number = typed.parse().ok().filter(|number| (1..=32).contains(number));
    number.ok_or_else(|| "expected a whole number from 1 to 32".to_owned())
}

impl Args {
    /// Reads the command line of this process.
    ///
    /// # Errors
    /// It is wrong, or asks for help. The error can print itself.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        // Set here because the parser uses colours if `CI` is set, whatever `TERM` is.
        let color = if screen::is_plain() { ColorChoice::Never } else { ColorChoice::Auto };
        let mut command = hide_unused_options(Self::command().color(color));
        let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// Hides the global options in the help of commands that ignore them. They are still accepted there, because the
/// Python command line accepts them before any command.
pub(crate) fn hide_unused_options(mut command: clap::Command) -> clap::Command {
    // This adds the global options to each command.
    command.build();
    join_help_lines(command).mut_subcommands(|command| match command.get_name() {
        "completions" | "man" => hide(command, &[SERVERS, &["config", "dump_timing"]].concat()),
        "chat" => hide(command, SERVERS).mut_subcommands(|command| match command.get_name() {
            // They meet the other side at the mailbox server.
            "add" | "link" => hide(command, CHAT_CODES).mut_subcommands(|it| hide(it, CHAT_CODES)),
            _ => hide(command, &[SERVERS, &["dump_timing"]].concat()),
        }),
        "whisper" => hide(command, SERVERS).mut_subcommands(|command| match command.get_name() {
            "keygen" | "keys" => hide(command, &[SERVERS, &["dump_timing"]].concat()),
            _ => hide(command, SERVERS),
        }),
        _ => command,
    })
}

/// Joins the lines of the sentences behind the options: the width of the terminal decides where lines end.
fn join_help_lines(command: clap::Command) -> clap::Command {
    let help = command.get_after_help().map(|help| joined(&help.to_string()));
    let command = match help {
        Some(help) => command.after_help(help),
        None => command,
    };
    command.mut_subcommands(join_help_lines)
}

/// A text in which only short lines, and those before or in an indented block, still end.
fn joined(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let mut joined = String::new();
    for (line, next) in lines.iter().zip(lines.iter().skip(1).chain([&""])) {
        joined.push_str(line);
        let is_sentence = |line: &str| line.starts_with(|c: char| !c.is_whitespace());
        let is_long = line.chars().count() >= LONG_LINE;
        let continues = is_long && is_sentence(line) && is_sentence(next);
        joined.push(if continues { ' ' } else { '\n' });
    }
    joined.trim_end().to_owned()
}

fn hide(command: clap::Command, names: &[&str]) -> clap::Command {
    command
        .mut_args(|arg| if names.contains(&arg.get_id().as_str()) { arg.hide(true) } else { arg })
}

/// Options before or after the command.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct GlobalArgs {
    /// Application id, the same on both sides
    #[arg(long, value_name = "APPID", global = true, help_heading = GLOBAL)]
    pub(crate) appid: Option<String>,
    #[arg(
        long,
        value_name = "URL",
        global = true,
        help_heading = GLOBAL,
        help = "Mailbox server to use [env: WORMHOLE_RELAY_URL]"
    )]
    pub(crate) relay_url: Option<String>,
    #[arg(
        long,
        value_name = "tcp:HOST:PORT",
        global = true,
        help_heading = GLOBAL,
        help = "Transit relay, used if no direct connection works [env: WORMHOLE_TRANSIT_HELPER]"
    )]
    pub(crate) transit_helper: Option<String>,
    /// Configuration file [default: ~/.config/wormhole/config.toml]
    #[arg(long, value_name = "FILE", global = true, help_heading = GLOBAL)]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON event per line on standard output instead of messages
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    /// Write timing data to a file
    #[arg(long, value_name = "FILE.json", global = true, help_heading = GLOBAL)]
    pub(crate) dump_timing: Option<PathBuf>,
    /// Show this help
    #[arg(short, long, action = ArgAction::HelpShort, global = true, help_heading = GLOBAL)]
    help: Option<bool>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a text message, files, directories or a stream
    #[command(visible_alias = "tx")]
    Send(SendArgs),
    /// Receive what `wormhole send` offers
    #[command(visible_aliases = ["rx", "recv"], alias = "recieve")]
    Receive(ReceiveArgs),
    /// Send and receive files and directories in one session, in both directions
    Share(ShareArgs),
    /// Reach TCP ports of another computer
    Forward(ForwardArgs),
    /// Send an SSH public key to another computer
    Ssh(SshArgs),
    /// Post and read messages through a network of Whisper nodes
    Whisper(WhisperArgs),
    /// Exchange encrypted messages through a messaging server
    Chat(chat::ChatArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
    /// Print the manual page, or write one page per command to DIR
    Man {
        /// Directory for the pages
        dir: Option<PathBuf>,
    },
    /// Check the servers and the network, and run test transfers
    Doctor(DoctorArgs),
}

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) tor: TorArgs,
}

/// The options about Magic-Wormhole servers.
const SERVERS: &[&str] = &["appid", "relay_url", "transit_helper"];

/// The global options that the commands of `chat` with a code ignore.
const CHAT_CODES: &[&str] = &["appid", "transit_helper", "dump_timing"];

/// Characters of a line of help that ends only because the source does.
const LONG_LINE: usize = 70;

/// Heading in the help of the global options.
const GLOBAL: &str = "Global options";

const AFTER_HELP: &str = "\
Both people use the same code, and nobody without the code can read the data. The other side can use
this program or any other Magic-Wormhole client.

Examples:
  wormhole send photo.jpg              prints a code such as 7-guitarist-revenge
  wormhole receive 7-guitarist-revenge
  wormhole send --text \"hello\"
  tar c src | wormhole send -          on the other side: wormhole receive -o - CODE | tar x

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated.
Options override environment variables, which override the configuration file. Keys of that file:
appid, relay-url, transit-helper, code-length, verify, hide-progress, qr, accept-file, on-exists,
max-entries, listen, listen-port and tor mean the same as the options of these names. download-dir
is the directory for received files.";
