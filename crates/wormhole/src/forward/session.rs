//! The task that runs a session, and what its parts share.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wormhole_magic::dilation::DilationError;
use wormhole_magic::forward::{
    COMMANDS, CONNECTIONS, ListenReply, ListenRequest, ServiceName, closing, is_closing,
    peer_can_forward,
};

use super::traffic::{OpenConnection, Traffic};
use super::{Error, Event, Forwards, Listener, Service, commands, connections};
use crate::code::Wormhole;
use crate::dilated::{self, Dilated, Settings, Subchannel};

/// The state that the parts of a session share.
#[derive(Debug)]
pub(super) struct Shared {
    dilated: Dilated,
    services: BTreeMap<ServiceName, Service>,
    /// Listeners whose service the peer has not offered yet.
    listeners: Mutex<BTreeMap<ServiceName, Listener>>,
    /// The addresses of all listeners, with the port that we would like the peer to connect to.
    listening: Mutex<BTreeMap<ServiceName, Option<u16>>>,
    /// Names without a listener for which the peer has asked.
    not_wanted: Mutex<BTreeSet<ServiceName>>,
    starter: mpsc::UnboundedSender<Task>,
    reporter: Reporter,
    traffic: Traffic,
}

type Reporter = mpsc::Sender<Result<Event, Error>>;

/// A task to start. All run in the session's own set, so that none outlives it.
#[derive(Debug)]
enum Task {
    /// Accept the connections to a listener.
    Accept(ServiceName, TcpListener),
    /// Carry a connection to a listener.
    Open(ServiceName, TcpStream, OwnedSemaphorePermit),
}

impl Shared {
    /// Tells the application what has happened. If it does not read, events are lost.
    pub(super) fn report(&self, event: Event) {
        let _full = self.reporter.try_send(Ok(event));
    }

    /// Opens a stream to the peer.
    pub(super) fn open_stream(&self, subprotocol: &str) -> io::Result<Subchannel> {
        self.dilated.connect(subprotocol).map_err(io::Error::other)
    }

    /// One of our services.
    pub(super) fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name)
    }

    /// Counts a new connection.
    pub(super) fn count_connection(&self) -> OpenConnection {
        self.traffic.open_connection()
    }

    /// Accepts connections for a service of the peer, if we listen for it.
    pub(super) fn start_listening(&self, request: &ListenRequest) -> ListenReply {
        let name = request.name.clone();
        let listener = lock(&self.listeners).remove(&name);
        if let Some(Listener { socket, connect_port }) = listener {
            lock(&self.listening).insert(name.clone(), connect_port);
            if let Ok(address) = socket.local_addr() {
                let wanted_port = request.port.filter(|port| *port != address.port());
                self.report(Event::Listening { name: name.clone(), address, wanted_port });
            }
            let _ended = self.starter.send(Task::Accept(name.clone(), socket));
        }
        // The peer may ask again, for example if it has restarted its request.
        match lock(&self.listening).get(&name) {
            Some(connect_port) => ListenReply::Listening { name, connect_port: *connect_port },
            None => {
                let is_new = {
                    let mut not_wanted = lock(&self.not_wanted);
                    not_wanted.len() < MAX_NOT_WANTED && not_wanted.insert(name.clone())
                };
                if is_new {
                    self.report(Event::NotWanted(name.clone()));
                }
                let reason = format!("No service permitted for name \"{name}\"");
                ListenReply::NotListening { name, reason }
            }
        }
    }
}

