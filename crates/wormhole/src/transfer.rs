//! File transfer: send and receive files, directories, texts and streams with a code.
//!
//! A [`Transfer`] runs in the background; dropping it cancels the transfer and notifies the other side. A minimal
//! sender and receiver:
//!
//! ```no_run
//! use wormhole::transfer::{self, CodeSource, Destination, Error, OnExists, Outgoing, Settings};
//!
//! async fn send() -> Result<(), Error> {
//!     let mut transfer = transfer::send(Outgoing::Text("hello".into()), Settings::default())?;
//!     println!("on the other computer: wormhole receive {}", transfer.code().await?);
//!     transfer.done().await.map(drop)
//! }
//!
//! async fn receive(code: wormhole::code::Code) -> Result<(), Error> {
//!     let mut transfer = transfer::receive(CodeSource::Code(code), Settings::default());
//!     println!("{:?}", transfer.offered().await?);
//!     transfer.accept(Destination::Folder { folder: ".".into(), on_exists: OnExists::KeepBoth });
//!     transfer.done().await.map(drop)
//! }
//! ```
//!
//! All progress is reported as [`Event`]s. After [`Event::Done`] the transfer still closes its mailbox at the server, so
//! read events until [`Transfer::next`] returns `None`. [`Transfer::done`] does this.
//!
//! ```no_run
//! use wormhole::transfer::{Error, Event, Transfer};
//!
//! async fn watch(mut transfer: Transfer) -> Result<(), Error> {
//!     while let Some(event) = transfer.next().await {
//!         match event? {
//!             Event::Connected(path) => println!("{path}"),
//!             Event::Progress { done, total } => println!("{done} of {total:?} bytes"),
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//! ```

mod archive;
pub(crate) mod carrier;
mod data_phase;
mod data_thread;
mod dilated;
pub(crate) mod disk;
mod driver;
mod error;
mod event;
mod exact_reader;
mod hasher;
mod listening;
mod progress;
mod receive;
mod send;
mod settings;
pub mod share;
mod sink;
mod source;
mod spool;
mod thread;
mod tree;

use std::path::PathBuf;

use tokio::sync::mpsc;
pub use wormhole_magic::transfer::PeerMisbehaved as NegotiationFault;
use wormhole_magic::transfer::dilated::Mode;
pub use wormhole_magic::transfer::dilated::Violation;
pub use wormhole_magic::transfer::zip::path::UnsafePath;
pub use wormhole_magic::transfer::zip::{ZipError, ZipPath};
pub use wormhole_magic::transfer::{Attributes, BadMessage, Offer, PeerName, UnsafeName};
use wormhole_magic::transfer::{Receiver, Sender};

use progress::Progress;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use disk::fuzzing;
pub use disk::{Leftover, MetadataLoss, leftovers};
pub use error::{Error, PeerMisbehaved, SystemError, Unsendable, UnsendableReason};
pub use event::{Event, Report};
pub use settings::{CodeSource, Destination, OnExists, Outgoing, Settings};

use crate::code::{self, Code};
use driver::{TransferDriver, TransferSession};
use source::SendItem;

/// A running transfer.
#[derive(Debug)]
pub struct Transfer {
    offer: Option<Offer>,
    skipped: Vec<Unsendable>,
    commands: Commands,
    events: Events,
}

type Commands = mpsc::UnboundedSender<Command>;
type Events = mpsc::Receiver<Result<Event, Error>>;

/// Decisions of the application.
#[derive(Debug)]
pub(crate) enum Command {
    Accept(Destination),
    Cancel,
    ConfirmText,
    ConfirmVerifier(bool),
    Reject(String),
}

/// Starts to send. All paths are checked before this returns, and before any connection is made.
///
/// ```no_run
/// # async fn example() -> Result<(), wormhole::transfer::Error> {
/// use wormhole::transfer::{self, Outgoing, Settings};
///
/// let photos = vec!["photo.jpg".into(), "more photos".into()];
/// let mut transfer = transfer::send(Outgoing::Paths(photos), Settings::default())?;
/// println!("{}", transfer.code().await?);
/// transfer.done().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Something cannot be sent; no connection was made.
///
/// # Panics
/// Outside a tokio runtime.
pub fn send(what: Outgoing, settings: Settings) -> Result<Transfer, Error> {
    let (item, skipped) = SendItem::check(what, settings.ignore_unsendable)?;
    let offer = Some(item.offer());
    let mode = send::mode(&item, &settings);
    let (mut driver, commands, events) = start(Sender::new(settings.verify), mode, &settings);
    // A separate task can still notify the peer and the server when the transfer is dropped.
    tokio::spawn(async move {
        let outcome = send::run(&mut driver, item, &settings).await;
        driver.finish(outcome).await;
    });
    Ok(Transfer { offer, skipped, commands, events })
}

/// Starts to receive.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use wormhole::code::Code;
/// use wormhole::transfer::{self, CodeSource, Destination, Settings};
///
/// let code = CodeSource::Code(Code::parse("4-purple-sausages")?);
/// let mut transfer = transfer::receive(code, Settings::default());
/// transfer.offered().await?;
/// transfer.accept(Destination::Writer(Box::new(std::io::stdout())));
/// transfer.done().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
/// Outside a tokio runtime.
pub fn receive(code: CodeSource, settings: Settings) -> Transfer {
    let mode = dilated::is_wanted(&settings).then_some(Mode::Receive);
    let (mut driver, commands, events) = start(Receiver::new(), mode, &settings);
    tokio::spawn(async move {
        let outcome = receive::run(&mut driver, code, &settings).await;
        driver.finish(outcome).await;
    });
    Transfer { offer: None, skipped: Vec::new(), commands, events }
}

