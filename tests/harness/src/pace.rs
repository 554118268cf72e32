//! How fast the machine is on which tests run: an emulated one takes several times as long for everything.
//!
//! Only for limits, spans and amounts of the tests' own. What the product promises is not to be stretched where the
//! machine can keep it.

use std::{sync::LazyLock, time::Duration};

/// How many times longer than on a machine of its own everything may take; set by who starts the tests.
const VARIABLE: &str = "SEALANE_TEST_SLOWDOWN";

static SLOWDOWN: LazyLock<u32> = LazyLock::new(|| {
    let value = std::env::var(VARIABLE).ok();
    value.and_then(|value| value.parse().ok()).unwrap_or(1)
});

/// Whether the machine takes longer for everything than one of its own.
#[must_use]
pub fn is_slow() -> bool {
    *SLOWDOWN > 1
}

/// A span of time, on this machine.
#[must_use]
pub fn span(natively: Duration) -> Duration {
    natively * *SLOWDOWN
}

/// A span as the product's flags take it.
#[must_use]
pub fn flag(natively: Duration) -> String {
    format!("{}ms", span(natively).as_millis())
}

/// How many of something take about as long on this machine as `natively` on a fast one.
#[must_use]
pub fn amount(natively: usize) -> usize {
    natively / usize::try_from(*SLOWDOWN).unwrap_or(1).max(1)
}
