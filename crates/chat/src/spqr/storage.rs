//! The stored form of the ratchet (docs/chat-protocol.md "Stored records").

use wormhole_kit::{Reader, Secret, TooShort};
use zeroize::Zeroizing;

use super::authenticator::{Authenticator, MAC};
use super::braid::{Braid, Encapsulator, KeyOwner, State};
use super::chains::{Chain, Chains, Epoch};
use super::erasure::{Decoder, Encoder};
use super::failures::{self, Failures};
use super::kem::{CIPHERTEXT_1, CIPHERTEXT_2, Encapsulation, HEADER, KEY, KeySeed};
use super::skipped::{Skipped, SkippedKey};
use super::wire::{CHUNK, SpqrChunk};
use super::{Keys, Role, Spqr};

impl Spqr {
    /// Appends the stored form: at most [`Spqr::stored_size`] bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let failures = self.failures.macs();
        // Earlier versions of this program do not know the second format.
        out.push(if failures.is_empty() { FORMAT } else { FORMAT_WITH_FAILURES });
        out.push(u8::from(self.role == Role::Responder));
        write_braid(&self.braid, out);
        match &self.keys {
            Keys::Offered(auth_key) => {
                out.push(0);
                out.extend(auth_key.expose());
            }
            Keys::Agreed(chains) => {
                out.push(1);
                write_chains(chains, out);
            }
        }
        let (epoch, index) = self.skipped.deleted_before;
        out.extend(epoch.to_be_bytes());
        out.extend(index.to_be_bytes());
        // Bounded by `Skipped::MAX`.
        out.extend(u16::try_from(self.skipped.keys.len()).unwrap_or(u16::MAX).to_be_bytes());
        for skipped in &self.skipped.keys {
            out.extend(skipped.epoch.to_be_bytes());
            out.extend(skipped.index.to_be_bytes());
            out.extend(skipped.key.expose());
        }
        if !failures.is_empty() {
            // At most 3.
            out.push(u8::try_from(failures.len()).unwrap_or(u8::MAX));
            out.extend(failures.as_flattened());
        }
    }

    /// An upper bound for the stored size.
    pub(crate) fn stored_size(&self) -> usize {
        FIXED + self.skipped.keys.len() * SKIPPED
    }

    /// Reads what [`Spqr::write`] has written.
    ///
    /// # Errors
    /// The bytes are damaged, or were written by a newer version of this program.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DamagedSpqr> {
        let has_failures = match reader.u8()? {
            FORMAT => false,
            FORMAT_WITH_FAILURES => true,
            _ => return Err(DamagedSpqr),
        };
        let role = if flag(reader)? { Role::Responder } else { Role::Initiator };
        let braid = read_braid(reader)?;
        let keys = match flag(reader)? {
            false => Keys::Offered(secret(reader)?),
            true => Keys::Agreed(read_chains(reader)?),
        };
        let skipped = read_skipped(reader)?;
        let failures = if has_failures { read_failures(reader)? } else { Failures::default() };
        let spqr = Self { role, braid, keys, skipped, failures };
        if spqr.is_consistent() { Ok(spqr) } else { Err(DamagedSpqr) }
    }

    /// Whether the parts belong together: this is what the other modules rely on.
    fn is_consistent(&self) -> bool {
        let epoch = self.braid.epoch;
        let (owns_key, is_exchanged) = match &self.braid.state {
            State::KeyOwner(_) => (true, false),
            State::Encapsulator(
                Encapsulator::NoHeaderReceived { .. } | Encapsulator::HeaderReceived { .. },
            ) => (false, false),
            State::Encapsulator(_) => (false, true),
        };
        let is_turn = owns_key == ((self.role == Role::Initiator) == (epoch % 2 == 1));
        let chains = match &self.keys {
            Keys::Offered(_) => return is_turn && epoch == 1 && !is_exchanged,
            Keys::Agreed(chains) => chains,
        };
        let newest = chains.epochs.last().map(|epoch| epoch.number);
        let expected = if is_exchanged { Some(epoch) } else { epoch.checked_sub(1) };
        let can_send = |epoch: &&Epoch| epoch.number.checked_add(1) == Some(self.braid.epoch);
        let current = chains.epochs.iter().find(can_send);
        let is_sending = current.is_some_and(|epoch| epoch.send.is_some());
        is_turn && newest.is_some() && newest == expected && is_sending
    }
}

