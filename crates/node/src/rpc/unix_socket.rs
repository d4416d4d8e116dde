//! A Unix socket, as go-ethereum's `geth.ipc`: JSON values one after the other, without HTTP.
//!
//! There are no access rules: every program that may open the file is admitted.

use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::RpcServer;
use super::connection::{outgoing_queue, serve_connection};
use super::http::{ACCEPT_PAUSE, WRITE_TIME};
use super::json_stream::JsonSplitter;

impl RpcServer {
    /// Serves a Unix socket until `stop` ends, then finishes running calls within the drain time of the
    /// settings. Dropping the future closes all connections.
    pub async fn serve_unix(&self, listener: UnixListener, stop: impl Future<Output = ()> + Send) {
        let mut connections = JoinSet::new();
        let (running, stopping) = watch::channel(());
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                _ = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) if connections.len() < self.settings.max_connections => {
                    connections.spawn(serve(stream, self.clone(), stopping.clone()));
                }
                // The limit is reached: the connection is closed before anything is read.
                Ok(_) => {}
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
        drop(running);
        let all_gone = async { while connections.join_next().await.is_some() {} };
        // Closes the connections that are still open.
        let _late = timeout(self.settings.drain, all_gone).await;
    }
}

/// Serves one connection until it closes.
async fn serve(stream: UnixStream, service: RpcServer, stopping: watch::Receiver<()>) {
    let limit = usize::try_from(service.settings.max_request_bytes).unwrap_or(usize::MAX);
    let (reading, writing) = stream.into_split();
    let (out, queue) = outgoing_queue();
    let reader =
        Reader { reading, splitter: JsonSplitter::new(limit), complete: Vec::new().into_iter() };
    let reading = stream::unfold(reader, async |mut reader| {
        let value = reader.next().await?;
        Some((value, reader))
    });
    serve_connection(service, None, reading, out, write(writing, queue), stopping).await;
}

/// Splits incoming bytes into JSON values.
struct Reader {
    reading: OwnedReadHalf,
    splitter: JsonSplitter,
    complete: std::vec::IntoIter<Vec<u8>>,
}

impl Reader {
    /// The next value. `None` at the end of the connection, or after invalid bytes.
    async fn next(&mut self) -> Option<Vec<u8>> {
        let mut chunk = [0; CHUNK];
        loop {
            if let Some(value) = self.complete.next() {
                return Some(value);
            }
            let count = self.reading.read(&mut chunk).await.ok().filter(|count| *count > 0)?;
            self.complete = self.splitter.push(chunk.get(..count)?).ok()?.into_iter();
        }
    }
}

/// Writes outgoing messages, one per line.
async fn write(mut writing: OwnedWriteHalf, mut queue: mpsc::Receiver<String>) {
    while let Some(mut line) = queue.recv().await {
        line.push('\n');
        for piece in line.as_bytes().chunks(CHUNK) {
            // Disconnects a client that reads nothing for this long.
            if !matches!(timeout(WRITE_TIME, writing.write_all(piece)).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// Bytes to read, or to write, at a time.
const CHUNK: usize = 16 * 1024;
