//! Decides which connections a service accepts, and for which client address each of them is counted.
//!
//! Without a proxy, the client address is known when the connection is accepted, and the limits apply at once. Behind a
//! proxy, it is known only after the head of the request. Until then, one limit applies to all these connections
//! together.

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Instant;

use hyper::header::HeaderMap;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{Limits, LinkPermit};

/// The header in which a proxy reports the client's address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum ProxyHeader {
    /// There is no proxy.
    #[default]
    Off,
    /// The last address in `X-Forwarded-For`.
    XForwardedFor,
    /// `X-Real-IP`, and the port in `X-Real-Port`.
    #[value(name = "x-real-ip")]
    XRealIp,
}

/// Admits connections.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    limits: Arc<Limits>,
    proxy: ProxyHeader,
    pending: Arc<Semaphore>,
    refused: Counter,
    /// Ensures that the operator is warned only once about a proxy whose header is ignored.
    warned: Arc<Once>,
}

/// A connection whose request has not been received yet.
#[derive(Debug)]
pub(crate) enum Candidate {
    /// It is counted for the address of the connection.
    Admitted(LinkPermit),
    /// It is counted or refused once its request has been received: it comes from a proxy, or the limits of its address
    /// are exceeded.
    Pending(PendingSlot),
}

/// One of the connections that are not counted for any address. When you refuse it, keep this slot until the connection is
/// closed: otherwise, the number of refused connections would have no limit.
#[derive(Debug)]
pub(crate) struct PendingSlot {
    #[expect(dead_code, reason = "one of the pending connections until it is dropped")]
    permit: OwnedSemaphorePermit,
}

impl Admission {
    /// Creates an admission that counts refused connections in `refused`.
    pub(crate) fn new(limits: Arc<Limits>, proxy: ProxyHeader, refused: Counter) -> Self {
        let pending = Arc::new(Semaphore::new(MAX_PENDING));
        Self { limits, proxy, pending, refused, warned: Arc::new(Once::new()) }
    }

    /// Accepts a connection from this address; `None` if it should be closed without a response.
    pub(crate) fn accept(&self, peer: SocketAddr, now: Instant) -> Option<Candidate> {
        let candidate = self.candidate(peer, now);
        self.count(candidate)
    }

    fn candidate(&self, peer: SocketAddr, now: Instant) -> Option<Candidate> {
        if self.proxy == ProxyHeader::Off
            && let Some(permit) = self.limits.admit(peer.ip(), now)
        {
            return Some(Candidate::Admitted(permit));
        }
        let permit = Arc::clone(&self.pending).try_acquire_owned().ok()?;
        Some(Candidate::Pending(PendingSlot { permit }))
    }

    /// Admits a connection whose request has been received.
    ///
    /// # Errors
    /// The limits do not allow it. The connection must be closed after the response.
    pub(crate) fn admit(
        &self,
        candidate: Candidate,
        client: SocketAddr,
        now: Instant,
    ) -> Result<LinkPermit, PendingSlot> {
        match candidate {
            Candidate::Admitted(permit) => Ok(permit),
            Candidate::Pending(slot) if self.proxy == ProxyHeader::Off => {
                self.refused.inc();
                Err(slot)
            }
            Candidate::Pending(slot) => self.admit_another(client, now).ok_or(slot),
        }
    }

    /// Admits one more client of a proxy's connection, if the limits allow it. If not, the connection must be closed after
    /// the response.
    pub(crate) fn admit_another(&self, client: SocketAddr, now: Instant) -> Option<LinkPermit> {
        self.count(self.limits.admit_forwarded(client.ip(), now))
    }

    /// Counts a refused connection.
    fn count<T>(&self, admitted: Option<T>) -> Option<T> {
        if admitted.is_none() {
            self.refused.inc();
        }
        admitted
    }

    /// The client address: the one in the trusted header, or else the address of the `peer`.
    pub(crate) fn client_address(&self, headers: &HeaderMap, peer: SocketAddr) -> SocketAddr {
        if self.ignores_proxy(headers, peer) {
            self.warned.call_once(|| tracing::warn!("{IGNORED_PROXY}"));
        }
        self.proxy.address(headers).unwrap_or(peer)
    }

    /// Whether a trusted proxy reports that the client uses TLS.
    pub(crate) fn is_forwarded_https(&self, headers: &HeaderMap) -> bool {
        let scheme = last(headers, "x-forwarded-proto");
        self.proxy != ProxyHeader::Off && scheme.is_some_and(|it| it.eq_ignore_ascii_case("https"))
    }

    /// Whether a proxy on this machine reports client addresses, but its header is not configured.
    fn ignores_proxy(&self, headers: &HeaderMap, peer: SocketAddr) -> bool {
        self.proxy == ProxyHeader::Off
            && peer.ip().to_canonical().is_loopback()
            && ["x-forwarded-for", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
    }
}

impl ProxyHeader {
    /// The address in the header, if it is valid. If there are several, the last one is used: the nearest proxy has added
    /// it, and the client may have sent all others.
    pub(crate) fn address(self, headers: &HeaderMap) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::XForwardedFor => {
                parse_address(last(headers, "x-forwarded-for")?.rsplit(',').next()?)
            }
            Self::XRealIp => {
                let mut address = parse_address(last(headers, "x-real-ip")?)?;
                if let Some(port) = last(headers, "x-real-port").and_then(|port| port.parse().ok())
                {
                    address.set_port(port);
                }
                Some(address)
            }
        }
    }
}

/// The value of the last line of a header. `None` if it is not text.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get_all(name).into_iter().next_back()?;
    std::str::from_utf8(value.as_bytes()).ok().map(str::trim)
}

