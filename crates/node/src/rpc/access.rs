//! Decides which requests are admitted. Above all, it rejects requests of web pages in a browser on this
//! computer.
//!
//! Any web page can send requests to this computer. If it uses a host name that resolves to this computer
//! (DNS rebinding), it can read the responses as well. So the `Host` of a request must be an IP address,
//! `localhost` or a configured name, and the `Origin` of a request from a page must be configured.

use std::fmt;
use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::{StatusCode, Uri};
use sha2::{Digest, Sha256};
use wormhole_kit::Secret;

/// Rules for admitting requests over HTTP and WebSocket. By default, requests to an IP address or `localhost`,
/// and none from web pages.
///
/// ```
/// use wormhole_node::rpc::{AccessRules, RpcServerSettings};
///
/// let mut settings = RpcServerSettings::default();
/// settings.access = AccessRules::default()
///     .with_host("node.example.org")
///     .with_origin("https://app.example.org")
///     .with_token("a long secret");
/// assert!(!format!("{settings:?}").contains("secret"));
/// ```
#[derive(Clone, Default)]
pub struct AccessRules {
    hosts: Vec<String>,
    origins: Vec<String>,
    token: Option<Secret<32>>,
}

impl AccessRules {
    /// Admits requests to this host name, too.
    #[must_use]
    pub fn with_host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_ascii_lowercase());
        self
    }

    /// Admits web pages of this origin, such as `https://example.org`. `*` admits every page.
    #[must_use]
    pub fn with_origin(mut self, origin: &str) -> Self {
        self.origins.push(origin.to_ascii_lowercase());
        self
    }

    /// Admits only requests with this token (`Authorization: Bearer`). Spaces at its end are ignored, because
    /// HTTP removes them.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(digest(token.trim_end().as_bytes()));
        self
    }

    /// Checks a request. Returns the origin of the page that sent it, if a page did.
    pub(super) fn check(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        preflight: bool,
    ) -> Result<PageOrigin, AccessDenied> {
        let host = only(headers, HOST)?.ok_or(AccessDenied::NoHost)?;
        let authority = uri.authority().map(|authority| authority.as_str());
        let named = [host.to_str().ok(), authority.or(Some("localhost"))];
        if !named.into_iter().all(|name| name.is_some_and(|name| self.is_allowed_host(name))) {
            return Err(AccessDenied::Host);
        }
        let page = match only(headers, ORIGIN)? {
            None => None,
            Some(origin) => {
                let text = origin.to_str().map_err(|_| AccessDenied::Origin)?.to_ascii_lowercase();
                let listed = |known: &String| known == "*" || *known == text;
                if !self.origins.iter().any(listed) {
                    return Err(AccessDenied::Origin);
                }
                Some(origin.clone())
            }
        };
        // Browsers send no token in a preflight request.
        if !preflight && !self.has_valid_token(only(headers, AUTHORIZATION)?) {
            return Err(AccessDenied::Token);
        }
        Ok(PageOrigin(page))
    }

    fn is_allowed_host(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        address.unwrap_or(&name).parse::<IpAddr>().is_ok()
            || name == "localhost"
            || self.hosts.contains(&name)
    }

    fn has_valid_token(&self, header: Option<&HeaderValue>) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = header.and_then(|header| header.as_bytes().split_at_checked(BEARER.len()));
        // Compares digests, in constant time.
        shown.is_some_and(|(scheme, shown)| {
            scheme.eq_ignore_ascii_case(BEARER) && digest(shown) == *token
        })
    }
}

/// Does not print the token.
impl fmt::Debug for AccessRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hosts, origins, token } = self;
        let token = token.is_some();
        f.debug_struct("AccessRules")
            .field("hosts", hosts)
            .field("origins", origins)
            .field("token", &token)
            .finish()
    }
}

/// The origin of the page that sent a request, if a page did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PageOrigin(pub(super) Option<HeaderValue>);

