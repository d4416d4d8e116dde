//! Transit: one connection to the peer, direct or through a relay, that carries sealed records.
//!
//! What the two sides tell one another first (their [`TransitInfo`]) travels over a wormhole; who
//! may connect to whom is decided in [`wormhole_magic::transit`]. This module brings the sockets.

pub(crate) mod blocking;
mod listen;
mod path;
mod pipe;

use std::io;

use rand_core::{OsRng, RngCore};
use wormhole_kit::LinkId;
use wormhole_magic::transit::race::{Command, Event};
pub use wormhole_magic::transit::{
    Ability, BadRecord, Hint, RaceError, RelayHint, RelayPolicy, RelaySide, Role, TcpHint,
    TransitInfo, TransitKey,
};
use wormhole_magic::transit::{Address, Race, RaceSettings};

use crate::drive::Driver;
use crate::net::{Dialing, Frames, Link, LinkFailure, Route, WebSocket};
use listen::Listeners;
pub use path::Path;
pub use pipe::{Pipe, PipeError};

/// How the connection may be made.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Whether the peer may connect to us.
    pub(crate) listen: bool,
    /// The port for that; `None` lets the system choose.
    pub(crate) port: Option<u16>,
    /// Whether a relay may be used.
    pub(crate) policy: RelayPolicy,
    /// Our relays.
    pub(crate) relays: Vec<RelayHint>,
    /// The way out.
    pub(crate) route: Route,
}

/// A connection to be: it listens already, so that the peer can be told where.
#[derive(Debug)]
pub struct Transit {
    settings: Settings,
    listeners: Listeners,
}

impl Transit {
    /// Starts to listen, if that is wanted and possible.
    ///
    /// # Errors
    /// The fixed port cannot be had.
    pub(crate) fn new(settings: Settings) -> Result<Self, Error> {
        let hidden = settings.policy == RelayPolicy::Only || settings.route.proxy.is_some();
        let listeners = if settings.listen && !hidden {
            Listeners::open(settings.port)
                .map_err(|(port, kind)| Error::PortTaken { port, kind })?
        } else {
            Listeners::none()
        };
        Ok(Self { settings, listeners })
    }

    /// What to tell the peer.
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

    /// Connects, with what the peer has told us. Takes up to two minutes.
    ///
    /// # Errors
    /// Nothing worked.
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
                tor: self.settings.route.proxy.is_some(),
            },
        );
        let route = self.settings.route;
        let mut driver = Driver::new(race, move |address| dial(route.clone(), address));
        driver.command(Command::Start(peer.hints.clone()));
        let listeners = self.listeners;
        let mut incoming = LinkId(1);
        loop {
            tokio::select! {
                outcome = driver.next() => {
                    let last = driver.last_failure().cloned();
                    let event = outcome.map_err(|race| Error::NotConnected { race, last })?;
                    let Event::Connected { link, route, received } = event;
                    let link = driver.take(link).await.map_err(Error::Lost)?;
                    // The losing links say goodbye in the background, for a moment at most.
                    tokio::spawn(driver.finish());
                    let path = Path::new(route, &link);
                    return Ok(Pipe::new(link, role, key, received, path));
                }
                stream = listeners.accept() => {
                    driver.accept(incoming, Link::Tcp(stream));
                    incoming.0 += 2;
                }
            }
        }
    }
}

fn dial(route: Route, address: Address) -> Dialing {
    Box::pin(async move {
        match address {
            Address::Tcp(endpoint) => {
                route.connect(&endpoint.host, endpoint.port).await.map(Link::Tcp)
            }
            Address::WebSocket(url) => {
                let socket = WebSocket::connect(&url, &route, Frames::Binary, MAX_MESSAGE).await?;
                Ok(Link::WebSocket(Box::new(socket)))
            }
        }
    })
}

/// Why no connection to the peer came about.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection that was chosen broke at once.
    #[error("the connection broke at once: {0}")]
    Lost(LinkFailure),
    /// Nothing worked.
    #[error("{race}{}", because(.last.as_ref()))]
    NotConnected {
        /// How the attempts ended.
        race: RaceError,
        /// What went wrong last, if anything was tried.
        last: Option<LinkFailure>,
    },
    /// The port that was asked for cannot be had.
    #[error("cannot listen on port {port}: {kind}")]
    PortTaken {
        /// The port.
        port: u16,
        /// What the system says.
        kind: io::ErrorKind,
    },
}

fn because(failure: Option<&LinkFailure>) -> String {
    failure.map_or_else(String::new, |failure| format!(" (last: {failure})"))
}

/// Bytes of the longest WebSocket message taken from a relay, which cuts the stream as it likes.
const MAX_MESSAGE: usize = 4 << 20;
