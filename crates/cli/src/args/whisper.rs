//! Options of the commands of `whisper`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Subcommand;
use wormhole_node::{
    Settings,
    shh::{DEFAULT_TTL, Work},
};

/// Options of `whisper`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WhisperArgs {
    #[command(subcommand)]
    pub(crate) command: WhisperCommand,
}

/// The commands of `whisper`.
#[derive(Debug, Subcommand)]
pub(crate) enum WhisperCommand {
    /// Make a key pair
    Keygen(KeygenArgs),
    /// List your keys
    Keys,
    /// Post a message to a topic
    Post(PostArgs),
    /// Print the messages of a topic as they arrive
    Watch(WatchArgs),
    /// Chat with everyone who has the password of a topic
    Chat(ChatArgs),
    /// Run a node
    Node(NodeArgs),
    /// List the peers of a node
    Peers(PeersArgs),
    /// Ask a node with an archive for the messages that you missed
    Archive(ArchiveArgs),
}

/// Options of `whisper keygen`.
#[derive(Debug, clap::Args)]
pub(crate) struct KeygenArgs {
    /// Name of the key
    #[arg(value_name = "NAME", default_value = "default")]
    pub(crate) name: String,
}

/// Options of `whisper post`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole whisper post [OPTIONS] --topic <TOPIC> <TEXT|->")]
pub(crate) struct PostArgs {
    /// Topic: a word, or 0x and 8 hexadecimal digits
    #[arg(short, long, value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Encrypt for the owner of this public key, instead of with a password
    #[arg(long, value_name = "PUBKEY", conflicts_with_all = ["password", "password_file"])]
    pub(crate) to: Option<String>,
    /// With --to: pad the message to the length that it would have with a password, so that the
    /// length does not show which of the two is used
    #[arg(long, requires = "to")]
    pub(crate) uniform: bool,
    #[command(flatten)]
    pub(crate) message: MessageArgs,
    /// Wait until another node has received the message; fail if the message expires first
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) rpc: RpcArgs,
    /// Text of the message, or - for standard input
    #[arg(value_name = "TEXT|-", allow_hyphen_values = true)]
    pub(crate) text: String,
}

/// How to make a message.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MessageArgs {
    /// Sign with your key pair KEY: a name from `wormhole whisper keys`, or a key file
    #[arg(long, value_name = "KEY")]
    pub(crate) sign: Option<String>,
    /// Lifetime of each message
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TTL,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ttl: u32,
    /// Proof of work [default: what the node and most of its peers require, at least 0.2]
    #[arg(long, value_name = "WORK")]
    pub(crate) pow: Option<f64>,
}

/// Options of `whisper watch`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole whisper watch [OPTIONS] --topic <TOPIC>")]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Stop after COUNT messages
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) rpc: RpcArgs,
}

/// Which messages to read, and how to decrypt them.
#[derive(Debug, clap::Args)]
pub(crate) struct ReadingArgs {
    /// Topic: a word, or 0x and 8 hexadecimal digits
    #[arg(short, long, value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Decrypt with your private key KEY instead of a password: a name from `wormhole whisper
    /// keys`, or a key file
    #[arg(short, long, value_name = "KEY", conflicts_with_all = ["password", "password_file"])]
    pub(crate) key: Option<String>,
    /// Show only messages that are signed with the key pair of this public key
    #[arg(long, value_name = "PUBKEY")]
    pub(crate) from: Option<String>,
}

/// Options of `whisper chat`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole whisper chat [OPTIONS] --topic <TOPIC>")]
pub(crate) struct ChatArgs {
    /// Topic: a word, or 0x and 8 hexadecimal digits
    #[arg(short, long, value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    #[command(flatten)]
    pub(crate) message: MessageArgs,
    #[command(flatten)]
    pub(crate) rpc: RpcArgs,
}

/// The password that all readers of a topic share. Without these options, it comes from the environment or a
/// prompt.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PasswordArgs {
    /// Password that all readers share. Other users of this computer can see it in the process
    /// list: prefer --password-file or the variable `WORMHOLE_WHISPER_PASSWORD`
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_file")]
    pub(crate) password: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

