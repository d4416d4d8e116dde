//! Work for our own envelopes, on threads of their own: the search for a nonce never blocks a task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::{Builder, available_parallelism};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};
use wormhole_whisper::shh::{Draft, Envelope, Miner, Work};

use super::MineError;

/// Finds a nonce that gives an envelope at least `target` work, or without a target the best that
/// `time` allows. Dropping the future ends the search. As many searches run at the same time as
/// there are processors; others wait, and their time runs only then. A search has its turn until its
/// thread is done, whatever became of the future.
///
/// # Errors
/// The target was not reached.
pub async fn mine(
    draft: Draft,
    target: Option<Work>,
    time: Duration,
) -> Result<Envelope, MineError> {
    // Never closed.
    let turn = TURNS.acquire().await.map_err(|_| MineError::NoThread)?;
    let given_up = GiveUp(Arc::new(AtomicBool::new(false)));
    let (done, outcome) = oneshot::channel();
    let flag = Arc::clone(&given_up.0);
    let search = move || {
        let outcome = search(&draft, target, time, &flag);
        drop(turn);
        // Nobody may be there to hear.
        let _unheard = done.send(outcome);
    };
    Builder::new().name("whisper work".into()).spawn(search).map_err(|_| MineError::NoThread)?;
    outcome.await.map_err(|_| MineError::NoThread)?
}

/// Ends a search when it is dropped.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn search(
    draft: &Draft,
    target: Option<Work>,
    time: Duration,
    given_up: &AtomicBool,
) -> Result<Envelope, MineError> {
    if target == Some(Work::NONE) {
        return Ok(draft.finish(0));
    }
    let mut miner = target.map_or_else(
        || Miner::for_best(draft),
        |target| Miner::new(draft, draft.bits_needed(target)),
    );
    let end = Instant::now().checked_add(time);
    while end.is_none_or(|end| Instant::now() < end) && !given_up.load(Ordering::Relaxed) {
        if let Some(nonce) = miner.step(STEP) {
            return Ok(draft.finish(nonce));
        }
    }
    match (target, miner.best()) {
        (None, Some(best)) => Ok(draft.finish(best.nonce)),
        _ => Err(MineError::TimeOver { tried: miner.tried() }),
    }
}

/// Searches at the same time: one more than there are processors would only slow all of them.
static TURNS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));

/// Tries between two looks at the clock: a millisecond or so.
const STEP: u64 = 1 << 13;

#[cfg(test)]
mod tests {
    use wormhole_whisper::shh::Topic;

    use super::*;

    fn draft() -> Draft {
        Draft { expiry: 1000, ttl: 50, topic: Topic([1, 2, 3, 4]), data: vec![7; 284] }
    }

    #[tokio::test]
    async fn a_target_is_reached_and_no_target_takes_the_best() {
        let minute = Duration::from_secs(60);
        let envelope = mine(draft(), Some(Work::DEFAULT_MINIMUM), minute).await.unwrap();
        assert!(envelope.work() >= Work::DEFAULT_MINIMUM);
        let best = mine(draft(), None, Duration::from_millis(30)).await.unwrap();
        assert!(best.work() > Work::NONE);
        assert_eq!(mine(draft(), Some(Work::NONE), Duration::ZERO).await, Ok(draft().finish(0)));
    }

    #[tokio::test]
    async fn an_impossible_target_fails_when_the_time_is_over() {
        let outcome = mine(draft(), Work::new(1e30), Duration::from_millis(10)).await;
        assert!(matches!(outcome, Err(MineError::TimeOver { .. })));
    }

    #[tokio::test]
    async fn the_search_of_a_future_that_is_dropped_ends() {
        let minute = Duration::from_secs(60);
        // More of them than may search at the same time.
        for _ in 0..=available_parallelism().map_or(1, usize::from) {
            let search = mine(draft(), Work::new(1e30), 60 * minute);
            assert!(tokio::time::timeout(Duration::from_millis(20), search).await.is_err());
        }
        // Else this one would never have a turn.
        let search = mine(draft(), Some(Work::DEFAULT_MINIMUM), minute);
        assert!(tokio::time::timeout(minute, search).await.unwrap().is_ok());
    }
}
