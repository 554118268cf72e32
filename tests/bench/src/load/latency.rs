//! How long operations took: kept one by one, so that percentiles are exact.

use std::time::Duration;

/// Durations of operations, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Latencies(Vec<u32>);

impl Latencies {
    pub(super) fn push(&mut self, time: Duration) {
        // More than four seconds are four seconds.
        self.0
            .push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The `parts`-th hundredth, in microseconds; `None` of nothing.
    pub(super) fn percentile(&mut self, parts: usize) -> Option<f64> {
        if self.0.is_empty() {
            return None;
        }
        let index = (self.0.len() - 1) * parts / 100;
        let (_, nanoseconds, _) = self.0.select_nth_unstable(index);
        Some(f64::from(*nanoseconds) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentile(50), None);
        for micros in (0..=100).rev() {
            latencies.push(Duration::from_micros(micros));
        }
        assert_eq!(latencies.percentile(50), Some(50.0));
        assert_eq!(latencies.percentile(99), Some(99.0));
    }
}
