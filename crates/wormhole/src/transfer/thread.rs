//! Blocking work on a separate thread.
//!
//! It does not use tokio's blocking pool: a runtime waits for that at shutdown, and a thread that
//! reads a terminal may never end.

use std::thread::Builder;

use tokio::sync::oneshot;

use super::Error;

/// The future result of a thread.
pub(super) type Outcome<T> = oneshot::Receiver<Result<T, Error>>;

/// Starts a thread. Dropping the result does not stop it.
pub(super) fn start<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Outcome<T> {
    let (sender, outcome) = oneshot::channel();
    // If no thread can be started, the sender is dropped, which the receiver notices.
    let _detached = Builder::new().name("wormhole data".to_owned()).spawn(move || {
        // If the transfer was cancelled, nobody receives the result.
        let _unwanted = sender.send(work());
    });
    outcome
}
