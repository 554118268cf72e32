//! Lets pods onto the node once its agent is ready.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{AgentConfig, SourceConfig},
    control::{Asking, connect, untaint},
};

/// Before it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Takes the node's startup taint off, if it was told of one, however often that is refused.
pub(super) async fn take_off(config: &AgentConfig, stop: &CancellationToken) {
    let SourceConfig::Cluster { kubeconfig, .. } = &config.source else {
        return;
    };
    let Some(taint) = &config.startup_taint else {
        return;
    };
    loop {
        let result = async {
            let client = connect(kubeconfig.as_deref(), Asking::Agent).await?;
            anyhow::Ok(untaint(client, &config.node, taint).await?)
        };
        let Some(result) = stop.run_until_cancelled(result).await else {
            return;
        };
        match result {
            Ok(true) => return tracing::info!(taint, "taken off the node: pods may come"),
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(
                    taint,
                    error = format!("{error:#}"),
                    "can't be taken off the node: no pods come"
                );
            }
        }
        if stop.run_until_cancelled(sleep(AGAIN)).await.is_none() {
            return;
        }
    }
}
