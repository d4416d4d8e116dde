//! The task that runs a wormhole.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime};

use rand_core::OsRng;
use tokio::sync::{Mutex, mpsc, watch};
use wormhole_kit::Session;
use wormhole_magic::mailbox::message::MAX_FRAME;
use wormhole_magic::mailbox::{MailboxUrl, Mood};
use wormhole_magic::wormhole::{self as core, Closed, Command, Event};

use super::board::{Board, State, Unread};
use super::{Config, Delegate, Error, Wormhole};
use crate::drive::Driver;
use crate::net::{Dialing, Frames, Link, Route, WebSocket};

/// Creates a wormhole and the task that runs it.
pub(super) fn start(config: Config, delegate: Option<Box<dyn Delegate>>) -> Wormhole {
    let (commands, command_queue) = mpsc::unbounded_channel();
    let (outgoing, outgoing_queue) = mpsc::channel(OUTGOING);
    let (messages, incoming) = mpsc::unbounded_channel();
    let (sender, state) = watch::channel(State::default());
    let unread = Arc::new(Unread::default());
    let delegated = delegate.is_some();
    let board = Board { state: sender, messages, unread: Arc::clone(&unread), delegate };
    tokio::spawn(run(config, board, command_queue, outgoing_queue));
    Wormhole {
        commands,
        outgoing,
        incoming: Mutex::new(incoming),
        unread,
        state,
        code_chosen: AtomicBool::new(false),
        delegated,
    }
}

async fn run(
    config: Config,
    mut board: Board,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut outgoing: mpsc::Receiver<Vec<u8>>,
) {
    let route = config.tor.as_ref().map_or_else(Route::default, |tor| tor.route());
    let session = core::Wormhole::new(
        core::Config {
            app_id: config.app_id,
            servers: config.servers,
            app_versions: config.app_versions,
            today: SystemTime::now().into(),
            ..core::Config::default()
        },
        Instant::now(),
        OsRng,
    );
    let mut driver = Driver::new(session, |url| dial(url, route.clone()));
    let end = loop {
        tokio::select! {
            event = driver.next() => match event {
                Ok(Event::Closed(closed)) => break Ok(closed),
                Ok(event) => {
                    let (server, failure) = (driver.session().server(), driver.last_failure());
                    if let Err(error) = board.publish(event, server, failure) {
                        driver.command(Command::Close(Some(Mood::Errory)));
                        break Err(error);
                    }
                }
                Err(error) => break Err(Error::new(error, driver.last_failure())),
            },
            Some(command) = commands.recv() => {
                if matches!(command, Command::Close(_)) {
                    // What was sent before comes before.
                    while let Ok(message) = outgoing.try_recv() {
                        driver.command(Command::Send(message));
                    }
                }
                driver.command(command);
            }
            Some(message) = outgoing.recv(), if driver.session().wants_input() => {
                driver.command(Command::Send(message));
            }
        }
    };
    finish(driver, board, end).await;
}

/// Lets the last words out, then tells how it ended.
async fn finish<S: Session<Changes = Infallible>, D: FnMut(S::Address) -> Dialing>(
    driver: Driver<S, D>,
    board: Board,
    end: Result<Closed, Error>,
) {
    driver.finish().await;
    board.end(end);
}

fn dial(url: MailboxUrl, route: Route) -> Dialing {
    Box::pin(async move {
        let socket = WebSocket::connect(url.as_str(), &route, Frames::Text, MAX_FRAME).await?;
        Ok(Link::WebSocket(Box::new(socket)))
    })
}

/// Messages that may wait for the session to want them.
const OUTGOING: usize = 4;
