//! The preview of a link in a text, made by the sender.
//!
//! The sender's program has fetched the page. A receiver never fetches anything: that would tell the page, and its operator,
//! who reads the message, when, and where.

use std::fmt;

use super::data::AttachmentPointer;
use super::proto::PreviewProto;
use super::{ContentError, bounded_to};
use crate::time::Timestamp;

/// The sender's preview of a link. `Debug` prints nothing of it.
#[derive(Clone, Eq, PartialEq)]
pub struct LinkPreview {
    /// The address. Show the preview only if the text has it: [`LinkPreview::is_in`].
    pub url: String,
    /// The title of the page.
    pub title: Option<String>,
    /// A summary of the page.
    pub description: Option<String>,
    /// When the page was published.
    pub date: Option<Timestamp>,
    /// A picture, which the sender has uploaded like a file.
    pub image: Option<AttachmentPointer>,
}

impl fmt::Debug for LinkPreview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkPreview").finish_non_exhaustive()
    }
}

impl LinkPreview {
    /// Whether the text has this address. A preview of another address would make a link look like a different one.
    pub fn is_in(&self, text: &str) -> bool {
        text.split_whitespace().any(|word| word == self.url)
    }

    pub(super) fn to_proto(&self) -> PreviewProto {
        PreviewProto {
            url: Some(self.url.clone()),
            title: self.title.clone(),
            image: self.image.as_ref().map(AttachmentPointer::to_proto),
            description: self.description.clone(),
            date: self.date.map(|time| time.0),
        }
    }

    /// `None` if it has no address, or a text in it is longer than any client writes: the message is shown without it.
    fn from_proto(proto: PreviewProto) -> Option<Self> {
        let is_short = |text: &Option<String>| text.as_ref().is_none_or(|it| it.len() <= MAX_TEXT);
        if !is_short(&proto.title) || !is_short(&proto.description) {
            return None;
        }
        Some(Self {
            url: proto.url.filter(|url| !url.is_empty() && url.len() <= MAX_TEXT)?,
            title: proto.title,
            description: proto.description,
            date: proto.date.map(Timestamp),
            image: proto.image.and_then(|image| AttachmentPointer::from_proto(image).ok()),
        })
    }
}

pub(super) fn from_protos(protos: Vec<PreviewProto>) -> Result<Vec<LinkPreview>, ContentError> {
    let protos = bounded_to(protos, MAX_PREVIEWS)?;
    Ok(protos.into_iter().filter_map(LinkPreview::from_proto).collect())
}

/// Maximum number of bytes of an address, a title or a summary.
const MAX_TEXT: usize = 4096;

/// Maximum number of previews of one message. Deployed clients send one.
const MAX_PREVIEWS: usize = 16;
