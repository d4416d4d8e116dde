//! TLS for connections to PostgreSQL, with the system's trusted certificates or those of a file.
//!
//! The driver takes care of everything but the encrypted stream. The crates that connect it with rustls bring a parser for
//! certificates, which they need only to bind the password to the connection ("channel binding"). That
//! protects from servers with a forged certificate, and here, unlike in libpq's `require`, each certificate is checked.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{self, ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The certificates that the server's certificate is checked with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Roots {
    /// Those that the system trusts.
    System,
    /// Those in this file, in PEM.
    File(PathBuf),
}

/// Starts TLS on connections.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Loads the certificates. Without `roots`, no server is trusted.
    ///
    /// # Errors
    /// The file that cannot be used, and the reason.
    pub(super) fn new(roots: Option<&Roots>) -> Result<Self, String> {
        let roots = match roots {
            None => RootCertStore::empty(),
            Some(Roots::System) => system_roots()?,
            Some(Roots::File(path)) => read_roots(path)
                .map_err(|error| format!("cannot use sslrootcert {}: {error}", path.display()))?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder =
            builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this system has no trusted certificates: name a file with sslrootcert".into());
    }
    Ok(roots)
}

fn read_roots(path: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    if roots.is_empty() {
        return Err(io::Error::other("it contains no certificate"));
    }
    Ok(roots)
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = TlsLink;
    type TlsConnect = Handshake;
    type Error = io::Error;

    /// Called for unencrypted connections, too, perhaps without a host.
    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        Ok(Handshake { connector: self.0.clone(), host: host.into() })
    }
}

/// A handshake that has not begun.
pub(super) struct Handshake {
    connector: TlsConnector,
    /// The name that the certificate must contain.
    host: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = TlsLink;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TlsLink>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            Ok(TlsLink(self.connector.connect(name, socket).await?))
        })
    }
}

/// An encrypted connection to PostgreSQL.
pub(crate) struct TlsLink(TlsStream<Socket>);

impl tls::TlsStream for TlsLink {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for TlsLink {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsLink {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
