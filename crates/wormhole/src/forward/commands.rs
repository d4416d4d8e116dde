//! The requests to listen: ours for our services, and the peer's for its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use wormhole_magic::forward::{
    COMMANDS, ListenReply, ListenRequest, Malformed, PREFIX, message_length,
};

use super::session::Shared;
use super::{Event, Service};
use crate::dilated::Subchannel;

/// Asks the peer to listen for our service until it does, and keeps the request open: fowl stops to listen when it ends.
pub(super) async fn request_listener(shared: Arc<Shared>, service: Service) {
    let mut pause = FIRST_PAUSE;
    let mut last_reason = None;
    loop {
        match ask(&shared, &service).await {
            Ok((ListenReply::Listening { .. }, mut stream)) => {
                shared.report(Event::Offered(service.name.clone()));
                last_reason = None;
                // Nothing more comes before the end.
                let _ended = stream.read(&mut [0]).await;
            }
            Ok((ListenReply::NotListening { reason, .. }, _)) => {
                if last_reason.as_ref() != Some(&reason) {
                    let (name, reason) = (service.name.clone(), reason.clone());
                    shared.report(Event::NotOffered { name, reason });
                }
                last_reason = Some(reason);
            }
            // The session has ended, or the peer misbehaves: both may pass.
            Err(_) => {}
        }
        // The peer may get to know the name later: fowl answers like this while it starts.
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

async fn ask(shared: &Shared, service: &Service) -> io::Result<(ListenReply, Subchannel)> {
    let mut stream = shared.open_stream(COMMANDS)?;
    let request = ListenRequest { name: service.name.clone(), port: service.listen_port };
    write_message(&mut stream, &request.encode()).await?;
    let reply = timeout(ANSWER, read_message(&mut stream)).await??;
    let reply = ListenReply::decode(&reply).map_err(io::Error::other)?;
    let (ListenReply::Listening { name, .. } | ListenReply::NotListening { name, .. }) = &reply;
    if *name == service.name { Ok((reply, stream)) } else { Err(io::Error::other(Malformed)) }
}

/// Answers the requests on one stream of the peer.
pub(super) async fn answer_requests(shared: Arc<Shared>, mut stream: Subchannel) {
    for _ in 0..MAX_REQUESTS {
        let Ok(message) = read_message(&mut stream).await else { return };
        let Ok(request) = ListenRequest::decode(&message) else { return };
        let reply = shared.start_listening(&request);
        if write_message(&mut stream, &reply.encode()).await.is_err() {
            return;
        }
    }
}

/// Writes a message as a record of its own, as the reference needs it.
pub(super) async fn write_message(stream: &mut Subchannel, message: &[u8]) -> io::Result<()> {
    stream.write_all(message).await?;
    stream.flush().await
}

/// Reads a message, without its length.
pub(super) async fn read_message(stream: &mut Subchannel) -> io::Result<Vec<u8>> {
    let mut prefix = [0; PREFIX];
    stream.read_exact(&mut prefix).await?;
    let length = message_length(prefix).map_err(|error: Malformed| io::Error::other(error))?;
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Maximum number of requests on one stream.
const MAX_REQUESTS: usize = 1000;

/// How long an answer of the peer may take; it has to connect to its service first.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// Time between the first two requests.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest time between two requests.
const LAST_PAUSE: Duration = Duration::from_secs(30);
