//! What has happened in a wormhole so far, where any number of futures can read it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::sync::{mpsc, watch};
use wormhole_magic::wormhole::Event;

use crate::net::LinkFailure;

use super::{
    Closed, Code, Delegate, Error, Key, MailboxUrl, Nameplate, PeerMisbehaved, Verifier, Welcome,
};

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) server: Option<MailboxUrl>,
    pub(super) welcome: Option<Welcome>,
    pub(super) nameplates: Option<Vec<Nameplate>>,
    pub(super) nameplate_claimed: bool,
    pub(super) code: Option<Code>,
    pub(super) code_consumed: bool,
    pub(super) key: Option<Key>,
    pub(super) verifier: Option<Verifier>,
    pub(super) versions: Option<Value>,
    pub(super) server_lost: bool,
    pub(super) end: Option<Result<Closed, Error>>,
}

/// Bytes of messages that came and were not read.
#[derive(Debug, Default)]
pub(super) struct Unread(AtomicUsize);

impl Unread {
    pub(super) fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) -> usize {
        self.0.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

/// Where events are written down.
pub(super) struct Board {
    pub(super) state: watch::Sender<State>,
    pub(super) messages: mpsc::UnboundedSender<Vec<u8>>,
    pub(super) unread: Arc<Unread>,
    pub(super) delegate: Option<Box<dyn Delegate>>,
}

impl Board {
    /// Writes an event down and tells the delegate. `server` is the address that answered, `failure`
    /// what happened to the last link that was lost.
    ///
    /// # Errors
    /// The peer sends faster than the application reads: it is not worth any amount of memory.
    pub(super) fn publish(
        &mut self,
        event: Event,
        server: Option<&MailboxUrl>,
        failure: Option<&LinkFailure>,
    ) -> Result<(), Error> {
        if let (Event::Welcome(_), Some(server)) = (&event, server) {
            self.answered(server);
        }
        if let Some(delegate) = &mut self.delegate {
            tell(delegate.as_mut(), &event);
            if let (Event::ServerRetry { failures, pause }, Some(why)) = (&event, failure) {
                delegate.on_server_retry(why, *failures, *pause);
            }
        }
        if let Event::Message(message) = event {
            return self.publish_message(message);
        }
        self.state.send_modify(|state| match event {
            Event::Welcome(welcome) => state.welcome = Some(welcome),
            Event::ServerLost | Event::ServerRetry { .. } => state.server_lost = true,
            Event::ServerFound => state.server_lost = false,
            Event::Nameplates(nameplates) => state.nameplates = Some(nameplates),
            Event::NameplateClaimed => state.nameplate_claimed = true,
            Event::Code(code) => state.code = Some(code),
            Event::CodeConsumed => state.code_consumed = true,
            Event::Key(key) => state.key = Some(key),
            Event::Verifier(verifier) => state.verifier = Some(verifier),
            Event::Version(version) => state.versions = Some(version.app_versions().clone()),
            // This SDK does not offer to dilate yet.
            Event::Dilation { .. } | Event::Message(_) | Event::Closed(_) | _ => {}
        });
        Ok(())
    }

    fn answered(&mut self, server: &MailboxUrl) {
        if let Some(delegate) = &mut self.delegate {
            delegate.on_server(server);
        }
        self.state.send_modify(|state| state.server = Some(server.clone()));
    }

    fn publish_message(&mut self, message: Vec<u8>) -> Result<(), Error> {
        if let Some(delegate) = &mut self.delegate {
            delegate.on_message(message);
            return Ok(());
        }
        if self.unread.add(message.len()) > MAX_UNREAD {
            return Err(PeerMisbehaved::TooMuchOutOfTurn.into());
        }
        // Nobody reads any more: the wormhole is about to be closed.
        let _unwanted = self.messages.send(message);
        Ok(())
    }

    /// Writes down how it ended.
    pub(super) fn end(mut self, end: Result<Closed, Error>) {
        if let Some(delegate) = &mut self.delegate {
            delegate.on_closed(&end);
        }
        self.state.send_modify(|state| state.end = Some(end));
    }
}

/// Tells a delegate everything but messages, which are handed over.
fn tell(delegate: &mut dyn Delegate, event: &Event) {
    match event {
        Event::Welcome(welcome) => delegate.on_welcome(welcome),
        Event::ServerLost => delegate.on_server_lost(),
        Event::ServerFound => delegate.on_server_found(),
        Event::Code(code) => delegate.on_code(code),
        Event::CodeConsumed => delegate.on_code_consumed(),
        Event::Key(key) => delegate.on_key(key),
        Event::Verifier(verifier) => delegate.on_verifier(verifier),
        Event::Version(version) => delegate.on_versions(version.app_versions()),
        Event::Message(_)
        | Event::Dilation { .. }
        | Event::Closed(_)
        | Event::Nameplates(_)
        | Event::NameplateClaimed
        | Event::ServerRetry { .. }
        | _ => {}
    }
}

/// Waits until `look` finds something.
///
/// # Errors
/// The wormhole ended without it.
pub(super) async fn wait<T>(
    state: &mut watch::Receiver<State>,
    look: impl Fn(&State) -> Option<T>,
) -> Result<T, Error> {
    loop {
        {
            let state = state.borrow_and_update();
            if let Some(found) = look(&state) {
                return Ok(found);
            }
            if let Some(end) = &state.end {
                return Err(end.clone().err().unwrap_or(Error::Closed));
            }
        }
        // The task is gone without a word only if its runtime is.
        state.changed().await.map_err(|_| Error::Closed)?;
    }
}

/// Most bytes of messages kept for an application that does not read them.
const MAX_UNREAD: usize = 64 << 20;
