//! The task that runs a session: starts a task for each transfer, and decides when the session is over.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use wormhole_magic::dilation::DilationError;
use wormhole_magic::transfer::Message;
use wormhole_magic::transfer::dilated::{Mode, SUBPROTOCOL};

use super::super::Destination;
use super::incoming::{self, Beginning, OpenOffer};
use super::transfers::{Context, Events, say_finished};
use super::{Command, Error, Event, Settings, TransferId, outgoing};
use crate::code::Wormhole;
use crate::dilated::{self, Dilated, Listener, Subchannel};
use crate::transit::Path;

/// Runs a session until it is over, or the application closes or drops it.
pub(super) async fn run(
    wormhole: Wormhole,
    settings: Settings,
    mut commands: mpsc::UnboundedReceiver<Command>,
    events: Events,
) {
    let mut early = Vec::new();
    let connecting = connect(wormhole, settings.connection);
    tokio::pin!(connecting);
    let connected = loop {
        tokio::select! {
            connected = &mut connecting => break connected,
            command = commands.recv() => match command {
                Some(command) => early.push(command),
                None => return,
            },
        }
    };
    let outcome = match connected {
        Ok(dilated) => {
            let running = Running::new(events.clone(), settings.max_entries);
            running.run(dilated, early, &mut commands).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        let _gone = events.send(Err(error)).await;
    }
}

/// Waits for the peer, and starts to connect to it.
async fn connect(wormhole: Wormhole, settings: dilated::Settings) -> Result<Dilated, Error> {
    let versions = wormhole.versions().await?;
    if !Mode::Share.fits(&versions) {
        let reason = "the other side runs `wormhole share`, so run `wormhole share` here too";
        // A program that only sends or receives shows this, and transfers nothing.
        let _unsent = wormhole.send_message(Message::Error(reason.to_owned()).encode()).await;
        let _closed = wormhole.close().await;
        return Err(Error::PeerCannotShare);
    }
    let subprotocols = Some(vec![SUBPROTOCOL.to_owned()]);
    let closed_patience = settings.closed_patience.or(Some(CLOSED));
    Ok(wormhole.dilate(dilated::Settings { subprotocols, closed_patience, ..settings }).await?)
}

/// A connected session.
struct Running {
    events: Events,
    max_entries: Option<u64>,
    /// All transfers, and streams of which nothing is known yet.
    tasks: JoinSet<Ended>,
    transfers: BTreeMap<TransferId, Transfer>,
    /// Number of offers of the peer so far.
    offered: u64,
    /// Whether we offer nothing more, and whether the peer knows.
    is_finished: bool,
    has_said_so: bool,
    peer_is_finished: bool,
    path: Option<Path>,
}

/// A transfer that is not over.
struct Transfer {
    /// For an offer of the peer that waits for an answer.
    answer: Option<oneshot::Sender<Option<Destination>>>,
    /// Dropping it cancels the transfer.
    cancel: oneshot::Sender<()>,
}

/// What a task has found or done.
enum Ended {
    Begun(Subchannel, Beginning),
    Transfer(TransferId),
    /// A stream that ended early, or that violates the protocol.
    Useless,
}

impl Running {
    fn new(events: Events, max_entries: Option<u64>) -> Self {
        Self {
            events,
            max_entries,
            tasks: JoinSet::new(),
            transfers: BTreeMap::new(),
            offered: 0,
            is_finished: false,
            has_said_so: false,
            peer_is_finished: false,
            path: None,
        }
    }

    /// Runs until the session is over; then closes the connection.
    async fn run(
        mut self,
        dilated: Dilated,
        early: Vec<Command>,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<(), Error> {
        let outcome = self.serve(&dilated, early, commands).await;
        self.cancel_all().await;
        // Whether the server was told changes nothing here.
        let _closed = dilated.close().await;
        outcome
    }

    async fn serve(
        &mut self,
        dilated: &Dilated,
        early: Vec<Command>,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<(), Error> {
        let mut streams = dilated.listen(SUBPROTOCOL)?;
        for command in early {
            self.on_command(dilated, command)?;
        }
        let mut tick = interval(PATH_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.say_if_finished(dilated).await?;
            if self.is_over() {
                return Ok(());
            }
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.on_command(dilated, command)?,
                    None => return Ok(()),
                },
                stream = accept(&mut streams) => self.on_stream(stream),
                Some(ended) = self.tasks.join_next() => self.on_ended(ended.unwrap_or(Ended::Useless)).await,
                _ = tick.tick() => self.report_path(dilated.path()).await,
                error = dilated.ended() => return self.on_disconnected(error).await,
            }
        }
    }

    fn on_command(&mut self, dilated: &Dilated, command: Command) -> Result<(), Error> {
        match command {
            Command::Offer(id, item) => {
                let stream = dilated.connect(SUBPROTOCOL)?;
                let (context, cancel) = self.context(id);
                self.transfers.insert(id, Transfer { answer: None, cancel });
                let path = dilated.path();
                self.tasks.spawn(async move {
                    Ended::Transfer(outgoing::offer(context, stream, path, item).await)
                });
            }
            Command::Answer(id, destination) => {
                let answer = self.transfers.get_mut(&id).and_then(|it| it.answer.take());
                // The sender may just have withdrawn it.
                let _late = answer.map(|answer| answer.send(destination));
            }
            Command::Cancel(id) => {
                if let Some(Transfer { cancel, .. }) = self.transfers.remove(&id) {
                    let _late = cancel.send(());
                }
            }
            Command::Finish => self.is_finished = true,
        }
        Ok(())
    }

    fn context(&self, id: TransferId) -> (Context, oneshot::Sender<()>) {
        let (cancel, cancelled) = oneshot::channel();
        (Context { id, events: self.events.clone(), cancelled }, cancel)
    }

    /// The peer opened a stream.
    fn on_stream(&mut self, stream: Subchannel) {
        if self.tasks.len() >= MAX_TASKS {
            // Dropping the stream closes it.
            return;
        }
        self.tasks.spawn(async move {
            let beginning = incoming::begin(&stream).await;
            beginning.map_or(Ended::Useless, |beginning| Ended::Begun(stream, beginning))
        });
    }

    async fn on_ended(&mut self, ended: Ended) {
        match ended {
            Ended::Begun(stream, Beginning::Offer(begun)) => {
                let (offer, incoming) = *begun;
                let id = TransferId::theirs(self.offered);
                self.offered = self.offered.saturating_add(1);
                let (context, cancel) = self.context(id);
                let (sender, answer) = oneshot::channel();
                self.transfers.insert(id, Transfer { answer: Some(sender), cancel });
                let (path, max_entries) = (self.path.clone(), self.max_entries);
                let open = OpenOffer { offer, incoming, answer, path, max_entries };
                self.tasks.spawn(async move {
                    Ended::Transfer(incoming::receive(context, stream, open).await)
                });
            }
            Ended::Begun(_, Beginning::Finished) => {
                if !std::mem::replace(&mut self.peer_is_finished, true) {
                    let _gone = self.events.send(Ok(Event::PeerFinished)).await;
                }
            }
            Ended::Transfer(id) => {
                self.transfers.remove(&id);
            }
            Ended::Useless => {}
        }
    }

    /// Tells the peer that we offer nothing more, once our own offers are over.
    async fn say_if_finished(&mut self, dilated: &Dilated) -> Result<(), Error> {
        let is_sending = self.transfers.keys().any(|id| id.is_outgoing());
        if self.is_finished && !self.has_said_so && !is_sending {
            self.has_said_so = true;
            say_finished(dilated.connect(SUBPROTOCOL)?).await;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.has_said_so && self.peer_is_finished && self.tasks.is_empty()
    }

    async fn report_path(&mut self, path: Option<Path>) {
        if path == self.path {
            return;
        }
        self.path.clone_from(&path);
        let event = path.map_or(Event::ConnectionLost, Event::Connected);
        let _gone = self.events.send(Ok(event)).await;
    }

    /// The connection has ended for good. That is no error if nothing is missing.
    async fn on_disconnected(&mut self, error: dilated::Error) -> Result<(), Error> {
        while let Some(ended) = self.tasks.join_next().await {
            self.on_ended(ended.unwrap_or(Ended::Useless)).await;
        }
        let has_left = error == dilated::Error::Ended(DilationError::PeerLeft);
        let is_complete = self.is_finished && self.peer_is_finished;
        if has_left && is_complete { Ok(()) } else { Err(error.into()) }
    }

    /// Cancels all transfers, and waits until they have cleaned up.
    async fn cancel_all(&mut self) {
        self.transfers.clear();
        let cleaning = async { while self.tasks.join_next().await.is_some() {} };
        let _late = tokio::time::timeout(CLEAN_UP, cleaning).await;
    }
}

/// The next stream of the peer; never if the connection has ended.
async fn accept(streams: &mut Listener) -> Subchannel {
    match streams.accept().await {
        Ok(stream) => stream,
        Err(_) => std::future::pending().await,
    }
}

/// How long to wait for a program that has closed the connection and is silent.
const CLOSED: Duration = Duration::from_secs(15);

/// Maximum number of transfers and streams at once. Further streams of the peer are closed.
const MAX_TASKS: usize = 64;

/// Time between two looks at the path of the connection.
const PATH_INTERVAL: Duration = Duration::from_millis(200);

/// How long to wait for transfers that were cancelled.
const CLEAN_UP: Duration = Duration::from_secs(12);
