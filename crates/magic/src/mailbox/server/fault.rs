//! Why a client's message is rejected, with the error messages of the Python server.
//!
//! Clients show these messages to users, and some compare them, so they are part of the protocol. (mailbox
//! protocol, "Error strings")

/// Why a message is invalid at this point of the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A second `allocate`.
    #[error("you already allocated one, don't be greedy")]
    AlreadyAllocated,
    /// A second `bind`.
    #[error("already bound")]
    AlreadyBound,
    /// `bind` without an application.
    #[error("bind requires 'appid'")]
    BindWithoutAppid,
    /// `bind` without a side.
    #[error("bind requires 'side'")]
    BindWithoutSide,
    /// `claim` without a nameplate.
    #[error("claim requires 'nameplate'")]
    ClaimWithoutNameplate,
    /// `close` without a mailbox, and none was opened.
    #[error("close without mailbox must follow open")]
    CloseBeforeOpen,
    /// The frame is longer than this many bytes.
    #[error("frame is longer than {0} bytes")]
    FrameTooLong(usize),
    /// `add` without content.
    #[error("missing 'body'")]
    MissingBody,
    /// `add` without a phase.
    #[error("missing 'phase'")]
    MissingPhase,
    /// The message has no type. It is not acknowledged.
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
    /// The frame is JSON, but not an object.
    #[error("frame is not a JSON object")]
    NotAnObject,
    /// The frame was dropped because it was long and the memory for clients is limited.
    #[error("no memory left for a message of this length, try again later")]
    NoMemory,
    /// The first message must be `bind`.
    #[error("must bind first")]
    NotBound,
    /// The frame is not valid JSON in UTF-8.
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
    /// `open` without a mailbox.
    #[error("open requires 'mailbox'")]
    OpenWithoutMailbox,
    /// `close` with another mailbox than `open`.
    #[error("open and close must use same mailbox")]
    OtherMailbox,
    /// `release` with another nameplate than `claim`.
    #[error("release and claim must use same nameplate")]
    OtherNameplate,
    /// The stamp is invalid, or missing before `bind`.
    #[error("permission denied")]
    PermissionDenied,
    /// `ping` without a value to return.
    #[error("ping requires 'ping'")]
    PingWithoutPing,
    /// Rejected with the error of the store.
    #[error("{0}")]
    Refused(Refusal),
    /// `release` without a nameplate, and none was claimed.
    #[error("release without nameplate must follow claim")]
    ReleaseBeforeClaim,
    /// Unknown message type.
    #[error("unknown type")]
    UnknownType,
}

/// Why the store rejects a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The nameplate or mailbox already has two sides.
    #[error("crowded")]
    Crowded,
    /// The mailbox has reached its maximum size.
    #[error("mailbox is full")]
    MailboxFull,
    /// No free nameplate was found.
    #[error("unable to find a free nameplate-id")]
    NoFreeNameplate,
    /// The side has not opened the mailbox.
    #[error("must open mailbox before adding")]
    NotOpen,
    /// This side has released the nameplate before.
    #[error("reclaimed")]
    Reclaimed,
    /// The database has reached its maximum size.
    #[error("the server's storage is full, try again later")]
    StorageFull,
    /// The client's address has claimed too often recently.
    #[error("too many claims from your address, try again later")]
    TooManyClaims,
    /// The client's address has sent too much recently.
    #[error("too many messages from your address, try again later")]
    TooManyMessages,
    /// The client's address has stored too much.
    #[error("your address has too much stored on this server, try again later")]
    TooMuchStored,
    /// The request could not be committed. Nothing was stored.
    #[error("the server cannot store this now, try again later")]
    Unavailable,
}

/// Maximum length of an application, side, mailbox, phase or mood, in bytes. Our limit: ten times what clients
/// use.
pub const MAX_NAME: usize = 512;
