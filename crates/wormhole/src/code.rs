//! Wormholes: two programs that know the same code share a key and exchange messages.
//!
//! This layer is below file transfer, for applications with their own messages. A [`Wormhole`] reports events in two
//! ways: as futures ([`Wormhole::code`], [`Wormhole::receive_message`], ...), or as method calls of a [`Delegate`],
//! for programs with callbacks.
//!
//! ```no_run
//! use wormhole::code::{AppId, Config, Wormhole};
//!
//! # async fn example() -> Result<(), wormhole::code::Error> {
//! let config = Config { app_id: AppId::new("example.com/demo"), ..Config::default() };
//!
//! // One side allocates the code ...
//! let alice = Wormhole::create(config.clone());
//! alice.allocate_code(Wormhole::CODE_WORDS)?;
//! let code = alice.code().await?;
//!
//! // ... and the other one uses it.
//! let bob = Wormhole::create(config);
//! bob.set_code(code)?;
//!
//! alice.send_message(b"hello".to_vec()).await?;
//! assert_eq!(bob.receive_message().await?, b"hello");
//! alice.close().await?;
//! bob.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Wormholes run on tokio: [`Wormhole::create`] must be called inside a runtime.

mod config;
mod delegate;
mod error;
mod events;
mod input;
mod publisher;
mod run;
mod status;

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::sync::{Mutex, mpsc, watch};
use zeroize::Zeroizing;

pub use wormhole_magic::AppId;
pub use wormhole_magic::code::{Code, CodeError, Nameplate, Password, review, uri};
pub use wormhole_magic::key::{Key, Verifier};
pub use wormhole_magic::mailbox::hashcash::ImpossibleDemand;
pub use wormhole_magic::mailbox::message::{
    HashcashDemand, NoPermission, PermissionRequired, YourAddress,
};
pub use wormhole_magic::mailbox::{MailboxUrl, MailboxUrlError, MalformedMessage, Mood, Welcome};
pub use wormhole_magic::spake2::PakeError;
pub use wormhole_magic::wormhole::{
    Closed, Event, PeerMisbehaved, PeerVersion, ServerMisbehaved, ServerText,
};

use wormhole_magic::wormhole::{Command, MAX_MESSAGE};

use crate::net::tor::Tor;
pub use config::Config;
pub use delegate::Delegate;
pub use error::{ApiMisuse, Error};
pub(crate) use events::{Events, QueuedEvent};
pub use input::CodeInput;
use publisher::Unread;
pub(crate) use status::ServerWatch;
use status::Status;

/// A wormhole.
///
/// It runs in the background from its creation until it is closed, and reconnects to the mailbox server if
/// necessary. Dropping it also closes it; use [`close`](Self::close) to wait until that is done, before the runtime is
/// shut down.
#[derive(Debug)]
pub struct Wormhole {
    commands: mpsc::UnboundedSender<Command>,
    outgoing: mpsc::Sender<Vec<u8>>,
    /// `None` if messages go to a delegate or an event queue.
    incoming: Option<Incoming>,
    status: watch::Receiver<Status>,
    code_chosen: AtomicBool,
    /// Size of our message with the versions in bytes.
    versions_size: usize,
    /// The peer's dilation messages, if the wormhole was created for dilation and is not dilated yet.
    dilation: Option<mpsc::Receiver<Vec<u8>>>,
    tor: Option<Tor>,
}

/// Received messages that have not been read.
#[derive(Debug)]
struct Incoming {
    messages: Mutex<mpsc::UnboundedReceiver<Vec<u8>>>,
    unread: Arc<Unread>,
}

impl Wormhole {
    /// Default number of words of a code: 16 bits of secret, with one guess per code.
    pub const CODE_WORDS: NonZeroU8 = NonZeroU8::MIN.saturating_add(1);

    /// Maximum size of a message in bytes.
    ///
    /// Messages are for negotiations, not for files: [`transit`](crate::transit) is faster and has no limit. Mailbox
    /// servers accept this size by default; a server with a lower limit refuses longer messages with
    /// [`Error::ServerRefused`].
    pub const MAX_MESSAGE: usize = MAX_MESSAGE;

