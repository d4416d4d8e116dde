//! Offers of files that go directly: ours, until they are answered, and those of others.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use wormhole_chat::{
    AccountId, ClientInput, Content, DirectAnswer, DirectContent, DirectOffer, OfferId, Received,
};

use super::Driver;
use crate::chat::direct::{self, Accepted, DirectFiles, FileName};

/// Files that go directly.
pub(super) struct DirectOffers {
    settings: Option<DirectFiles>,
    /// Where received files are.
    folder: Arc<Path>,
    /// Our offers, and who waits for the answers.
    waiting: BTreeMap<OfferId, (AccountId, oneshot::Sender<DirectAnswer>)>,
    /// Files that arrive. They end with the client.
    receiving: JoinSet<()>,
    /// The sender. A new offer of the same account ends the transfer before: its connection is lost.
    senders: BTreeMap<AccountId, Receiving>,
    answers: FuturesUnordered<Answering>,
    /// How many offers of an account were answered, and since when.
    answered: BTreeMap<AccountId, (Instant, u32)>,
}

/// A file that arrives.
struct Receiving {
    task: AbortHandle,
    /// Its bytes when it is complete.
    length: u64,
}

type Answering = Pin<Box<dyn Future<Output = (AccountId, OfferId, Option<DirectAnswer>)> + Send>>;

impl DirectOffers {
    pub(super) fn new(settings: Option<DirectFiles>, folder: Arc<Path>) -> Self {
        Self {
            settings,
            folder,
            waiting: BTreeMap::new(),
            receiving: JoinSet::new(),
            senders: BTreeMap::new(),
            answers: FuturesUnordered::new(),
            answered: BTreeMap::new(),
        }
    }

    /// Counts an answer to an account. False if it has got too many.
    fn may_answer(&mut self, to: AccountId) -> bool {
        self.answered.retain(|_, (since, _)| since.elapsed() < ANSWERS_TIME);
        let (_, count) = self.answered.entry(to).or_insert_with(|| (Instant::now(), 0));
        *count = count.saturating_add(1);
        *count <= MAX_ANSWERS
    }

    /// Waits for the next answer of ours.
    pub(super) async fn next(&mut self) -> (AccountId, DirectAnswer) {
        loop {
            tokio::select! {
                Some((account, id, answer)) = self.answers.next() => {
                    let declined = DirectAnswer { id, hints: None, offset: 0 };
                    return (account, answer.unwrap_or(declined));
                }
                Some(_ended) = self.receiving.join_next() => {
                    self.senders.retain(|_, receiving| !receiving.task.is_finished());
                }
                else => std::future::pending().await,
            }
        }
    }
}

impl Driver {
    /// Whether a file may be offered to an account: it is known, and its identity key is the accepted one. A file that can also be
    /// uploaded is only offered if no other device would need it.
    pub(in crate::chat) fn may_offer_file(&self, to: AccountId, is_only_way: bool) -> bool {
        let has_one_device = self.core.device_count(to) == 1 && !self.core.has_other_devices();
        let is_possible = self.is_connected() && self.may_send_receipts(to);
        is_possible && (is_only_way || has_one_device)
    }

    /// Offers a file. The result never comes if there is no answer.
    pub(in crate::chat) fn offer_file(
        &mut self,
        to: AccountId,
        offer: DirectOffer,
    ) -> oneshot::Receiver<DirectAnswer> {
        let (sender, receiver) = oneshot::channel();
        let waiting = &mut self.direct.waiting;
        waiting.retain(|_, (_, sender)| !sender.is_closed());
        waiting.insert(offer.id, (to, sender));
        self.send_direct(to, DirectContent::Offer(offer));
        receiver
    }

    /// Says yes or no to an offer.
    pub(super) fn answer_file(&mut self, to: AccountId, answer: DirectAnswer) {
        self.send_direct(to, DirectContent::Answer(answer));
    }

    fn send_direct(&mut self, to: AccountId, content: DirectContent) {
        let content = Content::Direct(Box::new(content));
        self.input(ClientInput::SendVolatile { to, content, is_online: true });
    }

    /// Handles offers and answers among what has arrived.
    pub(super) fn receive_direct(&mut self, received: &[Received]) {
        for Received { from, content, .. } in received {
            if let Content::Direct(direct) = content {
                match &**direct {
                    DirectContent::Answer(answer) => self.answered(from.account, answer.clone()),
                    DirectContent::Offer(offer) => self.offered(from.account, offer.clone()),
                }
            }
        }
    }

    fn answered(&mut self, from: AccountId, answer: DirectAnswer) {
        let waiting = &mut self.direct.waiting;
        if waiting.get(&answer.id).is_some_and(|(to, _)| *to == from)
            && let Some((_, sender)) = waiting.remove(&answer.id)
        {
            // If the caller has stopped waiting, the file goes another way.
            let _gone = sender.send(answer);
        }
    }

    /// Accepts an offer of somebody whom the user knows, if there is room. Others get no answer, and learn nothing.
    fn offered(&mut self, from: AccountId, offer: DirectOffer) {
        let is_known = self.may_send_receipts(from) && !self.is_blocked(from);
        // An answer tells that the user is online.
        if !is_known || self.direct.settings.is_none() || !self.direct.may_answer(from) {
            return;
        }
        let (id, length, name) = (offer.id, offer.length, FileName(offer.file));
        if let Some(before) = self.direct.senders.remove(&from) {
            before.task.abort();
        }
        let is_busy = self.direct.senders.len() >= MAX_RECEIVING;
        let settings = self.direct.settings.clone().filter(|_| !is_busy);
        let folder = Arc::clone(&self.direct.folder);
        let reserved = self.direct.senders.values().map(|receiving| receiving.length);
        let reserved = reserved.fold(0_u64, u64::saturating_add);
        let has_capacity = |settings: &DirectFiles| {
            direct::make_space(&folder, settings, (from, name), (length, reserved)).is_ok()
        };
        let Some(settings) = settings.filter(has_capacity) else {
            return self.answer_file(from, DirectAnswer { id, hints: None, offset: 0 });
        };
        let (answer, answered) = oneshot::channel();
        let answering = async move { (from, id, answered.await.ok()) };
        self.direct.answers.push(Box::pin(answering));
        let transit = settings.transit;
        let folder = folder.join(from.to_string());
        let accepted = Accepted { offer, transit, folder, answer };
        let task = self.direct.receiving.spawn(direct::receive(accepted));
        self.direct.senders.insert(from, Receiving { task, length });
    }
}

/// Maximum number of files that arrive at the same time. One account sends one at a time.
const MAX_RECEIVING: usize = 4;

/// Maximum number of offers of one account that are answered within this time.
const MAX_ANSWERS: u32 = 100;
const ANSWERS_TIME: Duration = Duration::from_secs(60 * 60);
