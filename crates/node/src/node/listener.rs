//! The listener: takes links in, and sends those away that are not welcome before they cost
//! anything.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::hub::lock;
use super::link::{LinkContext, LinkId, answer};
use super::peers::reputation::Reputation;

/// Whom not to talk to, for all who must know.
pub(super) type SharedReputation = Arc<Mutex<Reputation>>;

/// Takes links in until the node stops.
pub(super) async fn run(
    listener: TcpListener,
    context: Arc<LinkContext>,
    blacklist: SharedReputation,
) {
    let mut closing = context.closing.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.changed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Mostly no more open files. Not to be tried again at once: it would fail again.
                tracing::debug!(%error, "no link accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        if lock(&blacklist).is_address_banned(Instant::now(), address.ip()) {
            continue;
        }
        let place = context.pending.enter(address.ip());
        let link = LinkId(context.next.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(answer(Arc::clone(&context), link, stream, address, place));
    }
}

/// Pause after a link that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
