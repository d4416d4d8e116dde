//! Dilated wormholes: streams between two programs over a connection that is replaced when it is lost.
//!
//! Streams survive a changed network and a closed laptop lid, as long as both programs run. Either side opens them at any
//! time; a *subprotocol* is the name of what a stream is for. The protocol is in [`wormhole_magic::dilation`], which a
//! Python peer understands; this module adds sockets and streams.
//!
//! ```no_run
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use wormhole::code::{Code, Config, Wormhole};
//! use wormhole::dilated::Settings;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let wormhole = Wormhole::create_dilatable(Config::default());
//! wormhole.set_code(Code::parse("4-purple-sausages")?)?;
//! let dilated = wormhole.dilate(Settings::default()).await?;
//!
//! let mut stream = dilated.connect("example.com/echo")?;
//! stream.write_all(b"hello").await?;
//! stream.shutdown().await?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer).await?;
//! dilated.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! If an application does not read a stream, at most 4 MiB of it are kept; then this stream waits. If the peer is a Python
//! program, all streams wait, because its protocol has no flow control for single streams.

mod driver;
mod requests;
mod stream;

use std::time::Duration;

use rand_core::OsRng;
use tokio::sync::{mpsc, oneshot, watch};
use wormhole_magic::dilation::record::MAX_SUBPROTOCOL;
use wormhole_magic::dilation::{
    Dilation, DilationConfig, DilationError, DilationKey, DilationSide, DilationVersion, KEEPALIVE,
};

use crate::code::{self, Closed, Wormhole};
use crate::transit::listen::Listeners;
use crate::transit::{PUBLIC_RELAY, Path, RelayHint, RelayPolicy, TcpHint};
use driver::DilationDriver;
use requests::Request;
pub use stream::Subchannel;

/// How to connect. The default allows all ways, including the public relay.
///
/// ```
/// use wormhole::dilated::Settings;
///
/// let settings = Settings { subprotocols: Some(vec!["echo".into()]), ..Settings::default() };
/// assert!(settings.patience.is_none());
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
    /// The subprotocols that the peer may open. Streams of others are closed at once. `None` allows all: their streams
    /// wait until the application listens.
    pub subprotocols: Option<Vec<String>>,
    /// After twice this time without any sign of life, a connection is replaced.
    pub keepalive: Duration,
    /// How long to try to connect, at the start and after a lost connection; `None` for no limit.
    pub patience: Option<Duration>,
    /// How long to try if the peer closed the connection and is not heard through the mailbox either: its program has probably
    /// ended. Counts only while the mailbox can be reached. `None`: as long as `patience`.
    pub closed_patience: Option<Duration>,
    /// Whether we prefer to lead. The leader chooses the connection and replaces it; only tests need to follow.
    pub lead: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: true,
            port: None,
            policy: RelayPolicy::default(),
            relays: vec![RelayHint::tcp(TcpHint::new(PUBLIC_RELAY.0, PUBLIC_RELAY.1))],
            subprotocols: None,
            keepalive: KEEPALIVE,
            patience: None,
            closed_patience: None,
            lead: true,
        }
    }
}

/// Why a wormhole could not be dilated, or a dilated one has ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dilated wormhole was closed, or its runtime shut down.
    #[error("the dilated wormhole is closed")]
    Closed,
    /// The connection has ended for good.
    #[error(transparent)]
    Ended(#[from] DilationError),
    /// The peer's program cannot dilate.
    #[error("the other side's program does not support dilation")]
    PeerCannotDilate,
    /// The chosen port is not available.
    #[error("cannot listen on port {port}: {kind}")]
    PortTaken {
        /// The port.
        port: u16,
        /// The error of the system.
        kind: std::io::ErrorKind,
    },
    /// The name of a subprotocol is empty or too long.
    #[error("the name of a subprotocol has 1 to {MAX_SUBPROTOCOL} bytes")]
    SubprotocolName,
    /// The wormhole has ended.
    #[error(transparent)]
    Wormhole(#[from] code::Error),
    /// The wormhole was not created with [`Wormhole::create_dilatable`], so the peer does not know that it can dilate.
    #[error("the wormhole was not created for dilation")]
    NotDilatable,
}

/// A dilated wormhole. It runs in the background until it is closed or dropped.
#[derive(Debug)]
pub struct Dilated {
    wormhole: Wormhole,
    streams: Streams,
}

/// The streams of a dilated wormhole. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Streams {
    requests: mpsc::UnboundedSender<Request>,
    status: watch::Receiver<Status>,
}

