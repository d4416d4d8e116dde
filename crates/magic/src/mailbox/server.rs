//! The server's rules for one client on one link: frames in, requests to the store and frames out.
//!
//! Nothing is stored here and nobody else is known here. The rules and the words of the errors are
//! those of magic-wormhole-mailbox-server 0.8.0, with one difference: whatever a client sends, it
//! gets an `error` for it and keeps its link. (mailbox protocol, "Messages", "Error strings")
//!
//! ```text
//! handle_frame ──► Client ──► poll: Output::Request(id, Request) ──► store
//!                         ◄── handle_answer(id, Answer) ◄─────────────┘
//!                         ──► poll: Output::Frame(json)
//! ```
//!
//! Frames leave in the order in which the reference would send them: a frame that answers a later
//! message waits until the store has answered the earlier ones.

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
pub use fault::{Fault, MAX_NAME, Refusal};
use frame::Frame;
use reply::Reply;
use slots::Slots;

/// What the server knows of one client on one link.
#[derive(Debug)]
pub struct Client {
    /// What the client has to show before it may bind; nothing, or nothing any more.
    demand: Option<HashcashDemand>,
    identity: Option<Arc<Identity>>,
    allocated: bool,
    /// The nameplate of the link's one claim.
    nameplate: Option<String>,
    released: bool,
    /// The mailbox last opened on this link, or attempted to.
    mailbox: Option<String>,
    open: bool,
    closed: bool,
    dismissed: bool,
    slots: Slots,
    requests: VecDeque<(RequestId, Request)>,
}

/// Who speaks on a bound link.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
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

/// Which of a link's requests an answer is for.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(u64);

/// What a client wants done, checked as far as it can be without the store.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a store must handle every request")]
pub enum Request {
    /// Store a message and show it to all who have the mailbox open.
    Add {
        /// Which mailbox. The side need not be one of its two: the store checks.
        mailbox: String,
        /// The message as it came.
        message: NewMessage,
    },
    /// Pick a free nameplate and claim it.
    Allocate,
    /// Record that a client came, with the name and version of its program.
    Bind(Option<String>, Option<String>),
    /// Claim a nameplate.
    Claim(String),
    /// Leave a mailbox (opening it first, if that was never done) with a mood.
    Close {
        /// Which mailbox.
        mailbox: String,
        /// How it went, in the client's word.
        mood: Option<String>,
    },
    /// Name the nameplates in use.
    List,
    /// Join a mailbox and listen to it.
    Open(String),
    /// Give a nameplate back.
    Release(String),
}

/// A message on its way into a mailbox.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct NewMessage {
    /// Its name.
    pub phase: String,
    /// Its content.
    pub body: String,
    /// The `id` of the `add`, as JSON text.
    pub id: String,
}

impl NewMessage {
    /// A message with the JSON text of its `id`.
    pub const fn new(phase: String, body: String, id: String) -> Self {
        Self { phase, body, id }
    }
}

/// A message in a mailbox.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoredMessage {
    /// Who added it.
    pub side: String,
    /// What was added.
    pub message: NewMessage,
    /// When it was added.
    pub server_rx: UnixTime,
}

impl StoredMessage {
    /// A message that `side` added at `server_rx`.
    pub const fn new(side: String, message: NewMessage, server_rx: UnixTime) -> Self {
        Self { side, message, server_rx }
    }
}

/// What the store says to a request.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a store must be able to make every answer")]
pub enum Answer {
    /// The message is stored. It is shown to its author as to all others.
    Added,
    /// This nameplate was picked and claimed.
    Allocated(String),
    /// The coming of the client is recorded.
    Bound,
    /// The nameplate is claimed and stands for this mailbox.
    Claimed(String),
    /// The mailbox is left.
    Closed,
    /// The nameplates in use, sorted.
    Nameplates(Vec<String>),
    /// The mailbox is open and holds these messages.
    Opened(Vec<Arc<StoredMessage>>),
    /// It cannot be done.
    Refused(Refusal),
    /// The nameplate is given back.
    Released,
}

/// What a [`Client`] wants done.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "drivers must handle every output")]
pub enum Output {
    /// Send this text frame.
    Frame(String),
    /// Hand this to the store, in this order, for [`Client::identity`].
    Request(RequestId, Request),
}

