//! Durations as people write them: `100ms`, `5s`, `1m30s`, `24h`, `90d`.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

use super::ConfigError;

/// # Errors
/// When `value` is not a duration, or not between `min` and `max`.
pub(super) fn parse(
    flag: &'static str,
    value: &str,
    min: Duration,
    max: Duration,
) -> Result<Duration, ConfigError> {
    let signed = signed(value).map_err(|source| ConfigError::Duration {
        flag,
        value: value.to_owned(),
        source,
    })?;
    match Duration::try_from(signed) {
        Ok(duration) if (min..=max).contains(&duration) => Ok(duration),
        Ok(_) | Err(_) => Err(ConfigError::DurationRange {
            flag,
            value: value.to_owned(),
            min,
            max,
        }),
    }
}

/// A day is 24 hours; how long a month or a year is depends on when it begins.
fn signed(value: &str) -> Result<SignedDuration, jiff::Error> {
    let span: Span = value.parse()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours())
}
