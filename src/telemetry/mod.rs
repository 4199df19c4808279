//! What is told of the daemon to those who look after it: its log, which goes to stderr because stdout belongs to
//! protocols and results, and its numbers.

pub mod metrics;
pub mod process;

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The words for how much is logged.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Characters of a filter.
const FILTER_CHARS: usize = 4_096;

/// What is logged: a level, or several `target=level`, with commas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

/// A text that is no log filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected off, error, warn, info, debug or trace, or a list like info,arcpd::runtime=debug: {0}")]
pub struct NotALogFilter(String);

impl FromStr for LogFilter {
    type Err = NotALogFilter;
    fn from_str(text: &str) -> Result<Self, NotALogFilter> {
        let text = text.trim();
        if text.is_empty() || text.len() > FILTER_CHARS {
            return Err(NotALogFilter(format!("a filter has 1 to {FILTER_CHARS} characters")));
        }
        // The filter language takes a bare word for a target, so that a misspelt level would switch the log off.
        for part in text.split(',').map(str::trim) {
            if !part.contains(['=', '[']) && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part)) {
                let part: String = part.chars().take(64).collect();
                return Err(NotALogFilter(format!("{part:?} is no level; for a target write {part}=trace")));
            }
        }
        let normal = text.split(',').map(str::trim).collect::<Vec<_>>().join(",");
        EnvFilter::builder().parse(&normal).map_err(|error| NotALogFilter(error.to_string()))?;
        Ok(LogFilter(normal))
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        LogFilter("info".into())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people; coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The names of the forms.
    pub const NAMES: &'static [&'static str] = &["text", "json"];
}

/// A text that names no form of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected text or json")]
pub struct NotALogFormat;

impl FromStr for LogFormat {
    type Err = NotALogFormat;
    fn from_str(text: &str) -> Result<Self, NotALogFormat> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(NotALogFormat),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

/// Why there is no log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be used.
    #[error("the log filter cannot be used: {0}")]
    Filter(String),
    /// This process logs already.
    #[error("this process has a log already: {0}")]
    Taken(String),
}

/// Starts logging to stderr, for the rest of the process.
///
/// # Errors
/// [`TelemetryError`] when the filter cannot be used or the process logs already.
pub fn init(filter: &LogFilter, format: LogFormat) -> Result<(), TelemetryError> {
    let filter =
        EnvFilter::builder().parse(&filter.0).map_err(|error| TelemetryError::Filter(error.to_string()))?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let ansi = std::io::stderr().is_terminal() && !plain;
            registry.with(layer().with_writer(std::io::stderr).with_ansi(ansi)).try_init()
        }
        LogFormat::Json => registry.with(layer().json().with_writer(std::io::stderr)).try_init(),
    };
    started.map_err(|error| TelemetryError::Taken(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_and_targets() {
        for good in ["info", "OFF", "warn,arcpd=debug", "info, hyper=warn", "arcpd[span]=trace"] {
            let parsed = good.parse::<LogFilter>();
            assert!(parsed.is_ok(), "{good}: {parsed:?}");
        }
        for wrong in ["", " ", "verbos", "info,debg", "arcpd=loud", "info,", &"a".repeat(5000)] {
            let error = wrong.parse::<LogFilter>().unwrap_err().to_string();
            assert!(error.contains("info"), "{error}");
        }
    }

    #[test]
    fn formats_have_names() {
        for name in LogFormat::NAMES {
            assert_eq!(name.parse::<LogFormat>().unwrap().to_string(), *name);
        }
        assert!("xml".parse::<LogFormat>().is_err());
    }

    #[test]
    fn a_second_log_is_refused() {
        // Tests share their process, so the first may already be somebody else's; `off` keeps it quiet.
        let _ = init(&LogFilter("off".into()), LogFormat::Json);
        assert!(matches!(init(&LogFilter::default(), LogFormat::Text), Err(TelemetryError::Taken(_))));
    }
}
