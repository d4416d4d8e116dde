//! What sender and receiver have in common: the wormhole, the application's decisions, and telling
//! everybody how it went.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use wormhole_magic::transfer::{
    ATTRIBUTES_ABILITY, FOLDERS_ABILITY, Message, NegotiationError, OMISSIONS_ABILITY,
    PROGRESS_ABILITY, STREAM_ABILITY, TRANSFER_ABILITY,
};
use wormhole_magic::transit::TransitKey;

use super::progress::Progress;
use super::thread::Outcome;
use super::{CodeSource, Command, Error, Event, PeerMisbehaved, Report, Settings};
use crate::code::{
    self, AppId, Closed, Code, Config, Delegate, Key, MailboxUrl, Mood, Verifier, Welcome, Wormhole,
};
use crate::net::LinkFailure;
use crate::transit::blocking::Cutter;

/// What happens to a transfer.
pub(super) enum Happening {
    Command(Command),
    Message(Message),
    Versions(Value),
}

/// One transfer's surroundings.
pub(super) struct Session {
    wormhole: Wormhole,
    news: mpsc::UnboundedReceiver<News>,
    /// Messages that came together with the one handed out last.
    messages: std::vec::IntoIter<Message>,
    /// Messages to be looked at later.
    kept: Vec<Message>,
    backlog: Arc<Backlog>,
    /// What the messages handed out last, and those kept, weigh in the backlog.
    weight: usize,
    kept_weight: usize,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Result<Event, Error>>,
    key: Option<Key>,
    told_peer: bool,
}

impl Session {
    pub(super) fn start(
        settings: &Settings,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<Result<Event, Error>>,
    ) -> Self {
        let config = Config {
            app_id: settings.app_id.clone(),
            servers: settings.servers.clone(),
            app_versions: json!({ "abilities": ABILITIES }),
            tor: settings.tor.clone(),
        };
        let (sender, news) = mpsc::unbounded_channel();
        let backlog = Arc::new(Backlog::default());
        let reporter = Reporter { news: sender, backlog: Arc::clone(&backlog), is_full: false };
        let wormhole = Wormhole::create_with_delegate(config, Box::new(reporter));
        let messages = Vec::new().into_iter();
        Self {
            wormhole,
            news,
            messages,
            kept: Vec::new(),
            backlog,
            weight: 0,
            kept_weight: 0,
            commands,
            events,
            key: None,
            told_peer: false,
        }
    }

    /// Starts to get a code from wherever it is to come.
    pub(super) async fn choose_code(
        &self,
        source: CodeSource,
        settings: &Settings,
    ) -> Result<(), Error> {
        match source {
            CodeSource::Allocate => self.wormhole.allocate_code(settings.code_words)?,
            CodeSource::Code(code) => self.wormhole.set_code(code)?,
            CodeSource::Input => {
                let input = self.wormhole.input_code()?;
                self.tell(Event::CodeWanted(input)).await?;
            }
        }
        Ok(())
    }

    /// Waits for what matters, and tells the application the rest. Dropping this loses nothing.
    pub(super) async fn next(&mut self) -> Result<Happening, Error> {
        loop {
            if let Some(message) = self.messages.next() {
                return Ok(Happening::Message(message));
            }
            let news = tokio::select! {
                command = self.commands.recv() => return match command {
                    Some(Command::Cancel) | None => Err(Error::Cancelled),
                    Some(command) => Ok(Happening::Command(command)),
                },
                news = self.news.recv() => news.ok_or(code::Error::Closed)?,
            };
            if let Some(happening) = self.on_news(news).await? {
                return Ok(happening);
            }
        }
    }

