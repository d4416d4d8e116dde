//! Events as method calls.

use std::time::Duration;

use serde_json::Value;

use crate::net::LinkFailure;

use super::{Closed, Code, Error, Key, MailboxUrl, Verifier, Welcome};

/// Is told what happens in a wormhole. Every method does nothing unless it is overridden.
///
/// The methods are called on the task that runs the wormhole: they should return soon.
pub trait Delegate: Send {
    /// The server answered, at this one of its addresses.
    fn on_server(&mut self, server: &MailboxUrl) {
        let _ = server;
    }

    /// The server's first words.
    fn on_welcome(&mut self, welcome: &Welcome) {
        let _ = welcome;
    }

    /// The link to the server is lost. It will be opened again.
    fn on_server_lost(&mut self) {}

    /// The link to the server is still lost: `failures` more links in a row were of no use, the last of
    /// them because of `why`. The next attempt comes after `pause`.
    fn on_server_retry(&mut self, why: &LinkFailure, failures: u32, pause: Duration) {
        let _ = (why, failures, pause);
    }

    /// The link to the server is back, nothing was lost.
    fn on_server_found(&mut self) {}

    /// The code is known.
    fn on_code(&mut self, code: &Code) {
        let _ = code;
    }

    /// The peer has come; the code is used up.
    fn on_code_consumed(&mut self) {}

    /// There is a key, but nobody has shown to have the same.
    fn on_key(&mut self, key: &Key) {
        let _ = key;
    }

    /// The peer has the same key.
    fn on_verifier(&mut self, verifier: &Verifier) {
        let _ = verifier;
    }

    /// What the peer's application says about itself.
    fn on_versions(&mut self, versions: &Value) {
        let _ = versions;
    }

    /// A message from the peer.
    fn on_message(&mut self, message: Vec<u8>) {
        let _ = message;
    }

    /// The wormhole has ended. Nothing comes after this.
    fn on_closed(&mut self, result: &Result<Closed, Error>) {
        let _ = result;
    }
}
