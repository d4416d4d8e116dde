//! Commands of an application to a wormhole, and events for the application.

use std::fmt;
use std::num::NonZeroU8;
use std::time::Duration;

use super::peer_version::PeerVersion;
use crate::code::{Code, Nameplate, Password};
use crate::key::{Key, Verifier};
use crate::mailbox::{MailboxUrl, Mood, Welcome};

/// Commands of an application. The code is chosen exactly once: by
/// [`AllocateCode`](Self::AllocateCode), [`SetCode`](Self::SetCode), or
/// [`InputNameplate`](Self::InputNameplate) followed by [`InputPassword`](Self::InputPassword).
#[derive(Clone)]
pub enum Command {
    /// Allocate a nameplate and choose a random password.
    AllocateCode {
        /// Number of words of the password, 8 bits each.
        words: NonZeroU8,
    },
    /// Use this code, which comes from the peer or was agreed in advance.
    SetCode(Code),
    /// List the nameplates in use, for completion.
    RefreshNameplates,
    /// The nameplate of a typed code is final. It is claimed at once, so that the server has answered when the password
    /// is complete.
    InputNameplate(Nameplate),
    /// The password of a typed code is complete.
    InputPassword(Password),
    /// Send a message to the peer. It waits until the key is confirmed, and survives lost connections.
    Send(Vec<u8>),
    /// Send a dilation message to the peer, numbered independently of [`Send`](Self::Send).
    SendDilation(Vec<u8>),
    /// The network has changed, or another connection was lost and needs the server to be replaced: the server has to
    /// answer within 1.5 s, or the connection to it is replaced, with short pauses until that succeeds.
    Hurry,
    /// Close the wormhole. The default mood is happy if the key was confirmed, otherwise lonely.
    Close(Option<Mood>),
}

/// Prints no messages, and only the nameplate of codes.
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
            Self::SendDilation(message) => write!(f, "SendDilation({} bytes)", message.len()),
            Self::Hurry => f.write_str("Hurry"),
            Self::Close(mood) => f.debug_tuple("Close").field(mood).finish(),
        }
    }
}

/// Events for an application, each at most once unless stated otherwise.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The server answered at this URL.
    Server(MailboxUrl),
    /// The server's information for all clients.
    Welcome(Welcome),
    /// The connection to the server is lost and will be reopened. May occur repeatedly.
    ServerLost,
    /// The connection is still lost, after this many more failed attempts or short connections.
    ServerRetry {
        /// Number of failed connections in a row, at least 1.
        failures: u32,
        /// Time until the next attempt.
        pause: Duration,
    },
    /// The connection to the server is back and nothing was lost. May occur repeatedly.
    ServerFound,
    /// The nameplates in use, after each [`Command::RefreshNameplates`].
    Nameplates(Vec<Nameplate>),
    /// The typed nameplate is claimed; the password is expected.
    NameplateClaimed,
    /// The code is known.
    Code(Code),
    /// The peer is here and the nameplate is released: the code is used up.
    CodeConsumed,
    /// The key exchange is complete. It is not known yet whether the peer has the same key.
    Key(Key),
    /// The peer has the same key, and therefore the same code. Users may compare the verifier.
    Verifier(Verifier),
    /// The peer's version message.
    Version(PeerVersion),
    /// A message from the peer. Messages arrive in order, each once.
    Message(Vec<u8>),
    /// A dilation message from the peer (phase `dilate-N`). They arrive in order, each once, and independently of
    /// [`Event::Message`]. Applications without dilation ignore them.
    Dilation {
        /// The number of the message among the dilation messages, from 0.
        number: u64,
        /// Its content: one JSON object.
        plaintext: Vec<u8>,
    },
    /// The wormhole is closed. This is the last event.
    Closed(Closed),
}

/// Prints neither keys nor messages, and only the nameplate of codes.
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
    /// The mood that was sent to the server, or would have been sent.
    pub mood: Mood,
    /// Whether the server confirmed that nothing of ours is stored any more. If not, it removes the rest
    /// within minutes.
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
            format!("{:?}", Command::SendDilation(b"AAAA".to_vec())),
            format!("{:?}", Command::SetCode(code.clone())),
            format!("{:?}", Command::InputPassword(password)),
            format!("{:?}", Event::Message(b"AAAA".to_vec())),
            format!("{:?}", Event::Dilation { number: 3, plaintext: b"AAAA".to_vec() }),
            format!("{:?}", Event::Code(code)),
        ];
        let expected = [
            "Send(4 bytes)",
            "SendDilation(4 bytes)",
            "SetCode(Code(4-…))",
            "InputPassword(Password(…))",
            "Message(4 bytes)",
            "Dilation(3, 4 bytes)",
            "Code(Code(4-…))",
        ];
        assert_eq!(shown, expected);
    }
}
