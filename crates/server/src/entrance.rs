//! Who may speak TLS and HTTP with a service, and as which address it is counted.
//!
//! Without a proxy the address is known at once, and limits hold from the first byte. Behind one it
//! is known only after the request's head; until then there is a limit on all together.

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

/// Lets links in.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    limits: Arc<Limits>,
    proxy: ProxyHeader,
    undecided: Arc<Semaphore>,
}

/// A link on its way in.
#[derive(Debug)]
pub(crate) enum Visitor {
    /// Counted by the address of the link.
    Admitted(Pass),
    /// To be counted by its request's head, or to be told that there is no room.
    Undecided {
        #[expect(dead_code, reason = "a place among the undecided, free again once dropped")]
        place: OwnedSemaphorePermit,
    },
}

impl Entrance {
    pub(crate) fn new(limits: Arc<Limits>, proxy: ProxyHeader) -> Self {
        Self { limits, proxy, undecided: Arc::new(Semaphore::new(MAX_UNDECIDED)) }
    }

    /// Lets a link speak, unless it is to be dropped without a word.
    pub(crate) fn enter(&self, link: SocketAddr, now: Instant) -> Option<Visitor> {
        if self.proxy == ProxyHeader::Off
            && let Some(pass) = self.limits.admit(link.ip(), now)
        {
            return Some(Visitor::Admitted(pass));
        }
        let place = Arc::clone(&self.undecided).try_acquire_owned().ok()?;
        Some(Visitor::Undecided { place })
    }

    /// Admits a link whose request is known, if there is room.
    pub(crate) fn admit(&self, visitor: Visitor, client: SocketAddr, now: Instant) -> Option<Pass> {
        match visitor {
            Visitor::Admitted(pass) => Some(pass),
            Visitor::Undecided { .. } if self.proxy == ProxyHeader::Off => None,
            Visitor::Undecided { .. } => self.limits.admit_forwarded(client.ip(), now),
        }
    }

    /// Where the client is: what the trusted header says, or else where the `link` comes from.
    pub(crate) fn client(&self, request: &Request, link: SocketAddr) -> SocketAddr {
        let told = match self.proxy {
            ProxyHeader::Off => None,
            ProxyHeader::XForwardedFor => request.forwarded_for,
            ProxyHeader::XRealIp => request.real_ip,
        };
        told.unwrap_or(link)
    }
}

/// Links that may be in their handshake before it is known whose they are.
const MAX_UNDECIDED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Allowance;

    fn entrance(proxy: ProxyHeader) -> Entrance {
        let allowance = Allowance { links: 1, ..Allowance::default() };
        Entrance::new(Arc::new(Limits::new(allowance, 0, false, Instant::now())), proxy)
    }

    fn link(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 7)
    }

    #[test]
    fn without_a_proxy_a_link_is_counted_before_it_has_said_anything() {
        let (entrance, now) = (entrance(ProxyHeader::Off), Instant::now());
        let first = entrance.enter(link("192.0.2.1"), now);
        assert!(matches!(first, Some(Visitor::Admitted(_))));
        let second = entrance.enter(link("192.0.2.1"), now).unwrap();
        assert!(entrance.admit(second, link("192.0.2.1"), now).is_none());
        drop(first);
        assert!(matches!(entrance.enter(link("192.0.2.1"), now), Some(Visitor::Admitted(_))));
    }

    #[test]
    fn links_whose_address_is_not_known_yet_are_limited_together() {
        let (entrance, now) = (entrance(ProxyHeader::XRealIp), Instant::now());
        let mut waiting: Vec<Visitor> =
            (0..MAX_UNDECIDED).map(|_| entrance.enter(link("127.0.0.1"), now).unwrap()).collect();
        assert!(entrance.enter(link("127.0.0.1"), now).is_none());
        let visitor = waiting.pop().unwrap();
        assert!(entrance.admit(visitor, link("192.0.2.1"), now).is_some());
        assert!(entrance.enter(link("127.0.0.1"), now).is_some());
    }

    #[test]
    fn behind_a_proxy_nobody_is_exempt_as_loopback() {
        let (entrance, now) = (entrance(ProxyHeader::XForwardedFor), Instant::now());
        let enter = || {
            let visitor = entrance.enter(link("127.0.0.1"), now).unwrap();
            entrance.admit(visitor, link("127.0.0.1"), now)
        };
        let _first = enter().unwrap();
        assert!(enter().is_none());
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
            let entrance = entrance(proxy);
            assert_eq!(entrance.client(&request, link("127.0.0.1")), link(expected));
            let silent = Request::default();
            assert_eq!(entrance.client(&silent, link("127.0.0.1")), link("127.0.0.1"));
        }
    }
}