/// The state of the connection.
#[derive(Clone, Debug, Default)]
struct Status {
    path: Option<Path>,
    /// How many connections have been used so far.
    connections: u64,
    end: Option<Error>,
}

impl Wormhole {
    /// Dilates the wormhole: waits for the peer's announcement, and then connects in the background. Streams can be opened
    /// at once.
    ///
    /// ```no_run
    /// # async fn example(wormhole: wormhole::code::Wormhole) -> Result<(), wormhole::dilated::Error> {
    /// let dilated = wormhole.dilate(wormhole::dilated::Settings::default()).await?;
    /// println!("connected: {}", dilated.connected().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The wormhole has ended, or one of the two sides cannot dilate.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn dilate(mut self, settings: Settings) -> Result<Dilated, Error> {
        let streams = self.open_streams(settings).await?;
        Ok(Dilated { wormhole: self, streams })
    }

    /// Like [`dilate`](Self::dilate), and keeps the wormhole for its other users.
    ///
    /// # Errors
    /// As of [`dilate`](Self::dilate).
    pub(crate) async fn open_streams(&mut self, settings: Settings) -> Result<Streams, Error> {
        let version = self.peer_version().await?;
        let version = DilationVersion::choose(&version).ok_or(Error::PeerCannotDilate)?;
        let key = DilationKey::new(&self.key().await?);
        let (mailbox, tor) = self.dilation_sender();
        let hidden = settings.policy == RelayPolicy::Only || tor.is_some();
        let listeners = if settings.listen && !hidden {
            Listeners::open(settings.port)
                .map_err(|(port, kind)| Error::PortTaken { port, kind })?
        } else {
            Listeners::none()
        };
        // Only now: a port that is taken can be tried again.
        let messages = self.take_dilation().ok_or(Error::NotDilatable)?;
        let side = if settings.lead {
            DilationSide::leading(&mut OsRng)
        } else {
            DilationSide::following(&mut OsRng)
        };
        let config = DilationConfig {
            version,
            aes: true,
            relays: settings.relays,
            policy: settings.policy,
            tor: tor.is_some(),
            expected_subprotocols: settings.subprotocols,
            keepalive: settings.keepalive,
            patience: settings.patience,
            closed_patience: settings.closed_patience,
            ..DilationConfig::new(key, side)
        };
        let now = tokio::time::Instant::now().into_std();
        let session = Dilation::new(config, now, OsRng);
        let (requests, request_queue) = mpsc::unbounded_channel();
        let (publisher, status) = watch::channel(Status::default());
        let server = self.server_watch();
        let driver = DilationDriver::new(session, listeners, tor, (mailbox, server), publisher);
        tokio::spawn(driver.run(messages, request_queue, requests.downgrade()));
        Ok(Streams { requests, status })
    }
}

impl Dilated {
    /// Opens a stream. It needs no answer of the peer, so data can be written at once.
    ///
    /// # Errors
    /// The name has a wrong length, or the dilated wormhole has ended.
    pub fn connect(&self, subprotocol: &str) -> Result<Subchannel, Error> {
        self.streams.connect(subprotocol)
    }

    /// Accepts the streams of a subprotocol that the peer opens, including those that it has opened already. A later
    /// listener for the same name replaces an earlier one.
    ///
    /// # Errors
    /// The name has a wrong length, or the dilated wormhole has ended.
    pub fn listen(&self, subprotocol: &str) -> Result<Listener, Error> {
        self.streams.listen(subprotocol)
    }

    /// Waits until a connection is in use, and returns its path.
    ///
    /// # Errors
    /// The dilated wormhole has ended.
    pub async fn connected(&self) -> Result<Path, Error> {
        self.connected_after(0).await.map(|(_, path)| path)
    }

    /// Waits until a connection is in use after the first `connections` ones. Returns [`connections`](Self::connections) and
    /// the path.
    ///
    /// # Errors
    /// The dilated wormhole has ended.
    pub async fn connected_after(&self, connections: u64) -> Result<(u64, Path), Error> {
        self.streams.connected_after(connections).await
    }

    /// Waits until the dilated wormhole has ended, and returns the reason.
    pub async fn ended(&self) -> Error {
        let mut status = self.streams.status.clone();
        match status.wait_for(|status| status.end.is_some()).await {
            Ok(status) => status.end.clone().unwrap_or(Error::Closed),
            Err(_) => Error::Closed,
        }
    }

    /// How many connections have been used so far, one after another.
    pub fn connections(&self) -> u64 {
        self.streams.status.borrow().connections
    }

    /// The path of the connection in use, if any.
    pub fn path(&self) -> Option<Path> {
        self.streams.path()
    }

