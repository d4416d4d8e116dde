//! The client session of the mailbox protocol: from a code to a shared key and an ordered exchange of messages,
//! over any number of connections to the server.
//!
//! It is one [`Session`] made of small independent state machines: choosing the code (`code_entry`), the
//! connection to the server (`server_link`), the nameplate (`nameplate`), the mailbox (`mailbox`), the key
//! exchange (`key_exchange`), outgoing messages (`outgoing`) and incoming ones (`inbox`, `order`). This file
//! connects them. It does not transfer files: [`crate::transfer`] defines the messages of that application.
//! (client-protocol.md)
//!
//! ```text
//!  Command ─► code ─► nameplate ─► mailbox ─► key exchange ─► inbox ─► Event
//!                 └───────┴── server link ──┴──────┴───────────┘
//! ```

mod code_entry;
mod config;
mod error;
mod event;
mod inbox;
mod key_exchange;
mod mailbox;
mod nameplate;
mod order;
mod outgoing;
mod peer_version;
mod server_link;
mod urgency;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rand_core::{CryptoRng, RngCore};
use serde_json::Value;
use wormhole_kit::{Input, Instant, Output, Session};

pub use config::Config;
pub use error::{
    ApiMisuse, MAX_SERVER_TEXT, PeerMisbehaved, ServerMisbehaved, ServerText, WormholeError,
};
pub use event::{Closed, Command, Event};
pub use peer_version::PeerVersion;

use crate::code::{Code, Nameplate};
use crate::dilation;
use crate::key::Key;
use crate::mailbox::message::ListedNameplate;
use crate::mailbox::{ClientMessage, MailboxUrl, Mood, PeerMessage, ServerMessage, Welcome};
use crate::transit::Ability;
use code_entry::CodeEntry;
use inbox::{Inbox, Opened};
use key_exchange::KeyExchange;
use mailbox::MailboxClient;
use nameplate::{Granted, NameplateClaim};
use outgoing::{Outgoing, Sealed};
use server_link::{Action, Retry, ServerLink};

/// A wormhole. Its links transport one message of the mailbox protocol per [`Input::Bytes`] and
/// [`Output::Send`].
///
/// | state | input | output | next |
/// |---|---|---|---|
/// | `NoCode` | allocate, set, input | claim or allocate | Entering or `CodeKnown` |
/// | Entering | allocated, password | `pake`, [`Event::Code`] | `CodeKnown` |
/// | any | first message of another side | release, [`Event::CodeConsumed`] | |
/// | `CodeKnown` | the peer's `pake` | `version`, [`Event::Key`] | |
/// | `CodeKnown` | first message that can be decrypted | [`Event::Verifier`], messages that waited | confirmed |
/// | any | close | release, close | Closing |
/// | Closing | released and closed, or time | [`Event::Closed`] | Ended |
/// | any | an error | release, close | Ended |
pub struct Wormhole<R> {
    config: Config,
    /// Our side in the mailbox.
    side: String,
    /// Needed to send messages: each has a random nonce.
    rng: R,
    code: CodeEntry,
    link: ServerLink,
    nameplate: NameplateClaim,
    mailbox: MailboxClient,
    key_exchange: KeyExchange,
    inbox: Inbox,
    outgoing: Outgoing,
    /// Whether the application waits for the list of nameplates.
    listing: bool,
    greeted: bool,
    /// Whether the application knows that the connection is lost.
    loss_reported: bool,
    /// Whether we have reopened the mailbox on a new connection, and the server has not yet sent any of its
    /// earlier contents.
    mailbox_looks_empty: bool,
    ending: Ending,
    outputs: VecDeque<Output<MailboxUrl, Event>>,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Running,
    Closing { mood: Mood, give_up: Instant },
    Ended,
}

