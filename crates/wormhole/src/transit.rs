//! Transit: a connection to the peer, direct or through a relay, for encrypted records.
//!
//! The two sides first exchange their [`TransitInfo`] through a wormhole or any other channel;
//! [`wormhole_magic::transit`] decides who connects to whom, and this module provides the sockets. File transfer uses
//! it, and applications can use it directly:
//!
//! ```
//! use wormhole::transit::{Role, Secret, Settings, Transit, TransitKey};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Both sides have a key, usually from a wormhole.
//! let key = TransitKey::new(Secret::new([7; 32]));
//! let mut settings = Settings::default();
//! settings.relays.clear();
//! let (alice, bob) = (Transit::new(settings.clone())?, Transit::new(settings)?);
//!
//! // They exchange their hints and connect.
//! let (for_alice, for_bob) = (bob.info(), alice.info());
//! let (alice, bob) = tokio::join!(
//!     alice.connect(Role::Sender, &key, &for_alice),
//!     bob.connect(Role::Receiver, &key, &for_bob),
//! );
//! let (mut alice, mut bob) = (alice?, bob?);
//! alice.send_record(b"hello").await?;
//! assert_eq!(bob.receive_record().await?, b"hello");
//! # Ok(())
//! # }
//! ```

pub(crate) mod blocking;
pub(crate) mod listen;
mod path;
mod pipe;

use std::io;

use rand_core::{OsRng, RngCore};
use wormhole_kit::LinkIds;
pub use wormhole_kit::Secret;
use wormhole_magic::transit::race::{Command, Event};
pub use wormhole_magic::transit::{
    Ability, BadRecord, Endpoint, HelperError, Hint, Priority, RaceError, RelayAddress, RelayHint,
    RelayPolicy, Role, TcpHint, TransitInfo, TransitKey,
};
use wormhole_magic::transit::{Address, Race, RaceSettings, RelaySide, Target};

use crate::drive::Driver;
use crate::net::tor::Tor;
use crate::net::{Dialing, Frames, LinkFailure, NetLink, Route, WebSocket};
use listen::Listeners;
pub use path::Path;
pub use pipe::{Pipe, PipeError};

/// How the connection may be made. The default allows all ways, including the public relay.
///
/// ```
/// use wormhole::transit::{RelayHint, RelayPolicy, Settings, TcpHint};
///
/// let settings = Settings {
///     policy: RelayPolicy::Only,
///     relays: vec![RelayHint::tcp(TcpHint::new("relay.example.org", 4001))],
///     ..Settings::default()
/// };
/// assert!(settings.tor.is_none());
/// ```
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a list of settings, made by its users")]
pub struct Settings {
    /// Whether the peer may connect to us.
    pub listen: bool,
    /// The listening port; `None` lets the system choose.
    pub port: Option<u16>,
    /// Whether to use relays.
    pub policy: RelayPolicy,
    /// Our relays, in addition to the peer's.
    pub relays: Vec<RelayHint>,
    /// Use Tor for all connections: hides our address; the peer cannot connect to us.
    pub tor: Option<Tor>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: true,
            port: None,
            policy: RelayPolicy::default(),
            relays: vec![RelayHint::tcp(TcpHint::new(PUBLIC_RELAY.0, PUBLIC_RELAY.1))],
            tor: None,
        }
    }
}

/// A future connection. It already listens, because the hints for the peer contain the port.
#[derive(Debug)]
pub struct Transit {
    settings: Settings,
    listeners: Listeners,
}