    async fn on_news(&mut self, news: News) -> Result<Option<Happening>, Error> {
        let event = match news {
            News::Server(server) => Event::Server(server),
            News::Welcome(welcome) => Event::Welcome(welcome),
            News::ServerLost => Event::ServerLost,
            News::ServerRetry { why, failures, pause } => {
                Event::ServerRetry { why, failures, pause }
            }
            News::ServerFound => Event::ServerFound,
            News::Code(code) => Event::Code(code),
            News::CodeConsumed => Event::CodeConsumed,
            News::Key(key) => {
                self.key = Some(key);
                Event::KeyEstablished
            }
            News::Verifier(verifier) => Event::Verifier(verifier),
            News::Versions(versions) => return Ok(Some(Happening::Versions(versions))),
            News::TooMuch => return Err(PeerMisbehaved::TooManyMessages.into()),
            News::Message(json) => {
                self.backlog.remove(std::mem::replace(&mut self.weight, weight(&json)));
                let messages = Message::decode(&json).map_err(NegotiationError::from)?;
                self.messages = messages.into_iter();
                return Ok(None);
            }
            News::Closed(result) => {
                return Err(result.err().unwrap_or(code::Error::Closed).into());
            }
        };
        self.tell(event).await?;
        Ok(None)
    }

    /// Keeps a message that came before it can be answered.
    pub(super) fn keep(&mut self, message: Message) {
        self.kept.push(message);
        self.kept_weight += std::mem::take(&mut self.weight);
    }

    /// Hands out again what was kept.
    pub(super) fn unkeep(&mut self) {
        self.weight += std::mem::take(&mut self.kept_weight);
        let mut messages = std::mem::take(&mut self.kept);
        messages.extend(&mut self.messages);
        self.messages = messages.into_iter();
    }

