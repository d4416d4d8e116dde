//! Node records: signed descriptions of nodes that others may forward (EIP-778).
//!
//! ```text
//! rlp[signature (64), sequence, key, value, key, value, …]      keys sorted, at most 300 bytes
//! ```
//!
//! The only identity scheme is `v4`. The text form is `enr:` and base64url without padding.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use data_encoding::BASE64URL_NOPAD;

use super::{
    enode::{Endpoint, Enode},
    key::{PrivateKey, PublicKey, keccak256},
    rlp::{self, Encoder, Rlp, RlpError},
};

/// A node record with a valid signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    sequence: u64,
    public_key: PublicKey,
    /// Encoded values by key.
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    encoded: Vec<u8>,
}

impl Record {
    /// Signs a record for the node that holds `key`. A higher `sequence` replaces a lower one; ports of 0 are
    /// omitted.
    pub fn sign(key: &PrivateKey, sequence: u64, endpoint: &Endpoint) -> Self {
        let public_key = key.public_key();
        let mut entries = BTreeMap::from([
            (b"id".to_vec(), rlp::string(SCHEME)),
            (b"secp256k1".to_vec(), rlp::string(&public_key.to_compressed())),
        ]);
        let (ip, tcp, udp): (_, &[u8], &[u8]) = match endpoint.ip {
            IpAddr::V4(ip) => ((b"ip".to_vec(), rlp::string(&ip.octets())), b"tcp", b"udp"),
            IpAddr::V6(ip) => ((b"ip6".to_vec(), rlp::string(&ip.octets())), b"tcp6", b"udp6"),
        };
        entries.extend([ip]);
        let ports = [(tcp, endpoint.tcp), (udp, endpoint.udp)];
        let ports = ports.into_iter().filter(|(_, port)| *port != 0);
        entries.extend(ports.map(|(name, port)| (name.to_vec(), rlp::uint(port.into()))));
        let content = content(sequence, &entries);
        let digest = keccak256(&[&rlp::list(|list| {
            list.raw(&content);
        })]);
        let [signature @ .., _] = key.sign(&digest).0;
        let encoded = rlp::list(|list| {
            list.string(&signature).raw(&content);
        });
        Self { sequence, public_key, entries, encoded }
    }

    /// Decodes a record and checks its signature.
    ///
    /// # Errors
    /// It is too long, malformed, of an unknown identity scheme, or not signed by its key.
    pub fn decode(encoded: &[u8]) -> Result<Self, RecordError> {
        if encoded.len() > MAX_RECORD {
            return Err(RecordError::TooLong(encoded.len()));
        }
        let mut fields = Rlp::only_list(encoded)?;
        let signature: [u8; 64] = fields.array()?;
        let signed = rlp::list(|list| {
            list.raw(fields.rest());
        });
        let (sequence, mut entries) = (fields.u64()?, BTreeMap::new());
        while !fields.is_empty() {
            let (name, value) = (fields.string()?.to_vec(), fields.raw()?.to_vec());
            if entries.last_key_value().is_some_and(|(last, _)| *last >= name) {
                return Err(RecordError::NotSorted);
            }
            entries.insert(name, value);
        }
        if string(&entries, b"id") != Some(SCHEME) {
            return Err(RecordError::UnknownScheme);
        }
        let public_key = string(&entries, b"secp256k1").ok_or(RecordError::NoKey)?;
        let public_key = PublicKey::from_sec1(public_key).map_err(|_| RecordError::NoKey)?;
        if !public_key.verifies(&keccak256(&[&signed]), &signature) {
            return Err(RecordError::Forged);
        }
        Ok(Self { sequence, public_key, entries, encoded: encoded.to_vec() })
    }

    /// Parses the text form, `enr:…`.
    ///
    /// # Errors
    /// See [`Record::decode`]; also if the text has another form.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let text = text.strip_prefix("enr:").ok_or(RecordError::NotText)?;
        let encoded = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| RecordError::NotText)?;
        Self::decode(&encoded)
    }

    /// The sequence number, which increases with every change.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The key that signed it.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// The encoded record.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The encoded value of an entry.
    pub fn entry(&self, name: &[u8]) -> Option<&[u8]> {
        self.entries.get(name).map(Vec::as_slice)
    }

    /// The node and, if the record contains it, its endpoint; IPv4 is preferred.
    pub fn enode(&self) -> Enode {
        let v4 = self.address(b"ip").map(|ip| IpAddr::from(Ipv4Addr::from(ip)));
        let v6 = || self.address(b"ip6").map(|ip| IpAddr::from(Ipv6Addr::from(ip)));
        // The plain ports are valid for both addresses, unless there are separate ones for IPv6.
        let port = |ip: IpAddr, plain, only_v6| {
            let port = |name| Rlp::new(self.entry(name)?).u16().ok();
            let special = ip.is_ipv6().then(|| port(only_v6)).flatten();
            special.or_else(|| port(plain)).unwrap_or_default()
        };
        let endpoint = v4.or_else(v6).map(|ip| Endpoint {
            ip,
            tcp: port(ip, b"tcp", b"tcp6"),
            udp: port(ip, b"udp", b"udp6"),
        });
        Enode { id: self.public_key.node_id(), endpoint }
    }

    fn address<const N: usize>(&self, name: &[u8]) -> Option<[u8; N]> {
        Rlp::new(self.entry(name)?).array().ok()
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enr:{}", BASE64URL_NOPAD.encode(&self.encoded))
    }
}

