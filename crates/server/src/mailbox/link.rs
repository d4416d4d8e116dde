//! One client's link: passes frames between the socket and the protocol rules
//! ([`wormhole_magic::mailbox::server`]), sends requests to the store, and handles answers and messages from it.
//!
//! It is one `poll` function, so that a link needs only one small task. Several frames are written with one system
//! call: the `ack` of a request is sent together with the answer to it.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use wormhole_magic::mailbox::message::Welcome;
use wormhole_magic::mailbox::server::{Answer, Client, Output, Request, RequestId};

use super::actions;
use super::hub::unix_now;
use super::inbox::{Event, Inbox};
use super::service::Service;
use crate::http::websocket::{self, Decoder, Received};
use crate::limits::LinkPermit;
use crate::memory::{GUARANTEED, Share};
use crate::net::{Outgoing, Progress, Stream};

/// The time limits of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkTimeouts {
    /// Silence after which the server sends a ping.
    pub(super) ping: Duration,
    /// Silence after a ping until the link is closed.
    pub(super) pong: Duration,
    /// Time until the client must have sent `bind`; zero means unlimited.
    pub(super) bind: Duration,
    /// Time without a message until the link is closed, even if the client answers pings; zero means unlimited.
    pub(super) idle: Duration,
}

/// A link whose WebSocket handshake is complete.
#[derive(Debug)]
pub(super) struct Link {
    service: Arc<Service>,
    permit: LinkPermit,
    inbox: Arc<Inbox>,
    client: Client,
    stream: Stream,
    decoder: Decoder,
    /// The memory of this link, charged to the client's address.
    share: Share,
    /// The progress of a long incomplete message.
    partial: Option<Box<Partial>>,
    out: Outgoing,
    /// Whether to write now, although the store has not yet answered all requests.
    flush: bool,
    closing: Closing,
    opened: Instant,
    /// When bytes were last received.
    last_received: Instant,
    /// When the last message was received.
    last_message: Instant,
    last_ping: Instant,
}

/// Whether the link is closing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Closing {
    /// The link is not closing.
    No,
    /// It sends a close frame with this code once all earlier requests have been answered.
    AfterAnswers(u16),
    /// It closes once everything has been written.
    AfterWriting,
}

/// The progress of a long incomplete message: the number of received bytes, and their rate.
#[derive(Debug)]
struct Partial {
    bytes: usize,
    progress: Progress,
}

/// The link has ended, and its task must return.
struct LinkEnded;

impl Link {
    /// Creates a link after the WebSocket handshake.
    pub(super) fn new(
        service: Arc<Service>,
        permit: LinkPermit,
        stream: Stream,
        welcome: &Welcome,
    ) -> Self {
        let now = Instant::now();
        let share = service.new_share(&permit);
        let inbox = Arc::new(service.new_inbox(share.for_same_address(0)));
        Self {
            permit,
            inbox,
            client: Client::new(welcome, unix_now()),
            stream,
            decoder: Decoder::new(service.max_frame()),
            share,
            partial: None,
            service,
            out: Outgoing::default(),
            flush: true,
            closing: Closing::No,
            opened: now,
            last_received: now,
            last_message: now,
            last_ping: now,
        }
    }

    /// Serves the client until the link ends. When the server drains, the link first answers the requests that it has
    /// received. `early` contains bytes that the client sent directly after its handshake.
    pub(super) async fn serve(mut self, early: Vec<u8>, draining: &CancellationToken) {
        self.handle_bytes(&early);
        let tick = self.tick_period();
        let mut timer = std::pin::pin!(tokio::time::sleep(tick));
        tokio::select! {
            () = poll_fn(|cx| self.poll_on(cx, timer.as_mut(), tick)) => return,
            () = draining.cancelled() => {}
        }
        self.close_after_answers(websocket::CLOSE_GOING_AWAY);
        poll_fn(|cx| self.poll_on(cx, timer.as_mut(), tick)).await;
    }