    /// Waits for `work`, unless the application or the peer gives up before.
    pub(super) async fn unless_given_up<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            outcome = work => outcome,
            error = self.given_up() => Err(error),
        }
    }

    /// Tells the application; an application that is gone has cancelled.
    pub(super) async fn tell(&self, event: Event) -> Result<(), Error> {
        self.events.send(Ok(event)).await.map_err(|_gone| Error::Cancelled)
    }

    /// Sends the peer a message.
    pub(super) async fn send(&self, message: &Message) -> Result<(), Error> {
        Ok(self.wormhole.send_message(message.encode()).await?)
    }

    /// The key for the connection that carries the data.
    pub(super) fn transit_key(&self) -> Result<TransitKey, Error> {
        let key = self.key.as_ref().ok_or(code::Error::ApiMisuse(code::ApiMisuse::NoKey))?;
        // The reference uses this identifier even when it meets under another one.
        Ok(TransitKey::new(key.transit_key(&AppId::default())))
    }

    /// Waits for a thread that carries data, with progress for the application. If the application
    /// or the peer gives up, the connection is cut.
    pub(super) async fn carry<T>(
        &mut self,
        mut thread: Outcome<T>,
        cutter: &Cutter,
        progress: &Progress,
        mut all_sent: Option<oneshot::Receiver<()>>,
    ) -> Result<T, Error> {
        let is_sender = all_sent.is_some();
        let mut stage = Stage::Carrying;
        let mut tick = interval(PROGRESS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        let mut silence = Silence::default();
        let mut looked = Instant::now();
        let gave_up = loop {
            tokio::select! {
                // A fast receiver has confirmed before anybody looks: still in order.
                biased;
                () = told(&mut all_sent) => stage = Stage::AllWritten,
                outcome = &mut thread => {
                    let outcome = outcome.unwrap_or(Err(Error::NoThread));
                    if outcome.is_ok() {
                        self.tell_arrived(progress, stage).await?;
                    }
                    return self.explain(outcome).await;
                }
                error = self.given_up() => break error,
                _ = tick.tick() => {
                    stage = self.tell_progress(cutter, progress, stage).await?;
                    let now = Instant::now();
                    let elapsed = now - std::mem::replace(&mut looked, now);
                    if silence.is_final(cutter.unanswered(), elapsed) {
                        let (done, total) = (progress.done(), progress.total());
                        break Error::Interrupted { done, total };
                    }
                }
            }
        };
        cutter.cut();
        self.tell_peer(&gave_up).await;
        // A sender's thread may wait for a reader that says nothing, such as a terminal. A
        // receiver's removes what it has written, unless it waits for a writer that is full.
        let _outcome = timeout(if is_sender { READER } else { CLEAN_UP }, thread).await;
        Err(gave_up)
    }

    /// Tells the application how far the transfer is; returns its stage.
    async fn tell_progress(
        &self,
        cutter: &Cutter,
        progress: &Progress,
        stage: Stage,
    ) -> Result<Stage, Error> {
        let outstanding = cutter.outstanding().unwrap_or(0);
        if stage == Stage::AllWritten && progress.has_arrived(outstanding) {
            self.tell_arrived(progress, stage).await?;
            return Ok(Stage::AllArrived);
        }
        if stage != Stage::AllArrived {
            // An application that does not look gets the next one.
            let _unread = self.events.try_send(Ok(progress.event(outstanding)));
        }
        Ok(stage)
    }

    /// Tells the application that everything has arrived, unless it knows.
    async fn tell_arrived(&self, progress: &Progress, stage: Stage) -> Result<(), Error> {
        if stage != Stage::AllArrived {
            self.tell(progress.event(0)).await?;
        }
        if stage == Stage::AllWritten {
            self.tell(Event::AwaitingConfirmation).await?;
        }
        Ok(())
    }

    /// Waits until the application or the peer gives up. Dropping this loses nothing.
    async fn given_up(&mut self) -> Error {
        loop {
            match self.next().await {
                Ok(Happening::Message(Message::Error(text))) => return Error::PeerRefused(text),
                // What comes late changes nothing any more.
                Ok(_) => {}
                Err(Error::Code(_)) => break,
                Err(error) => return error,
            }
        }
        // The data does not need the mailbox; only the application can stop it now.
        while !matches!(self.commands.recv().await, Some(Command::Cancel) | None) {}
        Error::Cancelled
    }

    /// If the connection broke, the peer may have said why over the mailbox.
    async fn explain<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        if !matches!(outcome, Err(Error::Interrupted { .. })) {
            return outcome;
        }
        let said = timeout(EXPLANATION, async {
            loop {
                match self.next().await {
                    Ok(Happening::Message(Message::Error(text))) => break Some(text),
                    Ok(_) => {}
                    Err(_) => break None,
                }
            }
        });
        match said.await {
            Ok(Some(text)) => Err(Error::PeerRefused(text)),
            Ok(None) | Err(_) => outcome,
        }
    }

    /// Tells the peer why we give up, once.
    async fn tell_peer(&mut self, error: &Error) {
        if let Some(text) = error.reply()
            && !std::mem::replace(&mut self.told_peer, true)
        {
            // It fails if the wormhole has ended, and then there is nobody to tell.
            let _ended = self.send(&Message::Error(text)).await;
        }
    }

    /// Ends the transfer: tells the peer, the server, and the application.
    pub(super) async fn finish(mut self, outcome: Result<Report, Error>) {
        let mut mood = None;
        if let Err(error) = &outcome
            && self.key.is_some()
        {
            mood = Some(Mood::Errory);
            self.tell_peer(error).await;
        }
        let (wormhole, events) = (self.wormhole, self.events);
        let close = timeout(CLOSE, async {
            match mood {
                Some(mood) => wormhole.close_with_mood(mood).await,
                None => wormhole.close().await,
            }
        });
        // Success is reported first: what the server still has to say is no concern of the user.
        // An error is reported last: programs tend to exit then. Nobody may be listening.
        if outcome.is_ok() {
            let _gone = events.send(outcome.map(Event::Done)).await;
            let _closed = close.await;
        } else {
            let _closed = close.await;
            let _gone = events.send(outcome.map(Event::Done)).await;
        }
    }
}

/// Decides when a silent peer is gone.
///
/// The system knows when the peer was last heard of, but not since when it owes an answer: after a
/// pause, what has just been sent looks as if it had been unanswered for the whole pause.
#[derive(Debug, Default)]
struct Silence {
    /// For how long every look found something unanswered.
    unanswered: Duration,
}

