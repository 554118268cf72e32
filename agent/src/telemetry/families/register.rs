//! Families of each kind, made and registered at once.

use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

use super::HANDSHAKE_SECONDS;

pub(super) fn add<C: Collector + Clone + 'static>(
    registry: &Registry,
    family: C,
) -> Result<C, Error> {
    registry.register(Box::new(family.clone()))?;
    Ok(family)
}

pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("sealane")
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, Error> {
    add(registry, IntCounter::with_opts(opts(name, help))?)
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, Error> {
    add(registry, IntGauge::with_opts(opts(name, help))?)
}

pub(super) fn counters(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, Error> {
    add(r, IntCounterVec::new(opts(name, help), labels)?)
}

pub(super) fn gauges(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, Error> {
    add(r, IntGaugeVec::new(opts(name, help), labels)?)
}

/// A gauge of a point in time.
pub(super) fn time(registry: &Registry, name: &str, help: &str) -> Result<Gauge, Error> {
    add(registry, Gauge::with_opts(opts(name, help))?)
}

/// Gauges of points in time.
pub(super) fn times(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<GaugeVec, Error> {
    add(r, GaugeVec::new(opts(name, help), labels)?)
}

pub(super) fn seconds_histogram(
    r: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<HistogramVec, Error> {
    let opts = HistogramOpts::from(opts(name, help)).buckets(HANDSHAKE_SECONDS.to_vec());
    add(r, HistogramVec::new(opts, labels)?)
}

pub(super) fn histogram(
    r: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, Error> {
    let opts = HistogramOpts::from(opts(name, help)).buckets(buckets.to_vec());
    add(r, Histogram::with_opts(opts)?)
}
