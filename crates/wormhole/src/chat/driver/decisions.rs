//! Sends the decisions of the user about other people to the server, one request after the other. The store keeps those that the
//! server does not have yet.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use wormhole_chat::AccountId;

use crate::chat::RequestError;
use crate::chat::service::{Action, Service};
use crate::chat::store::Decision;

/// The decisions that the server must learn, and the one that is being sent.
pub(super) struct Decisions {
    service: Arc<Service>,
    waiting: BTreeMap<AccountId, Decision>,
    /// Whether our device knows message requests, until the server has learned it.
    capability: Option<bool>,
    due: Instant,
    running: Option<Running>,
}

/// Something that the server must learn.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Update {
    Capability(bool),
    Decision(AccountId, Decision),
}

type Running = Pin<Box<dyn Future<Output = (Update, Result<(), RequestError>)> + Send>>;

impl Decisions {
    pub(super) fn new(
        service: Arc<Service>,
        waiting: Vec<(AccountId, Decision)>,
        capability: Option<bool>,
    ) -> Self {
        let waiting = waiting.into_iter().collect();
        Self { service, waiting, capability, due: Instant::now(), running: None }
    }

    /// Adds a decision that the server must learn. It replaces an earlier one about the account.
    pub(super) fn add(&mut self, account: AccountId, decision: Decision) {
        self.waiting.insert(account, decision);
        self.due = self.due.min(Instant::now());
    }

    /// Waits until the server has learned a decision, or has refused it for good.
    pub(super) async fn next(&mut self) -> Update {
        loop {
            if self.running.is_none() {
                let Some(next) = self.next_update() else { return std::future::pending().await };
                sleep_until(self.due).await;
                self.running = Some(upload(Arc::clone(&self.service), next));
            }
            let Some(running) = &mut self.running else { continue };
            let (update, result) = running.await;
            self.running = None;
            if let Err(error) = result
                && is_temporary(&error)
            {
                self.due = Instant::now() + error.retry_after().unwrap_or(AFTER_ERROR);
                continue;
            }
            self.finish(&update);
            return update;
        }
    }

    fn next_update(&self) -> Option<Update> {
        let decision = || self.waiting.first_key_value();
        let capability = self.capability.map(Update::Capability);
        capability
            .or_else(|| decision().map(|(account, it)| Update::Decision(*account, it.clone())))
    }

    fn finish(&mut self, update: &Update) {
        match update {
            Update::Capability(_) => self.capability = None,
            // The user may have changed their mind meanwhile.
            Update::Decision(account, decision) if self.waiting.get(account) == Some(decision) => {
                self.waiting.remove(account);
            }
            Update::Decision(..) => {}
        }
    }

    /// Whether the server has learned the latest decision about an account.
    pub(super) fn is_uploaded(&self, account: AccountId) -> bool {
        !self.waiting.contains_key(&account)
    }

    /// The number of decisions that the server does not have yet.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

fn upload(service: Arc<Service>, update: Update) -> Running {
    Box::pin(async move {
        let result = match &update {
            Update::Capability(has_requests) => service.set_capabilities(*has_requests, None).await,
            Update::Decision(account, decision) => decide(&service, *account, decision).await,
        };
        (update, result)
    })
}

async fn decide(
    service: &Service,
    account: AccountId,
    decision: &Decision,
) -> Result<(), RequestError> {
    match decision {
        Decision::Accept => service.decide(account, Action::Accept).await,
        Decision::Block => service.decide(account, Action::Block).await,
        Decision::Delete => service.decide(account, Action::Delete).await,
        Decision::Report(evidence) => {
            // A refused report must not undo the block.
            service.decide(account, Action::Block).await?;
            for evidence in evidence {
                match service.decide(account, Action::Report(evidence)).await {
                    Err(error) if is_temporary(&error) => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(())
        }
    }
}

/// Whether the server may accept the same request later. A server without message requests never does.
fn is_temporary(error: &RequestError) -> bool {
    error.may_retry() || error.is_refusal()
}

/// When to try again after an error.
const AFTER_ERROR: Duration = Duration::from_secs(30);
