//! Parts of a text that mean something: mentions of people, and styles.
//!
//! Positions count UTF-16 code units, as in deployed clients. They may be wrong: [`text_parts`] ignores those that are.

use super::proto::{RangeProto, account};
use super::{ContentError, bounded};
use crate::address::AccountId;

/// A part of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BodyRange {
    /// Where it begins, in UTF-16 code units.
    pub start: u32,
    /// Its length in UTF-16 code units.
    pub length: u32,
    /// The kind.
    pub kind: RangeKind,
}

/// The kind of a part of a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RangeKind {
    /// It names this account.
    Mention(AccountId),
    /// It has a style: 1 bold, 2 italic, 3 hidden until it is touched, 4 struck through, 5 monospaced.
    Style(u32),
}

/// A part of a text, in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TextPart<'a> {
    /// Plain text.
    Text(&'a str),
    /// A mention of an account.
    Mention {
        /// The mentioned account.
        account: AccountId,
        /// The sender's text: `@name`, or only the character U+FFFC. Show your own name of the account instead.
        text: &'a str,
    },
}

impl BodyRange {
    /// A mention: these bytes of the text name the account. `None` if they are not a part of the text.
    pub fn mention(text: &str, bytes: std::ops::Range<usize>, account: AccountId) -> Option<Self> {
        let (before, named) = (text.get(..bytes.start)?, text.get(bytes)?);
        let [start, length] = [before, named].map(|part| part.encode_utf16().count());
        Some(Self {
            start: start.try_into().ok()?,
            length: length.try_into().ok()?,
            kind: RangeKind::Mention(account),
        })
    }

    pub(super) fn to_proto(self) -> RangeProto {
        let (mention, style) = match self.kind {
            RangeKind::Mention(account) => (Some(account.to_string()), None),
            RangeKind::Style(style) => (None, Some(style)),
        };
        let (start, length) = (Some(self.start), Some(self.length));
        RangeProto { start, length, mention, style, mention_bytes: None }
    }

    /// `None` if it is neither a mention nor a style.
    fn from_proto(proto: &RangeProto) -> Option<Self> {
        let mention = account(proto.mention_bytes.as_deref(), proto.mention.as_deref());
        let style = proto.style.map(RangeKind::Style);
        Some(Self {
            start: proto.start.unwrap_or_default(),
            length: proto.length.unwrap_or_default(),
            kind: mention.map(RangeKind::Mention).or(style)?,
        })
    }
}

pub(super) fn from_protos(protos: Vec<RangeProto>) -> Result<Vec<BodyRange>, ContentError> {
    Ok(bounded(protos)?.iter().filter_map(BodyRange::from_proto).collect())
}

/// Divides a text at its mentions. Mentions that overlap another one, do not end within the text, or begin or end within a
/// character are ignored.
pub fn text_parts<'a>(text: &'a str, ranges: &[BodyRange]) -> Vec<TextPart<'a>> {
    let mut mentions: Vec<_> = ranges.iter().filter_map(mention).collect();
    mentions.sort_unstable();
    let (mut parts, mut rest, mut units) = (Vec::new(), text, 0_u64);
    for (start, length, account) in mentions {
        let Some(before) = start.checked_sub(units).and_then(|before| prefix(rest, before)) else {
            continue;
        };
        let Some(named) = prefix(&rest[before..], length) else { continue };
        if before > 0 {
            parts.push(TextPart::Text(&rest[..before]));
        }
        parts.push(TextPart::Mention { account, text: &rest[before..before + named] });
        (rest, units) = (&rest[before + named..], start + length);
    }
    if !rest.is_empty() {
        parts.push(TextPart::Text(rest));
    }
    parts
}

fn mention(range: &BodyRange) -> Option<(u64, u64, AccountId)> {
    match range.kind {
        RangeKind::Mention(account) if range.length > 0 => {
            Some((range.start.into(), range.length.into(), account))
        }
        RangeKind::Mention(_) | RangeKind::Style(_) => None,
    }
}

/// The length in bytes of the first characters of a text that have exactly this number of UTF-16 code units.
fn prefix(text: &str, units: u64) -> Option<usize> {
    let mut left = units;
    for (at, c) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(if c.len_utf16() == 2 { 2 } else { 1 })?;
    }
    (left == 0).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: AccountId = AccountId::from_bytes([2; 16]);
    const EVE: AccountId = AccountId::from_bytes([5; 16]);

    fn mention(start: u32, length: u32, account: AccountId) -> BodyRange {
        BodyRange { start, length, kind: RangeKind::Mention(account) }
    }

    #[test]
    fn a_text_is_divided_at_its_mentions() {
        let text = "👋 @Bob, say hello to @Eve";
        let bob = BodyRange::mention(text, 5..9, BOB).unwrap();
        // The hand has two units.
        assert_eq!(bob, mention(3, 4, BOB));
        let eve = text.find("@Eve").unwrap();
        let eve = BodyRange::mention(text, eve..eve + 4, EVE).unwrap();
        let bold = BodyRange { start: 0, length: 5, kind: RangeKind::Style(1) };
        let expected = [
            TextPart::Text("👋 "),
            TextPart::Mention { account: BOB, text: "@Bob" },
            TextPart::Text(", say hello to "),
            TextPart::Mention { account: EVE, text: "@Eve" },
        ];
        assert_eq!(text_parts(text, &[eve, bold, bob]), expected);
        assert_eq!(BodyRange::mention(text, 1..9, BOB), None, "within a character");
        assert_eq!(BodyRange::mention(text, 5..99, BOB), None);
    }

    #[test]
    fn mentions_that_do_not_fit_the_text_are_ignored() {
        let text = "a👋b";
        let wrong = [
            mention(0, 2, BOB),
            mention(2, 1, BOB),
            mention(3, 2, BOB),
            mention(4, 1, BOB),
            mention(1, 0, BOB),
            mention(u32::MAX, u32::MAX, BOB),
        ];
        assert_eq!(text_parts(text, &wrong), [TextPart::Text(text)]);
        assert_eq!(text_parts("", &wrong), []);
        // The second one overlaps the first.
        let parts = text_parts(text, &[mention(1, 2, EVE), mention(0, 3, BOB)]);
        assert_eq!(parts, [TextPart::Mention { account: BOB, text: "a👋" }, TextPart::Text("b")]);
    }
}