impl<R: RngCore + CryptoRng> Wormhole<R> {
    /// Creates a wormhole, which connects to the server at once. The code can be set at any time.
    pub fn new(config: Config, now: Instant, mut rng: R) -> Self {
        let mut side = [0; SIDE];
        rng.fill_bytes(&mut side);
        let mut wormhole = Self {
            link: ServerLink::new(config.servers.clone(), now),
            config,
            side: HEXLOWER.encode(&side),
            rng,
            code: CodeEntry::NoCode,
            nameplate: NameplateClaim::new(),
            mailbox: MailboxClient::new(),
            key_exchange: KeyExchange::ExpectBoth,
            inbox: Inbox::new(),
            outgoing: Outgoing::new(),
            listing: false,
            greeted: false,
            loss_reported: false,
            mailbox_looks_empty: false,
            ending: Ending::Running,
            outputs: VecDeque::new(),
        };
        // Fails without any server; the error is reported when time passes.
        if let Ok(Some(action)) = wormhole.link.on_timeout(now, &mut wormhole.rng) {
            wormhole.handle_action(action);
        }
        wormhole
    }

    /// Our side in the mailbox.
    pub fn side(&self) -> &str {
        &self.side
    }

    /// The URL that is in use; `None` before the first welcome.
    pub fn server(&self) -> Option<&MailboxUrl> {
        self.link.server()
    }

    fn on_input(&mut self, now: Instant, input: Input<'_, Command>) -> Result<(), WormholeError> {
        match input {
            Input::Opened(link) => self.link.on_opened(link, now),
            Input::Closed(link) => {
                let action = self.link.on_closed(link, now, &mut self.rng)?;
                self.handle_if_any(action);
            }
            Input::Bytes(link, frame) => {
                if self.link.current() == Some(link) {
                    let message = ServerMessage::decode(frame).map_err(ServerMisbehaved::from)?;
                    self.on_server_message(now, message)?;
                }
            }
            Input::Command(command) => self.on_command(now, command)?,
            Input::Committed => {}
        }
        Ok(())
    }

    fn on_command(&mut self, now: Instant, command: Command) -> Result<(), WormholeError> {
        if let Command::Close(mood) = command {
            self.close(now, mood);
            return Ok(());
        }
        if !matches!(self.ending, Ending::Running) {
            return Ok(());
        }
        match command {
            Command::AllocateCode { words } => {
                self.code.allocate(words)?;
                let message = self.nameplate.allocate();
                self.send_all(message);
            }
            Command::SetCode(code) => {
                self.code.set()?;
                self.claim(code.nameplate().clone());
                self.on_code(code)?;
            }
            Command::InputNameplate(nameplate) => {
                self.code.input_nameplate(nameplate.clone())?;
                self.claim(nameplate);
            }
            Command::InputPassword(password) => {
                let code = self.code.input_password(password)?;
                self.on_code(code)?;
            }
            Command::RefreshNameplates => {
                self.listing = true;
                self.send(ClientMessage::List);
            }
            Command::Send(message) => {
                self.outgoing.push(message, self.mailbox.unconfirmed_bytes())?;
                self.send_pending();
            }
            Command::SendDilation(message) => {
                self.outgoing.push_dilation(message, self.mailbox.unconfirmed_bytes())?;
                self.send_pending();
            }
            Command::Hurry => {
                if self.link.check(now) {
                    self.send(ClientMessage::Ping { ping: Value::from(0) });
                }
            }
            Command::Close(_) => {}
        }
        Ok(())
    }

    // ---- the code ----

    fn claim(&mut self, nameplate: Nameplate) {
        let message = self.nameplate.claim(nameplate);
        self.send_all(message);
    }

    /// The whole code is known: send our key-exchange message.
    fn on_code(&mut self, code: Code) -> Result<(), WormholeError> {
        let (pake, key) = self.key_exchange.on_code(&code, &self.config.app_id, &mut self.rng)?;
        self.emit(Event::Code(code));
        self.add(Sealed { phase: "pake".to_owned(), body: pake });
        if let Some(key) = key {
            self.on_key(key);
        }
        self.open_messages()
    }

