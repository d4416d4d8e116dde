//! The server's session with one client: handles frames, and outputs requests to the store and frames to send.
//!
//! It stores nothing and knows no other clients. Rules and error messages are those of
//! magic-wormhole-mailbox-server 0.8.0, with one difference: after any invalid message, the client receives an
//! `error` and stays connected. (mailbox protocol, "Messages", "Error strings")
//!
//! ```text
//! handle_frame ──► Client ──► poll: Output::Request(id, Request) ──► store
//!                         ◄── handle_answer(id, Answer) ◄─────────────┘
//!                         ──► poll: Output::Frame(json)
//! ```
//!
//! Frames are sent in the order in which the Python server would send them: the answer to a later message waits
//! until the store has answered the earlier ones.

mod echo;
mod fault;
mod frame;
mod reply;
mod slots;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::value::RawValue;
use wormhole_kit::UnixTime;

use super::hashcash;
use super::message::{HashcashDemand, Welcome};
pub use echo::{MAX_ECHO, MAX_ID};
pub use fault::{Fault, MAX_NAME, Refusal};
use frame::Frame;
use reply::Reply;
use slots::{Slot, Slots};

/// The state of one client connection.
#[derive(Debug)]
pub struct Client {
    /// Required proof of work before `bind`, if it has not been provided yet.
    demand: Option<HashcashDemand>,
    identity: Option<Arc<Identity>>,
    allocated: bool,
    /// The nameplate of the only claim on this connection.
    nameplate: Option<String>,
    released: bool,
    /// The mailbox that was last opened, successfully or not.
    mailbox: Option<String>,
    open: bool,
    closed: bool,
    dismissed: bool,
    slots: Slots,
    requests: VecDeque<(RequestId, Request)>,
}

/// The identity of a bound client.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Identity {
    /// The application; each has its own nameplates and mailboxes.
    pub app: String,
    /// The side of the mailbox.
    pub side: String,
}

impl Identity {
    /// A side of an application.
    pub const fn new(app: String, side: String) -> Self {
        Self { app, side }
    }
}

/// The identifier of a request to the store.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(u64);

/// A request to the store, checked as far as possible without the store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Store a message and send it to everyone who has the mailbox open.
    Add {
        /// The mailbox. The side may be neither of its two: the store checks that.
        mailbox: String,
        /// The message.
        message: NewMessage,
    },
    /// Pick a free nameplate and claim it.
    Allocate,
    /// Record a client with the name and version of its program.
    Bind(Option<String>, Option<String>),
    /// Claim a nameplate.
    Claim(String),
    /// Close a mailbox (after opening it, if necessary) with a mood.
    Close {
        /// The mailbox.
        mailbox: String,
        /// The mood as the client sent it.
        mood: Option<String>,
    },
    /// List the nameplates in use.
    List,
    /// Open a mailbox and receive its messages.
    Open(String),
    /// Release a nameplate.
    Release(String),
}

impl Request {
    /// Approximate size in memory, in bytes.
    pub const fn bytes(&self) -> usize {
        let texts = match self {
            Self::Add { mailbox, message: NewMessage { phase, body, id } } => {
                mailbox.len() + phase.len() + body.len() + id.len()
            }
            Self::Claim(name) | Self::Open(name) | Self::Release(name) => name.len(),
            Self::Close { mailbox, .. } => mailbox.len(),
            Self::Allocate | Self::Bind(..) | Self::List => 0,
        };
        OVERHEAD + texts
    }
}

/// A message to be added to a mailbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NewMessage {
    /// Its name.
    pub phase: String,
    /// Its content.
    pub body: String,
    /// The `id` of the `add`, as JSON text.
    pub id: String,
}

impl NewMessage {
    /// Creates a message with the JSON text of its `id`.
    pub const fn new(phase: String, body: String, id: String) -> Self {
        Self { phase, body, id }
    }
}

/// A message in a mailbox.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMessage {
    /// The side that added it.
    pub side: String,
    /// The message.
    pub message: NewMessage,
    /// When it was added.
    pub server_rx: UnixTime,
}

impl StoredMessage {
    /// Creates a message that `side` added at `server_rx`.
    pub const fn new(side: String, message: NewMessage, server_rx: UnixTime) -> Self {
        Self { side, message, server_rx }
    }

    /// Approximate size in memory, in bytes.
    pub const fn bytes(&self) -> usize {
        let NewMessage { phase, body, id } = &self.message;
        OVERHEAD + self.side.len() + phase.len() + body.len() + id.len()
    }
}

