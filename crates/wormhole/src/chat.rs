//! End-to-end encrypted messages between the users of several apps, through a messaging service.
//!
//! | type | for |
//! |---|---|
//! | [`store::Store`] | everything that a device must not lose, encrypted on the disk |
//! | [`Account`] | registering a number, or linking a device, without a connection |
//! | [`Client`] | sending and receiving |
//!
//! The protocol is in `wormhole-chat`, without I/O; docs/chat-protocol.md describes it, and docs/chat-service.md the service.
//! A message is in the store before it is sent, and a received message is in the store before the server is told that it
//! arrived. So nothing is lost when the program is killed at any moment. A received message, also one that cannot be read, stays
//! in the store until the application is [`done`](Client::done) with it, and a message that cannot be sent until it is
//! [forgotten](Client::forget_failed). A message that waits can be [cancelled](Client::cancel). If the application is killed between storing a message and `done`, it gets the message
//! again, with the same [`ReceivedId`].
//!
//! Groups: [`Client::create_group`] and [`Client::join_group`]; [`Client::group`] changes one, and [`Client::send`] sends a message to
//! its members.

mod account;
mod attachment;
mod change;
mod client;
mod devices;
mod direct;
mod drafts;
mod driver;
mod error;
mod history;
mod introduce;
mod link;
mod message;
mod peer_channel;
mod profile;

mod safety_words;
mod server;
mod service;
pub mod store;
mod usernames;
mod written;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use {link::fuzz as sdk_chat_copy, service::fuzzing::sdk_chat_response};

pub use account::{Account, AccountState};
pub use change::Change;
pub use client::{
    Client, Download, DownloadProgress, Events, Group, GroupInfo, Messages, Options, PendingChange,
    RouteHook, SentMessage,
};
pub use devices::{DeviceError, OwnDevice};
pub use direct::DirectFiles;
pub use drafts::Draft;
pub use error::{
    AttachmentError, DecideError, DeliveryError, Ended, GroupError, IdentityError, NameError,
    NotOpened, NotStored, OpenError, QueueError, ReadError, RegisterError, RequestError,
    ServerFault,
};
pub use history::{
    Conversation, ConversationSummary, EarlierMessage, EarlierText, HistoryId, HistoryLimits,
    HistoryMessage, HistoryMode, HistoryReaction, HistoryRecipient, HistoryState, Search,
};
pub use introduce::{IntroduceError, Introduced, Introducing};
pub use link::{
    AcceptLinkError, Copied, CopyError, InterruptedLink, LinkError, LinkGuest, LinkHost,
    LinkOptions, LinkPeerError, LinkRequest, LinkUri, LinkedDevice, NotALinkUri, OfferedAccount,
    QrLinking, ReceivingCopy, ScannedDevice, Withdrawal,
};
pub use message::{
    AcceptedNumber, Attachment, CancelOutcome, Connection, Event, FailedMessage, IdentityChange,
    KeyState, Me, Message, MessageRequest, OutboxMessage, Progress, ReceivedMessage, Recipient,
    RefusedNumber, Route, SafetyNumber, WaitingMessage,
};
pub use peer_channel::MailboxOptions;
pub use profile::{ContactProfile, OwnProfile, ProfileChange, ProfileError};
pub use server::{
    AppCredentials, Network, NotAServerUrl, NotAToken, Server, ServerUrl, Token, Transport,
};
pub use service::UploadProgress;
pub use store::{Contact, ReceivedId};
pub use wormhole_chat::group;
pub use wormhole_chat::rules::ChangeRefusal;
pub use wormhole_chat::service::{
    AppName, Destination, NotADestination, NotAPhoneNumber, NotAUsername, NotAnAppName,
    PhoneNumber, Username,
};
pub use wormhole_chat::{
    AccountId, Address, BodyRange, CopyFailure, DeviceId, Emoji, GroupDelay, GroupEvent,
    GroupFailure, IntroductionDecodeError, LinkDecodeError, LinkPreview, LinkRefusal, Membership,
    MessageRef, NotAnAccountId, NotAnEmoji, PartlySent, PublicKey, Quote, QuotedFile, RangeKind,
    ReceiptKind, RestoreError, SendFailure, TextPart, Timestamp, text_parts,
};

/// A contact of which we know only the account.
const fn contact(account: AccountId) -> Contact {
    Contact {
        account,
        number: None,
        app: None,
        name: None,
        verified: None,
        profile: None,
        is_default: false,
        is_in_app: false,
    }
}
