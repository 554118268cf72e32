//! On a cluster: objects come from an API server, pods are found by their cgroups.

mod authority;
mod bad_document;
mod keep;
mod not_found;
mod successors;
mod taint;

pub use authority::authority;
pub use bad_document::bad_document;
pub use keep::keep;
pub use not_found::{not_found, unguarded};
pub use taint::startup_taint;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use sealane_harness::{
    NodeName, PodSpec, World,
    apps::{Answer, Curl, Exit, Nginx},
    cluster::{Cluster, ClusterPod, SYSTEM},
    objects::{MESH, OUTSIDE},
    pace, until,
    world::Agents,
};
use serde_json::{Value, json};

use crate::stage::{GREETING, SOON, Stage, WEB};

const OPENED: &str = "istio_tcp_connections_opened_total";
const REFUSED: &str = "RBAC: access denied";

/// The usual cast, as a cluster has it.
struct Shop<'a> {
    stage: Stage<'a>,
    _nginx: Nginx,
    agents: Agents,
    customer: ClusterPod,
    web: ClusterPod,
    stranger: ClusterPod,
    cluster: Cluster,
}

impl<'a> Shop<'a> {
    fn open(stage: &Stage<'a>, mode: &str) -> Result<Self> {
        let start = |cluster: &Cluster| stage.world.start_agents(&cluster.flags());
        Self::open_with(stage, mode, start)
    }

    fn open_with(
        stage: &Stage<'a>,
        mode: &str,
        start: impl FnOnce(&Cluster) -> Result<Agents>,
    ) -> Result<Self> {
        let world = stage.world;
        let cluster = Cluster::start(world, stage.family)?;
        cluster.namespace(MESH, true)?;
        cluster.namespace(OUTSIDE, false)?;
        cluster.policy(&[("mesh.yaml", &peer_authentication(MESH, mode))])?;
        let customer = cluster.pod(world, PodSpec::new(NodeName::A, MESH, "customer"))?;
        let web = PodSpec::new(NodeName::B, MESH, "web").port("http", WEB);
        let web = cluster.pod(world, web)?;
        let stranger = cluster.pod(world, PodSpec::stranger(NodeName::A, "stranger"))?;
        let address = World::virtual_address(stage.family, 7);
        let endpoints = [web.pod.ip(stage.family)];
        cluster.service((MESH, "web"), address, (80, WEB), &endpoints)?;
        let nginx = Nginx::http(world, &web.pod, WEB, GREETING)?;
        let agents = start(&cluster)?;
        agents.a.wait_enrolled(&customer.pod, true)?;
        agents.b.wait_enrolled(&web.pod, true)?;
        Ok(Self {
            stage: *stage,
            _nginx: nginx,
            agents,
            customer,
            web,
            stranger,
            cluster,
        })
    }

    /// By the service's address, which nothing in the network has.
    fn get(&self, from: &ClusterPod) -> Result<Answer> {
        let address = World::virtual_address(self.stage.family, 7);
        Curl::new(&from.pod)?.get(&format!("http://{}/", SocketAddr::new(address, 80)))
    }

    /// By the pod's own address.
    fn get_directly(&self, from: &ClusterPod) -> Result<Answer> {
        let web = self.web.pod.address(self.stage.family, WEB);
        Curl::new(&from.pod)?.get(&format!("http://{web}/"))
    }

    fn set_mode(&self, mode: &str) -> Result<()> {
        let text = peer_authentication(MESH, mode);
        self.cluster.policy(&[("mesh.yaml", &text)])?;
        self.agents.b.wait_mode(&self.web.pod, mode)
    }

    fn errors(&self) -> Result<Vec<String>> {
        let status = self.agents.b.status()?;
        let errors = status["source"]["errors"].as_array().cloned();
        let errors = errors.unwrap_or_default();
        Ok(errors
            .iter()
            .map(|e| e.as_str().unwrap_or_default().to_owned())
            .collect())
    }

    fn wait_errors(&self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        until(what, SOON, || {
            let errors = self.errors()?;
            Ok(wanted(&errors).then_some(errors))
        })
    }
}

pub(super) fn peer_authentication(namespace: &str, mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: default\n  \
         namespace: {namespace}\nspec:\n  mtls:\n    mode: {mode}\n"
    )
}

/// Istio's resource, as `kubectl apply` leaves it: with fields that say nothing about policy.
pub(super) fn only_from(namespace: &str, account: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {
            "name": "web", "namespace": namespace, "uid": "p-1", "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}\n"},
            "managedFields": [{"manager": "kubectl", "operation": "Update"}],
        },
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "rules": [{"from": [{"source": {"principals": [
                format!("cluster.local/ns/{namespace}/sa/{account}")
            ]}}]}],
        },
        "status": {"conditions": []},
    })
}

