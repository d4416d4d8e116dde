//! Proof of work for our own envelopes. The search runs on worker threads in short turns, so that it blocks neither
//! async tasks nor the searches of other clients.

use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use wormhole_whisper::shh::{Draft, Envelope, Miner, Work};

use super::scheduler::{Requester, SCHEDULER};
use crate::MineError;

/// Searches for a nonce that gives an envelope at least `target` work. Without a target, returns the best
/// nonce found within `time`. Dropping the future stops the search. At most as many searches run at the same
/// time as there are processors. Searches take turns of some milliseconds; `time` counts only the turns of
/// this search, not its waiting.
///
/// # Errors
/// The target was not reached in time.
pub async fn mine(
    draft: Draft,
    target: Option<Work>,
    time: Duration,
) -> Result<Envelope, MineError> {
    mine_for(Requester::OWNER, draft, target, time).await
}

/// Like [`mine`], scheduled as work of this client.
pub(super) async fn mine_for(
    requester: Requester,
    draft: Draft,
    target: Option<Work>,
    time: Duration,
) -> Result<Envelope, MineError> {
    if target == Some(Work::NONE) {
        return Ok(draft.finish(0));
    }
    let mut miner = target.map_or_else(
        || Miner::for_best(&draft),
        |target| Miner::new(&draft, draft.bits_needed(target)),
    );
    let mut left = time;
    while !left.is_zero() {
        let turn = SCHEDULER.acquire(requester).await;
        let slice = left.min(TURN);
        let searched = spawn_blocking(move || {
            let (begun, mut miner) = (Instant::now(), miner);
            let found = search(&mut miner, begun + slice);
            drop(turn);
            (miner, found, begun.elapsed())
        });
        let (searched, found, spent) = searched.await.map_err(|_| MineError::NoThread)?;
        if let Some(nonce) = found {
            return Ok(draft.finish(nonce));
        }
        miner = searched;
        left = left.saturating_sub(spent);
    }
    match (target, miner.best()) {
        (None, Some(best)) => Ok(draft.finish(best.nonce)),
        _ => Err(MineError::TimeOver { tried: miner.tried() }),
    }
}

/// Searches until the turn is over.
fn search(miner: &mut Miner, end: Instant) -> Option<u64> {
    while Instant::now() < end {
        if let Some(nonce) = miner.step(STEP) {
            return Some(nonce);
        }
    }
    None
}

/// Maximum length of a turn. With a hundred busy clients, another one waits a second or two.
const TURN: Duration = Duration::from_millis(20);

/// Number of tries between two clock reads: about a millisecond.
const STEP: u64 = 1 << 13;

#[cfg(test)]
mod tests {
    use std::thread::available_parallelism;

    use tokio::task::JoinSet;
    use tokio::time::timeout;
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
    async fn endless_searches_do_not_block_others() {
        let minute = Duration::from_secs(60);
        let mut endless = JoinSet::new();
        // More searches than processors, each of another client.
        let processors = available_parallelism().map_or(1, usize::from);
        for connection in 0..=u64::try_from(processors).unwrap() {
            let requester = Requester { network: None, connection };
            endless.spawn(mine_for(requester, draft(), Work::new(1e30), 60 * minute));
        }
        let honest = Requester { network: None, connection: u64::MAX };
        let search = mine_for(honest, draft(), Some(Work::DEFAULT_MINIMUM), minute);
        assert!(timeout(minute, search).await.unwrap().is_ok());
        assert!(endless.try_join_next().is_none());
    }
}