    fn poll_on(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        tick: Duration,
    ) -> Poll<()> {
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(tokio::time::Instant::now() + tick);
            if self.tick(Instant::now()).is_err() {
                self.service.counters().unresponsive();
                return Poll::Ready(());
            }
        }
        loop {
            match self.step(cx) {
                Ok(true) => {}
                Ok(false) => {
                    self.before_wait();
                    return Poll::Pending;
                }
                Err(LinkEnded) => return Poll::Ready(()),
            }
        }
    }

    /// Handles everything that is ready; returns false if nothing was.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnded> {
        let mut progress = self.handle_events(cx)?;
        progress |= self.handle_outputs();
        progress |= self.write(cx)?;
        progress |= self.read(cx)?;
        Ok(progress)
    }

    /// Updates the memory count before the task waits.
    fn before_wait(&mut self) {
        self.share.set(self.memory());
        if self.out.is_idle() && !self.client.has_frames() {
            self.out.caught_up();
        }
    }

    /// The memory that the link uses for its client, in bytes.
    fn memory(&self) -> usize {
        self.decoder.buffered() + self.out.buffered() + self.client.held_bytes()
    }

    /// Handles answers and messages from the store.
    fn handle_events(&mut self, cx: &Context<'_>) -> Result<bool, LinkEnded> {
        // Events stay in the inbox until earlier ones have been written. So the inbox's limit bounds all of them.
        let has_room = self.out.unsent() < HIGH_WATER && !self.client.has_frames();
        let events = match self.inbox.poll(cx, has_room) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(events)) => events,
            Poll::Ready(Err(_)) => {
                self.service.counters().unresponsive();
                return Err(LinkEnded);
            }
        };
        let now = unix_now();
        for event in events {
            match event {
                Event::Answer(id, answer) => self.client.handle_answer(now, id, &answer),
                Event::Message(message) => self.client.handle_message(now, message),
                Event::Disconnect => self.close_after_answers(websocket::CLOSE_GOING_AWAY),
            }
        }
        self.flush = true;
        Ok(true)
    }

    /// Passes requests to the store and frames to the output buffer, until too many bytes are unsent.
    fn handle_outputs(&mut self) -> bool {
        let mut progress = false;
        while self.out.unsent() < HIGH_WATER
            && let Some(output) = self.client.poll()
        {
            progress = true;
            match output {
                Output::Request(id, request) => self.submit(id, request),
                Output::Frame(frame) => websocket::text(self.out.end(), &frame),
            }
        }
        if self.client.should_close() {
            self.close_after_answers(websocket::CLOSE_NORMAL);
        }
        if let Closing::AfterAnswers(code) = self.closing
            && self.client.unanswered() == 0
            && self.out.unsent() < HIGH_WATER
        {
            websocket::close(self.out.end(), code);
            self.closing = Closing::AfterWriting;
        }
        progress
    }

    /// Sends a request to the store, unless it can be answered here.
    fn submit(&mut self, id: RequestId, request: Request) {
        let answer = match actions::spend(&self.permit, &request, Instant::now()) {
            Err(refusal) => Some(Answer::Refused(refusal)),
            Ok(()) => {
                let is_recorded = self.service.hub().records_clients();
                (matches!(request, Request::Bind(..)) && !is_recorded).then_some(Answer::Bound)
            }
        };
        match (answer, self.client.identity()) {
            (Some(answer), _) => self.client.handle_answer(unix_now(), id, &answer),
            (None, Some(identity)) => {
                self.service.hub().request(&self.inbox, identity, id, request);
            }
            // A client has no requests before its `bind`, which sets the identity.
            (None, None) => {}
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnded> {
        // The `ack` of a request waits for the answer to it.
        let corked = self.client.unanswered() > 0
            && !self.flush
            && self.out.unsent() < CORK
            && !self.out.is_behind();
        if corked || self.out.is_idle() {
            return Ok(false);
        }
        let written = self.out.poll_write(cx, Pin::new(&mut self.stream), Instant::now());
        if self.out.unsent() == 0 {
            self.flush = false;
        }
        match written {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(_)) => Err(LinkEnded),
            Poll::Ready(Ok(())) if self.out.is_idle() && self.closing == Closing::AfterWriting => {
                Err(LinkEnded)
            }
            Poll::Ready(Ok(())) => Ok(true),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnded> {
        if self.closing != Closing::No
            || self.out.unsent() >= HIGH_WATER
            || !self.client.wants_input()
        {
            return Ok(false);
        }
        let mut space = [MaybeUninit::uninit(); READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut space);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(_)) => Err(LinkEnded),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(LinkEnded),
            Poll::Ready(Ok(())) => {
                self.last_received = Instant::now();
                self.handle_bytes(buffer.filled());
                Ok(true)
            }
        }
    }

    /// Decodes bytes from the client and handles the frames.
    fn handle_bytes(&mut self, mut bytes: &[u8]) {
        let now = unix_now();
        loop {
            match self.decoder.next(&mut bytes) {
                Ok(None) => return self.count_partial(),
                Ok(Some(Received::Message(message))) => {
                    self.last_message = self.last_received;
                    self.service.counters().frame();
                    self.client.handle_frame(now, &message);
                }
                Ok(Some(Received::Oversized(limit))) => {
                    self.last_message = self.last_received;
                    self.client.handle_oversized(now, limit);
                }
                Ok(Some(Received::Skipped)) => {
                    self.last_message = self.last_received;
                    self.client.handle_dropped(now);
                }
                Ok(Some(Received::Ping(content))) => websocket::pong(self.out.end(), &content),
                Ok(Some(Received::Pong)) => {}
                Ok(Some(Received::Close)) => {
                    self.close_after_answers(websocket::CLOSE_NORMAL);
                    return;
                }
                Err(_) => {
                    self.close_after_answers(websocket::CLOSE_PROTOCOL_ERROR);
                    return;
                }
            }
        }
    }

    /// Counts the received bytes of an incomplete message. Skips the message if there is no memory for it.
    fn count_partial(&mut self) {
        let bytes = self.decoder.buffered();
        if bytes <= GUARANTEED {
            self.partial = None;
            return;
        }
        // The message must leave as many bytes free as it uses, so that the other links of the address get some.
        if self.share.try_resize(self.memory(), bytes) {
            let start =
                || Box::new(Partial { bytes: 0, progress: Progress::new(self.last_received) });
            let partial = self.partial.get_or_insert_with(start);
            partial.progress.made(bytes.saturating_sub(partial.bytes), self.last_received);
            partial.bytes = bytes;
        } else {
            self.partial = None;
            self.decoder.skip_message();
        }
    }

    fn close_after_answers(&mut self, code: u16) {
        if self.closing == Closing::No {
            self.closing = Closing::AfterAnswers(code);
        }
    }

    /// Ends a link that exceeds a time limit, and pings a silent client.
    fn tick(&mut self, now: Instant) -> Result<(), LinkEnded> {
        let timeouts = self.service.timeouts();
        let exceeded = |since: Instant, limit: Duration| {
            !limit.is_zero() && now.saturating_duration_since(since) >= limit
        };
        let unbound = self.client.identity().is_none() && exceeded(self.opened, timeouts.bind);
        let dead = exceeded(self.last_received, timeouts.ping + timeouts.pong);
        let stuck = self.out.is_stuck(now)
            || self.partial.as_ref().is_some_and(|partial| partial.progress.is_stuck(now));
        if stuck || unbound || dead || exceeded(self.last_message, timeouts.idle) {
            return Err(LinkEnded);
        }
        if exceeded(self.last_received.max(self.last_ping), timeouts.ping) {
            self.last_ping = now;
            websocket::ping(self.out.end());
            self.flush = true;
        }
        Ok(())
    }

    /// Interval between two calls of [`Link::tick`]: short enough for each time limit, long enough to cost nothing.
    fn tick_period(&self) -> Duration {
        let LinkTimeouts { ping, pong, bind, idle } = self.service.timeouts();
        let limits = [ping, pong, bind, idle].into_iter().filter(|limit| !limit.is_zero());
        (limits.min().unwrap_or(MAX_TICK) / 2).clamp(MIN_TICK, MAX_TICK)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.service.hub().disconnect(self.inbox.number());
        self.service.counters().closed();
    }
}

/// Number of unsent bytes at which the link stops to produce and read more, until its client has read some.
const HIGH_WATER: usize = 64 << 10;

/// Number of unsent bytes at which output no longer waits for further answers.
const CORK: usize = 8 << 10;

/// Number of bytes to read at once, on the stack.
const READ_SIZE: usize = 8 << 10;

const MIN_TICK: Duration = Duration::from_millis(20);
const MAX_TICK: Duration = Duration::from_secs(15);
