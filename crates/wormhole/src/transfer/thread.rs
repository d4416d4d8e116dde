//! Work that blocks, on a thread of its own.
//!
//! Not tokio's blocking pool: a runtime waits for that when it shuts down, and a thread that reads
//! a terminal may never end.

use std::thread::Builder;

use tokio::sync::oneshot;

use super::Error;

/// The outcome of a thread, when it is there.
pub(super) type Outcome<T> = oneshot::Receiver<Result<T, Error>>;

/// Starts a thread. Dropping the outcome does not stop it.
pub(super) fn start<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Outcome<T> {
    let (sender, outcome) = oneshot::channel();
    // If there is no thread to be had, the sender is dropped, which is an outcome, too.
    let _detached = Builder::new().name("wormhole data".to_owned()).spawn(move || {
        // Nobody waits for a transfer that was given up.
        let _unwanted = sender.send(work());
    });
    outcome
}