/// The node to use.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RpcArgs {
    #[arg(
        long,
        value_name = "URL",
        help_heading = NODE,
        help = "JSON-RPC URL of the node: http, https, ws or wss [env: WORMHOLE_WHISPER_RPC] \
                [default: http://127.0.0.1:8545]"
    )]
    pub(crate) rpc: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help_heading = NODE,
        help = "File whose first line is the token for the node; without this option, the token is the value of the \
                variable WORMHOLE_WHISPER_TOKEN, if it is set"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Connect to another computer even without TLS: others can then read your keys and messages
    #[arg(long, help_heading = NODE)]
    pub(crate) allow_plain: bool,
}

/// Options of `whisper peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct PeersArgs {
    #[command(flatten)]
    pub(crate) rpc: RpcArgs,
}

/// Options of `whisper node`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
At a terminal, the last line shows the number of peers, the number and size of the messages in
memory, new messages per second, and how many peers were disconnected or banned because they
violated the protocol.")]
pub(crate) struct NodeArgs {
    /// Address to listen on for peers [default: 127.0.0.1:30303, or another port if that is in use]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address at which others can reach this computer, if it is behind a router
    #[arg(long, value_name = "IP")]
    pub(crate) advertise: Option<IpAddr>,
    /// Search for peers
    #[arg(long)]
    pub(crate) discovery: bool,
    /// Node at which the search for peers starts
    #[arg(long, value_name = "ENODE")]
    pub(crate) bootnode: Vec<String>,
    /// Node to stay connected to
    #[arg(long, value_name = "ENODE")]
    pub(crate) peer: Vec<String>,
    /// Maximum number of peers
    #[arg(long, value_name = "COUNT", default_value_t = Settings::DEFAULT_MAX_PEERS)]
    pub(crate) max_peers: usize,
    /// Minimum proof of work of messages
    #[arg(long, value_name = "WORK", default_value_t = Work::DEFAULT_MINIMUM.as_f64())]
    pub(crate) min_pow: f64,
    /// Do not forward messages of other nodes
    #[arg(long)]
    pub(crate) light: bool,
    /// Serve JSON-RPC on this loopback address, for the other commands and any client
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) rpc: Option<SocketAddr>,
    /// Directory in which the node stores its key and its messages
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Options of `whisper archive`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole whisper archive [OPTIONS] --topic <TOPIC> --server <ENODE>")]
pub(crate) struct ArchiveArgs {
    /// Node with the archive
    #[arg(long, value_name = "ENODE")]
    pub(crate) server: String,
    /// File whose first line is the password of the archive; without this option, wormhole uses
    /// the variable `WORMHOLE_ARCHIVE_PASSWORD`, and asks if that is not set
    #[arg(long, value_name = "FILE")]
    pub(crate) server_password_file: Option<PathBuf>,
    /// How far back: a number of seconds, or a number with m, h or d
    #[arg(long, value_name = "TIME", default_value = "1d")]
    pub(crate) since: String,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

/// Heading in the help of the options about the node.
const NODE: &str = "Node options";

const AFTER_HELP: &str = "\
In Whisper, nodes forward every message. Only people who have the password of a message, or the
private key that it is encrypted for, can read it.
Post, watch and chat need a node that encrypts, signs and decrypts for them. Run your own
(`wormhole whisper node --rpc 127.0.0.1:8545`, or `wormhole-server whisper --rpc 127.0.0.1:8545`),
or use any node that offers the Whisper methods (shh) over JSON-RPC.

Examples:
  wormhole whisper post --topic lobby \"hello\"       asks for the password of the lobby
  wormhole whisper watch --topic lobby --json
  wormhole whisper keygen                           prints a public key; others can write to it
  wormhole whisper watch --topic mail --key default
  wormhole whisper post --topic mail --to 0x04...  \"for you alone\"";
