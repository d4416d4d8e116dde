//! Addresses of nodes: endpoints, and `enode://` URLs.
//!
//! Host names are not resolved here; the caller must replace a name by its address before parsing.
//!
//! ```
//! use wormhole_whisper::devp2p::{enode::Enode, key::PrivateKey};
//! # use wormhole_kit::Secret;
//!
//! # let id = PrivateKey::from_secret(&Secret::new([7; 32])).unwrap().public_key().node_id();
//! let text = format!("enode://{id}@192.0.2.7:30303?discport=30301");
//! let enode = Enode::parse(&text)?;
//! assert_eq!(enode.endpoint.unwrap().udp, 30301);
//! assert_eq!(enode.to_string(), text);
//! # Ok::<(), wormhole_whisper::devp2p::enode::EnodeError>(())
//! ```

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use data_encoding::HEXLOWER_PERMISSIVE;

use super::key::NodeId;

/// The IP address and the ports of a node.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Endpoint {
    /// IP address.
    pub ip: IpAddr,
    /// TCP port of RLPx. 0: unknown or not listening.
    pub tcp: u16,
    /// UDP port of discovery. 0: no discovery.
    pub udp: u16,
}

impl Endpoint {
    /// The address of RLPx.
    pub const fn tcp_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.tcp)
    }

    /// The address of discovery.
    pub const fn udp_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.udp)
    }
}

/// The id of a node and its endpoint, if known.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Enode {
    /// Its id. After parsing, a valid public key.
    pub id: NodeId,
    /// Its endpoint, if known.
    pub endpoint: Option<Endpoint>,
}

impl Enode {
    /// Parses `enode://ID@ADDRESS:PORT`, with `?discport=PORT` if the ports differ. An id alone, with
    /// or without `enode://`, is a node without endpoint.
    ///
    /// # Errors
    /// The text has another form; the messages are those of go-ethereum.
    pub fn parse(text: &str) -> Result<Self, EnodeError> {
        let rest = text.strip_prefix("enode://");
        if is_hex(rest.unwrap_or(text)) {
            return Ok(Self { id: parse_id(rest.unwrap_or(text))?, endpoint: None });
        }
        let rest = rest.ok_or(EnodeError::WrongScheme)?;
        let (id, address) = rest.split_once('@').ok_or(EnodeError::NoNodeId)?;
        let id = parse_id(id)?;
        let (address, query) = address
            .split_once('?')
            .map_or((address, None), |(address, query)| (address, Some(query)));
        let address = parse_address(address.trim_end_matches('/'))?;
        let udp = query.map(parse_discport).transpose()?.unwrap_or_else(|| address.port());
        let endpoint = Endpoint { ip: address.ip().to_canonical(), tcp: address.port(), udp };
        Ok(Self { id, endpoint: Some(endpoint) })
    }
}

impl fmt::Display for Enode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enode://{}", self.id)?;
        let Some(endpoint) = self.endpoint else { return Ok(()) };
        write!(f, "@{}", endpoint.tcp_address())?;
        if endpoint.udp == endpoint.tcp { Ok(()) } else { write!(f, "?discport={}", endpoint.udp) }
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn parse_id(text: &str) -> Result<NodeId, EnodeError> {
    // Go checks bytes, not characters, and reports the first wrong one.
    if let Some(byte) = text.bytes().find(|byte| !byte.is_ascii_hexdigit()) {
        return Err(EnodeError::IdNotHex(byte));
    }
    let id = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| EnodeError::IdOfOddLength)?;
    let id = NodeId(id.try_into().map_err(|_| EnodeError::IdOfWrongLength)?);
    id.public_key().map_err(|_| EnodeError::IdNotAKey)?;
    Ok(id)
}

fn parse_address(text: &str) -> Result<SocketAddr, EnodeError> {
    text.parse().map_err(|_| {
        let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match host.parse::<IpAddr>() {
            Ok(_) => EnodeError::InvalidPort,
            Err(_) => EnodeError::InvalidAddress,
        }
    })
}

fn parse_discport(query: &str) -> Result<u16, EnodeError> {
    let mut pairs = query.split('&').filter_map(|pair| pair.strip_prefix("discport="));
    let port = pairs.next().ok_or(EnodeError::InvalidDiscport)?;
    port.parse().map_err(|_| EnodeError::InvalidDiscport)
}

