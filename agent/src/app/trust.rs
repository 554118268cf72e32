//! Follows whom to trust, and tells of it.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::api,
    identity::TrustBundle,
    trust::{Trust, TrustConfig, TrustReader},
};

/// `own`: the roots of the own CA.
pub(super) fn open(
    config: &TrustConfig,
    own: watch::Receiver<Arc<TrustBundle>>,
) -> anyhow::Result<(Trust, TrustReader)> {
    Trust::open(config.clone(), own).context("--trust-bundle, --crl")
}

pub(super) fn spawn(trust: Trust, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    let stop = stop.clone();
    tasks.spawn(trust.run(stop));
}

pub(super) fn status(reader: &TrustReader) -> Vec<api::Trusted> {
    let sources = reader.status().into_iter();
    let sources = sources.map(|status| api::Trusted {
        what: status.what,
        source: status.source,
        entries: status.entries,
        error: status.error,
    });
    sources.collect()
}
