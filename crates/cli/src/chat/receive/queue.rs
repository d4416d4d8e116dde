//! Messages whose files are not saved yet, in the order in which their files are saved.

use std::collections::{BTreeMap, VecDeque};

use wormhole::chat::{AccountId, ReceivedMessage};

use super::left::LeftFiles;
use super::note::FileState;

/// A message whose files are not saved yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) message: Box<ReceivedMessage>,
    pub(super) states: Vec<FileState>,
    /// Whether this run has shown its text, and has not said yet which files are left.
    pub(super) is_new: bool,
    /// Whether an earlier attempt of this run has left files.
    pub(super) is_retry: bool,
    /// The position of the next file.
    pub(super) next: usize,
    /// The files that are left for another run.
    pub(super) left: LeftFiles,
}

impl Pending {
    pub(super) fn new(message: &ReceivedMessage, states: Vec<FileState>, is_new: bool) -> Self {
        let left = LeftFiles { largest: message.files.len(), ..LeftFiles::default() };
        let message = Box::new(message.clone());
        Self { message, states, is_new, is_retry: false, next: 0, left }
    }

    /// Returns the message, to try the remaining files again.
    pub(super) fn again(self) -> Self {
        Self { is_retry: true, ..Self::new(&self.message, self.states, false) }
    }

    pub(super) fn sender(&self) -> AccountId {
        self.message.from.account
    }
}

/// Messages that wait. Each sender gets a turn for one message, so that many messages of one do not delay those of others.
#[derive(Debug, Default)]
pub(super) struct Queue {
    messages: BTreeMap<AccountId, VecDeque<Pending>>,
    turns: VecDeque<AccountId>,
}

impl Queue {
    pub(super) fn push(&mut self, pending: Pending) {
        let sender = pending.sender();
        let messages = self.messages.entry(sender).or_default();
        if messages.is_empty() {
            self.turns.push_back(sender);
        }
        messages.push_back(pending);
    }

    /// Takes the oldest message of the sender whose turn it is.
    pub(super) fn pop(&mut self) -> Option<Pending> {
        let sender = self.turns.pop_front()?;
        let messages = self.messages.get_mut(&sender)?;
        let next = messages.pop_front();
        if messages.is_empty() {
            self.messages.remove(&sender);
        } else {
            self.turns.push_back(sender);
        }
        next
    }

    pub(super) fn len(&self) -> usize {
        self.messages.values().map(VecDeque::len).sum()
    }
}
