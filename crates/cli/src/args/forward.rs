//! Options of `forward`.

use super::ConnectionArgs;

/// Options of `forward`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "wormhole forward [OPTIONS] [CODE]",
    after_help = AFTER_HELP
)]
pub(crate) struct ForwardArgs {
    /// The code of the other side. Without one, a new code is made
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// Let the other side reach a TCP port here; it can be repeated
    #[arg(long, visible_alias = "remote", value_name = "NAME:PORT[:listen=PORT][:address=HOST]")]
    pub(crate) service: Vec<String>,
    /// Listen here for a service of the other side; it can be repeated
    #[arg(
        long,
        visible_alias = "local",
        value_name = "NAME[:PORT][:bind=IP][:remote-connect=PORT]"
    )]
    pub(crate) client: Vec<String>,
    /// As in ssh, but the other side must use -R with the same value
    #[arg(short = 'L', value_name = "[IP:]PORT:HOST:HOSTPORT")]
    pub(crate) local_forward: Vec<String>,
    /// As in ssh, but the other side must use -L with the same value
    #[arg(short = 'R', value_name = "PORT:HOST:HOSTPORT")]
    pub(crate) remote_forward: Vec<String>,
    /// Number of words in a new code
    #[arg(short, long, value_name = "NUMWORDS", value_parser = super::words)]
    pub(crate) code_length: Option<u8>,
    /// Show no counter of connections and bytes
    #[arg(long)]
    pub(crate) hide_progress: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

const AFTER_HELP: &str = "\
One side offers services, and the other one listens for them under the same names; both can do both.
The other side can also use fowl.

Example, to show a web server on port 8080 here to the other side, at its port 9000:
  wormhole forward --service web:8080            prints a code
  wormhole forward --client web:9000 CODE        there
With ssh's notation, the same with the name 9000:
  wormhole forward -R 9000:localhost:8080
  wormhole forward -L 9000:localhost:8080 CODE

PORT of --client is a port of this computer, only reachable from here unless :bind= is another address;
without PORT, the system chooses one. The other side reaches nothing but the services that are named.";
