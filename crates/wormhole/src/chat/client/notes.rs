//! Notes of the application about received messages that it has not finished with.

use zeroize::Zeroizing;

use super::Client;
use crate::chat::error::Ended;
use crate::chat::store::ReceivedId;

impl Client {
    /// The application's note about a received message, see [`set_note`](Self::set_note).
    ///
    /// # Errors
    /// The client has ended.
    pub async fn note(&self, id: ReceivedId) -> Result<Option<Zeroizing<Vec<u8>>>, Ended> {
        let stored = self.store.run(move |store| store.setting(&note_name(id)));
        let Some(stored) = stored.await else { return Err(self.wait_for_end().await) };
        Ok(stored?)
    }

    /// Stores a note about a received message, for example which of its files the application has saved.
    /// [`done`](Self::done) removes it.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn set_note(&self, id: ReceivedId, note: Vec<u8>) -> Result<(), Ended> {
        let note = Zeroizing::new(note);
        self.ask(move |driver, reply| driver.set_note(id, note, reply)).await
    }
}

/// The name of the setting with the note about a message.
pub(in crate::chat) fn note_name(id: ReceivedId) -> String {
    format!("received.{}", id.0)
}