    // ---- messages of the server ----

    fn on_server_message(
        &mut self,
        now: Instant,
        message: ServerMessage,
    ) -> Result<(), WormholeError> {
        if !matches!(message, ServerMessage::Welcome { .. } | ServerMessage::Unknown) {
            self.on_answer();
        }
        match message {
            ServerMessage::Welcome { welcome } => self.on_welcome(now, welcome)?,
            ServerMessage::Error { error, orig } => {
                self.on_server_error(now, &error, &orig.kind)?;
            }
            ServerMessage::Nameplates { nameplates } => self.on_nameplates(&nameplates),
            ServerMessage::Allocated { nameplate } => self.on_allocated(&nameplate)?,
            ServerMessage::Claimed { mailbox } => self.on_claimed(mailbox)?,
            ServerMessage::Message(message) => self.on_message(message)?,
            ServerMessage::Released => {
                if self.nameplate.on_released() {
                    self.emit_unless_closing(Event::CodeConsumed);
                }
            }
            ServerMessage::Closed => self.mailbox.on_closed(),
            ServerMessage::Pong => self.on_pong()?,
            ServerMessage::Ack | ServerMessage::Unknown => {}
        }
        Ok(())
    }

    /// The server answered a message, so it works.
    fn on_answer(&mut self) {
        self.link.on_answer();
        if std::mem::take(&mut self.loss_reported) {
            self.emit_unless_closing(Event::ServerFound);
        }
    }

    /// The server has sent the whole mailbox. If the mailbox was empty, the server has lost it and our claim
    /// to the nameplate. Other clients may use the nameplate now, so we send nothing.
    fn on_pong(&mut self) -> Result<(), WormholeError> {
        if std::mem::take(&mut self.mailbox_looks_empty) && matches!(self.ending, Ending::Running) {
            self.nameplate.abandon();
            return Err(WormholeError::MailboxLost);
        }
        Ok(())
    }

    fn on_welcome(&mut self, now: Instant, welcome: Welcome) -> Result<(), WormholeError> {
        if !self.link.expects_welcome() {
            return Ok(());
        }
        let today = self.config.today;
        let action = self.link.on_welcome(&welcome, now, today, &mut self.rng)?;
        if !std::mem::replace(&mut self.greeted, true) {
            if let Some(server) = self.link.server().cloned() {
                self.emit_unless_closing(Event::Server(server));
            }
            self.emit_unless_closing(Event::Welcome(welcome));
        }
        self.handle_if_any(action);
        Ok(())
    }

    /// The server rejected a message. While closing, that counts as done.
    fn on_server_error(
        &mut self,
        now: Instant,
        error: &str,
        refused: &str,
    ) -> Result<(), WormholeError> {
        if refused == "list" {
            // Only the optional list was rejected.
            self.on_nameplates(&[]);
            return Ok(());
        }
        if refused == "ping" {
            self.mailbox_looks_empty = false;
            return Ok(());
        }
        if matches!(self.ending, Ending::Running) {
            let is_final = FINAL_REFUSALS.contains(&error);
            if refused == "claim" && self.nameplate.is_reclaiming() && !is_final {
                // The code worked before, so a busy server may accept us later.
                let action = self.link.retry(now, &mut self.rng)?;
                self.handle_if_any(action);
                return Ok(());
            }
            return Err(WormholeError::ServerRefused(ServerText::new(error)));
        }
        match refused {
            "release" => self.nameplate.abandon(),
            "close" => self.mailbox.abandon(),
            "add" | "open" => {}
            _ => {
                self.nameplate.abandon();
                self.mailbox.abandon();
            }
        }
        Ok(())
    }

