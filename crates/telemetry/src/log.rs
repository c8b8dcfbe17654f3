//! Where log lines go and in which form.

use std::{io::IsTerminal, str::FromStr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One readable line each.
    Text,
    /// One JSON object each.
    Json,
}

/// Which log lines are written, in the syntax of `RUST_LOG`, such as `info` or `info,bellbuoy_workers=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

/// A text is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give levels (off, error, warn, info, debug, trace), as info or info,bellbuoy_workers=debug")]
pub struct LogFilterError;

impl FromStr for LogFilter {
    type Err = LogFilterError;

    /// A word without a level is refused, although `RUST_LOG` takes it for all lines of a target: what is meant as a
    /// level and misspelt would silence everything else.
    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        let is_bare = |part: &str| !part.contains(['=', '[']);
        let is_level = |part: &str| part.parse::<LevelFilter>().is_ok();
        let mut parts = text.split(',').filter(|part| !part.is_empty());
        if !parts.all(|part| !is_bare(part) || is_level(part)) || EnvFilter::builder().parse(text).is_err() {
            return Err(LogFilterError);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Sends the process's log lines to standard error. Later calls change nothing.
pub fn init(filter: &LogFilter, format: LogFormat) {
    let filter = EnvFilter::builder().parse_lossy(&filter.0);
    let json = match format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber is refused; the first one stays.
    let _ = if json {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        lines.with_target(false).try_init()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_levels_each_for_all_or_for_a_target() {
        for text in
            ["info", "WARN", "off", "", "info,bellbuoy_workers=debug", "warn,sqlx=off", "[attempt]=trace"]
        {
            assert_eq!(text.parse(), Ok(LogFilter(text.to_owned())));
        }
        for text in
            ["warning", "inf", "bellbuoy_workers", "info,debgu", "bellbuoy=nope", "a=b=c", "info, debug"]
        {
            assert_eq!(text.parse::<LogFilter>(), Err(LogFilterError), "{text}");
        }
    }
}
