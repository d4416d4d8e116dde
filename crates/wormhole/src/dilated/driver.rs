//! The task that runs a dilated wormhole: the session, its sockets, the mailbox and the streams.
//!
//! It does not use [`crate::drive`]: it has to stop reading from one link, to fill another only as fast as it empties,
//! and to reset those that are abandoned.

mod network;
mod streams;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use rand_core::OsRng;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use wormhole_kit::{Input, LinkId, LinkIds, Output, Session};
use wormhole_magic::dilation::{Dilation, DilationCommand, DilationError, DilationEvent};
use wormhole_magic::transit::Target;
use wormhole_magic::wormhole::Command as MailboxCommand;

use super::requests::Request;
use super::{CLOSE_TIMEOUT, Error, Status};
use crate::code::ServerWatch;
use crate::net::addresses::AddressWatch;
use crate::net::tor::Tor;
use crate::net::{LinkEvent, Links, NetLink, Route};
use crate::transit::listen::Listeners;
use crate::transit::{Path, dial};
use streams::Streams;

/// Runs one dilated wormhole.
pub(super) struct DilationDriver {
    session: Dilation<OsRng>,
    links: Links,
    listeners: Listeners,
    incoming: LinkIds,
    /// Notices that this computer is in another network.
    addresses: AddressWatch,
    route: Route,
    mailbox: mpsc::UnboundedSender<MailboxCommand>,
    /// Notices when the connection to the mailbox server is lost or back.
    server: ServerWatch,
    status: watch::Sender<Status>,
    streams: Streams,
    /// Callers that wait until everything is delivered.
    leaving: Option<(Instant, Option<oneshot::Sender<()>>)>,
}

/// The next event.
enum Happened {
    Link(LinkEvent),
    /// The current link has room again.
    Room,
    Accepted(TcpStream),
    /// This computer has other addresses now.
    Moved(BTreeSet<IpAddr>),
    Mailbox(Option<Vec<u8>>),
    /// Whether the mailbox can be reached now.
    MailboxReachable(bool),
    Request(Option<Request>),
    Time,
}

impl DilationDriver {
    pub(super) fn new(
        session: Dilation<OsRng>,
        listeners: Listeners,
        tor: Option<Tor>,
        (mailbox, server): (mpsc::UnboundedSender<MailboxCommand>, ServerWatch),
        status: watch::Sender<Status>,
    ) -> Self {
        let mut links = Links::default();
        links.recycle(Vec::with_capacity(READ));
        Self {
            session,
            links,
            listeners,
            incoming: LinkIds::incoming(),
            addresses: AddressWatch::new(),
            route: tor.map(|tor| tor.route()).unwrap_or_default(),
            mailbox,
            server,
            status,
            streams: Streams::default(),
            leaving: None,
        }
    }

    /// Runs until the session ends, or until the application has closed or dropped the dilated wormhole.
    pub(super) async fn run(
        mut self,
        mut messages: mpsc::Receiver<Vec<u8>>,
        mut requests: mpsc::UnboundedReceiver<Request>,
        sender: mpsc::WeakUnboundedSender<Request>,
    ) {
        let mut has_mailbox = true;
        let end = loop {
            if let Err(error) = self.carry_out(&sender) {
                break error.into();
            }
            let happened = self.wait(&mut messages, &mut requests, has_mailbox).await;
            let now = now();
            let result = match happened {
                Happened::Room => Ok(()),
                Happened::Link(event) => self.on_link(event),
                Happened::Accepted(stream) => {
                    let id = self.incoming.allocate();
                    self.links.insert(id, NetLink::Tcp(stream));
                    self.session.handle(now, Input::Opened(id))
                }
                Happened::Moved(addresses) => self.on_moved(&addresses),
                Happened::Mailbox(Some(message)) => {
                    let command = DilationCommand::Mailbox(message);
                    self.session.handle(now, Input::Command(command))
                }
                Happened::Mailbox(None) => {
                    // Without a mailbox, the connection that we have still works.
                    has_mailbox = false;
                    Ok(())
                }
                Happened::MailboxReachable(reachable) => {
                    let command = DilationCommand::MailboxReachable(reachable);
                    self.session.handle(now, Input::Command(command))
                }
                Happened::Request(request) => self.on_request(request),
                Happened::Time => self.session.handle_timeout(now),
            };
            if let Err(error) = result {
                // The last outputs of the session.
                let _same = self.carry_out(&sender);
                break error.into();
            }
            if self.is_over() {
                let leave = self.session.handle(now, Input::Command(DilationCommand::Leave));
                let _last = leave.and_then(|()| self.carry_out(&sender));
                break Error::Closed;
            }
        };
        self.finish(end, requests).await;
    }

