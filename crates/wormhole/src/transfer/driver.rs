//! Drives a transfer on tokio: the core's session ([`Sender`], [`Receiver`]) with a wormhole as its mailbox, the
//! application's decisions, and the data thread.
//!
//! It is separate from `drive.rs`, because the links of a transfer are a wormhole and a carrier instead of sockets,
//! and the bytes on the carrier bypass the session.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};
use wormhole_kit::{Input, Output, Session};
use wormhole_magic::dilation::DilationVersion;
use wormhole_magic::transfer::dilated::{Features, Mode};
use wormhole_magic::transfer::{
    Abilities, CARRIER, MAILBOX, Receiver, ReceiverCommand, Sender, SenderCommand, TransferAddress,
    TransferError,
};
use wormhole_magic::transit::{TransitInfo, TransitKey};

use super::{CodeSource, Command, Error, Event, PeerMisbehaved, Report, Settings};
use crate::code::{self, AppId, Config, Events, Key, Mood, QueuedEvent, Wormhole};
use crate::dilated::{self, Streams};

/// The common operations of sender and receiver.
pub(super) trait TransferSession:
    Session<Address = TransferAddress, Changes = Infallible, Error = TransferError>
{
    /// The peer announced these abilities.
    fn peer_abilities(abilities: Abilities) -> Self::Command;
    /// All data has been transferred.
    fn complete() -> Self::Command;
    /// The transfer failed here for this reason.
    fn fail(reason: String) -> Self::Command;
}

impl TransferSession for Sender {
    fn peer_abilities(abilities: Abilities) -> SenderCommand {
        SenderCommand::PeerAbilities(abilities)
    }

    fn complete() -> SenderCommand {
        SenderCommand::Complete
    }

    fn fail(reason: String) -> SenderCommand {
        SenderCommand::Fail(reason)
    }
}

impl TransferSession for Receiver {
    fn peer_abilities(abilities: Abilities) -> ReceiverCommand {
        ReceiverCommand::PeerAbilities(abilities)
    }

    fn complete() -> ReceiverCommand {
        ReceiverCommand::Complete
    }

    fn fail(reason: String) -> ReceiverCommand {
        ReceiverCommand::Fail(reason)
    }
}

/// The next step for a sender or receiver.
pub(super) enum Step<E> {
    /// A decision of the application.
    Command(Command),
    /// The session wants a connection to the peer.
    Connect(TransitInfo),
    /// An event of the session.
    Event(E),
    /// The peer can transfer over a dilated connection, as we can.
    PeerDilates,
}

/// Why a waiting driver continues.
enum Wakeup {
    Command(Command),
    Wormhole(QueuedEvent),
    Timeout,
}

/// A transfer with its wormhole and its application.
pub(super) struct TransferDriver<S: Session> {
    session: S,
    /// The error that ended the session, until all earlier outputs have been handled.
    ended: Option<Error>,
    wormhole: Wormhole,
    /// `None` once the wormhole has ended.
    wormhole_events: Option<Events>,
    /// Why the wormhole ended.
    wormhole_error: Option<code::Error>,
    key: Option<Key>,
    /// What we have announced about dilated connections, if anything.
    mode: Option<Mode>,
    /// Whether the peer has announced the same, and the next step says so.
    peer_dilates: bool,
    /// What the peer supports on a dilated connection.
    peer_features: Features,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Result<Event, Error>>,
    /// Events for which the application had no room.
    unsent: VecDeque<Event>,
}

impl<S: TransferSession> TransferDriver<S> {
    pub(super) fn start(
        session: S,
        mode: Option<Mode>,
        settings: &Settings,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<Result<Event, Error>>,
    ) -> Self {
        let mut app_versions = Abilities::all().to_app_versions();
        if let Some(mode) = mode {
            mode.announce(&mut app_versions);
        }
        let config = Config {
            app_id: settings.app_id.clone(),
            servers: settings.servers.clone(),
            app_versions,
            tor: settings.tor.clone(),
        };
        let (wormhole, wormhole_events) = Wormhole::create_with_events(config, mode.is_some());
        Self {
            session,
            ended: None,
            wormhole,
            wormhole_events: Some(wormhole_events),
            wormhole_error: None,
            key: None,
            mode,
            peer_dilates: false,
            peer_features: Features::default(),
            commands,
            events,
            unsent: VecDeque::new(),
        }
    }

