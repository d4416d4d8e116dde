//! One configuration, four ways to say it: a flag, an environment variable, a TOML file, a default;
//! in this order of precedence.
//!
//! Every key is declared once, as a field of a `clap::Args` struct: [`Common`] here, the others
//! beside their services. From these structs follow the flags of `mailbox`, `transit-relay` and `whisper`,
//! the prefixed flags of `run` and `config`, the environment variables and the keys of the file.

mod error;
mod file;
mod help;
mod layers;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::logging::LogFormat;
use crate::{logging, mailbox, private, transit_relay, whisper};
pub(crate) use error::ConfigError;
use file::ConfigFile;
use layers::Section;

/// Settings of the process, independent of its services.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// How log lines look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,

    /// How much is logged: error, warn, info, debug, trace, or a filter per module
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = logging::checked)]
    pub(crate) log_level: String,

    /// Address to serve /metrics and /health on, over plain HTTP; /metrics is at no other port then
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// Threads for the network; 0 is one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,

    /// Certificate chain in PEM for WebSocket listeners; read again on SIGHUP
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_certificate: Option<PathBuf>,

    /// Private key in PEM that goes with the certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Seconds that links get to finish after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) drain_seconds: u64,
}

/// The effective configuration: what to serve, and how.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) common: Common,
    /// Where relative paths begin; empty if one service was asked for by its name.
    pub(crate) data: PathBuf,
    pub(crate) mailbox: Option<mailbox::Config>,
    pub(crate) transit_relay: Option<transit_relay::Config>,
    pub(crate) whisper: Option<whisper::Config>,
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Copy the databases of these services into this directory.
    Backup(Settings, PathBuf),
    /// Import a database of the Python mailbox server into the mailbox of these settings.
    Import(Settings, PathBuf),
    /// Print this and be done.
    Print(String),
    /// Serve.
    Serve(Settings),
}

/// Reads the command line, the environment and the file that they name.
///
/// # Errors
/// Something in them is wrong, or help was asked for; the error knows how to print itself.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Order, ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = command()
        .try_get_matches_from(&arguments)
        .map_err(|error| blame_environment(error, &arguments))?;
    let Some((name, given)) = matches.subcommand() else {
        let error = command().error(clap::error::ErrorKind::MissingSubcommand, "no command given");
        return Err(error.into());
    };
    if given.get_flag("help-all") {
        return Ok(Order::Print(help::all(command_with_all_flags(), name)));
    }
    match name {
        "backup" => {
            let directory = given.get_one::<PathBuf>("directory").cloned().unwrap_or_default();
            Ok(Order::Backup(settings_of_all(given)?, directory))
        }
        "config" => print(given),
        "import" => {
            let file = given.get_one::<PathBuf>("file").cloned().unwrap_or_default();
            Ok(Order::Import(settings_of_all(given)?, file))
        }
        "run" => Ok(Order::Serve(settings_of_all(given)?)),
        service => serve_one(service, given),
    }
}

/// Names the environment variable whose value the parser refuses, which it takes for a flag.
fn blame_environment(error: clap::Error, arguments: &[OsString]) -> ConfigError {
    let typed = |flag: &str| {
        let flag = format!("--{flag}");
        arguments.iter().any(|argument| argument.to_string_lossy().starts_with(&flag))
    };
    let named = error::flag_of(&error).filter(|flag| !typed(flag)).and_then(|flag| {
        let name = arguments.get(1)?.to_str()?;
        let command = command();
        let key = command.find_subcommand(name)?.get_arguments();
        let key = key.into_iter().find(|key| key.get_long() == Some(flag))?;
        let variable = key.get_env().filter(|variable| std::env::var_os(variable).is_some())?;
        Some((variable.to_string_lossy().into_owned(), layers::value_name(key)))
    });
    match named {
        Some((variable, value_name)) => {
            let reason = error::reason(&error, &value_name);
            ConfigError::Text(format!("environment variable {variable}: {reason}"))
        }
        None => error.into(),
    }
}

/// The section of the process itself; its keys stand at the top of the file.
fn common() -> Section {
    Section::of::<Common>("", "")
}

fn mailbox_section(prefix: &str) -> Section {
    Section::of::<mailbox::Config>("mailbox", prefix)
}

