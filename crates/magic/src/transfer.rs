//! File transfer without I/O: the sessions of both sides, their messages, safe names, and the zip
//! that carries a directory (file-transfer-protocol.md).
//!
//! [`Sender`] and [`Receiver`] negotiate through the mailbox; [`DataSender`] and [`DataReceiver`] count
//! and hash the data. The connection for the data is in [`crate::transit`], and the SDK handles
//! files. Two of ours use [`dilated`] instead: without a zip, and resumable.

mod abilities;
mod data;
pub mod dilated;
mod error;
mod link;
pub mod message;
pub mod name;
mod receiver;
mod sender;
pub mod zip;

pub use abilities::{Abilities, TransferAbility};
pub use data::{ContentHash, DataError, DataReceiver, DataSender, SendStep};
pub use error::{PeerMisbehaved, TransferError};
pub use link::{CARRIER, MAILBOX, TransferAddress};
pub use receiver::{Receiver, ReceiverCommand, ReceiverEvent};
pub use sender::{Sender, SenderCommand, SenderEvent};

pub use message::{Ack, Answer, Attributes, BadMessage, Message, Offer, ReceiverRecord};
pub use name::{PeerName, UnsafeName};