/// The store's answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The message is stored. This copy is for its author; others receive it separately.
    Added(Arc<StoredMessage>),
    /// This nameplate was allocated and claimed.
    Allocated(String),
    /// The client is recorded.
    Bound,
    /// The nameplate is claimed, and this is its mailbox.
    Claimed(String),
    /// The mailbox is closed.
    Closed,
    /// The nameplates in use, sorted.
    Nameplates(Vec<String>),
    /// The mailbox is open and contains these messages.
    Opened(Vec<Arc<StoredMessage>>),
    /// The request was rejected.
    Refused(Refusal),
    /// The nameplate is released.
    Released,
}

impl Answer {
    /// Approximate size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Added(stored) => stored.bytes(),
            Self::Opened(messages) => messages.iter().map(|stored| stored.bytes()).sum(),
            Self::Nameplates(names) => {
                names.iter().map(|name| size_of::<String>() + name.len()).sum()
            }
            Self::Allocated(_)
            | Self::Bound
            | Self::Claimed(_)
            | Self::Closed
            | Self::Refused(_)
            | Self::Released => 0,
        }
    }
}

/// Outputs of a [`Client`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Send this text frame.
    Frame(String),
    /// Pass this request to the store, in this order, for [`Client::identity`].
    Request(RequestId, Request),
}

impl Client {
    /// Creates the session, which begins with a `welcome`.
    pub fn new(welcome: &Welcome, now: UnixTime) -> Self {
        let demand = welcome.permission_required.as_ref().and_then(|ways| match ways.none {
            Some(_) => None,
            None => ways.hashcash.clone(),
        });
        let mut slots = Slots::default();
        slots.push(Reply::Welcome { welcome }.encode(now));
        Self {
            demand,
            identity: None,
            allocated: false,
            nameplate: None,
            released: false,
            mailbox: None,
            open: false,
            closed: false,
            dismissed: false,
            slots,
            requests: VecDeque::new(),
        }
    }

    /// The identity of the client; `None` before `bind`.
    pub const fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Whether to close the connection after everything has been sent.
    pub const fn should_close(&self) -> bool {
        self.dismissed
    }

    /// Number of requests without an answer from the store.
    pub fn unanswered(&self) -> usize {
        self.slots.unanswered()
    }

    /// Whether a frame can be polled.
    pub fn has_frames(&self) -> bool {
        self.slots.is_ready()
    }

    /// Whether to pass more frames, or to wait because too many requests are unanswered.
    pub fn wants_input(&self) -> bool {
        !self.dismissed
            && self.slots.unanswered() < MAX_UNANSWERED
            && self.slots.held_bytes() + self.slots.asked_bytes() < MAX_HELD
    }

    /// Bytes of answers and messages that wait to be polled.
    pub const fn held_bytes(&self) -> usize {
        self.slots.held_bytes()
    }

    /// Handles a complete message of the client, text or binary.
    pub fn handle_frame(&mut self, now: UnixTime, frame: &[u8]) {
        if self.dismissed {
            return;
        }
        let Ok(text) = std::str::from_utf8(frame) else {
            return self.refuse(now, Fault::NotJson, RawValue::NULL);
        };
        let frame = match Frame::parse(text) {
            Ok(frame) => frame,
            Err((fault, orig)) => {
                return self.refuse(now, fault, &echo::value(orig, MAX_ECHO));
            }
        };
        let Some(kind) = frame.kind() else {
            return self.refuse(now, Fault::MissingType, &echo::message(&frame));
        };
        let ack = Reply::Ack { id: &frame.short_id() }.encode(now);
        match self.handle_command(&kind, &frame) {
            Ok(Effect::Ask(request, undo)) => {
                let orig = echo::message(&frame).into_owned();
                let id = self.slots.reserve(ack, orig, request.bytes(), undo);
                self.requests.push_back((RequestId(id), request));
            }
            Ok(Effect::Nothing) => self.slots.push(ack),
            Ok(Effect::Pong(pong)) => {
                self.slots.push(ack);
                let pong = &echo::value(pong, MAX_ECHO);
                self.slots.push(Reply::Pong { pong }.encode(now));
            }
            Err(fault) => {
                self.slots.push(ack);
                self.refuse(now, fault, &echo::message(&frame));
            }
        }
    }

    /// Rejects a frame longer than `limit` bytes, which was dropped.
    pub fn handle_oversized(&mut self, now: UnixTime, limit: usize) {
        self.refuse(now, Fault::FrameTooLong(limit), RawValue::NULL);
    }

