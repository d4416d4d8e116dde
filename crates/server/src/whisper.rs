//! A Whisper node, and the JSON-RPC by which clients use it.
//!
//! Both are of the SDK; here is what can be configured, and how they start and stop with the
//! process.

mod config;

use tokio::net::TcpListener;
use wormhole::whisper::Node;
use wormhole::whisper::desk::{Desk, DeskSettings};
use wormhole::whisper::rpc::Service;

pub(crate) use config::Config;

use crate::{Host, ServerError};

/// Serves until drained: calls under way may finish, then the node parts with its peers and keeps
/// what its next start needs.
pub(crate) async fn serve(config: Config, host: Host) -> Result<(), ServerError> {
    let settings = config.node()?;
    let mut doors = Vec::new();
    for (address, url) in [(config.rpc, "http://{}"), (config.ws, "ws://{}")] {
        if let Some(address) = address {
            doors.push(crate::net::listen("whisper RPC", url, address)?);
        }
    }
    let mut desk_settings = DeskSettings::default();
    desk_settings.max_ttl = settings.max_ttl;
    let service_settings = config.service()?;
    let node = Node::start(settings).await.map_err(|e| ServerError::Whisper(e.to_string()))?;
    tracing::info!("whisper node listening on {}", node.enode());
    let service = Service::new(Desk::new(node.clone(), &desk_settings), service_settings);
    let mut doors: tokio::task::JoinSet<()> =
        doors.into_iter().map(|door| attend(service.clone(), door, host.clone())).collect();
    let mut drain = host.drain.clone();
    drain.begun().await;
    while doors.join_next().await.is_some() {}
    node.stop().await;
    Ok(())
}

/// Lives with a listener.
async fn attend(service: Service, door: TcpListener, host: Host) {
    let mut drain = host.drain;
    service.serve(door, async move { drain.begun().await }).await;
}