/// Closes the connections to listeners whose service the peer does not offer, so that their clients do not wait.
async fn close_unoffered(shared: Arc<Shared>) {
    tokio::time::sleep(UNOFFERED).await;
    let names: Vec<_> = lock(&shared.listeners).keys().cloned().collect();
    for name in names {
        shared.report(Event::NobodyOffers(name));
    }
    while close_waiting(&lock(&shared.listeners)) {
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

/// Closes the connections that wait now. Returns whether there are listeners.
fn close_waiting(listeners: &BTreeMap<ServiceName, Listener>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    for listener in listeners.values() {
        // At most so many, so that the listeners are free soon.
        for _ in 0..MAX_CONNECTIONS {
            let Poll::Ready(Ok(_closed)) = listener.socket.poll_accept(&mut context) else { break };
        }
    }
    !listeners.is_empty()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session that runs.
#[derive(Debug)]
pub(super) struct Running {
    reporter: Reporter,
    traffic: Traffic,
}

/// Why a session ends.
enum End {
    /// The application wants it.
    Closed,
    PeerLeft,
    Failed(Error),
}

impl Running {
    pub(super) const fn new(reporter: Reporter, traffic: Traffic) -> Self {
        Self { reporter, traffic }
    }

    /// Runs the session until its end.
    pub(super) async fn run(
        self,
        wormhole: Wormhole,
        settings: Settings,
        forwards: Forwards,
        mut closed: oneshot::Receiver<()>,
    ) {
        let reporter = self.reporter.clone();
        let started = tokio::select! {
            started = connect(wormhole, settings) => started,
            _ = &mut closed => return,
        };
        let end = match started {
            Ok(dilated) => self.forward(dilated, forwards, &mut closed).await,
            Err(error) => End::Failed(error),
        };
        // The application may have stopped to read.
        let _gone = match end {
            End::Closed => return,
            End::PeerLeft => reporter.try_send(Ok(Event::PeerLeft)),
            End::Failed(error) => reporter.try_send(Err(error)),
        };
    }

    /// Forwards until the end, and closes the wormhole.
    async fn forward(
        self,
        dilated: Dilated,
        Forwards { services, listeners }: Forwards,
        closed: &mut oneshot::Receiver<()>,
    ) -> End {
        let (starter, starting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            dilated,
            services,
            listeners: Mutex::new(listeners),
            listening: Mutex::default(),
            not_wanted: Mutex::default(),
            starter,
            reporter: self.reporter,
            traffic: self.traffic,
        });
        let mut tasks = JoinSet::new();
        let end = tokio::select! {
            end = serve(&shared, &mut tasks, starting) => end,
            _ = closed => End::Closed,
        };
        if let End::Closed | End::PeerLeft = end {
            say_farewell(shared.dilated.wormhole(), &end).await;
        }
        tasks.shutdown().await;
        if let Ok(shared) = Arc::try_unwrap(shared) {
            // Whether the server was told changes nothing here.
            let _closed = shared.dilated.close().await;
        }
        end
    }
}

/// Waits for the peer, and starts to connect to it.
async fn connect(wormhole: Wormhole, settings: Settings) -> Result<Dilated, Error> {
    let versions = wormhole.versions().await.map_err(dilated::Error::Wormhole)?;
    if !peer_can_forward(&versions) {
        let _closed = wormhole.close().await;
        return Err(Error::PeerCannotForward);
    }
    let subprotocols = Some(vec![COMMANDS.to_owned(), CONNECTIONS.to_owned()]);
    Ok(wormhole.dilate(Settings { subprotocols, ..settings }).await?)
}

/// Runs all parts of the session until one of them ends it.
async fn serve(
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
    mut starting: mpsc::UnboundedReceiver<Task>,
) -> End {
    for service in shared.services.values() {
        tasks.spawn(commands::request_listener(Arc::clone(shared), service.clone()));
    }
    let [commands, connections] = [COMMANDS, CONNECTIONS].map(|name| shared.dilated.listen(name));
    let (mut commands, mut connections) = match (commands, connections) {
        (Ok(commands), Ok(connections)) => (commands, connections),
        (Err(error), _) | (_, Err(error)) => return End::Failed(error.into()),
    };
    let requests = Arc::new(Semaphore::new(MAX_COMMAND_STREAMS));
    let mut known_connections = 0;
    let mut is_first = true;
    loop {
        tokio::select! {
            path = next_path(&shared.dilated, &mut known_connections) => match path {
                Ok(path) => {
                    shared.report(Event::Connected(path));
                    if std::mem::take(&mut is_first) {
                        tasks.spawn(close_unoffered(Arc::clone(shared)));
                    }
                }
                Err(error) => return End::Failed(error.into()),
            },
            stream = commands.accept() => match stream {
                // More streams than that are closed at once.
                Ok(stream) => if let Ok(permit) = Arc::clone(&requests).try_acquire_owned() {
                    let answering = commands::answer_requests(Arc::clone(shared), stream);
                    tasks.spawn(async move { answering.await; drop(permit) });
                },
                Err(error) => return ended(error),
            },
            stream = connections.accept() => match stream {
                Ok(stream) => { tasks.spawn(connections::accept(Arc::clone(shared), stream)); }
                Err(error) => return ended(error),
            },
            Some(task) = starting.recv() => start(shared, tasks, task),
            message = shared.dilated.wormhole().receive_message() => match message {
                Ok(message) if is_closing(&message) => return End::PeerLeft,
                Ok(_) => {}
                Err(error) => return End::Failed(dilated::Error::Wormhole(error).into()),
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

/// Waits for the next connection to the peer.
async fn next_path(
    dilated: &Dilated,
    known: &mut u64,
) -> Result<crate::transit::Path, dilated::Error> {
    let (count, path) = dilated.connected_after(*known).await?;
    *known = count;
    Ok(path)
}

fn ended(error: dilated::Error) -> End {
    // Our own program also says in this way that it leaves.
    if error == dilated::Error::Ended(DilationError::PeerLeft) {
        End::PeerLeft
    } else {
        End::Failed(error.into())
    }
}

fn start(shared: &Arc<Shared>, tasks: &mut JoinSet<()>, task: Task) {
    let shared = Arc::clone(shared);
    match task {
        Task::Accept(name, listener) => tasks.spawn(accept_sockets(shared, name, listener)),
        Task::Open(name, socket, permit) => tasks.spawn(async move {
            connections::open(shared, name, socket).await;
            drop(permit);
        }),
    };
}

/// Starts a task for each connection to a listener.
async fn accept_sockets(shared: Arc<Shared>, name: ServiceName, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Closing the semaphore never happens.
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        match listener.accept().await {
            Ok((socket, _)) => {
                let _ended = shared.starter.send(Task::Open(name.clone(), socket, permit));
            }
            // Too many open files, or the client has gone: others can follow.
            Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
        }
    }
}

/// Tells the peer that the session ends, and waits a moment for its own farewell.
async fn say_farewell(wormhole: &Wormhole, end: &End) {
    if wormhole.send_message(closing()).await.is_err() || matches!(end, End::PeerLeft) {
        return;
    }
    let answered = timeout(FAREWELL, async {
        while let Ok(message) = wormhole.receive_message().await {
            if is_closing(&message) {
                return;
            }
        }
    });
    // A peer that is gone does not answer.
    let _answered = answered.await;
}

/// How long after the connection the peer may take to offer a service.
const UNOFFERED: Duration = Duration::from_secs(5);

/// How long to wait for the peer's farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// Maximum number of the peer's streams with requests to listen.
const MAX_COMMAND_STREAMS: usize = 64;

/// Maximum number of names without a listener that are reported.
const MAX_NOT_WANTED: usize = 64;

/// Maximum number of connections to one of our listeners. The next ones wait.
const MAX_CONNECTIONS: usize = 512;

/// Pause after a connection could not be accepted.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
