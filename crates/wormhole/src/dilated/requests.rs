//! Requests of streams and of the application to the driver.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::stream::{StreamState, Subchannel};

/// A request to the driver.
#[derive(Debug)]
pub(super) enum Request {
    /// Open a stream for this subprotocol.
    Open(String, Arc<StreamState>),
    /// Pass the streams of this subprotocol to a listener.
    Listen(String, mpsc::UnboundedSender<Subchannel>),
    /// Something has changed in this stream.
    Changed(Arc<StreamState>),
    /// End; answer when the peer has everything, or after a timeout.
    Leave(oneshot::Sender<()>),
}