    /// Creates a wormhole and starts to connect to the mailbox server.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), wormhole::code::Error> {
    /// use wormhole::code::{Config, Wormhole};
    ///
    /// let wormhole = Wormhole::create(Config::default());
    /// wormhole.allocate_code(Wormhole::CODE_WORDS)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn create(config: Config) -> Self {
        run::start(config)
    }

    /// Like [`create`](Self::create), and reports all events to the delegate, which also receives the
    /// messages.
    ///
    /// ```no_run
    /// use wormhole::code::{Code, Config, Delegate, Wormhole};
    ///
    /// struct Printer;
    /// impl Delegate for Printer {
    ///     fn on_code(&mut self, code: &Code) {
    ///         println!("code: {code}");
    ///     }
    ///     fn on_message(&mut self, message: Vec<u8>) {
    ///         println!("got {} bytes", message.len());
    ///     }
    /// }
    ///
    /// # async fn example() -> Result<(), wormhole::code::Error> {
    /// let wormhole = Wormhole::create_with_delegate(Config::default(), Box::new(Printer));
    /// wormhole.allocate_code(Wormhole::CODE_WORDS)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn create_with_delegate(config: Config, delegate: Box<dyn Delegate>) -> Self {
        run::start_with_delegate(config, delegate)
    }

    /// Like [`create`](Self::create), and announces to the peer that this side can dilate. Then
    /// [`dilate`](Self::dilate) opens a durable connection for any number of streams.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use wormhole::code::{Config, Wormhole};
    /// use wormhole::dilated::Settings;
    ///
    /// let wormhole = Wormhole::create_dilatable(Config::default());
    /// wormhole.allocate_code(Wormhole::CODE_WORDS)?;
    /// let dilated = wormhole.dilate(Settings::default()).await?;
    /// let stream = dilated.connect("example.com/chat")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn create_dilatable(config: Config) -> Self {
        run::start_dilatable(config)
    }

    /// Takes the peer's dilation messages.
    pub(crate) const fn take_dilation(&mut self) -> Option<mpsc::Receiver<Vec<u8>>> {
        self.dilation.take()
    }

    /// Where dilation messages are sent, and Tor, if it is used.
    pub(crate) fn dilation_sender(&self) -> (mpsc::UnboundedSender<Command>, Option<Tor>) {
        (self.commands.clone(), self.tor.clone())
    }

    /// Notices when the connection to the mailbox server is lost or back.
    pub(crate) fn server_watch(&self) -> ServerWatch {
        ServerWatch::new(self.status.clone())
    }

    /// Waits for the peer's version message.
    pub(crate) async fn peer_version(&self) -> Result<PeerVersion, Error> {
        self.wait(|status| status.peer_version.clone()).await
    }

    /// Like [`create`](Self::create), with one queue for all events. With `can_dilate`, it can be dilated.
    pub(crate) fn create_with_events(config: Config, can_dilate: bool) -> (Self, Events) {
        run::start_with_events(config, can_dilate)
    }

    /// Asks the server for a free nameplate and creates a code with this number of words.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// use std::num::NonZeroU8;
    ///
    /// wormhole.allocate_code(NonZeroU8::new(4).unwrap())?;
    /// println!("tell the other side: {}", wormhole.code().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The code has already been chosen, or the versions of the configuration are too long.
    pub fn allocate_code(&self, words: NonZeroU8) -> Result<(), Error> {
        self.choose_code()?;
        self.command(Command::AllocateCode { words });
        Ok(())
    }

    /// Uses a code from the peer, or one that was agreed in advance.
    ///
    /// ```no_run
    /// # use wormhole::code::{Code, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Box<dyn std::error::Error>> {
    /// wormhole.set_code(Code::parse("4-purple-sausages")?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The code has already been chosen, or the versions of the configuration are too long.
    pub fn set_code(&self, code: Code) -> Result<(), Error> {
        self.choose_code()?;
        self.command(Command::SetCode(code));
        Ok(())
    }

    /// Lets a user type the code, with completion.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// let input = wormhole.input_code()?;
    /// println!("{:?}", input.first_nameplates().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The code has already been chosen, or the versions of the configuration are too long.
    pub fn input_code(&self) -> Result<CodeInput, Error> {
        self.choose_code()?;
        Ok(CodeInput::new(self.commands.clone(), self.status.clone()))
    }

    /// Waits until the server has answered. Returns the one of [`Config::servers`] that is used.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// println!("connected to {}", wormhole.server().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The wormhole has ended.
    pub async fn server(&self) -> Result<MailboxUrl, Error> {
        self.wait(|status| status.server.clone()).await
    }

    /// Waits for the server's information for clients. It may contain a message for the user
    /// ([`Welcome::motd`]); escape it before displaying it.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// if let Some(motd) = wormhole.welcome().await?.motd {
    ///     println!("{}", motd.escape_debug());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The wormhole has ended.
    pub async fn welcome(&self) -> Result<Welcome, Error> {
        self.wait(|status| status.welcome.clone()).await
    }

    /// Waits until the code is known.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// println!("tell the other side: {}", wormhole.code().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The wormhole has ended.
    pub async fn code(&self) -> Result<Code, Error> {
        self.wait(|status| status.code.clone()).await
    }

    /// Waits until the peer is connected and the nameplate is released, so that the code is used up.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// wormhole.code_consumed().await?;
    /// println!("nobody else can use the code now");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The wormhole has ended.
    pub async fn code_consumed(&self) -> Result<(), Error> {
        self.wait(|status| status.code_consumed.then_some(())).await
    }

    /// Waits until the key exchange is complete. It is not known yet whether the peer has the same key: see
    /// [`verifier`](Self::verifier).
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// let _key = wormhole.key().await?;
    /// println!("another client uses the nameplate, with the same code or another");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The wormhole has ended.
    pub async fn key(&self) -> Result<Key, Error> {
        self.wait(|status| status.key.clone()).await
    }

    /// Waits until the peer has proved that it has the same key, and therefore the same code. If both users see the
    /// same verifier, there is no man in the middle.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// println!("does the other side see {} as well?", wormhole.verifier().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The wormhole has ended, in particular with [`Error::WrongCode`].
    pub async fn verifier(&self) -> Result<Verifier, Error> {
        self.wait(|status| status.verifier).await
    }

    /// Waits for the announcement of the peer's application (its [`Config::app_versions`]).
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// let versions = wormhole.versions().await?;
    /// println!("they speak {}", versions["my-app"]["version"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The wormhole has ended.
    pub async fn versions(&self) -> Result<Value, Error> {
        self.wait(|status| status.versions.clone()).await
    }

    /// Waits for the next message. Messages arrive in order, each once.
    ///
    /// Cancelling loses nothing.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// while let Ok(message) = wormhole.receive_message().await {
    ///     println!("{} bytes", message.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The wormhole has ended and all received messages have been returned; or it has a delegate, which receives the
    /// messages.
    pub async fn receive_message(&self) -> Result<Vec<u8>, Error> {
        let incoming = self.incoming.as_ref().ok_or(ApiMisuse::Delegated)?;
        let message = incoming.messages.lock().await.recv().await;
        match message {
            Some(message) => {
                incoming.unread.subtract(message.len());
                Ok(message)
            }
            None => Err(self.end().await),
        }
    }

    /// Sends a message. It waits until the peer is connected, if necessary; this future only waits until there is room
    /// for it.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// wormhole.send_message(b"hello".to_vec()).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The message is longer than [`MAX_MESSAGE`](Self::MAX_MESSAGE), or the wormhole has ended.
    pub async fn send_message(&self, message: Vec<u8>) -> Result<(), Error> {
        if message.len() > MAX_MESSAGE {
            return Err(ApiMisuse::MessageTooLong(message.len()).into());
        }
        match self.outgoing.send(message).await {
            Ok(()) => Ok(()),
            Err(_ended) => Err(self.end().await),
        }
    }

    /// Sends a message without waiting for room. The wormhole ends with an error if too many messages are
    /// waiting.
    pub(crate) fn send_now(&self, message: Vec<u8>) {
        self.command(Command::Send(message));
    }

    /// Derives `length` bytes from the shared key for a purpose of the application. Both sides derive the same
    /// bytes.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// wormhole.verifier().await?;
    /// let key = wormhole.derive_key("example.com/backup", 32)?;
    /// assert_eq!(key.len(), 32);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The key exchange is not complete, or `length` exceeds 8160 bytes.
    pub fn derive_key(&self, purpose: &str, length: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let status = self.status.borrow();
        let key = status.key.as_ref().ok_or(ApiMisuse::NoKey)?;
        Ok(key.derive(purpose, length).map_err(|_| ApiMisuse::KeyTooLong(length))?)
    }

    /// Whether the connection to the server is currently lost. It is reopened automatically.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// if wormhole.is_server_lost() {
    ///     println!("messages wait until the server is back");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_server_lost(&self) -> bool {
        self.status.borrow().server_lost
    }

    /// Closes the wormhole: delivers messages to the server, then closes mailbox and nameplate there. Takes one round
    /// trip, and at most two seconds (ten, if messages must still be delivered over a lost
    /// connection).
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// println!("the server was told: {:?}", wormhole.close().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error with which the wormhole ended.
    pub async fn close(self) -> Result<Closed, Error> {
        self.close_in_mood(None).await
    }

    /// Closes the wormhole like [`close`](Self::close), with this mood for the server's statistics.
    ///
    /// ```no_run
    /// # use wormhole::code::{Error, Wormhole};
    /// # async fn example(wormhole: Wormhole) -> Result<(), Error> {
    /// wormhole.close_with_mood(wormhole::code::Mood::Errory).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error with which the wormhole ended.
    pub async fn close_with_mood(self, mood: Mood) -> Result<Closed, Error> {
        self.close_in_mood(Some(mood)).await
    }

    async fn close_in_mood(self, mood: Option<Mood>) -> Result<Closed, Error> {
        self.command(Command::Close(mood));
        self.wait(|status| status.end.clone()).await?
    }

    /// Marks the code as chosen.
    fn choose_code(&self) -> Result<(), Error> {
        if self.versions_size > MAX_MESSAGE {
            return Err(ApiMisuse::VersionsTooLong(self.versions_size).into());
        }
        match self.code_chosen.swap(true, Ordering::Relaxed) {
            false => Ok(()),
            true => Err(ApiMisuse::CodeAlreadyChosen.into()),
        }
    }

    /// An ended wormhole accepts no commands; its futures return the error.
    fn command(&self, command: Command) {
        let _ended = self.commands.send(command);
    }

    async fn wait<T>(&self, look: impl Fn(&Status) -> Option<T>) -> Result<T, Error> {
        status::wait(&mut self.status.clone(), look).await
    }

    /// Why the wormhole ended.
    async fn end(&self) -> Error {
        let end = self.wait(|status| status.end.clone()).await;
        end.and_then(|end| end).err().unwrap_or(Error::Closed)
    }
}

impl Drop for Wormhole {
    fn drop(&mut self) {
        self.command(Command::Close(None));
    }
}
