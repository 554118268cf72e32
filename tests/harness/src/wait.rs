//! Waiting for a condition, never for time to pass.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::pace;

/// How often a condition is looked at: on a slow machine less often, as looking takes longer.
const POLL: Duration = Duration::from_millis(5);

/// Asks `probe` until it answers; `what` completes "did not happen within …: ". The limit is that of a machine of
/// ordinary speed.
///
/// # Errors
/// The probe's own error at once, or that `limit` passed without an answer.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let limit = pace::span(limit);
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe().with_context(|| format!("waiting for: {what}"))? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("did not happen within {limit:?}: {what}");
        }
        thread::sleep(pace::span(POLL));
    }
}

/// [`until`] for a condition that is true or false.
///
/// # Errors
/// As [`until`].
pub fn until_true(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, limit, || Ok(condition()?.then_some(())))
}

/// Asserts that a condition keeps holding for `span`, looking at it all the time.
///
/// # Errors
/// The condition's own error, or that it ceased to hold.
pub fn throughout(
    what: &str,
    span: Duration,
    mut condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let end = Instant::now() + span;
    while Instant::now() < end {
        if !condition()? {
            bail!("ceased to hold: {what}");
        }
        thread::sleep(POLL);
    }
    Ok(())
}