/// From a labelled namespace to STRICT and authorization, with a ConfigMap and one of Istio's resources.
pub fn mesh(stage: &Stage<'_>) -> Result<()> {
    let shop = Shop::open(stage, "PERMISSIVE")?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;
    let (client, server) = (shop.customer.pod.identity(), shop.web.pod.identity());
    let labels = [
        ("reporter", "destination"),
        ("connection_security_policy", "mutual_tls"),
        ("source_principal", client.as_str()),
        ("destination_principal", server.as_str()),
    ];
    until("the connection to be counted", SOON, || {
        Ok((shop.agents.b.metrics()?.sum(OPENED, &labels) >= 1.0).then_some(()))
    })?;
    shop.get_directly(&shop.stranger)?.expect_ok(GREETING)?;
    shop.set_mode("STRICT")?;
    shop.get_directly(&shop.stranger)?
        .expect_exit(Exit::RECEIVE_ERROR)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)?;

    shop.cluster.put(&only_from(MESH, "somebody"))?;
    until("the policy to refuse", SOON, || {
        let answer = shop.get(&shop.customer)?;
        Ok((answer.status == 403 && answer.body.contains(REFUSED)).then_some(()))
    })?;
    shop.cluster.put(&only_from(MESH, "customer"))?;
    until("the policy to allow", SOON, || {
        Ok((shop.get(&shop.customer)?.status == 200).then_some(()))
    })?;
    let world = stage.world;
    let other = shop
        .cluster
        .pod(world, PodSpec::new(NodeName::A, MESH, "other"))?;
    shop.agents.a.wait_enrolled(&other.pod, true)?;
    ensure!(
        shop.get(&other)?.status == 403,
        "an account that the policy doesn't have"
    );
    shop.cluster.remove(&only_from(MESH, "customer"))?;
    until("the policy to be gone", SOON, || {
        Ok((shop.get(&other)?.status == 200).then_some(()))
    })?;
    broken(&shop)
}

/// What makes no sense is told, and what was in force stays.
fn broken(shop: &Shop<'_>) -> Result<()> {
    let text = "# for the shop\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  \
                name: default\n  namespace: shop\nspec:\n  mtls:\n    mode: STRICTLY\n";
    shop.cluster.policy(&[("mesh.yaml", text)])?;
    let errors = shop.wait_errors("an error", |errors| !errors.is_empty())?;
    let place = format!("ConfigMap {SYSTEM}/policy: data[\"mesh.yaml\"] line 9");
    ensure!(
        errors[0].contains(&place) && errors[0].contains("spec.mtls.mode"),
        "{errors:?}"
    );
    shop.get_directly(&shop.stranger)?
        .expect_exit(Exit::RECEIVE_ERROR)?;
    // Pods come and go all the same.
    let world = shop.stage.world;
    let other = shop
        .cluster
        .pod(world, PodSpec::new(NodeName::A, MESH, "other"))?;
    shop.agents.a.wait_enrolled(&other.pod, true)?;
    shop.get(&other)?.expect_ok(GREETING)?;
    shop.set_mode("PERMISSIVE")?;
    shop.wait_errors("no error", <[String]>::is_empty)?;
    shop.get_directly(&shop.stranger)?.expect_ok(GREETING)
}

/// An API server that breaks, forgets, refuses and is away: traffic goes on, nothing is forgotten, and it is caught up
/// with what happened meanwhile.
pub fn away(stage: &Stage<'_>) -> Result<()> {
    let shop = Shop::open(stage, "STRICT")?;
    let world = stage.world;
    let refused = |verb: &str, status: Value| {
        let effect = json!({"status": status});
        json!({"fault": {"verb": verb, "resource": "pods", "times": 2, "effect": effect}})
    };
    let faults = [
        vec![json!({"breakWatches": {"how": "expired"}})],
        vec![json!({"breakWatches": {"how": "close"}})],
        vec![json!("reset")],
        vec![
            refused("list", json!({"code": 500})),
            json!({"breakWatches": {"how": "expired"}}),
        ],
        vec![
            refused("watch", json!({"code": 429, "retryAfter": 1})),
            json!({"breakWatches": {"how": "close"}}),
        ],
        vec![json!({"away": {"millis": 3000}})],
        // As `etcdutl snapshot restore --bump-revision --mark-compacted` leaves it.
        vec![json!({"restart": {"first": 1_000_000}})],
    ];
    for (index, fault) in faults.iter().enumerate() {
        fault
            .iter()
            .try_for_each(|order| shop.cluster.order(order))?;
        shop.get(&shop.customer)?.expect_ok(GREETING)?;
        let app = format!("late-{index}");
        let late = shop
            .cluster
            .pod(world, PodSpec::new(NodeName::A, MESH, &app))?;
        shop.cluster.order(&json!("forgetHistory"))?;
        let limit = Instant::now() + pace::span(Duration::from_secs(40));
        while shop.agents.a.wait_enrolled(&late.pod, true).is_err() {
            shop.agents.a.status().context("the agent")?;
            shop.get(&shop.customer)?.expect_ok(GREETING)?;
            let stats = || shop.cluster.stats().unwrap_or_default();
            ensure!(
                Instant::now() < limit,
                "{app} is not known after {fault:?}: {}",
                stats()
            );
        }
        let rules = shop.cluster.stats()?["rules"].clone();
        let mut rules = rules.as_array().into_iter().flatten();
        ensure!(
            rules.all(|rule| rule["times"] == 0),
            "{fault:?} has not happened"
        );
        shop.get(&late)?.expect_ok(GREETING)?;
        shop.cluster.order(&json!("clearFaults"))?;
        shop.cluster.forget(&late)?;
        shop.agents.a.wait_enrolled(&late.pod, false)?;
    }
    quiet(&shop)?;
    shop.get(&shop.customer)?.expect_ok(GREETING)
}