fn start<S: TransferSession>(
    session: S,
    mode: Option<Mode>,
    settings: &Settings,
) -> (TransferDriver<S>, Commands, Events) {
    let (commands, command_queue) = mpsc::unbounded_channel();
    let (event_sender, events) = mpsc::channel(EVENTS);
    (TransferDriver::start(session, mode, settings, command_queue, event_sender), commands, events)
}

impl Transfer {
    /// The offer of a sender; `None` for a receiver.
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// println!("sending {:?}", transfer.offer());
    /// # Ok(())
    /// # }
    /// ```
    pub const fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref()
    }

    /// Entries that were omitted because they cannot be read ([`Settings::ignore_unsendable`]).
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// for left_out in transfer.skipped() {
    ///     println!("{left_out}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn skipped(&self) -> &[Unsendable] {
        &self.skipped
    }

    /// Waits for the next event; `None` when the transfer has ended, after [`Event::Done`] or an error.
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// while let Some(event) = transfer.next().await {
    ///     println!("{:?}", event?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.events.recv().await
    }

    /// Waits until the code is known.
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// println!("{}", transfer.code().await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The transfer ended before.
    pub async fn code(&mut self) -> Result<Code, Error> {
        self.find(|event| {
            if let Event::Wormhole(code::Event::Code(code)) = event { Some(code) } else { None }
        })
        .await
    }

    /// Waits for the offer. Answer it with [`Transfer::accept`] or [`Transfer::reject`]. A text ([`Offer::Text`]) has
    /// already been received; answer it with [`Transfer::confirm_text`] instead of
    /// `accept`.
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// use wormhole::transfer::Offer;
    ///
    /// match transfer.offered().await? {
    ///     Offer::Text(text) => {
    ///         println!("{}", text.escape_debug());
    ///         transfer.confirm_text();
    ///     }
    ///     offer => println!("{offer:?}: take it?"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The transfer ended before.
    pub async fn offered(&mut self) -> Result<Offer, Error> {
        let offer = |event| {
            if let Event::Offer(offer) = event {
                return Some(offer);
            }
            if let Event::Text(text) = event { Some(Offer::Text(text)) } else { None }
        };
        self.find(offer).await
    }

    /// Waits for the end. Everything that needs an answer ([`Event::Offer`], [`Event::Text`], and
    /// the verifier with [`Settings::verify`]) must be answered before.
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// let report = transfer.done().await?;
    /// println!("{} bytes in {:?}", report.bytes, report.elapsed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The transfer failed.
    pub async fn done(mut self) -> Result<Report, Error> {
        let done = |event| if let Event::Done(report) = event { Some(report) } else { None };
        let outcome = self.find(done).await;
        // The mailbox is still being closed.
        while self.events.recv().await.is_some() {}
        outcome
    }

    /// Waits for an event, skipping all others.
    async fn find<T>(&mut self, look: impl Fn(Event) -> Option<T>) -> Result<T, Error> {
        while let Some(event) = self.next().await {
            if let Some(found) = look(event?) {
                return Ok(found);
            }
        }
        Err(code::Error::Closed.into())
    }

    /// Reports whether the verifiers are equal, after the verifier event.
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// use wormhole::code;
    /// use wormhole::transfer::Event;
    ///
    /// while let Some(event) = transfer.next().await {
    ///     if let Event::Wormhole(code::Event::Verifier(verifier)) = event? {
    ///         println!("does the other side see {verifier}?");
    ///         transfer.confirm_verifier(true);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn confirm_verifier(&self, matches: bool) {
        self.command(Command::ConfirmVerifier(matches));
    }

    /// Confirms to the sender that a text has been delivered to the user, after [`Event::Text`]. Use
    /// [`Transfer::reject`] if that failed.
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// use wormhole::transfer::Offer;
    ///
    /// if let Offer::Text(text) = transfer.offered().await? {
    ///     match std::fs::write("note.txt", text) {
    ///         Ok(()) => transfer.confirm_text(),
    ///         Err(_) => transfer.reject("the receiving side could not write the text"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn confirm_text(&self) {
        self.command(Command::ConfirmText);
    }

    /// Accepts the offer, after [`Event::Offer`]. For a text, the destination is ignored.
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// use wormhole::transfer::{Destination, OnExists};
    ///
    /// transfer.offered().await?;
    /// let folder = "downloads".into();
    /// transfer.accept(Destination::Folder { folder, on_exists: OnExists::KeepBoth });
    /// # Ok(())
    /// # }
    /// ```
    pub fn accept(&self, destination: Destination) {
        self.command(Command::Accept(destination));
    }

    /// Rejects the offer; the reason is sent to the sender.
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// transfer.offered().await?;
    /// transfer.reject("transfer rejected");
    /// # Ok(())
    /// # }
    /// ```
    pub fn reject(&self, reason: &str) {
        self.command(Command::Reject(reason.to_owned()));
    }

    /// Cancels the transfer. Waits until the other side and the server have been notified (at most three seconds), and
    /// until a receiver has removed its incomplete files (at most ten seconds). Returns what is kept for a later attempt, see
    /// [`Event::Kept`].
    ///
    /// ```no_run
    /// # use wormhole::transfer::{Error, Transfer};
    /// # async fn example(mut transfer: Transfer) -> Result<(), Error> {
    /// transfer.cancel().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn cancel(mut self) -> Option<PathBuf> {
        self.command(Command::Cancel);
        let mut kept = None;
        while let Some(event) = self.events.recv().await {
            if let Ok(Event::Kept(path)) = event {
                kept = Some(path);
            }
        }
        kept
    }

    /// An ended transfer ignores commands.
    fn command(&self, command: Command) {
        let _ended = self.commands.send(command);
    }
}

/// Maximum number of events that wait for the application.
const EVENTS: usize = 16;
