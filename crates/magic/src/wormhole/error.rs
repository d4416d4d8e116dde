//! Why a wormhole ended badly, by whose fault it is.

use crate::mailbox::hashcash::ImpossibleDemand;
use crate::mailbox::{MalformedMessage, Mood};
use crate::spake2::PakeError;

/// Why a wormhole ended badly.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WormholeError {
    /// This program used the wormhole in a way it does not allow.
    #[error("wormhole misused: {0}")]
    ApiMisuse(#[from] ApiMisuse),
    /// The server has forgotten our mailbox while the link to it was lost.
    #[error("the mailbox server has forgotten the mailbox of this code")]
    MailboxLost,
    /// The peer, or somebody in its place, broke the protocol.
    #[error("peer misbehaved: {0}")]
    PeerMisbehaved(#[from] PeerMisbehaved),
    /// The server broke the protocol.
    #[error("mailbox server misbehaved: {0}")]
    ServerMisbehaved(#[from] ServerMisbehaved),
    /// The server would not do what we asked.
    #[error("mailbox server refused: {0}")]
    ServerRefused(ServerText),
    /// No link to the server came about, at any of its addresses. Once there has been one, lost
    /// links are opened again without end instead.
    #[error("mailbox server cannot be reached")]
    ServerUnreachable,
    /// The server does not want this client at all.
    #[error("mailbox server says: {0}")]
    Unwelcome(ServerText),
    /// The peer has another code: a typing error on either side, or an attacker's wrong guess.
    #[error("the codes of the two sides do not match")]
    WrongCode,
}

impl WormholeError {
    /// The mood in which to leave the mailbox.
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

/// How this program misused a wormhole.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ApiMisuse {
    /// The code, or its nameplate, was chosen before.
    #[error("the code is chosen already")]
    CodeAlreadyChosen,
    /// A message longer than [`MAX_MESSAGE`](super::MAX_MESSAGE).
    #[error("a message of {0} bytes")]
    MessageTooLong(usize),
    /// The password came before the nameplate.
    #[error("the nameplate must be chosen first")]
    NameplateNotChosen,
    /// More was sent than waits anywhere: `wants_input` said so.
    #[error("too much is waiting to be sent")]
    TooMuchUnsent,
}

/// How the peer, or somebody in its place, broke the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// A message that cannot be opened, after others that could.
    #[error("a message was forged or damaged")]
    Forged,
    /// The content of a message is not hexadecimal.
    #[error("a message is not hexadecimal")]
    NotHex,
    /// The key exchange failed.
    #[error("{0}")]
    Pake(#[from] PakeError),
    /// The key-exchange message is not the JSON it should be.
    #[error("the key-exchange message is malformed")]
    PakeMalformed,
    /// A message is far ahead of what came before it.
    #[error("message {0} is missing")]
    PhaseMissing(u64),
    /// More messages came than anybody needs before the key is known or a gap is filled.
    #[error("too many messages are out of turn")]
    TooMuchOutOfTurn,
    /// The version message is not the JSON it should be.
    #[error("the version message is malformed")]
    VersionMalformed,
}

impl PeerMisbehaved {
    const fn mood(self) -> Mood {
        match self {
            Self::Forged | Self::NotHex | Self::Pake(_) | Self::PakeMalformed => Mood::Scary,
            Self::PhaseMissing(_) | Self::TooMuchOutOfTurn | Self::VersionMalformed => Mood::Errory,
        }
    }
}

/// How the server broke the protocol.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerMisbehaved {
    /// It allocated something that is no nameplate.
    #[error("it allocated a nameplate that is not a number")]
    BadNameplate,
    /// It demands a proof of work that nobody can give.
    #[error("it demands {0}")]
    ImpossibleDemand(#[from] ImpossibleDemand),
    /// What it said is no message.
    #[error("it sent {0}")]
    Malformed(#[from] MalformedMessage),
    /// It demands permissions in no way that we know.
    #[error("it demands permissions of an unknown kind")]
    UnknownPermissions,
}

/// Words of a server, made safe to show: one line of at most [`MAX_SERVER_TEXT`] characters, none
/// of which can move the cursor or turn the text around.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerText(String);

impl ServerText {
    /// Makes `text` safe to show.
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

/// Longest text of a server that is shown, in characters.
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
