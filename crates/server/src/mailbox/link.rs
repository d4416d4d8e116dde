//! One client's link: moves bytes between the socket and the rules, and mail from the store.
//!
//! Written as one `poll`, so that a link costs one small task, and several frames one system call:
//! what was sent to the store is acknowledged together with its answer.

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
use super::memory::{ALWAYS, Share};
use super::service::Service;
use crate::http::websocket::{self, Decoder, Received};
use crate::limits::Pass;
use crate::net::{Outgoing, Progress, Stream};

/// How patient the server is with a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Silence after which the client is pinged.
    pub(super) ping: Duration,
    /// Silence after a ping until the link is cut.
    pub(super) pong: Duration,
    /// Time until the client has to say who it is; zero is any time.
    pub(super) bind: Duration,
    /// Time without a message until the link is cut, pongs or not; zero is any time.
    pub(super) idle: Duration,
}

/// A link that has become a WebSocket.
#[derive(Debug)]
pub(super) struct Link {
    service: Arc<Service>,
    pass: Pass,
    inbox: Arc<Inbox>,
    client: Client,
    stream: Stream,
    decoder: Decoder,
    /// What the link holds of the memory of its address.
    share: Share,
    /// A long message that is not whole yet.
    partial: Option<Box<Partial>>,
    out: Outgoing,
    /// Whether to write even though the store still owes answers.
    flush: bool,
    ending: Ending,
    opened: Instant,
    /// When anything was heard last.
    heard: Instant,
    /// When a message was heard last.
    spoken: Instant,
    pinged: Instant,
}

/// How far the end of a link is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    /// Nobody thinks of it.
    No,
    /// Once everything asked before is answered, with this code.
    AfterAnswers(u16),
    /// Once everything is written.
    AfterWriting,
}

/// A long message that is not whole yet: how much has come, and how fast.
#[derive(Debug)]
struct Partial {
    bytes: usize,
    progress: Progress,
}

/// The link is over.
struct Over;

impl Link {
    /// A link whose handshake is complete.
    pub(super) fn new(
        service: Arc<Service>,
        pass: Pass,
        stream: Stream,
        welcome: &Welcome,
    ) -> Self {
        let now = Instant::now();
        let share = service.new_share(&pass);
        let inbox = Arc::new(service.new_inbox(share.sibling(0)));
        Self {
            pass,
            inbox,
            client: Client::new(welcome, unix_now()),
            stream,
            decoder: Decoder::new(service.max_frame()),
            share,
            partial: None,
            service,
            out: Outgoing::default(),
            flush: true,
            ending: Ending::No,
            opened: now,
            heard: now,
            spoken: now,
            pinged: now,
        }
    }

