//! Options that several commands share.

/// How the code is made and checked, and how much is shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct CodeArgs {
    /// Use no code at all: whoever asks first gets it
    #[arg(short = '0')]
    pub(crate) zero_mode: bool,
    /// Number of words in the code
    #[arg(short, long, value_name = "NUMWORDS", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) code_length: Option<u8>,
    /// Show a verification string, and wait for approval
    #[arg(short, long)]
    pub(crate) verify: bool,
    /// Show no progress bar
    #[arg(long)]
    pub(crate) hide_progress: bool,
    /// Trace what happens, without secrets; all of it, or some of B,N,M,S,O,K,SK,R,RC,L,C,T
    #[arg(
        long,
        value_name = "MACHINES",
        num_args = 0..=1,
        default_missing_value = DEBUG_MACHINES,
        value_delimiter = ','
    )]
    pub(crate) debug_state: Option<Vec<String>>,
}

/// The names `--debug-state` knows, as the Python command line has them: boss, nameplate, mailbox,
/// send, order, key, sorted key, receive, rendezvous connector, lister, code, terminator.
pub(crate) const DEBUG_MACHINES: &str = "B,N,M,S,O,K,SK,R,RC,L,C,T";

/// Which ways the data may take.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ConnectionArgs {
    /// Accept connections from the other side (the default)
    #[arg(long, overrides_with = "no_listen", help_heading = CONNECTION)]
    pub(crate) listen: bool,
    /// Do not open a listening socket
    #[arg(long, overrides_with = "listen", help_heading = CONNECTION)]
    pub(crate) no_listen: bool,
    /// Listen on this port, e.g. one that a firewall lets through
    #[arg(long, value_name = "PORT", conflicts_with = "no_listen", help_heading = CONNECTION)]
    pub(crate) listen_port: Option<u16>,
    /// Connect directly or not at all
    #[arg(long, conflicts_with = "relay_only", help_heading = CONNECTION)]
    pub(crate) no_relay: bool,
    /// Connect through the relay only, and tell the other side no address
    #[arg(long, conflicts_with = "listen_port", help_heading = CONNECTION)]
    pub(crate) relay_only: bool,
    #[command(flatten)]
    pub(crate) tor: TorArgs,
}

/// Whether and how to go through Tor (spec section 12).
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TorArgs {
    /// Use Tor for every connection
    #[arg(long, help_heading = CONNECTION)]
    pub(crate) tor: bool,
    /// Start a Tor process instead of using a running one
    #[arg(long, help_heading = CONNECTION, conflicts_with = "tor_control_port")]
    pub(crate) launch_tor: bool,
    /// Control port of the running Tor, such as tcp:127.0.0.1:9051
    #[arg(long, value_name = "ENDPOINT", help_heading = CONNECTION)]
    pub(crate) tor_control_port: Option<String>,
}

/// Heading in the help of the options about the network.
const CONNECTION: &str = "Connection options";