impl Silence {
    /// Adds what one look found, this long after the look before: the time since the peer was last
    /// heard of, if something is unanswered. Returns whether the peer is gone.
    fn is_final(&mut self, silence: Option<Duration>, elapsed: Duration) -> bool {
        // Whoever did not look for long, such as a stopped program, does not know what happened
        // meanwhile.
        if silence.is_none() || elapsed >= ANSWER {
            self.unanswered = Duration::ZERO;
        } else {
            self.unanswered += elapsed;
        }
        self.unanswered >= ANSWER && silence.is_some_and(|silence| silence >= PEER_GONE)
    }
}

/// How far a thread is that carries data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Something is still to be written, or to be received.
    Carrying,
    /// A sender has written everything.
    AllWritten,
    /// Everything has arrived, and the application was told.
    AllArrived,
}

/// Waits until the thread has sent everything; for ever if it will not say so again.
async fn told(all_sent: &mut Option<oneshot::Receiver<()>>) {
    let outcome = match all_sent {
        Some(receiver) => receiver.await,
        None => std::future::pending().await,
    };
    *all_sent = None;
    if outcome.is_err() {
        // The thread ended before; its outcome says more.
        std::future::pending::<()>().await;
    }
}

/// What the messages weigh that have come and are not done with: the user may take hours to decide,
/// and the peer could fill our memory meanwhile.
#[derive(Default)]
struct Backlog(AtomicUsize);

impl Backlog {
    fn add(&self, weight: usize) -> usize {
        self.0.fetch_add(weight, Ordering::Relaxed).saturating_add(weight)
    }

    fn remove(&self, weight: usize) {
        self.0.fetch_sub(weight, Ordering::Relaxed);
    }
}

/// Bytes of a message, and some for having it.
const fn weight(message: &[u8]) -> usize {
    message.len() + 4096
}

/// What the wormhole reports.
enum News {
    Closed(Result<Closed, code::Error>),
    Code(Code),
    CodeConsumed,
    Key(Key),
    Message(Vec<u8>),
    Server(MailboxUrl),
    ServerFound,
    ServerLost,
    ServerRetry {
        why: LinkFailure,
        failures: u32,
        pause: Duration,
    },
    /// More messages than anybody needs; those after it are lost.
    TooMuch,
    Verifier(Verifier),
    Versions(Value),
    Welcome(Box<Welcome>),
}

/// Puts everything the wormhole reports into one queue, in order.
struct Reporter {
    news: mpsc::UnboundedSender<News>,
    backlog: Arc<Backlog>,
    is_full: bool,
}

impl Reporter {
    fn report(&self, news: News) {
        // The transfer is over when nobody takes it.
        let _over = self.news.send(news);
    }
}

impl Delegate for Reporter {
    fn on_server(&mut self, server: &MailboxUrl) {
        self.report(News::Server(server.clone()));
    }

    fn on_welcome(&mut self, welcome: &Welcome) {
        self.report(News::Welcome(Box::new(welcome.clone())));
    }

    fn on_server_lost(&mut self) {
        self.report(News::ServerLost);
    }

    fn on_server_retry(&mut self, why: &LinkFailure, failures: u32, pause: Duration) {
        self.report(News::ServerRetry { why: why.clone(), failures, pause });
    }

    fn on_server_found(&mut self) {
        self.report(News::ServerFound);
    }

    fn on_code(&mut self, code: &Code) {
        self.report(News::Code(code.clone()));
    }

    fn on_code_consumed(&mut self) {
        self.report(News::CodeConsumed);
    }

    fn on_key(&mut self, key: &Key) {
        self.report(News::Key(key.clone()));
    }

    fn on_verifier(&mut self, verifier: &Verifier) {
        self.report(News::Verifier(*verifier));
    }

    fn on_versions(&mut self, versions: &Value) {
        self.report(News::Versions(versions.clone()));
    }

    fn on_message(&mut self, message: Vec<u8>) {
        if self.is_full {
            return;
        }
        self.is_full = self.backlog.add(weight(&message)) > MAX_BACKLOG;
        self.report(if self.is_full { News::TooMuch } else { News::Message(message) });
    }

