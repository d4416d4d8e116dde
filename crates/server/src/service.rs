//! The table of services. The command line, the configuration file, help, `config`, `backup` and `run` all iterate
//! over it: a new service is one folder with its configuration and one line in [`SERVICES`].

use std::any::Any;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use clap::{ArgMatches, Args};

use crate::config::{ConfigError, ConfigFile, Section};
use crate::host::{Host, Prepared};
use crate::{ServerError, mailbox, messaging, transit_relay, whisper};

/// All services, in the order of the help and of the start.
pub(crate) static SERVICES: [Service; 4] = [
    Service::of::<mailbox::Config>(),
    Service::of::<transit_relay::Config>(),
    Service::of::<whisper::Config>(),
    Service::of::<messaging::Config>(),
];

/// How a service appears on the command line and in the configuration file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    /// Its command, its switch for `run`, its section in the file and the prefix of its flags.
    pub(crate) name: &'static str,
    /// Its name in a sentence, with an article.
    pub(crate) noun: &'static str,
    /// Whether `run` starts it by default.
    pub(crate) is_default: bool,
    /// Help of its command, on one screen.
    pub(crate) help: &'static str,
    /// The lines about its addresses in the help of `run`.
    pub(crate) addresses: &'static str,
    /// Flags of the process that do not apply to this service, and are hidden in its help.
    pub(crate) hidden: &'static [&'static str],
}

/// The configuration of one service, which knows how to start it.
pub(crate) trait ServiceConfig: Args + Debug + Send + Sync + 'static {
    /// Names and help for the operator.
    const ABOUT: About;

    /// Moves files with a relative path into the data directory of `run`.
    fn place_files(&mut self, data: &Path);

    /// Checks combinations of keys.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    fn check(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }

    /// The files that `backup` copies.
    fn files(&self) -> Vec<StoredFile>;

    /// Opens sockets and files. Nothing is accepted before the returned service runs.
    ///
    /// # Errors
    /// The service cannot be started as it is configured.
    fn prepare(
        self,
        host: Host,
    ) -> impl Future<Output = Result<Prepared, ServerError>> + Send + 'static;
}

/// A file of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StoredFile {
    pub(crate) path: PathBuf,
    /// Whether it is an SQLite database, which other processes may be writing.
    pub(crate) is_database: bool,
}

/// Reads the configuration of a service from all sources.
type Resolve = fn(&Section, &ArgMatches, &ConfigFile) -> Result<Box<dyn AnyConfig>, ConfigError>;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    about: About,
    section: fn(&str) -> Section,
    resolve: Resolve,
    print: fn(&Section, &mut String, &ArgMatches, &ConfigFile) -> Result<(), ConfigError>,
}

/// A [`ServiceConfig`] of any service.
pub(crate) trait AnyConfig: Any + Debug + Send {
    fn about(&self) -> About;
    fn place_files(&mut self, data: &Path);
    fn check(&self) -> Result<(), (&'static str, String)>;
    fn files(&self) -> Vec<StoredFile>;
    fn prepare(
        self: Box<Self>,
        host: Host,
    ) -> Pin<Box<dyn Future<Output = Result<Prepared, ServerError>> + Send>>;
}

impl<C: ServiceConfig> AnyConfig for C {
    fn about(&self) -> About {
        C::ABOUT
    }

    fn place_files(&mut self, data: &Path) {
        ServiceConfig::place_files(self, data);
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        ServiceConfig::check(self)
    }

    fn files(&self) -> Vec<StoredFile> {
        ServiceConfig::files(self)
    }

    fn prepare(
        self: Box<Self>,
        host: Host,
    ) -> Pin<Box<dyn Future<Output = Result<Prepared, ServerError>> + Send>> {
        Box::pin(ServiceConfig::prepare(*self, host))
    }
}

impl Service {
    const fn of<C: ServiceConfig>() -> Self {
        Self {
            about: C::ABOUT,
            section: |prefix| Section::of::<C>(C::ABOUT.name, prefix),
            resolve: |section, given, file| {
                let config: Box<dyn AnyConfig> = Box::new(section.resolve::<C>(given, file)?);
                Ok(config)
            },
            print: |section, text, given, file| section.print::<C>(text, given, file),
        }
    }

    /// The service with this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SERVICES.iter().find(|service| service.about.name == name)
    }

    pub(crate) const fn about(&self) -> About {
        self.about
    }

    /// The keys as flags of the service's own command.
    pub(crate) fn section(&self) -> Section {
        (self.section)("")
    }

    /// The keys as flags of commands for all services, with the service's name as a prefix.
    pub(crate) fn prefixed_section(&self) -> Section {
        (self.section)(&format!("{}-", self.about.name))
    }

    /// The configuration, from flags, environment, file and defaults.
    pub(crate) fn resolve(
        &self,
        section: &Section,
        given: &ArgMatches,
        file: &ConfigFile,
    ) -> Result<Box<dyn AnyConfig>, ConfigError> {
        (self.resolve)(section, given, file)
    }

    /// Appends the effective configuration as a section of the file.
    pub(crate) fn print(
        &self,
        text: &mut String,
        given: &ArgMatches,
        file: &ConfigFile,
    ) -> Result<(), ConfigError> {
        (self.print)(&self.prefixed_section(), text, given, file)
    }
}
