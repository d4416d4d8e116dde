//! Rare work, whose result may have any type.

use std::fmt;

use wormhole_chat::Timestamp;

use crate::messaging::store::{Reply, Rows, StoreError, Work};

/// Work with a result of a certain type.
pub(super) struct TypedWork<F, T> {
    work: F,
    value: Option<T>,
    reply: Reply<T>,
}

impl<F, T> TypedWork<F, T> {
    /// Work that is not executed yet, and who waits for its result.
    pub(super) const fn new(work: F, reply: Reply<T>) -> Self {
        Self { work, value: None, reply }
    }
}

impl<F, T> fmt::Debug for TypedWork<F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedWork").finish_non_exhaustive()
    }
}

impl<F, T> Work for TypedWork<F, T>
where
    F: FnMut(&mut dyn Rows, Timestamp) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn execute(&mut self, rows: &mut dyn Rows, now: Timestamp) -> Result<(), StoreError> {
        self.value = Some((self.work)(rows, now)?);
        Ok(())
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        let missing = || StoreError::NotExecuted;
        // A client that has gone needs no answer.
        let _gone = reply.send(result.and_then(|()| value.ok_or_else(missing)));
    }
}
