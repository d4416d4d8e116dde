//! Records on the current link, and the commands of the application about its data.
//!
//! (dilation-protocol.md "L3", "L4", "L5")

use super::super::outbound::Outgoing;
use super::super::record::{BadDilationRecord, CREDIT, DilationRecord, MAX_SUBPROTOCOL};
use super::super::subchannels::PeerOpen;
use super::*;

impl<R: RngCore + CryptoRng> Dilation<R> {
    pub(super) fn on_data_command(
        &mut self,
        now: Instant,
        command: DilationCommand,
    ) -> Result<(), DilationError> {
        let Some(peer) = &mut self.peer else {
            self.early.push(command);
            return Ok(());
        };
        match command {
            DilationCommand::Open { number, subprotocol } => {
                let id = SubchannelId::Ours(number);
                let wire = peer.subchannels.wire(id).ok_or(DilationError::TooManyRecords)?;
                if subprotocol.len() > MAX_SUBPROTOCOL || !peer.subchannels.open(number) {
                    return Ok(());
                }
                self.outbound.push(Outgoing::Open { subchannel: wire, subprotocol })
            }
            DilationCommand::Write(id, data) => self.write(id, data),
            DilationCommand::Finish(id) => {
                let Some(wire) = peer.subchannels.wire(id) else { return Ok(()) };
                if !peer.subchannels.finish(id) || peer.subchannels.is_waiting(id) {
                    return Ok(());
                }
                self.outbound.push(Outgoing::Close { subchannel: wire })
            }
            DilationCommand::Consumed(id, bytes) => {
                peer.subchannels.consume(id, bytes);
                self.grant(id)
            }
            DilationCommand::StopReading(id) => {
                peer.subchannels.ignore(id);
                self.grant(id)
            }
            DilationCommand::Mailbox(_)
            | DilationCommand::Hints(_)
            | DilationCommand::AddressesChanged(_)
            | DilationCommand::MailboxReachable(_)
            | DilationCommand::Leave => self.on_command(now, command),
        }
    }

    /// Sends the data that the peer accepts.
    fn write(&mut self, id: SubchannelId, data: Vec<u8>) -> Result<(), DilationError> {
        let Some(peer) = &mut self.peer else { return Ok(()) };
        let wire = peer.subchannels.wire(id).filter(|_| peer.subchannels.is_writable(id));
        let Some(subchannel) = wire else { return Ok(()) };
        let data = peer.subchannels.allow(id, data);
        self.send_data(subchannel, data)
    }

    /// Divides data into records.
    fn send_data(&mut self, subchannel: u32, data: Vec<u8>) -> Result<(), DilationError> {
        if data.len() <= MAX_DATA {
            return if data.is_empty() {
                Ok(())
            } else {
                self.outbound.push(Outgoing::Data { subchannel, data })
            };
        }
        data.chunks(MAX_DATA).try_for_each(|piece| {
            self.outbound.push(Outgoing::Data { subchannel, data: piece.to_vec() })
        })
    }

    /// Allows the peer to send more on a subchannel, if it is time for that.
    fn grant(&mut self, id: SubchannelId) -> Result<(), DilationError> {
        let granted = self.peer.as_mut().and_then(|peer| peer.subchannels.grant(id));
        granted.map_or(Ok(()), |(subchannel, bytes)| {
            self.outbound.push(Outgoing::Credit { subchannel, bytes })
        })
    }

    /// The peer allows us to send more.
    fn on_credit(&mut self, subchannel: u32, bytes: u32) -> Result<(), DilationError> {
        let Some(peer) = &mut self.peer else { return Ok(()) };
        let Some(allowed) = peer.subchannels.on_credit(subchannel, bytes) else { return Ok(()) };
        for data in allowed.data {
            self.send_data(subchannel, data)?;
        }
        if allowed.finishes {
            self.outbound.push(Outgoing::Close { subchannel })?;
        }
        if allowed.is_ready {
            self.emit(DilationEvent::Writable(allowed.id));
        }
        Ok(())
    }

    /// Handles all complete records that have arrived on the current link.
    pub(super) fn receive_records(
        &mut self,
        now: Instant,
        id: LinkId,
    ) -> Result<(), DilationError> {
        while self.current() == Some(id) {
            let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
            match link.next_record() {
                Ok(None) => return Ok(()),
                Ok(Some(record)) => {
                    if let DilationRecord::Data { data, .. } = &record {
                        self.inflow.add(now, data.len());
                    }
                    if let Err(violation) = self.on_record(record)? {
                        self.on_fault(now, id, LinkFault::Violation(violation))?;
                    }
                }
                Err(fault) => self.on_fault(now, id, fault)?,
            }
        }
        Ok(())
    }

