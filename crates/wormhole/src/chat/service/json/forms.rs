//! Forms and addresses with which attachments are uploaded and downloaded.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// Where and how an attachment is uploaded so that the upload can be continued.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResumableForm {
    cdn: u32,
    pub(crate) key: String,
    /// They prove that we may upload it.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) signed_upload_location: String,
}

impl ResumableForm {
    /// Whether we know the protocol, which is tus 1.0, and the answer has a reasonable size.
    pub(crate) fn is_usable(&self) -> bool {
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_short = |text: &String| text.len() <= MAX_FORM_TEXT;
        self.cdn == TUS_STORE
            && self.key.len() <= 64
            && self.key.bytes().all(is_safe)
            && self.headers.len() <= MAX_FORM_HEADERS
            && self.headers.iter().all(|(name, value)| is_short(name) && is_short(value))
            && is_short(&self.signed_upload_location)
    }
}

impl fmt::Debug for ResumableForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResumableForm").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The number of the store that means tus.
const TUS_STORE: u32 = 3;

/// Maximum number of headers of a form. Servers send two.
const MAX_FORM_HEADERS: usize = 8;

/// Longest name, value or address in a form, in bytes.
const MAX_FORM_TEXT: usize = 2048;

/// The fields of a form that uploads an attachment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UploadForm {
    pub(crate) attachment_id: u64,
    pub(crate) key: String,
    pub(crate) credential: String,
    pub(crate) acl: String,
    pub(crate) algorithm: String,
    pub(crate) date: String,
    pub(crate) policy: String,
    pub(crate) signature: String,
}

/// Where an attachment can be downloaded.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Located {
    pub(crate) location: String,
}
