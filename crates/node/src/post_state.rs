//! How far an envelope that was posted has come.

/// How far an envelope that was posted here has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PostState {
    /// It left the pool before any peer received it: it expired, or the pool was full.
    Expired,
    /// At least one peer has received it.
    Sent,
    /// No peer has received it yet.
    Waiting,
}
