//! `share`: both sides offer files and directories to each other (docs/dilated-transfer.md).

mod line;
mod report;

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::interval;
use wormhole::code::{self, Code};
use wormhole::dilated;
use wormhole::transfer::share::{self, Event, Session, TransferId};
use wormhole::transfer::{Destination, OnExists, Outgoing, Settings};

use crate::args::ShareArgs;
use crate::config::Config;
use crate::console::{Console, interrupted_by};
use crate::conversation::{End, Input, InputEnd, Style};
use crate::failure::Failure;
use crate::request::{self, Servers};
use crate::setup::{self, Opened};
use crate::signals::Signal;
use crate::tor::TorChoice;
use crate::{code_review, explain, json, printable, progress, receive, send};
use line::TypedLine;
use report::{EditorLine, Report};

/// Shares until both sides are done.
///
/// # Errors
/// The options are wrong, a path cannot be offered, the session failed, something was not transferred, or a signal came.
pub(crate) async fn run(
    args: ShareArgs,
    servers: &Servers,
    config: &Config,
    console: &mut Console,
) -> Result<()> {
    let tor = TorChoice::new(&args.connection.tor, config)?;
    let mut settings = setup::settings(servers, &args.connection, args.code_length, config)?;
    let folder = folder(args.output.clone(), config)?;
    let (code, paths) = code_and_paths(args.words, &mut settings)?;
    if let Some(code) = &code {
        code_review::confirm(code, console).await?;
    }
    receive::show_leftovers(&folder, None, &console.screen);
    settings.tor = tor.connect(console).await?;
    let standard = code::Config { app_id: settings.app_id.clone(), ..share::config() };
    let opened = setup::open(standard, &settings, code.as_ref(), console).await?;
    let Opened { wormhole, code: made, server } = opened;
    let mut connection = setup::connection(&settings);
    connection.patience = Some(args.patience.map_or(settings.patience, Duration::from_secs));
    let limits =
        share::Settings { connection, max_entries: args.max_entries.or(config.max_entries) };
    let session = share::start(wormhole, limits);
    let report = Report::new(server);
    let mut sharing = Sharing {
        session,
        report,
        folder,
        accepts_all: args.accept_all,
        open: VecDeque::new(),
        asked: None,
        is_withdrawn: false,
        has_finished: false,
        peer_has_finished: false,
    };
    if let Err(error) = sharing.offer_all(paths, console).await {
        sharing.session.close().await;
        return Err(error);
    }
    if code.is_none() {
        show_code(&made, servers, console)?;
    }
    sharing.run(console).await
}

/// The directory for received files.
fn folder(typed: Option<PathBuf>, config: &Config) -> Result<PathBuf> {
    let folder = typed.or_else(|| config.download_dir.clone()).unwrap_or_else(|| ".".into());
    if folder.is_dir() {
        return Ok(folder);
    }
    let folder = printable::path(&folder);
    Err(Failure::usage(format!("'{folder}' is not a directory")).into())
}

/// Takes the code from the first argument, if it looks like one.
fn code_and_paths(
    mut words: Vec<PathBuf>,
    settings: &mut Settings,
) -> Result<(Option<Code>, Vec<PathBuf>)> {
    let first = words.first().and_then(|first| first.to_str()).map(str::to_owned);
    let code = match first {
        Some(typed) if request::code_or_link(&typed).is_ok() => {
            words.remove(0);
            Some(request::code(&typed, settings)?)
        }
        _ => None,
    };
    for path in &words {
        if let Err(error) = path.metadata() {
            let (path, text) = (printable::path(path), error.to_string());
            let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
            return Err(Failure::new(format!("cannot offer '{path}': {text}"))
                .hint("the arguments are a code such as 7-guitarist-revenge, and paths")
                .into());
        }
    }
    Ok((code, words))
}

fn show_code(code: &Code, servers: &Servers, console: &Console) -> Result<()> {
    let code = code.to_string();
    let command = servers.other_side(["share", &code]);
    console.screen.show(&format!("Wormhole code is: {}", printable::text(&code)));
    console.screen.show(&format!("On the other computer, please run:\n\n{command}\n"));
    console.report(&serde_json::json!({"event": "code", "code": code}))
}

/// A running session.
struct Sharing {
    session: Session,
    report: Report,
    folder: PathBuf,
    accepts_all: bool,
    /// Offers of the other side that wait for an answer, the oldest first.
    open: VecDeque<TransferId>,
    /// The offer that the last question is about, and until when an answer may be meant for a withdrawn one.
    asked: Option<(TransferId, Instant)>,
    /// Whether the other side has withdrawn an offer while the user was asked about it.
    is_withdrawn: bool,
    /// Whether the user offers nothing more.
    has_finished: bool,
    /// Whether the other side offers nothing more.
    peer_has_finished: bool,
}

