//! Single connections: between a socket of ours and a stream to the peer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wormhole_magic::dilation::MAX_DATA;
use wormhole_magic::forward::{CONNECTIONS, ConnectReply, ConnectRequest, ServiceName};

use super::Event;
use super::commands::{ANSWER, read_message, write_message};
use super::session::Shared;
use super::traffic::OpenConnection;
use crate::dilated::Subchannel;

/// Carries a connection that was made to our listener.
pub(super) async fn open(shared: Arc<Shared>, name: ServiceName, socket: TcpStream) {
    match request(&shared, &name).await {
        Ok(stream) => carry(&shared, name, socket, stream, false).await,
        Err(error) => {
            let reason = in_words(&error);
            shared.report(Event::NotOpened { name, is_incoming: false, reason });
        }
    }
}

/// Asks the peer to connect to its service.
async fn request(shared: &Shared, name: &ServiceName) -> io::Result<Subchannel> {
    let mut stream = shared.open_stream(CONNECTIONS)?;
    write_message(&mut stream, &ConnectRequest { name: name.clone() }.encode()).await?;
    let reply = timeout(ANSWER, read_message(&mut stream)).await??;
    match ConnectReply::decode(&reply).map_err(io::Error::other)? {
        ConnectReply::Connected => Ok(stream),
        ConnectReply::NotConnected(reason) => Err(io::Error::other(reason)),
    }
}

/// Connects a stream of the peer to our service.
pub(super) async fn accept(shared: Arc<Shared>, mut stream: Subchannel) {
    let Ok(Ok(message)) = timeout(ANSWER, read_message(&mut stream)).await else { return };
    let Ok(ConnectRequest { name }) = ConnectRequest::decode(&message) else { return };
    let connected = connect(&shared, &name).await;
    let reply = match &connected {
        Ok(_) => ConnectReply::Connected,
        Err(error) => ConnectReply::NotConnected(in_words(error)),
    };
    let written = write_message(&mut stream, &reply.encode()).await;
    match connected.and_then(|socket| written.map(|()| socket)) {
        Ok(socket) => carry(&shared, name, socket, stream, true).await,
        Err(error) => {
            let reason = in_words(&error);
            shared.report(Event::NotOpened { name, is_incoming: true, reason });
            // Otherwise the answer could be lost with the stream.
            let _ended = stream.shutdown().await;
        }
    }
}

async fn connect(shared: &Shared, name: &ServiceName) -> io::Result<TcpStream> {
    let service = shared.service(name);
    let service = service.ok_or_else(|| io::Error::other(format!("No service \"{name}\"")))?;
    let address = (service.host.as_str(), service.port);
    match timeout(CONNECTING, TcpStream::connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Carries the bytes in both directions until both have ended, or one has failed.
async fn carry(
    shared: &Shared,
    name: ServiceName,
    socket: TcpStream,
    stream: Subchannel,
    is_incoming: bool,
) {
    let counter = shared.count_connection();
    shared.report(Event::Opened { id: counter.id, name, is_incoming });
    let carried = carry_both(socket, stream, &counter).await;
    let (id, (sent, received)) = (counter.id, counter.bytes());
    // The counter of open connections must be right when the event is read.
    drop(counter);
    let failure = carried.err().map(|error| in_words(&error));
    shared.report(Event::Closed { id, sent, received, failure });
}

async fn carry_both(
    mut socket: TcpStream,
    stream: Subchannel,
    counter: &OpenConnection,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (from_socket, to_socket) = socket.split();
    let (from_peer, to_peer) = tokio::io::split(stream);
    let sent = carry_one(from_socket, to_peer, |bytes| counter.add_sent(bytes));
    let received = carry_one(from_peer, to_socket, |bytes| counter.add_received(bytes));
    tokio::try_join!(sent, received).map(drop)
}

/// Carries the bytes of one direction, and its end.
async fn carry_one(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(u64),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..length).unwrap_or_default()).await?;
        count(u64::try_from(length).unwrap_or(u64::MAX));
    }
}

/// Describes an error without the number that Rust adds: ` (os error 111)`.
fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or_default().to_owned()
}

/// How long a service may take to accept a connection.
const CONNECTING: Duration = Duration::from_secs(10);

/// Bytes that are carried at once: they become one record.
const BUFFER: usize = MAX_DATA;
