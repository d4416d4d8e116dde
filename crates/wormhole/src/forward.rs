//! Port forwarding: each side reaches TCP services of the other one, and only those that the other one has named.
//!
//! A service has a name. One side offers it ([`Forwards::offer`]) and the other one listens for it ([`Forwards::listen`]); each
//! connection to that listener then reaches the service. Connections survive a changed network, as [`dilated`] streams do. The
//! protocol is that of fowl, so the other side can use that program, too.
//!
//! ```no_run
//! use wormhole::code::{Code, Wormhole};
//! use wormhole::forward::{self, Forwards, Service, ServiceName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut forwards = Forwards::default();
//! forwards.offer(Service::new(ServiceName::new("web")?, 8080))?;
//!
//! let wormhole = Wormhole::create_dilatable(forward::config());
//! wormhole.set_code(Code::parse("4-purple-sausages")?)?;
//! let mut session = forward::start(wormhole, Default::default(), forwards);
//! while let Some(event) = session.next().await {
//!     println!("{:?}", event?);
//! }
//! # Ok(())
//! # }
//! ```

mod commands;
mod connections;
mod session;
mod traffic;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use wormhole_magic::forward::{APP_ID, app_versions};
pub use wormhole_magic::forward::{InvalidServiceName, ServiceName};

use crate::code::{AppId, Config, Wormhole};
use crate::dilated;
use crate::transit::Path;
pub use traffic::Traffic;

/// A service of ours that the peer may reach.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Service {
    /// The name that both sides use.
    pub name: ServiceName,
    /// A host name or an IP address to connect to.
    pub host: String,
    /// The port to connect to.
    pub port: u16,
    /// The port on which we would like the peer to listen.
    pub listen_port: Option<u16>,
}

impl Service {
    /// A service on this computer.
    pub fn new(name: ServiceName, port: u16) -> Self {
        Self { name, host: "localhost".to_owned(), port, listen_port: None }
    }
}

/// The services to forward. Each name can be used once.
#[derive(Debug, Default)]
pub struct Forwards {
    services: BTreeMap<ServiceName, Service>,
    listeners: BTreeMap<ServiceName, Listener>,
}

/// A bound socket for connections to a service of the peer.
#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    /// The port to which we would like the peer to connect.
    connect_port: Option<u16>,
}

impl Forwards {
    /// Lets the peer reach a service.
    ///
    /// # Errors
    /// The name is in use.
    pub fn offer(&mut self, service: Service) -> Result<(), ForwardsError> {
        self.check_new(&service.name)?;
        self.services.insert(service.name.clone(), service);
        Ok(())
    }

    /// Binds a socket for connections to a service of the peer. Port 0 lets the system choose. Returns the address.
    /// `connect_port` is the port to which we would like the peer to connect; most programs know that themselves.
    ///
    /// # Errors
    /// The name is in use, or the address is not available.
    pub async fn listen(
        &mut self,
        name: ServiceName,
        address: SocketAddr,
        connect_port: Option<u16>,
    ) -> Result<SocketAddr, ForwardsError> {
        self.check_new(&name)?;
        let failure = |error: io::Error| ForwardsError::Listen { address, kind: error.kind() };
        let socket = TcpListener::bind(address).await.map_err(failure)?;
        let bound = socket.local_addr().map_err(failure)?;
        self.listeners.insert(name, Listener { socket, connect_port });
        Ok(bound)
    }

    /// Whether there is nothing to forward.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.listeners.is_empty()
    }

    fn check_new(&self, name: &ServiceName) -> Result<(), ForwardsError> {
        if self.services.contains_key(name) || self.listeners.contains_key(name) {
            return Err(ForwardsError::NameInUse(name.clone()));
        }
        Ok(())
    }
}

/// A service cannot be added.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ForwardsError {
    /// There is a service or a listener of this name.
    #[error("the name {0} is used twice")]
    NameInUse(ServiceName),
    /// The address is not available.
    #[error("cannot listen on {address}: {kind}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        kind: io::ErrorKind,
    },
}

/// Settings of a wormhole for port forwarding.
pub fn config() -> Config {
    Config { app_id: AppId::new(APP_ID), app_versions: app_versions(), ..Config::default() }
}

/// Starts to forward through a wormhole of [`config`] whose code was chosen. The session runs in the background until it is
/// closed or dropped. [`dilated::Settings::subprotocols`] is replaced.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(wormhole: Wormhole, settings: dilated::Settings, forwards: Forwards) -> Session {
    let (reporter, events) = mpsc::channel(MAX_EVENTS);
    let (close, closed) = oneshot::channel();
    let traffic = Traffic::default();
    let running = session::Running::new(reporter, traffic.clone());
    let task = tokio::spawn(running.run(wormhole, settings, forwards, closed));
    Session { events, traffic, close: Some(close), task }
}

/// A running session.
#[derive(Debug)]
pub struct Session {
    events: mpsc::Receiver<Result<Event, Error>>,
    traffic: Traffic,
    close: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Session {
    /// Waits for the next event. `None` after the end. Cancelling loses nothing. If 1,024 events wait, later ones are lost.
    ///
    /// # Errors
    /// The session has failed, and ends.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.events.recv().await
    }

    /// Open connections, and the bytes that they and all earlier ones have carried.
    pub const fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Ends the session: announces it to the peer, and closes all connections. It takes a few seconds at most. Events that
    /// were not read are lost.
    pub async fn close(mut self) {
        if let Some(close) = self.close.take() {
            // A session that has ended by itself does not listen.
            let _ended = close.send(());
        }
        // A panic of the task has been reported already.
        let _ended = (&mut self.task).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Maximum number of events that wait for the application.
const MAX_EVENTS: usize = 1024;

/// An event of a session.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The first connection to the peer, or another one after it was lost.
    Connected(Path),
    /// The peer offers this service: connections to the address reach it.
    Listening {
        /// The service.
        name: ServiceName,
        /// Our address.
        address: SocketAddr,
        /// The port on which the peer would like us to listen, if it is another one.
        wanted_port: Option<u16>,
    },
    /// The peer has not offered this service some seconds after the connection. Connections to our listener are closed at once until
    /// the peer offers it.
    NobodyOffers(ServiceName),
    /// The peer offers a service for which we do not listen.
    NotWanted(ServiceName),
    /// The peer listens for our service.
    Offered(ServiceName),
    /// The peer does not listen for our service. It is asked again from time to time.
    NotOffered {
        /// The service.
        name: ServiceName,
        /// The message of the peer.
        reason: String,
    },
    /// A connection is open.
    Opened {
        /// Distinguishes connections.
        id: u64,
        /// The service.
        name: ServiceName,
        /// Whether the peer has opened it.
        is_incoming: bool,
    },
    /// A connection has ended.
    Closed {
        /// The id.
        id: u64,
        /// Bytes sent to the peer.
        sent: u64,
        /// Bytes received from the peer.
        received: u64,
        /// The error, if it did not end normally.
        failure: Option<String>,
    },
    /// A connection was not opened: the service does not answer, or one side does not know it.
    NotOpened {
        /// The service.
        name: ServiceName,
        /// Whether the peer has opened it.
        is_incoming: bool,
        /// Why.
        reason: String,
    },
    /// The peer has ended the session.
    PeerLeft,
}

/// Why a session has failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection to the peer could not be made, or has ended.
    #[error(transparent)]
    Dilated(#[from] dilated::Error),
    /// The peer uses another application.
    #[error("the other side's program does not forward ports")]
    PeerCannotForward,
}
