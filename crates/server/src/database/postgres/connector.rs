//! Connects to PostgreSQL, with or without TLS, for the store and for notifications.
//!
//! With TLS, the certificate of the server is always checked, and its name, too. So all modes of `sslmode` that
//! encrypt mean what `verify-full` means in libpq.

use std::fmt;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Error, Socket};

use super::tls::{Roots, Tls, TlsLink};
use super::url;

/// Everything that is needed to connect.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    tls: Tls,
}

/// A connection, which must be polled while its [`Client`] is used.
pub(crate) type Driver = tokio_postgres::Connection<Socket, TlsLink>;

/// Why no host could be used.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The last host has not answered in time.
    Silent,
    /// The last host refused, or could not be reached.
    Failed(Error),
}

impl Connector {
    /// Loads the certificates. Without `roots`, connections are not encrypted.
    ///
    /// # Errors
    /// The file that cannot be used, and the reason.
    pub(super) fn new(mut config: Config, roots: Option<&Roots>) -> Result<Self, String> {
        let mode = if roots.is_some() { SslMode::Require } else { SslMode::Disable };
        config.ssl_mode(mode);
        Ok(Self { config, tls: Tls::new(roots)? })
    }

    /// Connects to the first host that answers in time and accepts writes.
    pub(crate) async fn connect(&self) -> Result<(Client, Driver), ConnectError> {
        let mut problem = ConnectError::Silent;
        for host in url::each_host(&self.config) {
            match timeout(CONNECT, host.connect(self.tls.clone())).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => problem = ConnectError::Failed(error),
                Err(_) => problem = ConnectError::Silent,
            }
        }
        Err(problem)
    }

    /// The database as it may be shown in logs and errors.
    pub(super) fn describe(&self) -> String {
        let host = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        let hosts: Vec<String> = self.config.get_hosts().iter().map(host).collect();
        let database = self.config.get_dbname().unwrap_or_default();
        format!("'{database}' of PostgreSQL at {}", hosts.join(", "))
    }
}

/// Without the password.
impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.describe())
    }
}

/// How long an attempt to connect to one host may take.
const CONNECT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use wormhole_testbed::{Durability, Postgres, installed_or_skip};

    use super::super::session::NoStatements;
    use super::super::url::DatabaseUrl;

    type Connection = super::super::connection::Connection<NoStatements>;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/net/tls");

    /// The address of a database at this host, with these parameters.
    fn at(postgres: &Postgres, host: &str, parameters: &str) -> DatabaseUrl {
        let url = postgres.url("postgres").replace("127.0.0.1", host);
        DatabaseUrl::from(format!("{url}?{parameters}"))
    }

    /// The reason why a connection is not possible.
    fn refusal(url: &DatabaseUrl) -> String {
        Connection::open(url).unwrap_err().to_string()
    }

    #[test]
    fn an_encrypted_connection_needs_a_trusted_certificate_with_the_right_name() {
        let started = Postgres::start(Durability::Process, None);
        let Some(mut postgres) = installed_or_skip(started) else { return };
        let trusting = format!("sslrootcert={FOLDER}/test-certificate.pem");
        let require = format!("sslmode=require&{trusting}");
        let reason = refusal(&at(&postgres, "localhost", &require));
        assert!(reason.ends_with("server does not support TLS"), "{reason}");

        postgres.use_tls(
            include_str!("../../net/tls/test-certificate.pem"),
            include_str!("../../net/tls/test-key.pem"),
        );
        for mode in ["require", "verify-ca", "verify-full"] {
            let trusted = at(&postgres, "localhost", &format!("{trusting}&sslmode={mode}"));
            let mut connection = Connection::open(&trusted).unwrap();
            let is_encrypted = connection.run(async |session| {
                let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
                Ok(session.client.query_one(sql, &[]).await?.try_get::<_, bool>(0)?)
            });
            assert!(is_encrypted.unwrap());

            let reason =
                refusal(&at(&postgres, "127.0.0.1", &format!("{trusting}&sslmode={mode}")));
            assert!(reason.contains("certificate not valid for name"), "{mode}: {reason}");
            let reason = refusal(&at(&postgres, "localhost", &format!("sslmode={mode}")));
            assert!(reason.contains("invalid peer certificate"), "{mode}: {reason}");
        }
        let reason = refusal(&at(&postgres, "localhost", "sslmode=disable"));
        assert!(reason.contains("no encryption"), "{reason}");
    }

    #[test]
    fn an_unusable_file_with_certificates_is_named() {
        for (file, reason) in
            [("nothing.pem", "No such file"), ("test-key.pem", "contains no certificate")]
        {
            let url = format!(
                "postgresql://u@localhost/d?sslmode=verify-full&sslrootcert={FOLDER}/{file}"
            );
            let error = DatabaseUrl::from(url).connector().unwrap_err();
            assert!(error.contains(file) && error.contains(reason), "{error}");
        }
    }
}