    /// Handles the outputs of the session, and passes data of the streams to it while it wants more.
    fn carry_out(
        &mut self,
        sender: &mpsc::WeakUnboundedSender<Request>,
    ) -> Result<(), DilationError> {
        loop {
            let current = self.session.current();
            let unwritten = current.map_or(0, |link| self.links.unwritten(link));
            self.session.set_congested(unwritten >= MAX_UNWRITTEN);
            match self.session.poll() {
                Some(Output::Connect(id, target)) => {
                    let Target { address, permit } = target;
                    let route = Route { permit, ..self.route.clone() };
                    self.links.dial(id, dial(route, address));
                }
                Some(Output::Send(id, bytes)) => self.links.send(id, bytes),
                Some(Output::Close(id)) => self.close(id),
                Some(Output::Event(event)) => self.on_event(event, sender)?,
                None if self.session.wants_input() => {
                    if !self.streams.write_next(&mut self.session, now())? {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            }
        }
    }

    fn on_event(
        &mut self,
        event: DilationEvent,
        sender: &mpsc::WeakUnboundedSender<Request>,
    ) -> Result<(), DilationError> {
        match event {
            DilationEvent::Mailbox(message) => {
                // A closed wormhole sends nothing.
                let _closed = self.mailbox.send(MailboxCommand::SendDilation(message));
            }
            DilationEvent::HintsWanted => {
                let hints = DilationCommand::Hints(self.hints());
                self.session.handle(now(), Input::Command(hints))?;
            }
            DilationEvent::Connected(route) => {
                let current = self.session.current().and_then(|id| self.links.open(id));
                let path = current.map(|link| Path::new(route, link));
                self.status.send_modify(|status| {
                    status.path = path;
                    status.connections += 1;
                });
            }
            DilationEvent::Disconnected => {
                // The mailbox probably lost its connection for the same reason.
                let _closed = self.mailbox.send(MailboxCommand::Hurry);
                self.status.send_modify(|status| status.path = None);
            }
            DilationEvent::Opened { id, subprotocol } => {
                self.streams.on_opened(id, subprotocol, sender.clone());
            }
            DilationEvent::Data(id, data) => self.streams.on_data(id, data),
            DilationEvent::Finished(id) => self.streams.on_finished(id),
            DilationEvent::Writable(id) => self.streams.on_writable(id),
            // There are no others yet.
            _ => {}
        }
        Ok(())
    }

    async fn wait(
        &mut self,
        messages: &mut mpsc::Receiver<Vec<u8>>,
        requests: &mut mpsc::UnboundedReceiver<Request>,
        has_mailbox: bool,
    ) -> Happened {
        let deadline = self.session.deadline().map(Instant::from_std);
        let leaving = self.leaving.as_ref().map(|(at, _)| *at);
        let deadline = deadline.into_iter().chain(leaving).min();
        let reads = self.session.wants_bytes();
        let congested =
            self.session.current().filter(|id| self.links.unwritten(*id) >= MAX_UNWRITTEN);
        let links = &mut self.links;
        tokio::select! {
            happened = poll_fn(|cx| poll_links(links, cx, reads, congested)) => happened,
            stream = self.listeners.accept() => Happened::Accepted(stream),
            addresses = self.addresses.changed() => Happened::Moved(addresses),
            message = messages.recv(), if has_mailbox => Happened::Mailbox(message),
            reachable = self.server.changed() => Happened::MailboxReachable(reachable),
            request = requests.recv() => Happened::Request(request),
            () = until(deadline) => Happened::Time,
        }
    }

    fn on_link(&mut self, event: LinkEvent) -> Result<(), DilationError> {
        match event {
            LinkEvent::Opened(id) => self.session.handle(now(), Input::Opened(id)),
            LinkEvent::Received(id, bytes) => {
                let result = self.session.handle(now(), Input::Bytes(id, &bytes));
                self.links.recycle(bytes);
                result
            }
            LinkEvent::Lost(id, _) => self.session.handle(now(), Input::Closed(id)),
        }
    }

    fn on_request(&mut self, request: Option<Request>) -> Result<(), DilationError> {
        match request {
            Some(Request::Open(subprotocol, stream)) => {
                self.streams.open(&mut self.session, now(), subprotocol, stream)
            }
            Some(Request::Listen(subprotocol, listener)) => {
                self.streams.listen(subprotocol, listener);
                Ok(())
            }
            Some(Request::Changed(stream)) => {
                self.streams.on_changed(&mut self.session, now(), &stream)
            }
            Some(Request::Leave(done)) => {
                self.leaving = Some((Instant::now() + CLOSE_TIMEOUT, Some(done)));
                Ok(())
            }
            // The application has dropped everything.
            None => {
                self.leaving = Some((Instant::now(), None));
                Ok(())
            }
        }
    }

    /// Whether the application leaves and everything is delivered, or the time for that is over.
    fn is_over(&self) -> bool {
        let Some((at, _)) = self.leaving else { return false };
        let delivered = self.session.is_delivered() && !self.streams.has_data();
        delivered || Instant::now() >= at
    }

    async fn finish(mut self, end: Error, mut requests: mpsc::UnboundedReceiver<Request>) {
        self.status.send_modify(|status| {
            status.path = None;
            status.end = Some(end.clone());
        });
        self.streams.end(&end);
        requests.close();
        while let Ok(request) = requests.try_recv() {
            if let Request::Open(_, stream) = request {
                stream.lock().fail(&end);
            }
        }
        if let Some((_, Some(done))) = self.leaving.take() {
            // The caller may have stopped waiting.
            let _gone = done.send(());
        }
        // Only links that are being closed are left.
        let _late = timeout(LINGER, self.links.finish()).await;
    }
}

/// Polls the links; also ready when a congested one has room again.
fn poll_links(
    links: &mut Links,
    cx: &mut Context<'_>,
    reads: bool,
    congested: Option<LinkId>,
) -> Poll<Happened> {
    if let Poll::Ready(event) = links.poll_next(cx, reads) {
        return Poll::Ready(Happened::Link(event));
    }
    match congested {
        Some(id) if links.unwritten(id) < MAX_UNWRITTEN => Poll::Ready(Happened::Room),
        _ => Poll::Pending,
    }
}

/// The clock of tokio, which also measures the deadlines; tests can pause it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Sleeps until the deadline; indefinitely without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Data in bytes that may wait to be written to the current link. The rest waits in the session.
const MAX_UNWRITTEN: usize = 256 << 10;

/// Number of bytes to read at once.
const READ: usize = 256 << 10;

/// Time limit for closing the last link.
const LINGER: Duration = Duration::from_secs(1);
