//! Hints and abilities: how a peer can be reached, as sent through the mailbox.
//!
//! [`super::race`] connects, and [`super::helper`] parses the option `--transit-helper`. Decoding is lenient: unknown
//! hints are skipped and never an error (transit.rst "Hints").

use std::cmp::Ordering;
use std::fmt;
use std::net::Ipv6Addr;

use serde_json::{Value, json};

/// A host and a port to dial. Prints as `host:port`, an IPv6 address in brackets.
///
/// ```
/// use wormhole_magic::transit::Endpoint;
///
/// assert_eq!(Endpoint::new("192.0.2.7", 4000).to_string(), "192.0.2.7:4000");
/// assert_eq!(Endpoint::new("2001:db8::1", 4000).to_string(), "[2001:db8::1]:4000");
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// A host name, an IPv4 address or an IPv6 address without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

impl Endpoint {
    /// Joins a host and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Priority of a hint; higher ones are tried earlier. Always finite; the default is 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Priority(f64);

impl Priority {
    /// Creates a priority from a finite number; anything else counts as 0.
    pub const fn new(value: f64) -> Self {
        Self(if value.is_finite() { value } else { 0.0 })
    }

    /// The number.
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl Ord for Priority {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Priority {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Priority {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Priority {}

/// A TCP endpoint with its priority.
///
/// ```
/// use wormhole_magic::transit::TcpHint;
///
/// assert_eq!(TcpHint::new("192.0.2.7", 4000).endpoint.port, 4000);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TcpHint {
    /// Where to connect.
    pub endpoint: Endpoint,
    /// Orders the relays of a race; direct hints are tried all at once.
    pub priority: Priority,
}

impl TcpHint {
    /// A hint with priority 0.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { endpoint: Endpoint::new(host, port), priority: Priority::default() }
    }
}

/// One of several addresses of a relay.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RelayAddress {
    /// Plain TCP.
    Tcp(TcpHint),
    /// A WebSocket whose binary messages contain the bytes.
    WebSocket {
        /// `ws://` or `wss://`. A URL from a peer has the path `/` and nothing after it.
        url: String,
        /// Orders the relays of a race.
        priority: Priority,
    },
}

impl RelayAddress {
    /// How much this way is preferred.
    pub const fn priority(&self) -> Priority {
        match self {
            Self::Tcp(hint) => hint.priority,
            Self::WebSocket { priority, .. } => *priority,
        }
    }
}

/// A transit relay: a server that connects two clients with the same token.
///
/// ```
/// use wormhole_magic::transit::{RelayHint, TcpHint};
///
/// assert_eq!(RelayHint::tcp(TcpHint::new("relay.example.org", 4001)).addresses.len(), 1);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelayHint {
    /// Name of the relay, for display only.
    pub name: Option<String>,
    /// The addresses of the relay.
    pub addresses: Vec<RelayAddress>,
}

impl RelayHint {
    /// A relay reached over plain TCP, without a name.
    pub fn tcp(hint: TcpHint) -> Self {
        Self { name: None, addresses: vec![RelayAddress::Tcp(hint)] }
    }
}

/// A way to reach a peer.
///
/// ```
/// use wormhole_magic::transit::{Hint, TcpHint};
///
/// let hints = [Hint::Direct(TcpHint::new("192.0.2.7", 4000))];
/// assert_eq!(Hint::parse_list(&Hint::encode_list(&hints)), hints);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Hint {
    /// The peer listens at this address (`direct-tcp-v1`).
    Direct(TcpHint),
    /// The peer can be reached through this relay (`relay-v1`).
    Relay(RelayHint),
    /// The peer listens at this address, only reachable through Tor (`tor-tcp-v1`).
    Tor(TcpHint),
}

impl Hint {
    /// Decodes a `hints-v1` list, skipping unknown entries.
    ///
    /// Accepts at most 64 hints and 8 addresses per relay: a peer has a few dozen addresses at most, and the peer makes us
    /// open a connection to each.
    pub fn parse_list(list: &Value) -> Vec<Self> {
        let hints = list.as_array().map(Vec::as_slice).unwrap_or_default();
        hints.iter().filter_map(Self::parse).take(MAX_HINTS).collect()
    }

    /// Encodes a `hints-v1` list.
    pub fn encode_list(hints: &[Self]) -> Value {
        hints.iter().map(Self::encode).collect()
    }

