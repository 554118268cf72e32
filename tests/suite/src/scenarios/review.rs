//! What the operator's commands say of policy, and that it is what happens.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Agent, Family, NodeName, World,
    apps::{Curl, Exit},
    objects::{MESH, Service},
};
use serde_json::Value;

use crate::{
    pair::Pair,
    stage::{GREETING, Shop, Stage, WEB},
};

const FILE: &str = "rules.yaml";
const INDEX: u8 = 9;
const HOST: &str = "web.shop.svc.cluster.local:80";

/// From Istio's task on mutual TLS.
const BAD_RULE: &str = "
apiVersion: \"networking.istio.io/v1alpha3\"
kind: \"DestinationRule\"
metadata:
  name: \"bad-rule\"
  namespace: \"shop\"
spec:
  host: \"web.shop.svc.cluster.local\"
  trafficPolicy:
    tls:
      mode: DISABLE
";

/// From a text of Istio's time before 1.5.
const LEGACY: &str = "
apiVersion: \"authentication.istio.io/v1alpha1\"
kind: \"Policy\"
metadata:
  name: \"default\"
  namespace: \"shop\"
spec:
  peers:
  - mtls: {}
";

/// A service in front of `web`.
fn publish(stage: &Stage<'_>) -> Result<SocketAddr> {
    let address = |family| World::virtual_address(family, INDEX);
    stage.world.objects.service(&Service {
        namespace: MESH.into(),
        name: "web".into(),
        app: "web".into(),
        virtual_addresses: Family::ALL.map(address).to_vec(),
        port: 80,
        target_port: "http".into(),
    })?;
    Ok(SocketAddr::new(address(stage.family), 80))
}

/// A command's JSON, and its exit code.
fn ask(agent: &Agent, arguments: &[&str]) -> Result<(Value, Option<i32>)> {
    let output = agent.operator(&[arguments, &["-o", "json"]].concat())?;
    let answer = serde_json::from_str(&output.stdout).with_context(|| output.describe())?;
    Ok((answer, output.code()))
}

fn apply(shop: &Shop<'_>, text: &str) -> Result<()> {
    let objects = &shop.world().objects;
    objects.raw(FILE, text)?;
    for node in NodeName::ALL {
        shop.agents.on(node).wait_current(objects)?;
    }
    Ok(())
}

/// A rule that sends plaintext to a STRICT server: calls fail, and the conflict is named with both documents.
pub fn destination_rule_conflict(stage: &Stage<'_>) -> Result<()> {
    let service = publish(stage)?;
    let shop = stage.shop("STRICT")?;
    let _nginx = shop.nginx()?;
    let get = || Curl::new(&shop.customer)?.get(&format!("http://{service}/"));
    let check = || ask(&shop.agents.a, &["tls-check", "shop/customer", "shop/web"]);
    get()?.expect_ok(GREETING)?;
    let (rows, code) = check()?;
    ensure!(rows[0]["status"] == "OK" && code == Some(0), "{rows}");

    apply(&shop, BAD_RULE)?;
    let failed = get()?;
    ensure!(failed.is_reset(), "{}", failed.output.describe());
    let labels = [("reason", "destination_rule_conflict")];
    shop.metric(
        NodeName::A,
        "sealane_connections_refused_total",
        &labels,
        1.0,
    )?;
    let (rows, code) = check()?;
    let expected = [
        ("host", HOST),
        ("status", "CONFLICT"),
        ("client", "DISABLE"),
        ("authn_policy", "PeerAuthentication/shop/default"),
        ("destination_rule", "DestinationRule/shop/bad-rule"),
    ];
    for (field, value) in expected {
        ensure!(rows[0][field] == value, "{field}: {rows}");
    }
    ensure!(
        rows[0]["server"][0] == "STRICT" && code == Some(1),
        "{rows}"
    );
    let (explained, code) = ask(&shop.agents.a, &["explain", "shop/customer", "shop/web:80"])?;
    ensure!(
        explained["verdict"] == "deny" && code == Some(1),
        "{explained}"
    );
    ensure!(explained["transport"] == "plaintext", "{explained}");

    apply(&shop, &BAD_RULE.replace("DISABLE", "ISTIO_MUTUAL"))?;
    get()?.expect_ok(GREETING)
}

/// What is configured and what was seen; ports, certificates and policies of a workload; nobody by that name.
pub fn checks(stage: &Stage<'_>) -> Result<()> {
    let service = publish(stage)?;
    let shop = stage.shop("PERMISSIVE")?;
    let listener = shop.web.listen(WEB)?;
    let mut pair = Pair::open(&shop.customer, service, &listener)?;
    pair.talk()?;
    for node in NodeName::ALL {
        let agent = shop.agents.on(node);
        let (rows, code) = ask(agent, &["tls-check", "shop/customer"])?;
        ensure!(code == Some(0) && rows[0]["host"] == HOST, "{rows}");
        ensure!(rows[0]["server"][0] == "PERMISSIVE", "{rows}");
        ensure!(rows[0]["client"] == "ISTIO_MUTUAL", "{rows}");
        ensure!(rows[0]["observed"]["mutual_tls"] == 1, "{rows}");
        let (rows, _) = ask(agent, &["authz-check", "shop/web"])?;
        ensure!(
            rows[0]["port"] == WEB && rows[0]["mode"] == "PERMISSIVE",
            "{rows}"
        );
        ensure!(rows[0]["certificate"] == shop.web.identity(), "{rows}");
        let (explained, code) = ask(agent, &["explain", "shop/customer", &service.to_string()])?;
        ensure!(
            code == Some(0) && explained["transport"] == "mutual_tls",
            "{explained}"
        );
        let nobody = agent.operator(&["explain", "shop/nobody", "shop/web:80"])?;
        ensure!(nobody.code() == Some(2), "{}", nobody.describe());
        ensure!(
            nobody.stderr.contains("shop/nobody"),
            "{}",
            nobody.describe()
        );
        let table = agent.operator(&["tls-check", "shop/customer", "shop/web"])?;
        ensure!(
            table.stdout.contains("1 mutual TLS"),
            "{}",
            table.describe()
        );
    }
    Ok(())
}

/// `Policy` of Istio's early versions is STRICT for its namespace, with a word about its age.
pub fn legacy_policy(stage: &Stage<'_>) -> Result<()> {
    let shop = stage.shop("UNSET")?;
    let _nginx = shop.nginx()?;
    shop.get(&shop.stranger)?.expect_ok(GREETING)?;
    shop.world().objects.remove("policy-shop-default.yaml")?;
    apply(&shop, LEGACY)?;
    shop.get(&shop.stranger)?.expect_exit(Exit::RECEIVE_ERROR)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    let status = shop.agents.b.status()?;
    let warned = status["source"]["warnings"].to_string();
    ensure!(warned.contains("deprecated"), "{warned}");
    Ok(())
}
