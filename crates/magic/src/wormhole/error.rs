//! Errors that end a wormhole, by the party at fault.

use crate::mailbox::hashcash::ImpossibleDemand;
use crate::mailbox::{MalformedMessage, Mood};
use crate::spake2::PakeError;

/// Why a wormhole ended with an error.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WormholeError {
    /// The application used the wormhole incorrectly.
    #[error("wormhole misused: {0}")]
    ApiMisuse(#[from] ApiMisuse),
    /// The server lost our mailbox while we were disconnected.
    #[error("the mailbox server has forgotten the mailbox of this code")]
    MailboxLost,
    /// The peer, or an attacker, violated the protocol.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The server violated the protocol.
    #[error("mailbox server misbehaved: {0}")]
    ServerMisbehaved(#[from] ServerMisbehaved),
    /// The server rejected a message.
    #[error("mailbox server refused: {0}")]
    ServerRefused(ServerText),
    /// No connection to the server succeeded, at any of its URLs. After the first success, lost connections are
    /// reopened without limit instead.
    #[error("mailbox server cannot be reached")]
    ServerUnreachable,
    /// The server rejects this client.
    #[error("mailbox server says: {0}")]
    Unwelcome(ServerText),
    /// The peer has another code: a typing mistake on either side, or a wrong guess of an attacker.
    #[error("the codes of the two sides do not match")]
    WrongCode,
}

impl WormholeError {
    /// The mood for closing the mailbox.
    pub const fn mood(&self) -> Mood {
        match self {
            Self::WrongCode => Mood::Scary,
            Self::PeerMisbehaved(misbehaviour) => misbehaviour.mood(),
            Self::Unwelcome(_) => Mood::Unwelcome,
            Self::ApiMisuse(_)
            | Self::MailboxLost
            | Self::ServerMisbehaved(_)
            | Self::ServerRefused(_)
            | Self::ServerUnreachable => Mood::Errory,
        }
    }
}

/// How the application used a wormhole incorrectly.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ApiMisuse {
    /// The code or its nameplate has already been chosen.
    #[error("the code is already chosen")]
    CodeAlreadyChosen,
    /// A message longer than [`MAX_MESSAGE`](super::MAX_MESSAGE).
    #[error("a message of {0} bytes is too long")]
    MessageTooLong(usize),
    /// The password was given before the nameplate.
    #[error("the nameplate must be chosen first")]
    NameplateNotChosen,
    /// Too many messages are waiting; check `wants_input` first.
    #[error("too much is waiting to be sent")]
    TooMuchUnsent,
}

/// How the peer, or an attacker, violated the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A message could not be decrypted although earlier ones could.
    #[error("a message was forged or damaged")]
    Forged,
    /// A message is not hexadecimal.
    #[error("a message is not hexadecimal")]
    NotHex,
    /// The key exchange failed.
    #[error("{0}")]
    Pake(#[from] PakeError),
    /// The key-exchange message is not valid JSON.
    #[error("the key-exchange message is malformed")]
    PakeMalformed,
    /// A message is far ahead of the previous ones.
    #[error("message {0} is missing")]
    PhaseMissing(u64),
    /// Too many messages arrived before the key was known or a gap was filled.
    #[error("too many messages are out of order")]
    TooManyEarlyMessages,
    /// The version message is not valid JSON.
    #[error("the version message is malformed")]
    VersionMalformed,
}

impl PeerMisbehaved {
    const fn mood(self) -> Mood {
        match self {
            Self::Forged | Self::NotHex | Self::Pake(_) | Self::PakeMalformed => Mood::Scary,
            Self::PhaseMissing(_) | Self::TooManyEarlyMessages | Self::VersionMalformed => {
                Mood::Errory
            }
        }
    }
}

/// How the server violated the protocol.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerMisbehaved {
    /// It allocated an invalid nameplate.
    #[error("it allocated a nameplate that is not a number")]
    BadNameplate,
    /// It requires an impossible proof of work.
    #[error("it demands {0}")]
    ImpossibleDemand(#[from] ImpossibleDemand),
    /// Its message is malformed.
    #[error("it sent {0}")]
    Malformed(#[from] MalformedMessage),
    /// It requires only unknown kinds of permissions.
    #[error("it demands permissions of an unknown kind")]
    UnknownPermissions,
}

/// A text of a server, made safe for display: one line of at most [`MAX_SERVER_TEXT`] characters, without any that
/// move the cursor or reverse the text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerText(String);

impl ServerText {
    /// Makes `text` safe for display.
    pub fn new(text: &str) -> Self {
        let safe = |c: char| if wormhole_kit::is_deceptive(c) { ' ' } else { c };
        Self(text.trim().chars().take(MAX_SERVER_TEXT).map(safe).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ServerText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Maximum length of a displayed server text in characters.
pub const MAX_SERVER_TEXT: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_server_cannot_move_the_cursor() {
        let text = ServerText::new("  go\x1b[2J\r\naway\u{202e}gpj.exe\u{9b}1m ");
        assert_eq!(text.as_str(), "go [2J  away gpj.exe 1m");
        assert_eq!(ServerText::new(&"x".repeat(5000)).as_str().len(), MAX_SERVER_TEXT);
    }

    #[test]
    fn a_wrong_code_is_scary_and_a_refusal_is_not() {
        assert_eq!(WormholeError::WrongCode.mood(), Mood::Scary);
        assert_eq!(WormholeError::ServerRefused(ServerText::new("crowded")).mood(), Mood::Errory);
        assert_eq!(
            WormholeError::from(PeerMisbehaved::Pake(PakeError::Reflected)).mood(),
            Mood::Scary
        );
    }
}
