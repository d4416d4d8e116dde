//! A Whisper node, and the JSON-RPC by which clients use it.
//!
//! Both are of the SDK; here is what can be configured, what can be counted, and how they start and
//! stop with the process.

mod config;
mod counters;
#[cfg(unix)]
mod ipc;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use wormhole_node::Node;
use wormhole_node::messaging::Messenger;
use wormhole_node::rpc::{Metrics, RpcServer};

pub(crate) use config::Config;

use crate::{Host, ServerError};
use counters::Counters;

/// Serves until drained: calls under way may finish within half of `grace`, then the node parts with
/// its peers and keeps what its next start needs, whatever its clients do.
pub(crate) async fn serve(config: Config, host: Host, grace: Duration) -> Result<(), ServerError> {
    let mut service_settings = config.service()?;
    service_settings.drain = grace / 2;
    let page = Arc::clone(&host.metrics);
    if !page.has_listener() {
        service_settings.metrics = Some(Metrics::new(move || page.render()));
    }
    let mut doors = Vec::new();
    for (address, url) in [(config.rpc, "http://{}"), (config.ws, "ws://{}")] {
        if let Some(address) = address {
            doors.push((crate::net::listen(address)?, url));
        }
    }
    #[cfg(unix)]
    let ipc = config.ipc.as_deref().map(ipc::Ipc::listen).transpose()?;
    if doors.is_empty() && !config.has_ipc() {
        tracing::info!("no client can use the whisper node yet: give --rpc 127.0.0.1:8545");
    }
    let messenger = start(&config).await?;
    let node = messenger.node().clone();
    let service = RpcServer::new(messenger.clone(), service_settings);
    let mut tasks = JoinSet::new();
    for (door, url) in doors {
        crate::net::announce("whisper RPC", url, &door);
        let (service, mut drain) = (service.clone(), host.drain.clone());
        tasks.spawn(async move { service.serve(door, async { drain.begun().await }).await });
    }
    #[cfg(unix)]
    if let Some(ipc) = ipc {
        let mut drain = host.drain.clone();
        tasks.spawn(async move { ipc.serve(&service, async { drain.begun().await }).await });
    }
    let counters = Arc::new(Counters::default());
    let shown = Arc::clone(&counters);
    host.metrics.register(move |page| shown.write(page));
    let counting = tokio::spawn(async move { counters.keep(&messenger).await });
    let mut drain = host.drain;
    drain.begun().await;
    let served = async { while tasks.join_next().await.is_some() {} };
    if timeout(grace * 3 / 4, served).await.is_err() {
        tracing::warn!("RPC clients are still connected after the drain timeout");
    }
    counting.abort();
    node.stop().await;
    Ok(())
}

/// Starts the node, and sets the messenger up at it.
async fn start(config: &Config) -> Result<Messenger, ServerError> {
    let settings = config.node()?;
    let mut desk_settings = config.messenger();
    desk_settings.max_ttl = settings.max_ttl;
    let everywhere = config.listen.ip().is_unspecified() && config.advertise.is_none();
    let node = Node::start(settings).await.map_err(|e| ServerError::Whisper(e.to_string()))?;
    tracing::info!("whisper node listening on {}", node.enode());
    if everywhere {
        tracing::info!(
            "this enode is useful on this machine only; to make it useful for others, give --advertise IP"
        );
    }
    Ok(Messenger::new(node, &desk_settings))
}