    fn on_closed(&mut self, result: &Result<Closed, code::Error>) {
        self.report(News::Closed(result.clone()));
    }
}

/// What our program can do beyond what every program can.
const ABILITIES: [&str; 6] = [
    TRANSFER_ABILITY,
    STREAM_ABILITY,
    FOLDERS_ABILITY,
    ATTRIBUTES_ABILITY,
    OMISSIONS_ABILITY,
    PROGRESS_ABILITY,
];

/// Whether the peer's program says that it can do something.
pub(super) fn can(versions: &Value, ability: &str) -> bool {
    let abilities = versions.get("abilities").and_then(Value::as_array);
    abilities.is_some_and(|abilities| abilities.iter().any(|known| known == ability))
}

/// What the backlog may weigh, in bytes: two of the longest messages that a frame can carry.
const MAX_BACKLOG: usize = 16 << 20;

/// How long the other end of the connection may leave something unanswered. The system itself would
/// try for a quarter of an hour. Together with the time for the last words it is less than a minute.
const PEER_GONE: Duration = Duration::from_secs(45);

/// How long something must have been unanswered without interruption before the peer counts as gone:
/// several round trips of the slowest path. A peer that falls silent while nothing is sent is noticed
/// in time as well only if this is much shorter than [`PEER_GONE`].
const ANSWER: Duration = Duration::from_secs(10);

/// How often an application is told of progress.
const PROGRESS: Duration = Duration::from_millis(100);

/// How long a broken connection waits for the peer's reason.
const EXPLANATION: Duration = Duration::from_secs(1);

/// How long a sender that gave up waits for whatever it reads.
const READER: Duration = Duration::from_millis(500);

/// How long a receiver that gave up is given to remove what it has written.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_pile_up_messages_that_nobody_reads() {
        let (news, mut queue) = mpsc::unbounded_channel();
        let mut reporter = Reporter { news, backlog: Arc::default(), is_full: false };
        for _ in 0..100_000 {
            reporter.on_message(Vec::new());
        }
        let mut count = 0;
        while let Ok(News::Message(_)) = queue.try_recv() {
            count += 1;
        }
        assert_eq!(count, MAX_BACKLOG / weight(&[]));
        assert!(queue.is_empty());
    }

    /// The time after the last sign of life at which a peer counts as gone, if something is sent
    /// at this second and remains unanswered.
    fn gone_after(sent: u64) -> Option<u64> {
        let mut silence = Silence::default();
        let tick = Duration::from_secs(1);
        let seconds = |second| (second >= sent).then_some(Duration::from_secs(second));
        (0..600).find(|&second| silence.is_final(seconds(second), tick))
    }

    #[test]
    fn a_dead_link_is_noticed_in_less_than_a_minute() {
        assert_eq!(gone_after(0), Some(45));
        assert_eq!(gone_after(30), Some(45));
        // The system's own questions end a link that is idle for longer than this.
        assert!(gone_after(45).unwrap() < 60);
    }

    #[test]
    fn what_was_just_sent_after_a_pause_may_be_unanswered() {
        let tick = Duration::from_millis(100);
        let mut silence = Silence::default();
        let pause = Duration::from_secs(50);
        for _ in 0..1000 {
            assert!(!silence.is_final(None, tick));
            // A round trip of some seconds, and its answer.
            for _ in 0..30 {
                assert!(!silence.is_final(Some(pause), tick));
            }
        }
    }

    #[test]
    fn a_program_that_was_stopped_gives_the_peer_time_to_answer() {
        let (tick, stopped) = (Duration::from_secs(1), Duration::from_secs(50));
        let mut silence = Silence::default();
        for _ in 0..100 {
            assert!(!silence.is_final(Some(tick), tick));
        }
        assert!(!silence.is_final(Some(stopped), stopped));
        assert!(!silence.is_final(Some(stopped + tick), tick));
        assert!(!silence.is_final(None, tick));
    }
}