/// Kinds of which there is no news are watched again after an outage, and the agent says so.
fn quiet(shop: &Shop<'_>) -> Result<()> {
    let patience = pace::span(Duration::from_secs(100));
    until("no error of kinds without news", patience, || {
        Ok(shop.errors()?.is_empty().then_some(()))
    })
}

/// A pod that starts is in the mesh before the API knows its addresses, and leaves it when its cgroup goes, whatever the
/// API says then.
pub fn start(stage: &Stage<'_>) -> Result<()> {
    let shop = Shop::open(stage, "STRICT")?;
    let world = stage.world;
    let early = PodSpec::new(NodeName::A, MESH, "early");
    let early = shop.cluster.unstarted(world, early, world.next_host())?;
    shop.agents.a.wait_enrolled(&early.pod, true)?;
    shop.get(&early)?.expect_ok(GREETING)?;
    shop.cluster.running(&early)?;
    // While the agent hears of it, and makes up its mind.
    let end = Instant::now() + pace::span(Duration::from_secs(1));
    while Instant::now() < end {
        shop.get(&early)?.expect_ok(GREETING)?;
    }
    let name = format!("{MESH}/early");
    drop(early);
    shop.agents.a.wait_status("the pod to be gone", |status| {
        let workloads = status["workloads"].as_array();
        workloads.is_some_and(|all| all.iter().all(|w| w["name"] != *name))
    })
}

/// Pods come and go, each with the address of the one before, and nobody is taken for another.
pub fn churn(stage: &Stage<'_>) -> Result<()> {
    const ROUNDS: usize = 12;
    let shop = Shop::open(stage, "STRICT")?;
    let world = stage.world;
    let host = world.next_host();
    shop.cluster.put(&only_from(MESH, "even"))?;
    until("the policy", SOON, || {
        Ok((shop.get(&shop.customer)?.status == 403).then_some(()))
    })?;
    for round in 0..ROUNDS {
        let account = if round % 2 == 0 { "even" } else { "odd" };
        let spec = PodSpec::new(NodeName::A, MESH, &format!("pod-{round}")).app(account);
        let pod = shop.cluster.unstarted(world, spec, host)?;
        shop.cluster.running(&pod)?;
        shop.agents.a.wait_enrolled(&pod.pod, true)?;
        let answer = shop.get(&pod)?;
        let expected = if account == "even" { 200 } else { 403 };
        ensure!(
            answer.status == expected,
            "round {round}: {}",
            answer.output.describe()
        );
        // Half of the objects outlive their pods, as those of nodes that are slow to tell do.
        if round % 4 < 2 {
            shop.cluster.forget(&pod)?;
        }
    }
    successors::follow(&shop)
}

/// A pod of which the API server has not spoken may not connect to the mesh until it has, and to anybody else it may.
pub fn unknown(stage: &Stage<'_>) -> Result<()> {
    let shop = Shop::open(stage, "PERMISSIVE")?;
    let world = stage.world;
    shop.get_directly(&shop.stranger)?.expect_ok(GREETING)?;
    let other = Nginx::http(world, &shop.stranger.pod, WEB, "others")?;
    let spec = PodSpec::new(NodeName::A, MESH, "unknown");
    let unknown = shop.cluster.unstarted(world, spec, world.next_host())?;
    shop.cluster.forget(&unknown)?;
    shop.agents.a.wait_enrolled(&unknown.pod, false)?;
    shop.get_directly(&unknown)?
        .expect_exit(Exit::COULD_NOT_CONNECT)?;
    let url = format!("http://{}/", shop.stranger.pod.address(stage.family, WEB));
    Curl::new(&unknown.pod)?.get(&url)?.expect_ok("others")?;
    shop.cluster.running(&unknown)?;
    shop.agents.a.wait_enrolled(&unknown.pod, true)?;
    shop.get_directly(&unknown)?.expect_ok(GREETING)?;
    drop(other);
    Ok(())
}
