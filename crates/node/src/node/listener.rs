//! Accepts inbound links. Links from banned addresses are closed before they cost anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::time::sleep;

use super::link::{LinkContext, accept};
use super::peers::Reputation;

/// Accepts links until the node stops.
pub(super) async fn run(listener: TcpListener, context: Arc<LinkContext>, reputation: Reputation) {
    let mut closing = context.closing.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.changed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Usually there are too many open files. Trying again at once would fail again.
                tracing::debug!(%error, "cannot accept a link");
                sleep(PAUSE).await;
                continue;
            }
        };
        if reputation.is_address_banned(Instant::now(), address.ip()) {
            continue;
        }
        let slot = context.pending.enter(address.ip());
        let link = context.next_id();
        tokio::spawn(accept(Arc::clone(&context), link, stream, address, slot));
    }
}

/// Pause after a link could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
