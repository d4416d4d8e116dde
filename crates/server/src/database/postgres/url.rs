//! The address of a PostgreSQL database. Its password is never shown.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::connector::Connector;
use super::tls::Roots;

/// A configured address, such as `postgresql://user:password@host/database`.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct DatabaseUrl(String);

/// The text is checked later, by [`DatabaseUrl::check`]: an error of the command line would show it.
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
    /// Checks the address.
    ///
    /// # Errors
    /// The problem, without the text itself.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.parse().map(drop)
    }

    /// Prepares to connect, and reads the certificates that it needs.
    ///
    /// # Errors
    /// The problem with the address or a file, without the password.
    pub(crate) fn connector(&self) -> Result<Connector, String> {
        let (config, roots) = self.parse()?;
        Connector::new(config, roots.as_ref())
    }

    fn parse(&self) -> Result<(Config, Option<Roots>), &'static str> {
        if !self.0.starts_with("postgresql://") && !self.0.starts_with("postgres://") {
            return Err(
                "the address of a database must start with postgresql://; an SQLite file has no ://",
            );
        }
        let (url, roots) = self.without_tls()?;
        // The driver's error may quote a part of the password.
        let mut config: Config = url.parse().map_err(|_| MALFORMED)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("the address names no host: write postgresql://user@host/database");
        }
        if config.get_user().is_none() || config.get_dbname().is_none() {
            return Err("the address must name a user and a database: \
                        write postgresql://user@host/database");
        }
        let has_names = !config.get_hosts().is_empty()
            && config.get_hosts().iter().all(|host| matches!(host, Host::Tcp(_)));
        if roots.is_some() && !has_names {
            return Err(
                "this sslmode needs the name of a host, which the certificate must contain",
            );
        }
        config
            .application_name("wormhole-server")
            .options(SESSION_OPTIONS)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(SILENCE);
        Ok((config, roots))
    }

    /// Removes the parameters for TLS from the address, because the driver does not support all of them. Returns the
    /// rest, and the certificates to trust; `None` means no encryption.
    fn without_tls(&self) -> Result<(String, Option<Roots>), &'static str> {
        let (address, parameters) = self.0.split_once('?').unwrap_or((&self.0, ""));
        let (mut is_encrypted, mut file, mut others) = (false, None, Vec::new());
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", "disable" | "prefer")) => is_encrypted = false,
                Some(("sslmode", "require" | "verify-ca" | "verify-full")) => is_encrypted = true,
                Some(("sslmode", _)) => return Err(UNKNOWN_MODE),
                Some(("sslrootcert", path)) => {
                    file = Some(percent_decode_str(path).decode_utf8().map_err(|_| MALFORMED)?);
                }
                _ => others.push(parameter),
            }
        }
        let roots = match file {
            Some(_) if !is_encrypted => return Err("sslrootcert needs sslmode=verify-full"),
            Some(path) if path != "system" => Some(Roots::File(path.into_owned().into())),
            _ => is_encrypted.then_some(Roots::System),
        };
        Ok((format!("{address}?{}", others.join("&")), roots))
    }
}

/// One configuration for each host, so that a host that accepts connections but does not answer cannot use up the
/// time of the others.
pub(super) fn each_host(config: &Config) -> Vec<Config> {
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

const UNKNOWN_MODE: &str = "sslmode must be disable, require, verify-ca or verify-full";

const MALFORMED: &str = "the address is malformed: it looks like \
    postgresql://user:password@host:5432/database, with special characters of the password \
    written as %XX";

/// Every statement of this server finds its rows through an index, even before the tables were analyzed. A node that
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
    fn errors_for_invalid_addresses_explain_the_reason_and_hide_the_password() {
        for (url, reason) in [
            ("mysql://u:secret@h/d", "must start with postgresql://"),
            ("postgresql://u:secret@h/d?secret=1", "malformed"),
            ("postgresql://u:secret@h:secret/d", "malformed"),
            ("postgresql://u:secret@/d", "names no host"),
            ("postgresql://h", "a user and a database"),
            ("postgresql://u:secret@h/d?sslmode=secret", "sslmode must be"),
            ("postgresql://u:secret@h/d?sslrootcert=/f", "needs sslmode=verify-full"),
            ("postgresql://u:secret@%2Frun/d?sslmode=require", "needs the name of a host"),
            ("postgresql://u:secret@/d?hostaddr=127.0.0.1&sslmode=require", "the name of a host"),
        ] {
            let url = DatabaseUrl::from(url.to_owned());
            let error = url.check().unwrap_err();
            assert!(error.contains(reason) && !error.contains("secret"), "{error}");
            assert!(!format!("{url:?}").contains("secret"));
        }
    }

    #[test]
    fn a_valid_address_is_described_without_user_and_password() {
        let url = DatabaseUrl::from("postgresql://u:secret@one:1,two:2/d".to_owned());
        let connector = url.connector().unwrap();
        assert_eq!(connector.describe(), "'d' of PostgreSQL at one, two");
        assert!(!format!("{connector:?}").contains("secret"));
    }

    #[test]
    fn each_mode_that_encrypts_checks_certificates() {
        let roots = |parameters: &str| {
            let url = format!("postgresql://u@h/d?{parameters}");
            DatabaseUrl::from(url).parse().unwrap().1
        };
        for parameters in ["", "sslmode=disable", "connect_timeout=9&sslmode=prefer"] {
            assert_eq!(roots(parameters), None, "{parameters}");
        }
        for mode in ["require", "verify-ca", "verify-full"] {
            let mode = format!("sslmode={mode}");
            assert_eq!(roots(&mode), Some(Roots::System));
            assert_eq!(roots(&format!("sslrootcert=system&{mode}")), Some(Roots::System));
            let file = Some(Roots::File("/a b".into()));
            assert_eq!(roots(&format!("{mode}&sslrootcert=/a%20b")), file);
        }
    }

    #[test]
    fn each_host_has_its_own_configuration() {
        let url = DatabaseUrl::from("postgresql://u:secret@one:1,two:2/d".to_owned());
        let configs = each_host(&url.parse().unwrap().0);
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
