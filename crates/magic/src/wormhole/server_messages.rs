//! Handles the messages of the mailbox server.

use rand_core::{CryptoRng, RngCore};
use wormhole_kit::Instant;

use super::nameplate::Granted;
use super::{Ending, Event, FINAL_REFUSALS, ServerMisbehaved, ServerText, Wormhole, WormholeError};
use crate::code::Nameplate;
use crate::mailbox::message::ListedNameplate;
use crate::mailbox::{PeerMessage, ServerMessage, Welcome};

impl<R: RngCore + CryptoRng> Wormhole<R> {
    pub(super) fn on_server_message(
        &mut self,
        now: Instant,
        message: ServerMessage,
    ) -> Result<(), WormholeError> {
        if !matches!(message, ServerMessage::Welcome { .. } | ServerMessage::Unknown) {
            self.on_answer();
        }
        match message {
            ServerMessage::Welcome { welcome } => self.on_welcome(now, welcome)?,
            ServerMessage::Error { error, orig } => {
                self.on_server_error(now, &error, &orig.kind)?;
            }
            ServerMessage::Nameplates { nameplates } => self.on_nameplates(&nameplates),
            ServerMessage::Allocated { nameplate } => self.on_allocated(&nameplate)?,
            ServerMessage::Claimed { mailbox } => self.on_claimed(mailbox)?,
            ServerMessage::Message(message) => self.on_message(message)?,
            ServerMessage::Released => {
                if self.nameplate.on_released() {
                    self.emit_unless_closing(Event::CodeConsumed);
                }
            }
            ServerMessage::Closed => self.mailbox.on_closed(),
            ServerMessage::Pong => self.on_pong()?,
            ServerMessage::Ack | ServerMessage::Unknown => {}
        }
        Ok(())
    }

    /// The server answered a message, so it works.
    fn on_answer(&mut self) {
        self.link.on_answer();
        if std::mem::take(&mut self.loss_reported) {
            self.emit_unless_closing(Event::ServerFound);
        }
    }

    /// The server has sent the whole mailbox. If the mailbox was empty, the server has lost it and our claim
    /// to the nameplate. Other clients may use the nameplate now, so we send nothing.
    fn on_pong(&mut self) -> Result<(), WormholeError> {
        if std::mem::take(&mut self.mailbox_looks_empty) && matches!(self.ending, Ending::Running) {
            self.nameplate.abandon();
            return Err(WormholeError::MailboxLost);
        }
        Ok(())
    }

    fn on_welcome(&mut self, now: Instant, welcome: Welcome) -> Result<(), WormholeError> {
        if !self.link.expects_welcome() {
            return Ok(());
        }
        let today = self.config.today;
        let action = self.link.on_welcome(&welcome, now, today, &mut self.rng)?;
        if !std::mem::replace(&mut self.greeted, true) {
            if let Some(server) = self.link.server().cloned() {
                self.emit_unless_closing(Event::Server(server));
            }
            self.emit_unless_closing(Event::Welcome(welcome));
        }
        self.handle_if_any(action);
        Ok(())
    }

    /// The server rejected a message. While closing, that counts as done.
    fn on_server_error(
        &mut self,
        now: Instant,
        error: &str,
        refused: &str,
    ) -> Result<(), WormholeError> {
        if refused == "list" {
            // Only the optional list was rejected.
            self.on_nameplates(&[]);
            return Ok(());
        }
        if refused == "ping" {
            self.mailbox_looks_empty = false;
            return Ok(());
        }
        if matches!(self.ending, Ending::Running) {
            let is_final = FINAL_REFUSALS.contains(&error);
            if refused == "claim" && self.nameplate.is_reclaiming() && !is_final {
                // The code worked before, so a busy server may accept us later.
                let action = self.link.retry(now, &mut self.rng)?;
                self.handle_if_any(action);
                return Ok(());
            }
            return Err(WormholeError::ServerRefused(ServerText::new(error)));
        }
        match refused {
            "release" => self.nameplate.abandon(),
            "close" => self.mailbox.abandon(),
            "add" | "open" => {}
            _ => {
                self.nameplate.abandon();
                self.mailbox.abandon();
            }
        }
        Ok(())
    }

    fn on_nameplates(&mut self, listed: &[ListedNameplate]) {
        if std::mem::take(&mut self.listing) {
            // Invalid nameplates are skipped.
            let parse = |listed: &ListedNameplate| Nameplate::parse(&listed.id).ok();
            let nameplates = listed.iter().filter_map(parse).collect();
            self.emit_unless_closing(Event::Nameplates(nameplates));
        }
    }

    fn on_allocated(&mut self, nameplate: &str) -> Result<(), WormholeError> {
        if !self.nameplate.expects_allocation() {
            return Ok(());
        }
        let nameplate = Nameplate::parse(nameplate).map_err(|_| ServerMisbehaved::BadNameplate)?;
        self.claim(nameplate.clone());
        let code = self.code.on_allocated(nameplate, &mut self.rng);
        match code {
            Some(code) if matches!(self.ending, Ending::Running) => self.on_code(code),
            Some(_) | None => Ok(()),
        }
    }

    fn on_claimed(&mut self, mailbox: String) -> Result<(), WormholeError> {
        match self.nameplate.on_claimed() {
            Granted::First(release) => {
                self.send_all(release);
                let messages = self.mailbox.on_found(mailbox);
                self.send_all(messages);
                if self.code.is_half_entered() {
                    self.emit_unless_closing(Event::NameplateClaimed);
                }
            }
            Granted::Again => {
                if !self.mailbox.on_found_again(mailbox) {
                    return Err(WormholeError::MailboxLost);
                }
                let messages = self.mailbox.resume();
                self.send_all(messages);
            }
            Granted::Unexpected => {}
        }
        Ok(())
    }

    fn on_message(&mut self, message: PeerMessage) -> Result<(), WormholeError> {
        let is_ours = message.side == self.side;
        if self.mailbox.proves_mailbox_survived(is_ours) {
            self.mailbox_looks_empty = false;
        }
        if is_ours {
            self.mailbox.on_echo(&message.phase);
            return Ok(());
        }
        self.mailbox.on_peer_message();
        if !matches!(self.ending, Ending::Running) {
            return Ok(());
        }
        // The peer is here: nobody else must find the mailbox.
        let release = self.nameplate.release();
        self.send_all(release);
        if let Some(pake) = self.inbox.on_message(message)?
            && let Some(key) = self.key_exchange.on_message(&pake)?
        {
            self.on_key(key);
        }
        self.open_messages()
    }
}