/// The stored bytes are not a ratchet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DamagedSpqr;

impl From<TooShort> for DamagedSpqr {
    fn from(_: TooShort) -> Self {
        Self
    }
}

fn write_braid(braid: &Braid, out: &mut Vec<u8>) {
    out.extend(braid.epoch.to_be_bytes());
    out.extend(braid.authenticator.root.expose());
    out.extend(braid.authenticator.mac.expose());
    match &braid.state {
        State::KeyOwner(owner) => write_owner(owner, out),
        State::Encapsulator(encapsulator) => write_encapsulator(encapsulator, out),
    }
}

fn write_owner(owner: &KeyOwner, out: &mut Vec<u8>) {
    match owner {
        KeyOwner::KeysUnsampled { seed } => {
            out.push(0);
            write_seed(seed, out);
        }
        KeyOwner::KeysSampled { seed, header } => {
            out.push(1);
            write_seed(seed, out);
            write_encoder(header, out);
        }
        KeyOwner::HeaderSent { seed, key, first } => {
            out.push(2);
            write_seed(seed, out);
            write_encoder(key, out);
            write_decoder(first, out);
        }
        KeyOwner::Ct1Received { seed, key, first } => {
            out.push(3);
            write_seed(seed, out);
            write_encoder(key, out);
            out.extend(**first);
        }
        KeyOwner::EkSentCt1Received { seed, first, second } => {
            out.push(4);
            write_seed(seed, out);
            out.extend(**first);
            write_decoder(second, out);
        }
    }
}

fn write_encapsulator(encapsulator: &Encapsulator, out: &mut Vec<u8>) {
    match encapsulator {
        Encapsulator::NoHeaderReceived { header } => {
            out.push(5);
            write_decoder(header, out);
        }
        Encapsulator::HeaderReceived { encapsulation } => {
            out.push(6);
            write_encapsulation(encapsulation, out);
        }
        Encapsulator::Ct1Sampled { encapsulation, first, key } => {
            out.push(7);
            write_encapsulation(encapsulation, out);
            write_encoder(first, out);
            write_decoder(key, out);
        }
        Encapsulator::EkReceivedCt1Sampled { first, second } => {
            out.push(8);
            write_encoder(first, out);
            out.extend(second);
        }
        Encapsulator::Ct1Acknowledged { encapsulation, key } => {
            out.push(9);
            write_encapsulation(encapsulation, out);
            write_decoder(key, out);
        }
        Encapsulator::Ct2Sampled { second } => {
            out.push(10);
            write_encoder(second, out);
        }
    }
}

fn write_seed(seed: &KeySeed, out: &mut Vec<u8>) {
    match seed {
        KeySeed::Random(seed) => out.extend(seed.expose()),
        #[cfg(test)]
        KeySeed::Recorded(_) => out.extend([0; 64]),
    }
}

fn write_encapsulation(encapsulation: &Encapsulation, out: &mut Vec<u8>) {
    out.extend(encapsulation.header);
    out.extend(encapsulation.random.expose());
}

fn write_encoder(encoder: &Encoder, out: &mut Vec<u8>) {
    let (message, next) = encoder.parts();
    out.extend(message);
    out.extend(next.to_be_bytes());
}

fn write_decoder(decoder: &Decoder, out: &mut Vec<u8>) {
    let chunks = decoder.chunks();
    // Fewer than 36.
    out.push(u8::try_from(chunks.len()).unwrap_or(u8::MAX));
    for chunk in chunks {
        out.extend(chunk.index.to_be_bytes());
        out.extend(chunk.data);
    }
}