/// What comes next.
enum Step {
    Event(Option<Result<Event, share::Error>>),
    Line(Option<io::Result<String>>),
    End(InputEnd),
    Signal(Signal),
    Tick,
}

impl Sharing {
    async fn run(mut self, console: &mut Console) -> Result<()> {
        let style = Style {
            event: |shown: &EditorLine| shown.text.clone(),
            own: |line| format!("> {line}\n"),
            is_state: |shown| shown.is_state,
            replaces_state: |_| true,
            too_many: "This line was not taken: too many wait.",
        };
        let (editor, to_show) = mpsc::channel(1);
        let mut input = Input::open(to_show, style, console);
        self.report.editor = input.to_show.is_none().then_some(editor);
        if self.report.editor.is_some() {
            self.report.line(USAGE, console).await;
        }
        let outcome = self.follow(&mut input, console).await;
        // From here on, the terminal is in its usual mode.
        if outcome.is_err() && self.report.editor.take().is_some() {
            console.screen.end_prompt();
        }
        drop(input);
        self.report.editor = None;
        console.screen.end_status();
        self.report.end(console)?;
        if let Err(error) = outcome {
            tokio::select! {
                kept = self.session.close() => {
                    kept.iter().for_each(|path| console.screen.show(&progress::kept(path)));
                }
                _ = console.next_signal() => {}
            }
            return Err(error);
        }
        match self.report.failed + self.report.incomplete {
            0 => Ok(()),
            _ => Err(Failure::new("not everything was transferred").into()),
        }
    }

    /// Follows the session until its end.
    async fn follow(&mut self, input: &mut Input<EditorLine>, console: &mut Console) -> Result<()> {
        let mut tick = interval(PROGRESS_INTERVAL);
        let mut reads = true;
        loop {
            let step = tokio::select! {
                biased;
                signal = console.next_signal() => Step::Signal(signal),
                // The user comes first, whatever the other side sends.
                end = ended(&mut input.end), if reads => Step::End(end),
                line = input.lines.recv(), if reads => Step::Line(line),
                event = self.session.next() => Step::Event(event),
                _ = tick.tick() => Step::Tick,
            };
            match step {
                Step::Event(Some(Ok(event))) => self.on_event(&event, console).await?,
                Step::Event(Some(Err(error))) => return Err(failure(&error, &self.report.server)),
                Step::Event(None) => return Ok(()),
                Step::Line(Some(line)) => {
                    let line = line.context("cannot read standard input")?;
                    self.on_line(&line, console).await?;
                }
                Step::End(InputEnd::EndOfInput) | Step::Line(None) => {
                    reads = false;
                    for line in input.rest().collect::<Vec<_>>() {
                        self.on_line(&line, console).await?;
                    }
                    self.finish(console).await;
                }
                Step::End(InputEnd::Failed(error)) => {
                    return Err(error).context("cannot read the terminal");
                }
                Step::End(InputEnd::Interrupted) => {
                    return Err(interrupted_by(Signal::Interrupt).into());
                }
                Step::Signal(signal) => return Err(interrupted_by(signal).into()),
                Step::Tick => self.report.show_progress(console).await,
            }
        }
    }

    async fn on_event(&mut self, event: &Event, console: &Console) -> Result<()> {
        self.report.show(event, console).await?;
        match event {
            Event::Offered { id, offer } if self.accepts_all => {
                let is_hidden = offer.name().is_some_and(|name| name.as_sent().starts_with('.'));
                if is_hidden { self.session.refuse(*id) } else { self.accept(*id) }
            }
            Event::Offered { id, .. } => {
                self.open.push_back(*id);
                self.ask(console).await?;
            }
            Event::Failed { id, .. } => {
                self.open.retain(|open| open != id);
                if self.asked.take_if(|(asked, _)| asked == id).is_some() {
                    self.is_withdrawn = true;
                }
                self.ask(console).await?;
            }
            Event::PeerFinished => {
                self.peer_has_finished = true;
                if !self.has_finished && self.report.editor.is_some() {
                    self.report
                        .line("Type done to end, or another path to offer it.", console)
                        .await;
                }
            }
            Event::Accepted(_)
            | Event::Connected(_)
            | Event::ConnectionLost
            | Event::Done { .. }
            | Event::Progress { .. }
            | Event::Resuming { .. } => {}
            // Later events need no answer.
            _ => {}
        }
        Ok(())
    }

