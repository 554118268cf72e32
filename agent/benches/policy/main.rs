//! How long policy takes for a large mesh: reading a directory, following the change of one document, and deciding
//! on a connection. `cargo xtask bench --policy`.
#![expect(clippy::print_stdout, reason = "a table is the result")]

mod mesh;

use std::{env, fs, hint::black_box, net::IpAddr, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, anyhow, ensure};
use mesh::{BY_LABEL, BY_NAMESPACE, IN_ONE_FILE, PODS, POLICIES, Shape};
use sealane::{
    config::MeshConfig,
    control::{self, Cache, Loaded, Settings},
    identity::SpiffeId,
    policy::Attributes,
    store::Snapshot,
};

/// Decisions that are timed together: one alone is shorter than the clock.
const BATCH: usize = 64;
const CHANGES: usize = 20;

fn main() -> Result<()> {
    let shapes = [BY_LABEL, IN_ONE_FILE, BY_NAMESPACE];
    let named = |argument: String| shapes.iter().find(|shape| shape.name == argument);
    if let Some(shape) = env::args().find_map(named) {
        return measure(shape);
    }
    // A process for each: memory that one has given back would be the next one's.
    for shape in &shapes {
        let status = Command::new(env::current_exe()?).arg(shape.name).status()?;
        ensure!(status.success(), "{}: {status}", shape.name);
    }
    Ok(())
}

fn measure(shape: &Shape) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dir = directory.path();
    shape.write(dir)?;
    let settings = Settings::from(MeshConfig {
        trust_domain: "cluster.local".parse()?,
        trust_domain_aliases: Vec::new(),
        cluster_domain: "cluster.local".to_owned(),
        root_namespace: "istio-system".to_owned(),
    });
    let mut cache = Cache::default();
    let before = resident_kib()?;
    let (loaded, whole) = timed(|| load(dir, &settings, &mut cache));
    let loaded = loaded?;
    println!(
        "{POLICIES} AuthorizationPolicies, {PODS} pods, {} namespaces; {}",
        shape.namespaces, shape.name
    );
    println!("{:<44}{whole:>10.1} ms", "reading and compiling all of it");
    let memory = (resident_kib()? - before) as f64 / 1024.0;
    println!(
        "{:<44}{memory:>10.1} MiB",
        "memory of it, with what speeds up changes"
    );
    println!(
        "{:<44}{:>10.1} ms",
        "following the change of one document, median",
        changes(shape, dir, &settings, &mut cache)?
    );
    let snapshot = loaded.mesh.into_snapshot();
    println!(
        "{:<44}{:>10.0} ns",
        "deciding on a connection, median",
        decisions(&snapshot)?
    );
    Ok(())
}

fn load(dir: &Path, settings: &Settings, cache: &mut Cache) -> Result<Loaded> {
    control::load_changes(dir, settings, cache).map_err(|errors| anyhow!("{errors}"))
}

/// With what it took, in milliseconds.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begun = Instant::now();
    let done = work();
    (done, begun.elapsed().as_secs_f64() * 1e3)
}

/// From the change of a file to the snapshot that could be published. The change moves what follows in the file.
fn changes(shape: &Shape, dir: &Path, settings: &Settings, cache: &mut Cache) -> Result<f64> {
    let mut before = load(dir, settings, cache)?.mesh;
    let mut times = Vec::new();
    for round in 0..CHANGES {
        let file = dir.join(format!("policies-{}.yaml", round % shape.files()));
        let text = fs::read_to_string(&file)?;
        let port = format!("\"{}\"", 10_000 + round);
        fs::write(
            &file,
            format!("# {round}\n{}", text.replacen("\"8080\"", &port, 1)),
        )?;
        let (followed, time) = timed(|| {
            let mesh = load(dir, settings, cache)?.mesh;
            // By which it is known to be new.
            black_box(mesh.has_objects_of(&before));
            before = mesh.clone();
            anyhow::Ok(mesh.into_snapshot())
        });
        drop(followed?);
        times.push(time);
    }
    Ok(median(times))
}

/// In nanoseconds.
fn decisions(snapshot: &Snapshot) -> Result<f64> {
    let mut workloads: Vec<_> = snapshot.workloads().collect();
    workloads.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let clients: Vec<SpiffeId> = workloads.iter().map(|w| w.identity.clone()).collect();
    let source: IpAddr = "10.9.9.9".parse()?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut times = Vec::new();
    for _ in 0..2_000 {
        let pairs: Vec<_> = (0..BATCH)
            .map(|_| {
                let server = workloads[random.usize(..workloads.len())];
                (server, &clients[random.usize(..clients.len())])
            })
            .collect();
        let ((), time) = timed(|| {
            for (server, client) in pairs {
                black_box(snapshot.policy.evaluate(
                    server,
                    &Attributes {
                        principal: Some(client),
                        source,
                        destination: source,
                        port: 8080,
                        sni: None,
                    },
                ));
            }
        });
        times.push(time * 1e6 / BATCH as f64);
    }
    Ok(median(times))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}

fn resident_kib() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("VmRSS in /proc/self/status")?.parse()?)
}
