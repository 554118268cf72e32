//! How the CA service counts.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus::{Error, IntCounter};

use super::{
    CaCrowding, CaRefusal,
    families::{CaFamilies, NO_REASON},
    metrics::{render, seconds},
};

/// The CA service's metrics; clones count into the same.
#[derive(Clone)]
pub struct CaMetrics(Arc<CaFamilies>);

impl CaMetrics {
    /// # Errors
    /// When two families have one name: a mistake in `families`.
    pub fn new() -> Result<Self, Error> {
        Ok(Self(Arc::new(CaFamilies::new()?)))
    }

    pub fn certificate_signed(&self, took: Duration) {
        self.signed().inc();
        self.0.duration.observe(took.as_secs_f64());
    }

    pub fn request_refused(&self, reason: CaRefusal) {
        self.refused(reason).inc();
    }

    /// Certificates signed, and requests refused, since the start.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let refused = CaRefusal::ALL
            .iter()
            .map(|reason| self.refused(*reason).get());
        (self.signed().get(), refused.sum())
    }

    fn signed(&self) -> IntCounter {
        self.0.requests.with_label_values(&["ok", NO_REASON])
    }

    fn refused(&self, reason: CaRefusal) -> IntCounter {
        self.0
            .requests
            .with_label_values(&["refused", reason.as_str()])
    }

    pub fn connection_refused(&self, reason: CaCrowding) {
        self.0.crowded.with_label_values(&[reason.as_str()]).inc();
    }

    /// `stage` of `all`.
    pub fn set_rotation(&self, stage: &str, all: impl IntoIterator<Item = &'static str>) {
        for other in all {
            let gauge = self.0.stage.with_label_values(&[other]);
            gauge.set(i64::from(other == stage));
        }
    }

    /// When the first certificate on the way to the root expires.
    pub fn set_expiry(&self, not_after: SystemTime) {
        self.0.expiry.set(seconds(not_after));
    }

    /// Prometheus's text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        render(&self.0.registry)
    }
}
