//! Callers that wait until a node is connected.

use tokio::sync::oneshot;
use wormhole_whisper::devp2p::key::NodeId;

/// Callers by the node that they wait for.
#[derive(Debug, Default)]
pub(super) struct ConnectWaiters(Vec<(NodeId, oneshot::Sender<()>)>);

impl ConnectWaiters {
    /// Notifies the caller when this node is connected.
    pub(super) fn add(&mut self, id: NodeId, waiter: oneshot::Sender<()>) {
        self.0.retain(|(_, waiter)| !waiter.is_closed());
        self.0.push((id, waiter));
    }

    /// A node is connected.
    pub(super) fn notify(&mut self, id: &NodeId) {
        for (_, waiter) in self.0.extract_if(.., |(other, _)| other == id) {
            // The caller may have given up.
            let _gone = waiter.send(());
        }
    }
}
