//! The one task that owns the node of the core, and knows every link.

use std::time::{Instant, SystemTime};

use rand_core::OsRng;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;
use wormhole_whisper::{
    devp2p::{
        enode::Enode,
        key::{NodeId, PrivateKey},
    },
    shh::{self, Bloom, Envelope, EnvelopeHash, NodeOutput, Requirements, Work, node as core},
};

use super::{
    AddPeerError, Answer, DirectError, Inner, Node, PeerInfo, PostError, Settings, StartError,
    Status, heard::Audience,
};

/// What a handle wants of the node, and where the answer goes.
#[derive(Debug)]
pub(super) enum Command {
    AddPeer(Enode, oneshot::Sender<Result<bool, AddPeerError>>),
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Post(Envelope, oneshot::Sender<Result<EnvelopeHash, PostError>>),
    RemovePeer(NodeId, oneshot::Sender<bool>),
    RequestArchive(NodeId, Envelope, oneshot::Sender<Result<Answer, DirectError>>),
    SendDirect(NodeId, Envelope, oneshot::Sender<Result<(), DirectError>>),
    SetInterests(Box<Bloom>, oneshot::Sender<()>),
    SetLight(bool, oneshot::Sender<()>),
    SetMaxSize(usize, oneshot::Sender<()>),
    SetMinWork(Work, oneshot::Sender<()>),
    Status(oneshot::Sender<Status>),
    Stop(oneshot::Sender<()>),
    Trust(NodeId, oneshot::Sender<bool>),
}

/// Starts a node.
pub(super) async fn start(settings: Settings) -> Result<Node, StartError> {
    let key = settings.key.clone().unwrap_or_else(|| PrivateKey::random(&mut OsRng));
    let enode = Enode { id: key.public_key().node_id(), endpoint: None };
    let (commands, received) = mpsc::channel(MAX_COMMANDS);
    let audience = Audience::default();
    let mut wanted = core::Settings::default();
    wanted.requirements = Requirements::new(settings.min_work)
        .with_limits(settings.max_message_bytes, settings.max_ttl);
    wanted.pool_bytes = settings.pool_bytes;
    wanted.light = settings.light;
    wanted.darkness = settings.darkness;
    let node = shh::Node::new(wanted, Instant::now());
    let hub = Hub { node, audience: audience.clone() };
    tokio::spawn(hub.run(received));
    Ok(Node { inner: Inner { commands, audience, enode }.into() })
}

/// The node and what it needs.
#[derive(Debug)]
struct Hub {
    node: shh::Node,
    audience: Audience,
}

impl Hub {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            self.carry_out();
            let deadline = self.node.deadline();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Stop(reply)) => {
                        let _ = reply.send(());
                        break;
                    }
                    Some(command) => self.obey(command),
                    None => break,
                },
                () = sleep_until(deadline.into()) => {
                    let (now, wall) = (Instant::now(), SystemTime::now().into());
                    self.node.handle_timeout(now, wall, &mut OsRng);
                }
            }
        }
        self.audience.close();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.node.poll() {
            if let NodeOutput::Deliver { envelope, direct } = output {
                self.audience.tell(&envelope, direct);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let (now, wall) = (Instant::now(), SystemTime::now().into());
        match command {
            Command::Post(envelope, reply) => {
                let posted = self.node.post(now, wall, envelope, &mut OsRng);
                let _ = reply.send(posted.map_err(PostError::from));
            }
            Command::SetMinWork(work, reply) => {
                self.node.set_min_work(now, work);
                let _ = reply.send(());
            }
            _ => {}
        }
    }
}

/// Commands that wait.
const MAX_COMMANDS: usize = 256;