    fn on_nameplates(&mut self, listed: &[ListedNameplate]) {
        if std::mem::take(&mut self.listing) {
            // Invalid nameplates are skipped.
            let parse = |listed: &ListedNameplate| Nameplate::parse(&listed.id).ok();
            let nameplates = listed.iter().filter_map(parse).collect();
            self.emit_unless_closing(Event::Nameplates(nameplates));
        }
    }

    fn on_allocated(&mut self, nameplate: &str) -> Result<(), WormholeError> {
        if !self.nameplate.expects_allocation() {
            return Ok(());
        }
        let nameplate = Nameplate::parse(nameplate).map_err(|_| ServerMisbehaved::BadNameplate)?;
        self.claim(nameplate.clone());
        let code = self.code.on_allocated(nameplate, &mut self.rng);
        match code {
            Some(code) if matches!(self.ending, Ending::Running) => self.on_code(code),
            Some(_) | None => Ok(()),
        }
    }

    fn on_claimed(&mut self, mailbox: String) -> Result<(), WormholeError> {
        match self.nameplate.on_claimed() {
            Granted::First(release) => {
                self.send_all(release);
                let messages = self.mailbox.on_found(mailbox);
                self.send_all(messages);
                if self.code.is_half_entered() {
                    self.emit_unless_closing(Event::NameplateClaimed);
                }
            }
            Granted::Again => {
                if !self.mailbox.on_found_again(mailbox) {
                    return Err(WormholeError::MailboxLost);
                }
                let messages = self.mailbox.resume();
                self.send_all(messages);
            }
            Granted::Unexpected => {}
        }
        Ok(())
    }

    fn on_message(&mut self, message: PeerMessage) -> Result<(), WormholeError> {
        let is_ours = message.side == self.side;
        if self.mailbox.proves_mailbox_survived(is_ours) {
            self.mailbox_looks_empty = false;
        }
        if is_ours {
            self.mailbox.on_echo(&message.phase);
            return Ok(());
        }
        self.mailbox.on_peer_message();
        if !matches!(self.ending, Ending::Running) {
            return Ok(());
        }
        // The peer is here: nobody else must find the mailbox.
        let release = self.nameplate.release();
        self.send_all(release);
        if let Some(pake) = self.inbox.on_message(message)?
            && let Some(key) = self.key_exchange.on_message(&pake)?
        {
            self.on_key(key);
        }
        self.open_messages()
    }

    // ---- the key and encrypted messages ----

    fn on_key(&mut self, key: Key) {
        self.inbox.on_key(key.clone());
        self.emit(Event::Key(key.clone()));
        let app_versions = &self.config.app_versions;
        let version = if self.config.can_dilate {
            serde_json::json!({
                "can-dilate": dilation::VERSIONS,
                "dilation-abilities": Ability::encode_list(&[Ability::DirectTcp, Ability::Relay]),
                "app_versions": app_versions,
            })
        } else {
            serde_json::json!({ "app_versions": app_versions })
        };
        let version = version.to_string();
        let sealed = self.outgoing.on_key(key, &self.side, version.as_bytes(), &mut self.rng);
        self.add(sealed);
    }

    fn open_messages(&mut self) -> Result<(), WormholeError> {
        while let Some(opened) = self.inbox.poll()? {
            match opened {
                Opened::Confirmed(verifier) => {
                    self.emit(Event::Verifier(verifier));
                    self.outgoing.on_confirmed();
                    self.send_pending();
                }
                Opened::Version(plaintext) => {
                    let version = PeerVersion::parse(&plaintext)?;
                    self.emit(Event::Version(version));
                }
                Opened::Message(plaintext) => self.emit(Event::Message(plaintext)),
                Opened::Dilation(number, plaintext) => {
                    self.emit(Event::Dilation { number, plaintext });
                }
            }
        }
        Ok(())
    }

    fn send_pending(&mut self) {
        while let Some(sealed) = self.outgoing.poll(&self.side, &mut self.rng) {
            self.add(sealed);
        }
    }

