//! `whisper node`: runs a node in this process, with a status line, and with JSON-RPC for other programs on this
//! computer (`--rpc`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use wormhole_node::devp2p::enode::Enode;
use wormhole_node::messaging::{Messenger, MessengerSettings};
use wormhole_node::rpc::{RpcServer, RpcServerSettings};
use wormhole_node::{Node, Settings, StartError, Status};

use super::{enode, work};
use crate::args::NodeArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::{printable, units};

/// Runs a node until a signal comes.
///
/// # Errors
/// The node does not start, or a signal came.
pub(super) async fn run(args: NodeArgs, console: &mut Console) -> Result<()> {
    let listener = match args.rpc {
        Some(address) => Some(RpcListener::open(address).await?),
        None => None,
    };
    let is_open = args.listen.is_some_and(|address| address.ip().is_unspecified());
    let says_where = args.advertise.is_some();
    let peers = args.peer.iter().map(|peer| enode(peer)).collect::<Result<Vec<_>, _>>()?;
    let node = start(args, console).await?;
    let own = node.enode().to_string();
    let url = listener.as_ref().map(|listener| listener.url.as_str());
    console.report(&json!({ "event": "node", "enode": own, "rpc": url }))?;
    console.screen.show("Address of this node:");
    console.print(&format!("{own}\n"))?;
    let ip = node.enode().endpoint.map(|endpoint| endpoint.ip);
    if !says_where && ip.is_some_and(|ip| ip.is_loopback()) {
        let listen = if is_open { "" } else { "--listen 0.0.0.0:30303 " };
        console.screen.show(&format!(
            "Only this computer can use this address. To let others connect: {listen}--advertise IP"
        ));
    }
    if let Some(url) = url {
        console.screen.show(&format!("JSON-RPC for programs on this computer: {url}"));
    }
    let serving = listener.map(|listener| listener.serve(&node));
    let done = watch(&node, &peers, console).await;
    console.screen.end_status();
    if let Some(serving) = serving {
        serving.stop().await;
    }
    node.stop().await;
    done
}

/// A listener for JSON-RPC.
#[derive(Debug)]
struct RpcListener {
    listener: TcpListener,
    url: String,
}

impl RpcListener {
    async fn open(address: SocketAddr) -> Result<Self> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(Failure::usage(format!(
                "--rpc {address} is not a loopback address: anyone who can reach it could use the keys of your clients"
            ))
            .hint(
                "use a loopback address such as 127.0.0.1:8545; for clients on other computers, run \
                 `wormhole-server whisper`, which can require a token",
            )
            .into());
        }
        let refused = |error: io::Error| {
            Failure::new(format!("cannot listen on {address}: {}", error.kind()))
                .hint("--rpc 127.0.0.1:0 uses any free port")
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let url = format!("http://{}", listener.local_addr().map_err(refused)?);
        Ok(Self { listener, url })
    }

    /// Serves JSON-RPC in a background task.
    fn serve(self, node: &Node) -> Serving {
        let messenger = Messenger::new(node.clone(), &MessengerSettings::default());
        let mut settings = RpcServerSettings::default();
        settings.drain = DRAIN;
        let service = RpcServer::new(messenger, settings);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            // Nothing is sent; the sender is dropped.
            let stopped = async { drop(stopped.await) };
            service.serve(self.listener, stopped).await;
        });
        Serving { stop, task }
    }
}

/// A running JSON-RPC server.
#[derive(Debug)]
struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Stops the server. Calls that are running may finish within a short time.
    async fn stop(self) {
        drop(self.stop);
        // A task fails only by a panic, which was reported.
        let _panicked = self.task.await;
    }
}

/// Starts the node on the address of `--listen`, or on the usual port, or on any port if that one is in use.
async fn start(args: NodeArgs, console: &Console) -> Result<Node> {
    let may_move = args.listen.is_none();
    let data = args.data.clone();
    let mut settings = settings(args)?;
    let started = match Node::start(settings.clone()).await {
        Err(StartError::Listen(io::ErrorKind::AddrInUse)) if may_move => {
            settings.listen = Some(SocketAddr::new(USUAL.ip(), 0));
            let node = Node::start(settings).await;
            if let Ok(Some(endpoint)) = node.as_ref().map(|node| node.enode().endpoint) {
                console.screen.show(&format!(
                    "Port {} is in use; this node listens on {}.",
                    USUAL.port(),
                    endpoint.tcp
                ));
            }
            node
        }
        started => started,
    };
    started.map_err(|error| match (&error, data) {
        (StartError::Data(why), Some(data)) => {
            let data = printable::path(&data);
            // The text of this kind is "entity not found".
            let why = if *why == io::ErrorKind::NotFound {
                "no such file or directory".to_owned()
            } else {
                why.to_string()
            };
            Failure::new(format!("cannot create or write the data directory {data}: {why}")).into()
        }
        _ => explain(&error).into(),
    })
}

