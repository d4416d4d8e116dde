//! The message that a message replies to.

use std::fmt;

use super::ContentError;
use super::bounded_to;
use super::proto::{QuoteProto, QuotedFileProto, account};
use super::ranges::{self, BodyRange};
use super::reaction::MessageRef;
use crate::time::Timestamp;

/// The message that a message replies to, and what the sender says was in it: it may differ from what its author wrote.
/// `Debug` does not print the text.
#[derive(Clone, Eq, PartialEq)]
pub struct Quote {
    /// The message.
    pub target: MessageRef,
    /// Its text. Longer ones are cut off after 8 KiB.
    pub text: Option<String>,
    /// Mentions and styles in this text.
    pub ranges: Vec<BodyRange>,
    /// Descriptions of its files. The files themselves are not part of the quote.
    pub files: Vec<QuotedFile>,
}

impl fmt::Debug for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quote")
            .field("target", &self.target)
            .field("text_bytes", &self.text.as_ref().map(String::len))
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

/// A file of a quoted message, without its content. `Debug` does not print the name.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct QuotedFile {
    /// The MIME type.
    pub content_type: Option<String>,
    /// The file name. Never use it as a path.
    pub file_name: Option<String>,
}

impl fmt::Debug for QuotedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotedFile").finish_non_exhaustive()
    }
}

impl Quote {
    /// `None` if the quote does not say whose message it is, or only by a phone number, as clients before 2019 do: the message
    /// is shown without it.
    pub(super) fn from_proto(proto: QuoteProto) -> Result<Option<Self>, ContentError> {
        let author = account(proto.author_bytes.as_deref(), proto.author.as_deref());
        let Some((author, id)) = author.zip(proto.id) else { return Ok(None) };
        let files = bounded_to(proto.attachments, MAX_FILES)?.into_iter();
        Ok(Some(Self {
            target: MessageRef { author, timestamp: Timestamp(id) },
            text: proto.text.filter(|text| !text.is_empty()).map(cut_off),
            ranges: ranges::from_protos(proto.ranges)?,
            files: files.map(QuotedFile::from_proto).collect(),
        }))
    }

    pub(super) fn to_proto(&self) -> QuoteProto {
        QuoteProto {
            id: Some(self.target.timestamp.0),
            text: self.text.clone().filter(|text| !text.is_empty()).map(cut_off),
            attachments: self.files.iter().map(QuotedFile::to_proto).collect(),
            author: Some(self.target.author.to_string()),
            ranges: self.ranges.iter().copied().map(BodyRange::to_proto).collect(),
            author_bytes: None,
        }
    }
}

impl QuotedFile {
    fn from_proto(proto: QuotedFileProto) -> Self {
        Self { content_type: proto.content_type, file_name: proto.file_name }
    }

    fn to_proto(&self) -> QuotedFileProto {
        let Self { content_type, file_name } = self.clone();
        QuotedFileProto { content_type, file_name }
    }
}

fn cut_off(mut text: String) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Maximum number of bytes of a quoted text. Deployed clients quote a few hundred.
const MAX_TEXT: usize = 8 << 10;

/// Maximum number of files of a quoted message. Deployed clients send at most 32.
const MAX_FILES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_off_between_two_characters() {
        assert_eq!(cut_off("é".repeat(10)), "é".repeat(10));
        let long = format!("a{}", "é".repeat(MAX_TEXT));
        assert_eq!(cut_off(long.clone()), long[..MAX_TEXT - 1]);
    }
}
