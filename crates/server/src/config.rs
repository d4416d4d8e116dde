//! One configuration, four ways to say it: a flag, an environment variable, a TOML file, a default;
//! in this order of precedence.
//!
//! Every key is declared once, as a field of a `clap::Args` struct: [`Common`] here, the others
//! beside their services. From these structs follow the flags of `mailbox`, `transit-relay` and `whisper`,
//! the prefixed flags of `run` and `config`, the environment variables and the keys of the file.

mod file;
mod layers;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use crate::logging::LogFormat;
use crate::{mailbox, private, transit_relay, whisper};
use file::ConfigFile;
use layers::Section;

/// What concerns the process, whatever it serves.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// How log lines look
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,

    /// How much is logged: error, warn, info, debug, trace, or a filter per module
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: String,

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
    pub(crate) mailbox: Option<mailbox::Config>,
    pub(crate) transit_relay: Option<transit_relay::Config>,
    pub(crate) whisper: Option<whisper::Config>,
}

/// What the command line asks for.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "made once per process")]
pub(crate) enum Order {
    /// Print this and be done.
    Print(String),
    /// Serve.
    Serve(Settings),
}

/// Reads the command line, the environment and the file that they name.
///
/// # Errors
/// Something in them is wrong, or help was asked for; the error knows how to print itself.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Order, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    match matches.subcommand() {
        Some((service @ ("mailbox" | "transit-relay" | "whisper"), given)) => {
            serve_one(service, given)
        }
        Some(("run", given)) => serve_all(given),
        Some(("config", given)) => print(given),
        _ => Err(command().error(clap::error::ErrorKind::MissingSubcommand, "no command given")),
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

/// The whole command line.
fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("WORMHOLE_SERVER_CONFIG")
        .help("TOML file with any of the keys that `wormhole-server config` prints")
        .value_parser(clap::value_parser!(PathBuf));
    let data = Arg::new("data")
        .long("data")
        .value_name("DIR")
        .env("WORMHOLE_SERVER_DATA")
        .default_value(".")
        .help("Directory for the databases that are configured with a relative path")
        .value_parser(clap::value_parser!(PathBuf));
    let one = |name, about, section: Section| {
        let command = Command::new(name).about(about).arg(config.clone());
        command.args(section.arguments()).args(common().arguments())
    };
    let all = |name, about| {
        let command = Command::new(name).about(about).arg(config.clone()).arg(data.clone());
        command
            .args(common().arguments())
            .args(switches())
            .args(mailbox_section("mailbox-").arguments())
            .args(relay_section("transit-relay-").arguments())
            .args(whisper_section("whisper-").arguments())
            .after_help(
                "A flag is named after the section of the configuration and its key: \
                 --mailbox-max-frame is max-frame in [mailbox].",
            )
    };
    // Its JSON-RPC has no TLS of its own.
    let node = one("whisper", "Serve a Whisper node", whisper_section(""))
        .mut_arg("tls_certificate", |flag| flag.hide(true))
        .mut_arg("tls_key", |flag| flag.hide(true));
    Command::new("wormhole-server")
        .about("The Wormhole servers")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(one("mailbox", "Serve the mailbox", mailbox_section("")))
        .subcommand(one("transit-relay", "Serve the transit relay", relay_section("")))
        .subcommand(node)
        .subcommand(all("run", "Serve everything that the configuration enables"))
        .subcommand(all("config", "Print the effective configuration as a TOML file"))
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

fn serve_one(service: &str, given: &ArgMatches) -> Result<Order, clap::Error> {
    let file = ConfigFile::load(given)?;
    let mut settings = Settings::of_process(given, &file)?;
    match service {
        "mailbox" => settings.mailbox = Some(mailbox_section("").resolve(given, &file)?),
        "whisper" => settings.whisper = Some(whisper_section("").resolve(given, &file)?),
        _ => settings.transit_relay = Some(relay_section("").resolve(given, &file)?),
    }
    settings.check()?;
    Ok(Order::Serve(settings))
}

fn serve_all(given: &ArgMatches) -> Result<Order, clap::Error> {
    let file = ConfigFile::load(given)?;
    let data = given.get_one::<PathBuf>("data").cloned().unwrap_or_default();
    let mut settings = Settings::of_process(given, &file)?;
    if file.enables("mailbox", given) {
        let mut config: mailbox::Config = mailbox_section("mailbox-").resolve(given, &file)?;
        config.db = data.join(config.db);
        config.usage_db = config.usage_db.map(|path| data.join(path));
        settings.mailbox = Some(config);
    }
    if file.enables("transit-relay", given) {
        let mut config: transit_relay::Config =
            relay_section("transit-relay-").resolve(given, &file)?;
        config.usage_db = config.usage_db.map(|path| data.join(path));
        settings.transit_relay = Some(config);
    }
    if file.enables("whisper", given) {
        let mut config: whisper::Config = whisper_section("whisper-").resolve(given, &file)?;
        config.data = Some(data.join(config.data.unwrap_or_else(|| "whisper".into())));
        settings.whisper = Some(config);
    }
    settings.check()?;
    create_directory(&data)?;
    Ok(Order::Serve(settings))
}

/// Makes the data directory, so that the first start needs no preparation.
fn create_directory(data: &Path) -> Result<(), clap::Error> {
    private::make_directory(data).map_err(|error| {
        let text = format!("cannot create {}: {error}", data.display());
        command().error(clap::error::ErrorKind::Io, text)
    })
}

/// Prints what `run` would do with the same arguments.
fn print(given: &ArgMatches) -> Result<Order, clap::Error> {
    let file = ConfigFile::load(given)?;
    let mut text = String::from(
        "# The effective configuration of wormhole-server: every key, its meaning and its value.\n\
         # A key that starts with # has no value.\n",
    );
    common().print::<Common>(&mut text, given, &file)?;
    mailbox_section("mailbox-").print::<mailbox::Config>(&mut text, given, &file)?;
    relay_section("transit-relay-").print::<transit_relay::Config>(&mut text, given, &file)?;
    whisper_section("whisper-").print::<whisper::Config>(&mut text, given, &file)?;
    Ok(Order::Print(text))
}

impl Settings {
    /// What concerns the process, and no service yet.
    fn of_process(given: &ArgMatches, file: &ConfigFile) -> Result<Self, clap::Error> {
        let common = common().resolve(given, file)?;
        Ok(Self { common, mailbox: None, transit_relay: None, whisper: None })
    }

    /// Checks what no single key can say.
    fn check(&self) -> Result<(), clap::Error> {
        if self.common.tls_certificate.is_some() != self.common.tls_key.is_some() {
            let text = "tls-certificate and tls-key go together";
            return Err(command().error(clap::error::ErrorKind::MissingRequiredArgument, text));
        }
        match self.whisper.as_ref().map(whisper::Config::check) {
            Some(Err(text)) => Err(command().error(clap::error::ErrorKind::ValueValidation, text)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