fn settings(args: NodeArgs) -> Result<Settings> {
    let nodes = |texts: &[String]| texts.iter().map(|text| enode(text)).collect::<Result<_, _>>();
    let mut settings = Settings::default();
    settings.listen = Some(args.listen.unwrap_or(USUAL));
    settings.advertise = args.advertise;
    settings.discovery = args.discovery;
    settings.bootnodes = nodes(&args.bootnode)?;
    settings.static_peers = nodes(&args.peer)?;
    settings.max_peers = args.max_peers;
    settings.min_work = work(args.min_pow, "--min-pow")?;
    settings.light = args.light;
    settings.data = args.data;
    Ok(settings)
}

/// Shows the status of the node until it stops, and once which of these peers are not connected.
async fn watch(node: &Node, peers: &[Enode], console: &mut Console) -> Result<()> {
    let (mut last, mut next) = (None::<Status>, Instant::now());
    let mut patience = Some(next + PATIENCE);
    loop {
        if patience.take_if(|until| *until <= next).is_some() {
            let here = console.unless_interrupted(node.peers()).await?;
            let here = here.map_err(|_| Failure::new("the node has stopped"))?;
            for peer in peers.iter().filter(|peer| here.iter().all(|other| other.id != peer.id)) {
                console.screen.show(&format!("{peer} has not answered yet; trying again."));
            }
        }
        let status = console.unless_interrupted(node.status()).await?;
        let status = status.map_err(|_| Failure::new("the node has stopped"))?;
        if last.as_ref() != Some(&status) {
            console.report(&event(&status))?;
        }
        let (mut new, mut unsent) = (0, 0);
        if let Some(last) = &last {
            new = status.accepted - last.accepted;
            unsent = status.unsent - last.unsent;
        }
        if unsent > 0 {
            console.screen.show(&unsent_line(unsent, status.peers));
        }
        console.screen.show_status(&line(&status, new));
        last = Some(status);
        next += INTERVAL;
        console.unless_interrupted(sleep_until(next)).await?;
    }
}

/// Reports messages posted here that no other node has received.
fn unsent_line(count: u64, peers: usize) -> String {
    let (what, them) = match count {
        1 => ("1 message".to_owned(), "it"),
        count => (format!("{count} messages"), "them"),
    };
    let why = match peers {
        0 => "this node has no peers; add one with --peer".to_owned(),
        _ => format!("no peer accepted {them}"),
    };
    format!("{what} posted here expired before another node received {them}: {why}.")
}

fn event(status: &Status) -> serde_json::Value {
    json!({
        "event": "status", "peers": status.peers, "envelopes": status.envelopes,
        "bytes": status.bytes, "accepted": status.accepted, "cut": status.misbehaved,
        "banned": status.banned, "min_pow": status.min_work.as_f64(), "unsent": status.unsent,
    })
}

/// `3 peers · 120 messages, 61.2 kB · 4 new per second · 1 disconnected, 0 banned`.
fn line(status: &Status, new: u64) -> String {
    let bytes = units::size(u64::try_from(status.bytes).unwrap_or(u64::MAX));
    let peers = if status.peers == 1 { "1 peer".into() } else { format!("{} peers", status.peers) };
    let held = status.envelopes;
    let held = if held == 1 { "1 message".into() } else { format!("{held} messages") };
    let (disconnected, banned) = (status.misbehaved, status.banned);
    format!(
        "{peers} · {held}, {bytes} · {new} new per second · {disconnected} disconnected, {banned} banned"
    )
}

/// Explains why a node does not start.
pub(super) fn explain(error: &StartError) -> Failure {
    let failure = Failure::new(format!("cannot start the node: {error}"));
    match error {
        StartError::Listen(_) => failure.hint("--listen 127.0.0.1:0 uses any free port"),
        StartError::DataInUse => failure.hint("use a different --data directory for each node"),
        StartError::Archive(_)
        | StartError::ArchiveWithoutData
        | StartError::Data(_)
        | StartError::NodeKey
        | StartError::NotListening => failure,
    }
}

/// The default address of a node.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 30303);

/// Time for running calls after a signal.
const DRAIN: Duration = Duration::from_secs(2);

/// Time after which peers that do not answer are listed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two updates of the status.
const INTERVAL: Duration = Duration::from_secs(1);