fn relay_section(prefix: &str) -> Section {
    Section::of::<transit_relay::Config>("transit-relay", prefix)
}

fn whisper_section(prefix: &str) -> Section {
    Section::of::<whisper::Config>("whisper", prefix)
}

/// The whole command line. Help shows the flags that most people need, on one screen.
fn command() -> Command {
    help::short(command_with_all_flags())
}

fn command_with_all_flags() -> Command {
    // Its JSON-RPC has no TLS of its own.
    let node = one("whisper", "Serve a Whisper node", whisper_section(""))
        .mut_arg("tls_certificate", |flag| flag.hide(true))
        .mut_arg("tls_key", |flag| flag.hide(true));
    let directory = Arg::new("directory")
        .value_name("DIR")
        .required(true)
        .help("Directory for the copies, outside of the one that is being copied")
        .value_parser(clap::value_parser!(PathBuf));
    let file = Arg::new("file")
        .value_name("FILE")
        .required(true)
        .help("Database of the Python mailbox server, such as relay.sqlite")
        .value_parser(clap::value_parser!(PathBuf));
    Command::new("wormhole-server")
        .about("The Wormhole servers")
        .version(env!("CARGO_PKG_VERSION"))
        .max_term_width(80)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(all("run", "Serve everything that the configuration enables"))
        .subcommand(one("mailbox", "Serve the mailbox", mailbox_section("")))
        .subcommand(one("transit-relay", "Serve the transit relay", relay_section("")))
        .subcommand(node)
        .subcommand(all("config", "Print the effective configuration as a TOML file"))
        .subcommand(all("backup", "Copy the databases, even while they are in use").arg(directory))
        .subcommand(all("import", "Import a database of the Python mailbox server").arg(file))
}

/// A command that serves one service.
fn one(name: &'static str, about: &'static str, section: Section) -> Command {
    let command = Command::new(name).about(about).args(general());
    command.args(section.arguments()).args(common().arguments())
}

/// A command with the flags of all services.
fn all(name: &'static str, about: &'static str) -> Command {
    let data = Arg::new("data")
        .long("data")
        .value_name("DIR")
        .env("WORMHOLE_SERVER_DATA")
        .default_value(".")
        .help("Directory for the databases that are configured with a relative path")
        .value_parser(clap::value_parser!(PathBuf));
    Command::new(name)
        .about(about)
        .args(general())
        .arg(data)
        .args(common().arguments())
        .args(switches())
        .args(mailbox_section("mailbox-").arguments())
        .args(relay_section("transit-relay-").arguments())
        .args(whisper_section("whisper-").arguments())
        .after_help(
            "A flag is named after the section of the configuration and its key: \
             --mailbox-max-frame is max-frame in [mailbox].",
        )
}

/// Flags of every command.
fn general() -> [Arg; 2] {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("WORMHOLE_SERVER_CONFIG")
        .help("TOML file with any of the keys that `wormhole-server config` prints")
        .value_parser(clap::value_parser!(PathBuf));
    let help_all = Arg::new("help-all")
        .long("help-all")
        .help("Print help with every flag")
        .action(ArgAction::SetTrue)
        .exclusive(true);
    [config, help_all]
}

/// The switches of `run`: which services take part.
fn switches() -> [Arg; 3] {
    let switch = |(service, what, by_default): (&'static str, &'static str, &'static str)| {
        Arg::new(service)
            .long(service)
            .value_name("BOOL")
            .env(format!("WORMHOLE_SERVER_{}", layers::shout(service)))
            .default_value(by_default)
            .help(format!("Whether to serve {what}"))
            .value_parser(clap::value_parser!(bool))
    };
    [
        ("mailbox", "the mailbox", "true"),
        ("transit-relay", "the transit relay", "true"),
        ("whisper", "a Whisper node", "false"),
    ]
    .map(switch)
}

fn serve_one(service: &str, given: &ArgMatches) -> Result<Order, ConfigError> {
    let file = ConfigFile::load(given)?;
    let mut settings = Settings::of_process(given, &file)?;
    match service {
        "mailbox" => settings.mailbox = Some(mailbox_section("").resolve(given, &file)?),
        "whisper" => settings.whisper = Some(whisper_section("").resolve(given, &file)?),
        _ => settings.transit_relay = Some(relay_section("").resolve(given, &file)?),
    }
    settings.check(&file)?;
    Ok(Order::Serve(settings))
}

