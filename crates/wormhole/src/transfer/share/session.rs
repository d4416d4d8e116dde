//! The task that runs a session: starts a task for each transfer, and decides when the session is over.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use wormhole_magic::dilation::DilationError;
use wormhole_magic::transfer::Message;
use wormhole_magic::transfer::dilated::{Features, Mode, SUBPROTOCOL};

use super::super::source::SendItem;
use super::super::{Destination, Error as TransferError};
use super::incoming::{self, FirstFrame, OpenOffer};
use super::transfers::{Events, TransferContext, send_finished};
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
    let Some(negotiated) = negotiate_unless_closed(&wormhole, &mut commands, &mut early).await
    else {
        // The program may end next, and the server must free the code before.
        let _closed = wormhole.close().await;
        return;
    };
    let connected = match negotiated {
        Ok(features) => dilate(wormhole, settings.connection).await.map(|it| (it, features)),
        Err(error) => {
            let _closed = wormhole.close().await;
            Err(error)
        }
    };
    let outcome = match connected {
        Ok((dilated, features)) => {
            let running = Running::new(events.clone(), settings.max_entries, features);
            running.run(dilated, early, &mut commands).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        let _gone = events.send(Err(error)).await;
    }
}

/// Waits for the peer, and collects commands meanwhile. `None` if the application closes or drops the session.
async fn negotiate_unless_closed(
    wormhole: &Wormhole,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    early: &mut Vec<Command>,
) -> Option<Result<Features, Error>> {
    let negotiating = negotiate(wormhole);
    tokio::pin!(negotiating);
    loop {
        tokio::select! {
            negotiated = &mut negotiating => return Some(negotiated),
            command = commands.recv() => early.push(command?),
        }
    }
}

/// Waits for the peer, and checks that its program shares. Returns what else it supports.
async fn negotiate(wormhole: &Wormhole) -> Result<Features, Error> {
    let versions = wormhole.versions().await?;
    if Mode::Share.fits(&versions) {
        return Ok(Features::of_peer(&versions));
    }
    let reason = "the other side runs `wormhole share`, so run `wormhole share` here too";
    // A program that only sends or receives shows this, and transfers nothing.
    let _unsent = wormhole.send_message(Message::Error(reason.to_owned()).encode()).await;
    Err(Error::PeerCannotShare)
}

/// Starts to connect to the peer.
async fn dilate(wormhole: Wormhole, settings: dilated::Settings) -> Result<Dilated, Error> {
    let subprotocols = Some(vec![SUBPROTOCOL.to_owned()]);
    let closed_patience = settings.closed_patience.or(Some(CLOSED));
    Ok(wormhole.dilate(dilated::Settings { subprotocols, closed_patience, ..settings }).await?)
}

/// A connected session.
struct Running {
    events: Events,
    max_entries: Option<u64>,
    /// What the peer supports.
    features: Features,
    /// Streams of the peer whose first frame has not arrived, or whose offer is refused. Dilation limits how many there are.
    unread: JoinSet<Option<(Subchannel, FirstFrame)>>,
    /// All transfers.
    tasks: JoinSet<bool>,
    ids: HashMap<task::Id, TransferId>,
    /// How many of them are offers of ours, and how many are offers of the peer.
    outgoing: usize,
    incoming: usize,
    /// Offers of ours that wait until another one is over.
    waiting: VecDeque<(TransferId, SendItem)>,
    transfers: BTreeMap<TransferId, Transfer>,
    /// Number of offers of the peer so far.
    offered: u64,
    withdrawn: Withdrawn,
    /// Whether we offer nothing more, and whether the peer knows.
    is_finished: bool,
    finished_is_sent: bool,
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

/// Offers that the peer has withdrawn or broken off.
struct Withdrawn {
    /// Counted since this time.
    since: Instant,
    count: u32,
}

impl Withdrawn {
    fn add(&mut self) {
        self.count = self.count.saturating_add(1);
    }

