//! Options about the network, for every command that uses it.

/// Options of the connection.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ConnectionArgs {
    /// Accept connections from the other side (the default)
    #[arg(long, overrides_with = "no_listen", help_heading = CONNECTION)]
    pub(crate) listen: bool,
    /// Do not accept connections from the other side
    #[arg(long, overrides_with = "listen", help_heading = CONNECTION)]
    pub(crate) no_listen: bool,
    /// Port to listen on, for example one that the firewall allows
    #[arg(long, value_name = "PORT", conflicts_with = "no_listen", help_heading = CONNECTION)]
    pub(crate) listen_port: Option<u16>,
    /// Connect only directly
    #[arg(long, conflicts_with = "relay_only", help_heading = CONNECTION)]
    pub(crate) no_relay: bool,
    /// Connect only through the relay, and hide your address from the other side
    #[arg(long, conflicts_with = "listen_port", help_heading = CONNECTION)]
    pub(crate) relay_only: bool,
    #[command(flatten)]
    pub(crate) tor: TorArgs,
}

/// Options of Tor.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct TorArgs {
    /// Use Tor for every connection
    #[arg(long, help_heading = CONNECTION)]
    pub(crate) tor: bool,
    /// Use Tor, and start a Tor process for it
    #[arg(long, help_heading = CONNECTION, conflicts_with = "tor_control_port")]
    pub(crate) launch_tor: bool,
    /// Use Tor, through the control port of a running Tor, such as tcp:127.0.0.1:9051
    #[arg(long, value_name = "ENDPOINT", help_heading = CONNECTION)]
    pub(crate) tor_control_port: Option<String>,
}

/// Heading in the help of the options about the network.
const CONNECTION: &str = "Connection options";
