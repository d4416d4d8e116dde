//! The address of a PostgreSQL database. Its password is never shown.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// An address as it was configured, such as `postgresql://user:password@host/database`.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct DatabaseUrl(String);

/// The text is checked later, by [`DatabaseUrl::parse`]: an error of the command line would show it.
impl From<String> for DatabaseUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(hidden)")
    }
}

impl DatabaseUrl {
    /// How the driver connects.
    ///
    /// # Errors
    /// What is wrong with the address, without its text.
    pub(crate) fn parse(&self) -> Result<Config, &'static str> {
        if !self.0.starts_with("postgresql://") && !self.0.starts_with("postgres://") {
            return Err(
                "the address of a database must start with postgresql://; an SQLite file has no ://",
            );
        }
        // The driver knows fewer values than libpq, and would call the others malformed.
        if ["require", "verify-ca", "verify-full"].iter().any(|mode| self.has_ssl_mode(mode)) {
            return Err(NOT_ENCRYPTED);
        }
        // The driver's error may quote a part of the password.
        let mut config: Config = self.0.parse().map_err(|_| MALFORMED)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("the address names no host: write postgresql://user@host/database");
        }
        if config.get_user().is_none() || config.get_dbname().is_none() {
            return Err("the address must name a user and a database: \
                        write postgresql://user@host/database");
        }
        if config.get_ssl_mode() == SslMode::Require {
            return Err(NOT_ENCRYPTED);
        }
        config
            .ssl_mode(SslMode::Disable)
            .application_name("wormhole-server")
            .options(SESSION_OPTIONS)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(SILENCE);
        Ok(config)
    }

    fn has_ssl_mode(&self, mode: &str) -> bool {
        let parameters = self.0.rsplit_once('?').map_or("", |(_, parameters)| parameters);
        parameters.split('&').any(|parameter| parameter.strip_prefix("sslmode=") == Some(mode))
    }
}

/// One configuration for each host, so that a host that accepts connections but does not answer cannot use up the
/// time of the others.
pub(in crate::mailbox) fn each_host(config: &Config) -> Vec<Config> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let ports = config.get_ports();
    (0..hosts.len().max(addresses.len()))
        .map(|number| {
            let mut one = without_hosts(config);
            match hosts.get(number) {
                Some(Host::Tcp(name)) => one.host(name),
                Some(Host::Unix(path)) => one.host_path(path),
                None => &mut one,
            };
            if let Some(address) = addresses.get(number) {
                one.hostaddr(*address);
            }
            // One port is for all hosts.
            if let Some(port) = ports.get(number).or_else(|| ports.first()) {
                one.port(*port);
            }
            one
        })
        .collect()
}

fn without_hosts(config: &Config) -> Config {
    let mut one = Config::new();
    one.user(config.get_user().unwrap_or_default())
        .dbname(config.get_dbname().unwrap_or_default())
        .options(SESSION_OPTIONS)
        .application_name(config.get_application_name().unwrap_or_default())
        .ssl_mode(config.get_ssl_mode())
        .channel_binding(config.get_channel_binding())
        .target_session_attrs(config.get_target_session_attrs())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(SILENCE)
        .keepalives_idle(SILENCE);
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    one
}

/// The database as it may be shown in logs and errors.
pub(super) fn describe(config: &Config) -> String {
    let host = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    let hosts: Vec<String> = config.get_hosts().iter().map(host).collect();
    let database = config.get_dbname().unwrap_or_default();
    format!("'{database}' of PostgreSQL at {}", hosts.join(", "))
}

const NOT_ENCRYPTED: &str = "this sslmode is not possible: this server does not encrypt its connections to \
    PostgreSQL; use a private network or a tunnel";

const MALFORMED: &str = "the address is malformed: it looks like \
    postgresql://user:password@host:5432/database, with special characters of the password \
    written as %XX";

/// Every statement of ours finds its rows through an index, also before the tables were analyzed. A node that
/// hangs in a transaction must not block the others for long.
const SESSION_OPTIONS: &str = "-c statement_timeout=15s -c lock_timeout=15s \
    -c idle_in_transaction_session_timeout=5s -c default_transaction_isolation=read\\ committed \
    -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off";

/// How long one attempt to connect may take, for each host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Silence of the network after which a connection counts as lost.
const SILENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_work_is_refused_with_a_reason_that_hides_the_password() {
        for (url, reason) in [
            ("mysql://u:secret@h/d", "must start with postgresql://"),
            ("postgresql://u:secret@h/d?secret=1", "malformed"),
            ("postgresql://u:secret@h:secret/d", "malformed"),
            ("postgresql://u:secret@/d", "names no host"),
            ("postgresql://h", "a user and a database"),
            ("postgresql://u:secret@h/d?sslmode=require", "does not encrypt"),
            ("postgresql://u:secret@h/d?a=b&sslmode=verify-full", "does not encrypt"),
            ("postgresql://u:secret@h/d?sslmode=verify-ca", "does not encrypt"),
        ] {
            let url = DatabaseUrl::from(url.to_owned());
            let error = url.parse().unwrap_err();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
            assert!(!format!("{url:?}").contains("secret"));
        }
    }

    #[test]
    fn a_good_address_is_described_without_user_and_password() {
        let url = DatabaseUrl::from("postgresql://u:secret@one:1,two:2/d".to_owned());
        let config = url.parse().unwrap();
        assert_eq!(describe(&config), "'d' of PostgreSQL at one, two");
    }

    #[test]
    fn each_host_has_a_configuration_of_its_own() {
        let url = DatabaseUrl::from("postgresql://u:secret@one:1,two:2/d".to_owned());
        let configs = each_host(&url.parse().unwrap());
        assert_eq!(configs.len(), 2);
        for (config, (host, port)) in configs.iter().zip([("one", 1), ("two", 2)]) {
            assert_eq!(config.get_hosts(), [Host::Tcp(host.into())]);
            assert_eq!(config.get_ports(), [port]);
            assert_eq!((config.get_user(), config.get_dbname()), (Some("u"), Some("d")));
            assert_eq!(config.get_password(), Some(&b"secret"[..]));
            assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        }
    }
}