    fn parse(value: &Value) -> Option<Self> {
        match value.get("type")?.as_str()? {
            "direct-tcp-v1" => parse_tcp(value).map(Self::Direct),
            "tor-tcp-v1" => parse_tcp(value).map(Self::Tor),
            "relay-v1" => parse_relay(value).map(Self::Relay),
            _ => None,
        }
    }

    fn encode(&self) -> Value {
        match self {
            Self::Direct(hint) => encode_tcp("direct-tcp-v1", hint),
            Self::Tor(hint) => encode_tcp("tor-tcp-v1", hint),
            Self::Relay(relay) => encode_relay(relay),
        }
    }
}

/// How a peer can connect. Unknown abilities are skipped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Ability {
    /// Opens and accepts direct TCP connections.
    DirectTcp,
    /// Connects through a relay.
    Relay,
    /// Connects to onion addresses.
    TorTcp,
}

impl Ability {
    /// Decodes an `abilities-v1` list.
    pub fn parse_list(list: &Value) -> Vec<Self> {
        let known = |value: &Value| match value.get("type")?.as_str()? {
            "direct-tcp-v1" => Some(Self::DirectTcp),
            "relay-v1" => Some(Self::Relay),
            "tor-tcp-v1" => Some(Self::TorTcp),
            _ => None,
        };
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().take(MAX_HINTS).filter_map(known).collect()
    }

    /// Encodes an `abilities-v1` list.
    pub fn encode_list(abilities: &[Self]) -> Value {
        abilities.iter().map(|ability| json!({ "type": ability.as_str() })).collect()
    }

    /// The name in the protocol.
    const fn as_str(self) -> &'static str {
        match self {
            Self::DirectTcp => "direct-tcp-v1",
            Self::Relay => "relay-v1",
            Self::TorTcp => "tor-tcp-v1",
        }
    }
}

/// Hints and abilities of a side, which the two sides exchange before a race.
///
/// ```
/// use wormhole_magic::transit::{Ability, TransitInfo};
///
/// let info = TransitInfo { abilities: vec![Ability::Relay], hints: vec![] };
/// assert_eq!(TransitInfo::decode(&info.encode()), info);
/// assert!(info.is_able(Ability::Relay) && !info.is_able(Ability::DirectTcp));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "these two lists are the whole of the protocol")]
pub struct TransitInfo {
    /// How it can connect.
    pub abilities: Vec<Ability>,
    /// Where it can be reached.
    pub hints: Vec<Hint>,
}

impl TransitInfo {
    /// Whether the side has this ability. A side without any known ability may have all of
    /// them.
    pub fn is_able(&self, ability: Ability) -> bool {
        self.abilities.is_empty() || self.abilities.contains(&ability)
    }

    /// Encodes the object with `abilities-v1` and `hints-v1`.
    pub fn encode(&self) -> Value {
        json!({
            "abilities-v1": Ability::encode_list(&self.abilities),
            "hints-v1": Hint::encode_list(&self.hints),
        })
    }

    /// Decodes the object; missing or invalid lists count as empty.
    pub fn decode(value: &Value) -> Self {
        let list = |key| value.get(key).unwrap_or(&Value::Null);
        Self {
            abilities: Ability::parse_list(list("abilities-v1")),
            hints: Hint::parse_list(list("hints-v1")),
        }
    }
}

fn parse_tcp(value: &Value) -> Option<TcpHint> {
    let host = value.get("hostname")?.as_str()?;
    let port = u16::try_from(value.get("port")?.as_u64()?).ok().filter(|port| *port != 0)?;
    let usable = !host.is_empty()
        && host.len() <= MAX_HOST
        && host.chars().all(|c| c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric()));
    usable.then(|| TcpHint { endpoint: Endpoint::new(host, port), priority: parse_priority(value) })
}

fn parse_priority(value: &Value) -> Priority {
    Priority::new(value.get("priority").and_then(Value::as_f64).unwrap_or_default())
}

fn parse_relay(value: &Value) -> Option<RelayHint> {
    let addresses: Vec<_> = value
        .get("hints")?
        .as_array()?
        .iter()
        .filter_map(parse_relay_address)
        .take(MAX_RELAY_ADDRESSES)
        .collect();
    let name = value.get("name").and_then(Value::as_str).filter(|name| name.len() <= MAX_HOST);
    (!addresses.is_empty()).then(|| RelayHint { name: name.map(str::to_owned), addresses })
}

