//! Durations as people write them: `100ms`, `5s`, `1m30s`, `24h`.

use std::time::Duration;

use jiff::SignedDuration;

use super::ConfigError;

/// # Errors
/// When `value` is not a duration, or not between `min` and `max`.
pub(super) fn parse(
    flag: &'static str,
    value: &str,
    min: Duration,
    max: Duration,
) -> Result<Duration, ConfigError> {
    let signed: SignedDuration = value.parse().map_err(|source| ConfigError::Duration {
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