impl Transit {
    /// Starts to listen, if enabled and possible.
    ///
    /// # Errors
    /// The chosen port is not available.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let hidden = settings.policy == RelayPolicy::Only || settings.tor.is_some();
        let listeners = if settings.listen && !hidden {
            Listeners::open(settings.port)
                .map_err(|(port, kind)| Error::PortTaken { port, kind })?
        } else {
            Listeners::none()
        };
        Ok(Self { settings, listeners })
    }

    /// The hints and abilities to send to the peer.
    ///
    /// ```
    /// use wormhole::transit::{Ability, Settings, Transit};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), wormhole::transit::Error> {
    /// let transit = Transit::new(Settings::default())?;
    /// let message = transit.info().encode().to_string();
    /// assert!(message.contains("hints-v1"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn info(&self) -> TransitInfo {
        let mut info = TransitInfo::default();
        if self.settings.policy != RelayPolicy::Only {
            info.abilities.push(Ability::DirectTcp);
            info.hints.extend(self.listeners.hints().into_iter().map(Hint::Direct));
        }
        if self.settings.policy != RelayPolicy::Never {
            info.abilities.push(Ability::Relay);
            info.hints.extend(self.settings.relays.iter().cloned().map(Hint::Relay));
        }
        info
    }

    /// Connects with the peer's hints. Takes up to a minute.
    ///
    /// # Errors
    /// No connection succeeded.
    pub async fn connect(
        self,
        role: Role,
        key: &TransitKey,
        peer: &TransitInfo,
    ) -> Result<Pipe, Error> {
        let mut side = RelaySide([0; 8]);
        OsRng.fill_bytes(&mut side.0);
        let race = Race::new(
            key,
            RaceSettings {
                role,
                side,
                relays: self.settings.relays,
                policy: self.settings.policy,
                listens: !self.listeners.is_empty(),
                tor: self.settings.tor.is_some(),
            },
        );
        let route = self.settings.tor.as_ref().map(Tor::route).unwrap_or_default();
        let mut driver = Driver::new(race, move |target: Target| {
            dial(Route { permit: target.permit, ..route.clone() }, target.address)
        });
        driver.command(Command::Start(peer.clone()));
        let listeners = self.listeners;
        let mut incoming = LinkIds::incoming();
        loop {
            tokio::select! {
                outcome = driver.next() => {
                    let event = outcome.map_err(|race| {
                        let (tried, last) = (driver.session(), driver.last_failure().cloned());
                        Error::NotConnected {
                            race,
                            relay: tried.lost_relay().map(path::address),
                            last: tried.last_lost().map(path::address).zip(last),
                        }
                    })?;
                    let Event::Connected { link, route, received } = event;
                    let link = driver.take(link).await.map_err(Error::Lost)?;
                    // The other connections are closed in the background, which takes a moment at most.
                    tokio::spawn(driver.finish());
                    let path = Path::new(route, &link);
                    return Ok(Pipe::new(link, role, key, received, path));
                }
                stream = listeners.accept() => {
                    driver.accept(incoming.allocate(), NetLink::Tcp(stream));
                }
            }
        }
    }
}

pub(crate) fn dial(route: Route, address: Address) -> Dialing {
    Box::pin(async move {
        match address {
            Address::Tcp(endpoint) => {
                route.connect(&endpoint.host, endpoint.port).await.map(NetLink::Tcp)
            }
            Address::WebSocket(url) => {
                let socket = WebSocket::connect(&url, &route, Frames::Binary, MAX_MESSAGE).await?;
                Ok(NetLink::WebSocket(Box::new(socket)))
            }
        }
    })
}

/// Why no connection to the peer was established.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The chosen connection broke immediately.
    #[error("the connection failed immediately: {0}")]
    Lost(LinkFailure),
    /// All attempts failed.
    #[error("{race}{}", details(.relay.as_ref(), .last.as_ref()))]
    NotConnected {
        /// The result of the attempts.
        race: RaceError,
        /// The relay that was tried last, if any, as `tcp:host:port` or URL.
        relay: Option<String>,
        /// The address that was tried last, as `tcp:host:port` or URL, and its error.
        last: Option<(String, LinkFailure)>,
    },
    /// The chosen port is not available.
    #[error("cannot listen on port {port}: {kind}")]
    PortTaken {
        /// The port.
        port: u16,
        /// The error of the system.
        kind: io::ErrorKind,
    },
}

/// The details of a failed race, in parentheses.
fn details(relay: Option<&String>, last: Option<&(String, LinkFailure)>) -> String {
    let is_relay = |address: &String| relay == Some(address);
    match (relay, last) {
        (_, Some((address, failure))) if is_relay(address) => {
            format!(" (the relay {address}: {failure})")
        }
        (Some(relay), Some((address, failure))) => {
            format!(" ({address}: {failure}; the other side did not connect to the relay {relay})")
        }
        (Some(relay), None) => format!(" (the other side did not connect to the relay {relay})"),
        (None, Some((address, failure))) => format!(" ({address}: {failure})"),
        (None, None) => String::new(),
    }
}

/// Maximum size of a WebSocket message from a relay, which may split the stream anywhere.
const MAX_MESSAGE: usize = 4 << 20;

/// The public transit relay: host and port.
pub const PUBLIC_RELAY: (&str, u16) = ("transit.magic-wormhole.io", 4001);
