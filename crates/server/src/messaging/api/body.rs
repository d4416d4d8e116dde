//! Reads the body of a request, as long as the client sends it fast enough and its address does not use too much memory.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use hyper::StatusCode;
use tokio::time::timeout;
use wormhole_http::body::{BodyError, Pieces};

use super::{ApiError, MAX_BODY};
use crate::messaging::request_memory::{OutOfMemory, RequestMemory};

/// Reads a whole body of at most [`MAX_BODY`] bytes.
pub(super) async fn read(request: Request) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    let memory = parts.extensions.get::<RequestMemory>();
    match timeout(BODY_TIME, collect(body, memory)).await {
        Ok(result) => result,
        Err(_) => Err(BodyError::TooSlow.into()),
    }
}

async fn collect(body: Body, memory: Option<&RequestMemory>) -> Result<Bytes, ApiError> {
    let mut pieces = Pieces::new(body, MAX_BODY, BODY_TIME)?;
    // Most bodies arrive in one piece.
    let count = |bytes| memory.map_or(Ok(()), |memory: &RequestMemory| memory.resize(bytes));
    let Some(first) = pieces.next().await? else { return Ok(Bytes::new()) };
    count(first.len())?;
    let Some(mut next) = pieces.next().await? else { return Ok(first) };
    let mut whole = first.to_vec();
    loop {
        count(whole.len().saturating_add(next.len()))?;
        whole.extend_from_slice(&next);
        match pieces.next().await? {
            Some(piece) => next = piece,
            None => return Ok(whole.into()),
        }
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        let (status, code) = match error {
            BodyError::Incomplete => (StatusCode::BAD_REQUEST, "bad_body"),
            BodyError::TooLarge => return Self::too_large(),
            BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<OutOfMemory> for ApiError {
    fn from(OutOfMemory: OutOfMemory) -> Self {
        // When other requests of the address have ended.
        Self::too_many(Duration::from_secs(1))
    }
}

/// Time for a whole body. The longest one needs 9 KiB per second.
const BODY_TIME: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use axum::response::IntoResponse;
    use futures_util::StreamExt;
    use futures_util::stream;
    use tokio::time::Instant;

    use super::*;
    use crate::memory::{MemoryBudget, Share};

    fn status(result: Result<Bytes, ApiError>) -> u16 {
        result.map_or_else(|error| error.into_response().status().as_u16(), |_| 200)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_a_byte_now_and_then_is_not_waited_for() {
        let bytes = stream::repeat(()).then(async |()| {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Ok::<_, Infallible>(Bytes::from_static(b"{"))
        });
        let (request, begun) = (Request::new(Body::from_stream(bytes)), Instant::now());
        assert_eq!(status(read(request).await), 408);
        assert_eq!(begun.elapsed(), BODY_TIME);
    }

    #[tokio::test]
    async fn a_body_has_a_limit_of_bytes_and_of_the_memory_of_its_address() {
        let budget = Arc::new(MemoryBudget::new(MAX_BODY / 2, MAX_BODY));
        for (length, expected) in
            [(MAX_BODY - 1, 200), (MAX_BODY, 200), (MAX_BODY + 1, 400), (2 * MAX_BODY, 400)]
        {
            let pieces = vec![7_u8; length];
            let pieces: Vec<_> = pieces.chunks(1000).map(Bytes::copy_from_slice).collect();
            let body = || Body::from_stream(stream::iter(pieces.clone()).map(Ok::<_, Infallible>));
            assert_eq!(status(read(Request::new(body())).await), expected, "{length}");
            let mut request = Request::new(body());
            let share = Share::new(Arc::clone(&budget), Arc::default());
            request.extensions_mut().insert(RequestMemory::new(share));
            assert_eq!(status(read(request).await), 413, "{length}");
            assert_eq!(budget.used(), 0);
        }
    }
}
