//! TLS with certificate files that can be reloaded without closing connections.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use std::{fmt, io};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Stream;
use crate::ServerError;
use crate::config::Common;

/// The current certificate, shared by all listeners.
#[derive(Clone)]
pub(crate) struct Tls {
    files: Arc<Files>,
    acceptor: Arc<RwLock<TlsAcceptor>>,
}

/// The certificate files.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Loads the certificate, if one is configured.
    pub(crate) fn from_settings(common: &Common) -> Result<Option<Self>, ServerError> {
        let (Some(certificate), Some(key)) = (&common.tls_certificate, &common.tls_key) else {
            return Ok(None);
        };
        let files = Files { certificate: certificate.clone(), key: key.clone() };
        let acceptor = Arc::new(RwLock::new(files.load()?));
        Ok(Some(Self { files: Arc::new(files), acceptor }))
    }

    /// Reloads the files, for new connections.
    pub(crate) fn reload(&self) -> Result<(), ServerError> {
        let acceptor = self.files.load()?;
        *self.acceptor.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    /// Performs the handshake.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        let acceptor = self.acceptor.read().unwrap_or_else(PoisonError::into_inner).clone();
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

impl Files {
    fn load(&self) -> Result<TlsAcceptor, ServerError> {
        let about = |key: &str, path: &PathBuf, reason: String| {
            // The certificate reader wraps errors of the system in one of its own.
            let reason = reason.trim_start_matches("I/O error: ");
            ServerError::Tls(format!("{key} {}: {reason}", path.display()))
        };
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| about("tls-certificate", &self.certificate, error.to_string()))?;
        if chain.is_empty() {
            return Err(about(
                "tls-certificate",
                &self.certificate,
                "contains no certificate".into(),
            ));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| about("tls-key", &self.key, error.to_string()))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| about("tls-certificate", &self.certificate, error.to_string()))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Time limit for the TLS handshake: ten round trips of a bad connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A certificate and connections for tests with TLS.
#[cfg(test)]
pub(crate) mod testing {
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    fn files() -> Files {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/net/tls"));
        Files { certificate: folder.join("test-certificate.pem"), key: folder.join("test-key.pem") }
    }

    /// The certificate of a server with the name `localhost`.
    pub(crate) fn tls() -> Tls {
        let acceptor = Arc::new(RwLock::new(files().load().unwrap()));
        Tls { files: Arc::new(files()), acceptor }
    }

    /// Performs the handshake as a client that trusts the certificate.
    pub(crate) async fn connect(stream: TcpStream) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(files().certificate).unwrap();
        roots.add(certificate).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// A connection with small buffers: the system stores only little data for a client that does not read.
    pub(crate) async fn narrow(address: std::net::SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        #[cfg(target_os = "linux")]
        socket2::SockRef::from(&socket).set_tcp_mss(1000).unwrap();
        socket.connect(address).await.unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_unusable_file() {
        let folder = std::env::temp_dir().join(format!("wormhole-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        let files = Files { certificate: certificate.clone(), key };
        let problem = || files.load().map(|_| ()).unwrap_err().to_string();
        assert!(problem().contains("chain.pem"));
        std::fs::write(&certificate, "no certificate\n").unwrap();
        assert!(problem().ends_with("chain.pem: contains no certificate"));
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&certificate, pem).unwrap();
        assert!(problem().contains("key.pem"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
