//! Commands of the application to a dilated connection, and events for the application.

use std::fmt;

use crate::transit::{Hint, Route};

/// A subchannel: a stream in both directions.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(clippy::exhaustive_enums, reason = "there are only two sides")]
pub enum SubchannelId {
    /// One that we open: the first has number 0, later ones are larger by 1.
    Ours(u32),
    /// One that the peer has opened, with its number on the wire.
    Theirs(u32),
}

/// Commands of the application.
#[derive(Clone, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "drivers create all of them")]
pub enum DilationCommand {
    /// A dilation message of the peer arrived through the mailbox, in order.
    Mailbox(Vec<u8>),
    /// Where the peer can reach us now, without relays: the answer to [`DilationEvent::HintsWanted`], or later.
    Hints(Vec<Hint>),
    /// The addresses of this computer have changed, and these are the new ones, as in [`Hints`](Self::Hints). Connections that
    /// failed before may succeed now.
    AddressesChanged(Vec<Hint>),
    /// Whether messages of the peer can arrive through the mailbox. At the start, they can.
    MailboxReachable(bool),
    /// Opens a subchannel of ours.
    Open {
        /// Its number, larger than that of all earlier ones.
        number: u32,
        /// The purpose; at most [`MAX_SUBPROTOCOL`](super::record::MAX_SUBPROTOCOL) bytes.
        subprotocol: String,
    },
    /// Sends data on a subchannel. While [`wants_input`](wormhole_kit::Session::wants_input) returns false, writers should wait.
    Write(SubchannelId, Vec<u8>),
    /// We send no more data on this subchannel.
    Finish(SubchannelId),
    /// The application has processed this many bytes of a subchannel.
    Consumed(SubchannelId, usize),
    /// The application reads no more from this subchannel: its data is dropped.
    StopReading(SubchannelId),
    /// Leave: end all connections. Data that the peer has not acknowledged may be lost.
    Leave,
}

/// Prints no data.
impl fmt::Debug for DilationCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(message) => write!(f, "Mailbox({} bytes)", message.len()),
            Self::Hints(hints) => f.debug_tuple("Hints").field(hints).finish(),
            Self::AddressesChanged(hints) => {
                f.debug_tuple("AddressesChanged").field(hints).finish()
            }
            Self::MailboxReachable(reachable) => {
                f.debug_tuple("MailboxReachable").field(reachable).finish()
            }
            Self::Open { number, subprotocol } => write!(f, "Open({number}, {subprotocol:?})"),
            Self::Write(id, data) => write!(f, "Write({id:?}, {} bytes)", data.len()),
            Self::Finish(id) => f.debug_tuple("Finish").field(id).finish(),
            Self::Consumed(id, bytes) => write!(f, "Consumed({id:?}, {bytes} bytes)"),
            Self::StopReading(id) => f.debug_tuple("StopReading").field(id).finish(),
            Self::Leave => f.write_str("Leave"),
        }
    }
}

/// Events for the application.
#[derive(Clone, Eq, PartialEq)]
#[non_exhaustive]
pub enum DilationEvent {
    /// Send this through the mailbox, as the next dilation message.
    Mailbox(Vec<u8>),
    /// A generation starts: answer with [`DilationCommand::Hints`].
    HintsWanted,
    /// A connection transports data, for the first time or again. May follow itself when a better one replaces it.
    Connected(Route),
    /// The connection is lost; the next one is being made.
    Disconnected,
    /// The peer opened a subchannel.
    Opened {
        /// The subchannel.
        id: SubchannelId,
        /// The purpose.
        subprotocol: String,
    },
    /// Data of a subchannel, in order; confirm with [`DilationCommand::Consumed`].
    Data(SubchannelId, Vec<u8>),
    /// The peer sends no more data on this subchannel.
    Finished(SubchannelId),
    /// The peer accepts data on this subchannel again, see [`accepts_data`](super::Dilation::accepts_data).
    Writable(SubchannelId),
}

/// Prints no data.
impl fmt::Debug for DilationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(message) => write!(f, "Mailbox({} bytes)", message.len()),
            Self::HintsWanted => f.write_str("HintsWanted"),
            Self::Connected(route) => f.debug_tuple("Connected").field(route).finish(),
            Self::Disconnected => f.write_str("Disconnected"),
            Self::Opened { id, subprotocol } => write!(f, "Opened({id:?}, {subprotocol:?})"),
            Self::Data(id, data) => write!(f, "Data({id:?}, {} bytes)", data.len()),
            Self::Finished(id) => f.debug_tuple("Finished").field(id).finish(),
            Self::Writable(id) => f.debug_tuple("Writable").field(id).finish(),
        }
    }
}