    /// Serves the client until one end closes the link, or until drained. `early` is what the client sent directly after
    /// its handshake.
    pub(super) async fn serve(mut self, early: Vec<u8>, draining: &CancellationToken) {
        self.take_in(&early);
        let tick = self.tick_period();
        let mut timer = std::pin::pin!(tokio::time::sleep(tick));
        tokio::select! {
            () = poll_fn(|cx| self.poll_on(cx, timer.as_mut(), tick)) => return,
            () = draining.cancelled() => {}
        }
        self.end_after_answers(websocket::CLOSE_GOING_AWAY);
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
                self.service.counters().cut();
                return Poll::Ready(());
            }
        }
        loop {
            match self.step(cx) {
                Ok(true) => {}
                Ok(false) => {
                    self.rest();
                    return Poll::Pending;
                }
                Err(Over) => return Poll::Ready(()),
            }
        }
    }

    /// Does what can be done now; false if nothing can.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        let mut progress = self.take_mail(cx)?;
        progress |= self.carry_out();
        progress |= self.write(cx)?;
        progress |= self.read(cx)?;
        Ok(progress)
    }

    /// Counts what is held while nothing can be done.
    fn rest(&mut self) {
        self.share.set(self.held());
        if self.out.is_idle() && !self.client.has_frames() {
            self.out.caught_up();
        }
    }

    /// Bytes that the link holds for its client.
    fn held(&self) -> usize {
        self.decoder.held() + self.out.held() + self.client.held_bytes()
    }

    fn take_mail(&mut self, cx: &Context<'_>) -> Result<bool, Over> {
        // What is on its way goes first; so the inbox's limit holds for all that waits.
        let room = self.out.unsent() < HIGH_WATER && !self.client.has_frames();
        let events = match self.inbox.poll(cx, room) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(events)) => events,
            Poll::Ready(Err(_)) => {
                self.service.counters().cut();
                return Err(Over);
            }
        };
        let now = unix_now();
        for event in events {
            match event {
                Event::Answer(id, answer) => self.client.handle_answer(now, id, &answer),
                Event::Message(message) => self.client.handle_message(now, message),
                Event::Disconnect => self.end_after_answers(websocket::CLOSE_GOING_AWAY),
            }
        }
        self.flush = true;
        Ok(true)
    }

    /// Hands requests to the store and frames to the socket, as long as the socket takes them.
    fn carry_out(&mut self) -> bool {
        let mut progress = false;
        while self.out.unsent() < HIGH_WATER
            && let Some(output) = self.client.poll()
        {
            progress = true;
            match output {
                Output::Request(id, request) => self.ask(id, request),
                Output::Frame(frame) => websocket::text(self.out.end(), &frame),
            }
        }
        if self.client.should_close() {
            self.end_after_answers(websocket::CLOSE_NORMAL);
        }
        if let Ending::AfterAnswers(code) = self.ending
            && self.client.unanswered() == 0
            && self.out.unsent() < HIGH_WATER
        {
            websocket::close(self.out.end(), code);
            self.ending = Ending::AfterWriting;
        }
        progress
    }

    fn ask(&mut self, id: RequestId, request: Request) {
        let answer = match actions::spend(&self.pass, &request, Instant::now()) {
            Err(refusal) => Some(Answer::Refused(refusal)),
            Ok(()) => {
                let is_recorded = self.service.hub().records_clients();
                (matches!(request, Request::Bind(..)) && !is_recorded).then_some(Answer::Bound)
            }
        };
        match (answer, self.client.identity()) {
            (Some(answer), _) => self.client.handle_answer(unix_now(), id, &answer),
            (None, Some(who)) => self.service.hub().request(&self.inbox, who, id, request),
            // Only a client that has said who it is can ask for anything.
            (None, None) => {}
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        // Acknowledgements wait for the answers that follow them.
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
            Poll::Ready(Err(_)) => Err(Over),
            Poll::Ready(Ok(())) if self.out.is_idle() && self.ending == Ending::AfterWriting => {
                Err(Over)
            }
            Poll::Ready(Ok(())) => Ok(true),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        if self.ending != Ending::No
            || self.out.unsent() >= HIGH_WATER
            || !self.client.wants_input()
        {
            return Ok(false);
        }
        let mut space = [MaybeUninit::uninit(); READ_SIZE];
        let mut buffer = ReadBuf::uninit(&mut space);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(_)) => Err(Over),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Err(Over),
            Poll::Ready(Ok(())) => {
                self.heard = Instant::now();
                self.take_in(buffer.filled());
                Ok(true)
            }
        }
    }

    /// Takes in bytes of the client.
    fn take_in(&mut self, mut bytes: &[u8]) {
        let now = unix_now();
        loop {
            match self.decoder.next(&mut bytes) {
                Ok(None) => return self.weigh_partial(),
                Ok(Some(Received::Message(message))) => {
                    self.spoken = self.heard;
                    self.service.counters().frame();
                    self.client.handle_frame(now, &message);
                }
                Ok(Some(Received::Oversized(limit))) => {
                    self.spoken = self.heard;
                    self.client.handle_oversized(now, limit);
                }
                Ok(Some(Received::Dropped)) => {
                    self.spoken = self.heard;
                    self.client.handle_dropped(now);
                }
                Ok(Some(Received::Ping(content))) => websocket::pong(self.out.end(), &content),
                Ok(Some(Received::Pong)) => {}
                Ok(Some(Received::Close)) => {
                    self.end_after_answers(websocket::CLOSE_NORMAL);
                    return;
                }
                Err(_) => {
                    self.end_after_answers(websocket::CLOSE_PROTOCOL_ERROR);
                    return;
                }
            }
        }
    }

    /// Counts what has come of a message that is not whole yet, and drops it once there is no room.
    fn weigh_partial(&mut self) {
        let bytes = self.decoder.held();
        if bytes <= ALWAYS {
            self.partial = None;
            return;
        }
        // It leaves as much free as it takes: so all links of an address get something.
        if self.share.grow(self.held(), bytes) {
            let begun = || Box::new(Partial { bytes: 0, progress: Progress::new(self.heard) });
            let partial = self.partial.get_or_insert_with(begun);
            partial.progress.made(bytes.saturating_sub(partial.bytes), self.heard);
            partial.bytes = bytes;
        } else {
            self.partial = None;
            self.decoder.pass_over();
        }
    }

    fn end_after_answers(&mut self, code: u16) {
        if self.ending == Ending::No {
            self.ending = Ending::AfterAnswers(code);
        }
    }

    /// Looks after silent links.
    fn tick(&mut self, now: Instant) -> Result<(), Over> {
        let patience = self.service.patience();
        let exceeded = |since: Instant, limit: Duration| {
            !limit.is_zero() && now.saturating_duration_since(since) >= limit
        };
        let unbound = self.client.identity().is_none() && exceeded(self.opened, patience.bind);
        let dead = exceeded(self.heard, patience.ping + patience.pong);
        let stuck = self.out.is_stuck(now)
            || self.partial.as_ref().is_some_and(|partial| partial.progress.is_stuck(now));
        if stuck || unbound || dead || exceeded(self.spoken, patience.idle) {
            return Err(Over);
        }
        if exceeded(self.heard.max(self.pinged), patience.ping) {
            self.pinged = now;
            websocket::ping(self.out.end());
            self.flush = true;
        }
        Ok(())
    }

    /// How often to look: often enough for each limit, seldom enough to cost nothing.
    fn tick_period(&self) -> Duration {
        let Patience { ping, pong, bind, idle } = self.service.patience();
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

/// Unsent bytes beyond which the link makes no more: its client has to read first.
const HIGH_WATER: usize = 64 << 10;

/// Unsent bytes beyond which they are not held back any longer.
const CORK: usize = 8 << 10;

/// Bytes read at once, on the stack.
const READ_SIZE: usize = 8 << 10;

const MIN_TICK: Duration = Duration::from_millis(20);
const MAX_TICK: Duration = Duration::from_secs(15);
