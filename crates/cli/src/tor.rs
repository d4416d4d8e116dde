//! The options for Tor, and messages about it.

use anyhow::Result;
use wormhole::net::tor::{ControlPort, Tor, TorError, TorSource};

use crate::args::TorArgs;
use crate::config::Config;
use crate::console::Console;
use crate::failure::Failure;

/// The Tor proxy to use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TorChoice {
    /// A running Tor, through this control port.
    ControlPort(ControlPort),
    /// A running Tor, found on its usual ports.
    Running,
    /// A new Tor process.
    Launch,
    /// No Tor.
    None,
}

impl TorChoice {
    /// Each of the options turns Tor on; the Python command line ignores some without `--tor`.
    ///
    /// # Errors
    /// The control port is invalid.
    pub(crate) fn new(args: &TorArgs, config: &Config) -> Result<Self> {
        if args.launch_tor {
            return Ok(Self::Launch);
        }
        if let Some(endpoint) = &args.tor_control_port {
            let port = endpoint.parse().map_err(|error: TorError| {
                Failure::usage(format!("--tor-control-port: {error}"))
                    .hint("a control port looks like tcp:127.0.0.1:9051 or unix:/run/tor/control")
            })?;
            return Ok(Self::ControlPort(port));
        }
        Ok(if args.tor || config.tor.unwrap_or(false) { Self::Running } else { Self::None })
    }

    /// Connects to Tor or starts it, and shows which one is used.
    ///
    /// # Errors
    /// Tor cannot be used.
    pub(crate) async fn connect(self, console: &mut Console) -> Result<Option<Tor>> {
        let tor = match self {
            Self::None => return Ok(None),
            Self::ControlPort(port) => {
                console.screen.show(&format!("Using Tor through the control port at {port}."));
                console.unless_interrupted(Tor::at_control_port(port)).await?
            }
            Self::Running => console.unless_interrupted(Tor::find()).await?.inspect(|tor| {
                console.screen.show(match tor.source() {
                    TorSource::SocksPort(_) => {
                        "Using Tor through its SOCKS port: no control port was found."
                    }
                    TorSource::ControlPort(_) | TorSource::Launched => {
                        "Using Tor through its default control port."
                    }
                    // A later way to find Tor.
                    _ => "Using Tor.",
                });
            }),
            Self::Launch => {
                console.screen.show("Starting a Tor process; this can take a while..");
                console.unless_interrupted(Tor::launch()).await?
            }
        };
        Ok(Some(tor.map_err(|error| {
            let hint = if error == TorError::NotInstalled { INSTALL } else { HINT };
            Failure::new(format!("cannot use Tor: {error}")).hint(hint)
        })?))
    }
}

const INSTALL: &str = "install the package tor, or start Tor Browser and use --tor";

const HINT: &str =
    "start Tor first, use --launch-tor, or set the address of Tor with --tor-control-port";
