//! Why a client's message is refused, in the words of the reference server.
//!
//! Clients show these words to people, and some compare them: they are part of the protocol.
//! (mailbox protocol, "Error strings")

/// What is wrong with a message, given the link's history.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A second `allocate`.
    #[error("you already allocated one, don't be greedy")]
    AlreadyAllocated,
    /// A second `bind`.
    #[error("already bound")]
    AlreadyBound,
    /// `bind` does not say for which application.
    #[error("bind requires 'appid'")]
    BindWithoutAppid,
    /// `bind` does not say who speaks.
    #[error("bind requires 'side'")]
    BindWithoutSide,
    /// `claim` does not say what.
    #[error("claim requires 'nameplate'")]
    ClaimWithoutNameplate,
    /// `close` names no mailbox and none was opened.
    #[error("close without mailbox must follow open")]
    CloseBeforeOpen,
    /// The frame has more than this many bytes.
    #[error("frame is longer than {0} bytes")]
    FrameTooLong(usize),
    /// `add` has no content.
    #[error("missing 'body'")]
    MissingBody,
    /// `add` has no name.
    #[error("missing 'phase'")]
    MissingPhase,
    /// The message does not say what it is. It is not acknowledged either.
    #[error("missing 'type'")]
    MissingType,
    /// The value of this key is longer than [`MAX_NAME`].
    #[error("'{0}' is longer than {MAX_NAME} bytes")]
    NameTooLong(&'static str),
    /// A nameplate is 1 to 40 of the digits 0 to 9.
    #[error("nameplate must be 1 to 40 digits")]
    NotANameplate,
    /// The value of this key is not a string.
    #[error("'{0}' must be a string")]
    NotAString(&'static str),
    /// The frame is JSON, but no object.
    #[error("frame is not a JSON object")]
    NotAnObject,
    /// The frame was dropped unread: it was long, and what is held for clients is bounded.
    #[error("no memory left for a message of this length, try again later")]
    NoMemory,
    /// `bind` comes first.
    #[error("must bind first")]
    NotBound,
    /// The frame is not JSON in UTF-8.
    #[error("frame is not valid JSON")]
    NotJson,
    /// A second `claim`.
    #[error("only one claim per connection")]
    OnlyOneClaim,
    /// A second `close`.
    #[error("only one close per connection")]
    OnlyOneClose,
    /// `open` while a mailbox is open.
    #[error("only one open per connection")]
    OnlyOneOpen,
    /// A second `release`.
    #[error("only one release per connection")]
    OnlyOneRelease,
    /// `open` does not say what.
    #[error("open requires 'mailbox'")]
    OpenWithoutMailbox,
    /// `close` names another mailbox than `open` did.
    #[error("open and close must use same mailbox")]
    OtherMailbox,
    /// `release` names another nameplate than `claim` did.
    #[error("release and claim must use same nameplate")]
    OtherNameplate,
    /// The stamp does not meet the demand, or none was shown before `bind`.
    #[error("permission denied")]
    PermissionDenied,
    /// `ping` has nothing to send back.
    #[error("ping requires 'ping'")]
    PingWithoutPing,
    /// Refused as the store would refuse it.
    #[error("{0}")]
    Refused(Refusal),
    /// `release` names no nameplate and none was claimed.
    #[error("release without nameplate must follow claim")]
    ReleaseBeforeClaim,
    /// No such type of message.
    #[error("unknown type")]
    UnknownType,
}

/// Why the store refuses a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The nameplate or mailbox has its two sides already.
    #[error("crowded")]
    Crowded,
    /// The mailbox holds as much as a mailbox may.
    #[error("mailbox is full")]
    MailboxFull,
    /// No free nameplate was found.
    #[error("unable to find a free nameplate-id")]
    NoFreeNameplate,
    /// The side is not in the mailbox.
    #[error("must open mailbox before adding")]
    NotOpen,
    /// This side released the nameplate before.
    #[error("reclaimed")]
    Reclaimed,
    /// The database holds as much as it may.
    #[error("the server's storage is full, try again later")]
    StorageFull,
    /// The client's address has claimed too often lately.
    #[error("too many claims from your address, try again later")]
    TooManyClaims,
    /// The client's address has sent too much lately.
    #[error("too many messages from your address, try again later")]
    TooManyMessages,
    /// The client's address has as much stored as one address may.
    #[error("your address has too much stored on this server, try again later")]
    TooMuchStored,
    /// The request could not be made durable. Nothing of it was kept.
    #[error("the server cannot store this now, try again later")]
    Unavailable,
}

/// Longest name of an application, side, mailbox, phase or mood, in bytes. Our choice: ten times
/// what clients use.
pub const MAX_NAME: usize = 512;
