//! What an application may ask of a wormhole, and what it is told.

use std::fmt;
use std::num::NonZeroU8;
use std::time::Duration;

use super::peer_version::PeerVersion;
use crate::code::{Code, Nameplate, Password};
use crate::key::{Key, Verifier};
use crate::mailbox::{MailboxUrl, Mood, Welcome};

/// What an application may ask. Exactly one of the ways to a code may be gone, once:
/// [`AllocateCode`](Self::AllocateCode), [`SetCode`](Self::SetCode), or
/// [`InputNameplate`](Self::InputNameplate) followed by [`InputPassword`](Self::InputPassword).
#[derive(Clone)]
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

/// Shows no message, and of codes the nameplate only.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllocateCode { words } => write!(f, "AllocateCode({words} words)"),
            Self::SetCode(code) => f.debug_tuple("SetCode").field(code).finish(),
            Self::RefreshNameplates => f.write_str("RefreshNameplates"),
            Self::InputNameplate(nameplate) => write!(f, "InputNameplate({nameplate})"),
            Self::InputPassword(password) => {
                f.debug_tuple("InputPassword").field(password).finish()
            }
            Self::Send(message) => write!(f, "Send({} bytes)", message.len()),
            Self::Close(mood) => f.debug_tuple("Close").field(mood).finish(),
        }
    }
}

/// What an application is told, each at most once unless it says otherwise.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The server answered, at this one of its addresses.
    Server(MailboxUrl),
    /// What the server says to everybody who connects.
    Welcome(Welcome),
    /// The link to the server is lost and will be opened again. May come any number of times.
    ServerLost,
    /// The link to the server is still lost, after this many more attempts or short-lived links.
    ServerRetry {
        /// Links in a row that were of no use, at least 1.
        failures: u32,
        /// Time until the next attempt.
        pause: Duration,
    },
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
    /// What the peer's program and its application say about themselves.
    Version(PeerVersion),
    /// A message from the peer. Messages come in the order in which they were sent, each once.
    Message(Vec<u8>),
    /// A message from the peer that sets up a dilation (phase `dilate-N`). They come in the order in
    /// which they were sent, each once, and independently of [`Event::Message`]. An application that
    /// cannot dilate ignores them.
    Dilation {
        /// The number of the message among the dilation messages, from 0.
        number: u64,
        /// Its content: one JSON object.
        plaintext: Vec<u8>,
    },
    /// The wormhole is closed. Nothing comes after this.
    Closed(Closed),
}

/// Shows neither keys nor messages, and of codes the nameplate only.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server) => f.debug_tuple("Server").field(server).finish(),
            Self::Welcome(welcome) => f.debug_tuple("Welcome").field(welcome).finish(),
            Self::ServerLost => f.write_str("ServerLost"),
            Self::ServerRetry { failures, pause } => f
                .debug_struct("ServerRetry")
                .field("failures", failures)
                .field("pause", pause)
                .finish(),
            Self::ServerFound => f.write_str("ServerFound"),
            Self::Nameplates(nameplates) => f.debug_tuple("Nameplates").field(nameplates).finish(),
            Self::NameplateClaimed => f.write_str("NameplateClaimed"),
            Self::Code(code) => f.debug_tuple("Code").field(code).finish(),
            Self::CodeConsumed => f.write_str("CodeConsumed"),
            Self::Key(key) => f.debug_tuple("Key").field(key).finish(),
            Self::Verifier(verifier) => f.debug_tuple("Verifier").field(verifier).finish(),
            Self::Version(version) => f.debug_tuple("Version").field(version).finish(),
            Self::Message(message) => write!(f, "Message({} bytes)", message.len()),
            Self::Dilation { number, plaintext } => {
                write!(f, "Dilation({number}, {} bytes)", plaintext.len())
            }
            Self::Closed(closed) => f.debug_tuple("Closed").field(closed).finish(),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_messages_nor_passwords_print() {
        let code: Code = "4-purple-sausages".parse().unwrap();
        let password = Password::parse("purple-sausages").unwrap();
        let shown = [
            format!("{:?}", Command::Send(b"AAAA".to_vec())),
            format!("{:?}", Command::SetCode(code.clone())),
            format!("{:?}", Command::InputPassword(password)),
            format!("{:?}", Event::Message(b"AAAA".to_vec())),
            format!("{:?}", Event::Dilation { number: 3, plaintext: b"AAAA".to_vec() }),
            format!("{:?}", Event::Code(code)),
        ];
        let expected = [
            "Send(4 bytes)",
            "SetCode(Code(4-…))",
            "InputPassword(Password(…))",
            "Message(4 bytes)",
            "Dilation(3, 4 bytes)",
            "Code(Code(4-…))",
        ];
        assert_eq!(shown, expected);
    }
}
