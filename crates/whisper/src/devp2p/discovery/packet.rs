//! The datagrams of discovery v4 (discv4.md "Wire Protocol", EIP-868 for records).
//!
//! ```text
//! keccak256 of the rest (32) ‖ signature of what follows (65) ‖ type (1) ‖ RLP
//! ```
//!
//! A datagram proves who signed it, but not from where or when: [`super`] checks that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use subtle::ConstantTimeEq;
use wormhole_kit::{Reader, TooShort};

use crate::devp2p::{
    enode::{Endpoint, Enode},
    enr::{Record, RecordError},
    key::{NodeId, PrivateKey, SIGNATURE, Signature, keccak256},
    rlp::{self, Encoder, Rlp, RlpError},
};

/// A discovery packet.
///
/// `expiration` is in seconds since 1970; the recipient ignores an expired packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Packet {
    /// 1: asks whether a node is alive at this endpoint.
    Ping {
        /// The sender's own endpoint.
        from: Endpoint,
        /// The recipient's endpoint as the sender knows it.
        to: Endpoint,
        /// Expiry time.
        expiration: u64,
        /// Sequence number of the sender's record, if it has one.
        record: Option<u64>,
    },
    /// 2: answers a ping.
    Pong {
        /// The endpoint from which the ping came.
        to: Endpoint,
        /// Hash of the ping.
        ping: [u8; 32],
        /// Expiry time.
        expiration: u64,
        /// Sequence number of the sender's record, if it has one.
        record: Option<u64>,
    },
    /// 3: asks for nodes near this id.
    FindNode {
        /// The id.
        target: NodeId,
        /// Expiry time.
        expiration: u64,
    },
    /// 4: answers `FindNode`. A long list is split into several datagrams.
    Neighbors {
        /// Nodes with endpoints. At most [`MAX_NEIGHBORS`] fit.
        nodes: Vec<Enode>,
        /// Expiry time.
        expiration: u64,
    },
    /// 5: asks for the node's record.
    EnrRequest {
        /// Expiry time.
        expiration: u64,
    },
    /// 6: answers `EnrRequest`.
    EnrResponse {
        /// Hash of the request.
        request: [u8; 32],
        /// The record.
        record: Box<Record>,
    },
}

/// A verified datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReceivedDatagram {
    /// The node that signed it.
    pub sender: NodeId,
    /// Its hash, which replies contain.
    pub hash: [u8; 32],
    /// The packet.
    pub packet: Packet,
}

/// An encoded and signed datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedDatagram {
    /// Its hash, which replies contain.
    pub hash: [u8; 32],
    /// The bytes.
    pub datagram: Vec<u8>,
}

impl Packet {
    /// Encodes and signs the packet.
    pub fn seal(&self, key: &PrivateKey) -> SignedDatagram {
        let content = [[self.code()].as_slice(), &self.encode()].concat();
        let signature = key.sign(&keccak256(&[&content]));
        let hash = keccak256(&[&signature.0, &content]);
        SignedDatagram { hash, datagram: [hash.as_slice(), &signature.0, &content].concat() }
    }

    /// Verifies and decodes a datagram. Additional fields and bytes are ignored (EIP-8).
    ///
    /// # Errors
    /// Damaged, without a valid signature, or malformed. Ignore it, because anyone can send it.
    pub fn open(datagram: &[u8]) -> Result<ReceivedDatagram, PacketError> {
        if datagram.len() > MAX_DATAGRAM {
            return Err(PacketError::TooLong(datagram.len()));
        }
        let mut reader = Reader::new(datagram);
        let hash: [u8; 32] = reader.array()?;
        if !bool::from(keccak256(&[reader.rest()]).ct_eq(&hash)) {
            return Err(PacketError::Damaged);
        }
        let signature = Signature(reader.array::<SIGNATURE>()?);
        let digest = keccak256(&[reader.rest()]);
        let code = reader.u8()?;
        let packet = Self::decode(code, Rlp::new(reader.rest()).list()?)?;
        let sender = signature.recover(&digest).map_err(|_| PacketError::Unsigned)?.node_id();
        Ok(ReceivedDatagram { sender, hash, packet })
    }

