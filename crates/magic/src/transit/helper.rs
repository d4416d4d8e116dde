//! The option `--transit-helper`: a relay as `tcp:HOST:PORT[:priority=NUMBER]`.
//!
//! Hints between peers are in [`super::hint`]. The errors are those of the Python client, because scripts may
//! search for them.

use std::net::Ipv6Addr;
use std::str::FromStr;

use super::hint::{Endpoint, Priority, TcpHint};

/// Why a value of `--transit-helper` is invalid.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HelperError {
    /// The host is missing or invalid.
    #[error("invalid host in TCP hint '{0}'")]
    InvalidHost(String),
    /// The text in brackets is not an IPv6 address.
    #[error("invalid IPv6 address in TCP hint '{0}'")]
    InvalidIpv6(String),
    /// There is no port.
    #[error("unparseable TCP hint (need more colons) '{0}'")]
    NeedMoreColons(String),
    /// The priority is not a number.
    #[error("non-float priority= in TCP hint '{0}'")]
    NonFloatPriority(String),
    /// The port is not a number from 1 to 65535.
    #[error("non-numeric port in TCP hint '{0}'")]
    NonNumericPort(String),
    /// Only `tcp` is known.
    #[error("unknown hint type '{kind}' in '{hint}'")]
    UnknownType {
        /// The text before the first colon.
        kind: String,
        /// The whole value.
        hint: String,
    },
    /// There is no `type:` at the start.
    #[error("'{0}' is not a relay address")]
    Unparseable(String),
}

/// Parses `tcp:HOST:PORT[:priority=NUMBER]`; an IPv6 address must be in brackets.
///
/// Unknown parts after the port are ignored, as Python does.
impl FromStr for TcpHint {
    type Err = HelperError;

    fn from_str(text: &str) -> Result<Self, HelperError> {
        let whole = || text.to_owned();
        let (kind, value) =
            text.split_once(':').ok_or_else(|| HelperError::Unparseable(whole()))?;
        if kind.is_empty() || !kind.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(HelperError::Unparseable(whole()));
        }
        if kind != "tcp" {
            return Err(HelperError::UnknownType { kind: kind.to_owned(), hint: whole() });
        }
        let (host, rest) = split_host(text, value)?;
        let mut parts = rest.split(':');
        let port = parts.next().and_then(parse_port);
        let port = port.ok_or_else(|| HelperError::NonNumericPort(whole()))?;
        let mut priority = Priority::default();
        for number in parts.filter_map(|part| part.strip_prefix("priority=")) {
            let number = number.parse().ok().filter(|number: &f64| number.is_finite());
            priority = Priority::new(number.ok_or_else(|| HelperError::NonFloatPriority(whole()))?);
        }
        Ok(Self { endpoint: Endpoint::new(host, port), priority })
    }
}

/// Splits `HOST:REST` or `[IPV6]:REST`.
fn split_host<'a>(text: &str, value: &'a str) -> Result<(&'a str, &'a str), HelperError> {
    if let Some((host, rest)) = value.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        let valid = host.parse::<Ipv6Addr>().is_ok();
        return if valid { Ok((host, rest)) } else { Err(HelperError::InvalidIpv6(text.into())) };
    }
    let parts = value.split_once(':').ok_or_else(|| HelperError::NeedMoreColons(text.into()))?;
    let plausible = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    if parts.0.is_empty() || !parts.0.chars().all(plausible) {
        return Err(HelperError::InvalidHost(text.into()));
    }
    Ok(parts)
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(host: &str, port: u16, priority: f64) -> Result<TcpHint, HelperError> {
        Ok(TcpHint { endpoint: Endpoint::new(host, port), priority: Priority::new(priority) })
    }

    #[test]
    fn hosts_ports_and_priorities_are_read() {
        assert_eq!("tcp:host.example:123".parse(), hint("host.example", 123, 0.0));
        assert_eq!("tcp:192.0.2.1:123:priority=2.6".parse(), hint("192.0.2.1", 123, 2.6));
        assert_eq!("tcp:[2001:db8::1]:9:priority=-1".parse(), hint("2001:db8::1", 9, -1.0));
        assert_eq!("tcp:host:123:unknown=stuff".parse(), hint("host", 123, 0.0));
    }

    #[test]
    fn each_mistake_is_named_as_python_names_it() {
        let said = |text: &str| text.parse::<TcpHint>().expect_err(text).to_string();
        assert_eq!(said("bad"), "'bad' is not a relay address");
        assert_eq!(said(":host:1"), "':host:1' is not a relay address");
        assert_eq!(said("udp:host:1"), "unknown hint type 'udp' in 'udp:host:1'");
        assert_eq!(said("tcp:host"), "unparseable TCP hint (need more colons) 'tcp:host'");
        assert_eq!(said("tcp:host:port"), "non-numeric port in TCP hint 'tcp:host:port'");
        assert_eq!(said("tcp:host:+1"), "non-numeric port in TCP hint 'tcp:host:+1'");
        assert_eq!(said("tcp:host:65536"), "non-numeric port in TCP hint 'tcp:host:65536'");
        assert_eq!(
            said("tcp:host:1:priority=bad"),
            "non-float priority= in TCP hint 'tcp:host:1:priority=bad'"
        );
        assert_eq!(said("tcp:[g::1]:1"), "invalid IPv6 address in TCP hint 'tcp:[g::1]:1'");
        assert_eq!(said("tcp::1"), "invalid host in TCP hint 'tcp::1'");
    }
}
