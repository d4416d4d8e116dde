//! The client session of the mailbox protocol: from a code to a shared key and an ordered exchange of messages,
//! over any number of connections to the server.
//!
//! It is one [`Session`] made of small independent state machines: choosing the code (`code_entry`), the
//! connection to the server (`server_link`), the nameplate (`nameplate`), the mailbox (`mailbox`), the key
//! exchange (`key_exchange`), outgoing messages (`outgoing`) and incoming ones (`inbox`, `order`). This file
//! connects them; `connection`, `server_messages` and `closing` are parts of the same session. It does not transfer
//! files: [`crate::transfer`] defines the messages of that application.
//! (client-protocol.md)
//!
//! ```text
//!  Command ─► code ─► nameplate ─► mailbox ─► key exchange ─► inbox ─► Event
//!                 └───────┴── server link ──┴──────┴───────────┘
//! ```

mod closing;
mod code_entry;
mod config;
mod connection;
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
mod server_messages;
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
use crate::mailbox::{ClientMessage, MailboxUrl, Mood, ServerMessage};
use crate::transit::Ability;
use code_entry::CodeEntry;
use inbox::{Inbox, Opened};
use key_exchange::KeyExchange;
use mailbox::MailboxClient;
use nameplate::NameplateClaim;
use outgoing::{Outgoing, Sealed};
use server_link::ServerLink;

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