fn parse_relay_address(value: &Value) -> Option<RelayAddress> {
    match value.get("type")?.as_str()? {
        "direct-tcp-v1" => parse_tcp(value).map(RelayAddress::Tcp),
        "websocket-v1" => {
            let url = websocket_origin(value.get("url")?.as_str()?)?;
            Some(RelayAddress::WebSocket { url, priority: parse_priority(value) })
        }
        _ => None,
    }
}

/// Scheme, host and port of a WebSocket URL, with the path `/`.
///
/// A peer must not choose our request to a server: path, query and fragment are removed, and a URL with a user name
/// or a password is rejected.
fn websocket_origin(url: &str) -> Option<String> {
    let (scheme, rest) =
        url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "ws" | "wss"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let is_ipv6 = authority.starts_with('[');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > MAX_HOST || !(is_ipv6 || host.chars().all(plain)) {
        return None;
    }
    let usable_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && (port.is_empty() || port.parse::<u16>().is_ok_and(|port| port != 0));
    usable_port.then(|| format!("{scheme}://{authority}/"))
}

fn encode_tcp(kind: &str, hint: &TcpHint) -> Value {
    json!({
        "type": kind,
        "priority": hint.priority.value(),
        "hostname": hint.endpoint.host,
        "port": hint.endpoint.port,
    })
}

fn encode_relay(relay: &RelayHint) -> Value {
    let encode = |address: &RelayAddress| match address {
        RelayAddress::Tcp(hint) => encode_tcp("direct-tcp-v1", hint),
        RelayAddress::WebSocket { url, priority } => {
            json!({ "type": "websocket-v1", "url": url, "priority": priority.value() })
        }
    };
    let addresses: Value = relay.addresses.iter().map(encode).collect();
    match &relay.name {
        Some(name) => json!({ "type": "relay-v1", "name": name, "hints": addresses }),
        None => json!({ "type": "relay-v1", "hints": addresses }),
    }
}

/// Maximum number of hints of a peer.
const MAX_HINTS: usize = 64;

/// Maximum number of addresses of a relay.
const MAX_RELAY_ADDRESSES: usize = 8;

