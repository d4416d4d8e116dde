//! The datagrams of discovery v4 (discv4.md "Wire Protocol", EIP-868 for records).
//!
//! ```text
//! keccak256 of the rest (32) ‖ signature of what follows (65) ‖ type (1) ‖ RLP
//! ```
//!
//! A datagram proves who wrote it, not where or when: see [`super`] for what that takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use subtle::ConstantTimeEq;
use wormhole_kit::{Reader, TooShort};

use crate::devp2p::{
    enode::{Endpoint, Enode},
    enr::{Record, RecordError},
    key::{NodeId, PrivateKey, SIGNATURE, Signature, keccak256},
    rlp::{self, Encoder, Rlp, RlpError},
};

/// What a datagram says.
///
/// An `expiration` is in seconds since 1970; whoever reads it later ignores the datagram.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Packet {
    /// 1: are you there, and at this endpoint?
    Ping {
        /// Where the writer thinks it is.
        from: Endpoint,
        /// Where the writer thinks the reader is.
        to: Endpoint,
        /// When this is out of date.
        expiration: u64,
        /// Sequence of the writer's record, if it has one.
        record: Option<u64>,
    },
    /// 2: I am.
    Pong {
        /// Where the ping came from.
        to: Endpoint,
        /// Hash of the ping.
        ping: [u8; 32],
        /// When this is out of date.
        expiration: u64,
        /// Sequence of the writer's record, if it has one.
        record: Option<u64>,
    },
    /// 3: who is near this name?
    FindNode {
        /// The name.
        target: NodeId,
        /// When this is out of date.
        expiration: u64,
    },
    /// 4: these are. A list too long for one datagram comes in several.
    Neighbors {
        /// The nodes, each with an endpoint. At most [`MAX_NEIGHBORS`] fit.
        nodes: Vec<Enode>,
        /// When this is out of date.
        expiration: u64,
    },
    /// 5: what is your record?
    EnrRequest {
        /// When this is out of date.
        expiration: u64,
    },
    /// 6: this is.
    EnrResponse {
        /// Hash of the request.
        request: [u8; 32],
        /// The record.
        record: Box<Record>,
    },
}

/// A datagram that is what it says it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Received {
    /// Who wrote it.
    pub sender: NodeId,
    /// By which answers refer to it.
    pub hash: [u8; 32],
    /// What it says.
    pub packet: Packet,
}

/// A datagram ready to be sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sealed {
    /// By which answers refer to it.
    pub hash: [u8; 32],
    /// The datagram.
    pub datagram: Vec<u8>,
}

impl Packet {
    /// Signs the packet.
    pub fn seal(&self, key: &PrivateKey) -> Sealed {
        let content = [[self.code()].as_slice(), &self.encode()].concat();
        let signature = key.sign(&keccak256(&[&content]));
        let hash = keccak256(&[&signature.0, &content]);
        Sealed { hash, datagram: [hash.as_slice(), &signature.0, &content].concat() }
    }

    /// Checks a datagram and reads what it says. Fields and bytes that a later version may add are
    /// ignored (EIP-8).
    ///
    /// # Errors
    /// Damaged, signed by nobody, or malformed. Ignore it: anybody may have sent it.
    pub fn open(datagram: &[u8]) -> Result<Received, PacketError> {
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
        Ok(Received { sender, hash, packet })
    }

    /// When the packet is out of date, in seconds since 1970. A record never is.
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
                // The version says nothing that the fields do not.
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
    // A node without endpoint cannot be called, so nobody wants to hear of it.
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
        // Nodes that do not know where they are say nothing.
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

/// How a datagram is none of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The hash does not fit.
    #[error("datagram is damaged")]
    Damaged,
    /// The fields are not what they should be.
    #[error("malformed datagram: {0}")]
    Malformed(#[from] RlpError),
    /// The record in it is no good.
    #[error("datagram with a bad record: {0}")]
    Record(#[from] RecordError),
    /// A datagram of this many bytes.
    #[error("datagram of {0} bytes, more than {MAX_DATAGRAM}")]
    TooLong(usize),
    /// It ends before its fields do.
    #[error("datagram {0}")]
    TooShort(#[from] TooShort),
    /// No type has this number.
    #[error("datagram of unknown type {0}")]
    UnknownType(u8),
    /// No key made the signature.
    #[error("datagram is signed by nobody")]
    Unsigned,
}

/// Version of the protocol that a ping names.
const VERSION: u64 = 4;

/// Most bytes of a datagram (discv4.md "Wire Protocol").
pub const MAX_DATAGRAM: usize = 1280;

/// Most nodes of which one datagram can tell: with IPv6 addresses they take 90 bytes each.
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
            let Sealed { hash, datagram } = packet.seal(&key());
            assert!(datagram.len() <= MAX_DATAGRAM, "{} bytes", datagram.len());
            let sender = key().public_key().node_id();
            assert_eq!(Packet::open(&datagram), Ok(Received { sender, hash, packet }));
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
    fn a_datagram_that_is_none_is_refused_with_a_reason() {
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
