//! File transfer without I/O: what the two sides say to one another, names that are safe to use,
//! and the zip that carries a directory (file-transfer-protocol.md).
//!
//! Not the connection that carries the bytes (that is [`crate::transit`]) and not the files
//! themselves (those belong to the driver).

mod abilities;
mod data;
mod error;
mod link;
pub mod message;
pub mod name;
pub mod negotiation;
mod receiver;
mod sender;
pub mod zip;

pub use abilities::{Abilities, TransferAbility};
pub use data::{ContentHash, DataError, DataReceiver, DataSender, SendStep};
pub use error::TransferError;
pub use link::{CARRIER, MAILBOX, TransferAddress};
pub use receiver::{Receiver, ReceiverCommand, ReceiverEvent};
pub use sender::{Sender, SenderCommand, SenderEvent};

pub use message::{Ack, Answer, Attributes, BadMessage, Message, Offer, ReceiverRecord};
pub use name::{PeerName, UnsafeName};
pub use negotiation::{
    NegotiationError, PeerMisbehaved, ReceiveEvent, ReceiveNegotiation, SendEvent, SendNegotiation,
};

/// Announced in `app_versions` under `abilities` by a receiver that takes
/// [`Offer::Stream`]: data records of unknown number, ended by an empty one.
pub const STREAM_ABILITY: &str = "stream-v1";

/// Announced in `app_versions` under `abilities` by a receiver that takes entries of a zip for
/// folders that are not empty, and [`Attributes`] in the offer of a directory. With them, permissions
/// and times of all folders arrive; wormhole-william takes every entry for a file and fails.
pub const FOLDERS_ABILITY: &str = "folders-v1";

/// Announced in `app_versions` under `abilities` by a receiver that takes [`Attributes`] in the
/// offer of a single file.
pub const ATTRIBUTES_ABILITY: &str = "attributes-v1";

/// Announced in `app_versions` under `abilities` by a receiver that removes files which the table of
/// contents of a zip does not name ([`zip::ZipWriter::omit`]), and tells its user about them.
pub const OMISSIONS_ABILITY: &str = "omissions-v1";

/// Announced in `app_versions` under `abilities` by a sender that takes [`ReceiverRecord::Received`]
/// while it sends.
pub const PROGRESS_ABILITY: &str = "progress-v1";

/// Announced in `app_versions` under `abilities` by every client that speaks this protocol.
pub const TRANSFER_ABILITY: &str = "transfer-v1";