/// Maximum size of a host name in bytes: DNS allows 253.
const MAX_HOST: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_survives_encoding_and_parsing() {
        let hints = vec![
            Hint::Direct(TcpHint::new("192.0.2.7", 4000)),
            Hint::Direct(TcpHint::new("fd00::2", 4001)),
            Hint::Tor(TcpHint {
                endpoint: Endpoint::new("abc.onion", 80),
                priority: Priority::new(1.5),
            }),
            Hint::Relay(RelayHint {
                name: Some("ours".into()),
                addresses: vec![
                    RelayAddress::Tcp(TcpHint::new("relay.example.com", 4001)),
                    RelayAddress::WebSocket {
                        url: "wss://relay.example.com/".into(),
                        priority: Priority::new(-1.0),
                    },
                ],
            }),
        ];
        assert_eq!(Hint::parse_list(&Hint::encode_list(&hints)), hints);
    }

    #[test]
    fn hints_of_wormhole_william_are_understood() {
        let list = json!([
            {"type": "direct-tcp-v1", "priority": 0, "hostname": "192.0.2.2", "port": 35153, "hints": null},
            {"type": "relay-v1", "priority": 0, "hostname": "", "port": 0, "hints": [
                {"type": "direct-tcp-v1", "priority": 2, "hostname": "127.0.0.1", "port": 4001}]},
        ]);
        let relay =
            TcpHint { endpoint: Endpoint::new("127.0.0.1", 4001), priority: Priority::new(2.0) };
        assert_eq!(
            Hint::parse_list(&list),
            [Hint::Direct(TcpHint::new("192.0.2.2", 35153)), Hint::Relay(RelayHint::tcp(relay))]
        );
    }

    #[test]
    fn what_is_not_understood_is_skipped() {
        let list = json!([
            null, 7, "direct-tcp-v1", [], {}, {"type": 3}, {"type": "quic-v1", "hostname": "a", "port": 1},
            {"type": "direct-tcp-v1", "hostname": "a"},
            {"type": "direct-tcp-v1", "hostname": "a", "port": "1"},
            {"type": "direct-tcp-v1", "hostname": "a", "port": 0},
            {"type": "direct-tcp-v1", "hostname": "a", "port": 65536},
            {"type": "direct-tcp-v1", "hostname": "a", "port": -1},
            {"type": "direct-tcp-v1", "hostname": "", "port": 1},
            {"type": "direct-tcp-v1", "hostname": "a b", "port": 1},
            {"type": "direct-tcp-v1", "hostname": "a\u{1b}[2J", "port": 1},
            {"type": "direct-tcp-v1", "hostname": "a".repeat(256), "port": 1},
            {"type": "relay-v1"}, {"type": "relay-v1", "hints": []},
            {"type": "relay-v1", "hints": [{"type": "websocket-v1", "url": "http://a"}]},
            {"type": "direct-tcp-v1", "hostname": "good", "port": 1, "priority": "high"},
        ]);
        assert_eq!(Hint::parse_list(&list), [Hint::Direct(TcpHint::new("good", 1))]);
        assert_eq!(Hint::parse_list(&json!({"no": "list"})), []);
    }

    #[test]
    fn a_peer_chooses_scheme_host_and_port_of_a_relay_and_nothing_else_of_the_request() {
        let parsed = |url: &str| {
            let relay =
                json!({"type": "relay-v1", "hints": [{"type": "websocket-v1", "url": url}]});
            match Hint::parse_list(&json!([relay])).pop()? {
                Hint::Relay(relay) => {
                    relay.addresses.into_iter().find_map(|address| match address {
                        RelayAddress::WebSocket { url, .. } => Some(url),
                        RelayAddress::Tcp(_) => None,
                    })
                }
                Hint::Direct(_) | Hint::Tor(_) => None,
            }
        };
        for (url, taken) in [
            ("ws://relay.example:4002/admin/x?now=1", "ws://relay.example:4002/"),
            ("wss://relay.example", "wss://relay.example/"),
            ("ws://relay.example?now=1", "ws://relay.example/"),
            ("ws://relay.example#x", "ws://relay.example/"),
            ("ws://[2001:db8::1]:4002/x", "ws://[2001:db8::1]:4002/"),
            ("ws://[2001:db8::1]", "ws://[2001:db8::1]/"),
        ] {
            assert_eq!(parsed(url).as_deref(), Some(taken), "{url}");
        }
        for url in [
            "http://a",
            "ws://",
            "ws:///x",
            "ws://:1/",
            "ws://user@a/",
            "ws://u:p@a/",
            "ws://a:b@c",
            "ws://a:0/",
            "ws://a:65536/",
            "ws://a:+1/",
            "ws://[::1/",
            "ws://[::1]x/",
            "ws://[a]/",
            "ws://a b/",
            "ws://a\\b/",
            "ws://a%2fb/",
            "WS://a/",
            "ws://\u{e9}/",
        ] {
            assert_eq!(parsed(url), None, "{url}");
        }
    }

    #[test]
    fn the_number_of_hints_is_bounded() {
        let hint = json!({"type": "direct-tcp-v1", "hostname": "a", "port": 1});
        let many: Value = std::iter::repeat_n(hint, 1000).collect();
        assert_eq!(Hint::parse_list(&many).len(), MAX_HINTS);
        let relay = json!([{"type": "relay-v1", "hints": many}]);
        assert!(matches!(
            Hint::parse_list(&relay).as_slice(),
            [Hint::Relay(relay)] if relay.addresses.len() == MAX_RELAY_ADDRESSES
        ));
    }

    #[test]
    fn unknown_abilities_are_skipped() {
        let list = json!([{"type": "noise-crypto-v1"}, {"type": "relay-v1"}, 3]);
        assert_eq!(Ability::parse_list(&list), [Ability::Relay]);
        let ours = [Ability::DirectTcp, Ability::Relay];
        assert_eq!(
            Ability::encode_list(&ours),
            json!([{"type": "direct-tcp-v1"}, {"type": "relay-v1"}])
        );
    }

    #[test]
    fn an_ipv6_endpoint_prints_in_brackets() {
        assert_eq!(Endpoint::new("::1", 9).to_string(), "[::1]:9");
        assert_eq!(Endpoint::new("example.com", 9).to_string(), "example.com:9");
    }
}