    fn add(&mut self, Sealed { phase, body }: Sealed) {
        let message = self.mailbox.add(phase, HEXLOWER.encode(&body));
        // While we check whether the mailbox is still ours, messages wait.
        if !self.nameplate.is_reclaiming() {
            self.send_all(message);
        }
    }

    /// Bytes that have not reached the server yet.
    const fn waiting_bytes(&self) -> usize {
        self.outgoing.kept_bytes() + self.mailbox.unconfirmed_bytes()
    }

    // ---- the connection ----

    fn handle_if_any(&mut self, action: Option<Action>) {
        if let Some(action) = action {
            self.handle_action(action);
        }
    }

    fn handle_action(&mut self, action: Action) {
        match action {
            Action::Connect { close, link, url } => {
                self.outputs.extend(close.map(Output::Close));
                self.outputs.push_back(Output::Connect(link, url));
            }
            Action::Ready(permission) => {
                self.send_all(permission);
                self.resume();
            }
            Action::Retry(retry) => self.on_lost(retry),
        }
    }

    fn on_lost(&mut self, Retry { close, failures, pause, was_ready }: Retry) {
        self.outputs.extend(close.map(Output::Close));
        self.mailbox_looks_empty = false;
        if was_ready && !std::mem::replace(&mut self.loss_reported, true) {
            self.emit_unless_closing(Event::ServerLost);
        }
        if failures > 0 {
            self.emit_unless_closing(Event::ServerRetry { failures, pause });
        }
    }

    /// Sends what is needed on a new connection to continue.
    fn resume(&mut self) {
        self.send(ClientMessage::Bind {
            appid: self.config.app_id.as_str().to_owned(),
            side: self.side.clone(),
            client_version: Some(self.config.client_version.clone()),
        });
        if !self.mailbox.has_contents() {
            self.nameplate.verify();
        }
        let message = self.nameplate.resume();
        self.send_all(message);
        if !self.nameplate.is_reclaiming() {
            self.reopen_mailbox();
        }
        if self.listing {
            self.send(ClientMessage::List);
        }
    }

    /// Opens the mailbox on a new connection. Its name is random, so no other client uses it by chance. The answer to
    /// the ping follows the contents of the mailbox: if there are none, the server has lost the mailbox and
    /// created a new one.
    fn reopen_mailbox(&mut self) {
        self.mailbox_looks_empty = self.mailbox.expects_contents();
        let mut messages = self.mailbox.resume().into_iter();
        self.send_all(messages.next());
        if self.mailbox_looks_empty {
            self.send(ClientMessage::Ping { ping: Value::from(0) });
        }
        self.send_all(messages);
    }

    fn send_all(&mut self, messages: impl IntoIterator<Item = ClientMessage>) {
        messages.into_iter().for_each(|message| self.send(message));
    }

