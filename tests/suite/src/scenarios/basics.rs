//! One client, one server, one mode: what a first user tries.

use anyhow::Result;
use sealane_harness::{NodeName, apps::Exit};

use crate::stage::{GREETING, Stage};

const OPENED: &str = "istio_tcp_connections_opened_total";

/// An un-enrolled client calls an enrolled server in PERMISSIVE: 200, counted as of unknown security.
pub fn permissive_plain(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    let _nginx = shop.nginx()?;
    shop.get(&shop.stranger)?.expect_ok(GREETING)?;
    let labels = [
        ("reporter", "destination"),
        ("connection_security_policy", "unknown"),
        ("destination_workload", "web"),
    ];
    shop.metric(NodeName::B, OPENED, &labels, 1.0)
}

/// An enrolled client calls an enrolled server: 200 over mutual TLS, both principals known on both sides.
pub fn permissive_mesh(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("PERMISSIVE")?;
    let _nginx = shop.nginx()?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    let principal = |pod: &sealane_harness::Pod| pod.identity();
    let (client, server) = (principal(&shop.customer), principal(&shop.web));
    for (node, reporter) in [(NodeName::A, "source"), (NodeName::B, "destination")] {
        let labels = [
            ("reporter", reporter),
            ("connection_security_policy", "mutual_tls"),
            ("source_principal", client.as_str()),
            ("destination_principal", server.as_str()),
        ];
        shop.metric(node, OPENED, &labels, 1.0)?;
    }
    Ok(())
}

/// Plaintext to a STRICT server is reset, before a byte of TLS is written; the mesh's client still gets 200.
pub fn strict_plain(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    shop.get(&shop.stranger)?.expect_exit(Exit::RECEIVE_ERROR)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)
}