    /// Gets the code from its source.
    pub(super) async fn choose_code(
        &mut self,
        source: CodeSource,
        settings: &Settings,
    ) -> Result<(), Error> {
        match source {
            CodeSource::Allocate => self.wormhole.allocate_code(settings.code_words)?,
            CodeSource::Code(code) => self.wormhole.set_code(code)?,
            CodeSource::Input => {
                let input = self.wormhole.input_code()?;
                self.emit(Event::CodeWanted(input)).await?;
            }
        }
        Ok(())
    }

    /// Waits for the next step, and passes events of the wormhole to the application. Dropping this future loses
    /// nothing.
    ///
    /// # Errors
    /// The application cancelled, or the session or the wormhole has ended.
    pub(super) async fn next(&mut self) -> Result<Step<S::Event>, Error> {
        loop {
            if let Some(step) = self.carry_out() {
                return Ok(step);
            }
            if let Some(error) = self.ended.take() {
                return Err(error);
            }
            if std::mem::take(&mut self.peer_dilates) {
                return Ok(Step::PeerDilates);
            }
            match self.wait().await? {
                Wakeup::Command(command) => return Ok(Step::Command(command)),
                Wakeup::Wormhole(event) => self.on_wormhole_event(event)?,
                Wakeup::Timeout => {
                    let outcome = self.session.handle_timeout(Instant::now());
                    self.note(outcome);
                }
            }
        }
    }

    /// Waits for the application, the wormhole or the clock, and sends events for which the application had no
    /// room.
    async fn wait(&mut self) -> Result<Wakeup, Error> {
        loop {
            tokio::select! {
                command = self.commands.recv() => return match command {
                    Some(Command::Cancel) | None => Err(Error::Cancelled),
                    Some(command) => Ok(Wakeup::Command(command)),
                },
                permit = self.events.reserve(), if !self.unsent.is_empty() => {
                    let permit = permit.map_err(|_gone| Error::Cancelled)?;
                    if let Some(event) = self.unsent.pop_front() {
                        permit.send(Ok(event));
                    }
                }
                event = next_event(&mut self.wormhole_events), if self.unsent.is_empty() => {
                    return Ok(Wakeup::Wormhole(event));
                }
                () = until(self.session.deadline()) => return Ok(Wakeup::Timeout),
            }
        }
    }

    /// Handles outputs of the session up to the next step.
    fn carry_out(&mut self) -> Option<Step<S::Event>> {
        loop {
            match self.session.poll()? {
                Output::Connect(_, TransferAddress::Carrier(peer)) => {
                    return Some(Step::Connect(peer));
                }
                // The wormhole exists from the start, and the owner of the carrier closes it.
                Output::Connect(_, TransferAddress::Mailbox) | Output::Close(_) => {}
                Output::Send(_, message) => {
                    // Without a key there is no peer yet that could receive it.
                    if self.key.is_some() {
                        self.wormhole.send_now(message);
                    }
                }
                Output::Event(event) => return Some(Step::Event(event)),
            }
        }
    }

    fn on_wormhole_event(&mut self, event: QueuedEvent) -> Result<(), Error> {
        match event {
            QueuedEvent::Core(code::Event::Version(version)) => {
                let abilities = Abilities::of_peer(version.app_versions());
                self.peer_dilates = self.mode.is_some_and(|mode| {
                    mode.fits(version.app_versions()) && DilationVersion::choose(&version).is_some()
                });
                self.peer_features = Features::of_peer(version.app_versions());
                self.input(Input::Opened(MAILBOX));
                self.command(S::peer_abilities(abilities));
            }
            QueuedEvent::Core(code::Event::Message(message)) => {
                self.input(Input::Bytes(MAILBOX, &message));
            }
            QueuedEvent::Core(event) => {
                if let code::Event::Key(key) = &event {
                    self.key = Some(key.clone());
                }
                self.unsent.extend(Event::of_wormhole(event));
            }
            QueuedEvent::ServerRetry { why, failures, pause } => {
                self.unsent.push_back(Event::ServerRetry { why, failures, pause });
            }
            QueuedEvent::TooManyMessages => {
                return Err(PeerMisbehaved::TooManyMessages.into());
            }
            QueuedEvent::Ended(result) => {
                self.wormhole_events = None;
                self.wormhole_error = result.err();
                self.input(Input::Closed(MAILBOX));
            }
        }
        Ok(())
    }

    fn input(&mut self, input: Input<'_, S::Command>) {
        let outcome = self.session.handle(Instant::now(), input);
        self.note(outcome);
    }

    fn note(&mut self, outcome: Result<(), TransferError>) {
        if let Err(error) = outcome {
            self.ended = Some(if error == TransferError::MailboxClosed {
                self.wormhole_error.take().unwrap_or(code::Error::Closed).into()
            } else {
                error.into()
            });
        }
    }

