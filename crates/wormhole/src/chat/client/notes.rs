//! Notes of the application about received messages that it has not finished with.

use zeroize::Zeroizing;

use super::Client;
use crate::chat::error::{Ended, NotStored};
use crate::chat::store::{ReceivedId, StoreError};

impl Client {
    /// The application's note about a received message, see [`set_note`](Self::set_note).
    ///
    /// # Errors
    /// The client has ended.
    pub async fn note(&self, id: ReceivedId) -> Result<Option<Zeroizing<Vec<u8>>>, Ended> {
        let stored = self.store.run(move |store| store.note(id));
        let Some(stored) = stored.await else { return Err(self.wait_for_end().await) };
        Ok(stored?)
    }

    /// Stores a note about a received message, for example which of its files the application has saved.
    /// [`done`](Self::done) removes it. Does nothing if the message is not in the store any more.
    ///
    /// # Errors
    /// The client has ended, or the note has more than 1 MiB (`NoteTooLong`).
    pub async fn set_note(&self, id: ReceivedId, note: Vec<u8>) -> Result<(), NotStored> {
        let note = Zeroizing::new(note);
        if note.len() > MAX_NOTE {
            return Err(NotStored::Store(StoreError::NoteTooLong));
        }
        Ok(self.ask(move |driver, reply| driver.set_note(id, note, reply)).await?)
    }
}

/// Maximum length of a note in bytes. The names of the files of a message have up to 256 KiB.
const MAX_NOTE: usize = 1 << 20;