    /// Rejects a frame that was dropped because there was not enough memory.
    pub fn handle_dropped(&mut self, now: UnixTime) {
        self.refuse(now, Fault::NoMemory, RawValue::NULL);
    }

    /// Handles the store's answer to a request.
    pub fn handle_answer(&mut self, now: UnixTime, id: RequestId, answer: &Answer) {
        let frame = match answer {
            Answer::Added(stored) => Slot::Message(now, Arc::clone(stored)),
            Answer::Allocated(nameplate) => Slot::Frame(Reply::Allocated { nameplate }.encode(now)),
            Answer::Bound => return self.slots.fill(id.0, None),
            Answer::Claimed(mailbox) => Slot::Frame(Reply::Claimed { mailbox }.encode(now)),
            Answer::Closed => Slot::Frame(Reply::Closed.encode(now)),
            Answer::Nameplates(names) => Slot::Frame(Reply::nameplates(names).encode(now)),
            Answer::Opened(messages) => {
                let shown = messages.iter().map(|stored| Slot::Message(now, Arc::clone(stored)));
                return self.slots.fill(id.0, shown);
            }
            Answer::Refused(refusal) => {
                let Some((orig, undo)) = self.slots.request(id.0) else { return };
                let frame = Reply::Error { error: &refusal.to_string(), orig }.encode(now);
                self.undo(undo);
                Slot::Frame(frame)
            }
            Answer::Released => Slot::Frame(Reply::Released.encode(now)),
        };
        self.slots.fill(id.0, Some(frame));
    }

    /// Sends a message that another connection, of either side, added to the open mailbox.
    pub fn handle_message(&mut self, now: UnixTime, message: Arc<StoredMessage>) {
        self.slots.push_before_the_unanswered(now, message);
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some((id, request)) = self.requests.pop_front() {
            return Some(Output::Request(id, request));
        }
        self.slots.pop().map(Output::Frame)
    }

    fn refuse(&mut self, now: UnixTime, fault: Fault, orig: &RawValue) {
        self.slots.push(Reply::Error { error: &fault.to_string(), orig }.encode(now));
    }

