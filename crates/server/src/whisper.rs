//! A Whisper node, and the JSON-RPC server through which clients use it.
//!
//! `wormhole-node` implements both. This module adds configuration and metrics, and starts and stops the node.

mod config;
mod counters;
#[cfg(unix)]
mod ipc;

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::timeout;
use wormhole_node::Node;
use wormhole_node::messaging::Messenger;
use wormhole_node::rpc::{Metrics, RpcServer};

pub(crate) use config::Config;

use crate::ServerError;
use crate::host::{Host, Listening, Prepared};
use crate::service::{About, ServiceConfig, StoredFile};
use counters::Counters;

impl ServiceConfig for Config {
    const ABOUT: About = About {
        name: "whisper",
        noun: "a Whisper node",
        is_default: false,
        help: include_str!("whisper/help.txt"),
        addresses: "  --whisper-listen ADDRESS           [default: [::]:30303]\n",
        // Its JSON-RPC has no TLS.
        hidden: &["tls_certificate", "tls_key"],
    };

    fn place_files(&mut self, data: &Path) {
        self.data = Some(data.join(self.data.as_deref().unwrap_or_else(|| Path::new("whisper"))));
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        Self::check(self)
    }

    fn files(&self) -> Vec<StoredFile> {
        let Some(data) = &self.data else { return Vec::new() };
        let key = StoredFile { path: data.join("nodekey"), is_database: false };
        let archive = self.archive_password_file.is_some();
        let archive =
            archive.then(|| StoredFile { path: data.join("archive.sqlite"), is_database: true });
        std::iter::once(key).chain(archive).collect()
    }

    async fn prepare(self, host: Host) -> Result<Prepared, ServerError> {
        let mut rpc_settings = self.service()?;
        rpc_settings.drain = host.drain_time / 2;
        let page = Arc::clone(&host.metrics);
        if !page.has_listener() {
            rpc_settings.metrics = Some(Metrics::new(move || page.render()));
        }
        let mut listeners = Vec::new();
        for (address, url) in [(self.rpc, "http://{}"), (self.ws, "ws://{}")] {
            if let Some(address) = address {
                listeners.push((crate::net::listen(address)?, url));
            }
        }
        #[cfg(unix)]
        let ipc = self.ipc.as_deref().map(ipc::Ipc::listen).transpose()?;
        if listeners.is_empty() && !self.has_ipc() {
            tracing::info!(
                "the Whisper node has no JSON-RPC address, so no client can use it: add --rpc 127.0.0.1:8545 \
                 (--whisper-rpc with `run`)"
            );
        }
        let messenger = start(&self).await?;
        let rpc = RpcServer::new(messenger.clone(), rpc_settings);
        let listening = listeners
            .iter()
            .map(|(listener, url)| Listening::new("whisper RPC", url, listener))
            .collect();
        let mut tasks = JoinSet::new();
        for (listener, _) in listeners {
            let (rpc, draining) = (rpc.clone(), host.draining.clone());
            tasks.spawn(async move { rpc.serve(listener, draining.cancelled_owned()).await });
        }
        #[cfg(unix)]
        if let Some(ipc) = ipc {
            let draining = host.draining.clone();
            tasks.spawn(async move { ipc.serve(&rpc, draining.cancelled_owned()).await });
        }
        let run = Box::pin(run(messenger, tasks, host));
        let unwritten = Some(
            "the Whisper node could not save all its messages before the end of the drain timeout",
        );
        Ok(Prepared { listening, run, unwritten })
    }
}

/// Runs until the server drains. Then calls may finish within half of the drain time. After that, the node disconnects
/// from its peers and saves its state, even if clients are still connected.
async fn run(
    messenger: Messenger,
    mut rpc_tasks: JoinSet<()>,
    host: Host,
) -> Result<(), ServerError> {
    let node = messenger.node().clone();
    let counters = Counters::default();
    host.metrics.register("whisper", |registry| counters.register(registry));
    let counting = tokio::spawn(async move { counters.update(&messenger).await });
    host.draining.cancelled().await;
    let served = async { while rpc_tasks.join_next().await.is_some() {} };
    if timeout(host.drain_time * 3 / 4, served).await.is_err() {
        tracing::warn!("RPC clients are still connected after the drain timeout");
    }
    counting.abort();
    node.stop().await;
    Ok(())
}

/// Starts the node and its messenger.
async fn start(config: &Config) -> Result<Messenger, ServerError> {
    let settings = config.node()?;
    let mut messenger_settings = config.messenger();
    messenger_settings.max_ttl = settings.max_ttl;
    let everywhere = config.listen.ip().is_unspecified() && config.advertise.is_none();
    let node = Node::start(settings).await.map_err(|e| ServerError::Whisper(e.to_string()))?;
    tracing::info!("whisper node listening on {}", node.enode());
    if everywhere {
        tracing::info!(
            "other machines cannot use this enode address; add --advertise IP (--whisper-advertise with `run`)"
        );
    }
    Ok(Messenger::new(node, &messenger_settings))
}
