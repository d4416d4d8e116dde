//! Connects to the mailbox server, and continues on a new connection.

use rand_core::{CryptoRng, RngCore};
use serde_json::Value;
use wormhole_kit::Output;

use super::server_link::{Action, Retry};
use super::{Ending, Event, Wormhole};
use crate::mailbox::ClientMessage;

impl<R: RngCore + CryptoRng> Wormhole<R> {
    pub(super) fn handle_if_any(&mut self, action: Option<Action>) {
        if let Some(action) = action {
            self.handle_action(action);
        }
    }

    pub(super) fn handle_action(&mut self, action: Action) {
        match action {
            Action::Connect { close, link, url } => {
                self.outputs.extend(close.map(Output::Close));
                self.outputs.push_back(Output::Connect(link, url));
            }
            Action::Ready(permission) => {
                self.send_all(permission);
                self.resume();
            }
            Action::Retry(retry) => self.on_lost(retry),
        }
    }

    fn on_lost(&mut self, Retry { close, failures, pause, was_ready }: Retry) {
        self.outputs.extend(close.map(Output::Close));
        self.mailbox_looks_empty = false;
        if was_ready && !std::mem::replace(&mut self.loss_reported, true) {
            self.emit_unless_closing(Event::ServerLost);
        }
        if failures > 0 {
            self.emit_unless_closing(Event::ServerRetry { failures, pause });
        }
    }

    /// Sends what is needed on a new connection to continue.
    pub(super) fn resume(&mut self) {
        self.send(ClientMessage::Bind {
            appid: self.config.app_id.as_str().to_owned(),
            side: self.side.clone(),
            client_version: Some(self.config.client_version.clone()),
        });
        if !self.mailbox.has_contents() {
            self.nameplate.verify();
        }
        let message = self.nameplate.resume();
        self.send_all(message);
        if !self.nameplate.is_reclaiming() {
            self.reopen_mailbox();
        }
        if self.listing {
            self.send(ClientMessage::List);
        }
    }

    /// Opens the mailbox on a new connection. Its name is random, so no other client uses it by chance. The answer to
    /// the ping follows the contents of the mailbox. If the mailbox is empty then, the server has lost it and created a
    /// new one.
    fn reopen_mailbox(&mut self) {
        self.mailbox_looks_empty = self.mailbox.expects_contents();
        let mut messages = self.mailbox.resume().into_iter();
        self.send_all(messages.next());
        if self.mailbox_looks_empty {
            self.send(ClientMessage::Ping { ping: Value::from(0) });
        }
        self.send_all(messages);
    }

    pub(super) fn send_all(&mut self, messages: impl IntoIterator<Item = ClientMessage>) {
        messages.into_iter().for_each(|message| self.send(message));
    }

    /// Sends a message if connected; otherwise [`Self::resume`] will send it.
    pub(super) fn send(&mut self, message: ClientMessage) {
        if let Some(link) = self.link.ready() {
            self.outputs.push_back(Output::Send(link, message.encode().into_bytes()));
        }
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn emit_unless_closing(&mut self, event: Event) {
        if matches!(self.ending, Ending::Running) {
            self.emit(event);
        }
    }
}
