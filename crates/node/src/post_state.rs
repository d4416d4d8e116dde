//! The state of a posted envelope.

/// The state of an envelope that was posted at a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PostState {
    /// It left the pool before any peer received it: it expired, or the pool was full.
    Expired,
    /// At least one peer has received it.
    Sent,
    /// No peer has received it yet.
    Waiting,
}