fn write_chains(chains: &Chains, out: &mut Vec<u8>) {
    out.extend(chains.root.expose());
    out.extend(chains.sending.to_be_bytes());
    // At most 3.
    out.push(u8::try_from(chains.epochs.len()).unwrap_or(u8::MAX));
    for epoch in &chains.epochs {
        out.extend(epoch.number.to_be_bytes());
        out.push(epoch.send.is_some().into());
        for chain in epoch.send.iter().chain([&epoch.receive]) {
            out.extend(chain.key.expose());
            out.extend(chain.index.to_be_bytes());
        }
    }
}

fn u64_be(reader: &mut Reader<'_>) -> Result<u64, TooShort> {
    reader.array().map(u64::from_be_bytes)
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DamagedSpqr> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DamagedSpqr),
    }
}

fn secret<const N: usize>(reader: &mut Reader<'_>) -> Result<Secret<N>, TooShort> {
    Ok(Secret::new(*Zeroizing::new(reader.array()?)))
}

fn read_braid(reader: &mut Reader<'_>) -> Result<Braid, DamagedSpqr> {
    let epoch = u64_be(reader)?;
    if epoch == 0 {
        return Err(DamagedSpqr);
    }
    let authenticator = Authenticator { root: secret(reader)?, mac: secret(reader)? };
    let state = match reader.u8()? {
        tag @ 0..=4 => State::KeyOwner(read_owner(tag, reader)?),
        tag => State::Encapsulator(read_encapsulator(tag, reader)?),
    };
    Ok(Braid { epoch, authenticator, state })
}

fn read_owner(tag: u8, reader: &mut Reader<'_>) -> Result<KeyOwner, DamagedSpqr> {
    let seed = KeySeed::Random(secret(reader)?);
    Ok(match tag {
        0 => KeyOwner::KeysUnsampled { seed },
        1 => KeyOwner::KeysSampled { seed, header: encoder(reader, HEADER + MAC)? },
        2 => {
            let key = encoder(reader, KEY)?;
            KeyOwner::HeaderSent { seed, key, first: decoder(reader, CIPHERTEXT_1)? }
        }
        3 => {
            let key = encoder(reader, KEY)?;
            KeyOwner::Ct1Received { seed, key, first: Box::new(reader.array()?) }
        }
        4 => {
            let first = Box::new(reader.array()?);
            let second = decoder(reader, CIPHERTEXT_2 + MAC)?;
            KeyOwner::EkSentCt1Received { seed, first, second }
        }
        _ => return Err(DamagedSpqr),
    })
}

fn read_encapsulator(tag: u8, reader: &mut Reader<'_>) -> Result<Encapsulator, DamagedSpqr> {
    Ok(match tag {
        5 => Encapsulator::NoHeaderReceived { header: decoder(reader, HEADER + MAC)? },
        6 => Encapsulator::HeaderReceived { encapsulation: encapsulation(reader)? },
        7 => Encapsulator::Ct1Sampled {
            encapsulation: encapsulation(reader)?,
            first: encoder(reader, CIPHERTEXT_1)?,
            key: decoder(reader, KEY)?,
        },
        8 => Encapsulator::EkReceivedCt1Sampled {
            first: encoder(reader, CIPHERTEXT_1)?,
            second: reader.take(CIPHERTEXT_2 + MAC)?.to_vec(),
        },
        9 => Encapsulator::Ct1Acknowledged {
            encapsulation: encapsulation(reader)?,
            key: decoder(reader, KEY)?,
        },
        10 => Encapsulator::Ct2Sampled { second: encoder(reader, CIPHERTEXT_2 + MAC)? },
        _ => return Err(DamagedSpqr),
    })
}

