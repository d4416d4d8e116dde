//! Offers a file to somebody who is perhaps online, and sends it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wormhole_chat::{AccountId, AttachmentPointer, DirectOffer};
use wormhole_kit::Secret;

use super::{ANSWER_TIME, CONNECT_TIME, DirectFiles, FileName, SILENCE, WHOLE};
use crate::chat::attachment::{
    Checks, PIECES, Record, SealError, SealingKeys, Source, Uploads, blob_length, content_type,
    seal,
};
use crate::chat::client::Client;
use crate::chat::error::QueueError;
use crate::transit::{Pipe, Role, Transit, TransitInfo, TransitKey};

/// The result of an attempt.
#[derive(Debug)]
pub(in crate::chat) enum Attempt {
    /// The file is whole on the other side.
    Sent(Box<AttachmentPointer>),
    /// There was a connection, but not until the end.
    Broken,
    /// There was no connection.
    Unreachable,
}

/// Sends a file directly.
pub(in crate::chat) struct Direct<'a> {
    pub(in crate::chat) client: &'a Client,
    pub(in crate::chat) settings: &'a DirectFiles,
    pub(in crate::chat) uploads: &'a Uploads,
    pub(in crate::chat) to: AccountId,
}

impl Direct<'_> {
    /// Tries once. What the other side has stays there, and the next attempt continues, also after the program was killed.
    ///
    /// # Errors
    /// The file cannot be read or is too large, or the client has ended.
    pub(in crate::chat) async fn attempt(&self, path: &Path) -> Result<Attempt, QueueError> {
        let source = Source::open(path, false).await?;
        let size = u32::try_from(source.size);
        let size = size.map_err(|_| QueueError::FileTooLarge(path.to_owned()))?;
        let file = format!("{} to {}", source.identity(), self.to);
        let Some(_running) = self.uploads.begin(&file) else { return Ok(Attempt::Unreachable) };
        let record = match self.uploads.find(&file).await {
            Some(record) => record,
            None => {
                let keys = SealingKeys::random();
                let name = FileName::from_key(&keys.key).to_text();
                Record::new(file.clone(), &keys, (name, String::new()), [].into())
            }
        };
        let Some(keys) = record.keys() else {
            self.uploads.forget(&file).await;
            return Ok(Attempt::Unreachable);
        };
        let name = FileName::from_key(&keys.key);
        let key = keys.key.clone();
        let Some((pipe, offset)) = self.connect(name, blob_length(source.size)).await? else {
            return Ok(Attempt::Unreachable);
        };
        if self.uploads.put(record.clone()).await.is_none() {
            return Ok(Attempt::Unreachable);
        }
        let Some(digest) = self.push(pipe, &source, &record, keys, offset).await? else {
            return Ok(Attempt::Broken);
        };
        let pointer = AttachmentPointer::new(name.place(), key, size, digest, content_type(path));
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Attempt::Sent(Box::new(AttachmentPointer { file_name, ..pointer })))
    }

    /// Offers a file, and connects if the other side wants it now. Also returns how much it has.
    async fn connect(
        &self,
        name: FileName,
        length: u64,
    ) -> Result<Option<(Pipe, u64)>, QueueError> {
        let Ok(transit) = Transit::new(self.settings.transit.clone()) else { return Ok(None) };
        let (mut id, mut secret) = ([0; 16], [0; 32]);
        OsRng.fill_bytes(&mut id);
        OsRng.fill_bytes(&mut secret);
        let secret = Secret::new(secret);
        let key = TransitKey::new(secret.clone());
        let hints = transit.info().encode().to_string();
        let offer = DirectOffer { id, secret, file: name.0, length, hints };
        let to = self.to;
        let answer = self.client.query(move |driver| driver.offer_file(to, offer)).await?;
        let Ok(Ok(answer)) = timeout(ANSWER_TIME, answer).await else { return Ok(None) };
        let hints = answer.hints.and_then(|hints| serde_json::from_str::<Value>(&hints).ok());
        let Some(hints) = hints.filter(|_| answer.offset <= length) else { return Ok(None) };
        let peer = TransitInfo::decode(&hints);
        let connected = timeout(CONNECT_TIME, transit.connect(Role::Sender, &key, &peer)).await;
        Ok(connected.ok().and_then(Result::ok).map(|pipe| (pipe, answer.offset)))
    }

    /// Sends what the other side does not have. Returns the digest if the other side has confirmed that the file is whole.
    async fn push(
        &self,
        mut pipe: Pipe,
        source: &Source,
        record: &Record,
        keys: SealingKeys,
        offset: u64,
    ) -> Result<Option<[u8; 32]>, QueueError> {
        let (storing, name) = (self.uploads.clone(), record.file.clone());
        let store = move |digest| storing.add_digest(&name, digest);
        let digests = record.digests().unwrap_or_default();
        let mut checks = Checks { digests, skip: offset, store: Some(Box::new(store)) };
        let (file, sizes) = (source.file().await?, (source.size, source.size));
        let (pieces, mut receiver) = mpsc::channel(PIECES);
        let keys = Arc::new(keys);
        let sealing = spawn_blocking(move || seal(file, sizes, &keys, &mut checks, &pieces));
        let mut is_broken = false;
        while let Some(Ok(piece)) = receiver.recv().await {
            if !is_sent(timeout(SILENCE, pipe.send_record(&piece)).await) {
                is_broken = true;
                break;
            }
        }
        drop(receiver);
        let digest = match sealing.await {
            Ok(Ok(digest)) if !is_broken => digest,
            Ok(Err(SealError::Changed)) => {
                // The next attempt has another key.
                self.uploads.forget(&record.file).await;
                return Ok(None);
            }
            Ok(Err(SealError::File(error))) if !is_broken => {
                return Err(source.unreadable(error.kind()));
            }
            Ok(Ok(_) | Err(SealError::File(_))) | Err(_) => return Ok(None),
        };
        if !is_sent(timeout(SILENCE, pipe.send_record(&digest)).await) {
            return Ok(None);
        }
        let answer = timeout(FLUSH_TIME, pipe.receive_record()).await;
        let is_whole = matches!(answer, Ok(Ok(answer)) if answer == WHOLE);
        Ok(is_whole.then_some(digest))
    }
}

fn is_sent<T, A, B>(result: Result<Result<T, A>, B>) -> bool {
    matches!(result, Ok(Ok(_)))
}

/// How long the other side may take to check the file and to bring it to its disk, after the last byte.
const FLUSH_TIME: Duration = Duration::from_secs(180);
