//! What a large cluster costs the agent of one node: `cargo xtask bench --kubernetes`.

mod figures;

use std::{
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use sealane_harness::{
    Agent, Family, NodeName, PodSpec, Run, World,
    cluster::{Cluster, ClusterPod},
    objects::MESH,
    until,
};
use serde_json::{Value, json};

use figures::{Figures, Table};

/// Pods of each node.
const DENSITY: u32 = 25;
const NAMESPACES: u32 = 300;
/// Pods that are made by one order, so that none takes long.
const PORTION: usize = (DENSITY * NAMESPACES) as usize;
const PATIENCE: Duration = Duration::from_secs(120);

/// Of churn: each replacement is two changes, a deletion and a pod that has the addresses.
const CHURN: Duration = Duration::from_secs(30);
const REPLACEMENTS: u32 = 25;
const SECOND: Duration = Duration::from_secs(1);

/// Less of a processor than that, for a second, is rest: the agent looks at its pods all the time.
const REST: Duration = Duration::from_millis(60);

/// Starts an API server with so many pods and their services, and an agent that is told of them.
pub fn measure(run: &Arc<Run>, pods: u32) -> Result<ExitCode> {
    let population =
        json!({"nodes": (pods / DENSITY).max(1), "pods": pods, "namespaces": NAMESPACES});
    let world = World::new(run)?;
    let cluster = Cluster::start(&world, Family::V4)?;
    cluster.namespace(MESH, true)?;
    for first in (0..pods).step_by(PORTION) {
        let mut portion = population.clone();
        portion["first"] = json!(first);
        portion["pods"] = json!(pods.min(first + DENSITY * NAMESPACES));
        cluster.order(&json!({"populate": portion}))?;
    }
    let own = (0..DENSITY)
        .map(|number| {
            let spec = PodSpec::new(NodeName::A, MESH, &format!("own-{number}"));
            cluster.pod(&world, spec)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut table = Table::new(format!("{population}, {DENSITY} of them here"));

    let begun = Instant::now();
    let flags = [&cluster.flags()[..], &["--log-level", "info"]].concat();
    let mut agent = Agent::start(&world, NodeName::A, &flags)?;
    let ready = until("the first snapshot", PATIENCE, || {
        agent.still_runs()?;
        let is_ready = agent.get("/readyz").is_ok_and(|(code, _)| code == 200);
        Ok(is_ready.then(|| begun.elapsed()))
    });
    let ready = ready.with_context(|| agent.log().unwrap_or_default())?;
    let first = Figures::of(&agent)?;
    table.add("start until ready", (ready, first));

    let bench = Bench { agent, cluster };
    bench.own_pods(&own)?;
    let settled = bench.rest()?;
    table.add("then, at rest", (SECOND, settled.since(settled)));
    table.change("one pod leaves the mesh", &bench.change(&own[0])?);
    table.add("all lists read again after 410", bench.relist()?);
    let (churned, changes) = bench.churn(&own[0], &population, pods)?;
    table.add("50 changes of other pods a second", churned);
    table.change("one pod leaves the mesh meanwhile", &changes);
    let rest = bench.rest()?;
    table.add("at rest again", (SECOND, rest.since(rest)));
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

struct Bench {
    agent: Agent,
    cluster: Cluster,
}

impl Bench {
    fn own_pods(&self, own: &[ClusterPod]) -> Result<()> {
        own.iter()
            .try_for_each(|pod| self.agent.wait_enrolled(&pod.pod, true))
    }

    /// Waits until the agent has nothing to do.
    fn rest(&self) -> Result<Figures> {
        let mut before = Figures::of(&self.agent)?;
        until("the agent to have nothing to do", PATIENCE, || {
            thread::sleep(SECOND);
            let now = Figures::of(&self.agent)?;
            let is_resting = now.cpu - before.cpu < REST;
            before = now;
            Ok(is_resting.then_some(()))
        })?;
        Ok(before)
    }

    /// How long it takes from a change in the API until it is in force, twice: out of the mesh and back.
    fn change(&self, pod: &ClusterPod) -> Result<[Duration; 2]> {
        let mut took = [Duration::ZERO; 2];
        for (took, inject) in took.iter_mut().zip([false, true]) {
            let begun = Instant::now();
            self.cluster.inject(pod, inject)?;
            self.agent.wait_enrolled(&pod.pod, inject)?;
            *took = begun.elapsed();
        }
        Ok(took)
    }

    /// As after an API server has compacted what the agent's watches would go on from.
    fn relist(&self) -> Result<(Duration, Figures)> {
        let before = Figures::begin(&self.agent)?;
        let listed = self.lists()?;
        let begun = Instant::now();
        self.cluster.order(&json!("forgetHistory"))?;
        self.cluster
            .order(&json!({"breakWatches": {"how": "expired"}}))?;
        until("a list of pods", PATIENCE, || {
            Ok((self.lists()? > listed).then_some(()))
        })?;
        let after = self.rest()?;
        let took = begun.elapsed().saturating_sub(SECOND);
        Ok((took, after.since(before)))
    }

    fn lists(&self) -> Result<u64> {
        let stats = self.cluster.stats()?;
        let requests = stats["requests"].as_array().context("no requests")?;
        let of_pods = |r: &&Value| r["verb"] == "list" && r["resource"] == "pods";
        Ok(requests
            .iter()
            .filter(of_pods)
            .filter_map(|r| r["count"].as_u64())
            .sum())
    }

    /// Pods of other nodes go and their successors have their addresses at once; meanwhile one of this node changes.
    fn churn(
        &self,
        own: &ClusterPod,
        population: &Value,
        pods: u32,
    ) -> Result<((Duration, Figures), Vec<Duration>)> {
        ensure!(pods > 0, "nothing to replace");
        let before = Figures::begin(&self.agent)?;
        let begun = Instant::now();
        let mut replaced = 0;
        let changes = thread::scope(|scope| {
            let changing = scope.spawn(|| -> Result<Vec<Duration>> {
                let mut changes = Vec::new();
                while begun.elapsed() < CHURN {
                    thread::sleep(5 * SECOND);
                    changes.extend(self.change(own)?);
                }
                Ok(changes)
            });
            while begun.elapsed() < CHURN {
                let due = begun + SECOND / REPLACEMENTS * replaced;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let (pod, round) = (replaced.wrapping_mul(7919) % pods, 1);
                self.cluster
                    .order(&json!({"succeed": {"of": population, "pod": pod, "round": round}}))?;
                replaced += 1;
            }
            changing
                .join()
                .map_err(|_| anyhow!("changes of a pod panicked"))?
        })?;
        let after = Figures::of(&self.agent)?;
        Ok(((begun.elapsed(), after.since(before)), changes))
    }
}
