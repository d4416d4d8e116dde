//! Structured logs on stderr, without contents or addresses of users.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Format of log lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// Text for humans.
    Text,
}

/// Checks a filter before the server starts with it.
pub(crate) fn checked(filter: &str) -> Result<String, String> {
    // The parser accepts any word as the name of a module. `loud` would turn all logs off.
    let is_named = |part: &&str| !part.contains(['=', '[']);
    let unknown = |part: &&str| part.trim().parse::<LevelFilter>().is_err();
    if let Some(word) = filter.split(',').filter(is_named).find(unknown) {
        return Err(format!(
            "'{word}' is not a log level: use off, error, warn, info, debug or trace, or MODULE=LEVEL"
        ));
    }
    match EnvFilter::try_new(filter) {
        Ok(_) => Ok(filter.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Starts logging. The `filter` has been [checked].
pub(crate) fn start(format: LogFormat, filter: &str) {
    let mut filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    for directive in TALKATIVE.into_iter().filter_map(|text| text.parse().ok()) {
        filter = filter.add_directive(directive);
    }
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Otherwise the process would panic when standard error cannot be written, such as on a full disk.
        .log_internal_errors(false)
        .with_ansi(has_colours());
    match format {
        LogFormat::Json => lines.json().init(),
        LogFormat::Text => lines.init(),
    }
}

/// Whether standard error is a terminal with colours, and `NO_COLOR` is not
/// set.
fn has_colours() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    std::io::stderr().is_terminal() && !is_dumb && !is_set("NO_COLOR")
}

/// Libraries that would log complete requests, including keys and texts.
const TALKATIVE: [&str; 8] = [
    "async_nats=warn",
    "jsonrpsee=warn",
    "jsonrpsee_core=warn",
    "jsonrpsee-core=warn",
    "jsonrpsee_server=error",
    "jsonrpsee-server=warn",
    "soketto=warn",
    "tokio_postgres=warn",
];