    /// Passes a command to the session. Its results are returned by [`Self::next`].
    pub(super) fn command(&mut self, command: S::Command) {
        self.input(Input::Command(command));
    }

    /// Takes whether the peer can transfer over a dilated connection, if no step has said so yet.
    pub(super) const fn peer_dilates(&mut self) -> bool {
        std::mem::replace(&mut self.peer_dilates, false)
    }

    /// What the peer supports on a dilated connection.
    pub(super) const fn peer_features(&self) -> Features {
        self.peer_features
    }

    /// Starts to connect to a peer that can transfer over a dilated connection.
    pub(super) async fn dilate(
        &mut self,
        settings: dilated::Settings,
    ) -> Result<Streams, dilated::Error> {
        self.wormhole.open_streams(settings).await
    }

    /// The connection to the peer is open.
    pub(super) fn on_connected(&mut self) {
        self.input(Input::Opened(CARRIER));
    }

    /// Waits for `work`, unless the application or the peer gives up.
    pub(super) async fn unless_given_up<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            outcome = work => outcome,
            error = self.given_up() => Err(error),
        }
    }

    /// Waits until the application or the peer gives up. Dropping this future loses nothing.
    pub(super) async fn given_up(&mut self) -> Error {
        loop {
            // Other steps are too late.
            if let Err(error) = self.next().await {
                return error;
            }
        }
    }

    /// If the connection broke, waits briefly for the peer's reason through the mailbox.
    pub(super) async fn explain<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if !matches!(outcome, Err(Error::Interrupted { .. })) {
            return outcome;
        }
        self.input(Input::Closed(CARRIER));
        let reason = self.given_up().await;
        if matches!(reason, Error::PeerRefused(_)) { Err(reason) } else { outcome }
    }

    /// Sends an event to the application; if the application is gone, the transfer is cancelled.
    pub(super) async fn emit(&mut self, event: Event) -> Result<(), Error> {
        self.unsent.push_back(event);
        while let Some(event) = self.unsent.pop_front() {
            self.events.send(Ok(event)).await.map_err(|_gone| Error::Cancelled)?;
        }
        Ok(())
    }

    /// Sends an event to the application if it has room; later events contain more.
    pub(super) fn emit_if_room(&self, event: Event) {
        let _full = self.events.try_send(Ok(event));
    }

    /// The key of the data connection.
    pub(super) fn transit_key(&self) -> Result<TransitKey, Error> {
        let key = self.key.as_ref().ok_or(code::Error::ApiMisuse(code::ApiMisuse::NoKey))?;
        // As in the Python client, also with another application identifier.
        Ok(TransitKey::new(key.transit_key(&AppId::default())))
    }

    /// Sends the reason for the failure to the peer; the session does so only once.
    pub(super) fn tell_peer(&mut self, error: &Error) {
        if let Some(reason) = error.reply() {
            self.command(S::fail(reason));
        }
        self.send_pending();
    }

    /// Sends pending messages of the session. Its steps and events are too late.
    fn send_pending(&mut self) {
        while self.carry_out().is_some() {}
    }

    /// Ends the transfer: notifies the peer, the server and the application.
    pub(super) async fn finish(mut self, outcome: Result<Report, Error>) {
        let mut mood = None;
        match &outcome {
            Ok(_) => {
                self.command(S::complete());
                self.send_pending();
            }
            Err(error) => {
                mood = self.key.is_some().then_some(Mood::Errory);
                self.tell_peer(error);
            }
        }
        let (wormhole, events) = (self.wormhole, self.events);
        let close = timeout(CLOSE_TIMEOUT, async {
            match mood {
                Some(mood) => wormhole.close_with_mood(mood).await,
                None => wormhole.close().await,
            }
        });
        // Success is reported first, because the user need not wait for the server. An error is reported last, because
        // programs usually exit then. The application may be gone.
        if outcome.is_ok() {
            send_all(&events, self.unsent, outcome).await;
            let _closed = close.await;
        } else {
            let _closed = close.await;
            send_all(&events, self.unsent, outcome).await;
        }
    }
}

/// Sends the last events to the application.
async fn send_all(
    events: &mpsc::Sender<Result<Event, Error>>,
    unsent: VecDeque<Event>,
    outcome: Result<Report, Error>,
) {
    for event in unsent {
        let _gone = events.send(Ok(event)).await;
    }
    let _gone = events.send(outcome.map(Event::Done)).await;
}

/// The next event of a wormhole; never after it has ended.
async fn next_event(events: &mut Option<Events>) -> QueuedEvent {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// Sleeps until the deadline; indefinitely without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Time limit for closing.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