/// Parses an address as proxies write it: with or without brackets, with or without a port.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let without_port = || Some(SocketAddr::new(bare.parse().ok()?, 0));
    text.parse().ok().or_else(without_port)
}

const IGNORED_PROXY: &str = "a proxy on this machine sends the addresses of clients, but trust-proxy is off, so the limits per address \
    do not work for its clients: set trust-proxy to the header that the proxy sets";

/// Maximum number of connections whose client address is not known yet.
const MAX_PENDING: usize = 4096;

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::limits::Allowance;

    fn admission(proxy: ProxyHeader) -> Admission {
        let allowance = Allowance { links: 1, ..Allowance::default() };
        let limits = Arc::new(Limits::new(allowance, 0, false, Instant::now()));
        Admission::new(limits, proxy, Counter::default())
    }

    fn link(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 7)
    }

    #[test]
    fn without_a_proxy_a_link_is_counted_before_its_first_byte() {
        let (admission, now) = (admission(ProxyHeader::Off), Instant::now());
        let first = admission.accept(link("192.0.2.1"), now);
        assert!(matches!(first, Some(Candidate::Admitted(_))));
        let second = admission.accept(link("192.0.2.1"), now).unwrap();
        let slot = admission.admit(second, link("192.0.2.1"), now).unwrap_err();
        assert_eq!(admission.pending.available_permits(), MAX_PENDING - 1, "until it is closed");
        drop(slot);
        assert_eq!(admission.pending.available_permits(), MAX_PENDING);
        drop(first);
        assert!(matches!(admission.accept(link("192.0.2.1"), now), Some(Candidate::Admitted(_))));
    }

    #[test]
    fn links_with_unknown_client_address_have_a_common_limit() {
        let (admission, now) = (admission(ProxyHeader::XRealIp), Instant::now());
        let mut waiting: Vec<Candidate> =
            (0..MAX_PENDING).map(|_| admission.accept(link("127.0.0.1"), now).unwrap()).collect();
        assert!(admission.accept(link("127.0.0.1"), now).is_none());
        let candidate = waiting.pop().unwrap();
        assert!(admission.admit(candidate, link("192.0.2.1"), now).is_ok());
        assert!(admission.accept(link("127.0.0.1"), now).is_some());
    }

    #[test]
    fn behind_a_proxy_loopback_addresses_are_limited() {
        let (admission, now) = (admission(ProxyHeader::XForwardedFor), Instant::now());
        let admit = || {
            let candidate = admission.accept(link("127.0.0.1"), now).unwrap();
            admission.admit(candidate, link("127.0.0.1"), now)
        };
        let _first = admit().unwrap();
        assert!(admit().is_err());
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_the_trusted_header_is_used() {
        let both = headers(&[("x-forwarded-for", "192.0.2.1"), ("x-real-ip", "192.0.2.2")]);
        let cases = [
            (ProxyHeader::Off, "127.0.0.1:7"),
            (ProxyHeader::XForwardedFor, "192.0.2.1:0"),
            (ProxyHeader::XRealIp, "192.0.2.2:0"),
        ];
        for (proxy, expected) in cases {
            let (admission, peer) = (admission(proxy), link("127.0.0.1"));
            assert_eq!(admission.client_address(&both, peer), expected.parse().unwrap());
            assert_eq!(admission.client_address(&HeaderMap::new(), peer), peer);
        }
    }

    #[test]
    fn a_proxy_on_this_machine_without_trust_proxy_is_detected() {
        let (local, remote) = (link("127.0.0.1"), link("192.0.2.1"));
        let reported = headers(&[("x-real-ip", "192.0.2.2")]);
        let off = admission(ProxyHeader::Off);
        assert!(off.ignores_proxy(&reported, local));
        assert!(!off.ignores_proxy(&reported, remote), "any client can send this header");
        assert!(!off.ignores_proxy(&HeaderMap::new(), local));
        assert!(!admission(ProxyHeader::XRealIp).ignores_proxy(&reported, local));
    }

    #[test]
    fn the_address_that_the_nearest_proxy_has_added_is_used() {
        let name = "x-forwarded-for";
        let cases = [
            (vec![(name, "6.6.6.6, 192.0.2.1")], Some("192.0.2.1:0")),
            (vec![(name, "6.6.6.6"), (name, "192.0.2.1")], Some("192.0.2.1:0")),
            (vec![(name, "192.0.2.1:77")], Some("192.0.2.1:77")),
            (vec![(name, "2001:db8::1")], Some("[2001:db8::1]:0")),
            (vec![(name, "[2001:db8::1]")], Some("[2001:db8::1]:0")),
            (vec![(name, "[2001:db8::1]:77")], Some("[2001:db8::1]:77")),
            (vec![(name, "6.6.6.6, unknown")], None),
            (vec![(name, "6.6.6.6"), (name, "")], None),
            (vec![("x-real-ip", "6.6.6.6")], None),
        ];
        for (lines, expected) in cases {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(ProxyHeader::XForwardedFor.address(&headers(&lines)), expected, "{lines:?}");
        }
        let real = headers(&[("x-real-port", "7"), ("x-real-ip", "::1")]);
        assert_eq!(ProxyHeader::XRealIp.address(&real), "[::1]:7".parse().ok());
        let mut latin = headers(&[("x-real-ip", "6.6.6.6")]);
        latin.append("x-real-ip", HeaderValue::from_bytes(b"\xe9").unwrap());
        assert_eq!(ProxyHeader::XRealIp.address(&latin), None);
    }
}
