//! Carries bytes by reading and writing them: works on every system and between all kinds of links.

use std::io;

use tokio::net::TcpStream;

use super::web::End;
use super::{Meter, Stopped};
use crate::transit_relay::link;

/// Moves what there is from one plain link to another, until there is nothing more for the moment.
///
/// The buffer lives as long as the burst.
///
/// # Errors
/// The direction has stopped.
pub(super) async fn burst(
    source: &TcpStream,
    sink: &TcpStream,
    meter: &Meter<'_>,
) -> Result<(), Stopped> {
    let mut buffer = vec![0; BUFFER.min(meter.piece())];
    while let Some(piece) = read_now(source, &mut buffer)? {
        let from = End::Tcp(source);
        meter.hand_on(from, link::write_all(sink, piece, || meter.taken(from))).await?;
        meter.carried(piece.len(), from).await;
        // A pair that always has more must not keep its thread from the others.
        tokio::task::consume_budget().await;
    }
    Ok(())
}

/// Reads what there is; `None` if that is nothing yet.
///
/// # Errors
/// Nothing will come any more.
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

/// Bytes read at once: as much as pays, and still small beside the socket's own buffers.
pub(super) const BUFFER: usize = 64 << 10;