impl Client {
    /// Greets a client.
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

    /// Who speaks; nobody before `bind`.
    pub const fn identity(&self) -> Option<&Arc<Identity>> {
        self.identity.as_ref()
    }

    /// Whether the link is to be closed once everything is sent.
    pub const fn is_dismissed(&self) -> bool {
        self.dismissed
    }

    /// How many requests the store has not answered yet.
    pub fn unanswered(&self) -> usize {
        self.slots.unanswered()
    }

    /// Whether more frames may be handed in now, or the client is too far ahead of the store.
    pub fn wants_input(&self) -> bool {
        !self.dismissed
            && self.slots.unanswered() < MAX_UNANSWERED
            && self.slots.held_bytes() < MAX_HELD
    }

    /// Takes in one whole message of the client, text or binary.
    pub fn handle_frame(&mut self, now: UnixTime, frame: &[u8]) {
        if self.dismissed {
            return;
        }
        let Ok(text) = std::str::from_utf8(frame) else {
            return self.refuse(now, Fault::NotJson, RawValue::NULL);
        };
        let frame = match Frame::parse(text) {
            Ok(frame) => frame,
            Err((fault, orig)) => return self.refuse(now, fault, orig),
        };
        let Some(kind) = frame.kind() else {
            return self.refuse(now, Fault::MissingType, frame.whole);
        };
        self.slots.push(Reply::Ack { id: frame.id.unwrap_or(RawValue::NULL) }.encode(now));
        if let Err(fault) = self.obey(now, &kind, &frame) {
            self.refuse(now, fault, frame.whole);
        }
    }

    /// Takes note of a frame that was too long to be taken in at all.
    pub fn handle_oversized(&mut self, now: UnixTime, limit: usize) {
        self.refuse(now, Fault::FrameTooLong(limit), RawValue::NULL);
    }

    /// Takes in the store's answer to a request.
    pub fn handle_answer(&mut self, now: UnixTime, id: RequestId, answer: &Answer) {
        let frames = match answer {
            Answer::Added | Answer::Bound => Vec::new(),
            Answer::Allocated(nameplate) => vec![Reply::Allocated { nameplate }.encode(now)],
            Answer::Claimed(mailbox) => vec![Reply::Claimed { mailbox }.encode(now)],
            Answer::Closed => vec![Reply::Closed.encode(now)],
            Answer::Nameplates(names) => vec![Reply::nameplates(names).encode(now)],
            Answer::Opened(messages) => {
                messages.iter().map(|message| Reply::message(message).encode(now)).collect()
            }
            Answer::Refused(refusal) => {
                let Some((orig, undo)) = self.slots.request(id.0) else { return };
                let frame = Reply::Error { error: &refusal.to_string(), orig }.encode(now);
                self.take_back(undo);
                vec![frame]
            }
            Answer::Released => vec![Reply::Released.encode(now)],
        };
        self.slots.fill(id.0, frames);
    }

    /// Passes on a message that was added to the open mailbox, by whichever side.
    pub fn handle_message(&mut self, now: UnixTime, message: &StoredMessage) {
        self.slots.push_before_the_unanswered(Reply::message(message).encode(now));
    }

