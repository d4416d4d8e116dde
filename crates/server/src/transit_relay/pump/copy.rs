//! Forwards data by reading and writing: works on every system and for all kinds of connections.

use std::io;

use tokio::net::TcpStream;

use super::web::End;
use super::{Meter, Stopped};
use crate::transit_relay::link;

/// Moves all available data from one plain connection to another.
///
/// The buffer is freed afterwards.
///
/// # Errors
/// The direction has stopped.
pub(super) async fn burst(
    source: &TcpStream,
    sink: &TcpStream,
    meter: &Meter<'_>,
) -> Result<(), Stopped> {
    let mut buffer = vec![0; BUFFER.min(meter.max_piece())];
    while let Some(piece) = read_now(source, &mut buffer)? {
        let from = End::Tcp(source);
        meter
            .write_within_limit(from, link::write_all(sink, piece, || meter.record_progress(from)))
            .await?;
        meter.count_and_pause(piece.len(), from).await;
        // A busy pair must not block its thread.
        tokio::task::consume_budget().await;
    }
    Ok(())
}

/// Reads available data; `None` if no data has arrived yet.
///
/// # Errors
/// The source has ended.
pub(super) fn read_now<'a>(
    source: &TcpStream,
    buffer: &'a mut [u8],
) -> Result<Option<&'a [u8]>, Stopped> {
    match source.try_read(buffer) {
        Ok(0) => Err(Stopped::SourceEnded),
        Ok(count) => Ok(buffer.get(..count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(_) => Err(Stopped::SourceEnded),
    }
}

/// Number of bytes to read at once: large enough to be fast, and small compared with the buffers of the socket.
pub(super) const BUFFER: usize = 64 << 10;
