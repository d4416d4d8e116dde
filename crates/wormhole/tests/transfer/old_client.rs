//! A receiver without our extensions: it announces no abilities, and takes files and zips of a known length.

use std::io::{Cursor, Read};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::*;
use crate::liars::Liar;

/// Accepts the offer, receives all data, and confirms it. Returns the offer and the data.
pub(crate) async fn receive(client: &Liar) -> (Value, Vec<u8>) {
    let (offer, mut pipe) = client.accept().await;
    let (file, folder) = (&offer["file"]["filesize"], &offer["directory"]["zipsize"]);
    let size = file.as_u64().or_else(|| folder.as_u64()).unwrap();
    let mut data = Vec::new();
    while u64::try_from(data.len()).unwrap() < size {
        data.extend(pipe.receive_record().await.unwrap());
    }
    let hash = HEXLOWER.encode(&Sha256::digest(&data));
    let confirmation = json!({ "ack": "ok", "sha256": hash }).to_string();
    pipe.send_record(confirmation.as_bytes()).await.unwrap();
    pipe.close().await;
    (offer, data)
}

/// Sends to an old client. Returns what it was offered, and what it received.
pub(crate) async fn send(
    what: Outgoing,
    settings: Settings,
    code: Code,
) -> (Result<Report, Error>, Value, Vec<u8>) {
    let sender = transfer::send(what, settings.clone()).unwrap();
    let client = Liar::new(&settings, code);
    let ((sent, _), (offer, data)) = tokio::join!(finish(sender, None), receive(&client));
    (sent, offer, data)
}

/// Waits until a client is told why the transfer failed. It must not be offered anything before.
pub(crate) async fn reason_without_offer(client: &Liar) -> String {
    let message = client.hear().await;
    assert!(message.get("offer").is_none(), "{message}");
    message["error"].as_str().unwrap().to_owned()
}

/// The contents of a zip, as an independent library reads it: names in the order of the zip, `None` for a folder.
pub(crate) fn unzip(zip: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let mut zip = ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut entries = Vec::new();
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        entries.push(match name.strip_suffix('/') {
            Some(name) => (name.to_owned(), None),
            None => (name, Some(data)),
        });
    }
    entries
}
