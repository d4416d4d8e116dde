//! What the tests do with streams: echo them, and check echoes.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use wormhole::dilated::{Dilated, Listener, Subchannel};

/// The subprotocol of all tests.
pub(crate) const ECHO: &str = "echo";

/// Fails if this takes long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(Duration::from_secs(18), future).await {
        Ok(output) => output,
        Err(_) => panic!("too slow: {what}"),
    }
}

/// Echoes every stream until the wormhole ends.
pub(crate) fn serve(mut streams: Listener) {
    tokio::spawn(async move {
        while let Ok(stream) = streams.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(stream);
                // A test that has ended does not need it.
                if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
                    let _ended = writer.shutdown().await;
                }
            });
        }
    });
}

/// Data that differs for each number.
pub(crate) fn data(number: usize, length: usize) -> Vec<u8> {
    let mut state = u32::try_from(number).unwrap().wrapping_mul(2_654_435_761) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}

/// Sends data over a new stream, ends our direction, and checks that everything comes back before the end.
pub(crate) async fn check(dilated: &Dilated, number: usize, length: usize) {
    let stream = dilated.connect(ECHO).unwrap();
    check_stream(stream, number, length).await;
}

async fn check_stream(stream: Subchannel, number: usize, length: usize) {
    let sent = data(number, length);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let mut received = Vec::with_capacity(length);
    let ((), read) = tokio::join!(write, reader.read_to_end(&mut received));
    read.unwrap();
    assert_eq!(received.len(), sent.len(), "stream {number}");
    assert!(received == sent, "stream {number} was changed");
}

/// Checks this many streams at the same time.
pub(crate) async fn check_many(dilated: &Dilated, streams: usize, length: usize) {
    let all = (0..streams).map(|number| check(dilated, number, length));
    futures_util::future::join_all(all).await;
}
