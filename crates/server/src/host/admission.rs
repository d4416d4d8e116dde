//! Decides which connections a service serves, and under which client address each of them is counted.
//!
//! Without a proxy the client address is known when the connection is accepted, and limits apply from the first byte.
//! Behind a proxy it is known only after the head of the request; until then one limit applies to all such
//! connections together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::Request;
use crate::limits::{Limits, Pass};

/// Which header of a proxy tells the client's address.
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
}

/// A connection that is not served yet.
#[derive(Debug)]
pub(crate) enum Candidate {
    /// Counted under the address of the connection.
    Admitted(Pass),
    /// To be counted when its request is known, or to be told that there is no room.
    Pending {
        #[expect(dead_code, reason = "one of the pending connections until it is dropped")]
        permit: OwnedSemaphorePermit,
    },
}

impl Admission {
    pub(crate) fn new(limits: Arc<Limits>, proxy: ProxyHeader) -> Self {
        Self { limits, proxy, pending: Arc::new(Semaphore::new(MAX_PENDING)) }
    }

    /// Accepts a connection from this address; `None` if it is to be closed without an answer.
    pub(crate) fn accept(&self, peer: SocketAddr, now: Instant) -> Option<Candidate> {
        if self.proxy == ProxyHeader::Off
            && let Some(pass) = self.limits.admit(peer.ip(), now)
        {
            return Some(Candidate::Admitted(pass));
        }
        let permit = Arc::clone(&self.pending).try_acquire_owned().ok()?;
        Some(Candidate::Pending { permit })
    }

    /// Admits a connection whose request is known, if there is room.
    pub(crate) fn admit(
        &self,
        candidate: Candidate,
        client: SocketAddr,
        now: Instant,
    ) -> Option<Pass> {
        match candidate {
            Candidate::Admitted(pass) => Some(pass),
            Candidate::Pending { .. } if self.proxy == ProxyHeader::Off => None,
            Candidate::Pending { .. } => self.limits.admit_forwarded(client.ip(), now),
        }
    }

    /// The client address: what the trusted header says, or else the address of the `peer`.
    pub(crate) fn client_address(&self, request: &Request, peer: SocketAddr) -> SocketAddr {
        let forwarded = match self.proxy {
            ProxyHeader::Off => None,
            ProxyHeader::XForwardedFor => request.forwarded_for,
            ProxyHeader::XRealIp => request.real_ip,
        };
        forwarded.unwrap_or(peer)
    }
}

/// Connections that may be in their handshake before their client address is known.
const MAX_PENDING: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Allowance;

    fn admission(proxy: ProxyHeader) -> Admission {
        let allowance = Allowance { links: 1, ..Allowance::default() };
        Admission::new(Arc::new(Limits::new(allowance, 0, false, Instant::now())), proxy)
    }

    fn link(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 7)
    }

    #[test]
    fn without_a_proxy_a_link_is_counted_before_it_has_said_anything() {
        let (admission, now) = (admission(ProxyHeader::Off), Instant::now());
        let first = admission.accept(link("192.0.2.1"), now);
        assert!(matches!(first, Some(Candidate::Admitted(_))));
        let second = admission.accept(link("192.0.2.1"), now).unwrap();
        assert!(admission.admit(second, link("192.0.2.1"), now).is_none());
        drop(first);
        assert!(matches!(admission.accept(link("192.0.2.1"), now), Some(Candidate::Admitted(_))));
    }

    #[test]
    fn links_whose_address_is_not_known_yet_are_limited_together() {
        let (admission, now) = (admission(ProxyHeader::XRealIp), Instant::now());
        let mut waiting: Vec<Candidate> =
            (0..MAX_PENDING).map(|_| admission.accept(link("127.0.0.1"), now).unwrap()).collect();
        assert!(admission.accept(link("127.0.0.1"), now).is_none());
        let candidate = waiting.pop().unwrap();
        assert!(admission.admit(candidate, link("192.0.2.1"), now).is_some());
        assert!(admission.accept(link("127.0.0.1"), now).is_some());
    }

    #[test]
    fn behind_a_proxy_nobody_is_exempt_as_loopback() {
        let (admission, now) = (admission(ProxyHeader::XForwardedFor), Instant::now());
        let admit = || {
            let candidate = admission.accept(link("127.0.0.1"), now).unwrap();
            admission.admit(candidate, link("127.0.0.1"), now)
        };
        let _first = admit().unwrap();
        assert!(admit().is_none());
    }

    #[test]
    fn only_the_trusted_header_is_believed() {
        let request = Request {
            forwarded_for: Some(link("192.0.2.1")),
            real_ip: Some(link("192.0.2.2")),
            ..Request::default()
        };
        let cases = [
            (ProxyHeader::Off, "127.0.0.1"),
            (ProxyHeader::XForwardedFor, "192.0.2.1"),
            (ProxyHeader::XRealIp, "192.0.2.2"),
        ];
        for (proxy, expected) in cases {
            let admission = admission(proxy);
            assert_eq!(admission.client_address(&request, link("127.0.0.1")), link(expected));
            let silent = Request::default();
            assert_eq!(admission.client_address(&silent, link("127.0.0.1")), link("127.0.0.1"));
        }
    }
}
