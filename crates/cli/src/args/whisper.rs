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

/// What to do with Whisper.
#[derive(Debug, Subcommand)]
pub(crate) enum WhisperCommand {
    /// Make a key pair of your own
    Keygen(KeygenArgs),
    /// List your keys
    Keys,
    /// Post a message to a topic
    Post(PostArgs),
    /// Print the messages of a topic as they come
    Watch(WatchArgs),
    /// Talk with everyone who has the password of a topic
    Chat(ChatArgs),
    /// Be a node of the network
    Node(NodeArgs),
    /// List the peers of a node
    Peers(PeersArgs),
    /// Fetch what was posted while you were away, from a node that archives
    Archive(ArchiveArgs),
}

/// Options of `whisper keygen`.
#[derive(Debug, clap::Args)]
pub(crate) struct KeygenArgs {
    /// What to call the key
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
    /// Seal it for the holder of this public key instead
    #[arg(long, value_name = "PUBKEY", conflicts_with_all = ["password", "password_file"])]
    pub(crate) to: Option<String>,
    /// Make it as long as one that is sealed with a password, so that nobody can tell which it is
    #[arg(long, requires = "to")]
    pub(crate) uniform: bool,
    #[command(flatten)]
    pub(crate) mark: MarkArgs,
    /// Wait until another node has received it; fail if it expires before
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) rpc: RpcArgs,
    /// What to say, or - for standard input
    #[arg(value_name = "TEXT|-", allow_hyphen_values = true)]
    pub(crate) text: String,
}

/// How a message of our own is made.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MarkArgs {
    /// Sign with this key of yours: its name, or a path to it
    #[arg(long, value_name = "KEY")]
    pub(crate) sign: Option<String>,
    /// How long it lives
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TTL,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ttl: u32,
    /// Proof of work to do for it [default: what the node and most of its peers ask for, at least 0.2]
    #[arg(long, value_name = "WORK")]
    pub(crate) pow: Option<f64>,
}

/// Options of `whisper watch`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole whisper watch [OPTIONS] --topic <TOPIC>")]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Stop after so many messages
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) rpc: RpcArgs,
}

/// What is read, and what opens it.
#[derive(Debug, clap::Args)]
pub(crate) struct ReadingArgs {
    /// Topic: a word, or 0x and 8 hexadecimal digits
    #[arg(short, long, value_name = "TOPIC")]
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Open what is sealed for this key of yours instead: its name, or a path to it
    #[arg(short, long, value_name = "KEY", conflicts_with_all = ["password", "password_file"])]
    pub(crate) key: Option<String>,
    /// Only what the holder of this public key has signed
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
    pub(crate) mark: MarkArgs,
    #[command(flatten)]
    pub(crate) rpc: RpcArgs,
}

/// The password that everyone who reads a topic shares. Without these it is taken from the
/// environment, or asked for.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PasswordArgs {
    /// Password shared by all who read it; others on this computer can see it in the list of
    /// processes, unlike `WORMHOLE_WHISPER_PASSWORD`
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_file")]
    pub(crate) password: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

/// The node that does the work.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct RpcArgs {
    #[arg(
        long,
        value_name = "URL",
        help_heading = NODE,
        help = "JSON-RPC of the node, http or ws [env: WORMHOLE_WHISPER_RPC] \
                [default: http://127.0.0.1:8545]"
    )]
    pub(crate) rpc: Option<String>,
    /// File whose first line is the token that the node wants to see
    #[arg(long, value_name = "FILE", help_heading = NODE)]
    pub(crate) token_file: Option<PathBuf>,
    /// Let keys travel to another computer without TLS
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
pub(crate) struct NodeArgs {
    /// Address to listen on for peers [default: 127.0.0.1:30303, or another port if that is taken]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address at which others reach this computer, where a router stands between
    #[arg(long, value_name = "IP")]
    pub(crate) advertise: Option<IpAddr>,
    /// Look for peers
    #[arg(long)]
    pub(crate) discovery: bool,
    /// Node at which the search for peers begins
    #[arg(long, value_name = "ENODE")]
    pub(crate) bootnode: Vec<String>,
    /// Node to stay connected with
    #[arg(long, value_name = "ENODE")]
    pub(crate) peer: Vec<String>,
    /// Most peers at the same time
    #[arg(long, value_name = "COUNT", default_value_t = Settings::DEFAULT_MAX_PEERS)]
    pub(crate) max_peers: usize,
    /// Proof of work to ask of envelopes
    #[arg(long, value_name = "WORK", default_value_t = Work::DEFAULT_MINIMUM.as_f64())]
    pub(crate) min_pow: f64,
    /// Pass on nothing but what comes from here
    #[arg(long)]
    pub(crate) light: bool,
    /// Serve JSON-RPC at this address of this computer: to the other commands and to any client
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) rpc: Option<SocketAddr>,
    /// Folder that keeps the node's key and envelopes over a restart
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// Options of `whisper archive`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "wormhole whisper archive [OPTIONS] --topic <TOPIC> --server <ENODE>")]
pub(crate) struct ArchiveArgs {
    /// The node that archives
    #[arg(long, value_name = "ENODE")]
    pub(crate) server: String,
    /// File whose first line is the password of its archive, which is otherwise taken from
    /// `WORMHOLE_ARCHIVE_PASSWORD` or asked for
    #[arg(long, value_name = "FILE")]
    pub(crate) server_password_file: Option<PathBuf>,
    /// How far back: a number of seconds, or with m, h or d behind it
    #[arg(long, value_name = "TIME", default_value = "1d")]
    pub(crate) since: String,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
}

/// Heading in the help of the options about the node.
const NODE: &str = "Node options";

const AFTER_HELP: &str = "\
Whisper is gossip: every node passes every message on, and only those with the key can read it.
Post, watch and chat ask a node to seal, sign and open for them: run one of your own
(`wormhole whisper node --rpc 127.0.0.1:8545`, or `wormhole-server whisper --rpc 127.0.0.1:8545`),
or use any node that speaks shh over JSON-RPC.

Examples:
  wormhole whisper post --topic lobby \"hello\"       asks for the password of the lobby
  wormhole whisper watch --topic lobby --json
  wormhole whisper keygen                           prints a public key for others to write to
  wormhole whisper watch --topic mail --key default
  wormhole whisper post --topic mail --to 0x04...  \"for you alone\"";
