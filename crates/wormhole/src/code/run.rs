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

use super::events::{self, Events};
use super::publisher::{MAX_UNREAD_DILATION, Publisher, Subscriber, Unread};
use super::status::Status;
use super::{Config, Delegate, Error, Incoming, Wormhole};
use crate::drive::Driver;
use crate::net::tcp::Effort;
use crate::net::{Dialing, Frames, NetLink, Route, WebSocket};

/// Starts a wormhole whose messages are read with `receive_message`.
pub(super) fn start(config: Config) -> Wormhole {
    let (queue, messages) = mpsc::unbounded_channel();
    let unread = Arc::new(Unread::default());
    let subscriber = Subscriber::Messages { queue, unread: Arc::clone(&unread) };
    let incoming = Incoming { messages: Mutex::new(messages), unread };
    start_task(config, subscriber, Some(incoming), false)
}

/// Starts a wormhole that can be dilated, whose messages are read with `receive_message`.
pub(super) fn start_dilatable(config: Config) -> Wormhole {
    let (queue, messages) = mpsc::unbounded_channel();
    let unread = Arc::new(Unread::default());
    let subscriber = Subscriber::Messages { queue, unread: Arc::clone(&unread) };
    let incoming = Incoming { messages: Mutex::new(messages), unread };
    start_task(config, subscriber, Some(incoming), true)
}

/// Starts a wormhole that calls the methods of a delegate.
pub(super) fn start_with_delegate(config: Config, delegate: Box<dyn Delegate>) -> Wormhole {
    start_task(config, Subscriber::Delegate(delegate), None, false)
}

/// Starts a wormhole with one queue for all events.
pub(super) fn start_with_events(config: Config, can_dilate: bool) -> (Wormhole, Events) {
    let (sender, events) = events::queue();
    (start_task(config, Subscriber::Events(sender), None, can_dilate), events)
}

/// Creates a wormhole and the task that runs it.
fn start_task(
    config: Config,
    subscriber: Subscriber,
    incoming: Option<Incoming>,
    can_dilate: bool,
) -> Wormhole {
    let (commands, command_queue) = mpsc::unbounded_channel();
    let (outgoing, outgoing_queue) = mpsc::channel(OUTGOING);
    let (sender, status) = watch::channel(Status::default());
    let (dilation, dilation_queue) = mpsc::channel(MAX_UNREAD_DILATION);
    let dilation = can_dilate.then_some(dilation);
    let publisher = Publisher { status: sender, subscriber, dilation };
    let versions_size = config.app_versions.to_string().len();
    let tor = config.tor.clone();
    tokio::spawn(run(config, publisher, command_queue, outgoing_queue));
    Wormhole {
        commands,
        outgoing,
        incoming,
        status,
        code_chosen: AtomicBool::new(false),
        versions_size,
        dilation: can_dilate.then_some(dilation_queue),
        tor,
    }
}

async fn run(
    config: Config,
    mut publisher: Publisher,
    mut commands: mpsc::UnboundedReceiver<Command>,
    mut outgoing: mpsc::Receiver<Vec<u8>>,
) {
    let route = config.tor.as_ref().map_or_else(Route::default, |tor| tor.route());
    let route = Route { effort: Effort::Repeated, ..route };
    let session = core::Wormhole::new(
        core::Config {
            app_id: config.app_id,
            servers: config.servers,
            app_versions: config.app_versions,
            can_dilate: publisher.dilation.is_some(),
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
                    if let Err(error) = publisher.publish(event, driver.last_failure()) {
                        driver.command(Command::Close(Some(Mood::Errory)));
                        break Err(error);
                    }
                }
                Err(error) => break Err(Error::new(error, driver.last_failure())),
            },
            Some(command) = commands.recv() => {
                if matches!(command, Command::Close(_)) {
                    // Send the messages first that were queued before this command.
                    while let Ok(message) = outgoing.try_recv() {
                        driver.command(Command::Send(message));
                    }
                }
                if matches!(command, Command::Hurry) {
                    driver.drop_links_without_address();
                }
                driver.command(command);
            }
            Some(message) = outgoing.recv(), if driver.session().wants_input() => {
                driver.command(Command::Send(message));
            }
        }
    };
    finish(driver, publisher, end).await;
}

/// Sends everything that is left, then publishes the result.
async fn finish<S: Session<Changes = Infallible>, D: FnMut(S::Address) -> Dialing>(
    driver: Driver<S, D>,
    publisher: Publisher,
    end: Result<Closed, Error>,
) {
    driver.finish().await;
    publisher.end(end);
}

fn dial(url: MailboxUrl, route: Route) -> Dialing {
    Box::pin(async move {
        let socket = WebSocket::connect(url.as_str(), &route, Frames::Text, MAX_FRAME).await?;
        Ok(NetLink::WebSocket(Box::new(socket)))
    })
}

/// Maximum number of messages that wait for the session.
const OUTGOING: usize = 4;
