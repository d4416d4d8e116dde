//! Compressed data: only on a slow connection, and only what gets shorter.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wormhole_magic::transfer::dilated::{Incoming, Mode, Received, SUBPROTOCOL, frame};

use super::*;

/// What a receiver has got.
#[derive(Default)]
struct Got {
    contents: Vec<u8>,
    /// The number of bytes that arrived compressed, before and after they were decompressed.
    compressed: usize,
    plain: usize,
}

/// Sends a file to a receiver that reads one record each so often.
async fn send(contents: &[u8], pause: Duration) -> Got {
    let (settings, code) = settings().await;
    let from = Folder::new();
    let sender = transfer::send(path(&from.file("a", contents)), settings.clone()).unwrap();
    let sending = tokio::spawn(finish(sender, None));
    let peer = dilated_liars::peer(Mode::Receive, &settings, code).await;
    let mut listener = peer.listen(SUBPROTOCOL).unwrap();
    let mut stream = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let (mut incoming, mut got) = (Incoming::new(), Got::default());
    let mut buffer = vec![0; 64 << 10];
    'reading: loop {
        let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        let mut input = &buffer[..length];
        while let Some(received) = incoming.next(&mut input).unwrap() {
            match received {
                Received::Offer(_) => {
                    incoming.accept();
                    let mut answer = Vec::new();
                    frame::accept(&mut answer);
                    frame::ready(&mut answer, 0);
                    stream.write_all(&answer).await.unwrap();
                }
                Received::Data(data) => got.contents.extend_from_slice(data),
                Received::Compressed(block, plain) => {
                    got.compressed += block.len();
                    got.plain += plain;
                    got.contents.extend(zstd::bulk::decompress(&block, plain).unwrap());
                }
                Received::End => break 'reading,
                _ => {}
            }
        }
        // A connection with a limited rate.
        tokio::time::sleep(pause).await;
    }
    let mut stored = Vec::new();
    frame::stored(&mut stored);
    stream.write_all(&stored).await.unwrap();
    let (sent, _) = timeout(PATIENCE, sending).await.unwrap().unwrap();
    assert_eq!(sent.unwrap().bytes, u64::try_from(contents.len()).unwrap());
    got
}

#[tokio::test]
async fn text_is_compressed_for_a_slow_receiver() {
    let text: Vec<u8> = (0..2_000_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
    let got = send(&text, Duration::from_millis(4)).await;
    assert!(got.contents == text);
    assert!(got.plain > text.len() / 4, "{} of {}", got.plain, text.len());
    assert!(got.compressed < got.plain / 3, "{} of {}", got.compressed, got.plain);
}

#[tokio::test]
async fn data_without_patterns_is_sent_as_it_is() {
    let mut random = vec![0; 16 << 20];
    OsRng.fill_bytes(&mut random);
    let got = send(&random, Duration::from_millis(4)).await;
    assert!(got.contents == random);
    assert_eq!(got.plain, 0);
}
