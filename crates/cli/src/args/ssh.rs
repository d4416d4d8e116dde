//! Options of `ssh invite` and `ssh accept`.

use std::path::PathBuf;

use clap::Subcommand;

use super::TorArgs;

/// Options of `ssh`.
#[derive(Debug, clap::Args)]
pub(crate) struct SshArgs {
    #[command(subcommand)]
    pub(crate) command: SshCommand,
}

/// The commands of `ssh`.
#[derive(Debug, Subcommand)]
pub(crate) enum SshCommand {
    /// Let another person log in here with their public key
    Invite(InviteArgs),
    /// Send your public key to the person who invited you
    Accept(AcceptArgs),
}

/// Options of `ssh invite`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole ssh invite [OPTIONS]")]
pub(crate) struct InviteArgs {
    /// Number of words in the code
    #[arg(short, long, value_name = "NUMWORDS", value_parser = super::words)]
    pub(crate) code_length: Option<u8>,
    /// User account for the other person, instead of yours
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) tor: TorArgs,
}

/// Options of `ssh accept`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole ssh accept [OPTIONS] <CODE>")]
pub(crate) struct AcceptArgs {
    /// The code of the invitation
    #[arg(value_name = "CODE")]
    pub(crate) code: String,
    /// Public key to send, or a directory to look for one in [default: ~/.ssh]
    #[arg(short = 'F', long, value_name = "PATH")]
    pub(crate) key_file: Option<PathBuf>,
    /// Send the key without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) tor: TorArgs,
}