    fn are_too_many(&mut self) -> bool {
        if self.since.elapsed() >= PERIOD {
            *self = Self { since: Instant::now(), count: 0 };
        }
        self.count >= MAX_WITHDRAWN
    }
}

impl Running {
    fn new(events: Events, max_entries: Option<u64>, features: Features) -> Self {
        Self {
            events,
            max_entries,
            features,
            unread: JoinSet::new(),
            tasks: JoinSet::new(),
            ids: HashMap::new(),
            outgoing: 0,
            incoming: 0,
            waiting: VecDeque::new(),
            transfers: BTreeMap::new(),
            offered: 0,
            withdrawn: Withdrawn { since: Instant::now(), count: 0 },
            is_finished: false,
            finished_is_sent: false,
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
        for command in early {
            self.on_command(command).await;
        }
        let outcome = self.serve(&dilated, commands).await;
        self.cancel_all().await;
        // The result is the same if the server does not answer.
        let _closed = dilated.close().await;
        outcome
    }

    async fn serve(
        &mut self,
        dilated: &Dilated,
        commands: &mut mpsc::UnboundedReceiver<Command>,
    ) -> Result<(), Error> {
        let mut streams = dilated.listen(SUBPROTOCOL)?;
        loop {
            let started = self.start_offers(dilated);
            if let Err(error) = started.and(self.send_finished_if_done(dilated).await) {
                return self.on_disconnected(error, &mut streams).await;
            }
            if self.is_over() {
                return Ok(());
            }
            tokio::select! {
                // What has arrived before the end of the connection counts.
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return Ok(()),
                },
                path = dilated.path_after(self.path.clone()) => self.report_path(path).await,
                stream = accept(&mut streams) => self.on_stream(stream),
                Some(read) = self.unread.join_next() => self.on_first_frame(read.ok().flatten()).await,
                Some(ended) = self.tasks.join_next_with_id() => self.on_ended(ended).await,
                error = dilated.ended() => return self.on_disconnected(error, &mut streams).await,
            }
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Offer(id, item) => self.waiting.push_back((id, item)),
            Command::Answer(id, destination) => {
                let answer = self.transfers.get_mut(&id).and_then(|it| it.answer.take());
                // The sender may just have withdrawn it.
                let _late = answer.map(|answer| answer.send(destination));
            }
            Command::Cancel(id) => {
                if let Some(Transfer { cancel, .. }) = self.transfers.remove(&id) {
                    let _late = cancel.send(());
                }
                if self.waiting.iter().any(|(waiting, _)| *waiting == id) {
                    self.waiting.retain(|(waiting, _)| *waiting != id);
                    report_failed(&self.events, id, TransferError::Cancelled).await;
                }
            }
            Command::Finish => self.is_finished = true,
        }
    }

    /// Makes the offers for which there is room.
    fn start_offers(&mut self, dilated: &Dilated) -> Result<(), dilated::Error> {
        while self.outgoing < MAX_OFFERS && !self.waiting.is_empty() {
            let stream = dilated.connect(SUBPROTOCOL)?;
            let Some((id, item)) = self.waiting.pop_front() else { break };
            let (context, cancel) = self.context(id);
            self.transfers.insert(id, Transfer { answer: None, cancel });
            self.outgoing += 1;
            let peer = (dilated.path(), self.features);
            self.spawn(id, async move {
                outgoing::offer(context, stream, peer, item).await;
                false
            });
        }
        Ok(())
    }

    fn context(&self, id: TransferId) -> (TransferContext, oneshot::Sender<()>) {
        let (cancel, cancelled) = oneshot::channel();
        (TransferContext { id, events: self.events.clone(), cancelled }, cancel)
    }

    /// The peer opened a stream.
    fn on_stream(&mut self, stream: Subchannel) {
        self.unread.spawn(async move {
            let first = incoming::read_first_frame(&stream).await.ok()?;
            Some((stream, first))
        });
    }

    /// The first frame of a stream of the peer has arrived. `None` if it ended early, or violates the protocol.
    async fn on_first_frame(&mut self, read: Option<(Subchannel, FirstFrame)>) {
        match read {
            Some((stream, FirstFrame::Offer(first))) => {
                if let Some(reason) = self.reason_to_refuse() {
                    self.unread.spawn(async move {
                        incoming::refuse(&stream, reason).await;
                        None
                    });
                    return;
                }
                let (offer, frames) = *first;
                let id = TransferId::theirs(self.offered);
                self.offered = self.offered.saturating_add(1);
                let (context, cancel) = self.context(id);
                let (sender, answer) = oneshot::channel();
                self.transfers.insert(id, Transfer { answer: Some(sender), cancel });
                let (path, max_entries) = (self.path.clone(), self.max_entries);
                let open = OpenOffer { offer, frames, answer, path, max_entries };
                self.incoming += 1;
                self.spawn(id, incoming::receive(context, stream, open));
            }
            Some((_, FirstFrame::Finished)) if !self.peer_is_finished => {
                self.peer_is_finished = true;
                let _gone = self.events.send(Ok(Event::PeerFinished)).await;
            }
            Some((_, FirstFrame::Finished)) | None => {}
        }
    }

    /// Why an offer is refused without asking the user, if it is.
    fn reason_to_refuse(&mut self) -> Option<&'static str> {
        if self.peer_is_finished {
            Some("an offer after the last one")
        } else if self.incoming >= MAX_INCOMING {
            Some("too many offers at once")
        } else if self.withdrawn.are_too_many() {
            Some("too many offers were withdrawn")
        } else {
            None
        }
    }