fn settings_of_all(given: &ArgMatches) -> Result<Settings, ConfigError> {
    let file = ConfigFile::load(given)?;
    let data = given.get_one::<PathBuf>("data").cloned().unwrap_or_default();
    let mut settings = Settings::of_process(given, &file)?;
    settings.data.clone_from(&data);
    if file.enables("mailbox", given)? {
        let mut config: mailbox::Config = mailbox_section("mailbox-").resolve(given, &file)?;
        config.db = data.join(config.db);
        config.usage_db = config.usage_db.map(|path| data.join(path));
        settings.mailbox = Some(config);
    }
    if file.enables("transit-relay", given)? {
        let mut config: transit_relay::Config =
            relay_section("transit-relay-").resolve(given, &file)?;
        config.usage_db = config.usage_db.map(|path| data.join(path));
        settings.transit_relay = Some(config);
    }
    if file.enables("whisper", given)? {
        let mut config: whisper::Config = whisper_section("whisper-").resolve(given, &file)?;
        config.data = Some(data.join(config.data.unwrap_or_else(|| "whisper".into())));
        settings.whisper = Some(config);
    }
    settings.check(&file)?;
    if settings.serves_nothing() {
        return Err(ConfigError::Text(NOTHING_ENABLED.into()));
    }
    create_directory(&data)?;
    Ok(settings)
}

/// Makes the data directory, so that the first start needs no preparation.
fn create_directory(data: &Path) -> Result<(), ConfigError> {
    private::make_directory(data).map_err(|error| {
        let text = format!("cannot create the data directory {}: {error}", data.display());
        ConfigError::Text(text)
    })
}

/// Prints what `run` would do with the same arguments.
fn print(given: &ArgMatches) -> Result<Order, ConfigError> {
    let file = ConfigFile::load(given)?;
    let mut text = String::from(PREFACE);
    common().print::<Common>(&mut text, given, &file)?;
    mailbox_section("mailbox-").print::<mailbox::Config>(&mut text, given, &file)?;
    relay_section("transit-relay-").print::<transit_relay::Config>(&mut text, given, &file)?;
    whisper_section("whisper-").print::<whisper::Config>(&mut text, given, &file)?;
    Ok(Order::Print(text))
}

impl Settings {
    /// Settings of the process, before any service is added.
    fn of_process(given: &ArgMatches, file: &ConfigFile) -> Result<Self, ConfigError> {
        let common = common().resolve(given, file)?;
        let data = PathBuf::new();
        Ok(Self { common, data, mailbox: None, transit_relay: None, whisper: None })
    }

    const fn serves_nothing(&self) -> bool {
        self.mailbox.is_none() && self.transit_relay.is_none() && self.whisper.is_none()
    }

    /// Checks combinations of keys.
    fn check(&self, file: &ConfigFile) -> Result<(), ConfigError> {
        let together = "tls-certificate and tls-key are needed together";
        match (&self.common.tls_certificate, &self.common.tls_key) {
            (Some(_), None) => return Err(common().refuse(file, "tls-certificate", together)),
            (None, Some(_)) => return Err(common().refuse(file, "tls-key", together)),
            _ => {}
        }
        match self.whisper.as_ref().map(whisper::Config::check) {
            Some(Err((key, problem))) => Err(whisper_section("").refuse(file, key, &problem)),
            _ => Ok(()),
        }
    }
}

/// What the printed configuration begins with.
const PREFACE: &str = "\
# Configuration of wormhole-server, to be read with --config FILE.
#
# A key behind a # has its default. To change it, remove the # and edit the value.
# A value in capitals, such as \"FILE\", only shows what kind of value belongs there: the key has no default.
";

/// What `run` says if no service is left.
const NOTHING_ENABLED: &str = "nothing to serve: the mailbox, the transit relay and the Whisper node are all \
     disabled; enable one with --mailbox true, --transit-relay true or --whisper true, or with \
     enabled = true in its section of the configuration";

#[cfg(test)]
mod tests;
