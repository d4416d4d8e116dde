//! The configuration, from four sources: flags, environment variables, a TOML file, and defaults, in this order of
//! precedence.
//!
//! Every key is declared once, as a field of a `clap::Args` struct: [`Common`] here, the others in the folders of
//! their services. These structs define the flags of the command of each service, the prefixed flags of `run` and
//! `config`, the environment variables and the keys of the file. [`SERVICES`] lists the services.

mod error;
mod file;
mod help;
mod layers;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use wormhole_disk::private;

use crate::logging;
use crate::logging::LogFormat;
use crate::messaging::{AppCommand, ReportCommand};
use crate::service::{AnyConfig, SERVICES, Service, ServiceConfig};
pub(crate) use error::ConfigError;
pub(crate) use file::ConfigFile;
pub(crate) use layers::Section;

/// Settings of the process, independent of its services.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// Format of log lines
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,

    /// Log level: error, warn, info, debug, trace, or a filter per module
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = logging::checked)]
    pub(crate) log_level: String,

    /// Address for /metrics and /health over plain HTTP; other ports then do not serve /metrics
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// Network threads; 0 means one per core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) threads: usize,

    /// PEM file with the certificate chain for WebSocket listeners; SIGHUP reloads it
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_certificate: Option<PathBuf>,

    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,

    /// After SIGTERM, wait at most this many seconds for open connections to finish
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) drain_seconds: u64,
}

/// The effective configuration.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) common: Common,
    /// Base directory of relative paths; empty for the command of a single service.
    pub(crate) data: PathBuf,
    /// The configuration of each service to run, in the order of the table.
    pub(crate) services: Vec<Box<dyn AnyConfig>>,
}

/// The action of a command line.
#[derive(Debug)]
pub(crate) enum Action {
    /// Change or list the apps of the messaging service.
    App(AppCommand),
    /// Copy the databases of these services into this directory.
    Backup(Settings, PathBuf),
    /// Import a database of the Python mailbox server into the mailbox of these settings.
    Import(Settings, PathBuf),
    /// Print this text.
    Print(String),
    /// List or remove reports about users of the messaging service.
    Reports(ReportCommand),
    /// Run the services.
    Serve(Settings),
}

/// Reads the command line, the environment and the configuration file.
///
/// # Errors
/// A value is invalid, or help was requested; the error prints itself.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Action, ConfigError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = command()
        .try_get_matches_from(&arguments)
        .map_err(|error| name_variable(error, &arguments))?;
    let Some((name, given)) = matches.subcommand() else {
        let error = command().error(clap::error::ErrorKind::MissingSubcommand, "no command given");
        return Err(error.into());
    };
    if !matches!(name, "app" | "report") && given.get_flag("help-all") {
        return Ok(Action::Print(help::all(command_with_all_flags(), name)));
    }
    match name {
        "app" => Ok(Action::App(AppCommand::from_arg_matches(given)?)),
        "report" => Ok(Action::Reports(ReportCommand::from_arg_matches(given)?)),
        "backup" => {
            let directory = given.get_one::<PathBuf>("directory").cloned().unwrap_or_default();
            Ok(Action::Backup(settings_of_all(given)?, directory))
        }
        "config" => print(given),
        "import" => {
            let file = given.get_one::<PathBuf>("file").cloned().unwrap_or_default();
            Ok(Action::Import(settings_of_all(given)?, file))
        }
        "run" => Ok(Action::Serve(settings_of_all(given)?)),
        name => serve_one(name, given),
    }
}

