//! Message requests: people that the user does not know, and those that the user has blocked.

use std::time::Duration;

use tokio::time::timeout;
use wormhole_chat::{AccountId, Received};

use super::Client;
use crate::chat::driver::{Choice, MAX_BLOCKED};
use crate::chat::error::{DecideError, Ended};
use crate::chat::message::{MessageRequest, ReceivedMessage};
use crate::chat::store::{Contact, ReceivedId, StoreError};
use crate::chat::written::Written;

impl Client {
    /// The people that the user does not know, and whose messages wait for a decision, the latest first. They do not learn
    /// that somebody has read them here.
    ///
    /// The list is empty unless [`Options::hold_unknown_senders`](super::Options::hold_unknown_senders) is set, or was set when the messages arrived.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn requests(&self) -> Result<Vec<MessageRequest>, Ended> {
        let read = self.store.run(|store| {
            let requests = store.requests()?.into_iter().map(|(account, messages)| {
                let from = store.contact(account)?.unwrap_or_else(|| crate::chat::contact(account));
                let message = |(id, received): (ReceivedId, Received)| {
                    let written = Written::from_received(&received);
                    ReceivedMessage::new(id, &received, written, from.clone(), None)
                };
                let messages = messages.into_iter().map(message).collect();
                Ok(MessageRequest { from: from.clone(), messages })
            });
            let mut requests = requests.collect::<Result<Vec<_>, StoreError>>()?;
            requests.sort_by_key(|request| request.messages.last().map(|message| message.id));
            requests.reverse();
            Ok::<_, StoreError>(requests)
        });
        let Some(requests) = read.await else { return Err(self.wait_for_end().await) };
        Ok(requests?)
    }

    /// The blocked people.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn blocked(&self) -> Result<Vec<Contact>, Ended> {
        self.query(|driver| {
            let contact = |account: &AccountId| {
                let known = driver.contacts().get(*account).cloned();
                known.unwrap_or_else(|| crate::chat::contact(*account))
            };
            driver.blocked().iter().map(contact).collect()
        })
        .await
    }

    /// The user wants the messages of an account: those that wait arrive like others. If the account was blocked, it is not
    /// any more. When this returns, the decision is durable; the server and the other devices of our account learn it later.
    ///
    /// Sending a message to an account does the same, unless it is blocked.
    ///
    /// # Errors
    /// The client has ended, or it is the own account.
    pub async fn accept_request(&self, account: AccountId) -> Result<(), DecideError> {
        self.choose(account, Choice::Accept).await
    }

    /// Deletes the messages of an account that wait for a decision. Its next message is a new request.
    ///
    /// # Errors
    /// The client has ended, or it is the own account.
    pub async fn delete_request(&self, account: AccountId) -> Result<(), DecideError> {
        self.choose(account, Choice::Delete).await
    }

    /// Blocks an account. Nothing that it sends arrives any more, even if the server delivers it, and it does not learn that. If
    /// it may know our profile key, we get another one.
    ///
    /// # Errors
    /// The client has ended, it is the own account, or too many are blocked.
    pub async fn block(&self, account: AccountId) -> Result<(), DecideError> {
        let may_have_key = self.is_accepted(account).await?;
        self.choose(account, Choice::Block).await?;
        if may_have_key {
            self.exclude().await;
        }
        Ok(())
    }

    /// Replaces our profile key. If that fails now, the blocked account can still read the profile; what it sends is refused here.
    async fn exclude(&self) {
        let _kept = self.rotate_profile_key().await;
    }

    async fn is_accepted(&self, account: AccountId) -> Result<bool, DecideError> {
        let accepted = self.store.run(move |store| store.is_accepted(account)).await;
        match accepted {
            Some(accepted) => Ok(accepted),
            None => Err(self.wait_for_end().await.into()),
        }
    }

    /// Blocks an account, and reports its messages that wait for a decision to the operator of the service. The operator learns
    /// who has sent them, and when, but not what they say. Returns how many messages are reported.
    ///
    /// # Errors
    /// The client has ended, it is the own account, or too many are blocked.
    pub async fn report(&self, account: AccountId) -> Result<usize, DecideError> {
        let evidence = self.store.run(move |store| store.evidence(account)).await;
        let Some(evidence) = evidence else { return Err(self.wait_for_end().await.into()) };
        let evidence = evidence.map_err(Ended::Store)?;
        let reported = evidence.len();
        let may_have_key = self.is_accepted(account).await?;
        self.choose(account, Choice::Report(evidence)).await?;
        if may_have_key {
            self.exclude().await;
        }
        Ok(reported)
    }

    /// No longer blocks an account. What it has sent meanwhile is lost.
    ///
    /// # Errors
    /// The client has ended, or it is the own account.
    pub async fn unblock(&self, account: AccountId) -> Result<(), DecideError> {
        let accepted = self.is_accepted(account).await?;
        self.choose(account, Choice::Unblock(accepted)).await
    }

    /// Waits until the server knows what the user has decided, but no longer than this. Returns whether it does. What it does
    /// not know is sent later.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn decisions_sent(&self, longest: Duration) -> Result<bool, Ended> {
        let mut waiting = self.signals.decisions.subscribe();
        tokio::select! {
            sent = timeout(longest, waiting.wait_for(|waiting| *waiting == 0)) => Ok(sent.is_ok()),
            ended = self.wait_for_end() => Err(ended),
        }
    }

    async fn choose(&self, account: AccountId, choice: Choice) -> Result<(), DecideError> {
        if account == self.me.address.account {
            return Err(DecideError::OwnAccount);
        }
        let blocks = matches!(choice, Choice::Block | Choice::Report(_));
        let is_full = self.query(move |driver| {
            blocks && !driver.is_blocked(account) && driver.blocked().len() >= MAX_BLOCKED
        });
        if is_full.await? {
            return Err(DecideError::TooManyBlocked);
        }
        Ok(self.ask(move |driver, reply| driver.choose(account, choice, reply)).await?)
    }
}