/// The signed content, without the list header.
fn content(sequence: u64, entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut content = Encoder::default();
    content.uint(sequence);
    for (name, value) in entries {
        content.string(name).raw(value);
    }
    content.into_bytes()
}

fn string<'e>(entries: &'e BTreeMap<Vec<u8>, Vec<u8>>, name: &[u8]) -> Option<&'e [u8]> {
    Rlp::new(entries.get(name)?).string().ok()
}

/// Why a node record is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The signature does not match the key.
    #[error("record is not signed by its key")]
    Forged,
    /// Invalid RLP, or unexpected items.
    #[error("malformed record: {0}")]
    Malformed(#[from] RlpError),
    /// The public key is missing or invalid.
    #[error("record without a key")]
    NoKey,
    /// Keys are repeated or not sorted.
    #[error("record with unsorted keys")]
    NotSorted,
    /// The text is not `enr:` and base64url.
    #[error("not an enr: text")]
    NotText,
    /// The record is too long: this many bytes.
    #[error("record of {0} bytes, more than {MAX_RECORD}")]
    TooLong(usize),
    /// The identity scheme is not `v4`.
    #[error("record of an unknown identity scheme")]
    UnknownScheme,
}

/// Maximum size of a record in bytes (EIP-778).
pub const MAX_RECORD: usize = 300;

/// The only identity scheme.
const SCHEME: &[u8] = b"v4";

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use wormhole_kit::Secret;

    use super::*;

    /// The example of EIP-778.
    const EXAMPLE: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkT\
        fj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8\
        yWM0xOIN1ZHCCdl8";

    fn example_key() -> PrivateKey {
        let key = b"b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";
        let key = HEXLOWER.decode(key).unwrap().try_into().unwrap();
        PrivateKey::from_secret(&Secret::new(key)).unwrap()
    }

    fn example_endpoint() -> Endpoint {
        Endpoint { ip: Ipv4Addr::LOCALHOST.into(), tcp: 0, udp: 30303 }
    }

    #[test]
    fn the_example_of_eip_778_is_read() {
        let record = Record::parse(EXAMPLE).unwrap();
        assert_eq!(record.sequence(), 1);
        assert_eq!(*record.public_key(), example_key().public_key());
        assert_eq!(record.enode().endpoint, Some(example_endpoint()));
        assert_eq!(
            HEXLOWER.encode(&record.enode().id.digest()),
            "a448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7"
        );
        assert_eq!(record.to_string(), EXAMPLE);
    }

    #[test]
    fn a_record_that_we_sign_is_the_example_s() {
        let record = Record::sign(&example_key(), 1, &example_endpoint());
        assert_eq!(record.to_string(), EXAMPLE);
        assert_eq!(Record::decode(record.encoded()), Ok(record));
    }

    #[test]
    fn an_ipv6_record_reads_back() {
        let endpoint = Endpoint { ip: Ipv6Addr::LOCALHOST.into(), tcp: 1, udp: 2 };
        let record = Record::sign(&example_key(), 7, &endpoint);
        let record = Record::parse(&record.to_string()).unwrap();
        assert_eq!(record.enode().endpoint, Some(endpoint));
    }

    #[test]
    fn a_record_with_any_bit_flipped_is_refused() {
        let encoded = Record::sign(&example_key(), 1, &example_endpoint()).encoded().to_vec();
        for place in 0..encoded.len() {
            let mut forged = encoded.clone();
            forged[place] ^= 1;
            assert!(Record::decode(&forged).is_err(), "byte {place}");
        }
    }

    /// Signs entries that need not be a record.
    fn sign(write: impl Fn(&mut Encoder)) -> Result<Record, RecordError> {
        let digest = keccak256(&[&rlp::list(&write)]);
        let [signature @ .., _] = example_key().sign(&digest).0;
        Record::decode(&rlp::list(|list| {
            list.string(&signature);
            write(list);
        }))
    }

    #[test]
    fn signed_nonsense_is_refused() {
        let key = example_key().public_key().to_compressed();
        let unsorted = sign(|list| {
            list.uint(1).string(b"secp256k1").string(&key).string(b"id").string(b"v4");
        });
        assert_eq!(unsorted, Err(RecordError::NotSorted));
        let twice = sign(|list| {
            list.uint(1).string(b"id").string(b"v4").string(b"id").string(b"v4");
        });
        assert_eq!(twice, Err(RecordError::NotSorted));
        let scheme = sign(|list| {
            list.uint(1).string(b"id").string(b"v5").string(b"secp256k1").string(&key);
        });
        assert_eq!(scheme, Err(RecordError::UnknownScheme));
        let keyless = sign(|list| {
            list.uint(1).string(b"id").string(b"v4");
        });
        assert_eq!(keyless, Err(RecordError::NoKey));
        let valueless = sign(|list| {
            list.uint(1).string(b"id");
        });
        assert_eq!(valueless, Err(RecordError::Malformed(RlpError::TooFewItems)));
        let long = sign(|list| {
            list.uint(1).string(b"eth").string(&[7; 300]);
        });
        assert!(matches!(long, Err(RecordError::TooLong(301..))));
        assert_eq!(Record::parse("enr:?"), Err(RecordError::NotText));
    }
}