    /// Waits until the path differs from this one; for ever once the dilated wormhole has ended.
    pub(crate) async fn path_after(&self, known: Option<Path>) -> Option<Path> {
        let mut status = self.streams.status.clone();
        let is_changed = |status: &Status| status.path != known && status.end.is_none();
        if let Ok(status) = status.wait_for(is_changed).await {
            return status.path.clone();
        }
        std::future::pending().await
    }

    /// The wormhole, for its messages and keys.
    pub const fn wormhole(&self) -> &Wormhole {
        &self.wormhole
    }

    /// Ends the connection and closes the wormhole. Data that was written before is delivered first, which takes
    /// [`CLOSE_TIMEOUT`] at most if the connection is lost.
    ///
    /// # Errors
    /// The error with which the wormhole ended.
    pub async fn close(self) -> Result<Closed, code::Error> {
        self.streams.close().await;
        self.wormhole.close().await
    }
}

impl Streams {
    /// See [`Dilated::connect`].
    pub(crate) fn connect(&self, subprotocol: &str) -> Result<Subchannel, Error> {
        check_name(subprotocol)?;
        let (stream, remote) = stream::pair(&self.requests);
        self.request(Request::Open(subprotocol.to_owned(), remote))?;
        Ok(stream)
    }

    /// See [`Dilated::listen`].
    pub(crate) fn listen(&self, subprotocol: &str) -> Result<Listener, Error> {
        check_name(subprotocol)?;
        let (sender, streams) = mpsc::unbounded_channel();
        self.request(Request::Listen(subprotocol.to_owned(), sender))?;
        Ok(Listener { streams, status: self.status.clone() })
    }

    /// See [`Dilated::connected_after`].
    pub(crate) async fn connected_after(&self, connections: u64) -> Result<(u64, Path), Error> {
        let mut status = self.status.clone();
        loop {
            {
                let status = status.borrow_and_update();
                if let Some(path) = &status.path
                    && status.connections > connections
                {
                    return Ok((status.connections, path.clone()));
                }
                if let Some(end) = &status.end {
                    return Err(end.clone());
                }
            }
            status.changed().await.map_err(|_| Error::Closed)?;
        }
    }

    /// The path of the connection in use, if any.
    pub(crate) fn path(&self) -> Option<Path> {
        self.status.borrow().path.clone()
    }

    /// Observes whether there is a connection, from now on.
    pub(crate) fn observe(&self) -> PathObserver {
        PathObserver { known: self.path(), status: self.status.clone() }
    }

    /// Ends the connection, after everything is delivered or [`CLOSE_TIMEOUT`].
    pub(crate) async fn close(self) {
        let (done, left) = oneshot::channel();
        if self.request(Request::Leave(done)).is_ok() {
            // The driver may have ended before.
            let _ended = left.await;
        }
    }

    fn request(&self, request: Request) -> Result<(), Error> {
        self.requests
            .send(request)
            .map_err(|_| self.status.borrow().end.clone().unwrap_or(Error::Closed))
    }
}

/// Observes whether there is a connection.
#[derive(Debug)]
pub(crate) struct PathObserver {
    status: watch::Receiver<Status>,
    known: Option<Path>,
}

impl PathObserver {
    /// The change since the last call: the new path, or `None` if the connection is lost.
    pub(crate) fn change(&mut self) -> Option<Option<Path>> {
        let status = self.status.borrow();
        if status.path == self.known || status.end.is_some() {
            return None;
        }
        self.known.clone_from(&status.path);
        Some(self.known.clone())
    }
}

/// The streams of one subprotocol that the peer opens.
#[derive(Debug)]
pub struct Listener {
    streams: mpsc::UnboundedReceiver<Subchannel>,
    status: watch::Receiver<Status>,
}

impl Listener {
    /// Waits for the next stream. Cancelling loses nothing.
    ///
    /// # Errors
    /// The dilated wormhole has ended, or a later listener has replaced this one.
    pub async fn accept(&mut self) -> Result<Subchannel, Error> {
        match self.streams.recv().await {
            Some(stream) => Ok(stream),
            None => Err(self.status.borrow().end.clone().unwrap_or(Error::Closed)),
        }
    }
}

fn check_name(subprotocol: &str) -> Result<(), Error> {
    let fits = !subprotocol.is_empty() && subprotocol.len() <= MAX_SUBPROTOCOL;
    if fits { Ok(()) } else { Err(Error::SubprotocolName) }
}

/// How long [`Dilated::close`] waits for the peer to have everything.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