fn encapsulation(reader: &mut Reader<'_>) -> Result<Encapsulation, TooShort> {
    Ok(Encapsulation { header: reader.array()?, random: secret(reader)? })
}

fn encoder(reader: &mut Reader<'_>, length: usize) -> Result<Encoder, TooShort> {
    let message = reader.take(length)?.to_vec();
    Ok(Encoder::resume(message, u16::from_be_bytes(reader.array()?)))
}

fn decoder(reader: &mut Reader<'_>, length: usize) -> Result<Decoder, DamagedSpqr> {
    let mut decoder = Decoder::new(length);
    let count = usize::from(reader.u8()?);
    if count >= length / CHUNK {
        return Err(DamagedSpqr);
    }
    for _ in 0..count {
        let index = u16::from_be_bytes(reader.array()?);
        decoder.add(&SpqrChunk { index, data: reader.array()? });
    }
    // A number that occurs twice was not added.
    if decoder.chunks().len() == count { Ok(decoder) } else { Err(DamagedSpqr) }
}

fn read_chains(reader: &mut Reader<'_>) -> Result<Chains, DamagedSpqr> {
    let (root, sending) = (secret(reader)?, u64_be(reader)?);
    let count = reader.u8()?;
    if count > MAX_EPOCHS {
        return Err(DamagedSpqr);
    }
    let epochs: Vec<_> = (0..count).map(|_| read_epoch(reader)).collect::<Result<_, _>>()?;
    let consecutive = epochs.is_sorted_by(|a, b| a.number.checked_add(1) == Some(b.number));
    if consecutive { Ok(Chains { root, sending, epochs }) } else { Err(DamagedSpqr) }
}

fn read_epoch(reader: &mut Reader<'_>) -> Result<Epoch, DamagedSpqr> {
    let number = u64_be(reader)?;
    let send = if flag(reader)? { Some(chain(reader)?) } else { None };
    Ok(Epoch { number, send, receive: chain(reader)? })
}

fn chain(reader: &mut Reader<'_>) -> Result<Chain, TooShort> {
    Ok(Chain { key: secret(reader)?, index: reader.u32_be()? })
}

fn read_skipped(reader: &mut Reader<'_>) -> Result<Skipped, DamagedSpqr> {
    let deleted_before = (u64_be(reader)?, reader.u32_be()?);
    let count = u16::from_be_bytes(reader.array()?);
    if u32::from(count) > Skipped::MAX {
        return Err(DamagedSpqr);
    }
    let mut skipped = Skipped { deleted_before, ..Skipped::default() };
    for _ in 0..count {
        let (epoch, index) = (u64_be(reader)?, reader.u32_be()?);
        skipped.keys.push_back(SkippedKey { epoch, index, key: secret(reader)? });
    }
    let ascending = skipped.keys.iter().map(SkippedKey::place).is_sorted_by(|a, b| a < b);
    if ascending { Ok(skipped) } else { Err(DamagedSpqr) }
}

fn read_failures(reader: &mut Reader<'_>) -> Result<Failures, DamagedSpqr> {
    let count = usize::from(reader.u8()?);
    if count == 0 || count > failures::MAX {
        return Err(DamagedSpqr);
    }
    let mut failures = Failures::default();
    for _ in 0..count {
        failures.add(reader.array()?);
    }
    // One that occurs twice was not added.
    if failures.len() == count { Ok(failures) } else { Err(DamagedSpqr) }
}

/// The format that we write.
const FORMAT: u8 = 1;

/// The same, and then the messages that show that the exchange cannot be completed.
const FORMAT_WITH_FAILURES: u8 = 2;

/// The epochs before, at and after the one with which we send.
const MAX_EPOCHS: u8 = 3;

/// An upper bound for the size without the skipped keys: the largest state has a key and 29 chunks, or a ciphertext and
/// 35 chunks.
const FIXED: usize = 4096;

/// Size of a skipped key.
const SKIPPED: usize = 44;