/// Adds the environment variable to an error about its value, which the parser reports as an error of a flag.
fn name_variable(error: clap::Error, arguments: &[OsString]) -> ConfigError {
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

/// The section of the process; its keys are at the top of the file.
fn common() -> Section {
    Section::of::<Common>("", "")
}

/// The command line. Help shows the most important flags on one screen.
fn command() -> Command {
    help::short(command_with_all_flags())
}

fn command_with_all_flags() -> Command {
    let directory = Arg::new("directory")
        .value_name("DIR")
        .required(true)
        .help("Directory for the copies; not inside the directory of the databases")
        .value_parser(clap::value_parser!(PathBuf));
    let file = Arg::new("file")
        .value_name("FILE")
        .required(true)
        .help("Database of the Python mailbox server, such as relay.sqlite")
        .value_parser(clap::value_parser!(PathBuf));
    Command::new("wormhole-server")
        .about("A mailbox server, a transit relay, a Whisper node and a messaging service")
        .version(env!("CARGO_PKG_VERSION"))
        .max_term_width(80)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(command_for_all_services(
            "run",
            "Start all services that the configuration enables",
            "",
        ))
        .subcommands(SERVICES.iter().map(service_command))
        .subcommand(
            AppCommand::augment_args(Command::new("app"))
                .about("Add, list and change the apps of the messaging service"),
        )
        .subcommand(
            ReportCommand::augment_args(Command::new("report"))
                .about("List and remove reports about users of the messaging service"),
        )
        .subcommand(command_for_all_services(
            "config",
            "Print the effective configuration as a TOML file",
            "",
        ))
        .subcommand(
            command_for_all_services(
                "backup",
                "Copy the databases, even while they are in use",
                " DIR",
            )
            .arg(directory),
        )
        .subcommand(
            command_for_all_services(
                "import",
                "Import a database of the Python mailbox server",
                " FILE",
            )
            .arg(file),
        )
}

/// The command that runs one service.
fn service_command(service: &Service) -> Command {
    let about = service.about();
    let command = Command::new(about.name)
        .about(format!("Start {}", about.noun))
        .override_usage(format!("wormhole-server {} [OPTIONS]", about.name))
        .args(general())
        .args(service.section().arguments())
        .args(common().arguments());
    about.hidden.iter().fold(command, |command, id| command.mut_arg(id, |flag| flag.hide(true)))
}

/// A command with the options of all services. `argument` ends its usage line.
fn command_for_all_services(name: &'static str, about: &'static str, argument: &str) -> Command {
    let data = Arg::new("data")
        .long("data")
        .value_name("DIR")
        .env("WORMHOLE_SERVER_DATA")
        .default_value(".")
        .help("Base directory for relative paths of databases and other files")
        .value_parser(clap::value_parser!(PathBuf));
    Command::new(name)
        .about(about)
        .override_usage(format!("wormhole-server {name} [OPTIONS]{argument}"))
        .args(general())
        .arg(data)
        .args(common().arguments())
        .args(switches())
        .args(
            SERVICES
                .iter()
                .flat_map(|service| service.prefixed_section().arguments().collect::<Vec<_>>()),
        )
        .after_help(
            "An option is named after the section of the configuration and its key: \
             --mailbox-max-frame is max-frame in [mailbox].",
        )
}

/// Flags of every command.
fn general() -> [Arg; 2] {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .env("WORMHOLE_SERVER_CONFIG")
        .help("TOML configuration file; `wormhole-server config` prints every key")
        .value_parser(clap::value_parser!(PathBuf));
    let help_all = Arg::new("help-all")
        .long("help-all")
        .help("Print help with every option")
        .action(ArgAction::SetTrue)
        .exclusive(true);
    [config, help_all]
}

/// The switches of `run`, one for each service.
fn switches() -> impl Iterator<Item = Arg> {
    SERVICES.iter().map(|service| {
        let about = service.about();
        Arg::new(about.name)
            .long(about.name)
            .value_name("BOOL")
            .env(format!("WORMHOLE_SERVER_{}", layers::variable_name(about.name)))
            .default_value(if about.is_default { "true" } else { "false" })
            .help(format!("Whether to start {}", about.noun))
            .value_parser(clap::value_parser!(bool))
    })
}

/// The settings for the command of one service.
fn serve_one(name: &str, given: &ArgMatches) -> Result<Action, ConfigError> {
    let file = ConfigFile::load(given)?;
    let mut settings = Settings::of_process(given, &file)?;
    let service = Service::named(name)
        .ok_or_else(|| ConfigError::Text(format!("there is no service '{name}'")))?;
    settings.services.push(service.resolve(&service.section(), given, &file)?);
    settings.check(given, &file, Service::section)?;
    Ok(Action::Serve(settings))
}

/// The settings for a command that uses all enabled services.
fn settings_of_all(given: &ArgMatches) -> Result<Settings, ConfigError> {
    let file = ConfigFile::load(given)?;
    let data = given.get_one::<PathBuf>("data").cloned().unwrap_or_default();
    let mut settings = Settings::of_process(given, &file)?;
    settings.data.clone_from(&data);
    for service in &SERVICES {
        if file.enables(service.about().name, given)? {
            let mut config = service.resolve(&service.prefixed_section(), given, &file)?;
            config.place_files(&data);
            settings.services.push(config);
        }
    }
    settings.check(given, &file, Service::prefixed_section)?;
    if settings.services.is_empty() {
        return Err(ConfigError::Text(nothing_enabled()));
    }
    create_directory(&data)?;
    Ok(settings)
}

/// Creates the data directory.
fn create_directory(data: &Path) -> Result<(), ConfigError> {
    private::create_directory(data).map_err(|error| {
        let text = format!("cannot create the data directory {}: {error}", data.display());
        ConfigError::Text(text)
    })
}

/// Prints the configuration that `run` would use with the same arguments.
fn print(given: &ArgMatches) -> Result<Action, ConfigError> {
    let file = ConfigFile::load(given)?;
    let mut text = String::from(PREFACE);
    common().print::<Common>(&mut text, given, &file)?;
    SERVICES.iter().try_for_each(|service| service.print(&mut text, given, &file))?;
    Ok(Action::Print(text))
}

impl Settings {
    /// Settings of the process, before any service is added.
    fn of_process(given: &ArgMatches, file: &ConfigFile) -> Result<Self, ConfigError> {
        let common = common().resolve(given, file)?;
        Ok(Self { common, data: PathBuf::new(), services: Vec::new() })
    }

    /// The configuration of this service, if it is enabled.
    pub(crate) fn service<C: ServiceConfig>(&self) -> Option<&C> {
        self.services.iter().find_map(|config| {
            let config: &dyn std::any::Any = config.as_ref();
            config.downcast_ref()
        })
    }

    /// Checks combinations of keys. `section` returns the keys of a service with the options of this command.
    fn check(
        &self,
        given: &ArgMatches,
        file: &ConfigFile,
        section: fn(&Service) -> Section,
    ) -> Result<(), ConfigError> {
        let together = "set both tls-certificate and tls-key, or neither";
        match (&self.common.tls_certificate, &self.common.tls_key) {
            (Some(_), None) => {
                return Err(common().refuse(given, file, "tls-certificate", together));
            }
            (None, Some(_)) => return Err(common().refuse(given, file, "tls-key", together)),
            _ => {}
        }
        for config in &self.services {
            let Err((key, problem)) = config.check() else { continue };
            let name = config.about().name;
            return Err(match Service::named(name) {
                Some(service) => section(service).refuse(given, file, key, &problem),
                None => file.refuse(name, key, &problem),
            });
        }
        Ok(())
    }
}

/// The error of `run` without services.
fn nothing_enabled() -> String {
    let switches: Vec<String> =
        SERVICES.iter().map(|service| format!("--{} true", service.about().name)).collect();
    format!(
        "nothing to serve: all services are disabled; enable one with {}, or with enabled = true in \
         its section of the configuration",
        switches.join(" or ")
    )
}

/// The beginning of the printed configuration.
const PREFACE: &str = "\
# Configuration of wormhole-server, to be read with --config FILE.
#
# A commented-out key has the default value that it shows. To change it, remove the # and edit the value.
# A value in capitals, such as \"FILE\", only shows the kind of value: such a key is not set by default.
";

#[cfg(test)]
mod tests;
