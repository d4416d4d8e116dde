//! The memory that a request and its answer use, counted for the address of the client.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use wormhole_http::{Response, body};

use crate::memory::{Share, UNCOUNTED};

/// The memory of one request. Clones are the same memory.
#[derive(Clone, Debug)]
pub(super) struct RequestMemory(Arc<Mutex<Share>>);

/// The address of the client uses too much memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct OutOfMemory;

/// A piece of an answer, which is counted until the client has read it.
struct CountedPiece {
    bytes: Bytes,
    #[expect(dead_code, reason = "counts the bytes until it is dropped")]
    share: Share,
}

impl RequestMemory {
    /// The memory of a request that already uses the bytes of this share.
    pub(super) fn new(share: Share) -> Self {
        Self(Arc::new(Mutex::new(share)))
    }

    /// Uses so many bytes from now on, instead of as many as before.
    ///
    /// # Errors
    /// The address uses too much. The number of bytes does not change.
    pub(super) fn resize(&self, bytes: usize) -> Result<(), OutOfMemory> {
        if self.lock().try_resize(bytes, 0) { Ok(()) } else { Err(OutOfMemory) }
    }

    /// Counts the pieces of an answer, until the client has read them, instead of the request.
    pub(super) fn count_answer(self, response: Response) -> Response {
        let share = self.lock().for_same_address(0);
        body::map_pieces(response, move |bytes| {
            if bytes.len() <= UNCOUNTED {
                return bytes;
            }
            let share = share.for_same_address(bytes.len());
            Bytes::from_owner(CountedPiece { bytes, share })
        })
    }

    fn lock(&self) -> MutexGuard<'_, Share> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for CountedPiece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use hyper::body::Body as _;

    use super::*;
    use crate::memory::MemoryBudget;

    #[tokio::test]
    async fn an_answer_is_counted_until_its_pieces_are_dropped() {
        let budget = Arc::new(MemoryBudget::new(1 << 20, 1 << 20));
        let memory = RequestMemory::new(Share::new(Arc::clone(&budget), Arc::default()));
        memory.resize(100_000).unwrap();
        assert_eq!(memory.resize(2 << 20), Err(OutOfMemory));
        assert_eq!(budget.used(), 100_000);
        let response = memory.count_answer(vec![7; 50_000].into_response());
        assert_eq!(budget.used(), 0);
        assert_eq!(response.body().size_hint().exact(), Some(50_000));
        let whole = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert_eq!((whole.len(), budget.used()), (50_000, 50_000));
        drop(whole);
        assert_eq!(budget.used(), 0);
    }
}
