//! TLS connections to servers, with the system's trusted certificates.
//!
//! The certificates are loaded on first use: most programs never need them, and loading takes
//! milliseconds.

use std::io;
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore, crypto::ring};

use super::LinkFailure;

/// Why a TLS connection could not be established.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The certificate has expired or is not yet valid, or the clock of this computer is wrong.
    #[error("the server's certificate has expired, or the clock here is wrong")]
    Expired,
    /// The handshake ended early: there is no common version or cipher, or a program is defective.
    #[error("the TLS handshake was interrupted")]
    Handshake,
    /// The system has no trusted certificates.
    #[error("this system has no trusted certificates")]
    NoRoots,
    /// The server does not use TLS.
    #[error("the server does not use TLS here: use ws://")]
    NotTls,
    /// The certificate is not signed by a trusted authority.
    #[error("the server's certificate is not trusted")]
    Untrusted,
    /// The certificate is for a different name.
    #[error("the server's certificate is for another name")]
    WrongName,
}

/// Starts TLS on a stream and checks that the other end is `host`.
pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    host: &str,
    stream: S,
) -> Result<TlsStream<S>, LinkFailure> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| LinkFailure::NameNotFound(host.to_owned()))?;
    let connector = TlsConnector::from(Arc::clone(config()?));
    connector.connect(name, stream).await.map_err(|error| failure(&error))
}

fn config() -> Result<&'static Arc<ClientConfig>, LinkFailure> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, TlsFailure>> = OnceLock::new();
    CONFIG.get_or_init(load).as_ref().map_err(|failure| LinkFailure::Tls(*failure))
}

fn load() -> Result<Arc<ClientConfig>, TlsFailure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TlsFailure::NoRoots);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|_| TlsFailure::Handshake)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Finds the TLS error inside an I/O error.
fn failure(error: &io::Error) -> LinkFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(inner) = inner else { return error.kind().into() };
    if matches!(inner, Error::InvalidMessage(_)) {
        return LinkFailure::Tls(TlsFailure::NotTls);
    }
    let Error::InvalidCertificate(certificate) = inner else {
        return LinkFailure::Tls(TlsFailure::Handshake);
    };
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext,
    };
    let name = matches!(certificate, NotValidForName | NotValidForNameContext { .. });
    let over = matches!(certificate, Expired | ExpiredContext { .. });
    let early = matches!(certificate, NotValidYet | NotValidYetContext { .. });
    LinkFailure::Tls(match (name, over || early) {
        (true, _) => TlsFailure::WrongName,
        (false, true) => TlsFailure::Expired,
        (false, false) => TlsFailure::Untrusted,
    })
}
