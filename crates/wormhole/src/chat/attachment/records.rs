//! Uploads that have begun, in the store, so that they continue also after the program was killed.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use wormhole_chat::{AttachmentKey, AttachmentPlace, AttachmentPointer};
use zeroize::{Zeroize, Zeroizing};

use super::seal::SealingKeys;
use crate::chat::account::ClientStore;
use crate::chat::store::Store;

/// The uploads of a client.
#[derive(Clone, Debug)]
pub(in crate::chat) struct Uploads {
    store: ClientStore,
    /// The files that are being uploaded: another upload of the same file does not disturb them.
    running: Arc<Mutex<HashSet<String>>>,
}

/// An upload that has begun.
#[derive(Clone, Deserialize, Serialize)]
pub(in crate::chat) struct Record {
    /// The identity of the file.
    pub(in crate::chat) file: String,
    /// In base64, with the IV at its end.
    keys: String,
    /// The name of the attachment at the server.
    pub(in crate::chat) name: String,
    pub(in crate::chat) location: String,
    pub(in crate::chat) headers: BTreeMap<String, String>,
    /// In base64: the digests of the parts that may have been sent.
    digests: Vec<String>,
}

/// Says that a file is being uploaded, until it is dropped.
#[derive(Debug)]
pub(in crate::chat) struct Running {
    file: String,
    running: Arc<Mutex<HashSet<String>>>,
}

impl Uploads {
    pub(in crate::chat) fn new(store: ClientStore) -> Self {
        Self { store, running: Arc::default() }
    }

    /// Reserves a file for one upload. `None` if another one is running.
    pub(in crate::chat) fn begin(&self, file: &str) -> Option<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, is_new) = (file.to_owned(), running.insert(file.to_owned()));
        is_new.then(|| Running { file, running: Arc::clone(&self.running) })
    }

    /// An earlier upload of this file.
    pub(in crate::chat) async fn find(&self, file: &str) -> Option<Record> {
        let file = file.to_owned();
        let find = move |records: &mut Vec<Record>| {
            records.iter().find(|record| record.file == file).cloned()
        };
        self.with(find, false).await
    }

    /// Stores an upload, in place of the one of the same file. The oldest ones are forgotten.
    pub(in crate::chat) async fn put(&self, record: Record) -> Option<()> {
        let put = move |records: &mut Vec<Record>| {
            records.retain(|known| known.file != record.file);
            records.push(record);
            let surplus = records.len().saturating_sub(MAX_RECORDS);
            records.drain(..surplus);
            Some(())
        };
        self.with(put, true).await
    }

    /// Forgets the upload of a file.
    pub(in crate::chat) async fn forget(&self, file: &str) {
        let file = file.to_owned();
        let forget = move |records: &mut Vec<Record>| {
            records.retain(|known| known.file != file);
            Some(())
        };
        // If it stays, another upload of the file uses it.
        let _done = self.with(forget, true).await;
    }

    /// Forgets the uploads whose messages are in the outbox now.
    pub(in crate::chat) async fn forget_all(&self, files: &[AttachmentPointer]) {
        let name = |file: &AttachmentPointer| match &file.place {
            AttachmentPlace::Id(id) => id.to_string(),
            AttachmentPlace::Key(_, key) => key.clone(),
        };
        let names: Vec<_> = files.iter().map(name).collect();
        if names.is_empty() {
            return;
        }
        let forget = move |records: &mut Vec<Record>| {
            records.retain(|known| !names.contains(&known.name));
            Some(())
        };
        let _done = self.with(forget, true).await;
    }

    /// Stores the digest of a part that is going to be sent. Call it on a blocking thread.
    ///
    /// # Errors
    /// The store cannot be written, or the client has ended.
    pub(in crate::chat) fn add_digest(&self, file: &str, digest: [u8; 32]) -> io::Result<()> {
        let added = self.store.run_here(|store| {
            let mut records = read(store)?;
            let record = records.iter_mut().find(|record| record.file == file)?;
            record.digests.push(BASE64.encode(&digest));
            write(store, &records)
        });
        added.flatten().ok_or_else(|| io::Error::other("the store cannot be written"))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Record>) -> Option<T> + Send + 'static,
        is_change: bool,
    ) -> Option<T> {
        let done = self.store.run(move |store| {
            // Damaged ones are replaced.
            let mut records = read(store).unwrap_or_default();
            let result = work(&mut records);
            if is_change {
                write(store, &records)?;
            }
            result
        });
        done.await.flatten()
    }
}

fn read(store: &Store) -> Option<Vec<Record>> {
    match store.setting(SETTING).ok()? {
        Some(bytes) => serde_json::from_slice(&bytes).ok(),
        None => Some(Vec::new()),
    }
}

fn write(store: &mut Store, records: &[Record]) -> Option<()> {
    let bytes = Zeroizing::new(serde_json::to_vec(records).ok()?);
    let bytes = Some(bytes.as_slice()).filter(|_| !records.is_empty());
    store.set_setting(SETTING, bytes).ok()
}

impl Record {
    pub(in crate::chat) fn new(
        file: String,
        keys: &SealingKeys,
        (name, location): (String, String),
        headers: BTreeMap<String, String>,
    ) -> Self {
        let bytes = Zeroizing::new([keys.key.expose().as_slice(), &keys.iv].concat());
        let keys = BASE64.encode(&bytes);
        Self { file, keys, name, location, headers, digests: Vec::new() }
    }

    /// The keys, unless the record is damaged.
    pub(in crate::chat) fn keys(&self) -> Option<SealingKeys> {
        let bytes = Zeroizing::new(BASE64.decode(self.keys.as_bytes()).ok()?);
        let (key, iv) = bytes.split_last_chunk::<16>()?;
        Some(SealingKeys { key: AttachmentKey::from_slice(key)?, iv: *iv })
    }

    /// The digests, unless the record is damaged.
    pub(in crate::chat) fn digests(&self) -> Option<Vec<[u8; 32]>> {
        let decode = |text: &String| BASE64.decode(text.as_bytes()).ok()?.try_into().ok();
        self.digests.iter().map(decode).collect()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.file);
    }
}

/// The setting with the uploads. Settings of applications have other names.
const SETTING: &str = "wormhole.uploads";

/// Maximum number of uploads that are remembered. The server keeps eight.
const MAX_RECORDS: usize = 8;