    /// Runs a transfer, which returns whether the peer has broken off its offer.
    fn spawn(&mut self, id: TransferId, transfer: impl Future<Output = bool> + Send + 'static) {
        let task = self.tasks.spawn(transfer);
        self.ids.insert(task.id(), id);
    }

    /// The task of a transfer is over, or has panicked.
    async fn on_ended(&mut self, ended: Result<(task::Id, bool), JoinError>) {
        let (task, is_broken_off, has_panicked) = match &ended {
            Ok((task, is_broken_off)) => (*task, *is_broken_off, false),
            Err(error) => (error.id(), false, error.is_panic()),
        };
        let Some(id) = self.ids.remove(&task) else { return };
        self.transfers.remove(&id);
        if has_panicked {
            report_failed(&self.events, id, TransferError::Stopped).await;
        } else if is_broken_off {
            self.withdrawn.add();
        }
        let count = if id.is_outgoing() { &mut self.outgoing } else { &mut self.incoming };
        *count = count.saturating_sub(1);
    }

    /// Sends that we offer nothing more, once our own offers are over.
    async fn send_finished_if_done(&mut self, dilated: &Dilated) -> Result<(), dilated::Error> {
        let is_sending = self.outgoing > 0 || !self.waiting.is_empty();
        if self.is_finished && !self.finished_is_sent && !is_sending {
            self.finished_is_sent = true;
            send_finished(dilated.connect(SUBPROTOCOL)?).await;
        }
        Ok(())
    }

    /// A stream without a first frame does not count: the peer offers nothing more.
    fn is_over(&self) -> bool {
        self.finished_is_sent && self.peer_is_finished && self.tasks.is_empty()
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
    async fn on_disconnected(
        &mut self,
        error: dilated::Error,
        streams: &mut Listener,
    ) -> Result<(), Error> {
        loop {
            tokio::select! {
                biased;
                stream = accept(streams) => self.on_stream(stream),
                () = std::future::ready(()) => break,
            }
        }
        while let Some(read) = self.unread.join_next().await {
            self.on_first_frame(read.ok().flatten()).await;
        }
        let is_complete = self.is_finished && self.peer_is_finished && self.waiting.is_empty();
        for (id, _) in std::mem::take(&mut self.waiting) {
            report_failed(&self.events, id, TransferError::PeerGone).await;
        }
        let ending = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.on_ended(ended).await;
            }
        };
        // Every transfer notices the end of the connection, unless its disk does not answer.
        let _late = tokio::time::timeout(CLEAN_UP, ending).await;
        let has_left = error == dilated::Error::Ended(DilationError::PeerLeft);
        if has_left && is_complete { Ok(()) } else { Err(error.into()) }
    }

    /// Cancels all transfers, and waits until they have cleaned up.
    async fn cancel_all(&mut self) {
        self.unread.abort_all();
        self.transfers.clear();
        let cleaning = async { while self.tasks.join_next().await.is_some() {} };
        let _late = tokio::time::timeout(CLEAN_UP, cleaning).await;
    }
}

/// Reports an offer of ours that was never made.
async fn report_failed(events: &Events, id: TransferId, error: TransferError) {
    let _gone = events.send(Ok(Event::Failed { id, error, kept: None })).await;
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

/// Maximum number of our own offers at once. Further ones wait.
const MAX_OFFERS: usize = 32;

/// Maximum number of the peer's offers at once. Further ones are closed.
const MAX_INCOMING: usize = 64;

/// Maximum number of offers that the peer may withdraw or break off in each [`PERIOD`]: each one is shown to the user.
const MAX_WITHDRAWN: u32 = 100;

/// The time to which [`MAX_WITHDRAWN`] applies.
const PERIOD: Duration = Duration::from_secs(60);

/// How long to wait for transfers that were cancelled.
const CLEAN_UP: Duration = Duration::from_secs(12);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transfer_whose_task_panics_is_reported_and_makes_room() {
        let (sender, mut events) = mpsc::channel(1);
        let mut running = Running::new(sender, None, Features::default());
        let id = TransferId::ours(0);
        running.outgoing = 1;
        running.spawn(id, async { panic!("a defect") });
        let ended = running.tasks.join_next_with_id().await.unwrap();
        running.on_ended(ended).await;
        let Some(Ok(Event::Failed { id: failed, error, kept })) = events.recv().await else {
            panic!("the failure is not reported");
        };
        assert_eq!((failed, error, kept), (id, TransferError::Stopped, None));
        assert_eq!(running.outgoing, 0);
    }
}
