//! Events as method calls.

use std::time::Duration;

use serde_json::Value;

use crate::net::LinkFailure;

use super::{Closed, Code, Error, Key, MailboxUrl, Verifier, Welcome};

/// Receives the events of a wormhole. The default methods do nothing.
///
/// They are called on the task that runs the wormhole, so they must return quickly.
pub trait Delegate: Send {
    /// The server answered at this URL.
    fn on_server(&mut self, server: &MailboxUrl) {
        let _ = server;
    }

    /// The server's information for clients arrived.
    fn on_welcome(&mut self, welcome: &Welcome) {
        let _ = welcome;
    }

    /// The connection to the server is lost. It will be reopened.
    fn on_server_lost(&mut self) {}

    /// The connection to the server is still lost: `failures` more attempts or short connections have failed, the last
    /// one because of `why`. The next attempt follows after `pause`.
    fn on_server_retry(&mut self, why: &LinkFailure, failures: u32, pause: Duration) {
        let _ = (why, failures, pause);
    }

    /// The connection to the server is back; nothing was lost.
    fn on_server_found(&mut self) {}

    /// The code is known.
    fn on_code(&mut self, code: &Code) {
        let _ = code;
    }

    /// The peer is connected; the code is used up.
    fn on_code_consumed(&mut self) {}

    /// The key exchange is complete. It is not known yet whether the peer has the same key.
    fn on_key(&mut self, key: &Key) {
        let _ = key;
    }

    /// The peer has the same key.
    fn on_verifier(&mut self, verifier: &Verifier) {
        let _ = verifier;
    }

    /// The announcement of the peer's application.
    fn on_versions(&mut self, versions: &Value) {
        let _ = versions;
    }

    /// A message from the peer.
    fn on_message(&mut self, message: Vec<u8>) {
        let _ = message;
    }

    /// The wormhole has ended. This is the last call.
    fn on_closed(&mut self, result: &Result<Closed, Error>) {
        let _ = result;
    }
}
