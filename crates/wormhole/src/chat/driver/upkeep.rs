//! Asks the server how many of our one-time prekeys are left, and which signed one it hands out: once a day, and soon after some
//! were used.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wormhole_chat::PublicKey;

use crate::chat::RequestError;
use crate::chat::service::{KeyCount, Service};

/// When to ask, and the question that is being asked.
pub(super) struct Upkeep {
    service: Arc<Service>,
    due: Instant,
    asking: Option<Asking>,
}

type Asking = Pin<Box<dyn Future<Output = Result<PublishedKeys, RequestError>> + Send>>;

/// Our keys at the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublishedKeys {
    /// How many one-time prekeys are left.
    pub(super) count: usize,
    /// The signed prekey and its id. `None` if the server has not said it.
    pub(super) signed: Option<(u32, PublicKey)>,
}

async fn fetch_published_keys(service: Arc<Service>) -> Result<PublishedKeys, RequestError> {
    let KeyCount { count } = service.key_count().await?;
    // Servers of others may not say it.
    let signed = service.published_key().await.ok().flatten();
    Ok(PublishedKeys { count, signed })
}

impl Upkeep {
    /// Asks at once.
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self { service, due: Instant::now(), asking: None }
    }

    /// Counts our prekeys soon: somebody has used one.
    pub(super) fn count_soon(&mut self) {
        self.due = self.due.min(Instant::now() + AFTER_USE);
    }

    /// Waits for the next answer. Asks nothing unless `counts` is set.
    pub(super) async fn next(&mut self, counts: bool) -> Result<PublishedKeys, RequestError> {
        if self.asking.is_none() {
            if !counts {
                return std::future::pending().await;
            }
            sleep_until(self.due).await;
        }
        let service = Arc::clone(&self.service);
        let asking = self.asking.get_or_insert_with(|| Box::pin(fetch_published_keys(service)));
        let result = asking.await;
        self.asking = None;
        let wait = match &result {
            Ok(_) => DAY,
            Err(error) => error.retry_after().unwrap_or(AFTER_ERROR),
        };
        self.due = Instant::now() + wait;
        result
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How soon after a use. Several uses at once cause one question.
const AFTER_USE: Duration = Duration::from_secs(10);

/// When to ask again if there is no answer.
const AFTER_ERROR: Duration = Duration::from_secs(300);