    /// Expiry time in seconds since 1970. A record does not expire.
    pub const fn expiration(&self) -> Option<u64> {
        match self {
            Self::Ping { expiration, .. }
            | Self::Pong { expiration, .. }
            | Self::FindNode { expiration, .. }
            | Self::Neighbors { expiration, .. }
            | Self::EnrRequest { expiration } => Some(*expiration),
            Self::EnrResponse { .. } => None,
        }
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Ping { .. } => 1,
            Self::Pong { .. } => 2,
            Self::FindNode { .. } => 3,
            Self::Neighbors { .. } => 4,
            Self::EnrRequest { .. } => 5,
            Self::EnrResponse { .. } => 6,
        }
    }

    fn encode(&self) -> Vec<u8> {
        rlp::list(|list| match self {
            Self::Ping { from, to, expiration, record } => {
                list.uint(VERSION);
                write_endpoint(list, from);
                write_endpoint(list, to);
                write_end(list, *expiration, *record);
            }
            Self::Pong { to, ping, expiration, record } => {
                write_endpoint(list, to);
                list.string(ping);
                write_end(list, *expiration, *record);
            }
            Self::FindNode { target, expiration } => {
                list.string(&target.0).uint(*expiration);
            }
            Self::Neighbors { nodes, expiration } => {
                list.list(|list| nodes.iter().for_each(|node| write_node(list, node)));
                list.uint(*expiration);
            }
            Self::EnrRequest { expiration } => {
                list.uint(*expiration);
            }
            Self::EnrResponse { request, record } => {
                list.string(request).raw(record.encoded());
            }
        })
    }

    fn decode(code: u8, mut fields: Rlp<'_>) -> Result<Self, PacketError> {
        Ok(match code {
            1 => {
                // The version has no effect.
                fields.raw()?;
                let (from, to) = (read_endpoint(&mut fields)?, read_endpoint(&mut fields)?);
                let expiration = fields.u64()?;
                Self::Ping { from, to, expiration, record: fields.u64().ok() }
            }
            2 => {
                let (to, ping) = (read_endpoint(&mut fields)?, fields.array()?);
                let expiration = fields.u64()?;
                Self::Pong { to, ping, expiration, record: fields.u64().ok() }
            }
            3 => Self::FindNode { target: NodeId(fields.array()?), expiration: fields.u64()? },
            4 => {
                let (mut list, mut nodes) = (fields.list()?, Vec::new());
                while !list.is_empty() {
                    nodes.push(read_node(&mut list)?);
                }
                Self::Neighbors { nodes, expiration: fields.u64()? }
            }
            5 => Self::EnrRequest { expiration: fields.u64()? },
            6 => {
                let (request, record) = (fields.array()?, Record::decode(fields.raw()?)?);
                Self::EnrResponse { request, record: Box::new(record) }
            }
            code => return Err(PacketError::UnknownType(code)),
        })
    }
}

fn write_endpoint(list: &mut Encoder, endpoint: &Endpoint) {
    list.list(|list| write_address(list, endpoint));
}

fn write_address(list: &mut Encoder, Endpoint { ip, tcp, udp }: &Endpoint) {
    match ip {
        IpAddr::V4(ip) => list.string(&ip.octets()),
        IpAddr::V6(ip) => list.string(&ip.octets()),
    };
    list.uint((*udp).into()).uint((*tcp).into());
}

fn write_node(list: &mut Encoder, node: &Enode) {
    // A node without endpoint is useless to others.
    if let Some(endpoint) = &node.endpoint {
        list.list(|list| {
            write_address(list, endpoint);
            list.string(&node.id.0);
        });
    }
}

fn write_end(list: &mut Encoder, expiration: u64, record: Option<u64>) {
    list.uint(expiration);
    if let Some(sequence) = record {
        list.uint(sequence);
    }
}

fn read_endpoint(list: &mut Rlp<'_>) -> Result<Endpoint, RlpError> {
    read_address(&mut list.list()?)
}

fn read_address(list: &mut Rlp<'_>) -> Result<Endpoint, RlpError> {
    let ip = match list.string()? {
        // Nodes that do not know their address send an empty one.
        [] => Ipv4Addr::UNSPECIFIED.into(),
        bytes => match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
            (Ok(v4), _) => Ipv4Addr::from(v4).into(),
            (_, Ok(v6)) => IpAddr::from(Ipv6Addr::from(v6)).to_canonical(),
            _ => return Err(RlpError::WrongLength { wanted: 4, actual: bytes.len() }),
        },
    };
    let (udp, tcp) = (list.u16()?, list.u16()?);
    Ok(Endpoint { ip, tcp, udp })
}

fn read_node(list: &mut Rlp<'_>) -> Result<Enode, RlpError> {
    let mut node = list.list()?;
    let endpoint = Some(read_address(&mut node)?);
    Ok(Enode { id: NodeId(node.array()?), endpoint })
}

