//! Reactions: one emoji of one person to one message.

use std::fmt;
use std::str::FromStr;

use wormhole_kit::is_bidi_control;

use super::ContentError;
use super::proto::{ReactionProto, account};
use crate::address::AccountId;
use crate::time::Timestamp;

/// Identifies a message by its author, and by the time when it was sent, according to the author.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct MessageRef {
    /// The sender.
    pub author: AccountId,
    /// When.
    pub timestamp: Timestamp,
}

/// A reaction to a message. A person has at most one for each message: [`reaction_wins`](super::rules::reaction_wins).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reaction {
    /// The emoji. `None` takes the reaction back.
    pub emoji: Option<Emoji>,
    /// The message.
    pub target: MessageRef,
}

impl Reaction {
    pub(super) fn from_proto(proto: ReactionProto) -> Result<Self, ContentError> {
        let author = account(proto.author_bytes.as_deref(), proto.author.as_deref());
        let author = author.ok_or(ContentError::Malformed)?;
        let timestamp = Timestamp(proto.timestamp.ok_or(ContentError::Malformed)?);
        let emoji = match proto.remove {
            Some(true) => None,
            Some(false) | None => {
                let emoji = proto.emoji.unwrap_or_default().parse();
                Some(emoji.map_err(|NotAnEmoji| ContentError::Malformed)?)
            }
        };
        Ok(Self { emoji, target: MessageRef { author, timestamp } })
    }

    pub(super) fn to_proto(&self) -> ReactionProto {
        let emoji = self.emoji.as_ref().map_or(REMOVED, Emoji::as_str);
        ReactionProto {
            emoji: Some(emoji.to_owned()),
            remove: Some(self.emoji.is_none()),
            author: Some(self.target.author.to_string()),
            timestamp: Some(self.target.timestamp.0),
            author_bytes: None,
        }
    }
}

/// An emoji, perhaps a sequence of several characters: 1 to 64 bytes, without spaces and controls, and not only ASCII.
/// Safe to show. `Debug` does not print it.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub struct Emoji(String);

impl Emoji {
    /// The characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Emoji(…)")
    }
}

impl FromStr for Emoji {
    type Err = NotAnEmoji;

    fn from_str(text: &str) -> Result<Self, NotAnEmoji> {
        let is_hidden = |c: char| c.is_control() || c.is_whitespace() || is_bidi_control(c);
        if text.len() > MAX_EMOJI || text.is_ascii() || text.chars().any(is_hidden) {
            return Err(NotAnEmoji);
        }
        Ok(Self(text.to_owned()))
    }
}

/// The text is not an emoji such as 👍.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an emoji, such as 👍")]
pub struct NotAnEmoji;

/// Maximum number of bytes of an emoji. The longest sequences that people use have about 40.
const MAX_EMOJI: usize = 64;

/// The emoji of a removed reaction: deployed clients ignore the removal without one, but do not compare it.
const REMOVED: &str = "👍";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emojis_are_accepted_and_text_and_controls_are_not() {
        for emoji in
            ["👍", "❤\u{fe0f}", "👩\u{200d}👩\u{200d}👧\u{200d}👦", "🇪🇺", "1\u{fe0f}\u{20e3}"]
        {
            assert_eq!(emoji.parse::<Emoji>().unwrap().to_string(), emoji);
        }
        let long = "👍".repeat(17);
        for text in ["", "ok", ":+1:", "👍 👍", "👍\n", "\u{1b}👍", "\u{202e}👍", &long] {
            assert_eq!(text.parse::<Emoji>(), Err(NotAnEmoji), "{text:?}");
        }
    }
}