/// Why an enode URL is invalid, with go-ethereum's messages (p2p/enode/urlv4.go).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnodeError {
    /// The id is not a point of the curve.
    #[error("invalid public key (invalid secp256k1 public key)")]
    IdNotAKey,
    /// The id contains this byte, which is not a hexadecimal digit.
    #[error("invalid public key (encoding/hex: invalid byte: {})", GoByte(*.0))]
    IdNotHex(u8),
    /// The id has an odd number of digits.
    #[error("invalid public key (encoding/hex: odd length hex string)")]
    IdOfOddLength,
    /// The id does not have 64 bytes.
    #[error("invalid public key (wrong length, want 128 hex chars)")]
    IdOfWrongLength,
    /// The text after `@` is not an IP address.
    #[error("invalid IP address")]
    InvalidAddress,
    /// The text after `?` is not a UDP port.
    #[error("invalid discport in query")]
    InvalidDiscport,
    /// The text after the address is not a TCP port.
    #[error("invalid port")]
    InvalidPort,
    /// There is no `@`.
    #[error("does not contain node ID")]
    NoNodeId,
    /// The text is neither an id nor an `enode://` URL.
    #[error("invalid URL scheme, want \"enode\"")]
    WrongScheme,
}

/// A byte as Go prints it with `%#U`: with its character if that is printable.
struct GoByte(u8);

impl fmt::Display for GoByte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(byte) = self;
        write!(f, "U+{byte:04X}")?;
        match char::from(*byte) {
            letter @ (' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..) => write!(f, " '{letter}'"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use wormhole_kit::Secret;

    use super::*;
    use crate::devp2p::key::PrivateKey;

    fn id() -> NodeId {
        PrivateKey::from_secret(&Secret::new([7; 32])).unwrap().public_key().node_id()
    }

    fn at(ip: &str, tcp: u16, udp: u16) -> Enode {
        Enode { id: id(), endpoint: Some(Endpoint { ip: ip.parse().unwrap(), tcp, udp }) }
    }

    #[test]
    fn nodes_are_written_as_they_are_read() {
        for (rest, node) in [
            ("@127.0.0.1:30303", at("127.0.0.1", 30303, 30303)),
            ("@127.0.0.1:30303?discport=0", at("127.0.0.1", 30303, 0)),
            ("@[2001:db8::7]:1?discport=2", at("2001:db8::7", 1, 2)),
            ("", Enode { id: id(), endpoint: None }),
        ] {
            let text = format!("enode://{}{rest}", id());
            assert_eq!(Enode::parse(&text), Ok(node));
            assert_eq!(node.to_string(), text);
        }
    }

    #[test]
    fn other_spellings_are_accepted() {
        let upper = id().to_string().to_uppercase();
        assert_eq!(Enode::parse(&upper), Ok(Enode { id: id(), endpoint: None }));
        let slash = format!("enode://{}@127.0.0.1:1/?x=y&discport=2", id());
        assert_eq!(Enode::parse(&slash), Ok(at("127.0.0.1", 1, 2)));
    }

    #[test]
    fn invalid_urls_are_rejected_with_a_reason() {
        let id = id();
        let cases = [
            ("".into(), EnodeError::WrongScheme),
            ("http://example.org".into(), EnodeError::WrongScheme),
            ("enode://127.0.0.1:30303".into(), EnodeError::NoNodeId),
            ("enode://@127.0.0.1:30303".into(), EnodeError::IdOfWrongLength),
            ("enode://xy@127.0.0.1:30303".into(), EnodeError::IdNotHex(b'x')),
            ("enode://0x@127.0.0.1:30303".into(), EnodeError::IdNotHex(b'x')),
            ("abc".into(), EnodeError::IdOfOddLength),
            ("abcd".into(), EnodeError::IdOfWrongLength),
            ("00".repeat(64), EnodeError::IdNotAKey),
            (format!("enode://{id}@localhost:30303"), EnodeError::InvalidAddress),
            (format!("enode://{id}@127.0.0.1"), EnodeError::InvalidPort),
            (format!("enode://{id}@127.0.0.1:65536"), EnodeError::InvalidPort),
            (format!("enode://{id}@[::1]:x"), EnodeError::InvalidPort),
            (format!("enode://{id}@127.0.0.1:1?discport=x"), EnodeError::InvalidDiscport),
            (format!("enode://{id}@127.0.0.1:1?disc=1"), EnodeError::InvalidDiscport),
        ];
        for (text, error) in cases {
            assert_eq!(Enode::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn the_reasons_are_those_of_go_ethereum() {
        for (error, text) in [
            (EnodeError::IdNotAKey, "invalid public key (invalid secp256k1 public key)"),
            (EnodeError::IdOfOddLength, "invalid public key (encoding/hex: odd length hex string)"),
            (
                EnodeError::IdNotHex(b'x'),
                "invalid public key (encoding/hex: invalid byte: U+0078 'x')",
            ),
            (EnodeError::IdNotHex(7), "invalid public key (encoding/hex: invalid byte: U+0007)"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
