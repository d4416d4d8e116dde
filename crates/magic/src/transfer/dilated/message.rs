//! The contents of frames that are MessagePack maps: the offer, files and folders.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{LinkEntry, LinkTarget, Violation, chunk_count};
use crate::transfer::zip::ZipPath;
use crate::transfer::{Attributes, Offer, PeerName};

/// A file that begins.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "senders create all of it")]
pub struct FileEntry {
    /// Its path in the offered folder; `None` if a single file or a stream was offered.
    pub path: Option<ZipPath>,
    /// Its size in bytes; `None` for a stream.
    pub size: Option<u64>,
    /// Its permissions and time.
    pub attributes: Option<Attributes>,
    /// The number of chunks at its beginning that the receiver keeps.
    pub keep: u64,
}

/// A folder, after everything in it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "senders create all of it")]
pub struct FolderEntry {
    /// Its path in the offered folder.
    pub path: ZipPath,
    /// Its permissions and time.
    pub attributes: Attributes,
}

#[derive(Deserialize, Serialize)]
struct OfferFields {
    kind: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<i64>,
}

#[derive(Deserialize, Serialize)]
struct FileFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    permissions: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<i64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    keep: u64,
}

#[derive(Deserialize, Serialize)]
struct FolderFields {
    path: String,
    permissions: u16,
    modified: i64,
}

#[derive(Deserialize, Serialize)]
struct LinkFields {
    path: String,
    target: String,
}

pub(super) fn encode_offer(offer: &Offer) -> Vec<u8> {
    let (kind, name, bytes, files, attributes) = match offer {
        Offer::Directory { name, bytes, files, attributes, .. } => {
            ("folder", name.as_sent(), Some(*bytes), Some(*files), *attributes)
        }
        Offer::File { name, size, attributes } => {
            ("file", name.as_sent(), Some(*size), None, *attributes)
        }
        Offer::Stream { name } => ("stream", name.as_sent(), None, None, None),
        // A text goes through the mailbox.
        Offer::Text(_) => ("text", "", None, None, None),
    };
    let (permissions, modified) = fields_of(attributes);
    let name = name.to_owned();
    encode(&OfferFields { kind: kind.to_owned(), name, bytes, files, permissions, modified })
}

pub(super) fn decode_offer(contents: &[u8]) -> Result<Offer, Violation> {
    let fields: OfferFields = decode(contents)?;
    let attributes = attributes(fields.permissions, fields.modified);
    let name = PeerName::new(&fields.name);
    match (fields.kind.as_str(), fields.bytes, fields.files) {
        ("file", Some(size), _) => Ok(Offer::File { name, size, attributes }),
        ("stream", ..) => Ok(Offer::Stream { name }),
        // There is no zip: what travels are the bytes of the files.
        ("folder", Some(bytes), Some(files)) => {
            Ok(Offer::Directory { name, zip_size: bytes, bytes, files, attributes })
        }
        _ => Err(Violation::Malformed),
    }
}

pub(super) fn encode_file(entry: &FileEntry) -> Vec<u8> {
    let path = entry.path.as_ref().map(|path| path.as_str().to_owned());
    let (permissions, modified) = fields_of(entry.attributes);
    encode(&FileFields { path, bytes: entry.size, permissions, modified, keep: entry.keep })
}

pub(super) fn decode_file(contents: &[u8]) -> Result<FileEntry, Violation> {
    let FileFields { path, bytes: size, permissions, modified, keep } = decode(contents)?;
    let path = path.map(|path| ZipPath::parse(&path)).transpose()?;
    if keep > size.map_or(0, chunk_count) {
        return Err(Violation::WrongClaim);
    }
    Ok(FileEntry { path, size, attributes: attributes(permissions, modified), keep })
}

pub(super) fn encode_folder(entry: &FolderEntry) -> Vec<u8> {
    let Attributes { permissions, modified } = entry.attributes;
    encode(&FolderFields { path: entry.path.as_str().to_owned(), permissions, modified })
}

pub(super) fn decode_folder(contents: &[u8]) -> Result<FolderEntry, Violation> {
    let FolderFields { path, permissions, modified } = decode(contents)?;
    let permissions = permissions & PERMISSIONS;
    Ok(FolderEntry {
        path: ZipPath::parse(&path)?,
        attributes: Attributes { permissions, modified },
    })
}

pub(super) fn encode_link(entry: &LinkEntry) -> Vec<u8> {
    let (path, target) = (entry.path.as_str().to_owned(), entry.target.as_str().to_owned());
    encode(&LinkFields { path, target })
}

pub(super) fn decode_link(contents: &[u8]) -> Result<LinkEntry, Violation> {
    let LinkFields { path, target } = decode(contents)?;
    let path = ZipPath::parse(&path)?;
    match LinkTarget::parse(&target, &path) {
        Some(target) => Ok(LinkEntry { path, target }),
        None => Err(Violation::UnsafeLink { path, target: PeerName::new(target) }),
    }
}

fn fields_of(attributes: Option<Attributes>) -> (Option<u16>, Option<i64>) {
    (attributes.map(|given| given.permissions), attributes.map(|given| given.modified))
}

fn attributes(permissions: Option<u16>, modified: Option<i64>) -> Option<Attributes> {
    let permissions = permissions? & PERMISSIONS;
    Some(Attributes { permissions, modified: modified? })
}

/// A path has at most 4096 bytes and a name 255, so the result always fits into a frame.
fn encode(fields: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(fields).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(contents: &[u8]) -> Result<T, Violation> {
    let mut rest = contents;
    let mut decoder = rmp_serde::Deserializer::new(&mut rest);
    decoder.set_max_depth(MAX_DEPTH);
    let fields = T::deserialize(&mut decoder).map_err(|_| Violation::Malformed)?;
    if rest.is_empty() { Ok(fields) } else { Err(Violation::Malformed) }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The part of a mode that is sent.
const PERMISSIONS: u16 = 0o777;

/// Maximum depth of maps and lists, in fields that we do not know.
const MAX_DEPTH: usize = 8;
