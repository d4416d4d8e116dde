//! `whisper node`: a node in this process, with a line that says how it is, and JSON-RPC for others on
//! this computer if they are to use it.

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
use crate::units;

/// Runs a node until a signal comes.
///
/// # Errors
/// It does not start; or the signal.
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
    console.print(&format!("{own}\n"))?;
    let ip = node.enode().endpoint.map(|endpoint| endpoint.ip);
    if !says_where && ip.is_some_and(|ip| ip.is_loopback()) {
        let listen = if is_open { "" } else { "--listen 0.0.0.0:30303 " };
        console.screen.show(&format!(
            "This address is of use on this computer alone; for others give {listen}--advertise IP."
        ));
    }
    if let Some(url) = url {
        console.screen.show(&format!("JSON-RPC for this computer is at {url}."));
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

/// Where others on this computer can come in.
#[derive(Debug)]
struct RpcListener {
    listener: TcpListener,
    url: String,
}

impl RpcListener {
    async fn open(address: SocketAddr) -> Result<Self> {
        if !address.ip().to_canonical().is_loopback() {
            return Err(Failure::usage(format!("whoever reaches {address} could use all keys"))
                .hint(
                    "--rpc takes addresses of this computer alone; `wormhole-server whisper` can \
                     ask others for a token",
                )
                .into());
        }
        let refused = |error: io::Error| {
            Failure::new(format!("cannot listen at {address}: {}", error.kind()))
                .hint("--rpc 127.0.0.1:0 takes any port that is free")
        };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let url = format!("http://{}", listener.local_addr().map_err(refused)?);
        Ok(Self { listener, url })
    }

    /// Serves a console at the node, in the background.
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

/// A service under way.
#[derive(Debug)]
struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Lets calls under way finish, but not for long.
    async fn stop(self) {
        drop(self.stop);
        // It panics only if something in it is broken, which it has said.
        let _panicked = self.task.await;
    }
}

/// Starts it: where it was told to, or at the usual port, or at any if that is taken.
async fn start(args: NodeArgs, console: &Console) -> Result<Node> {
    let may_move = args.listen.is_none();
    let mut settings = settings(args)?;
    let started = match Node::start(settings.clone()).await {
        Err(StartError::Listen(io::ErrorKind::AddrInUse)) if may_move => {
            settings.listen = Some(SocketAddr::new(USUAL.ip(), 0));
            let node = Node::start(settings).await;
            if let Ok(Some(endpoint)) = node.as_ref().map(|node| node.enode().endpoint) {
                console.screen.show(&format!(
                    "Port {} is taken; this node listens at {}.",
                    USUAL.port(),
                    endpoint.tcp
                ));
            }
            node
        }
        started => started,
    };
    started.map_err(|error| explain(&error).into())
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

/// Says how the node is, as long as it is, and once which of these peers are not there.
async fn watch(node: &Node, peers: &[Enode], console: &mut Console) -> Result<()> {
    let (mut last, mut next) = (None::<Status>, Instant::now());
    let mut patience = Some(next + PATIENCE);
    loop {
        if patience.take_if(|until| *until <= next).is_some() {
            let here = console.unless_interrupted(node.peers()).await?;
            let here = here.map_err(|_| Failure::new("the node has stopped"))?;
            for peer in peers.iter().filter(|peer| here.iter().all(|other| other.id != peer.id)) {
                console
                    .screen
                    .show(&format!("There is no answer of {peer} yet; it is tried again."));
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

/// Says that messages posted here reached no other node.
fn unsent_line(count: u64, peers: usize) -> String {
    let what = if count == 1 { "1 message".into() } else { format!("{count} messages") };
    let why = match peers {
        0 => "this node has no peers; name one with --peer",
        _ => "no peer took them",
    };
    format!("{what} posted here expired before another node received them: {why}.")
}

fn event(status: &Status) -> serde_json::Value {
    json!({
        "event": "status", "peers": status.peers, "envelopes": status.envelopes,
        "bytes": status.bytes, "accepted": status.accepted, "cut": status.misbehaved,
        "banned": status.banned, "min_pow": status.min_work.as_f64(), "unsent": status.unsent,
    })
}

/// `3 peers · 120 envelopes, 61.2 kB · 4 new/s · 1 cut, 0 banned`.
fn line(status: &Status, new: u64) -> String {
    let bytes = units::size(u64::try_from(status.bytes).unwrap_or(u64::MAX));
    let peers = if status.peers == 1 { "1 peer".into() } else { format!("{} peers", status.peers) };
    let (envelopes, cut, banned) = (status.envelopes, status.misbehaved, status.banned);
    format!("{peers} · {envelopes} envelopes, {bytes} · {new} new/s · {cut} cut, {banned} banned")
}

/// Why there is no node, and what to do about it.
pub(super) fn explain(error: &StartError) -> Failure {
    let failure = Failure::new(format!("the node does not start: {error}"));
    match error {
        StartError::Listen(_) => failure.hint("--listen 127.0.0.1:0 takes any port that is free"),
        StartError::DataInUse => failure.hint("give each node a --data folder of its own"),
        StartError::Archive(_)
        | StartError::ArchiveWithoutData
        | StartError::Data(_)
        | StartError::NodeKey
        | StartError::NotListening => failure,
    }
}

/// Where a node listens unless told otherwise.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 30303);

/// Time for calls under way when a signal has come.
const DRAIN: Duration = Duration::from_secs(2);

/// Time after which it is said which peers do not answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
