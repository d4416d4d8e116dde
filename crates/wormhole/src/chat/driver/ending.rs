//! The end of a client: its handles lose the store and learn why, and the caller that has closed it gets the account back.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Signals;
use crate::chat::account::{Account, ClientStore};
use crate::chat::error::Ended;

/// Notifies all handles when the task ends, also by a panic.
pub(super) struct Ending {
    pub(super) signals: Arc<Signals>,
    pub(super) handles: ClientStore,
    pub(super) account: Option<Account>,
    pub(super) why: Ended,
}

impl Ending {
    /// Takes the store away from the handles, and gives the account back, if somebody wants it.
    pub(super) fn end(mut self, closing: Option<oneshot::Sender<Account>>) {
        self.handles.close();
        if let (Some(closing), Some(account)) = (closing, self.account.take()) {
            // The one who asked may be gone.
            let _gone = closing.send(account);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.handles.close();
        self.account = None;
        self.signals.ended.send_replace(Some(self.why.clone()));
    }
}
