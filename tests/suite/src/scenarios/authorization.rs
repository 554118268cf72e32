//! Who may: Istio's `AuthorizationPolicy`, on new connections and on established ones.

use std::{io::Write as _, net::TcpStream, time::Duration};

use anyhow::{Context, Result, ensure};
use sealane_harness::{NodeName, Pod, PodSpec, apps::Answer, objects::MESH, pace, until};

use crate::{
    pair::{self, Pair},
    stage::{GREETING, SOON, Shop, Stage},
};

/// How soon connections obey, once a change is seen.
const OBEY: Duration = Duration::from_secs(1);
const PORT: u16 = 9000;
pub const FILE: &str = "authorization.yaml";
/// What Istio's proxies say to callers of HTTP.
const DENIED: &str = "RBAC: access denied";

/// As in Istio's lab: only one service account may call.
pub const ALLOW: &str = "
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata:
  name: allowed-clients
  namespace: shop
spec:
  selector:
    matchLabels:
      app: web
  action: ALLOW
  rules:
  - from:
    - source:
        principals: [\"cluster.local/ns/shop/sa/customer\"]
";

/// The usual cast and a workload that is not to be allowed.
struct Setting<'a> {
    shop: Shop<'a>,
    sleep: Pod,
}

impl<'a> Setting<'a> {
    fn new(stage: &Stage<'a>) -> Result<Self> {
        let sleep = stage.world.pod(PodSpec::new(NodeName::A, MESH, "sleep"))?;
        let shop = stage.shop("PERMISSIVE")?;
        Ok(Self { shop, sleep })
    }

    fn apply(&self, text: &str) -> Result<()> {
        let objects = &self.shop.world().objects;
        objects.raw(FILE, text)?;
        self.shop.agents.b.wait_current(objects)
    }

    fn refusals(&self, reason: &str, least: f64) -> Result<()> {
        let labels = [("direction", "inbound"), ("reason", reason)];
        let name = "sealane_connections_refused_total";
        self.shop.metric(NodeName::B, name, &labels, least)
    }
}

/// One principal is allowed: it is served, others are told so in HTTP and reset otherwise, new and established.
pub fn allow(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage)?;
    let shop = &setting.shop;
    let _nginx = shop.nginx()?;
    let listener = shop.web.listen(PORT)?;
    let open = |pod| Pair::open(pod, shop.web_address(PORT), &listener);
    let mut kept = open(&shop.customer)?;
    let mut cut = [open(&setting.sleep)?, open(&shop.stranger)?];
    for pair in cut.iter_mut().chain([&mut kept]) {
        pair.talk()?;
    }
    shop.get(&setting.sleep)?.expect_ok(GREETING)?;

    setting.apply(ALLOW)?;
    for pair in &mut cut {
        pair.client.set_read_timeout(Some(pace::span(OBEY)))?;
        pair::expect_over(&mut pair.client).context("the client's end")?;
        pair::expect_over(&mut pair.server).context("the server's end")?;
    }
    kept.talk().context("whoever stays allowed")?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    open(&shop.customer)?.talk()?;
    for pod in [&setting.sleep, &shop.stranger] {
        expect_denied(&shop.get(pod)?)?;
        refused(pod.connect(shop.web_address(PORT))?, b"hello\n")?;
        // Who says nothing is not kept waiting for long.
        refused(pod.connect(shop.web_address(PORT))?, b"")?;
        pair::expect_nobody(&listener)?;
    }
    setting.refusals("authorization_not_allowed", 6.0)?;

    shop.world().objects.remove(FILE)?;
    until("everybody to be allowed again", SOON, || {
        Ok(shop.get(&setting.sleep)?.expect_ok(GREETING).ok())
    })?;
    kept.talk()
}

fn expect_denied(answer: &Answer) -> Result<()> {
    ensure!(answer.status == 403, "status {:?}", answer.status);
    ensure!(answer.body == DENIED, "body {:?}", answer.body);
    Ok(())
}

fn refused(mut client: TcpStream, word: &[u8]) -> Result<()> {
    client.set_read_timeout(Some(pace::span(SOON)))?;
    client.write_all(word)?;
    pair::expect_reset(&mut client)
}

/// DENY wins over ALLOW; a policy in dry run is only counted; ALLOW without rules allows nobody.
pub fn deny(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage)?;
    let shop = &setting.shop;
    let _nginx = shop.nginx()?;
    let deny = |annotations: &str| {
        format!(
            "{ALLOW}---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: none\n  \
             namespace: istio-system\n  annotations: {annotations}\nspec:\n  action: DENY\n  rules:\n  - from:\n    \
             - source: {{namespaces: [shop]}}\n"
        )
    };
    setting.apply(&deny("{istio.io/dry-run: \"true\"}"))?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    let dry_run = "sealane_authorization_dry_run_total";
    shop.metric(NodeName::B, dry_run, &[("result", "denied")], 1.0)?;
    setting.apply(&deny("{}"))?;
    expect_denied(&shop.get(&shop.customer)?)?;
    setting.refusals("authorization_denied", 1.0)?;
    setting.apply(&ALLOW.replace(&ALLOW[ALLOW.find("  rules").unwrap_or(0)..], ""))?;
    expect_denied(&shop.get(&shop.customer)?)?;
    // A port that leaves TLS alone is not one that leaves authorization alone.
    let disabled = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: off\n  \
                    namespace: shop\nspec:\n  selector: {matchLabels: {app: web}}\n  mtls: {mode: DISABLE}\n";
    setting.apply(&format!("{ALLOW}{disabled}"))?;
    expect_denied(&shop.get(&shop.customer)?).context("plaintext has no principal")?;
    let open_to_all = ALLOW.replace(
        "rules:",
        "rules:\n  - to:\n    - operation: {ports: [\"8080\"]}",
    );
    setting.apply(&format!("{open_to_all}{disabled}"))?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    shop.get(&shop.stranger)?.expect_ok(GREETING)
}