    /// Sends a message if connected; otherwise [`Self::resume`] will send it.
    fn send(&mut self, message: ClientMessage) {
        if let Some(link) = self.link.ready() {
            self.outputs.push_back(Output::Send(link, message.encode().into_bytes()));
        }
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn emit_unless_closing(&mut self, event: Event) {
        if matches!(self.ending, Ending::Running) {
            self.emit(event);
        }
    }

    // ---- closing ----

    fn close(&mut self, now: Instant, mood: Option<Mood>) {
        if !matches!(self.ending, Ending::Running) {
            return;
        }
        let confirmed = self.outgoing.is_confirmed();
        let mood = mood.unwrap_or(if confirmed { Mood::Happy } else { Mood::Lonely });
        let undelivered = confirmed && self.mailbox.unconfirmed_bytes() > 0;
        let timeout = if undelivered { CLOSE_TIMEOUT_UNDELIVERED } else { CLOSE_TIMEOUT };
        self.ending = Ending::Closing { mood, give_up: now + timeout };
        self.leave_mailbox(mood, confirmed);
        self.link.hurry(now);
    }

    /// Closes the nameplate and the mailbox at the server.
    fn leave_mailbox(&mut self, mood: Mood, deliver: bool) {
        let release = self.nameplate.close(self.link.was_welcomed());
        self.send_all(release);
        let close = self.mailbox.close(mood, deliver);
        self.send_all(close);
    }

    /// Ends when the server has confirmed everything, or after a timeout.
    fn end_if_done(&mut self, now: Instant) {
        let Ending::Closing { mood, give_up } = self.ending else { return };
        let confirmed =
            self.nameplate.is_done() && self.mailbox.is_closed() && !self.nameplate.is_pending();
        if confirmed || now >= give_up {
            self.close_link();
            self.emit(Event::Closed(Closed { mood, confirmed }));
        }
    }

    fn close_link(&mut self) {
        self.ending = Ending::Ended;
        self.outputs.extend(self.link.end().map(Output::Close));
    }

    /// Ends after an error; closes nameplate and mailbox if that is possible at once.
    fn fail(&mut self, error: WormholeError) -> Result<(), WormholeError> {
        if let Ending::Closing { mood, .. } = self.ending {
            // The application has already closed the wormhole, so it needs no error.
            self.close_link();
            self.emit(Event::Closed(Closed { mood, confirmed: false }));
            return Ok(());
        }
        self.leave_mailbox(error.mood(), false);
        self.close_link();
        Err(error)
    }

    fn settle(
        &mut self,
        now: Instant,
        result: Result<(), WormholeError>,
    ) -> Result<(), WormholeError> {
        match result {
            Ok(()) => {
                self.end_if_done(now);
                Ok(())
            }
            Err(error) => self.fail(error),
        }
    }
}

/// Prints no messages.
impl<R> fmt::Debug for Wormhole<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Wormhole");
        shown.field("side", &self.side).field("link", &self.link).field("ending", &self.ending);
        shown.finish_non_exhaustive()
    }
}

impl<R: RngCore + CryptoRng> Session for Wormhole<R> {
    type Address = MailboxUrl;
    type Command = Command;
    type Event = Event;
    type Changes = Infallible;
    type Error = WormholeError;

    fn handle(&mut self, now: Instant, input: Input<'_, Command>) -> Result<(), WormholeError> {
        if matches!(self.ending, Ending::Ended) {
            return Ok(());
        }
        let result = self.on_input(now, input);
        self.settle(now, result)
    }

    fn poll(&mut self) -> Option<Output<MailboxUrl, Event>> {
        self.outputs.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.ending {
            Ending::Running => self.link.deadline(),
            Ending::Closing { give_up, .. } => {
                Some(self.link.deadline().map_or(give_up, |at| at.min(give_up)))
            }
            Ending::Ended => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), WormholeError> {
        if matches!(self.ending, Ending::Ended) {
            return Ok(());
        }
        let result = self.link.on_timeout(now, &mut self.rng).map(|action| {
            self.handle_if_any(action);
        });
        self.settle(now, result)
    }

    /// False while a megabyte of messages has not reached the server yet.
    fn wants_input(&self) -> bool {
        self.waiting_bytes() < MAX_UNSENT
    }
}

/// Maximum size of a message in bytes. It is sent in hex in one frame, and mailbox servers of this project accept frames
/// of 4 MiB by default. The difference is for the rest of the frame.
pub const MAX_MESSAGE: usize = (2 << 20) - (4 << 10);

/// Time limit for closing. It needs one round trip, or three during a claim.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit for closing when messages have not reached the server yet: enough to reconnect.
pub const CLOSE_TIMEOUT_UNDELIVERED: Duration = Duration::from_secs(10);

/// [`Session::wants_input`] returns false while at least this many bytes of messages have not reached the
/// server.
const MAX_UNSENT: usize = 1 << 20;

/// Errors of a claim that are permanent.
const FINAL_REFUSALS: [&str; 2] = ["crowded", "reclaimed"];

/// Random bytes in a side.
const SIDE: usize = 5;