    /// Hands out the next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some((id, request)) = self.requests.pop_front() {
            return Some(Output::Request(id, request));
        }
        self.slots.pop().map(Output::Frame)
    }

    fn refuse(&mut self, now: UnixTime, fault: Fault, orig: &RawValue) {
        self.slots.push(Reply::Error { error: &fault.to_string(), orig }.encode(now));
    }

    /// Does what a message says that has a type and has been acknowledged.
    fn obey(&mut self, now: UnixTime, kind: &str, frame: &Frame<'_>) -> Result<(), Fault> {
        match kind {
            "ping" => self.ping(now, frame),
            "submit-permissions" if self.demand.is_some() => self.submit(frame),
            "bind" => self.bind(frame),
            _ if self.identity.is_none() => Err(Fault::NotBound),
            "list" => self.request(frame, Request::List, None),
            "allocate" => self.allocate(frame),
            "claim" => self.claim(frame),
            "release" => self.release(frame),
            "open" => self.open(frame),
            "add" => self.add(frame),
            "close" => self.close(frame),
            _ => Err(Fault::UnknownType),
        }
    }

    fn ping(&mut self, now: UnixTime, frame: &Frame<'_>) -> Result<(), Fault> {
        let pong = frame.ping.ok_or(Fault::PingWithoutPing)?;
        self.slots.push(Reply::Pong { pong }.encode(now));
        Ok(())
    }

    fn submit(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let Some(demand) = &self.demand else { return Ok(()) };
        let method = frame.method.text("method")?;
        let stamp = frame.stamp.text("stamp")?;
        if method.as_deref() != Some("hashcash")
            || !stamp.is_some_and(|stamp| hashcash::verify(&stamp, demand))
        {
            return Err(Fault::PermissionDenied);
        }
        self.demand = None;
        Ok(())
    }

    fn bind(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
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
        self.request(frame, Request::Bind(implementation, version), None)
    }

    fn allocate(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if self.allocated {
            return Err(Fault::AlreadyAllocated);
        }
        self.allocated = true;
        self.request(frame, Request::Allocate, Some(Undo::Allocate))
    }

    fn claim(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let nameplate = frame.nameplate.text("nameplate")?.ok_or(Fault::ClaimWithoutNameplate)?;
        if self.nameplate.is_some() {
            return Err(Fault::OnlyOneClaim);
        }
        if !is_nameplate(&nameplate) {
            return Err(Fault::NotANameplate);
        }
        // Stays, even if the store refuses: one claim per link, successful or not.
        self.nameplate = Some(nameplate.clone());
        self.request(frame, Request::Claim(nameplate), None)
    }

    fn release(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
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
        self.request(frame, Request::Release(nameplate), None)
    }

    fn open(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        if self.open {
            return Err(Fault::OnlyOneOpen);
        }
        let mailbox = frame.mailbox.name("mailbox")?.ok_or(Fault::OpenWithoutMailbox)?;
        self.mailbox = Some(mailbox.clone());
        self.open = true;
        self.request(frame, Request::Open(mailbox), Some(Undo::Open))
    }

    fn add(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
        let mailbox = match &self.mailbox {
            Some(mailbox) if self.open => mailbox.clone(),
            _ => return Err(Fault::Refused(Refusal::NotOpen)),
        };
        let phase = frame.phase.name("phase")?.ok_or(Fault::MissingPhase)?;
        let body = frame.body.text("body")?.ok_or(Fault::MissingBody)?;
        let id = frame.id.unwrap_or(RawValue::NULL).get().to_owned();
        let message = NewMessage { phase, body, id };
        self.request(frame, Request::Add { mailbox, message }, None)
    }

    fn close(&mut self, frame: &Frame<'_>) -> Result<(), Fault> {
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
        self.request(frame, Request::Close { mailbox, mood }, Some(Undo::Close))
    }

    fn request(
        &mut self,
        frame: &Frame<'_>,
        request: Request,
        undo: Option<Undo>,
    ) -> Result<(), Fault> {
        let id = self.slots.reserve(frame.whole, undo);
        self.requests.push_back((RequestId(id), request));
        Ok(())
    }

    /// Takes back what was assumed when a request went out that the store has refused.
    const fn take_back(&mut self, undo: Option<Undo>) {
        match undo {
            Some(Undo::Allocate) => self.allocated = false,
            Some(Undo::Close) => self.closed = false,
            Some(Undo::Open) => self.open = false,
            None => {}
        }
    }
}

/// What a refusal takes back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Undo {
    Allocate,
    Close,
    Open,
}

/// Whether the server takes this for a nameplate: ASCII digits alone. The reference lets other
/// scripts' digits and a trailing newline slip through, which no client could type.
fn is_nameplate(text: &str) -> bool {
    (1..=MAX_NAMEPLATE).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Longest nameplate, in digits, as in the reference.
const MAX_NAMEPLATE: usize = 40;

/// Requests a client may have at the store. More than any client pipelines.
const MAX_UNANSWERED: usize = 32;

/// Bytes that may be held back behind unanswered requests before reading pauses.
const MAX_HELD: usize = 1 << 20;

#[cfg(test)]
mod tests;
