//! What an application may ask of a wormhole, and what it is told.

use std::num::NonZeroU8;

use serde_json::Value;

use crate::code::{Code, Nameplate, Password};
use crate::key::{Key, Verifier};
use crate::mailbox::{Mood, Welcome};

/// What an application may ask. Exactly one of the ways to a code may be gone, once:
/// [`AllocateCode`](Self::AllocateCode), [`SetCode`](Self::SetCode), or
/// [`InputNameplate`](Self::InputNameplate) followed by [`InputPassword`](Self::InputPassword).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Get a nameplate from the server and choose a password of so many words.
    AllocateCode {
        /// Words of the password, 8 bits each.
        words: NonZeroU8,
    },
    /// Use this code, as told by the peer or agreed upon beforehand.
    SetCode(Code),
    /// Ask which nameplates are in use, to help somebody who is typing a code.
    RefreshNameplates,
    /// The first half of a code being typed is final; it is claimed at once, so that the server's
    /// part is done by the time the second half is typed.
    InputNameplate(Nameplate),
    /// The second half of a code is typed.
    InputPassword(Password),
    /// Send the peer a message. It waits until the key is confirmed, and over losses of the link.
    Send(Vec<u8>),
    /// Leave. Without a mood, it is happy if the key was confirmed and lonely if not.
    Close(Option<Mood>),
}

/// What an application is told, each at most once unless it says otherwise.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The server's first words.
    Welcome(Welcome),
    /// The link to the server is lost and will be opened again. May come any number of times.
    ServerLost,
    /// The link to the server is back, nothing was lost. May come any number of times.
    ServerFound,
    /// The nameplates in use, after each [`Command::RefreshNameplates`].
    Nameplates(Vec<Nameplate>),
    /// The nameplate that was typed is claimed: what is left of the code is typed against it.
    NameplateClaimed,
    /// The code is known.
    Code(Code),
    /// The peer is here and the nameplate given back: the code is used up.
    CodeConsumed,
    /// There is a key. Whether anybody else has it is not known yet.
    Key(Key),
    /// Somebody has the same key, hence the same code. Users may compare the verifier.
    Verifier(Verifier),
    /// What the peer's application says about itself.
    Versions(Value),
    /// A message from the peer. Messages come in the order in which they were sent, each once.
    Message(Vec<u8>),
    /// The wormhole is closed. Nothing comes after this.
    Closed(Closed),
}

/// How a wormhole was closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Closed {
    /// The mood the server was told, or would have been.
    pub mood: Mood,
    /// Whether the server confirmed that nothing of ours is left there. If not, it will notice by
    /// itself within minutes.
    pub confirmed: bool,
}