/// Why a datagram is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PacketError {
    /// The hash does not match.
    #[error("datagram is damaged")]
    Damaged,
    /// Invalid RLP, or unexpected items.
    #[error("malformed datagram: {0}")]
    Malformed(#[from] RlpError),
    /// The record is invalid.
    #[error("datagram with a bad record: {0}")]
    Record(#[from] RecordError),
    /// The datagram is too long: this many bytes.
    #[error("datagram of {0} bytes, more than {MAX_DATAGRAM}")]
    TooLong(usize),
    /// The datagram is truncated.
    #[error("datagram {0}")]
    TooShort(#[from] TooShort),
    /// The packet type is unknown.
    #[error("datagram of unknown type {0}")]
    UnknownType(u8),
    /// The signature is invalid.
    #[error("datagram has an invalid signature")]
    Unsigned,
}

/// Protocol version in pings.
const VERSION: u64 = 4;

/// Maximum size of a datagram in bytes (discv4.md "Wire Protocol").
pub const MAX_DATAGRAM: usize = 1280;

/// Maximum number of nodes in one datagram: with IPv6 addresses they need 90 bytes each.
pub const MAX_NEIGHBORS: usize = 12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wormhole_kit::Secret;

    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::from_secret(&Secret::new([7; 32])).unwrap()
    }

    fn v6(last: u16) -> Endpoint {
        let ip = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, last).into();
        Endpoint { ip, tcp: 30303, udp: 65535 }
    }

    fn v4() -> Endpoint {
        Endpoint { ip: Ipv4Addr::new(192, 0, 2, 7).into(), tcp: 0, udp: 30303 }
    }

    fn one_of_each() -> [Packet; 6] {
        let node = |last| Enode { id: NodeId([7; 64]), endpoint: Some(v6(last)) };
        let expiration = u64::MAX;
        [
            Packet::Ping { from: v4(), to: v6(1), expiration, record: Some(3) },
            Packet::Pong { to: v4(), ping: [5; 32], expiration, record: None },
            Packet::FindNode { target: NodeId([9; 64]), expiration },
            Packet::Neighbors { nodes: (0..12).map(node).collect(), expiration },
            Packet::EnrRequest { expiration },
            Packet::EnrResponse {
                request: [1; 32],
                record: Box::new(Record::sign(&key(), 1, &v4())),
            },
        ]
    }

    #[test]
    fn packets_open_to_themselves_and_fit_into_a_datagram() {
        for packet in one_of_each() {
            let SignedDatagram { hash, datagram } = packet.seal(&key());
            assert!(datagram.len() <= MAX_DATAGRAM, "{} bytes", datagram.len());
            let sender = key().public_key().node_id();
            assert_eq!(Packet::open(&datagram), Ok(ReceivedDatagram { sender, hash, packet }));
        }
    }

    #[test]
    fn a_datagram_with_any_byte_changed_is_refused() {
        for packet in one_of_each() {
            let datagram = packet.seal(&key()).datagram;
            for place in 0..datagram.len() {
                let mut changed = datagram.clone();
                changed[place] ^= 1;
                assert_eq!(Packet::open(&changed), Err(PacketError::Damaged), "byte {place}");
                assert!(Packet::open(&datagram[..place]).is_err());
            }
        }
    }

    /// Hashes content that need not be a packet.
    fn hashed(content: &[u8]) -> Vec<u8> {
        [keccak256(&[content]).as_slice(), content].concat()
    }

    #[test]
    fn invalid_datagrams_are_rejected_with_a_reason() {
        let signed = |content: &[u8]| {
            let signature = key().sign(&keccak256(&[content]));
            Packet::open(&hashed(&[signature.0.as_slice(), content].concat())).err()
        };
        assert_eq!(signed(&[7, 0xc0]), Some(PacketError::UnknownType(7)));
        assert_eq!(signed(&[3, 0xc0]), Some(PacketError::Malformed(RlpError::TooFewItems)));
        assert_eq!(signed(&[3]), Some(PacketError::Malformed(RlpError::TooFewItems)));
        assert!(matches!(signed(&[]), Some(PacketError::TooShort(_))));
        let unsigned = hashed(&[[0; 65].as_slice(), &[5, 0xc1, 9]].concat());
        assert_eq!(Packet::open(&unsigned), Err(PacketError::Unsigned));
        assert_eq!(Packet::open(&[0; 1281]), Err(PacketError::TooLong(1281)));
    }

    proptest! {
        #[test]
        fn no_content_makes_the_parser_panic(code in 0_u8..8, content: Vec<u8>) {
            let list = rlp::list(|list| { list.raw(&content); });
            let _ = Packet::decode(code, Rlp::only_list(&list).unwrap());
            let _ = Packet::open(&hashed(&content));
        }
    }
}