    /// Handles a record. The outer error ends the session, the inner one the link.
    fn on_record(
        &mut self,
        record: DilationRecord,
    ) -> Result<Result<(), DilationViolation>, DilationError> {
        match record {
            DilationRecord::Kcm => return Ok(Err(DilationViolation::SecondKcm)),
            DilationRecord::Ping(id) => {
                self.pongs.push_back(id);
                if self.pongs.len() > MAX_PONGS {
                    self.pongs.pop_front();
                }
            }
            DilationRecord::Pong(_) => {}
            DilationRecord::Ack { number } => {
                self.keepalive.on_progress();
                return Ok(self.outbound.on_ack(number));
            }
            DilationRecord::Credit { .. } if !self.has_credit() => {
                return Ok(Err(BadDilationRecord::Unknown(CREDIT).into()));
            }
            DilationRecord::Open { number, .. }
            | DilationRecord::Data { number, .. }
            | DilationRecord::Close { number, .. }
            | DilationRecord::Credit { number, .. } => match self.inbound.on_number(number) {
                Ok(true) => return self.on_new_record(record),
                Ok(false) => {}
                Err(violation) => return Ok(Err(violation)),
            },
        }
        Ok(Ok(()))
    }

    fn has_credit(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.subchannels.uses_credit())
    }

    fn on_new_record(
        &mut self,
        record: DilationRecord,
    ) -> Result<Result<(), DilationViolation>, DilationError> {
        let Some(peer) = &mut self.peer else { return Ok(Ok(())) };
        let event = match record {
            DilationRecord::Open { subchannel, subprotocol, .. } => {
                match peer.subchannels.on_open(subchannel, subprotocol) {
                    Ok(PeerOpen::Accepted(event)) => Some(event),
                    Ok(PeerOpen::Repeated) => None,
                    Ok(PeerOpen::Rejected) => {
                        self.outbound.push(Outgoing::Close { subchannel })?;
                        None
                    }
                    Err(violation) => return Ok(Err(violation)),
                }
            }
            DilationRecord::Data { subchannel, data, .. } => {
                let length = data.len();
                let event = match peer.subchannels.on_data(subchannel, data) {
                    Ok(event) => event,
                    // The record has been counted, so the peer could not repeat it on another connection.
                    Err(violation) => return Err(DilationError::PeerMisbehaved(violation)),
                };
                // Data that nobody reads is processed at once.
                if event.is_none()
                    && let Some((subchannel, bytes)) =
                        peer.subchannels.grant_after_data(subchannel, length)
                {
                    self.outbound.push(Outgoing::Credit { subchannel, bytes })?;
                }
                event
            }
            DilationRecord::Credit { subchannel, bytes, .. } => {
                self.on_credit(subchannel, bytes)?;
                None
            }
            DilationRecord::Close { subchannel, .. } => peer.subchannels.on_close(subchannel),
            DilationRecord::Kcm
            | DilationRecord::Ping(_)
            | DilationRecord::Pong(_)
            | DilationRecord::Ack { .. } => None,
        };
        event.into_iter().for_each(|event| self.emit(event));
        Ok(Ok(()))
    }

    /// The next record for the current link, encrypted. It is created as late as possible: several acknowledgements
    /// become one, and a peer that does not read costs no memory.
    pub(super) fn next_sealed(&mut self) -> Option<Output<Target, DilationEvent>> {
        let id = self.current().filter(|_| !self.congested)?;
        let link = self.links.get_mut(&id)?;
        let small = if let Some(pong) = self.pongs.pop_front() {
            Some(DilationRecord::Pong(pong))
        } else if std::mem::take(&mut self.ping_wanted) {
            let mut ping = [0; 4];
            self.rng.fill_bytes(&mut ping);
            Some(DilationRecord::Ping(ping))
        } else {
            self.inbound.take_ack().map(|number| DilationRecord::Ack { number })
        };
        let sealed = match small {
            Some(record) => link.seal(&record.encode(), &[])?,
            None => {
                let (head, body) = self.outbound.next()?;
                link.seal(&head, body)?
            }
        };
        Some(Output::Send(id, sealed))
    }
}

/// Maximum data of a record in bytes, so that it is one Noise message. Applications that write this much at once save a
/// copy.
pub const MAX_DATA: usize = super::super::noise::MAX_PIECE - super::super::record::DATA_HEADER;

/// Maximum number of answers that wait to be sent.
const MAX_PONGS: usize = 16;
