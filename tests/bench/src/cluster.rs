//! What a large cluster costs the agent of one node: `cargo xtask bench --kubernetes`.

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use sealane_harness::{
    Agent, Family, NodeName, PodSpec, Run, World, cluster::Cluster, objects::MESH, until,
};
use serde_json::json;

/// Pods of each node.
const DENSITY: u32 = 25;
const PATIENCE: Duration = Duration::from_secs(120);
/// What the issue tracker of the project asks for, with 50,000 pods.
const GOAL: &str = "goal with 50,000 pods: under 64 MiB, under 10 s";

/// Starts an API server with so many pods, and an agent that is told of them.
pub fn measure(run: &Arc<Run>, pods: u32) -> Result<ExitCode> {
    let nodes = (pods / DENSITY).max(1);
    let world = World::new(run)?;
    let (pods, nodes) = (pods.to_string(), nodes.to_string());
    let cluster = Cluster::start_with(
        &world,
        Family::V4,
        &["--pods", &pods, "--nodes", &nodes, "--namespaces", "100"],
    )?;
    cluster.namespace(MESH, true)?;
    let flags = [&cluster.flags()[..], &["--log-level", "info"]].concat();
    let begun = Instant::now();
    let mut agent = Agent::start(&world, NodeName::A, &flags)?;
    let snapshot = until("the first snapshot", PATIENCE, || {
        agent.still_runs()?;
        Ok(agent
            .get("/readyz")
            .is_ok_and(|(code, _)| code == 200)
            .then(|| begun.elapsed()))
    });
    let snapshot = snapshot.with_context(|| agent.log().unwrap_or_default())?;
    let first = Figures::of(&agent)?;

    let begun = Instant::now();
    let pod = cluster.pod(&world, PodSpec::new(NodeName::A, MESH, "one"))?;
    agent.wait_enrolled(&pod.pod, true)?;
    let enrolled = begun.elapsed();

    cluster.order(&json!("forgetHistory"))?;
    cluster.order(&json!({"breakWatches": {"how": "expired"}}))?;
    std::thread::sleep(3 * snapshot);
    let again = Figures::of(&agent)?;
    let held = agent.status()?["generation"].as_u64();
    ensure!(held.is_some_and(|generation| generation > 0), "no snapshot");

    let size = format!("{pods} on {nodes} nodes");
    report(&size, (snapshot, enrolled), &first, &again)?;
    Ok(ExitCode::SUCCESS)
}

fn report(
    size: &str,
    (snapshot, enrolled): (Duration, Duration),
    first: &Figures,
    again: &Figures,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "pods                        {size}")?;
    writeln!(
        out,
        "first snapshot, ready       {:.1} s",
        snapshot.as_secs_f64()
    )?;
    writeln!(out, "  CPU                       {:.1} s", first.cpu)?;
    writeln!(
        out,
        "  memory                    {} MiB, at most {} MiB",
        first.rss, first.peak
    )?;
    writeln!(
        out,
        "one new pod in force after  {} ms",
        enrolled.as_millis()
    )?;
    writeln!(out, "all lists read again")?;
    writeln!(
        out,
        "  CPU                       {:.1} s",
        again.cpu - first.cpu
    )?;
    writeln!(
        out,
        "  memory                    {} MiB, at most {} MiB",
        again.rss, again.peak
    )?;
    writeln!(out, "{GOAL}")
}

/// Memory in MiB, time in seconds.
struct Figures {
    rss: u64,
    peak: u64,
    cpu: f64,
}

impl Figures {
    fn of(agent: &Agent) -> Result<Self> {
        Ok(Self {
            rss: agent.rss_kib()? >> 10,
            peak: agent.peak_kib()? >> 10,
            cpu: cpu(agent.pid())?,
        })
    }
}

/// Seconds in user and kernel mode (proc_pid_stat(5), fields 14 and 15, in hundredths).
fn cpu(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = |at: usize| -> Result<f64> {
        let field = fields.split_whitespace().nth(at);
        Ok(field.context("a short stat")?.parse()?)
    };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
