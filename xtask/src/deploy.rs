//! The manifests of deploy/: rendered as a cluster would get them, then held against Kubernetes' schemas, each other and
//! the agent's sources. Applies nothing and needs no cluster.

mod alerts;
mod drift;
mod flags;
mod metrics;
mod mode;
mod preflight;
mod rbac;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::{process, setup::manifests, tally::Tally, workspace};

const RENDER: &str = include_str!("deploy/render.py");
/// Of kinds that Kubernetes doesn't have.
const OPERATOR: &str = include_str!("deploy/operator.json");

/// What a cluster would be given.
#[derive(Deserialize)]
struct Rendered {
    /// By what they come from: a kustomization's directory, `chart`, or the chart with a set of values.
    objects: BTreeMap<String, Vec<Value>>,
    /// What Helm's linter and Kubernetes' schemas say.
    findings: Vec<String>,
}

impl Rendered {
    fn of(&self, name: &str) -> Result<&[Value]> {
        let objects = self.objects.get(name).map(Vec::as_slice);
        objects.with_context(|| format!("deploy/{name} was not rendered"))
    }
}

/// Finds faults, each in a line of its own.
type Check = fn(&Rendered) -> Result<Vec<String>>;

const CHECKS: [(&str, Check); 8] = [
    ("schemas", schemas),
    ("base and chart are the same", drift::findings),
    ("policy stays", mode::findings),
    ("preflight is as the agent", preflight::findings),
    ("alerts", alerts::findings),
    ("metrics of alerts and dashboard", metrics::findings),
    ("rights are used", rbac::findings),
    ("flags", flags::findings),
];

/// Runs the checks that `filter` is part of the name of, and prints a verdict for each, as libtest does.
///
/// # Errors
/// When nothing can be rendered.
#[expect(clippy::print_stdout, reason = "the verdicts")]
pub fn test(filter: Option<&str>) -> Result<Tally> {
    let filter = filter.unwrap_or_default();
    let chosen = |name: &str| format!("deploy::{name}").contains(filter);
    if !CHECKS.iter().any(|(name, _)| chosen(name)) {
        return Ok(Tally::default());
    }
    let rendered = render()?;
    let mut tally = Tally::default();
    for (name, check) in CHECKS.iter().filter(|(name, _)| chosen(name)) {
        let findings = check(&rendered)?;
        for finding in &findings {
            eprintln!("deploy: {finding}");
        }
        let verdict = match findings.is_empty() {
            true => {
                tally.passed += 1;
                "ok"
            }
            false => {
                tally.failed += 1;
                "FAILED"
            }
        };
        println!("test deploy::{name} ... {verdict}");
    }
    Ok(tally)
}

fn render() -> Result<Rendered> {
    let Some(kustomize) = manifests::kustomize()? else {
        bail!("no kustomize: run `cargo xtask setup`");
    };
    let mut python = manifests::python()?;
    python.args(["-c", RENDER]).arg(directory()).arg(OPERATOR);
    python.args(kustomize);
    let text = process::output(&mut python).context("render deploy/")?;
    let rendered: Rendered = serde_json::from_str(&text).context("what was rendered")?;
    ensure!(!rendered.objects.is_empty(), "nothing in deploy/");
    Ok(rendered)
}

#[expect(clippy::unnecessary_wraps, reason = "as other checks")]
fn schemas(rendered: &Rendered) -> Result<Vec<String>> {
    Ok(rendered.findings.clone())
}

fn directory() -> PathBuf {
    workspace::root().join("deploy")
}

/// A text below an object, by JSON pointer; empty where there is none.
fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// An array below an object, by JSON pointer; empty where there is none.
fn list<'v>(object: &'v Value, pointer: &str) -> &'v [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
