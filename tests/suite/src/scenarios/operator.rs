//! What an operator asks, as tables and as JSON.

use anyhow::{Result, ensure};
use sealane_harness::NodeName;

use crate::{
    pair::Pair,
    stage::{Stage, WEB},
};

/// `status`, `connections` and `certs` say what there is; without an agent they say so and fail.
pub fn commands(stage: &Stage<'_>) -> Result<()> {
    let mut shop = stage.shop("STRICT")?;
    let listener = shop.web.listen(WEB)?;
    let mut pair = Pair::open(&shop.customer, shop.web_address(WEB), &listener)?;
    pair.talk()?;
    shop.connection(NodeName::B, "a mutual connection", |row| {
        row["security"] == "mutual_tls"
    })?;
    let (client, server) = (shop.customer.identity(), shop.web.identity());
    let expected: [(&str, &[&str]); 3] = [
        (
            "status",
            &[
                "shop/web",
                "STRICT",
                "enrolled",
                "PeerAuthentication/shop/default",
            ],
        ),
        (
            "connections",
            &["mutual_tls", &client, "shop/web", "STRICT"],
        ),
        ("certs", &[&server, "valid"]),
    ];
    for (command, words) in expected {
        let output = shop.agents.b.operator(&[command])?.success()?;
        for word in words {
            ensure!(
                output.stdout.contains(word),
                "{command}: no {word} in {}",
                output.stdout
            );
        }
    }
    shop.agents.b.begin_stop()?;
    drop(pair);
    shop.agents.b.wait_end()?;
    for (command, _) in expected {
        let output = shop.agents.b.operator(&[command])?;
        ensure!(output.code() != Some(0), "{command} without an agent");
        ensure!(
            output.stderr.contains("agent"),
            "{command}: {}",
            output.describe()
        );
    }
    Ok(())
}
