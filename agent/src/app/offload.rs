//! Finds out at start what the kernel's TLS can, tells log and metrics, and chooses what follows from it.

use crate::{
    admin::api,
    config::{Ktls, ServeConfig},
    offload::{Capabilities, limit_pipes, probe},
    proxy::{KernelTls, Offload},
    telemetry::Metrics,
    tls::Suites,
};

/// Probes, unless kernel TLS is off.
pub(super) async fn start(config: &ServeConfig, metrics: &Metrics) -> Offload {
    let allowed = match config.ktls {
        Ktls::Auto => KernelTls::Auto,
        Ktls::Copy => KernelTls::Copy,
        Ktls::Off => KernelTls::Off,
    };
    limit_pipes(descriptor_limit());
    let capabilities = if allowed == KernelTls::Off {
        tracing::info!("kernel TLS is off (--ktls): TLS is done in the agent");
        Capabilities::default()
    } else {
        let probed = tokio::task::spawn_blocking(|| probe(&Suites::ALL)).await;
        let found = probed.unwrap_or_default();
        log(&found);
        found
    };
    count(&capabilities, metrics);
    Offload {
        capabilities,
        allowed,
        key_limit: config.key_limit,
    }
}

/// What the kernel does fastest comes first. Without it AES-128-GCM does: the same margin in practice as with
/// 256 bits, and a third less work.
pub(super) fn suites(offload: &Offload) -> Suites {
    let fastest = offload.capabilities.ciphers.iter().map(|c| c.suite);
    Suites::preferring(&fastest.collect::<Vec<_>>())
}

fn descriptor_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit
        .current
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(usize::MAX)
}

fn log(found: &Capabilities) {
    let missing: Vec<_> = found
        .missing
        .iter()
        .map(|m| format!("{}: {}", m.what, m.why))
        .collect();
    if found.ciphers.is_empty() {
        tracing::info!(?missing, "no kernel TLS: TLS is done in the agent");
        return;
    }
    let ciphers: Vec<_> = found
        .ciphers
        .iter()
        .map(|c| {
            let name = c.suite.suite().as_str().unwrap_or_default();
            format!("{name} {} MB/s", c.bytes_per_second / 1_000_000)
        })
        .collect();
    tracing::info!(
        ?ciphers,
        splice = found.splice,
        rekey = found.rekey,
        aes_driver = found.aes_driver,
        ?missing,
        "kernel TLS"
    );
}

fn count(found: &Capabilities, metrics: &Metrics) {
    for suite in Suites::ALL {
        let name = suite.suite().as_str().unwrap_or_default();
        metrics.set_kernel_tls(name, found.has(suite));
    }
    metrics.set_kernel_tls("splice", found.splice);
    metrics.set_kernel_tls("rekey", found.rekey);
}

/// What status tells of it.
pub(super) fn status(offload: &Offload) -> api::KernelTls {
    let Offload {
        capabilities,
        allowed,
        ..
    } = offload;
    api::KernelTls {
        mode: match allowed {
            KernelTls::Auto => "auto",
            KernelTls::Copy => "copy",
            KernelTls::Off => "off",
        }
        .to_owned(),
        ciphers: capabilities
            .ciphers
            .iter()
            .map(|c| api::Cipher {
                suite: c.suite.suite().as_str().unwrap_or_default().to_owned(),
                bytes_per_second: c.bytes_per_second,
            })
            .collect(),
        splice: capabilities.splice,
        rekey: capabilities.rekey,
        aes_driver: capabilities.aes_driver.clone(),
        missing: capabilities
            .missing
            .iter()
            .map(|m| format!("{}: {}", m.what, m.why))
            .collect(),
    }
}
