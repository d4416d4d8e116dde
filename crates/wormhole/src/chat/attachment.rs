//! Attached files: encrypted while they are uploaded, checked and decrypted while they are downloaded.
//!
//! Neither needs the whole file in memory. The key is only in the message, so the server sees neither the content nor the
//! name. (docs/chat-protocol.md "Attachments")

mod download;
mod partial;
mod records;
mod resume;
mod seal;
mod upload;

use hyper::Request;
use url::{Position, Url};
use wormhole_magic::transit::Permit;

use super::error::{RequestError, ServerFault};
use super::service::Service;
use crate::net::Route;
use crate::net::http::{HttpBody, HttpClient, Origin, StreamedResponse};

pub(super) use download::MAX_BLOB;
pub(super) use download::{Destination, download};
pub(super) use partial::Partial;
pub(super) use records::{Record, Uploads};
pub(super) use seal::{Checks, SealError, SealingKeys, blob_length, seal};
pub(super) use upload::{MAX_FILE, Source, content_type, post_picture, upload};

/// Sends a request to an address that the server has named, without our credentials.
async fn send_to(
    service: &Service,
    location: &str,
    mut request: Request<HttpBody>,
) -> Result<StreamedResponse, RequestError> {
    let url = Url::parse(location).map_err(|_| ServerFault::FileAddress)?;
    let origin = Origin::of(&url).ok_or(ServerFault::FileAddress)?;
    let path = &url[Position::BeforePath..Position::AfterQuery];
    *request.uri_mut() = path.parse().map_err(|_| ServerFault::FileAddress)?;
    let own = service.http();
    if origin == *own.origin() {
        return Ok(own.send(request).await?);
    }
    if own.origin().uses_tls() && !origin.uses_tls() {
        return Err(ServerFault::FileAddress.into());
    }
    // The server could name an address in our own network.
    let route = Route { permit: Permit::PublicOrOwnNetwork, ..service.route().clone() };
    Ok(HttpClient::new(origin, route).send(request).await?)
}

/// Pieces of a file between a connection and a thread.
pub(super) const PIECES: usize = 4;