    /// Executes a message that has a type.
    fn handle_command<'a>(&mut self, kind: &str, frame: &Frame<'a>) -> Result<Effect<'a>, Fault> {
        match kind {
            "ping" => frame.ping.map(Effect::Pong).ok_or(Fault::PingWithoutPing),
            // The second name is used by wormhole-rs.
            "submit-permissions" | "submit-permission" if self.demand.is_some() => {
                self.submit(frame)
            }
            "bind" => self.bind(frame),
            _ if self.identity.is_none() => Err(Fault::NotBound),
            "list" => Ok(Effect::Ask(Request::List, None)),
            "allocate" => self.allocate(),
            "claim" => self.claim(frame),
            "release" => self.release(frame),
            "open" => self.open(frame),
            "add" => self.add(frame),
            "close" => self.close(frame),
            _ => Err(Fault::UnknownType),
        }
    }

    fn submit<'a>(&mut self, frame: &Frame<'_>) -> Result<Effect<'a>, Fault> {
        let Some(demand) = &self.demand else { return Ok(Effect::Nothing) };
        let method = frame.method.text("method")?;
        let stamp = frame.stamp.text("stamp")?;
        if method.as_deref() != Some("hashcash")
            || !stamp.is_some_and(|stamp| hashcash::verify(&stamp, demand))
        {
            return Err(Fault::PermissionDenied);
        }
        self.demand = None;
        Ok(Effect::Nothing)
    }

    fn bind<'a>(&mut self, frame: &Frame<'_>) -> Result<Effect<'a>, Fault> {
        if self.demand.is_some() {
            self.dismissed = true;
            return Err(Fault::PermissionDenied);
        }
        if self.identity.is_some() {
            return Err(Fault::AlreadyBound);
        }
        let app = frame.appid.name("appid")?.ok_or(Fault::BindWithoutAppid)?;
        let side = frame.side.name("side")?.ok_or(Fault::BindWithoutSide)?;
        self.identity = Some(Arc::new(Identity { app, side }));
        let (implementation, version) = frame.client_version();
        Ok(Effect::Ask(Request::Bind(implementation, version), None))
    }

    const fn allocate<'a>(&mut self) -> Result<Effect<'a>, Fault> {
        if self.allocated {
            return Err(Fault::AlreadyAllocated);
        }
        self.allocated = true;
        Ok(Effect::Ask(Request::Allocate, Some(Undo::Allocate)))
    }

    fn claim<'a>(&mut self, frame: &Frame<'_>) -> Result<Effect<'a>, Fault> {
        let nameplate = frame.nameplate.text("nameplate")?.ok_or(Fault::ClaimWithoutNameplate)?;
        if self.nameplate.is_some() {
            return Err(Fault::OnlyOneClaim);
        }
        if !is_nameplate(&nameplate) {
            return Err(Fault::NotANameplate);
        }
        // Kept even if the store rejects it: only one claim per connection, successful or not.
        self.nameplate = Some(nameplate.clone());
        Ok(Effect::Ask(Request::Claim(nameplate), None))
    }

    fn release<'a>(&mut self, frame: &Frame<'_>) -> Result<Effect<'a>, Fault> {
        if self.released {
            return Err(Fault::OnlyOneRelease);
        }
        let nameplate = match (frame.nameplate.name("nameplate")?, &self.nameplate) {
            (Some(given), Some(claimed)) if given != *claimed => {
                return Err(Fault::OtherNameplate);
            }
            (Some(nameplate), _) => nameplate,
            (None, Some(claimed)) => claimed.clone(),
            (None, None) => return Err(Fault::ReleaseBeforeClaim),
        };
        self.released = true;
        Ok(Effect::Ask(Request::Release(nameplate), None))
    }

    fn open<'a>(&mut self, frame: &Frame<'_>) -> Result<Effect<'a>, Fault> {
        if self.open {
            return Err(Fault::OnlyOneOpen);
        }
        let mailbox = frame.mailbox.name("mailbox")?.ok_or(Fault::OpenWithoutMailbox)?;
        self.mailbox = Some(mailbox.clone());
        self.open = true;
        Ok(Effect::Ask(Request::Open(mailbox), Some(Undo::Open)))
    }

    fn add<'a>(&self, frame: &Frame<'_>) -> Result<Effect<'a>, Fault> {
        let mailbox = match &self.mailbox {
            Some(mailbox) if self.open => mailbox.clone(),
            _ => return Err(Fault::Refused(Refusal::NotOpen)),
        };
        let phase = frame.phase.name("phase")?.ok_or(Fault::MissingPhase)?;
        let body = frame.body.text("body")?.ok_or(Fault::MissingBody)?;
        let id = frame.short_id().get().to_owned();
        let message = NewMessage { phase, body, id };
        Ok(Effect::Ask(Request::Add { mailbox, message }, None))
    }

    fn close<'a>(&mut self, frame: &Frame<'_>) -> Result<Effect<'a>, Fault> {
        if self.closed {
            return Err(Fault::OnlyOneClose);
        }
        let mailbox = match (frame.mailbox.name("mailbox")?, &self.mailbox) {
            (Some(given), Some(opened)) if given != *opened => return Err(Fault::OtherMailbox),
            (Some(mailbox), _) => mailbox,
            (None, Some(opened)) => opened.clone(),
            (None, None) => return Err(Fault::CloseBeforeOpen),
        };
        let mood = frame.mood.optional_name("mood")?;
        self.closed = true;
        self.open = false;
        Ok(Effect::Ask(Request::Close { mailbox, mood }, Some(Undo::Close)))
    }

    /// Reverts the assumed result of a request that the store rejected.
    const fn undo(&mut self, undo: Option<Undo>) {
        match undo {
            Some(Undo::Allocate) => self.allocated = false,
            Some(Undo::Close) => self.closed = false,
            Some(Undo::Open) => self.open = false,
            None => {}
        }
    }
}

/// The effect of a valid message.
#[derive(Debug)]
enum Effect<'a> {
    Ask(Request, Option<Undo>),
    Nothing,
    Pong(&'a RawValue),
}

/// The state to revert when a request is rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Undo {
    Allocate,
    Close,
    Open,
}

/// Whether a text is a nameplate: ASCII digits only. The Python server also accepts digits of other scripts and a
/// trailing newline, which no client can type.
fn is_nameplate(text: &str) -> bool {
    (1..=MAX_NAMEPLATE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Maximum length of a nameplate in digits, as in the Python server.
const MAX_NAMEPLATE: usize = 40;

/// Maximum number of unanswered requests of a client. More than any client sends at once.
const MAX_UNANSWERED: usize = 32;

/// Approximate memory for a message in addition to its texts, in bytes.
const OVERHEAD: usize = 256;

/// Maximum bytes that wait behind unanswered requests before reading pauses.
const MAX_HELD: usize = 1 << 20;

#[cfg(test)]
mod tests;