/// Why a request is not admitted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum AccessDenied {
    /// Its host name is not configured.
    #[error("invalid host specified\n")]
    Host,
    /// The request has no `Host`.
    #[error("the header Host is missing\n")]
    NoHost,
    /// The origin of the page that sent it is not allowed.
    #[error("origin not allowed\n")]
    Origin,
    /// A header occurs twice. A proxy in front of us may have checked the other one.
    #[error("the header {0} occurs more than once\n")]
    Repeated(HeaderName),
    /// It shows no token, or a wrong one.
    #[error("missing or wrong token\n")]
    Token,
}

impl AccessDenied {
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::NoHost | Self::Repeated(_) => StatusCode::BAD_REQUEST,
            Self::Host | Self::Origin => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }
}

/// The value of a header that must not occur twice.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, AccessDenied> {
    let mut values = headers.get_all(&name).into_iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(AccessDenied::Repeated(name));
    }
    Ok(value)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

fn digest(token: &[u8]) -> Secret<32> {
    Secret::new(Sha256::digest(token).into())
}

const BEARER: &[u8] = b"bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = HeaderMap::new();
        pairs.iter().map(pair).for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    fn verdict(
        access: &AccessRules,
        pairs: &[(&'static str, &'static str)],
    ) -> Result<PageOrigin, AccessDenied> {
        access.check(&Uri::from_static("/"), &headers(pairs), false)
    }

    #[test]
    fn this_machine_is_called_by_address_or_localhost_only() {
        let access = AccessRules::default();
        for host in ["127.0.0.1:8545", "localhost", "LOCALHOST:8545", "[::1]:8545", "192.0.2.1"] {
            assert_eq!(verdict(&access, &[("host", host)]), Ok(PageOrigin(None)), "{host}");
        }
        for host in ["evil.example", "evil.example:8545", "localhost.evil.example", "", ":8545"] {
            assert_eq!(verdict(&access, &[("host", host)]), Err(AccessDenied::Host), "{host}");
        }
        assert_eq!(verdict(&access, &[]), Err(AccessDenied::NoHost));
        let access = access.with_host("Node.example");
        assert_eq!(verdict(&access, &[("host", "node.example:1")]), Ok(PageOrigin(None)));
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        let access = AccessRules::default().with_origin("https://a.example").with_token("hush");
        let once = [
            ("host", "localhost"),
            ("origin", "https://a.example"),
            ("authorization", "Bearer hush"),
        ];
        assert!(verdict(&access, &once).is_ok());
        for (name, value) in once {
            for other in ["evil.example", value] {
                let twice = [once.as_slice(), &[(name, other)]].concat();
                let refusal = AccessDenied::Repeated(HeaderName::from_static(name));
                assert_eq!(verdict(&access, &twice), Err(refusal), "{name}: {other}");
            }
        }
        let whole = Uri::from_static("http://evil.example/");
        assert_eq!(access.check(&whole, &headers(&once), false), Err(AccessDenied::Host));
    }

    #[test]
    fn a_web_page_is_admitted_only_if_its_origin_is_configured() {
        let asked = [("host", "localhost"), ("origin", "https://a.example")];
        assert_eq!(verdict(&AccessRules::default(), &asked), Err(AccessDenied::Origin));
        let null = [("host", "localhost"), ("origin", "null")];
        let access = AccessRules::default().with_origin("https://a.example");
        assert_eq!(verdict(&access, &null), Err(AccessDenied::Origin));
        assert!(verdict(&access, &asked).unwrap().0.is_some());
        assert!(verdict(&AccessRules::default().with_origin("*"), &null).is_ok());
    }

    #[test]
    fn a_token_must_be_shown_as_it_is() {
        let access = AccessRules::default().with_token("hush ");
        let shown = |value| [("host", "localhost"), ("authorization", value)];
        assert!(verdict(&access, &shown("Bearer hush")).is_ok());
        for wrong in ["Bearer hush2", "Bearer hus", "Bearer ", "hush", "Basic hush", ""] {
            assert_eq!(verdict(&access, &shown(wrong)), Err(AccessDenied::Token), "{wrong}");
        }
        assert_eq!(verdict(&access, &[("host", "localhost")]), Err(AccessDenied::Token));
        let preflight = headers(&[("host", "localhost")]);
        assert!(access.check(&Uri::from_static("/"), &preflight, true).is_ok());
        assert!(!format!("{access:?}").contains("hush"));
    }
}