    /// Asks about the oldest offer, unless the user is asked already.
    async fn ask(&mut self, console: &Console) -> Result<()> {
        let (None, Some(id)) = (self.asked, self.open.front().copied()) else { return Ok(()) };
        let wait = if self.is_withdrawn { ANSWER_WAIT } else { Duration::ZERO };
        self.asked = Some((id, Instant::now() + wait));
        let question = format!("Accept {}? Type y or n.", self.report.name(id));
        self.report.line(&question, console).await;
        console.report(&json::question_about_offer(id.number()))
    }

    /// Answers an offer: the one with this number, or the one that the user was asked about.
    async fn answer(
        &mut self,
        accepts: bool,
        number: Option<u64>,
        console: &Console,
    ) -> Result<()> {
        let id = match (number, self.asked) {
            (Some(number), _) => self.open.iter().copied().find(|id| id.number() == number),
            (None, Some((_, from))) if Instant::now() < from => {
                self.asked = None;
                let text = "The other side has withdrawn an offer, so this was not taken.";
                self.report.line(text, console).await;
                return self.ask(console).await;
            }
            (None, asked) => asked.map(|(id, _)| id),
        };
        let Some(id) = id else {
            self.report.line("There is no such offer to answer.", console).await;
            return Ok(());
        };
        let verb = if accepts { "Accepting" } else { "Refusing" };
        self.report.line(&format!("{verb} {}.", self.report.name(id)), console).await;
        if accepts {
            self.accept(id);
        } else {
            self.session.refuse(id);
        }
        self.open.retain(|open| *open != id);
        if self.asked.take_if(|(asked, _)| *asked == id).is_some() {
            self.is_withdrawn = false;
        }
        self.ask(console).await
    }

    fn accept(&self, id: TransferId) {
        let (folder, on_exists) = (self.folder.clone(), OnExists::KeepBoth);
        self.session.accept(id, Destination::Folder { folder, on_exists });
    }

    async fn on_line(&mut self, typed: &str, console: &Console) -> Result<()> {
        match TypedLine::parse(typed) {
            TypedLine::Empty => {}
            TypedLine::Done => self.finish(console).await,
            TypedLine::Answer(accepts, number) => self.answer(accepts, number, console).await?,
            TypedLine::Paths(paths) => {
                for path in paths {
                    if let Err(error) = self.offer(&path, console).await {
                        self.report.line(&format!("{error:#}"), console).await;
                    }
                }
            }
        }
        Ok(())
    }

    async fn finish(&mut self, console: &Console) {
        self.session.finish();
        if !std::mem::replace(&mut self.has_finished, true) && !self.peer_has_finished {
            self.report.line("Waiting until the other side is done, too.", console).await;
        }
    }

    async fn offer_all(&mut self, paths: Vec<PathBuf>, console: &Console) -> Result<()> {
        for path in paths {
            self.offer(&path, console).await?;
        }
        Ok(())
    }

    async fn offer(&mut self, path: &Path, console: &Console) -> Result<()> {
        let offered = self.session.offer(Outgoing::Paths(vec![path.to_owned()])).await;
        let (id, offer, skipped) =
            offered.map_err(|error| explain::failure(&error, &self.report.server))?;
        for line in send::skipped(&skipped) {
            self.report.line(&line, console).await;
        }
        let mut value = json::sending(&offer);
        json::set(&mut value, "id", id.number());
        console.report(&value)?;
        let described = self.report.remember(id, &offer);
        self.report.line(&format!("Offering {described}"), console).await;
        Ok(())
    }
}

/// Waits for the end of the input at a terminal.
async fn ended(end: &mut Option<oneshot::Receiver<End>>) -> InputEnd {
    match end {
        Some(end) => end.await.map_or(InputEnd::EndOfInput, |end| end.how),
        None => pending().await,
    }
}

fn failure(error: &share::Error, server: &str) -> anyhow::Error {
    let failure = match error {
        share::Error::Dilated(dilated::Error::Wormhole(error)) => {
            return explain::rendezvous(error, server).into();
        }
        share::Error::PeerCannotShare => Failure::new(error.to_string())
            .hint("run `wormhole share` on the other computer, too; nothing was transferred"),
        share::Error::Dilated(dilated::Error::Ended(_)) => Failure::new(error.to_string())
            .hint("offer what is missing again in a new session: it continues"),
        // Others, and later ones, explain themselves.
        share::Error::Dilated(_) | _ => Failure::new(error.to_string()),
    };
    failure.into()
}

/// How to use the prompt.
const USAGE: &str = "Type a path, or drop files here, to offer them. Type done when you have nothing more to offer.";

/// After an offer was withdrawn, an answer to the next question that comes earlier may be meant for the withdrawn one.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Time between two updates of the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
