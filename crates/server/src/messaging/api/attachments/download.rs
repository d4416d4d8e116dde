//! Sends an attachment in pieces, each of which is read when the client has room for it.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use futures_util::stream::try_unfold;
use hyper::StatusCode;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use wormhole_http::Response;

use super::{ApiError, unavailable};
use crate::messaging::blobs::{BlobName, BlobReader};
use crate::messaging::context::Service;
use crate::messaging::rate_limits::Action;

/// Sends an attachment, or the part of it that `Range` names. (RFC 9110, section 14.2)
pub(super) async fn download(
    service: &Service,
    name: BlobName,
    client: IpAddr,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (reader, length) = open(service, name.clone()).await?;
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let (status, start, end) = match range.map(|text| parse_range(text, length)) {
        None | Some(Range::Whole) => (StatusCode::OK, 0, length),
        Some(Range::Part(start, end)) => (StatusCode::PARTIAL_CONTENT, start, end),
        Some(Range::Outside) => {
            let headers = [(CONTENT_RANGE, format!("bytes */{length}"))];
            let message = "the attachment is shorter than the range";
            let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad_range", message);
            return Ok((headers, error).into_response());
        }
    };
    limit(service, &name, client, end - start, length).map_err(ApiError::too_many)?;
    let pieces = try_unfold(reader.part(start, end - start), BlobReader::next);
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, (end - start).to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
    ];
    let mut response = (status, headers, Body::from_stream(pieces)).into_response();
    let range = format!("bytes {start}-{}/{length}", end.saturating_sub(1));
    if let (StatusCode::PARTIAL_CONTENT, Ok(range)) = (status, range.parse()) {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    Ok(response)
}

/// Counts a download of `bytes` of a file: a client that knows an address must not be able to make the operator pay for much
/// traffic.
fn limit(
    service: &Service,
    name: &BlobName,
    client: IpAddr,
    bytes: u64,
    length: u64,
) -> Result<(), Duration> {
    let amount = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let budget = service.budget();
    let permille = bytes.saturating_mul(1000).div_ceil(length.max(1)).max(1);
    budget.spend(Action::AttachmentRead, name, amount(permille))?;
    budget.spend_of_network(Action::DownloadKib, client, amount(bytes.div_ceil(1024)))
}

async fn open(service: &Service, name: BlobName) -> Result<(BlobReader, u64), ApiError> {
    service.blobs.read(name).await.map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            return ApiError::not_found("no such attachment");
        }
        tracing::warn!(%error, "an attachment cannot be read");
        unavailable()
    })
}

/// The part of a file that a client wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Range {
    /// Nothing of it exists.
    Outside,
    /// From the first position up to, and without, the second.
    Part(u64, u64),
    /// Everything, also if the header is malformed or names several parts.
    Whole,
}

fn parse_range(text: &str, length: u64) -> Range {
    let Some((first, last)) =
        text.trim().strip_prefix("bytes=").and_then(|part| part.split_once('-'))
    else {
        return Range::Whole;
    };
    let is_suffix = first.is_empty();
    match (parse_position(first), parse_position(last)) {
        (Some(first), Some(last)) if first > last => Range::Whole,
        (None, Some(0)) if is_suffix => Range::Outside,
        (None, Some(_)) if is_suffix && length == 0 => Range::Outside,
        (None, Some(last)) if is_suffix => Range::Part(length.saturating_sub(last), length),
        (Some(first), Some(_)) if first >= length => Range::Outside,
        (Some(first), Some(last)) => Range::Part(first, last.saturating_add(1).min(length)),
        (Some(first), None) if last.is_empty() && first >= length => Range::Outside,
        (Some(first), None) if last.is_empty() => Range::Part(first, length),
        _ => Range::Whole,
    }
}

/// A number without a sign. One that is too large is larger than any file.
fn parse_position(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let cases = [
            ("bytes=0-99", Range::Part(0, 100)),
            ("bytes=0-0", Range::Part(0, 1)),
            ("bytes=50-", Range::Part(50, 100)),
            ("bytes=90-200", Range::Part(90, 100)),
            ("bytes=-10", Range::Part(90, 100)),
            ("bytes=-200", Range::Part(0, 100)),
            ("bytes=100-", Range::Outside),
            ("bytes=-0", Range::Outside),
            ("bytes=5-2", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("items=0-1", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=18446744073709551615-", Range::Outside),
            ("bytes=0-99999999999999999999", Range::Part(0, 100)),
            ("bytes=99999999999999999999-", Range::Outside),
            ("bytes=+5-9", Range::Whole),
            ("bytes=--5", Range::Whole),
            ("bytes=-", Range::Whole),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_range(text, 100), expected, "{text}");
        }
        for text in ["bytes=0-", "bytes=-5", "bytes=0-0"] {
            assert_eq!(parse_range(text, 0), Range::Outside, "{text}");
        }
    }
}
