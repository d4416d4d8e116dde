//! Messages whose files are not with the service or the recipient yet.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use wormhole_chat::{AttachmentPointer, DataMessage, Timestamp};

use super::sent::SentMessage;
use super::{Client, content};
use crate::chat::account::now;
use crate::chat::attachment::MAX_FILE;
use crate::chat::direct::{Attempt, Direct};
use crate::chat::drafts::{self, Draft};
use crate::chat::error::{Ended, QueueError};
use crate::chat::{Connection, Conversation};

impl Client {
    /// Messages whose files were not with the service or the recipient yet when [`send`](Self::send) was interrupted, oldest first.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn drafts(&self) -> Result<Vec<Draft>, Ended> {
        match self.store.run(|store| drafts::all(store).unwrap_or_default()).await {
            Some(drafts) => Ok(drafts),
            None => Err(self.wait_for_end().await),
        }
    }

    /// Continues to send the files of a draft, and puts the message into the outbox. `None` if there is no such draft.
    ///
    /// # Errors
    /// The message is not in the outbox, and is still a draft.
    pub async fn send_draft(&self, id: Timestamp) -> Result<Option<SentMessage>, QueueError> {
        let drafts = self.drafts().await?;
        let Some(draft) = drafts.into_iter().find(|draft| draft.id == id) else { return Ok(None) };
        match self.deliver_draft(&draft).await {
            Err(QueueError::DraftGone) => Ok(None),
            sent => sent.map(Some),
        }
    }

    /// Removes a draft. Returns false if no draft has this id.
    ///
    /// # Errors
    /// The client has ended.
    pub async fn discard_draft(&self, id: Timestamp) -> Result<bool, Ended> {
        let _one = self.drafts.lock().await;
        match self.store.run(move |store| drafts::remove(store, id)).await {
            Some(removed) => Ok(removed.unwrap_or(false)),
            None => Err(self.wait_for_end().await),
        }
    }

    /// Sends a message with files. Until it is in the outbox, it is a draft.
    pub(super) async fn send_files(
        &self,
        to: Conversation,
        data: DataMessage,
        files: Vec<std::path::PathBuf>,
    ) -> Result<SentMessage, QueueError> {
        let files = files.into_iter().map(|file| std::path::absolute(&file).unwrap_or(file));
        let new = Draft::new(now(), to, data, files.collect());
        let draft = {
            let _one = self.drafts.lock().await;
            let added = self.store.run(move |store| drafts::add(store, new)).await;
            match added {
                Some(Ok(draft)) => draft?,
                Some(Err(_)) | None => return Err(self.wait_for_end().await.into()),
            }
        };
        let sent = self.deliver_draft(&draft).await;
        let stays = matches!(&sent, Err(QueueError::Request(why)) if why.may_retry());
        if sent.is_err() && !stays {
            // The application knows that it is not sent.
            let _removed = self.discard_draft(draft.id).await;
        }
        sent
    }

    async fn deliver_draft(&self, draft: &Draft) -> Result<SentMessage, QueueError> {
        let mut data = draft.data.clone();
        let mut pointers: Vec<AttachmentPointer> = Vec::new();
        for file in &draft.files {
            pointers.push(self.deliver(draft.to, file).await?);
        }
        data.attachments = pointers;
        let _one = self.drafts.lock().await;
        let id = draft.id;
        let left = self.store.run(move |store| drafts::without(store, id)).await;
        let Some(Ok(left)) = left else { return Err(self.wait_for_end().await.into()) };
        let left = left.ok_or(QueueError::DraftGone)?;
        let sent = self.put_with_drafts(draft.to, content(&data)?, Some(left)).await?;
        self.uploads.forget_all(&data.attachments).await;
        Ok(sent)
    }

    /// Brings a file to its recipient, or to the service.
    async fn deliver(
        &self,
        to: Conversation,
        file: &Path,
    ) -> Result<AttachmentPointer, QueueError> {
        // The members of a group are never all online.
        let (Some(settings), Conversation::Account(to)) = (&self.options.direct, to) else {
            return self.upload(file).await;
        };
        let size = tokio::fs::metadata(file).await.map_or(0, |found| found.len());
        let is_only_way = size > MAX_FILE;
        // Other programs accept as much as we do.
        if size > settings.max_bytes.max(MAX_FILE) {
            return Err(QueueError::FileTooLarge(file.to_owned()));
        }
        if size < settings.min_bytes && !is_only_way {
            return self.upload(file).await;
        }
        self.wait_for_connection().await;
        let direct = Direct { client: self, settings, uploads: &self.uploads, to };
        let mut connected: Option<Instant> = None;
        for broken in 0_u32.. {
            let may = self.query(move |driver| driver.may_offer_file(to, is_only_way)).await?;
            let attempt = if may { direct.attempt(file).await? } else { Attempt::Unreachable };
            match attempt {
                Attempt::Sent(pointer) => return Ok(*pointer),
                Attempt::Broken => connected = Some(Instant::now()),
                Attempt::Unreachable => {}
            }
            let waits = connected.is_some_and(|last| last.elapsed() < DIRECT_PATIENCE);
            match (is_only_way, waits) {
                // It came back, or its program was only restarted.
                (true, true) => {}
                // Their program may just be starting.
                (true, false) if broken == 0 => {}
                (false, true) if broken < MAX_BROKEN => {}
                (true, false) => return Err(QueueError::NotReachable(file.to_owned())),
                (false, _) => break,
            }
            sleep(DIRECT_PAUSE).await;
        }
        self.upload(file).await
    }

    /// Waits a moment for the connection to the server, which a client that was just opened does not have yet.
    async fn wait_for_connection(&self) {
        let mut connection = self.signals.connection.subscribe();
        let is_connected = |connection: &Connection| {
            matches!(connection, Connection::Connected | Connection::UpToDate)
        };
        // Without a connection, the upload says why.
        let _late = timeout(CONNECTION_PATIENCE, connection.wait_for(is_connected)).await;
    }
}

/// How long a large file waits for the connection to the server.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(5);

/// How long a file that is too large for the service waits for a connection that was lost.
const DIRECT_PATIENCE: Duration = Duration::from_secs(120);

/// Pause between two attempts to send a file directly.
const DIRECT_PAUSE: Duration = Duration::from_secs(1);

/// How often a lost direct connection is replaced, for a file that the service takes, too.
const MAX_BROKEN: u32 = 3;
